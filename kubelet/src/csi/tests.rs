//! A driver behind a real socket, and the volumes that it is asked for. Mounting needs root.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use api_types::core::v1::{
    CSIPersistentVolumeSource, CSIVolumeSource, PersistentVolume, PersistentVolumeAccessMode, Pod, Volume,
};
use api_types::storage::v1::{CSIDriverSpec, FSGroupPolicy, VolumeLifecycleMode};
use tonic::{Request as Call, Response, Status};

use super::driver::{Capabilities, Driver};
use super::proto::node_server::{Node, NodeServer};
use super::proto::*;
use super::request::{Facts, Request, pod_info};
use super::volumes::Volumes;
use crate::volume::claims::{Claimed, Claims};
use crate::volume::desired::{self, Kind};
use crate::volume::mounts;

/// A driver that binds a folder, and keeps what it was asked.
#[derive(Clone, Default)]
struct Fake {
    stages: bool,
    source: PathBuf,
    calls: Arc<Mutex<Vec<String>>>,
    publishes: Arc<Mutex<Vec<NodePublishVolumeRequest>>>,
    fails: Arc<Mutex<HashMap<&'static str, Status>>>,
}

impl Fake {
    fn note(&self, call: &'static str) -> Result<(), Status> {
        self.calls.lock().unwrap().push(call.into());
        self.fails.lock().unwrap().get(call).cloned().map_or(Ok(()), Err)
    }

