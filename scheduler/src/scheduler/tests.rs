//! The scheduler against an apiserver that only takes notes.

use std::collections::HashMap;

use api_types::core::v1::PodExtendedResourceClaimStatus;
use async_trait::async_trait;
use tokio::sync::mpsc;

use super::*;
use crate::config::SchedulerConfig;
use crate::storage::{Changed, ClaimView, ClassView, VolumeView};
use crate::testing::{ClaimBuilder, PodBuilder, VolumeBuilder, claim, class, node, pod, volume};
use crate::watch;
use client::informer::Projection as _;

#[derive(Debug, PartialEq)]
enum Call {
    Bind(String, String),
    Status(String, Option<String>, Option<String>),
    Delete(String),
    Volume(String, String),
    Select(String, String),
    /// What was done to which claim, and the devices it has then.
    DeviceClaim(&'static str, String, String),
    Note(String, &'static str, String),
}

struct Notes {
    calls: mpsc::UnboundedSender<Call>,
    refuse_binding: bool,
}

#[async_trait]
impl Api for Notes {
    async fn bind(&self, pod: &PodView, node: &str) -> Result<(), ApiError> {
        let _ = self.calls.send(Call::Bind(pod.name.clone(), node.into()));
        if self.refuse_binding { Err(ApiError::Other("no luck".into())) } else { Ok(()) }
    }
    async fn patch_status(
        &self,
        pod: &PodView,
        condition: Option<&PodCondition>,
        nominated: Option<&str>,
    ) -> Result<u64, ApiError> {
        let condition = condition.map(|c| format!("{}={} {}", c.type_, c.status, c.reason));
        let _ = self.calls.send(Call::Status(pod.name.clone(), condition, nominated.map(str::to_owned)));
        Ok(0)
    }
    async fn delete(&self, pod: &PodView) -> Result<(), ApiError> {
        let _ = self.calls.send(Call::Delete(pod.name.clone()));
        Ok(())
    }
    async fn bind_volume(&self, volume: &VolumeView, claim: &ClaimView) -> Result<u64, ApiError> {
        let _ = self.calls.send(Call::Volume(volume.name.clone(), claim.name.clone()));
        Ok(volume.revision + 1)
    }
    async fn select_node(&self, claim: &ClaimView, node: &str) -> Result<u64, ApiError> {
        let _ = self.calls.send(Call::Select(claim.name.clone(), node.into()));
        Ok(claim.revision + 1)
    }
    async fn patch_extended(
        &self,
        pod: &PodView,
        status: &PodExtendedResourceClaimStatus,
    ) -> Result<(), ApiError> {
        let claim = status.resource_claim_name.clone();
        let _ = self.calls.send(Call::DeviceClaim("extended", claim, pod.name.clone()));
        Ok(())
    }
    async fn claim(&self, call: ClaimCall<'_>) -> Result<ResourceClaim, ApiError> {
        let (verb, mut claim) = match call {
            ClaimCall::Get { .. } => return Err(ApiError::NotFound("not kept".into())),
            ClaimCall::Create(claim) => ("create", claim.clone()),
            ClaimCall::Delete(claim) => ("delete", claim.clone()),
            ClaimCall::Update(claim) => ("update", claim.clone()),
            ClaimCall::UpdateStatus(claim) => ("status", claim.clone()),
            ClaimCall::Unreserve { claim, .. } => ("unreserve", claim.clone()),
        };
        let given = claim.status.allocation.iter().flat_map(|a| &a.devices.results);
        let devices = given.map(|r| r.device.as_str()).collect::<Vec<_>>().join(",");
        let _ = self.calls.send(Call::DeviceClaim(verb, claim.metadata.name.clone(), devices));
        let revision: u64 = claim.metadata.resource_version.parse().unwrap_or(0);
        claim.metadata.resource_version = (revision + 1).to_string();
        Ok(claim)
    }
    fn note(&self, pod: &Arc<PodView>, _: Option<&Arc<PodView>>, note: Note) {
        let _ = self.calls.send(Call::Note(pod.name.clone(), note.reason, note.message));
    }
}

struct Bench {
    scheduler: Arc<Scheduler>,
    calls: mpsc::UnboundedReceiver<Call>,
    shutdown: Shutdown,
}

fn bench(refuse_binding: bool) -> Bench {
    let (sender, calls) = mpsc::unbounded_channel();
    let profiles: HashMap<_, _> = SchedulerConfig::default()
        .profiles()
        .unwrap()
        .into_iter()
        .map(|p| (p.name.clone(), Arc::new(p)))
        .collect();
    let api = Arc::new(Notes { calls: sender, refuse_binding });
    let scheduler = Scheduler::new(profiles, api, daemon::clock::System::shared(), Backoff::default(), 0);
    let shutdown = Shutdown::new();
    tokio::spawn(scheduler.clone().run(shutdown.clone()));
    Bench { scheduler, calls, shutdown }
}

impl Bench {
    fn node(&self, cpu: &str) {
        watch::node_changed(&self.scheduler, None, Some(&Arc::new(node("n").allocatable("cpu", cpu).view())));
    }
    fn pod(&self, pod: &PodBuilder) {
        watch::pod_changed(&self.scheduler, None, Some(&pod.shared()));
    }
    fn claim(&self, old: Option<&ClaimBuilder>, new: &ClaimBuilder) {
        let changed = Changed { old: old.map(ClaimBuilder::shared), new: Some(new.shared()) };
        let key = new.shared().key();
        watch::storage_changed(&self.scheduler, &key, changed, ClusterEvent::Claim);
    }
    fn volume(&self, old: Option<&VolumeBuilder>, new: &VolumeBuilder) {
        let changed = Changed { old: old.map(VolumeBuilder::shared), new: Some(new.shared()) };
        let name = new.shared().name.clone();
        watch::storage_changed(&self.scheduler, &name, changed, ClusterEvent::Volume);
    }
    fn waiting_class(&self, name: &str, provisioner: &str) {
        let view = ClassView::project(class(name, provisioner, true)).map(Arc::new);
        let changed = Changed { old: None, new: view };
        watch::storage_changed(&self.scheduler, name, changed, ClusterEvent::Class);
    }
    fn devices<P: crate::devices::Part>(
        &self,
        key: &str,
        old: Option<P>,
        new: P,
        event: fn(Changed<P>, crate::devices::Devices) -> ClusterEvent,
    ) {
        let changed = Changed { old: old.map(Arc::new), new: Some(Arc::new(new)) };
        watch::devices_changed(&self.scheduler, key, changed, event);
    }
    async fn expect(&mut self, expected: &[Call]) {
        for call in expected {
            let got = tokio::time::timeout(Duration::from_secs(20), self.calls.recv()).await;
            assert_eq!(got.expect("the scheduler went on").as_ref(), Some(call));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

fn note(pod: &str, reason: &'static str, message: &str) -> Call {
    Call::Note(pod.into(), reason, message.into())
}

#[tokio::test]
async fn a_pod_is_bound_and_takes_its_room() {
    let mut bench = bench(false);
    bench.node("1");
    bench.pod(&pod("a").requests("cpu", "1"));
    bench
        .expect(&[
            Call::Bind("a".into(), "n".into()),
            note("a", "Scheduled", "Successfully assigned default/a to n"),
        ])
        .await;
    bench.pod(&pod("b").requests("cpu", "1"));
    let message = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    bench
        .expect(
            &[
                note("b", "FailedScheduling", message),
                Call::Status(
                    "b".into(),
                    Some("PodScheduled=False Unschedulable".into()),
                    Some(String::new()),
                ),
            ][..1],
        )
        .await;
}

#[tokio::test]
async fn a_pod_waits_until_a_node_comes() {
    let mut bench = bench(false);
    bench.pod(&pod("a"));
    bench
        .expect(&[
            note("a", "FailedScheduling", "no nodes available to schedule pods"),
            Call::Status("a".into(), Some("PodScheduled=False Unschedulable".into()), None),
        ])
        .await;
    bench.node("1");
    bench.expect(&[Call::Bind("a".into(), "n".into())]).await;
}

#[tokio::test]
async fn a_failed_binding_frees_the_room_and_is_reported() {
    let mut bench = bench(true);
    bench.node("1");
    bench.pod(&pod("a").requests("cpu", "1"));
    bench
        .expect(&[
            Call::Bind("a".into(), "n".into()),
            note("a", "FailedScheduling", "binding rejected: running Bind plugin \"DefaultBinder\": no luck"),
            Call::Status("a".into(), Some("PodScheduled=False SchedulerError".into()), None),
            Call::Bind("a".into(), "n".into()),
        ])
        .await;
}

#[tokio::test]
async fn victims_make_room_and_the_pod_follows() {
    let mut bench = bench(false);
    bench.node("1");
    let victim = pod("low").requests("cpu", "1").on("n").priority(1);
    bench.pod(&victim);
    bench.pod(&pod("high").requests("cpu", "1").priority(5));
    bench
        .expect(&[
            Call::Status("low".into(), Some("DisruptionTarget=True PreemptionByScheduler".into()), None),
            Call::Delete("low".into()),
            note("low", "Preempted", "Preempted by pod high on node n"),
            note("high", "FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu."),
            Call::Status("high".into(), Some("PodScheduled=False Unschedulable".into()), Some("n".into())),
        ])
        .await;
    watch::pod_changed(&bench.scheduler, Some(&victim.shared()), None);
    bench.expect(&[Call::Bind("high".into(), "n".into())]).await;
}

#[tokio::test]
async fn a_pod_follows_its_claim_at_once() {
    let mut bench = bench(false);
    bench.node("1");
    bench.pod(&pod("a").claim("data"));
    let why = "0/1 nodes are available: persistentvolumeclaim \"data\" not found.";
    let status = || {
        let condition = Some("PodScheduled=False Unschedulable".into());
        Call::Status("a".into(), condition, None)
    };
    bench.expect(&[note("a", "FailedScheduling", &format!("{why} not found")), status()]).await;
    let free = claim("data", "1Gi");
    bench.claim(None, &free);
    let why = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
    bench.expect(&[note("a", "FailedScheduling", &format!("{why} not found")), status()]).await;
    bench.volume(None, &volume("v", "1Gi"));
    bench.claim(Some(&free), &free.clone().bound("v").revision(2));
    bench.expect(&[Call::Bind("a".into(), "n".into())]).await;
}

#[tokio::test]
async fn a_pod_waits_until_its_volume_is_bound() {
    let mut bench = bench(false);
    bench.node("1");
    bench.waiting_class("local", "kubernetes.io/no-provisioner");
    let (free, asking) = (volume("v", "2Gi").class("local"), claim("data", "1Gi").class("local"));
    bench.volume(None, &free);
    bench.claim(None, &asking);
    bench.pod(&pod("a").claim("data"));
    let told = Call::Status("a".into(), None, Some("n".into()));
    bench.expect(&[told, Call::Volume("v".into(), "data".into())]).await;
    let taken = free.clone().revision(2).edit(|v| {
        let claim = v.spec.claim_ref.get_or_insert_default();
        (claim.namespace, claim.name, claim.uid) = ("default".into(), "data".into(), "data".into());
    });
    bench.volume(Some(&free), &taken);
    bench.claim(Some(&asking), &asking.clone().bound("v").revision(3));
    bench.expect(&[Call::Bind("a".into(), "n".into())]).await;
}

#[tokio::test]
async fn a_provisioner_that_gives_up_has_the_pod_tried_again() {
    let mut bench = bench(false);
    bench.node("1");
    bench.waiting_class("made", "example.com/disk");
    let asking = claim("data", "1Gi").class("made");
    bench.claim(None, &asking);
    bench.pod(&pod("a").claim("data"));
    let told = || Call::Status("a".into(), None, Some("n".into()));
    bench.expect(&[told(), Call::Select("data".into(), "n".into())]).await;
    let given_back = asking.clone().revision(3);
    bench.claim(Some(&asking), &given_back);
    let why = "running PreBind plugin \"VolumeBinding\": binding volumes: selectedNode annotation reset for PVC \"data\"";
    bench
        .expect(&[
            note("a", "FailedScheduling", why),
            Call::Status("a".into(), Some("PodScheduled=False SchedulerError".into()), None),
            told(),
            Call::Select("data".into(), "n".into()),
        ])
        .await;
    let selected = given_back.clone().revision(4).annotation("volume.kubernetes.io/selected-node", "n");
    bench.claim(Some(&given_back), &selected);
    bench.volume(None, &volume("made", "1Gi").class("made"));
    bench.claim(Some(&selected), &selected.clone().bound("made").revision(5));
    bench.expect(&[Call::Bind("a".into(), "n".into())]).await;
}

#[test]
fn notes_have_a_limit() {
    assert_eq!(shortened("x".repeat(1024)).len(), 1024);
    let long = shortened("ä".repeat(1024));
    assert!(long.len() <= 1024 && long.ends_with(" ..."));
}

mod device_claims {
    use super::*;
    use api_types::core::v1::PodResourceClaim;
    use api_types::resource::v1::{
        Device, DeviceAllocationMode, DeviceClass, DeviceRequest, ExactDeviceRequest, ResourceSlice,
    };
    use client::informer::Whole;

    fn asking(name: &str) -> PodBuilder {
        pod(name).edit(|p| {
            let entry = PodResourceClaim { name: "gpu".into(), ..PodResourceClaim::default() };
            p.spec.resource_claims =
                vec![PodResourceClaim { resource_claim_name: Some(format!("claim-{name}")), ..entry }];
        })
    }

    fn claim_for(name: &str) -> crate::devices::Claim {
        let mut claim = ResourceClaim::default();
        claim.metadata.name = format!("claim-{name}");
        claim.metadata.namespace = "default".into();
        claim.metadata.uid = format!("claim-{name}");
        claim.metadata.resource_version = "1".into();
        let exactly = ExactDeviceRequest {
            device_class_name: "any".into(),
            allocation_mode: DeviceAllocationMode::ExactCount,
            count: 1,
            ..Default::default()
        };
        let request =
            DeviceRequest { name: "r".into(), exactly: Some(Box::new(exactly)), ..Default::default() };
        claim.spec.devices.requests.push(request);
        Whole(claim)
    }

    fn offer(bench: &Bench, device: &str) {
        let mut class = DeviceClass::default();
        class.metadata.name = "any".into();
        bench.devices("any", None, Whole(class), |changed, _| ClusterEvent::DeviceClass(changed));
        let mut slice = ResourceSlice::default();
        slice.metadata.name = "s".into();
        slice.spec.driver = "dra.example.com".into();
        slice.spec.pool.name = "n".into();
        slice.spec.pool.resource_slice_count = 1;
        slice.spec.node_name = Some("n".into());
        slice.spec.devices.push(Device { name: device.into(), ..Device::default() });
        bench.devices("s", None, Whole(slice), |changed, _| ClusterEvent::DeviceSlice(changed));
    }

    fn said(verb: &'static str, claim: &str, devices: &str) -> Call {
        Call::DeviceClaim(verb, claim.into(), devices.into())
    }

    #[tokio::test]
    async fn a_claim_is_allocated_and_reserved_before_its_pod_is_bound() {
        let mut bench = bench(false);
        bench.node("1");
        offer(&bench, "d0");
        bench.pod(&asking("a"));
        // Held back until the claim is there: nothing is said of it.
        bench.devices("default/claim-a", None, claim_for("a"), ClusterEvent::DeviceClaim);
        bench
            .expect(&[
                Call::Status("a".into(), None, Some("n".into())),
                said("update", "claim-a", ""),
                said("status", "claim-a", "d0"),
                Call::Bind("a".into(), "n".into()),
                Call::Note("a".into(), "Scheduled", "Successfully assigned default/a to n".into()),
            ])
            .await;
        // The informer has not shown the allocation yet: nobody else gets the device.
        bench.devices("default/claim-b", None, claim_for("b"), ClusterEvent::DeviceClaim);
        bench.pod(&asking("b"));
        let message = "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
        bench
            .expect(&[
                Call::Note("b".into(), "FailedScheduling", message.into()),
                Call::Status("b".into(), Some("PodScheduled=False Unschedulable".into()), None),
            ])
            .await;
    }

    #[tokio::test]
    async fn a_pod_that_is_not_bound_gives_its_claim_back() {
        let mut bench = bench(true);
        bench.node("1");
        offer(&bench, "d0");
        bench.devices("default/claim-a", None, claim_for("a"), ClusterEvent::DeviceClaim);
        bench.pod(&asking("a"));
        bench
            .expect(&[
                Call::Status("a".into(), None, Some("n".into())),
                said("update", "claim-a", ""),
                said("status", "claim-a", "d0"),
                Call::Bind("a".into(), "n".into()),
                said("unreserve", "claim-a", "d0"),
            ])
            .await;
    }

    #[tokio::test]
    async fn devices_behind_an_extended_resource_get_a_claim_of_their_own() {
        let mut bench = bench(false);
        bench.node("1");
        offer(&bench, "d0");
        bench.pod(&pod("a").requests("deviceclass.resource.kubernetes.io/any", "1"));
        bench
            .expect(&[
                Call::Status("a".into(), None, Some("n".into())),
                said("create", "", ""),
                said("update", "", ""),
                said("status", "", "d0"),
            ])
            .await;
        // The devices are the claim's once it is seen; until then the pod waits.
        let mut made = claim_for("made");
        made.0.metadata.uid.clear();
        bench.devices("default/", None, made, ClusterEvent::DeviceClaim);
        bench
            .expect(&[
                said("extended", "", "a"),
                Call::Bind("a".into(), "n".into()),
                Call::Note("a".into(), "Scheduled", "Successfully assigned default/a to n".into()),
            ])
            .await;
    }

    #[tokio::test]
    async fn an_allocation_that_nobody_uses_is_given_up_for_a_pod_that_cannot_have_it() {
        let mut bench = bench(false);
        bench.node("1");
        offer(&bench, "d0");
        let elsewhere = serde_json::json!({
            "devices": {"results": [{"request": "r", "driver": "dra.example.com", "pool": "m", "device": "d9"}]},
            "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["m"]}]}]},
        });
        let mut claim = claim_for("a");
        claim.0.status.allocation =
            Some(api_types::codec::json::from_slice(elsewhere.to_string().as_bytes()).unwrap());
        bench.devices("default/claim-a", None, claim, ClusterEvent::DeviceClaim);
        bench.pod(&asking("a"));
        let message = "0/1 nodes are available: 1 resourceclaim not available on the node. deallocation of ResourceClaim completed, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
        bench
            .expect(&[
                said("status", "claim-a", ""),
                Call::Note("a".into(), "FailedScheduling", message.into()),
                Call::Status("a".into(), Some("PodScheduled=False Unschedulable".into()), None),
            ])
            .await;
    }
}
