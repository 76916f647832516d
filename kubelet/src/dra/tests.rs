//! A driver behind a real socket, and an API server that knows one claim.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Mutex as Plain;

use api_types::codec::json;
use api_types::core::v1::{ContainerStatus, PodResourceClaim, ResourceClaim as Wanted, ResourceHealthStatus};
use api_types::resource::v1::{
    AllocationResult, DeviceRequestAllocationResult, ResourceClaimConsumerReference,
};
use axum::extract::{Path as Segments, RawQuery, State};
use axum::routing::get;
use client::Config;
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status};

use super::health::proto::dra_resource_health_server::{DraResourceHealth, DraResourceHealthServer};
use super::health::proto::{
    DeviceHealth, DeviceIdentifier, HealthStatus, NodeWatchResourcesRequest, NodeWatchResourcesResponse,
};
use super::plugin::proto::dra_plugin_server::{DraPlugin, DraPluginServer};
use super::plugin::proto::*;
use super::*;

/// Keeps what it was asked, and may be told to refuse, or to take for ever (`hang`).
#[derive(Clone)]
struct Fake {
    driver: &'static str,
    asked: Arc<Plain<Vec<String>>>,
    refuses: Arc<Plain<String>>,
    health: watch::Receiver<HealthStatus>,
}

impl Fake {
    fn note(&self, what: &str, claims: &[Claim]) {
        let names: Vec<&str> = claims.iter().map(|claim| claim.name.as_str()).collect();
        let driver = if self.driver == "d" { "" } else { self.driver };
        self.asked.lock().unwrap().push(format!("{driver}{what} {}", names.join(",")));
    }
}

#[tonic::async_trait]
impl DraPlugin for Fake {
    async fn node_prepare_resources(
        &self,
        call: Request<NodePrepareResourcesRequest>,
    ) -> Result<Response<NodePrepareResourcesResponse>, Status> {
        let claims = call.into_inner().claims;
        self.note("prepare", &claims);
        if self.refuses.lock().unwrap().as_str() == "hang" {
            std::future::pending::<()>().await;
        }
        let error = self.refuses.lock().unwrap().clone();
        let device = |request: &str, name: &str| super::plugin::proto::Device {
            request_names: vec![request.into()],
            pool_name: "pool".into(),
            device_name: name.into(),
            cdi_device_ids: vec![format!("example.com/dev={name}")],
            share_id: None,
        };
        let answer = |claim: &Claim| {
            let devices = vec![device("one", "a"), device("two", "b")];
            (claim.uid.clone(), NodePrepareResourceResponse { devices, error: error.clone() })
        };
        Ok(Response::new(NodePrepareResourcesResponse { claims: claims.iter().map(answer).collect() }))
    }

    async fn node_unprepare_resources(
        &self,
        call: Request<NodeUnprepareResourcesRequest>,
    ) -> Result<Response<NodeUnprepareResourcesResponse>, Status> {
        let claims = call.into_inner().claims;
        self.note("unprepare", &claims);
        if self.refuses.lock().unwrap().as_str() == "skip" {
            return Ok(Response::new(NodeUnprepareResourcesResponse { claims: HashMap::new() }));
        }
        let answer = |claim: &Claim| (claim.uid.clone(), NodeUnprepareResourceResponse::default());
        Ok(Response::new(NodeUnprepareResourcesResponse { claims: claims.iter().map(answer).collect() }))
    }
}

#[tonic::async_trait]
impl DraResourceHealth for Fake {
    type NodeWatchResourcesStream =
        Pin<Box<dyn futures::Stream<Item = Result<NodeWatchResourcesResponse, Status>> + Send>>;

