//! A cluster of two nodes and volumes of a driver that attaches.

use api_types::core::v1::{
    AttachedVolume, CSIPersistentVolumeSource, Node, NodeCondition, ObjectReference, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Taint, Volume,
};
use api_types::storage::v1::{CSIDriver, VolumeAttachment, VolumeError};
use client::controller::{Effect, Step};
use daemon::clock::{Clock as _, Manual};

use super::*;

struct Cluster {
    caches: Caches,
    clock: Arc<Manual>,
    controller: AttachDetach,
}

impl Cluster {
    fn new() -> Self {
        let caches = Caches::detached();
        let clock = Manual::new(Timestamp::UNIX_EPOCH);
        let controller = AttachDetach::new(clock.clone(), true);
        let this = Self { caches, clock, controller };
        this.node("a", |_| {});
        this.node("b", |_| {});
        this.volume(&["ReadWriteOnce"]);
        this
    }

    fn node(&self, name: &str, edit: impl FnOnce(&mut Node)) {
        let mut node = Node::default();
        node.metadata.name = name.into();
        let managed = "volumes.kubernetes.io/controller-managed-attach-detach";
        node.metadata.annotations.insert(managed.into(), "true".into());
        let ready = NodeCondition { type_: "Ready".into(), status: "True".into(), ..Default::default() };
        node.status.conditions = vec![ready];
        edit(&mut node);
        self.caches.store::<NodeFacts>().put(node);
    }

    fn volume(&self, modes: &[&str]) {
        let mut volume = PersistentVolume::default();
        volume.metadata.name = "pv".into();
        volume.spec.access_modes = modes.iter().map(|m| (*m).into()).collect();
        volume.spec.source.csi = Some(Box::new(CSIPersistentVolumeSource {
            driver: "d".into(),
            volume_handle: "h".into(),
            ..Default::default()
        }));
        let reference = ObjectReference {
            namespace: "ns".into(),
            name: "claim".into(),
            uid: "claim-uid".into(),
            ..Default::default()
        };
        volume.spec.claim_ref = Some(Box::new(reference));
        self.caches.store::<VolumeObject>().put(volume);
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.namespace = "ns".into();
        claim.metadata.name = "claim".into();
        claim.metadata.uid = "claim-uid".into();
        claim.spec.volume_name = "pv".into();
        self.caches.store::<ClaimObject>().put(claim);
    }

    fn pod(&self, name: &str, node: &str) {
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".into();
        pod.metadata.name = name.into();
        pod.metadata.uid = name.into();
        pod.spec.node_name = node.into();
        let claim = PersistentVolumeClaimVolumeSource { claim_name: "claim".into(), ..Default::default() };
        let mut volume = Volume { name: "v".into(), ..Default::default() };
        volume.source.persistent_volume_claim = Some(Box::new(claim));
        pod.spec.volumes = vec![volume];
        self.caches.store::<PodFacts>().put(pod);
    }

    fn pod_gone(&self, name: &str) {
        self.caches.store::<PodFacts>().remove(&Key::new("ns", name), 9);
    }

    fn attachment(&self, node: &str, edit: impl FnOnce(&mut VolumeAttachment)) {
        let mut attachment = VolumeAttachment::default();
        attachment.metadata.name = attachment_name("h", "d", node);
        attachment.metadata.creation_timestamp = Some(api_types::value::Time(Timestamp::UNIX_EPOCH));
        attachment.spec.attacher = "d".into();
        attachment.spec.node_name = node.into();
        attachment.spec.source.persistent_volume_name = Some("pv".into());
        edit(&mut attachment);
        self.caches.store::<AttachmentObject>().put(attachment);
    }

    fn attached(&self, node: &str) {
        self.attachment(node, |a| a.status.attached = true);
    }

