//! A storage driver for tests: its volumes are one folder, bound to wherever the kubelet wants it. It
//! keeps what it was asked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use proto::csi::node_server::{Node, NodeServer};
use proto::csi::*;
use proto::registration::registration_server::{Registration, RegistrationServer};
use proto::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
mod proto {
    pub mod csi {
        tonic::include_proto!("csi.v1");
    }
    pub mod registration {
        tonic::include_proto!("pluginregistration");
    }
}

#[derive(Default)]
struct Seen {
    calls: Vec<String>,
    published: Vec<NodePublishVolumeRequest>,
    staged: Vec<NodeStageVolumeRequest>,
    expanded: Vec<NodeExpandVolumeRequest>,
    accepted: bool,
}

#[derive(Clone)]
struct Service {
    name: String,
    source: PathBuf,
    endpoint: String,
    seen: Arc<Mutex<Seen>>,
}

impl Service {
    fn note(&self, call: &str) {
        self.seen.lock().expect("no panic while locked").calls.push(call.into());
    }
}

/// Runs a command; gRPC's word for it when it fails.
fn run(program: &str, args: &[&str]) -> Result<(), Status> {
    let output = Command::new(program).args(args).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Status::internal(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr))))
}

fn bind(source: &Path, target: &str) -> Result<(), Status> {
    std::fs::create_dir_all(target)?;
    run("mount", &["--bind", &source.to_string_lossy(), target])
}

#[tonic::async_trait]
impl Node for Service {
    async fn node_stage_volume(
        &self,
        call: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        self.note("stage");
        let request = call.into_inner();
        bind(&self.source, &request.staging_target_path)?;
        self.seen.lock().expect("no panic while locked").staged.push(request);
        Ok(Response::new(NodeStageVolumeResponse {}))
    }

    async fn node_unstage_volume(
        &self,
        call: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        self.note("unstage");
        run("umount", &[&call.get_ref().staging_target_path])?;
        Ok(Response::new(NodeUnstageVolumeResponse {}))
    }

    async fn node_publish_volume(
        &self,
        call: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        self.note("publish");
        let request = call.into_inner();
        bind(&self.source, &request.target_path)?;
        self.seen.lock().expect("no panic while locked").published.push(request);
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        call: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        self.note("unpublish");
        run("umount", &[&call.get_ref().target_path])?;
        std::fs::remove_dir(&call.get_ref().target_path)?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_expand_volume(
        &self,
        call: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        self.note("expand");
        self.seen.lock().expect("no panic while locked").expanded.push(call.into_inner());
        Ok(Response::new(NodeExpandVolumeResponse::default()))
    }

    async fn node_get_volume_stats(
        &self,
        _: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        Err(Status::unimplemented("no figures"))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        use node_service_capability::rpc::Type;
        let one = |can: Type| {
            let rpc = node_service_capability::Rpc { r#type: can as i32 };
            NodeServiceCapability { r#type: Some(node_service_capability::Type::Rpc(rpc)) }
        };
        let capabilities = vec![one(Type::StageUnstageVolume), one(Type::ExpandVolume)];
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse { node_id: "here".into(), ..Default::default() }))
    }
}

#[tonic::async_trait]
impl Registration for Service {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".into(),
            name: self.name.clone(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["1.0.0".into()],
        }))
    }

    async fn notify_registration_status(
        &self,
        call: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        self.seen.lock().expect("no panic while locked").accepted = call.get_ref().plugin_registered;
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

/// A driver that runs; it ends with the value.
pub struct Driver {
    runtime: tokio::runtime::Runtime,
    registration: PathBuf,
    folder: tempfile::TempDir,
    service: Service,
}

impl Driver {
    /// Serves, and makes itself known to the kubelet in this root directory.
    pub fn start(root: &Path, name: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let source = folder.path().join("volume");
        std::fs::create_dir(&source)?;
        std::fs::write(source.join("file"), "from the driver\n")?;
        let endpoint = folder.path().join("csi.sock");
        let registration = root.join("plugins_registry").join(format!("{name}-reg.sock"));
        // Of a run that was killed.
        let _ = std::fs::remove_file(&registration);
        let service = Service {
            name: name.to_owned(),
            source,
            endpoint: endpoint.to_string_lossy().into_owned(),
            seen: Arc::default(),
        };
        let runtime = tokio::runtime::Runtime::new()?;
        ensure!(registration.parent().is_some_and(Path::is_dir), "the kubelet has no folder for plugins");
        let sockets = {
            let _inside = runtime.enter();
            (UnixListener::bind(&endpoint)?, UnixListener::bind(&registration)?)
        };
        let node = tonic::transport::Server::builder().add_service(NodeServer::new(service.clone()));
        runtime.spawn(node.serve_with_incoming(UnixListenerStream::new(sockets.0)));
        let known = tonic::transport::Server::builder().add_service(RegistrationServer::new(service.clone()));
        runtime.spawn(known.serve_with_incoming(UnixListenerStream::new(sockets.1)));
        Ok(Self { runtime, registration, folder, service })
    }

    /// The kubelet said that the driver is registered.
    pub fn was_accepted(&self) -> bool {
        self.service.seen.lock().expect("no panic while locked").accepted
    }

    /// What was asked since the last [`Driver::take_calls`].
    pub fn calls(&self) -> Vec<String> {
        self.service.seen.lock().expect("no panic while locked").calls.clone()
    }

    /// As `calls`, and forgets it.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.service.seen.lock().expect("no panic while locked").calls)
    }

    /// All volumes that were published.
    pub fn published(&self) -> Vec<NodePublishVolumeRequest> {
        self.service.seen.lock().expect("no panic while locked").published.clone()
    }

    /// All volumes that were staged.
    pub fn staged(&self) -> Vec<NodeStageVolumeRequest> {
        self.service.seen.lock().expect("no panic while locked").staged.clone()
    }

    /// All volumes that were to grow.
    pub fn expanded(&self) -> Vec<NodeExpandVolumeRequest> {
        self.service.seen.lock().expect("no panic while locked").expanded.clone()
    }

    /// Where the driver's folder is mounted.
    pub fn mounts(&self) -> Result<Vec<String>> {
        let folder = self.folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let table = std::fs::read_to_string("/proc/self/mountinfo")?;
        let fields = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        // What is mounted, in its filesystem, and where.
        let ours = fields.filter(|line| line.get(3).is_some_and(|root| root.contains(&folder)));
        Ok(ours.filter_map(|line| line.get(4).map(|point| (*point).to_owned())).collect())
    }

    /// Goes, as a driver does that is taken off a node.
    pub fn stop(self) {
        let _ = std::fs::remove_file(&self.registration);
        self.runtime.shutdown_background();
    }
}
