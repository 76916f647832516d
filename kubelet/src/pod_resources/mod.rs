//! The socket at which monitors ask which pod has which devices, CPUs and memory (KEP-606, KEP-2403, KEP-3695):
//! `pod-resources/kubelet.sock` below the kubelet's root, versions v1 and v1alpha1.
//!
//! Everything is read from where it is kept ([`Sources`]) when it is asked for. Only long-running containers are
//! told of: sidecars and a pod's own, no init containers.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use api_types::core::v1::{Container, Pod};
use daemon::metrics::{self, IntCounterVec};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use crate::device::{Devices, Placed};
use crate::dra::claims::Entry;
use crate::placement::Placement;
use crate::placement::cpu_set::CpuSet;
use crate::placement::memory::Block;
use crate::sync_pod::plan::is_sidecar;
use v1::pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer};
use v1alpha1::pod_resources_lister_server::{
    PodResourcesLister as OldLister, PodResourcesListerServer as OldListerServer,
};

/// Messages generated from `proto/podresources.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, dead_code, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("v1");
}

/// Messages generated from `proto/podresources_v1alpha1.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, dead_code, reason = "generated")]
pub mod v1alpha1 {
    tonic::include_proto!("v1alpha1");
}

/// COMPAT: requests a second, and at once.
const RATE: f64 = 100.0;
const BURST: f64 = 10.0;

fn counter(name: &str, help: &str) -> IntCounterVec {
    metrics::global().counter_vec(name, help, &["server_api_version"])
}

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "kubelet_pod_resources_endpoint_requests_total",
        "Cumulative number of requests to the PodResource endpoint. Broken down by server api version.",
    )
});
static LISTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "kubelet_pod_resources_endpoint_requests_list",
        "Number of requests to the PodResource List endpoint. Broken down by server api version.",
    )
});
static GETS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "kubelet_pod_resources_endpoint_requests_get",
        "Number of requests to the PodResource Get endpoint. Broken down by server api version.",
    )
});
static GET_ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "kubelet_pod_resources_endpoint_errors_get",
        "Number of requests to the PodResource Get endpoint which returned error. Broken down by server api version.",
    )
});
static ALLOCATABLES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "kubelet_pod_resources_endpoint_requests_get_allocatable",
        "Number of requests to the PodResource GetAllocatableResources endpoint. Broken down by server api version.",
    )
});

/// All pods, or (`true`) those that are not over.
pub type AllPods = dyn Fn(bool) -> Vec<Arc<Pod>> + Send + Sync;
/// The pod of that namespace and name.
pub type OnePod = dyn Fn(&str, &str) -> Option<Arc<Pod>> + Send + Sync;

/// The claims of a pod's container.
pub type ClaimsOf = dyn Fn(&Pod, &Container) -> Vec<Entry> + Send + Sync;

/// Where the answers come from.
pub struct Sources {
    /// Many pods.
    pub pods: Box<AllPods>,
    /// One pod.
    pub pod: Box<OnePod>,
    /// Devices of plugins.
    pub devices: Arc<Devices>,
    /// CPUs and memory.
    pub placement: Arc<Placement>,
    /// Devices of claims.
    pub claims: Box<ClaimsOf>,
}

