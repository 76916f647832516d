//! Groups that other servers answer for (API doc "Kubernetes API Aggregation Layer"): an APIService
//! names a Service, requests for its group and version go there, with the user's name in headers and
//! under the front proxy's certificate.
//!
//! `local` registers the groups that this server has itself, custom ones among them, `available` asks the others how they are
//! and says so in their status, `proxy` passes requests on, `discovery` shows their resources beside
//! ours, `authentication` tells extension servers whom to believe.

mod authentication;
mod available;
pub mod discovery;
mod follow;
mod local;
mod proxy;

use std::path::PathBuf;
use std::sync::Arc;

use api_types::apiregistration::v1::APIService;
use api_types::core::v1::{Endpoints, Service};
use api_types::kind::Resource;
use arc_swap::ArcSwap;
use daemon::tls::{ClientMaterial, ClientTls, Pem, TlsError};

use crate::storage::{Collection, Storage};
use crate::stream::Backend;

pub use authentication::Told;
pub use follow::run;
pub use proxy::answer;

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--proxy-client-cert-file` and `--proxy-client-key-file`
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// `--enable-aggregator-routing`: to endpoints rather than cluster IPs.
    pub to_endpoints: bool,
}

/// A server that answers for a group and version.
pub struct Remote {
    pub name: String,
    pub group: String,
    pub version: String,
    group_priority: i32,
    version_priority: i32,
    namespace: String,
    service: String,
    port: i32,
    available: bool,
    /// Resources that it told at the last check.
    resources: Option<Arc<serde_json::Value>>,
    /// Why there is no connection, if the APIService's certificates cannot be used.
    backend: Result<Backend, String>,
    /// The spec that the backend was made of.
    made_of: api_types::apiregistration::v1::APIServiceSpec,
}

/// The remote groups, kept current by [`run`].
#[derive(Default)]
pub struct Aggregator {
    options: Options,
    remotes: ArcSwap<Vec<Arc<Remote>>>,
}

impl Aggregator {
    pub fn new(options: Options) -> Self {
        Self { options, remotes: ArcSwap::default() }
    }

    /// The server for a path such as `/apis/metrics.k8s.io/v1beta1/nodes`.
    pub fn find(&self, path: &str) -> Option<Arc<Remote>> {
        let mut parts = path.strip_prefix("/apis/")?.splitn(3, '/');
        let (group, version) = (parts.next()?, parts.next()?);
        self.remotes.load().iter().find(|remote| remote.group == group && remote.version == version).cloned()
    }

    /// All of them, the groups and versions with the highest priority first.
    pub fn remotes(&self) -> Arc<Vec<Arc<Remote>>> {
        self.remotes.load_full()
    }

    /// A connection for what an APIService says of its server.
    fn backend(&self, own: &APIService) -> Result<Backend, TlsError> {
        let service = own.spec.service.as_ref();
        let pem = |path: &PathBuf| Pem::File(path.clone());
        let bundle = own.spec.ca_bundle.0.clone();
        let material = ClientMaterial {
            ca: (!bundle.is_empty()).then_some(Pem::Data(bundle)),
            cert: self.options.certificate.as_ref().map(|(cert, _)| pem(cert)),
            key: self.options.certificate.as_ref().map(|(_, key)| pem(key)),
            insecure_skip_verify: own.spec.insecure_skip_tls_verify,
            alpn: vec!["http/1.1"],
        };
        let tls = ClientTls::load(material)?;
        let name = service.map(|service| format!("{}.{}.svc", service.name, service.namespace));
        Ok(Backend::new(Arc::new(move || tls.config())).named(name))
    }
}

/// Where Services are, out of the cache: for whoever connects to one on the server's own account.
#[derive(Clone)]
pub struct Services {
    services: Arc<Collection>,
    endpoints: Arc<Collection>,
    to_endpoints: bool,
}

impl Services {
    /// `to_endpoints` is `--enable-aggregator-routing`: past the cluster IPs.
    pub fn new(storage: &Storage, to_endpoints: bool) -> Self {
        let (services, endpoints) = (storage.of::<Service>().clone(), storage.of::<Endpoints>().clone());
        Self { services, endpoints, to_endpoints }
    }

    /// HOST:PORT behind a Service's port.
    ///
    /// # Errors
    /// Why there is none, as upstream words it.
    pub fn resolve(&self, (namespace, name): (&str, &str), port: i32) -> Result<String, String> {
        let key = crate::registry::relative_key(namespace, name);
        let service: Option<Service> = self.services.get(&key).and_then(|entry| entry.typed().ok());
        let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
        let spec = &service.spec;
        let wanted = spec.ports.iter().find(|own| own.port == port);
        if spec.type_ == "ExternalName" {
            return Ok(format!("{}:{port}", spec.external_name));
        }
        let wanted = wanted.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
        if !self.to_endpoints && !spec.cluster_ip.is_empty() && spec.cluster_ip != "None" {
            return Ok(at(&spec.cluster_ip, port));
        }
        let endpoints: Option<Endpoints> = self.endpoints.get(&key).and_then(|entry| entry.typed().ok());
        let endpoints = endpoints.ok_or_else(|| format!("endpoints {name:?} not found"))?;
        let mut places = Vec::new();
        for subset in &endpoints.subsets {
            for port in subset.ports.iter().filter(|port| port.name == wanted.name) {
                places.extend(subset.addresses.iter().map(|address| at(&address.ip, port.port)));
            }
        }
        if places.is_empty() {
            return Err(format!("no endpoints available for service {name:?}"));
        }
        Ok(places.swap_remove(fastrand::usize(..places.len())))
    }
}

fn at(ip: &str, port: i32) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// An object as the cache has it.
fn cached<T: Resource>(storage: &Storage, namespace: &str, name: &str) -> Option<T> {
    let collection = storage.of::<T>();
    collection.get(&crate::registry::relative_key(namespace, name))?.typed().ok()
}
