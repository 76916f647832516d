//! Both versions over a real socket, with devices that a checkpoint says containers have.

use std::path::PathBuf;

use super::v1::pod_resources_lister_client::PodResourcesListerClient;
use super::v1alpha1::pod_resources_lister_client::PodResourcesListerClient as OldClient;
use super::*;
use crate::csi::driver::channel;
use crate::device::checkpoint::{self, Data, Entry as Given};
use crate::dra::checkpoint::{ClaimState, Device, DriverState};
use crate::placement::settings::Settings;
use crate::placement::topology::fixtures::machine;

fn root() -> PathBuf {
    std::env::temp_dir().join(format!("kubelet-pod-resources-{}", uuid::Uuid::new_v4()))
}

fn pod(name: &str) -> Arc<Pod> {
    let mut pod = Pod::default();
    pod.metadata.name = name.into();
    pod.metadata.namespace = "ns".into();
    pod.metadata.uid = format!("{name}-uid");
    let container = |name: &str| Container { name: name.into(), ..Default::default() };
    let mut sidecar = container("sidecar");
    sidecar.restart_policy = Some(api_types::core::v1::ContainerRestartPolicy::Always);
    pod.spec.init_containers = vec![container("init"), sidecar];
    pod.spec.containers = vec![container("c")];
    Arc::new(pod)
}

/// Devices `x` near the node 1 and `y` near none belong to the pod's container.
fn sources(root: &Path) -> Sources {
    let dir = root.join(crate::device::FOLDER);
    std::fs::create_dir_all(&dir).unwrap();
    let entry = Given {
        uid: "a-uid".into(),
        container_name: "c".into(),
        resource_name: "example.com/dev".into(),
        devices: Some([(-1, vec!["y".to_owned()]), (1, vec!["x".to_owned()])].into()),
        answer: Vec::new(),
    };
    let data = Data { pod_device_entries: Some(vec![entry]), registered_devices: None };
    std::fs::write(dir.join("kubelet_internal_checkpoint"), checkpoint::encode(data)).unwrap();
    Sources {
        pods: Box::new(|active| if active { vec![pod("a")] } else { vec![pod("a"), pod("over")] }),
        pod: Box::new(|namespace, name| (namespace == "ns" && name == "a").then(|| pod(name))),
        devices: Arc::new(Devices::load(root)),
        placement: Arc::new(placement(root)),
        claims: Box::new(|pod, container| {
            let own = (pod.metadata.name.as_str(), container.name.as_str()) == ("a", "c");
            own.then(claim).into_iter().collect()
        }),
    }
}

/// One device of one driver.
fn claim() -> Entry {
    let device = Device {
        pool_name: "pool".into(),
        device_name: "dev".into(),
        cdi_ids: Some(vec!["example.com/dev=1".into()]),
        ..Default::default()
    };
    let driver = DriverState { devices: Some(vec![device]) };
    let state = ClaimState {
        name: "claim".into(),
        namespace: "ns".into(),
        drivers: [("driver".to_owned(), driver)].into(),
        ..Default::default()
    };
    Entry { state, prepared: true }
}

/// Eight CPUs of which one is reserved; the pod's container has two of them.
fn placement(root: &Path) -> Placement {
    let state =
        r#"{"policyName":"static","defaultCpuSet":"0-1,4-7","entries":{"a-uid":{"c":"2-3"}},"checksum":0}"#;
    std::fs::write(root.join("cpu_manager_state"), state).unwrap();
    let settings = Settings { cpu_policy: "static".into(), ..Default::default() };
    let reserved = [("cpu".to_owned(), "1".parse().unwrap())].into();
    Placement::load(root, &settings, machine(2, 4, false), &reserved).unwrap()
}

async fn up(root: &Path) -> tonic::transport::Channel {
    let socket = root.join("pod-resources/kubelet.sock");
    let (sources, path) = (sources(root), socket.clone());
    tokio::spawn(async move { serve(sources, &path).await });
    while !socket.exists() {
        tokio::task::yield_now().await;
    }
    channel(&socket.to_string_lossy())
}

#[tokio::test]
async fn long_running_containers_of_active_pods_are_listed_with_their_devices() {
    let root = root();
    let channel = up(&root).await;
    let mut client = PodResourcesListerClient::new(channel.clone());
    let all = client.list(v1::ListPodResourcesRequest {}).await.unwrap().into_inner().pod_resources;
    let names: Vec<&str> = all[0].containers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!((all.len(), names), (1, vec!["sidecar", "c"]));
    assert!(all[0].containers[0].devices.is_empty());
    let shown: Vec<(String, Option<i64>)> = all[0].containers[1]
        .devices
        .iter()
        .map(|one| (one.device_ids.join(","), one.topology.as_ref().map(|topology| topology.nodes[0].id)))
        .collect();
    assert_eq!(shown, [("x".to_owned(), Some(1)), ("y".to_owned(), None)]);
    let cpus: Vec<&[i64]> = all[0].containers.iter().map(|one| one.cpu_ids.as_slice()).collect();
    assert_eq!(cpus, [&[][..], &[2, 3]], "what is shared is not told");
    let [claim] = all[0].containers[1].dynamic_resources.as_slice() else { panic!("{all:?}") };
    let device = &claim.claim_resources[0];
    let told = [&claim.claim_name, &claim.claim_namespace, &device.driver_name, &device.cdi_devices[0].name];
    assert_eq!(told, ["claim", "ns", "driver", "example.com/dev=1"]);

    let old = OldClient::new(channel).list(v1alpha1::ListPodResourcesRequest {}).await.unwrap();
    let old = old.into_inner().pod_resources;
    assert_eq!(old.len(), 2, "the first version told of all pods");
    assert_eq!(old[0].containers[0].devices.len(), 2);
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn one_pod_may_be_asked_for_and_may_not_be_there() {
    let root = root();
    let mut client = PodResourcesListerClient::new(up(&root).await);
    let request =
        |name: &str| v1::GetPodResourcesRequest { pod_name: name.to_owned(), pod_namespace: "ns".to_owned() };
    let found = client.get(request("a")).await.unwrap().into_inner().pod_resources.unwrap();
    assert_eq!((found.name.as_str(), found.containers.len()), ("a", 2));
    let missing = client.get(request("b")).await.unwrap_err();
    assert_eq!(
        (missing.code(), missing.message()),
        (tonic::Code::Unknown, "pod b in namespace ns not found")
    );
    // No plugin has said that its devices work.
    let allocatable = client.get_allocatable_resources(v1::AllocatableResourcesRequest {}).await.unwrap();
    let allocatable = allocatable.into_inner();
    assert_eq!((allocatable.devices, allocatable.cpu_ids), (Vec::new(), (1..8).collect()));
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn who_asks_too_often_is_told_so() {
    let now = Instant::now();
    let mut bucket = Bucket { left: BURST, at: now };
    let granted = (0..20).filter(|_| bucket.take(now)).count();
    assert_eq!(granted, 10);
    assert!(bucket.take(now + Duration::from_millis(10)), "a hundred a second");
    assert!(!bucket.take(now + Duration::from_millis(15)));
}
