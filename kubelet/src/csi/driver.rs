//! One storage driver on this node, spoken to over its socket.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use super::proto::node_client::NodeClient;
use super::proto::node_service_capability::{self, rpc};
use super::proto::{
    NodeExpandVolumeRequest, NodeGetCapabilitiesRequest, NodeGetInfoRequest, NodeGetInfoResponse,
    NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodeStageVolumeRequest,
    NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest,
};
use crate::cri::CallError;

/// COMPAT: how long upstream waits for a driver.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a driver can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Volumes are prepared once for the node before they are mounted into pods.
    pub stage: bool,
    /// It gives files to the pod's group itself.
    pub mount_group: bool,
    /// It tells several writers on one node from one.
    pub multi_writer: bool,
    /// It says how full a volume is.
    pub stats: bool,
    /// It says how a volume is.
    pub condition: bool,
    /// It grows what is on a volume that has grown.
    pub expand: bool,
}

/// A channel to a unix socket, connected when it is first used; `unix://` before the path may be left out.
pub fn channel(socket: &str) -> Channel {
    let path = PathBuf::from(socket.strip_prefix("unix://").unwrap_or(socket));
    // The authority is never used; the connector decides where to go.
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
    }))
}

/// A driver; cheap to clone.
#[derive(Clone)]
pub struct Driver {
    node: NodeClient<Channel>,
}

macro_rules! call {
    ($self:ident . $method:ident ( $request:expr )) => {{
        let mut request = Request::new($request);
        request.set_timeout(PATIENCE);
        let mut node = $self.node.clone();
        match tokio::time::timeout(PATIENCE, node.$method(request)).await {
            Ok(answer) => answer.map(tonic::Response::into_inner).map_err(CallError::from),
            Err(_) => Err(CallError::from(Status::deadline_exceeded("context deadline exceeded"))),
        }
    }};
}

impl Driver {
    /// At this socket.
    pub fn new(socket: &str) -> Self {
        Self { node: NodeClient::new(channel(socket)) }
    }

    /// What the driver calls the node, and where it can be.
    pub async fn info(&self) -> Result<NodeGetInfoResponse, CallError> {
        call!(self.node_get_info(NodeGetInfoRequest {}))
    }

    /// What the driver can do.
    pub async fn capabilities(&self) -> Result<Capabilities, CallError> {
        let answer = call!(self.node_get_capabilities(NodeGetCapabilitiesRequest {}))?;
        let has = |wanted: rpc::Type| {
            answer.capabilities.iter().any(|one| {
                matches!(&one.r#type, Some(node_service_capability::Type::Rpc(rpc)) if rpc.r#type == wanted as i32)
            })
        };
        Ok(Capabilities {
            stage: has(rpc::Type::StageUnstageVolume),
            mount_group: has(rpc::Type::VolumeMountGroup),
            multi_writer: has(rpc::Type::SingleNodeMultiWriter),
            stats: has(rpc::Type::GetVolumeStats),
            condition: has(rpc::Type::VolumeCondition),
            expand: has(rpc::Type::ExpandVolume),
        })
    }

    /// Prepares a volume for the node.
    pub async fn stage(&self, request: NodeStageVolumeRequest) -> Result<(), CallError> {
        call!(self.node_stage_volume(request)).map(drop)
    }

    /// Takes back what `stage` did.
    pub async fn unstage(&self, handle: &str, staged: String) -> Result<(), CallError> {
        let request = NodeUnstageVolumeRequest { volume_id: handle.into(), staging_target_path: staged };
        call!(self.node_unstage_volume(request)).map(drop)
    }

    /// Mounts a volume for a pod.
    pub async fn publish(&self, request: NodePublishVolumeRequest) -> Result<(), CallError> {
        call!(self.node_publish_volume(request)).map(drop)
    }

    /// Makes what is on a volume as large as the volume.
    pub async fn expand(&self, request: NodeExpandVolumeRequest) -> Result<(), CallError> {
        call!(self.node_expand_volume(request)).map(drop)
    }

    /// How full a volume is.
    pub async fn stats(
        &self,
        request: NodeGetVolumeStatsRequest,
    ) -> Result<NodeGetVolumeStatsResponse, CallError> {
        call!(self.node_get_volume_stats(request))
    }

    /// Takes back what `publish` did.
    pub async fn unpublish(&self, handle: &str, target: String) -> Result<(), CallError> {
        let request = NodeUnpublishVolumeRequest { volume_id: handle.into(), target_path: target };
        call!(self.node_unpublish_volume(request)).map(drop)
    }
}