    /// One look at the node: what is done, and what pods are told.
    fn look(&self, node: &str) -> Vec<String> {
        let view = self.controller.observe(&Key::cluster(node), &self.caches).unwrap();
        let mut done = Vec::new();
        for step in AttachDetach::plan(&view, self.clock.now()).steps {
            match step {
                Step::Own(note) => self.controller.memory.lock().note(note),
                Step::Tell(told) => done.push(format!("{} {}: {}", told.type_, told.reason, told.message)),
                Step::Do(action) => done.push(match &action.effect {
                    Effect::Patch { patch: client::Patch::Merge(patch), .. } => {
                        let list = patch["status"]["volumesAttached"].as_array().unwrap();
                        let names: Vec<_> = list.iter().map(|e| e["name"].as_str().unwrap()).collect();
                        format!("report {}", names.join(","))
                    }
                    effect => effect.describe().split(' ').take(2).collect::<Vec<_>>().join(" "),
                }),
                other => panic!("{other:?}"),
            }
        }
        done
    }
}

const UNIQUE: &str = "kubernetes.io/csi/d^h";

fn uses(node: &mut Node) {
    node.status.volumes_in_use = vec![UNIQUE.into()];
    node.status.volumes_attached = vec![AttachedVolume { name: UNIQUE.into(), ..Default::default() }];
}

fn unready(node: &mut Node) {
    uses(node);
    node.status.conditions[0].status = "Unknown".into();
}

#[test]
fn names_are_upstreams() {
    let name = "csi-c3231ef2f644a6e41b0810a9e7ef2c72fe421e129148be36663a49fa8fef5975";
    assert_eq!(attachment_name("h2", "test.csi.example", "vm"), name);
}

#[test]
fn what_pods_need_is_asked_for_and_then_reported() {
    let cluster = Cluster::new();
    cluster.pod("p", "a");
    assert_eq!(cluster.look("a"), ["create VolumeAttachment"]);
    cluster.attachment("a", |_| {});
    assert!(cluster.look("a").is_empty(), "the attacher has the word");
    cluster.attached("a");
    let told = "Normal SuccessfulAttachVolume: AttachVolume.Attach succeeded for volume \"pv\" ";
    assert_eq!(cluster.look("a"), [told.to_owned(), format!("report {UNIQUE}")]);
    cluster.node("a", uses);
    assert!(cluster.look("a").is_empty());
}

#[test]
fn drivers_that_do_not_attach_and_ended_pods_need_nothing() {
    let cluster = Cluster::new();
    cluster.pod("p", "a");
    let mut driver = CSIDriver::default();
    driver.metadata.name = "d".into();
    driver.spec.attach_required = Some(false);
    cluster.caches.store::<DriverObject>().put(driver);
    assert!(cluster.look("a").is_empty());
}

#[test]
fn failures_and_silence_are_told_once() {
    let cluster = Cluster::new();
    cluster.pod("p", "a");
    cluster.attachment("a", |_| {});
    cluster.clock.advance(Duration::from_secs(121));
    let silent = "Warning FailedAttachVolume: AttachVolume.Attach failed for volume \"pv\" : timed out waiting \
                  for external-attacher of d CSI driver to attach volume h";
    assert_eq!(cluster.look("a"), [silent]);
    assert!(cluster.look("a").is_empty());
    cluster.attachment("a", |a| {
        let error = VolumeError { message: "no such disk".into(), ..Default::default() };
        a.status.attach_error = Some(Box::new(error));
    });
    let failed = "Warning FailedAttachVolume: AttachVolume.Attach failed for volume \"pv\" : no such disk";
    assert_eq!(cluster.look("a"), [failed]);
    assert!(cluster.look("a").is_empty());
}

#[test]
fn an_exclusive_volume_is_with_one_node_at_a_time() {
    let cluster = Cluster::new();
    cluster.pod("p", "a");
    cluster.pod("q", "b");
    assert_eq!(cluster.look("a"), ["create VolumeAttachment"]);
    // The caches do not show it yet.
    let refused = "Warning FailedAttachVolume: Multi-Attach error for volume \"pv\" Volume is already used by \
                   pod(s) p";
    assert_eq!(cluster.look("b"), [refused]);
    cluster.attached("a");
    cluster.look("a");
    assert!(cluster.look("b").is_empty(), "told once");
    cluster.volume(&["ReadWriteMany"]);
    assert_eq!(cluster.look("b"), ["create VolumeAttachment"]);
}

