//! A plugin behind a real socket, which registers as plugins do.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status};

use super::plugin::proto::device_plugin_server::{DevicePlugin, DevicePluginServer};
use super::plugin::proto::registration_client::RegistrationClient;
use super::plugin::proto::*;
use super::*;
use crate::csi::driver::channel;
use api_types::core::v1::ContainerStatus;

/// Offers what it is told to, and keeps what it was asked.
struct Fake {
    offers: watch::Receiver<Vec<(&'static str, bool)>>,
    asked: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl DevicePlugin for Fake {
    type ListAndWatchStream = ReceiverStream<Result<ListAndWatchResponse, Status>>;

    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        let options =
            DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true };
        Ok(Response::new(options))
    }

    async fn list_and_watch(&self, _: Request<Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let (sender, receiver) = mpsc::channel(1);
        let mut offers = self.offers.clone();
        tokio::spawn(async move {
            loop {
                let one = |(id, healthy): &(&str, bool)| super::plugin::proto::Device {
                    id: (*id).into(),
                    health: if *healthy { "Healthy" } else { "Unhealthy" }.into(),
                    topology: Some(TopologyInfo { nodes: vec![NumaNode { id: 1 }] }),
                };
                let devices = offers.borrow_and_update().iter().map(one).collect();
                if sender.send(Ok(ListAndWatchResponse { devices })).await.is_err() {
                    return;
                }
                if offers.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_preferred_allocation(
        &self,
        call: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        let last = call.get_ref().container_requests[0].available_device_i_ds.last().cloned();
        let one = ContainerPreferredAllocationResponse { device_i_ds: last.into_iter().collect() };
        Ok(Response::new(PreferredAllocationResponse { container_responses: vec![one] }))
    }

    async fn allocate(&self, call: Request<AllocateRequest>) -> Result<Response<AllocateResponse>, Status> {
        let ids = call.get_ref().container_requests[0].devices_ids.join(",");
        self.asked.lock().unwrap().push(format!("allocate {ids}"));
        if ids.contains("bad") {
            return Err(Status::internal("no"));
        }
        let one = ContainerAllocateResponse {
            envs: HashMap::from([("IDS".to_owned(), ids)]),
            devices: vec![DeviceSpec {
                container_path: "/dev/a".into(),
                host_path: "/dev/null".into(),
                permissions: "rw".into(),
            }],
            ..Default::default()
        };
        Ok(Response::new(AllocateResponse { container_responses: vec![one] }))
    }

    async fn pre_start_container(
        &self,
        call: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        self.asked.lock().unwrap().push(format!("start {}", call.get_ref().devices_ids.join(",")));
        Ok(Response::new(PreStartContainerResponse {}))
    }
}

/// A root with the kubelet's socket in it; removed at the end.
struct Bench {
    root: PathBuf,
    devices: Arc<Devices>,
    offer: watch::Sender<Vec<(&'static str, bool)>>,
    asked: Arc<Mutex<Vec<String>>>,
    plugin: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Bench {
    async fn new(offers: &[(&'static str, bool)]) -> Self {
        let root = std::env::temp_dir().join(format!("kubelet-devices-{}", uuid::Uuid::new_v4()));
        let devices = Arc::new(Devices::load(&root));
        tokio::spawn(plugin::serve(Arc::clone(&devices)));
        let socket = devices.dir().join("kubelet.sock");
        while !socket.exists() {
            tokio::task::yield_now().await;
        }
        let (offer, receiver) = watch::channel(offers.to_vec());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let fake = Fake { offers: receiver, asked: Arc::clone(&asked) };
        let listener = tokio::net::UnixListener::bind(devices.dir().join("fake.sock")).unwrap();
        let server = tonic::transport::Server::builder().add_service(DevicePluginServer::new(fake));
        let plugin = tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        let request = RegisterRequest {
            version: "v1beta1".into(),
            endpoint: "fake.sock".into(),
            resource_name: "example.com/a".into(),
            ..Default::default()
        };
        RegistrationClient::new(channel(&socket.to_string_lossy())).register(request).await.unwrap();
        let bench = Self { root, devices, offer, asked, plugin };
        bench.shows(offers.len(), offers.iter().filter(|(_, healthy)| *healthy).count()).await;
        bench
    }

    /// Waits until the node shows so many devices, and so many that work.
    async fn shows(&self, all: usize, healthy: usize) {
        let of = |list: &ResourceList| list.get("example.com/a").map(Quantity::value);
        loop {
            let (capacity, allocatable) = self.devices.amounts();
            if (of(&capacity), of(&allocatable)) == (Some(all as i64), Some(healthy as i64)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn allocate(&self, pod: &Pod) -> Result<(), String> {
        allocate(&self.devices, pod).await
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

async fn allocate(devices: &Devices, pod: &Pod) -> Result<(), String> {
    let mut free = BTreeMap::new();
    for (container, init) in crate::placement::containers(&pod.spec) {
        devices.allocate(pod, container, None, Reusable { init, free: &mut free }).await?;
    }
    Ok(())
}

fn container(name: &str, amount: &str) -> Container {
    let mut container = Container { name: name.into(), ..Default::default() };
    container.resources.limits.insert("example.com/a".into(), amount.parse().unwrap());
    container
}

fn pod(uid: &str, amount: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.uid = uid.into();
    pod.spec.containers.push(container("c", amount));
    pod
}

#[tokio::test]
async fn a_container_has_its_devices_until_its_pod_is_over() {
    let bench = Bench::new(&[("1", true), ("2", true), ("3", false)]).await;
    let first = pod("u", "1");
    bench.allocate(&first).await.unwrap();
    bench.allocate(&first).await.unwrap();
    assert_eq!(bench.taken(), ["allocate 2"], "the plugin's preference, and only once");
    let needs = bench.devices.before_start(&first, &first.spec.containers[0]).await.unwrap();
    assert_eq!(needs.envs.get("IDS").map(String::as_str), Some("2"));
    assert_eq!(needs.devices[0].container_path, "/dev/a");
    assert_eq!(bench.taken(), ["start 2"]);
    let few = "requested number of devices unavailable for example.com/a. Requested: 2, Available: 1";
    assert_eq!(bench.allocate(&pod("v", "2")).await.unwrap_err(), few);
    // Another kubelet, as after a restart: it knows who has what, and that no plugin is there yet.
    let later = Devices::load(&bench.root);
    assert_eq!(later.state.lock().used("example.com/a"), Ids::from(["2".to_owned()]));
    let gone = allocate(&later, &pod("v", "1")).await.unwrap_err();
    assert_eq!(gone, "no healthy devices present; cannot allocate unhealthy devices example.com/a");
    bench.devices.release("u");
    bench.allocate(&pod("v", "2")).await.unwrap();
    assert_eq!(bench.taken(), ["allocate 1,2"]);
    assert_eq!(bench.allocate(&Pod::default()).await, Ok(()));
}

#[tokio::test]
async fn init_containers_leave_their_devices_to_those_after_them() {
    let bench = Bench::new(&[("1", true), ("2", true)]).await;
    let mut shared = pod("u", "2");
    shared.spec.init_containers.push(container("init", "1"));
    bench.allocate(&shared).await.unwrap();
    assert_eq!(bench.taken(), ["allocate 2", "allocate 1,2"]);
    let file = std::fs::read(bench.devices.dir().join(FILE)).unwrap();
    let entries = checkpoint::decode(&file).unwrap().pod_device_entries.unwrap();
    let by_node = |ids: &[&str]| Some(BTreeMap::from([(1, ids.iter().map(|id| (*id).to_owned()).collect())]));
    assert_eq!(entries[0].devices, by_node(&["2"]));
    assert_eq!(entries[1].devices, by_node(&["1", "2"]));
}

#[tokio::test]
async fn a_devices_health_stands_in_the_pods_status_and_wakes_it() {
    let bench = Bench::new(&[("1", true)]).await;
    let woken: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&woken);
    bench.devices.wake_with(move |uid| heard.lock().unwrap().push(uid.to_owned()));
    bench.allocate(&pod("u", "1")).await.unwrap();
    let shown = |uid: &str| {
        let container = ContainerStatus { name: "c".into(), ..Default::default() };
        let mut status = PodStatus { container_statuses: vec![container], ..Default::default() };
        bench.devices.fill(uid, &mut status);
        status.container_statuses.remove(0).allocated_resources_status
    };
    let expected = |health: ResourceHealthStatus| {
        let device = ResourceHealth { resource_id: "1".into(), health, message: None };
        vec![ResourceStatus { name: "example.com/a".into(), resources: vec![device] }]
    };
    assert_eq!(shown("u"), expected(ResourceHealthStatus::Healthy));
    assert_eq!(shown("v"), Vec::new());
    bench.offer.send_replace(vec![("1", false)]);
    bench.shows(1, 0).await;
    assert_eq!(shown("u"), expected(ResourceHealthStatus::Unhealthy));
    while woken.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(woken.lock().unwrap().as_slice(), ["u"]);
}

#[tokio::test]
async fn devices_and_plugins_come_and_go() {
    let bench = Bench::new(&[("1", true)]).await;
    let changes = bench.devices.changes();
    bench.offer.send_replace(vec![("1", false), ("bad", true)]);
    bench.shows(2, 1).await;
    assert!(bench.devices.changes() > changes);
    let refused = bench.allocate(&pod("u", "1")).await.unwrap_err();
    assert_eq!(refused, "rpc error: code = Internal desc = no");
    assert!(bench.devices.state.lock().entries.is_empty(), "what was refused is free");
    bench.plugin.abort();
    bench.offer.send_replace(Vec::new());
    drop(std::fs::remove_file(bench.devices.dir().join("fake.sock")));
}

#[tokio::test]
async fn a_plugin_that_is_found_by_its_socket_is_one_like_any_other() {
    let bench = Bench::new(&[("1", true)]).await;
    let socket = bench.devices.dir().join("fake.sock");
    let joined = plugin::join(&bench.devices, "example.com/b", &socket).await.unwrap();
    let works = |devices: &Devices| devices.working().iter().any(|one| one.resource == "example.com/b");
    while !works(&bench.devices) {
        tokio::task::yield_now().await;
    }
    plugin::leave(&bench.devices, "example.com/b", &joined);
    assert!(!works(&bench.devices), "its devices work no more once its socket is gone");
    assert!(bench.devices.amounts().0.contains_key("example.com/b"), "and are still told of for a while");
    let gone = plugin::join(&bench.devices, "example.com/c", Path::new("/nowhere.sock")).await;
    assert!(gone.unwrap_err().starts_with("failed to get device plugin options: "));
}
