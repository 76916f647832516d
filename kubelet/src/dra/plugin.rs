//! One plugin of a driver, spoken to over its socket: v1 or v1beta1, which are the same but for their name.
//!
//! Whether it is there is told by its connection, not by its registration: a plugin that starts again may
//! keep its sockets. The connection is made anew by whoever calls, and that is at least the one who
//! listens to its devices' health, every few seconds.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use daemon::metrics::{self, HistogramVec};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use super::health::proto::NodeWatchResourcesRequest;
use super::health::proto::NodeWatchResourcesResponse;
use super::health::proto::dra_resource_health_client::DraResourceHealthClient;
use crate::cri::{CallError, code_name};
use proto::{
    NodePrepareResourcesRequest, NodePrepareResourcesResponse, NodeUnprepareResourcesRequest,
    NodeUnprepareResourcesResponse,
};

/// Messages generated from `proto/dra.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, dead_code, reason = "generated")]
pub mod proto {
    tonic::include_proto!("k8s.io.kubelet.pkg.apis.dra.v1");
}

/// COMPAT: half of upstream's pause between two tries to start a pod.
const PATIENCE: Duration = Duration::from_secs(45);
/// What this kubelet speaks, the newest first.
pub const SERVICES: [&str; 2] = ["v1.DRAPlugin", "v1beta1.DRAPlugin"];

static CALLS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "dra_grpc_operations_duration_seconds",
        "[ALPHA] Duration in seconds of the DRA gRPC operations",
        &["driver_name", "method_name", "grpc_status_code"],
        &buckets(),
    )
});

/// COMPAT: fifteen from 0.1 to 40 seconds, each the same factor more.
pub(super) fn buckets() -> Vec<f64> {
    let (first, last, count) = (0.1_f64, 40.0_f64, 15);
    let factor = (last / first).powf(1.0 / f64::from(count - 1));
    (0..count).map(|place| first * factor.powi(place)).collect()
}

/// Counts the connections that a plugin has.
type Connections = watch::Sender<usize>;

/// A connection that is counted as long as it is there.
struct Counted {
    stream: UnixStream,
    connections: Arc<Connections>,
}

impl Counted {
    fn new(stream: UnixStream, connections: Arc<Connections>) -> Self {
        connections.send_modify(|count| *count += 1);
        Self { stream, connections }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        c: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(c, to)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, c: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(c, from)
    }
    fn poll_flush(mut self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(c)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(c)
    }
}

/// A plugin.
#[derive(Debug)]
pub struct Plugin {
    /// Its driver.
    pub driver: String,
    /// Its socket.
    pub endpoint: String,
    /// The version that is spoken with it: `v1`.
    version: &'static str,
    channel: Channel,
    connections: Arc<Connections>,
}

/// Which of the services that a plugin offers is used.
///
/// # Errors
/// When there is none that this kubelet knows, in upstream's words.
pub fn choose(driver: &str, endpoint: &str, services: &[String]) -> Result<&'static str, String> {
    let known = |service: &String| SERVICES.into_iter().find(|known| known == service);
    let quoted = |list: Vec<String>| format!("[{}]", list.join(" "));
    let why = match services.iter().find_map(known) {
        Some(service) => return Ok(service),
        None if services.is_empty() => {
            "empty list of supported gRPC services (aka supported versions)".into()
        }
        None => format!(
            "none of services supported by the plugin ({}) are supported by the kubelet ({})",
            quoted(services.iter().map(|service| format!("{service:?}")).collect()),
            quoted(SERVICES.iter().map(|service| format!("{service:?}")).collect()),
        ),
    };
    Err(format!(
        "invalid supported gRPC versions of DRA driver plugin {driver} at endpoint {endpoint}: {why}"
    ))
}

