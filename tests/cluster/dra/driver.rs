//! A driver of devices for tests: it keeps what it was asked, and gives devices without anything behind
//! them, so that every runtime takes them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use proto::dra::dra_plugin_server::{DraPlugin, DraPluginServer};
use proto::dra::*;
use proto::registration::registration_server::{Registration, RegistrationServer};
use proto::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
mod proto {
    pub mod dra {
        tonic::include_proto!("k8s.io.kubelet.pkg.apis.dra.v1");
    }
    pub mod registration {
        tonic::include_proto!("pluginregistration");
    }
}

#[derive(Clone)]
struct Service {
    name: String,
    endpoint: String,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn note(&self, call: &str, claims: &[Claim]) {
        let names: Vec<&str> = claims.iter().map(|claim| claim.name.as_str()).collect();
        self.calls.lock().expect("no panic while locked").push(format!("{call} {}", names.join(" ")));
    }
}

#[tonic::async_trait]
impl DraPlugin for Service {
    async fn node_prepare_resources(
        &self,
        call: Request<NodePrepareResourcesRequest>,
    ) -> Result<Response<NodePrepareResourcesResponse>, Status> {
        let claims = call.into_inner().claims;
        self.note("prepare", &claims);
        let answer = |claim: Claim| {
            let device = Device { pool_name: "pool".into(), device_name: "dev".into(), ..Default::default() };
            (claim.uid, NodePrepareResourceResponse { devices: vec![device], error: String::new() })
        };
        Ok(Response::new(NodePrepareResourcesResponse { claims: claims.into_iter().map(answer).collect() }))
    }

    async fn node_unprepare_resources(
        &self,
        call: Request<NodeUnprepareResourcesRequest>,
    ) -> Result<Response<NodeUnprepareResourcesResponse>, Status> {
        let claims = call.into_inner().claims;
        self.note("unprepare", &claims);
        let answer = |claim: Claim| (claim.uid, NodeUnprepareResourceResponse::default());
        Ok(Response::new(NodeUnprepareResourcesResponse { claims: claims.into_iter().map(answer).collect() }))
    }
}

#[tonic::async_trait]
impl Registration for Service {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "DRAPlugin".into(),
            name: self.name.clone(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["v1.DRAPlugin".into()],
        }))
    }

    async fn notify_registration_status(
        &self,
        call: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let said = if call.get_ref().plugin_registered { "registered" } else { "refused" };
        self.calls.lock().expect("no panic while locked").push(said.into());
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

/// A driver that runs; it ends with the value.
pub struct Driver {
    runtime: tokio::runtime::Runtime,
    registration: PathBuf,
    service: Service,
    _folder: tempfile::TempDir,
}

impl Driver {
    /// Serves, and makes itself known to the kubelet in this root directory.
    pub fn start(root: &Path, name: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let endpoint = folder.path().join("dra.sock");
        let registration = root.join("plugins_registry").join(format!("{name}-reg.sock"));
        // Of a run that was killed.
        let _ = std::fs::remove_file(&registration);
        let (name, calls) = (name.to_owned(), Arc::default());
        let service = Service { name, calls, endpoint: endpoint.to_string_lossy().into_owned() };
        let runtime = tokio::runtime::Runtime::new()?;
        ensure!(registration.parent().is_some_and(Path::is_dir), "the kubelet has no folder for plugins");
        let sockets = {
            let _inside = runtime.enter();
            (UnixListener::bind(&endpoint)?, UnixListener::bind(&registration)?)
        };
        let plugin = tonic::transport::Server::builder().add_service(DraPluginServer::new(service.clone()));
        runtime.spawn(plugin.serve_with_incoming(UnixListenerStream::new(sockets.0)));
        let known = tonic::transport::Server::builder().add_service(RegistrationServer::new(service.clone()));
        runtime.spawn(known.serve_with_incoming(UnixListenerStream::new(sockets.1)));
        Ok(Self { runtime, registration, service, _folder: folder })
    }

    /// The kubelet said that the driver is registered.
    pub fn was_accepted(&self) -> bool {
        self.service.calls.lock().expect("no panic while locked").iter().any(|call| call == "registered")
    }

    /// What was asked for a claim.
    pub fn calls_of(&self, claim: &str) -> Vec<String> {
        let calls = self.service.calls.lock().expect("no panic while locked");
        let of = |call: &String| call.strip_suffix(claim).map(|call| call.trim_end().to_owned());
        calls.iter().filter_map(of).collect()
    }

    /// Goes, as a driver does that is taken off a node.
    pub fn stop(self) {
        let _ = std::fs::remove_file(&self.registration);
        self.runtime.shutdown_background();
    }
}
