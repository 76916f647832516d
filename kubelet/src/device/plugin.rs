//! Speaking with device plugins (v1beta1): the kubelet's socket at which they register, and theirs. Those that
//! make a socket in `plugins_registry` instead come in by [`join`] and go by [`leave`].

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use daemon::metrics::{self, IntCounterVec};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use super::Devices;
use super::plan::Ids;
use crate::cri::CallError;
use crate::csi::driver::channel;
use proto::device_plugin_client::DevicePluginClient;
use proto::registration_server::{Registration, RegistrationServer};
use proto::{
    AllocateRequest, ContainerAllocateRequest, ContainerAllocateResponse,
    ContainerPreferredAllocationRequest, DevicePluginOptions, Empty, PreStartContainerRequest,
    PreferredAllocationRequest, RegisterRequest,
};

/// Messages generated from `proto/deviceplugin.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, dead_code, reason = "generated")]
pub mod proto {
    tonic::include_proto!("v1beta1");
}

const VERSION: &str = "v1beta1";
const SOCKET: &str = "kubelet.sock";
/// How long a plugin may take to say what it is.
const HELLO: Duration = Duration::from_secs(10);
/// For its answer while a pod is admitted. Upstream waits for ever, and no other pod is admitted meanwhile.
const ANSWER: Duration = Duration::from_secs(60);
/// COMPAT: for what it does before a container starts.
const BEFORE_START: Duration = Duration::from_secs(30);

static REGISTRATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "kubelet_device_plugin_registration_total",
        "Cumulative number of device plugin registrations. Broken down by resource name.",
        &["resource_name"],
    )
});

/// A plugin that registered; one that registers again is another.
#[derive(Clone, Debug)]
pub struct Plugin {
    number: u64,
    client: DevicePluginClient<Channel>,
    options: DevicePluginOptions,
}

impl PartialEq for Plugin {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

fn list(ids: &Ids) -> Vec<String> {
    ids.iter().cloned().collect()
}

impl Plugin {
    async fn connect(socket: &Path) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut client = DevicePluginClient::new(channel(&socket.to_string_lossy()));
        let asked = tokio::time::timeout(HELLO, client.get_device_plugin_options(Empty {})).await;
        let options = match asked {
            Ok(Ok(options)) => options.into_inner(),
            Ok(Err(status)) => {
                return Err(format!("failed to get device plugin options: {}", CallError::from(status)));
            }
            Err(_) => return Err("failed to get device plugin options: context deadline exceeded".into()),
        };
        Ok(Self { number: NEXT.fetch_add(1, Ordering::Relaxed), client, options })
    }

    /// Which of the devices it would rather give; empty where it has no preference.
    pub async fn preferred(&self, available: Ids, given: &Ids, size: usize) -> Result<Vec<String>, String> {
        if !self.options.get_preferred_allocation_available {
            return Ok(Vec::new());
        }
        let request = ContainerPreferredAllocationRequest {
            available_device_i_ds: list(&available),
            must_include_device_i_ds: list(given),
            allocation_size: i32::try_from(size).unwrap_or(i32::MAX),
        };
        let request = PreferredAllocationRequest { container_requests: vec![request] };
        let mut client = self.client.clone();
        let answer = in_time(ANSWER, client.get_preferred_allocation(request))
            .await
            .map_err(|error| format!("device plugin GetPreferredAllocation rpc failed with err: {error}"))?;
        let first = answer.container_responses.into_iter().next();
        Ok(first.map(|one| one.device_i_ds).unwrap_or_default())
    }

    /// Gives devices to a container.
    pub async fn allocate(&self, ids: &Ids) -> Result<ContainerAllocateResponse, String> {
        let request = ContainerAllocateRequest { devices_ids: list(ids) };
        let request = AllocateRequest { container_requests: vec![request] };
        let mut client = self.client.clone();
        let answer = in_time(ANSWER, client.allocate(request)).await.map_err(|error| error.to_string())?;
        let first = answer.container_responses.into_iter().next();
        first.ok_or_else(|| "no containers return in allocation response".into())
    }

    /// A container with these devices is about to start.
    pub async fn before_start(&self, ids: &Ids) -> Result<(), String> {
        if !self.options.pre_start_required {
            return Ok(());
        }
        let mut client = self.client.clone();
        let call = client.pre_start_container(PreStartContainerRequest { devices_ids: list(ids) });
        let failed = |error: String| format!("device plugin PreStartContainer rpc failed with err: {error}");
        match tokio::time::timeout(BEFORE_START, call).await {
            Ok(answer) => answer.map(drop).map_err(|status| failed(CallError::from(status).to_string())),
            Err(_) => Err(failed("context deadline exceeded".into())),
        }
    }
}

