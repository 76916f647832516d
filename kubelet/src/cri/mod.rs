//! The container runtime, as the kubelet sees it: CRI v1 over a unix socket.
//!
//! [`Runtime`] is a thin client: one method per call, each with upstream's deadline, errors worded as
//! gRPC clients in Go word them (they end up in events and statuses). What the answers mean is in
//! [`observed`]; the labels that carry a pod's identity across restarts are in [`labels`]; changes
//! reach the kubelet through [`changes`].

pub mod changes;
mod counted;
pub mod labels;
pub mod observed;
pub mod version;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

/// Messages and clients generated from `proto/cri.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

use v1::image_service_client::ImageServiceClient;
use v1::runtime_service_client::RuntimeServiceClient;

/// Largest message taken from the runtime, in bytes; upstream's limit.
const MESSAGE_LIMIT: usize = 16 << 20;

/// A call that the runtime refused or did not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("rpc error: code = {} desc = {}", code_name(.status.code()), .status.message())]
pub struct CallError {
    status: Box<Status>,
}

impl CallError {
    /// The runtime's own words, without the gRPC wrapping.
    pub fn message(&self) -> &str {
        self.status.message()
    }

    /// What the call named does not exist (any more).
    pub fn is_not_found(&self) -> bool {
        self.status.code() == Code::NotFound
    }

    /// The runtime is older than the call.
    pub fn is_unimplemented(&self) -> bool {
        self.status.code() == Code::Unimplemented
    }

    /// No one is there, or who was there went away in the middle of the call.
    pub fn is_unavailable(&self) -> bool {
        match self.status.code() {
            Code::Unavailable | Code::Cancelled => true,
            // So a connection that breaks is told.
            Code::Unknown => self.status.message().contains("transport error"),
            _ => false,
        }
    }

    /// The same call would be refused again and again.
    pub fn is_infeasible(&self) -> bool {
        matches!(self.status.code(), Code::InvalidArgument | Code::OutOfRange | Code::NotFound)
    }

    /// The call's deadline passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.status.code(), Code::DeadlineExceeded | Code::Cancelled)
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self { status: Box::new(status) }
    }
}

/// COMPAT: names of gRPC codes as Go prints them.
pub(crate) fn code_name(code: Code) -> String {
    match code {
        Code::Ok => "OK".into(),
        Code::Cancelled => "Canceled".into(),
        other => format!("{other:?}"),
    }
}

/// An endpoint that is not a unix socket.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Only unix sockets are spoken to.
    #[error("container runtime endpoint {0:?}: only unix:// endpoints are supported")]
    Scheme(String),
}

/// A connection to one runtime; cheap to clone, reconnects by itself.
#[derive(Clone)]
pub struct Runtime {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    timeout: Duration,
}

type Answer<T> = Result<T, CallError>;

/// Gives the method bodies one shape: a request with a deadline, the answer without its envelope.
macro_rules! call {
    ($self:ident . $service:ident . $method:ident ( $request:expr ), $timeout:expr) => {{
        let mut request = Request::new($request);
        request.set_timeout($timeout);
        let mut client = $self.$service.clone();
        let call = async {
            match tokio::time::timeout($timeout, client.$method(request)).await {
                Ok(answer) => answer.map(|answer| answer.into_inner()).map_err(CallError::from),
                Err(_) => Err(CallError::from(Status::deadline_exceeded("context deadline exceeded"))),
            }
        };
        counted::counted(stringify!($method), call).await
    }};
    ($self:ident . $service:ident . $method:ident ( $request:expr )) => {
        call!($self.$service.$method($request), $self.timeout)
    };
}