    fn is_block(&self, capability: Option<&VolumeCapability>) -> bool {
        let access = capability.and_then(|capability| capability.access_type.as_ref());
        matches!(access, Some(volume_capability::AccessType::Block(_)))
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

#[tonic::async_trait]
impl Node for Fake {
    async fn node_stage_volume(
        &self,
        call: Call<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        self.note("stage")?;
        if self.is_block(call.get_ref().volume_capability.as_ref()) {
            return Ok(Response::new(NodeStageVolumeResponse {}));
        }
        mounts::bind(&self.source, Path::new(&call.get_ref().staging_target_path)).unwrap();
        Ok(Response::new(NodeStageVolumeResponse {}))
    }

    async fn node_unstage_volume(
        &self,
        call: Call<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        self.note("unstage")?;
        mounts::unmount(Path::new(&call.get_ref().staging_target_path)).unwrap();
        Ok(Response::new(NodeUnstageVolumeResponse {}))
    }

    async fn node_publish_volume(
        &self,
        call: Call<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = call.into_inner();
        let target = PathBuf::from(&request.target_path);
        if self.is_block(request.volume_capability.as_ref()) {
            self.note("publish")?;
            std::fs::write(&target, "").unwrap();
            mounts::bind(Path::new("/dev/null"), &target).unwrap();
            self.publishes.lock().unwrap().push(request);
            return Ok(Response::new(NodePublishVolumeResponse {}));
        }
        std::fs::create_dir_all(&target).unwrap();
        self.note("publish")?;
        mounts::bind(&self.source, &target).unwrap();
        self.publishes.lock().unwrap().push(request);
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        call: Call<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        self.note("unpublish")?;
        let target = PathBuf::from(&call.get_ref().target_path);
        mounts::unmount(&target).unwrap();
        let _ = std::fs::remove_dir(&target);
        let _ = std::fs::remove_file(&target);
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        call: Call<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        self.note("stats")?;
        assert!(Path::new(&call.get_ref().volume_path).join("file").exists());
        let bytes = VolumeUsage { total: 10, available: 4, used: 6, unit: volume_usage::Unit::Bytes as i32 };
        Ok(Response::new(NodeGetVolumeStatsResponse { usage: vec![bytes], volume_condition: None }))
    }

    async fn node_expand_volume(
        &self,
        call: Call<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        self.note("expand")?;
        let request = call.get_ref();
        let (path, staged) = (Path::new(&request.volume_path), Path::new(&request.staging_target_path));
        let block = matches!(
            request.volume_capability.as_ref().and_then(|one| one.access_type.as_ref()),
            Some(volume_capability::AccessType::Block(_))
        );
        assert!(if block {
            path.exists() && staged.ends_with("staging/pv")
        } else {
            path.join("file").exists()
        });
        let capacity_bytes = request.capacity_range.as_ref().map_or(0, |range| range.required_bytes);
        Ok(Response::new(NodeExpandVolumeResponse { capacity_bytes }))
    }

    async fn node_get_capabilities(
        &self,
        _: Call<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        use node_service_capability::rpc::Type;
        let one = |can: Type| {
            let rpc = node_service_capability::Rpc { r#type: can as i32 };
            NodeServiceCapability { r#type: Some(node_service_capability::Type::Rpc(rpc)) }
        };
        let staging = self.stages.then(|| one(Type::StageUnstageVolume));
        let others = [one(Type::GetVolumeStats), one(Type::ExpandVolume)];
        let capabilities = staging.into_iter().chain(others).collect();
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(
        &self,
        _: Call<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse { node_id: "n".into(), ..Default::default() }))
    }
}

/// A root directory with a driver on a socket in it; unmounted and removed at the end.
struct Bench {
    root: PathBuf,
    fake: Fake,
    volumes: Volumes,
}

impl Bench {
    fn new(stages: bool) -> Self {
        let root = std::env::temp_dir().join(format!("kubelet-csi-{}", uuid::Uuid::new_v4()));
        let source = root.join("source");
        std::fs::create_dir_all(&source).unwrap();
        std::fs::write(source.join("file"), "content").unwrap();
        let fake = Fake { stages, source, ..Default::default() };
        let socket = root.join("csi.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(NodeServer::new(fake.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        let volumes = Volumes::new(&root);
        volumes.add_driver("d", Driver::new(&format!("unix://{}", socket.display())));
        Self { root, fake, volumes }
    }

    fn target(&self, pod: &str) -> PathBuf {
        self.root.join("pods").join(pod).join("volumes/kubernetes.io~csi/pv/mount")
    }

    async fn publish(&self, pod: &str, request: &Request) -> Result<bool, super::CsiError> {
        self.volumes.set_up(request, &Facts::default(), &self.target(pod), Some(7)).await
    }

    async fn take_down(&self, pod: &str) -> Result<(), super::CsiError> {
        self.volumes.tear_down_pod(&self.root.join("pods").join(pod)).await
    }

    fn staged(&self) -> PathBuf {
        self.root.join("plugins/kubernetes.io/csi/d").join(super::sha256("h"))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for point in mounts::below(&self.root).unwrap() {
            mounts::unmount(&point).unwrap();
        }
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: mounting needs root");
    }
    root
}

fn request() -> Request {
    Request { driver: "d".into(), handle: "h".into(), name: "pv".into(), ..Default::default() }
}

#[tokio::test]
async fn a_volume_is_staged_once_and_unstaged_after_its_last_pod() {
    if !is_root() {
        return;
    }
    let bench = Bench::new(true);
    bench.publish("a", &request()).await.unwrap();
    bench.publish("b", &request()).await.unwrap();
    assert_eq!(bench.fake.taken(), ["stage", "publish", "publish"]);
    assert_eq!(std::fs::read(bench.target("a").join("file")).unwrap(), b"content");
    let told = bench.fake.publishes.lock().unwrap()[0].clone();
    assert_eq!(told.staging_target_path, bench.staged().join("globalmount").to_string_lossy());
    bench.take_down("a").await.unwrap();
    bench.volumes.unstage_unused().await;
    assert_eq!(bench.fake.taken(), ["unpublish"]);
    assert!(!bench.target("a").parent().unwrap().exists());
    bench.take_down("b").await.unwrap();
    assert_eq!(bench.fake.taken(), ["unpublish", "unstage"]);
    assert!(!bench.staged().exists());
    assert_eq!(mounts::below(&bench.root).unwrap(), Vec::<PathBuf>::new());
    assert!(bench.fake.source.join("file").exists(), "what was mounted is not touched");
}

#[tokio::test]
async fn the_node_says_what_it_uses_and_how_full_it_is_and_makes_it_larger() {
    if !is_root() {
        return;
    }
    let bench = Bench::new(true);
    let ours = ("d".to_owned(), "h".to_owned());
    bench.publish("a", &request()).await.unwrap();
    // By the pod's directory and by the one that it is staged in.
    assert_eq!(bench.volumes.mounted(), [ours.clone(), ours.clone()]);
    let space = bench.volumes.space(&request(), &bench.target("a")).await.unwrap();
    assert_eq!(space.bytes.map(|bytes| (bytes.total, bytes.available, bytes.used)), Some((10, 4, 6)));
    assert_eq!((space.inodes, space.abnormal), (None, None));
    assert!(!bench.volumes.can_expand(&request(), &bench.target("b")).await.unwrap());
    assert!(bench.volumes.can_expand(&request(), &bench.target("a")).await.unwrap());
    bench.volumes.expand(&request(), &bench.target("a"), 7, Default::default()).await.unwrap();
    assert_eq!(bench.fake.taken(), ["stage", "publish", "stats", "expand"]);
    bench.publish("b", &Request { ephemeral: true, handle: "e".into(), ..request() }).await.unwrap();
    bench.take_down("a").await.unwrap();
    assert!(bench.volumes.mounted().is_empty(), "what lives as long as its pod is not attached");
    bench.take_down("b").await.unwrap();
}

#[tokio::test]
async fn a_device_is_staged_once_and_unstaged_after_its_last_pod() {
    if !is_root() {
        return;
    }
    let bench = Bench::new(true);
    let device = Request { block: true, ..request() };
    for _ in 0..2 {
        bench.volumes.set_up_device(&device, &Facts::default(), "a").await.unwrap();
    }
    bench.volumes.set_up_device(&device, &Facts::default(), "b").await.unwrap();
    assert_eq!(
        bench.fake.taken(),
        ["stage", "publish", "stage", "publish"],
        "drivers are asked for each pod"
    );
    let all = bench.root.join("plugins/kubernetes.io/csi/volumeDevices");
    let told = bench.fake.publishes.lock().unwrap()[0].clone();
    assert_eq!(told.target_path, all.join("publish/pv/a").to_string_lossy());
    assert_eq!(told.staging_target_path, all.join("staging/pv").to_string_lossy());
    assert_eq!(bench.volumes.device("pv", "a"), all.join("publish/pv/a"));
    assert!(mounts::is_mounted(&all.join("pv/dev/b")).unwrap());
    assert_eq!(bench.volumes.mounted(), [("d".to_owned(), "h".to_owned())]);
    let place = bench.volumes.device("pv", "a");
    assert!(bench.volumes.can_expand(&device, &place).await.unwrap());
    assert!(!bench.volumes.can_expand(&device, &bench.volumes.device("pv", "c")).await.unwrap());
    bench.volumes.expand(&device, &place, 7, Default::default()).await.unwrap();
    assert_eq!(bench.fake.taken(), ["expand"]);
    bench.volumes.take_device("pv", "a").await.unwrap();
    assert_eq!(bench.fake.taken(), ["unpublish"]);
    bench.volumes.remove_driver("d");
    bench.volumes.take_device("pv", "b").await.unwrap_err();
    assert!(mounts::is_mounted(&all.join("pv/dev/b")).unwrap(), "nothing is forgotten");
    bench.volumes.add_driver("d", Driver::new(&bench.root.join("csi.sock").to_string_lossy()));
    bench.volumes.take_device("pv", "b").await.unwrap();
    assert_eq!(bench.fake.taken(), ["unpublish", "unstage"]);
    assert!(!all.join("pv").exists() && !all.join("publish/pv").exists() && !all.join("staging/pv").exists());
    assert_eq!(mounts::below(&bench.root).unwrap(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_a_kubelet_did_not_come_to_is_made_up_for() {
    if !is_root() {
        return;
    }
    let bench = Bench::new(true);
    bench.publish("a", &request()).await.unwrap();
    // Unpublished, and killed before it was unstaged.
    mounts::unmount(&bench.target("a")).unwrap();
    std::fs::remove_dir_all(bench.root.join("pods/a")).unwrap();
    let later = Volumes::new(&bench.root);
    later.unstage_unused().await;
    assert!(bench.staged().exists(), "no driver, no unstaging");
    later.add_driver("d", Driver::new(&bench.root.join("csi.sock").to_string_lossy()));
    later.unstage_unused().await;
    assert!(!bench.staged().exists());
    assert_eq!(bench.fake.taken(), ["stage", "publish", "unstage"]);
}

#[tokio::test]
async fn refusals_leave_nothing_mounted_and_a_driver_that_is_gone_forgets_nothing() {
    if !is_root() {
        return;
    }
    let bench = Bench::new(false);
    bench.fake.fails.lock().unwrap().insert("publish", Status::internal("no"));
    let error = bench.publish("a", &request()).await.unwrap_err().to_string();
    assert_eq!(error, "rpc error: code = Internal desc = no");
    assert!(!bench.target("a").exists());
    bench.fake.fails.lock().unwrap().clear();
    bench.publish("a", &request()).await.unwrap();
    bench.volumes.remove_driver("d");
    let error = bench.take_down("a").await.unwrap_err().to_string();
    assert_eq!(error, "driver name d not found in the list of registered CSI drivers");
    assert!(bench.target("a").join("file").exists());
    bench.volumes.add_driver("d", Driver::new(&bench.root.join("csi.sock").to_string_lossy()));
    bench.take_down("a").await.unwrap();
    assert!(!bench.target("a").exists());
    assert!(!bench.staged().exists(), "the driver does not stage");
}

#[test]
fn a_request_is_made_from_the_claim_or_from_the_pod() {
    let mut pod = Pod::default();
    pod.metadata.uid = "u".into();
    pod.metadata.namespace = "ns".into();
    let mut volume = Volume { name: "v".into(), ..Default::default() };
    volume.source.csi = Some(Box::new(CSIVolumeSource { driver: "d".into(), ..Default::default() }));
    let inline = desired::wanted(&volume, &Claims::new()).unwrap();
    assert_eq!(inline.kind, Kind::Csi);
    assert_eq!(inline.path(Path::new("/p")), Path::new("/p/volumes/kubernetes.io~csi/v/mount"));
    let made = Request::of(&pod, &inline).unwrap();
    assert!(made.ephemeral);
    assert_eq!(made.handle, format!("csi-{}", super::sha256("uv")));

    let mut behind = PersistentVolume::default();
    behind.metadata.name = "pv".into();
    behind.spec.access_modes.push(PersistentVolumeAccessMode::ReadWriteMany);
    behind.spec.source.csi = Some(Box::new(CSIPersistentVolumeSource {
        driver: "d".into(),
        volume_handle: "h".into(),
        ..Default::default()
    }));
    let claims: Claims = [("v".to_owned(), Claimed { volume: Arc::new(behind), read_only: true })].into();
    let wanted = desired::wanted(&Volume { name: "v".into(), ..Default::default() }, &claims).unwrap();
    let made = Request::of(&pod, &wanted).unwrap();
    assert_eq!((made.handle.as_str(), made.ephemeral, made.read_only), ("h", false, true));
    let mode = made.capability(Capabilities::default(), None).access_mode.unwrap().mode;
    assert_eq!(mode, volume_capability::access_mode::Mode::MultiNodeMultiWriter as i32);
}

#[test]
fn drivers_have_the_volumes_that_their_definition_says() {
    let check = |ephemeral: bool, object: Option<&[VolumeLifecycleMode]>, expected: Option<&str>| {
        let object = object
            .map(|modes| CSIDriverSpec { volume_lifecycle_modes: modes.to_vec(), ..Default::default() });
        let made = Request { ephemeral, ..request() }.check_mode(object.as_ref());
        assert_eq!(made.err().map(|error| error.to_string()).as_deref(), expected);
    };
    check(false, None, None);
    check(true, Some(&[VolumeLifecycleMode::Ephemeral]), None);
    check(true, None, Some("volume mode \"Ephemeral\" not supported by driver d (no CSIDriver object)"));
    check(
        true,
        Some(&[VolumeLifecycleMode::Persistent]),
        Some("volume mode \"Ephemeral\" not supported by driver d (only supports [\"Persistent\"])"),
    );
}

#[test]
fn groups_are_given_files_as_the_driver_says() {
    let plain = Capabilities::default();
    let made = |fs_type: &str, modes: &[PersistentVolumeAccessMode]| Request {
        fs_type: fs_type.into(),
        access_modes: modes.to_vec(),
        ..request()
    };
    let once = made("ext4", &[PersistentVolumeAccessMode::ReadWriteOnce]);
    assert!(once.gives_to_group(plain, None));
    assert!(!made("", &[PersistentVolumeAccessMode::ReadWriteOnce]).gives_to_group(plain, None));
    assert!(!made("nfs", &[PersistentVolumeAccessMode::ReadWriteMany]).gives_to_group(plain, None));
    assert!(made("", &[]).gives_to_group(plain, Some(&FSGroupPolicy::File)));
    assert!(!once.gives_to_group(plain, Some(&FSGroupPolicy::None)));
    let own = Capabilities { mount_group: true, ..plain };
    assert!(!once.gives_to_group(own, Some(&FSGroupPolicy::File)));
    let Some(volume_capability::AccessType::Mount(mount)) = once.capability(own, Some(7)).access_type else {
        panic!("not a mount")
    };
    assert_eq!(mount.volume_mount_group, "7");
}

#[test]
fn drivers_that_ask_are_told_of_the_pod() {
    let mut pod = Pod::default();
    pod.metadata.name = "p".into();
    let told: HashMap<String, String> = pod_info(&pod, true).into();
    assert_eq!(told["csi.storage.k8s.io/pod.name"], "p");
    assert_eq!(told["csi.storage.k8s.io/ephemeral"], "true");
}