/// An answer that a pod's admission waits for.
async fn in_time<T>(
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, CallError> {
    let late = |_| Err(Status::deadline_exceeded("context deadline exceeded"));
    let answer = tokio::time::timeout(limit, call).await.unwrap_or_else(late);
    answer.map(Response::into_inner).map_err(CallError::from)
}

/// The kubelet's side.
struct Desk(Arc<Devices>);

/// `vendor/thing`, and no name of Kubernetes' own.
fn is_extended(name: &str) -> bool {
    let own = name.contains("kubernetes.io/") || name.starts_with("requests.");
    !own && name.split_once('/').is_some_and(|(vendor, thing)| !vendor.is_empty() && !thing.is_empty())
}

/// Why a registration is refused, in upstream's words.
fn check(request: &RegisterRequest) -> Result<(), String> {
    if request.version != VERSION {
        return Err(format!(
            "requested API version {:?} is not supported by kubelet. Supported version is [{VERSION:?}]",
            request.version
        ));
    }
    if !is_extended(&request.resource_name) {
        return Err(format!("the ResourceName {:?} is invalid", request.resource_name));
    }
    Ok(())
}

#[tonic::async_trait]
impl Registration for Desk {
    async fn register(&self, call: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let request = call.into_inner();
        let name = request.resource_name.clone();
        REGISTRATIONS.with_label_values(&[&name]).inc();
        let refuse = |error: String| {
            tracing::warn!(resource = name, error, "cannot register a device plugin");
            Status::unknown(error)
        };
        check(&request).map_err(refuse)?;
        // A name in the folder, and no way out of it.
        let endpoint = Path::new(&request.endpoint).file_name().unwrap_or_default();
        let plugin = Plugin::connect(&self.0.dir().join(endpoint)).await.map_err(refuse)?;
        tracing::info!(resource = name, endpoint = request.endpoint, "registered a device plugin");
        self.0.connected(&name, plugin.clone());
        tokio::spawn(follow(Arc::clone(&self.0), name.clone(), plugin));
        Ok(Response::new(Empty {}))
    }
}

/// A plugin that was found by its socket.
#[derive(Debug)]
pub struct Joined {
    plugin: Plugin,
    follow: tokio::task::AbortHandle,
}

/// Why a plugin with a socket of its own in `plugins_registry` is refused, in upstream's words.
pub fn check_found(name: &str, versions: &[String]) -> Result<(), String> {
    if !versions.iter().any(|version| version == VERSION) {
        return Err(format!(
            "manager version, {VERSION}, is not among plugin supported versions [{}]",
            versions.join(" ")
        ));
    }
    if !is_extended(name) {
        return Err(format!("invalid name of device plugin socket: the ResourceName {name:?} is invalid"));
    }
    Ok(())
}

/// Takes in the plugin of the resource `name` behind `socket`.
pub async fn join(devices: &Arc<Devices>, name: &str, socket: &Path) -> Result<Joined, String> {
    let plugin = Plugin::connect(socket).await?;
    tracing::info!(resource = name, socket = %socket.display(), "registered a device plugin");
    devices.connected(name, plugin.clone());
    let follow = tokio::spawn(follow(Arc::clone(devices), name.to_owned(), plugin.clone())).abort_handle();
    Ok(Joined { plugin, follow })
}

/// Its socket is gone: nobody listens to it any more.
pub fn leave(devices: &Devices, name: &str, joined: &Joined) {
    joined.follow.abort();
    devices.disconnected(name, &joined.plugin);
}

/// Listens to what the plugin says of its devices until it ends.
async fn follow(devices: Arc<Devices>, name: String, plugin: Plugin) {
    let result = async {
        let mut stream = plugin.client.clone().list_and_watch(Empty {}).await?.into_inner();
        while let Some(listed) = stream.message().await? {
            devices.listed(&name, &plugin, listed.devices);
        }
        Ok::<(), Status>(())
    };
    let ended = result.await;
    tracing::info!(
        resource = name,
        error = ended.err().map(|status| status.to_string()),
        "a device plugin went away"
    );
    devices.disconnected(&name, &plugin);
}

/// Serves registrations; never ends while that works.
pub async fn serve(devices: Arc<Devices>) {
    let served = async {
        devices.tidy()?;
        // COMPAT: upstream's way to say that the folder is about to go.
        std::fs::write(devices.dir().join("DEPRECATION"), "")?;
        let listener = tokio::net::UnixListener::bind(devices.dir().join(SOCKET))?;
        let server = Server::builder().add_service(RegistrationServer::new(Desk(Arc::clone(&devices))));
        server.serve_with_incoming(UnixListenerStream::new(listener)).await.map_err(std::io::Error::other)
    };
    if let Err(error) = served.await {
        tracing::error!(%error, dir = %devices.dir().display(), "device plugins cannot register");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plugin_that_does_not_answer_is_waited_for_only_so_long() {
        let error = in_time::<Empty>(Duration::ZERO, std::future::pending()).await.unwrap_err();
        assert_eq!(error.to_string(), "rpc error: code = DeadlineExceeded desc = context deadline exceeded");
        assert!(in_time(ANSWER, std::future::ready(Ok(Response::new(Empty {})))).await.is_ok());
    }

    #[test]
    fn registrations_that_cannot_be() {
        let request = |version: &str, name: &str| RegisterRequest {
            version: version.into(),
            resource_name: name.into(),
            ..Default::default()
        };
        assert_eq!(check(&request("v1beta1", "example.com/gpu")), Ok(()));
        let error = check(&request("v1alpha", "example.com/gpu")).unwrap_err();
        assert_eq!(
            error,
            "requested API version \"v1alpha\" is not supported by kubelet. Supported version is [\"v1beta1\"]"
        );
        for name in ["cpu", "kubernetes.io/x", "requests.example.com/x", "/x", "x/"] {
            let error = check(&request("v1beta1", name)).unwrap_err();
            assert_eq!(error, format!("the ResourceName {name:?} is invalid"));
        }
    }
}