    async fn node_watch_resources(
        &self,
        _: Request<NodeWatchResourcesRequest>,
    ) -> Result<Response<Self::NodeWatchResourcesStream>, Status> {
        let (sender, receiver) = mpsc::channel(1);
        let mut health = self.health.clone();
        tokio::spawn(async move {
            loop {
                let named = DeviceIdentifier { pool_name: "pool".into(), device_name: "a".into() };
                let health_now = *health.borrow_and_update() as i32;
                let device = DeviceHealth { device: Some(named), health: health_now, ..Default::default() };
                let told = NodeWatchResourcesResponse { devices: vec![device] };
                if sender.send(Ok(told)).await.is_err() || health.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// What the API server knows, and what it was asked to delete.
#[derive(Clone, Default)]
struct Api {
    claims: Arc<Plain<HashMap<String, ResourceClaim>>>,
    deleted: Arc<Plain<Vec<String>>>,
    told: Arc<Notify>,
}

impl Api {
    async fn serve(&self) -> Client {
        let claim = async |State(api): State<Self>, Segments((_, name)): Segments<(String, String)>| match api
            .claims
            .lock()
            .unwrap()
            .get(&name)
        {
            Some(claim) => (axum::http::StatusCode::OK, json::to_vec(claim)),
            None => (axum::http::StatusCode::NOT_FOUND, b"{}".to_vec()),
        };
        let wipe = async |State(api): State<Self>, RawQuery(query): RawQuery| {
            api.deleted.lock().unwrap().push(query.unwrap_or_default());
            api.told.notify_one();
            "{}"
        };
        let routes = axum::Router::new()
            .route("/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims/{name}", get(claim))
            .route("/apis/resource.k8s.io/v1/resourceslices", axum::routing::delete(wipe))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Client::new(Config::new(server)).unwrap()
    }
}

/// A driver that ends, connections and all, when this is dropped.
struct Running(Option<tokio::runtime::Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct Bench {
    root: PathBuf,
    fake: Fake,
    api: Api,
    client: Client,
    dra: Arc<Dra>,
    woken: Arc<Plain<BTreeSet<String>>>,
    health: watch::Sender<HealthStatus>,
}

/// v1beta1 is v1 by another name.
fn renamed<B>(mut request: http::Request<B>) -> http::Request<B> {
    let path = request.uri().path().replace("dra.v1beta1.", "dra.v1.");
    *request.uri_mut() = http::Uri::try_from(path).unwrap();
    request
}

impl Bench {
    async fn new(away: Duration) -> Self {
        let root = std::env::temp_dir().join(format!("kubelet-dra-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&root).unwrap();
        let (health, receiver) = watch::channel(HealthStatus::Healthy);
        let fake = Fake { driver: "d", asked: Arc::default(), refuses: Arc::default(), health: receiver };
        let api = Api::default();
        let client = api.serve().await;
        let woken: Arc<Plain<BTreeSet<String>>> = Arc::default();
        let dra = Self::dra(&root, &client, away, &woken);
        Self { root, fake, api, client, dra, woken, health }
    }

    fn dra(root: &Path, client: &Client, away: Duration, woken: &Arc<Plain<BTreeSet<String>>>) -> Arc<Dra> {
        let woken = Arc::clone(woken);
        let wake = move |uid: &str| {
            woken.lock().unwrap().insert(uid.to_owned());
        };
        Dra::load(client.clone(), "n1", root, away, wake).unwrap()
    }

    /// Starts the driver `d` at a socket.
    fn start(&self, service: &'static str) -> Running {
        self.start_as("d", service)
    }

    fn start_as(&self, driver: &'static str, service: &'static str) -> Running {
        let socket = self.root.join(format!("{driver}.sock"));
        let fake = Fake { driver, ..self.fake.clone() };
        let _ = std::fs::remove_file(&socket);
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let beta = service.starts_with("v1beta1");
        let server = tonic::transport::Server::builder()
            .layer(tower::util::MapRequestLayer::new(
                move |request| {
                    if beta { renamed(request) } else { request }
                },
            ))
            .add_service(DraPluginServer::new(fake.clone()))
            .add_service(DraResourceHealthServer::new(fake));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            server.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        });
        let plugin = Plugin::new(driver, &socket.to_string_lossy(), service);
        // A plugin that starts again keeps its registration.
        let _ = self.dra.drivers.add(&self.dra, plugin);
        Running(Some(runtime))
    }

    fn put(&self, name: &str, users: &[&str]) {
        self.put_with(name, users, &["d"]);
    }

    /// A claim that has devices of these drivers.
    fn put_with(&self, name: &str, users: &[&str], drivers: &[&str]) {
        let mut claim = ResourceClaim::default();
        claim.metadata.name = name.into();
        claim.metadata.namespace = "ns".into();
        claim.metadata.uid = format!("uid-of-{name}");
        let user = |uid: &&str| ResourceClaimConsumerReference { uid: (*uid).into(), ..Default::default() };
        claim.status.reserved_for = users.iter().map(user).collect();
        let mut allocation = AllocationResult::default();
        let result =
            |driver: &&str| DeviceRequestAllocationResult { driver: (*driver).into(), ..Default::default() };
        allocation.devices.results = drivers.iter().map(result).collect();
        claim.status.allocation = Some(Box::new(allocation));
        self.api.claims.lock().unwrap().insert(name.into(), claim);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.fake.asked.lock().unwrap())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// A pod with a container that uses the request `request` of the claim `c`.
fn pod(uid: &str, request: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = format!("pod-{uid}");
    pod.metadata.namespace = "ns".into();
    pod.metadata.uid = uid.into();
    pod.spec.resource_claims = vec![PodResourceClaim {
        name: "dev".into(),
        resource_claim_name: Some("c".into()),
        ..Default::default()
    }];
    let mut container = Container { name: "main".into(), ..Default::default() };
    container.resources.claims = vec![Wanted { name: "dev".into(), request: request.into() }];
    pod.spec.containers = vec![container];
    pod
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_claim_is_prepared_once_and_taken_back_from_the_last_pod() {
    for service in plugin::SERVICES {
        let bench = Bench::new(LONG).await;
        bench.put("c", &["1", "2"]);
        let (first, second) = (pod("1", "one"), pod("2", ""));
        let missing = bench.dra.prepare(&first).await.unwrap_err();
        assert_eq!(missing.to_string(), "DRA driver d is not registered");
        let _serving = bench.start(service);
        bench.dra.prepare(&first).await.unwrap();
        bench.dra.prepare(&second).await.unwrap();
        assert_eq!(bench.asked(), ["prepare c"], "{service}");
        let devices = |pod: &Pod| bench.dra.devices(pod, &pod.spec.containers[0]).unwrap();
        assert_eq!(devices(&first), ["example.com/dev=a"]);
        assert_eq!(devices(&second), ["example.com/dev=a", "example.com/dev=b"]);
        assert_eq!(bench.dra.of_container(&first, &first.spec.containers[0]).len(), 1);
        bench.dra.unprepare(&first).await.unwrap();
        assert_eq!(bench.asked(), Vec::<String>::new());
        bench.dra.unprepare(&second).await.unwrap();
        bench.dra.unprepare(&second).await.unwrap();
        assert_eq!(bench.asked(), ["unprepare c"]);
        assert!(bench.dra.devices(&first, &first.spec.containers[0]).unwrap_err().contains("claim info"));
    }
}

#[tokio::test]
async fn what_cannot_be_prepared_says_why_and_is_given_back() {
    let bench = Bench::new(LONG).await;
    let _serving = bench.start("v1.DRAPlugin");
    let pod = pod("1", "");
    let refused = bench.dra.prepare(&pod).await.unwrap_err().to_string();
    assert!(refused.starts_with("fetch ResourceClaim c: "), "{refused}");
    bench.put("c", &["2"]);
    let refused = bench.dra.prepare(&pod).await.unwrap_err().to_string();
    assert_eq!(refused, "pod pod-1 (1) is not allowed to use ResourceClaim c (uid-of-c)");
    bench.dra.unprepare(&pod).await.unwrap();
    assert_eq!(bench.asked(), Vec::<String>::new(), "nothing was begun");
    bench.put("c", &["1"]);
    "broken".clone_into(&mut bench.fake.refuses.lock().unwrap());
    let refused = bench.dra.prepare(&pod).await.unwrap_err().to_string();
    assert_eq!(refused, "NodePrepareResources failed for ResourceClaim c: broken");
    "skip".clone_into(&mut bench.fake.refuses.lock().unwrap());
    let refused = bench.dra.unprepare(&pod).await.unwrap_err().to_string();
    assert_eq!(refused, "NodeUnprepareResources skipped 1 ResourceClaims");
    bench.fake.refuses.lock().unwrap().clear();
    bench.dra.unprepare(&pod).await.unwrap();
    assert_eq!(bench.asked(), ["prepare c", "unprepare c", "unprepare c"]);
}

#[tokio::test]
async fn a_kubelet_that_starts_again_knows_what_was_prepared_and_takes_back_what_nobody_uses() {
    let mut bench = Bench::new(LONG).await;
    let _serving = bench.start("v1.DRAPlugin");
    bench.put("c", &["1"]);
    let pod = pod("1", "one");
    bench.dra.prepare(&pod).await.unwrap();
    bench.dra = Bench::dra(&bench.root, &bench.client, LONG, &bench.woken);
    assert_eq!(bench.dra.devices(&pod, &pod.spec.containers[0]).unwrap(), ["example.com/dev=a"]);
    let plugin = Plugin::new("d", &bench.root.join("d.sock").to_string_lossy(), "v1.DRAPlugin");
    bench.dra.drivers.add(&bench.dra, plugin).unwrap();
    assert_eq!(bench.dra.users(), BTreeSet::from(["1".to_owned()]));
    assert_eq!(bench.asked(), ["prepare c"]);
    bench.dra.reclaim(&["1".to_owned()]).await;
    assert_eq!(bench.asked(), ["unprepare c"]);
}

#[tokio::test]
async fn the_slices_of_a_driver_that_is_away_for_long_are_deleted() {
    let bench = Bench::new(Duration::from_millis(200)).await;
    bench.dra.drivers.wipe_all().await;
    assert_eq!(bench.api.deleted.lock().unwrap().len(), 1);
    assert!(bench.api.deleted.lock().unwrap()[0].contains("spec.nodeName%3Dn1"));
    bench.api.told.notified().await;
    let serving = bench.start("v1.DRAPlugin");
    let plugin = bench.dra.drivers.get("d").unwrap();
    plugin.watch_connections().wait_for(|count| *count > 0).await.unwrap();
    let again = Plugin::new("d", &plugin.endpoint, "v1.DRAPlugin");
    let refused = bench.dra.drivers.add(&bench.dra, again).unwrap_err();
    assert!(refused.ends_with("already registered for DRA driver plugin d"), "{refused}");
    // It ends without a word.
    drop(serving);
    bench.api.told.notified().await;
    let deleted = bench.api.deleted.lock().unwrap().clone();
    assert!(deleted.len() > 1 && deleted[1].contains("spec.driver%3Dd"), "{deleted:?}");
}

#[tokio::test]
async fn how_devices_are_stands_in_the_pods_status_and_wakes_it() {
    let bench = Bench::new(LONG).await;
    let _serving = bench.start("v1.DRAPlugin");
    bench.put("c", &["1"]);
    let pod = pod("1", "one");
    bench.dra.prepare(&pod).await.unwrap();
    let shown = || {
        let main = ContainerStatus { name: "main".into(), ..Default::default() };
        let mut status = PodStatus { container_statuses: vec![main], ..Default::default() };
        bench.dra.fill(&pod, &mut status, Timestamp::now());
        let all = status.container_statuses.remove(0).allocated_resources_status;
        assert_eq!((all.len(), all[0].name.as_str()), (1, "claim:dev/one"));
        assert_eq!(
            (all[0].resources.len(), all[0].resources[0].resource_id.as_str()),
            (1, "example.com/dev=a")
        );
        all[0].resources[0].health.clone()
    };
    while shown() != ResourceHealthStatus::Healthy {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.health.send(HealthStatus::Unhealthy).unwrap();
    while !bench.woken.lock().unwrap().contains("1") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(shown(), ResourceHealthStatus::Unhealthy);
}

/// A pod that uses these claims.
fn using(uid: &str, claims: &[&str]) -> Pod {
    let mut pod = pod(uid, "");
    let entry = |(at, claim): (usize, &&str)| PodResourceClaim {
        name: format!("dev-{at}"),
        resource_claim_name: Some((*claim).into()),
        ..Default::default()
    };
    pod.spec.resource_claims = claims.iter().enumerate().map(entry).collect();
    let wanted = |entry: &PodResourceClaim| Wanted { name: entry.name.clone(), request: String::new() };
    pod.spec.containers[0].resources.claims = pod.spec.resource_claims.iter().map(wanted).collect();
    pod
}

#[tokio::test]
async fn a_driver_that_is_away_keeps_its_own_claims_only() {
    let bench = Bench::new(LONG).await;
    let (_d, e) = (bench.start("v1.DRAPlugin"), bench.start_as("e", "v1.DRAPlugin"));
    bench.put("a", &["1", "2"]);
    bench.put_with("b", &["1", "2"], &["d", "e"]);
    let (first, second) = (using("1", &["a", "b"]), using("2", &["b"]));
    bench.dra.prepare(&first).await.unwrap();
    assert_eq!(bench.asked(), ["prepare a,b", "eprepare b"]);
    let socket = bench.root.join("e.sock").to_string_lossy().into_owned();
    drop(e);
    bench.dra.gone("e", &socket);
    for _ in 0..2 {
        let kept = bench.dra.unprepare(&first).await.unwrap_err();
        assert_eq!(kept.to_string(), "DRA driver e is not registered");
    }
    assert_eq!(
        bench.asked(),
        ["unprepare a,b", "unprepare b"],
        "the driver d has both back, and is told anew of b"
    );
    // Half of it was taken back: the next pod does not find it prepared.
    let missing = bench.dra.prepare(&second).await.unwrap_err();
    assert_eq!(missing.to_string(), "DRA driver e is not registered");
    let _e = bench.start_as("e", "v1.DRAPlugin");
    bench.dra.prepare(&second).await.unwrap();
    assert_eq!(bench.asked(), ["prepare b", "eprepare b"]);
    bench.dra.unprepare(&first).await.unwrap();
    assert_eq!((bench.dra.is_used_by("1"), bench.asked()), (false, Vec::new()), "the other pod uses it");
    bench.dra.unprepare(&second).await.unwrap();
    assert_eq!(bench.asked(), ["unprepare b", "eunprepare b"]);
}

#[tokio::test]
async fn a_claim_that_a_pod_names_twice_is_prepared_once() {
    let bench = Bench::new(LONG).await;
    let _serving = bench.start("v1.DRAPlugin");
    bench.put("c", &["1"]);
    let pod = using("1", &["c", "c"]);
    bench.dra.prepare(&pod).await.unwrap();
    bench.dra.unprepare(&pod).await.unwrap();
    assert_eq!(bench.asked(), ["prepare c", "unprepare c"]);
}

#[tokio::test]
async fn a_kubelet_that_is_killed_while_drivers_work_knows_whom_to_ask() {
    let mut bench = Bench::new(LONG).await;
    let _serving = bench.start("v1.DRAPlugin");
    bench.put("c", &["1"]);
    let pod = pod("1", "one");
    "hang".clone_into(&mut bench.fake.refuses.lock().unwrap());
    {
        let preparing = bench.dra.prepare(&pod);
        tokio::pin!(preparing);
        while bench.fake.asked.lock().unwrap().is_empty() {
            let pause = tokio::time::sleep(Duration::from_millis(2));
            tokio::select! {
                done = &mut preparing => panic!("the driver has not answered: {done:?}"),
                () = pause => {}
            }
        }
    }
    assert_eq!(bench.asked(), ["prepare c"]);
    bench.fake.refuses.lock().unwrap().clear();
    // The driver may have done it all the same.
    bench.dra = Bench::dra(&bench.root, &bench.client, LONG, &bench.woken);
    let plugin = Plugin::new("d", &bench.root.join("d.sock").to_string_lossy(), "v1.DRAPlugin");
    bench.dra.drivers.add(&bench.dra, plugin).unwrap();
    assert!(bench.dra.is_used_by("1"));
    assert!(bench.dra.devices(&pod, &pod.spec.containers[0]).unwrap().is_empty());
    bench.dra.prepare(&pod).await.unwrap();
    assert_eq!(bench.dra.devices(&pod, &pod.spec.containers[0]).unwrap(), ["example.com/dev=a"]);
    bench.dra.unprepare(&pod).await.unwrap();
    assert_eq!(bench.asked(), ["prepare c", "unprepare c"]);
}

#[tokio::test]
async fn a_claim_that_was_made_anew_waits_for_the_old_one() {
    let bench = Bench::new(LONG).await;
    let _serving = bench.start("v1.DRAPlugin");
    bench.put("c", &["1"]);
    let (old, new) = (pod("1", ""), pod("2", ""));
    bench.dra.prepare(&old).await.unwrap();
    bench.put("c", &["2"]);
    bench.api.claims.lock().unwrap().get_mut("c").unwrap().metadata.uid = "another".into();
    let refused = bench.dra.prepare(&new).await.unwrap_err().to_string();
    assert!(
        refused.starts_with("old ResourceClaim with same name c and different UID uid-of-c"),
        "{refused}"
    );
    let none = bench.dra.devices(&new, &new.spec.containers[0]).unwrap_err();
    assert!(none.contains("unable to get claim info"), "{none}");
    bench.dra.reclaim(&["1".to_owned()]).await;
    bench.dra.prepare(&new).await.unwrap();
    assert_eq!(bench.asked(), ["prepare c", "unprepare c", "prepare c"]);
    assert_eq!(bench.dra.devices(&new, &new.spec.containers[0]).unwrap().len(), 2);
}