impl Runtime {
    /// Makes a client for `endpoint` (`unix:///run/...` or a plain path); connects when first used.
    pub fn new(endpoint: &str, timeout: Duration) -> Result<Self, EndpointError> {
        let path = match endpoint.split_once("://") {
            Some(("unix", path)) => path,
            None if endpoint.starts_with('/') => endpoint,
            _ => return Err(EndpointError::Scheme(endpoint.into())),
        };
        let path = PathBuf::from(path);
        // The authority is never used; the connector below decides where to go.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
            }),
        );
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_LIMIT),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT),
            timeout,
        })
    }

    /// Name and version of the runtime.
    pub async fn version(&self) -> Answer<v1::VersionResponse> {
        call!(self.runtime.version(v1::VersionRequest { version: "0.1.0".into() }))
    }

    /// Conditions (RuntimeReady, NetworkReady), handlers and features.
    pub async fn status(&self) -> Answer<v1::StatusResponse> {
        call!(self.runtime.status(v1::StatusRequest { verbose: false }))
    }

    /// The image of a sandbox, where the runtime tells it, as containerd and CRI-O do; or nothing.
    pub async fn sandbox_image(&self, id: &str) -> String {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: true };
        let answer: Answer<v1::PodSandboxStatusResponse> = call!(self.runtime.pod_sandbox_status(request));
        answer.ok().and_then(|answer| sandbox_image(answer.info.get("info")?)).unwrap_or_default()
    }

    /// The runtime's cgroup driver, when it can say.
    pub async fn runtime_config(&self) -> Answer<v1::RuntimeConfigResponse> {
        call!(self.runtime.runtime_config(v1::RuntimeConfigRequest {}))
    }

    /// Writes what a container is doing into an archive. COMPAT: a time limit counts where it is longer than that of
    /// other calls.
    pub async fn checkpoint(&self, id: &str, location: &str, limit: Duration) -> Answer<()> {
        let limit = limit.max(self.timeout);
        let request = v1::CheckpointContainerRequest {
            container_id: id.into(),
            location: location.into(),
            timeout: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        };
        call!(self.runtime.checkpoint_container(request), limit).map(drop)
    }

    /// Tells the runtime the node's pod network.
    pub async fn set_pod_cidr(&self, cidr: &str) -> Answer<()> {
        let network_config = Some(v1::NetworkConfig { pod_cidr: cidr.into() });
        let runtime_config = Some(v1::RuntimeConfigUpdate { network_config });
        call!(self.runtime.update_runtime_config(v1::UpdateRuntimeConfigRequest { runtime_config })).map(drop)
    }

    /// Creates and starts a sandbox; answers its id.
    pub async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Answer<String> {
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.into() };
        // Twice the usual: network plugins take their time.
        call!(self.runtime.run_pod_sandbox(request), self.timeout * 2).map(|answer| answer.pod_sandbox_id)
    }

    /// Stops a sandbox and what runs in it; stopping twice is no error.
    pub async fn stop_sandbox(&self, id: &str) -> Answer<()> {
        call!(self.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: id.into() }))
            .map(drop)
    }

    /// Removes a stopped sandbox with its containers.
    pub async fn remove_sandbox(&self, id: &str) -> Answer<()> {
        call!(self.runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: id.into() }))
            .map(drop)
    }

    /// One sandbox's status.
    pub async fn sandbox_status(&self, id: &str) -> Answer<Option<v1::PodSandboxStatus>> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
        call!(self.runtime.pod_sandbox_status(request)).map(|answer| answer.status)
    }

    /// The sandboxes that the filter admits.
    pub async fn sandboxes(&self, filter: Option<v1::PodSandboxFilter>) -> Answer<Vec<v1::PodSandbox>> {
        call!(self.runtime.list_pod_sandbox(v1::ListPodSandboxRequest { filter })).map(|answer| answer.items)
    }

    /// Creates a container in a sandbox; answers its id.
    pub async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Answer<String> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.into(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        call!(self.runtime.create_container(request)).map(|answer| answer.container_id)
    }

    /// Starts a created container.
    pub async fn start_container(&self, id: &str) -> Answer<()> {
        call!(self.runtime.start_container(v1::StartContainerRequest { container_id: id.into() })).map(drop)
    }

    /// Stops a container: its stop signal, `grace` seconds, then the kill.
    pub async fn stop_container(&self, id: &str, grace: i64) -> Answer<()> {
        let request = v1::StopContainerRequest { container_id: id.into(), timeout: grace };
        let limit = self.timeout + Duration::from_secs(grace.max(0).unsigned_abs());
        call!(self.runtime.stop_container(request), limit).map(drop)
    }

    /// Removes a container, killing it when it runs.
    pub async fn remove_container(&self, id: &str) -> Answer<()> {
        call!(self.runtime.remove_container(v1::RemoveContainerRequest { container_id: id.into() })).map(drop)
    }

    /// The containers that the filter admits.
    pub async fn containers(&self, filter: Option<v1::ContainerFilter>) -> Answer<Vec<v1::Container>> {
        call!(self.runtime.list_containers(v1::ListContainersRequest { filter }))
            .map(|answer| answer.containers)
    }

    /// One container's status.
    pub async fn container_status(&self, id: &str) -> Answer<Option<v1::ContainerStatus>> {
        let request = v1::ContainerStatusRequest { container_id: id.into(), verbose: false };
        call!(self.runtime.container_status(request)).map(|answer| answer.status)
    }

    /// Gives a running container other resources.
    pub async fn update_container(&self, id: &str, linux: v1::LinuxContainerResources) -> Answer<()> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.into(),
            linux: Some(linux),
            ..Default::default()
        };
        call!(self.runtime.update_container_resources(request)).map(drop)
    }

    /// Makes the runtime reopen a container's log after it was renamed.
    pub async fn reopen_log(&self, id: &str) -> Answer<()> {
        call!(self.runtime.reopen_container_log(v1::ReopenContainerLogRequest { container_id: id.into() }))
            .map(drop)
    }

    /// Runs a command to its end; a `limit` of zero waits for ever.
    pub async fn exec_sync(
        &self,
        id: &str,
        cmd: Vec<String>,
        limit: Duration,
    ) -> Answer<v1::ExecSyncResponse> {
        let seconds = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
        let request = v1::ExecSyncRequest { container_id: id.into(), cmd, timeout: seconds };
        if limit.is_zero() {
            let mut client = self.runtime.clone();
            return client
                .exec_sync(request)
                .await
                .map(|answer| answer.into_inner())
                .map_err(CallError::from);
        }
        call!(self.runtime.exec_sync(request), limit + self.timeout)
    }

    /// Where the runtime serves this exec session.
    pub async fn exec_url(&self, request: v1::ExecRequest) -> Answer<String> {
        call!(self.runtime.exec(request)).map(|answer| answer.url)
    }

    /// Where the runtime serves this attach session.
    pub async fn attach_url(&self, request: v1::AttachRequest) -> Answer<String> {
        call!(self.runtime.attach(request)).map(|answer| answer.url)
    }

    /// Where the runtime serves port forwarding into this sandbox.
    pub async fn port_forward_url(&self, request: v1::PortForwardRequest) -> Answer<String> {
        call!(self.runtime.port_forward(request)).map(|answer| answer.url)
    }

    /// Usage of the running containers.
    pub async fn container_stats(&self) -> Answer<Vec<v1::ContainerStats>> {
        call!(self.runtime.list_container_stats(v1::ListContainerStatsRequest { filter: None }))
            .map(|answer| answer.stats)
    }

    /// The runtime's event stream; `Unimplemented` shows only with the first message of some runtimes.
    pub async fn events(&self) -> Answer<tonic::Streaming<v1::ContainerEventResponse>> {
        let mut client = self.runtime.clone();
        client
            .get_container_events(v1::GetEventsRequest {})
            .await
            .map(|answer| answer.into_inner())
            .map_err(CallError::from)
    }

    /// The images on the node.
    pub async fn image_list(&self) -> Answer<Vec<v1::Image>> {
        call!(self.images.list_images(v1::ListImagesRequest { filter: None })).map(|answer| answer.images)
    }

    /// One image, when it is on the node.
    pub async fn image(&self, spec: v1::ImageSpec) -> Answer<Option<v1::Image>> {
        call!(self.images.image_status(v1::ImageStatusRequest { image: Some(spec), verbose: false }))
            .map(|answer| answer.image)
    }

    /// Pulls an image; answers its reference. Takes as long as it takes: drop the future to cancel.
    pub async fn pull(
        &self,
        spec: v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Answer<String> {
        let request = v1::PullImageRequest { image: Some(spec), auth, sandbox_config: Some(sandbox_config) };
        let mut client = self.images.clone();
        let call = async {
            client
                .pull_image(request)
                .await
                .map(|answer| answer.into_inner().image_ref)
                .map_err(CallError::from)
        };
        counted::counted("pull_image", call).await
    }

    /// Removes an image.
    pub async fn remove_image(&self, spec: v1::ImageSpec) -> Answer<()> {
        call!(self.images.remove_image(v1::RemoveImageRequest { image: Some(spec) })).map(drop)
    }

    /// Usage of the filesystems that hold images.
    pub async fn image_fs(&self) -> Answer<v1::ImageFsInfoResponse> {
        call!(self.images.image_fs_info(v1::ImageFsInfoRequest {}))
    }
}

/// `image` of what a runtime tells of a sandbox beyond its status.
fn sandbox_image(info: &str) -> Option<String> {
    let info: serde_json::Value = serde_json::from_str(info).ok()?;
    info.get("image")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod told {
    use super::sandbox_image;

    #[test]
    fn the_image_of_a_sandbox_is_found() {
        let image = Some("registry/pause:3".to_owned());
        assert_eq!(sandbox_image(r#"{"pid":7,"image":"registry/pause:3"}"#), image);
        assert_eq!([sandbox_image("{}"), sandbox_image("no")], [None, None]);
    }
}