#[test]
fn a_promise_ends_with_the_wish() {
    let cluster = Cluster::new();
    cluster.pod("p", "a");
    cluster.look("a");
    cluster.pod_gone("p");
    cluster.look("a");
    cluster.pod("q", "b");
    assert_eq!(cluster.look("b"), ["create VolumeAttachment"]);
}

#[test]
fn detaching_waits_for_the_node_and_for_its_status() {
    let cluster = Cluster::new();
    cluster.attached("a");
    cluster.node("a", uses);
    assert!(cluster.look("a").is_empty(), "it is in use");
    cluster.clock.advance(Duration::from_secs(3600));
    assert!(cluster.look("a").is_empty(), "however long");
    cluster.node("a", |node| {
        uses(node);
        node.status.volumes_in_use.clear();
    });
    assert_eq!(cluster.look("a"), ["report "]);
    cluster.node("a", |_| {});
    assert_eq!(cluster.look("a"), ["delete VolumeAttachment"]);
}

#[test]
fn a_node_that_is_silent_or_out_of_service_loses_its_volumes() {
    let cluster = Cluster::new();
    cluster.attached("a");
    cluster.node("a", unready);
    assert!(cluster.look("a").is_empty());
    cluster.clock.advance(Duration::from_secs(359));
    assert!(cluster.look("a").is_empty());
    cluster.clock.advance(Duration::from_secs(1));
    assert_eq!(cluster.look("a"), ["report "]);

    let cluster = Cluster::new();
    cluster.attached("a");
    cluster.node("a", |node| {
        unready(node);
        let key = "node.kubernetes.io/out-of-service".into();
        node.spec.taints = vec![Taint { key, ..Default::default() }];
    });
    assert_eq!(cluster.look("a"), ["report "]);
}

#[test]
fn of_a_node_that_is_gone_what_it_last_said_counts() {
    let cluster = Cluster::new();
    cluster.attached("a");
    cluster.node("a", uses);
    cluster.look("a");
    cluster.caches.store::<NodeFacts>().remove(&Key::cluster("a"), 9);
    assert!(cluster.look("a").is_empty());
    cluster.clock.advance(Duration::from_secs(360));
    assert_eq!(cluster.look("a"), ["delete VolumeAttachment"]);

    let cluster = Cluster::new();
    cluster.attached("a");
    cluster.look("a");
    cluster.caches.store::<NodeFacts>().remove(&Key::cluster("a"), 9);
    assert_eq!(cluster.look("a"), ["delete VolumeAttachment"], "it used nothing");
}

#[test]
fn requests_of_others_and_nodes_that_attach_themselves_are_left_alone() {
    let cluster = Cluster::new();
    cluster.attachment("a", |a| a.metadata.name = "by-hand".into());
    assert!(cluster.look("a").is_empty());
    cluster.node("a", |node| node.metadata.annotations.clear());
    assert!(cluster.controller.observe(&Key::cluster("a"), &cluster.caches).is_none());
}

const DISK: &str = "kubernetes.io/iscsi/10.0.0.1:iqn.a:0";

impl Cluster {
    /// The volume behind the claim is a disk.
    fn disk(&self, modes: &[&str]) {
        self.volume(modes);
        let mut volume = (*self.caches.store::<VolumeObject>().find("", "pv").unwrap()).clone().0;
        volume.spec.source.csi = None;
        volume.spec.source.iscsi = Some(Box::new(api_types::core::v1::ISCSIPersistentVolumeSource {
            target_portal: "10.0.0.1".into(),
            iqn: "iqn.a".into(),
            ..Default::default()
        }));
        self.caches.store::<VolumeObject>().put(volume);
    }