/// Serves both versions at `socket`; ends with an error only.
pub async fn serve(sources: Sources, socket: &Path) -> std::io::Result<()> {
    if let Some(dir) = socket.parent() {
        std::fs::create_dir_all(dir)?;
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(socket)?;
    let sources = Arc::new(sources);
    let bucket = Arc::new(Mutex::new(Bucket { left: BURST, at: Instant::now() }));
    let limit = move |request: Request<()>| {
        if bucket.lock().take(Instant::now()) {
            return Ok(request);
        }
        Err(Status::resource_exhausted("rejected by rate limit"))
    };
    tonic::transport::Server::builder()
        .add_service(PodResourcesListerServer::with_interceptor(Lister(Arc::clone(&sources)), limit.clone()))
        .add_service(OldListerServer::with_interceptor(Lister(sources), limit))
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await
        .map_err(std::io::Error::other)
}

/// How many requests may come now.
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let passed: Duration = now.saturating_duration_since(self.at);
        self.left = (self.left + passed.as_secs_f64() * RATE).min(BURST);
        self.at = now;
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

struct Lister(Arc<Sources>);

/// One entry for each device and each of its NUMA nodes, as upstream's.
fn devices(placed: Vec<Placed>) -> Vec<v1::ContainerDevices> {
    let entry = |one: &Placed, node: Option<i64>| v1::ContainerDevices {
        resource_name: one.resource.clone(),
        device_ids: vec![one.id.clone()],
        topology: node.map(|id| v1::TopologyInfo { nodes: vec![v1::NumaNode { id }] }),
    };
    let of = |one: &Placed| -> Vec<v1::ContainerDevices> {
        match one.nodes.as_slice() {
            [] => vec![entry(one, None)],
            nodes => nodes.iter().map(|node| entry(one, Some(*node))).collect(),
        }
    };
    placed.iter().flat_map(of).collect()
}

fn numbers(cpus: &CpuSet) -> Vec<i64> {
    cpus.iter().filter_map(|cpu| i64::try_from(cpu).ok()).collect()
}

fn memory(blocks: Vec<Block>) -> Vec<v1::ContainerMemory> {
    let node = |node: usize| v1::NumaNode { id: i64::try_from(node).unwrap_or_default() };
    let block = |block: Block| v1::ContainerMemory {
        memory_type: block.kind,
        size: block.size,
        topology: Some(v1::TopologyInfo { nodes: block.numa_affinity.into_iter().map(node).collect() }),
    };
    blocks.into_iter().map(block).collect()
}

fn dynamic(claim: &Entry) -> v1::DynamicResource {
    let resources = claim.devices().map(|(driver, device)| v1::ClaimResource {
        cdi_devices: device.cdi().iter().map(|name| v1::CdiDevice { name: name.clone() }).collect(),
        driver_name: driver.to_owned(),
        pool_name: device.pool_name.clone(),
        device_name: device.device_name.clone(),
        share_id: device.share_id.clone(),
    });
    v1::DynamicResource {
        claim_name: claim.state.name.clone(),
        claim_namespace: claim.state.namespace.clone(),
        claim_resources: resources.collect(),
    }
}

impl Sources {
    fn container(&self, pod: &Pod, container: &Container) -> v1::ContainerResources {
        let (uid, name) = (pod.metadata.uid.as_str(), container.name.as_str());
        v1::ContainerResources {
            name: name.to_owned(),
            devices: devices(self.devices.of_container(uid, name)),
            cpu_ids: numbers(&self.placement.own_cpus(uid, name)),
            memory: memory(self.placement.memory(uid, name)),
            dynamic_resources: (self.claims)(pod, container).iter().map(dynamic).collect(),
        }
    }

    fn resources(&self, pod: &Pod) -> v1::PodResources {
        let sidecars = pod.spec.init_containers.iter().filter(|container| is_sidecar(container));
        v1::PodResources {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            containers: sidecars
                .chain(&pod.spec.containers)
                .map(|container| self.container(pod, container))
                .collect(),
        }
    }
}

#[tonic::async_trait]
impl PodResourcesLister for Lister {
    async fn list(
        &self,
        _: Request<v1::ListPodResourcesRequest>,
    ) -> Result<Response<v1::ListPodResourcesResponse>, Status> {
        REQUESTS.with_label_values(&["v1"]).inc();
        LISTS.with_label_values(&["v1"]).inc();
        let pod_resources = (self.0.pods)(true).iter().map(|pod| self.0.resources(pod)).collect();
        Ok(Response::new(v1::ListPodResourcesResponse { pod_resources }))
    }

    async fn get_allocatable_resources(
        &self,
        _: Request<v1::AllocatableResourcesRequest>,
    ) -> Result<Response<v1::AllocatableResourcesResponse>, Status> {
        REQUESTS.with_label_values(&["v1"]).inc();
        ALLOCATABLES.with_label_values(&["v1"]).inc();
        Ok(Response::new(v1::AllocatableResourcesResponse {
            devices: devices(self.0.devices.working()),
            cpu_ids: numbers(&self.0.placement.allocatable_cpus()),
            memory: memory(self.0.placement.allocatable_memory()),
        }))
    }

    async fn get(
        &self,
        call: Request<v1::GetPodResourcesRequest>,
    ) -> Result<Response<v1::GetPodResourcesResponse>, Status> {
        REQUESTS.with_label_values(&["v1"]).inc();
        GETS.with_label_values(&["v1"]).inc();
        let request = call.into_inner();
        let Some(pod) = (self.0.pod)(&request.pod_namespace, &request.pod_name) else {
            GET_ERRORS.with_label_values(&["v1"]).inc();
            return Err(Status::unknown(format!(
                "pod {} in namespace {} not found",
                request.pod_name, request.pod_namespace
            )));
        };
        Ok(Response::new(v1::GetPodResourcesResponse { pod_resources: Some(self.0.resources(&pod)) }))
    }
}

#[tonic::async_trait]
impl OldLister for Lister {
    async fn list(
        &self,
        _: Request<v1alpha1::ListPodResourcesRequest>,
    ) -> Result<Response<v1alpha1::ListPodResourcesResponse>, Status> {
        REQUESTS.with_label_values(&["v1alpha1"]).inc();
        let container = |pod: &Pod, container: &Container| v1alpha1::ContainerResources {
            name: container.name.clone(),
            devices: devices(self.0.devices.of_container(&pod.metadata.uid, &container.name))
                .into_iter()
                .map(|one| v1alpha1::ContainerDevices {
                    resource_name: one.resource_name,
                    device_ids: one.device_ids,
                })
                .collect(),
        };
        let resources = |pod: &Arc<Pod>| v1alpha1::PodResources {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            containers: pod.spec.containers.iter().map(|one| container(pod, one)).collect(),
        };
        let pod_resources = (self.0.pods)(false).iter().map(resources).collect();
        Ok(Response::new(v1alpha1::ListPodResourcesResponse { pod_resources }))
    }
}