impl Plugin {
    /// The plugin at a socket; `service` is one of [`SERVICES`].
    pub fn new(driver: &str, endpoint: &str, service: &'static str) -> Self {
        let connections = Arc::new(watch::Sender::new(0));
        let path = PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
        let counting = Arc::clone(&connections);
        let connect = move |_: Uri| {
            let (path, counting) = (path.clone(), Arc::clone(&counting));
            async move {
                let stream = UnixStream::connect(path).await?;
                Ok::<_, io::Error>(TokioIo::new(Counted::new(stream, counting)))
            }
        };
        // The authority is never used; the connector decides where to go.
        let target = Endpoint::from_static("http://localhost");
        let channel = target.connect_with_connector_lazy(tower::service_fn(connect));
        let version = service.split('.').next().unwrap_or(service);
        Self { driver: driver.into(), endpoint: endpoint.into(), version, channel, connections }
    }

    /// It is there.
    pub fn is_connected(&self) -> bool {
        *self.connections.borrow() > 0
    }

    /// Follows whether it is there.
    pub fn watch_connections(&self) -> watch::Receiver<usize> {
        self.connections.subscribe()
    }

    async fn call<M, A>(&self, method: &str, message: M) -> Result<A, CallError>
    where
        M: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let path = format!("/k8s.io.kubelet.pkg.apis.dra.{}.DRAPlugin/{method}", self.version);
        let at = PathAndQuery::try_from(path.as_str()).expect("versions and methods are constants");
        let mut request = Request::new(message);
        request.set_timeout(PATIENCE);
        let asked = async {
            let mut client = tonic::client::Grpc::new(self.channel.clone());
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = tonic_prost::ProstCodec::<M, A>::default();
            client.unary(request, at, codec).await.map(tonic::Response::into_inner)
        };
        let began = Instant::now();
        let answer = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded("context deadline exceeded")),
        };
        let code = answer.as_ref().map_or_else(|status| code_name(status.code()), |_| "OK".into());
        CALLS.with_label_values(&[&self.driver, &path, &code]).observe(began.elapsed().as_secs_f64());
        answer.map_err(CallError::from)
    }

    /// Makes claims usable.
    pub async fn prepare(
        &self,
        request: NodePrepareResourcesRequest,
    ) -> Result<NodePrepareResourcesResponse, CallError> {
        self.call("NodePrepareResources", request).await
    }

    /// Takes that back.
    pub async fn unprepare(
        &self,
        request: NodeUnprepareResourcesRequest,
    ) -> Result<NodeUnprepareResourcesResponse, CallError> {
        self.call("NodeUnprepareResources", request).await
    }

    /// What it says of its devices' health, from now on.
    pub async fn health(&self) -> Result<tonic::Streaming<NodeWatchResourcesResponse>, CallError> {
        let mut client = DraResourceHealthClient::new(self.channel.clone());
        let stream = client.node_watch_resources(NodeWatchResourcesRequest {}).await;
        stream.map(tonic::Response::into_inner).map_err(CallError::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_service_that_is_known_is_used() {
        let choose = |services: &[&str]| {
            let services: Vec<String> = services.iter().map(|s| (*s).to_owned()).collect();
            choose("d", "/s", &services)
        };
        assert_eq!(choose(&["v2.DRAPlugin", "v1beta1.DRAPlugin", "v1.DRAPlugin"]), Ok("v1beta1.DRAPlugin"));
        let refused = "invalid supported gRPC versions of DRA driver plugin d at endpoint /s: ";
        assert_eq!(
            choose(&[]),
            Err(format!("{refused}empty list of supported gRPC services (aka supported versions)"))
        );
        assert_eq!(
            choose(&["1.0.0"]),
            Err(format!(
                "{refused}none of services supported by the plugin ([\"1.0.0\"]) are supported by the kubelet \
                 ([\"v1.DRAPlugin\" \"v1beta1.DRAPlugin\"])"
            ))
        );
    }

    #[test]
    fn buckets_are_upstreams() {
        let buckets = buckets();
        assert_eq!(buckets.len(), 15);
        assert!((buckets[1] - 0.153_412_7).abs() < 1e-6 && (buckets[14] - 40.0).abs() < 1e-9, "{buckets:?}");
    }
}
