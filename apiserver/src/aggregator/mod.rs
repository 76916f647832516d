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
mod metrics;
mod proxy;

use std::path::PathBuf;
use std::sync::Arc;

use api_types::apiregistration::v1::APIService;
use api_types::core::v1::Service;
use api_types::discovery::v1::{Endpoint, EndpointSlice};
use api_types::kind::Resource;
use arc_swap::ArcSwap;
use daemon::tls::{ClientMaterial, ClientTls, Pem, TlsError};

use crate::storage::{Collection, Entry, Storage};
use crate::stream::Backend;

pub use authentication::Told;
pub use follow::{Progress, run};
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
    availability: metrics::Availability,
}

impl Aggregator {
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
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
    slices: Arc<Collection>,
    to_endpoints: bool,
}

impl Services {
    /// `to_endpoints` is `--enable-aggregator-routing`: past the cluster IPs.
    pub fn new(storage: &Storage, to_endpoints: bool) -> Self {
        let (services, slices) = (storage.of::<Service>().clone(), storage.of::<EndpointSlice>().clone());
        Self { services, slices, to_endpoints }
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
        let slices = slices_of(&self.slices, namespace, name);
        let family = spec.ip_families.first().map(api_types::core::v1::IPFamily::as_str);
        let mut places = places(&slices, &wanted.name, family);
        if places.is_empty() {
            return Err(format!("no endpoints available for service {name:?}"));
        }
        Ok(places.swap_remove(fastrand::usize(..places.len())))
    }
}

/// The slices of a Service, as the cache has them.
fn slices_of(slices: &Collection, namespace: &str, name: &str) -> Vec<EndpointSlice> {
    let (snapshot, _) = slices.snapshot();
    let of_service = |entry: &&Arc<Entry>| entry.label("kubernetes.io/service-name") == Some(name);
    let prefix = format!("{namespace}/");
    let found = snapshot.range(&prefix, "").filter(of_service);
    found.filter_map(|entry| entry.typed().ok()).collect()
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.ready.unwrap_or(true)
}

/// Where a port of a Service is to be had, by its name: at ready endpoints, those of the Service's first family where
/// there are any.
fn places(slices: &[EndpointSlice], port: &str, family: Option<&str>) -> Vec<String> {
    let of = |wanted: &dyn Fn(&EndpointSlice) -> bool| -> Vec<String> {
        let mut places = Vec::new();
        for slice in slices.iter().filter(|slice| wanted(slice)) {
            let named = slice.ports.iter().filter(|own| own.name.as_deref() == Some(port));
            for number in named.filter_map(|own| own.port) {
                let ready = slice.endpoints.iter().filter(|endpoint| is_ready(endpoint));
                places.extend(ready.filter_map(|own| own.addresses.first()).map(|ip| at(ip, number)));
            }
        }
        places
    };
    let preferred = of(&|slice| family.is_none_or(|family| slice.address_type.as_str() == family));
    if preferred.is_empty() { of(&|_| true) } else { preferred }
}

fn at(ip: &str, port: i32) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// An object as the cache has it.
fn cached<T: Resource>(storage: &Storage, namespace: &str, name: &str) -> Option<T> {
    let collection = storage.of::<T>();
    collection.get(&crate::registry::relative_key(namespace, name))?.typed().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::codec::json;

    fn slice(family: &str, port: i32, addresses: &str) -> EndpointSlice {
        let text = format!(
            r#"{{"addressType":"{family}","ports":[{{"name":"https","port":{port}}}],"endpoints":[{addresses}]}}"#
        );
        json::from_slice(text.as_bytes()).expect("a slice")
    }

    #[test]
    fn ready_endpoints_of_the_first_family_come_first() {
        let ready = r#"{"addresses":["10.0.0.1"],"conditions":{"ready":true}},{"addresses":["10.0.0.2"]}"#;
        let four = slice("IPv4", 8443, ready);
        let gone = slice("IPv4", 8443, r#"{"addresses":["10.0.0.3"],"conditions":{"ready":false}}"#);
        let six = slice("IPv6", 9443, r#"{"addresses":["fd00::1"]}"#);
        let check = |slices: &[EndpointSlice], port: &str, expected: &[&str]| {
            assert_eq!(places(slices, port, Some("IPv4")), expected);
        };
        check(&[six.clone(), four.clone()], "https", &["10.0.0.1:8443", "10.0.0.2:8443"]);
        check(&[gone.clone(), six], "https", &["[fd00::1]:9443"]);
        check(&[gone], "https", &[]);
        check(&[four], "http", &[]);
    }
}