    fn has_disk(&self, node: &str, used: bool) {
        self.node(node, |node| {
            node.status.volumes_attached = vec![AttachedVolume { name: DISK.into(), ..Default::default() }];
            node.status.volumes_in_use = if used { vec![DISK.into()] } else { Vec::new() };
        });
    }
}

const ATTACHED: &str = "Normal SuccessfulAttachVolume: AttachVolume.Attach succeeded for volume \"pv\" ";

#[test]
fn a_disk_is_reported_while_pods_need_it_or_the_node_uses_it() {
    let cluster = Cluster::new();
    cluster.disk(&["ReadWriteOnce"]);
    cluster.pod("p", "a");
    let report = format!("report {DISK}");
    assert_eq!(cluster.look("a"), [ATTACHED.to_owned(), report.clone()]);
    assert_eq!(cluster.look("a"), [report], "told once");
    cluster.has_disk("a", true);
    assert!(cluster.look("a").is_empty());
    cluster.pod_gone("p");
    assert!(cluster.look("a").is_empty(), "it is in use");
    cluster.clock.advance(Duration::from_secs(3600));
    assert!(cluster.look("a").is_empty(), "however long");
    cluster.has_disk("a", false);
    assert_eq!(cluster.look("a"), ["report "]);
}

#[test]
fn a_disk_that_one_can_write_is_with_one_node_at_a_time() {
    let cluster = Cluster::new();
    cluster.disk(&["ReadWriteOnce"]);
    cluster.pod("p", "a");
    cluster.pod("q", "b");
    cluster.look("a");
    let refused = "Warning FailedAttachVolume: Multi-Attach error for volume \"pv\" Volume is already used by \
                   pod(s) p";
    assert_eq!(cluster.look("b"), [refused], "the caches do not show it yet");
    cluster.has_disk("a", true);
    cluster.look("a");
    assert!(cluster.look("b").is_empty(), "told once");
    cluster.pod_gone("p");
    cluster.node("a", |_| {});
    cluster.look("a");
    assert_eq!(cluster.look("b"), [ATTACHED.to_owned(), format!("report {DISK}")]);

    let cluster = Cluster::new();
    cluster.disk(&["ReadOnlyMany"]);
    cluster.has_disk("a", true);
    cluster.pod("q", "b");
    assert_eq!(cluster.look("b"), [ATTACHED.to_owned(), format!("report {DISK}")]);
}

#[test]
fn a_node_that_is_gone_keeps_a_disk_for_a_while() {
    let cluster = Cluster::new();
    cluster.disk(&["ReadWriteOnce"]);
    cluster.has_disk("a", true);
    cluster.look("a");
    cluster.caches.store::<NodeFacts>().remove(&Key::cluster("a"), 9);
    cluster.look("a");
    cluster.pod("q", "b");
    let refused = "Warning FailedAttachVolume: Multi-Attach error for volume \"pv\" Volume is already \
                   exclusively attached to one node and can't be attached to another";
    assert_eq!(cluster.look("b"), [refused]);
    cluster.clock.advance(Duration::from_secs(360));
    assert!(cluster.look("a").is_empty());
    assert_eq!(cluster.look("b"), [ATTACHED.to_owned(), format!("report {DISK}")]);
}

#[test]
fn disks_that_stand_in_pods_are_given_to_all() {
    let cluster = Cluster::new();
    let pod = |name: &str, node: &str| {
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".into();
        pod.metadata.name = name.into();
        pod.spec.node_name = node.into();
        let mut volume = Volume { name: "v".into(), ..Default::default() };
        volume.source.iscsi = Some(Box::new(api_types::core::v1::ISCSIVolumeSource {
            target_portal: "10.0.0.1".into(),
            iqn: "iqn.a".into(),
            ..Default::default()
        }));
        pod.spec.volumes = vec![volume];
        cluster.caches.store::<PodFacts>().put(pod);
    };
    pod("p", "a");
    pod("q", "b");
    let told = ATTACHED.replace("pv", "v");
    for node in ["a", "b"] {
        assert_eq!(cluster.look(node), [told.clone(), format!("report {DISK}")]);
    }
}
