//! What a node's attachments need.

use std::time::Duration;

use api_types::core::v1::well_known::taint;
use api_types::core::v1::{ConditionStatus, Node, NodeConditionType, ObjectReference};
use api_types::meta::v1::ObjectMeta;
use api_types::storage::v1::{VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec};
use client::controller::{Action, Plan, Step, Target, Told};
use client::{Key, Patch};
use jiff::Timestamp;
use serde_json::json;

use super::{Leaving, View, Wanted, disks, unique_name};
use crate::cached::{AttachmentObject, NodeFacts, VolumeObject};
use crate::service_pods::reference;

/// How long a node that is not ready is waited for to let go of a volume.
const LONGEST_WAIT: Duration = Duration::from_secs(360);
/// How long an attacher may take before pods are told.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(120);
/// Until a promise to another node is looked at again, of which nothing may be heard any more.
pub(super) const PROMISE_CHECK: Duration = Duration::from_secs(1);

/// What a node has and its pods do not need.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hold {
    pub since: Timestamp,
    /// Whether the node says that it uses the volume, or did when it was last heard of.
    pub in_use: bool,
}

/// For the controller's memory.
#[derive(Debug, PartialEq, Eq)]
pub enum Note {
    /// The pods of an attachment were told this.
    Told { attachment: String, text: String },
    /// The node is the one that has this volume from now on.
    Promised { volume: String, node: Box<str>, attachment: String },
    /// The node has this disk from now on.
    DiskPromised { node: Box<str>, disk: String },
    /// The pods of a disk were told this.
    DiskTold { node: Box<str>, disk: String, text: String },
    /// A node that is gone has let go of a disk.
    DiskGone { node: Box<str>, disk: String },
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan<Note> {
    let mut plan = Plan::nothing();
    let mut reported = foreign(view);
    let leaving: Vec<(&Leaving, bool)> =
        view.leaving.iter().map(|leaving| (leaving, may_go(view, leaving.hold, now, &mut plan))).collect();
    for (leaving, may_go) in &leaving {
        if !may_go && leaving.attachment.status.attached && !is_deleting(&leaving.attachment) {
            reported.push(unique_name(&leaving.attachment.spec.attacher, &leaving.handle));
        }
    }
    let attached =
        |wanted: &&Wanted| wanted.attachment.as_ref().is_some_and(|a| a.status.attached && !is_deleting(a));
    let attached = view.wanted.iter().filter(attached);
    reported.extend(attached.map(|wanted| unique_name(&wanted.driver, &wanted.handle)));
    disks::plan(view, now, &mut reported, &mut plan);
    reported.sort();
    for wanted in &view.wanted {
        // What is being deleted is made anew once it is gone.
        if let Some(attachment) = wanted.attachment.as_ref().filter(|a| !is_deleting(a)) {
            follow(view, wanted, attachment, now, &mut plan);
        }
    }
    report(view, &reported, &mut plan);
    for (leaving, _) in
        leaving.iter().filter(|(leaving, may_go)| *may_go && !is_deleting(&leaving.attachment))
    {
        detach(view, leaving, &mut plan);
    }
    // Last, for one that is refused ends the plan.
    for wanted in view.wanted.iter().filter(|wanted| wanted.attachment.is_none()) {
        attach(view, wanted, &mut plan);
    }
    plan
}

fn is_deleting(attachment: &AttachmentObject) -> bool {
    attachment.metadata.deletion_timestamp.is_some()
}

/// Entries of the node's status that are none of ours.
fn foreign(view: &View) -> Vec<String> {
    let all = view.facts.iter().flat_map(|facts| &facts.volumes_attached);
    all.filter(|name| !name.starts_with("kubernetes.io/csi/") && !disks::is_disk(name))
        .map(|name| name.to_string())
        .collect()
}

/// Tells all pods, once for each `text`.
fn tell(wanted: &Wanted, text: String, plan: &mut Plan<Note>, told: impl Fn(ObjectReference, &Key) -> Told) {
    if wanted.told == text {
        return;
    }
    for (key, pod) in &wanted.pods {
        plan.tell(told(reference(key, pod), key));
    }
    plan.step(Step::Own(Note::Told { attachment: wanted.name.clone(), text }));
}

/// Tells the pods how attaching goes: that it is done, that it failed, that nobody answers.
fn follow(
    view: &View,
    wanted: &Wanted,
    attachment: &AttachmentObject,
    now: Timestamp,
    plan: &mut Plan<Note>,
) {
    let volume = &wanted.volume.metadata.name;
    let failed = |why: &str| format!("AttachVolume.Attach failed for volume {volume:?} : {why}");
    let warn = |text: String, message: String, plan: &mut Plan<Note>| {
        tell(wanted, text, plan, |pod, _| Told::warning(pod, "FailedAttachVolume", message.clone()));
    };
    if attachment.status.attached {
        let unique = unique_name(&wanted.driver, &wanted.handle);
        let facts = view.facts.as_deref();
        let known = facts.is_some_and(|f| f.volumes_attached.iter().any(|name| **name == *unique));
        if !known {
            let message = format!("AttachVolume.Attach succeeded for volume {volume:?} ");
            tell(wanted, message.clone(), plan, |pod, _| {
                Told::normal(pod, "SuccessfulAttachVolume", message.clone())
            });
        }
        return;
    }
    if let Some(error) = &attachment.status.attach_error {
        let message = failed(&error.message);
        let text = format!("{message} at {}", error.time.map(|t| t.to_string()).unwrap_or_default());
        return warn(text, message, plan);
    }
    let created = attachment.metadata.creation_timestamp.map_or(now, |t| t.0);
    let waited = Duration::try_from(now.duration_since(created)).unwrap_or_default();
    let rounds = waited.as_secs() / ATTACH_TIMEOUT.as_secs();
    if rounds > 0 {
        let (driver, handle) = (&wanted.driver, &wanted.handle);
        let message = failed(&format!(
            "timed out waiting for external-attacher of {driver} CSI driver to attach volume {handle}"
        ));
        warn(format!("{message} {rounds}"), message, plan);
    }
    let next = ATTACH_TIMEOUT.as_secs() * (rounds + 1);
    plan.look_again(Duration::from_secs(next).saturating_sub(waited).max(Duration::from_secs(1)));
}

fn attach(view: &View, wanted: &Wanted, plan: &mut Plan<Note>) {
    if view.facts.is_none() {
        return;
    }
    let volume = &wanted.volume.metadata.name;
    let exclusive = exclusive(&wanted.volume);
    if wanted.elsewhere && exclusive {
        if wanted.promised {
            plan.look_again(PROMISE_CHECK);
        }
        let text = format!("Multi-Attach error for volume {volume:?}");
        return tell(wanted, text.clone(), plan, |pod, key| {
            Told::warning(pod, "FailedAttachVolume", format!("{text} {}", used_by(&wanted.others, key)))
        });
    }
    if exclusive {
        let (volume, node) = (volume.clone(), view.node.clone());
        plan.step(Step::Own(Note::Promised { volume, node, attachment: wanted.name.clone() }));
    }
    let source =
        VolumeAttachmentSource { persistent_volume_name: Some(volume.clone()), ..Default::default() };
    let spec =
        VolumeAttachmentSpec { attacher: wanted.driver.clone(), source, node_name: view.node.to_string() };
    let metadata = ObjectMeta { name: wanted.name.clone(), ..ObjectMeta::default() };
    let create = Action::create(VolumeAttachment { metadata, spec, ..Default::default() });
    let message = format!(
        "AttachVolume.Attach failed for volume {volume:?} : kubernetes.io/csi: attacher.Attach failed: {{error}}"
    );
    plan.act(match wanted.pods.first() {
        Some((key, pod)) => {
            create.on_failure(Told::warning(reference(key, pod), "FailedAttachVolume", message))
        }
        None => create,
    });
}

/// Whether only one node at a time can have it.
pub(super) fn exclusive(volume: &VolumeObject) -> bool {
    let modes = &volume.spec.access_modes;
    !modes.is_empty() && !modes.iter().any(|m| matches!(m.as_str(), "ReadWriteMany" | "ReadOnlyMany"))
}

/// Names of pods in other namespaces are not told.
pub(super) fn used_by(others: &[Key], pod: &Key) -> String {
    let (local, foreign): (Vec<&Key>, Vec<&Key>) =
        others.iter().partition(|other| other.namespace == pod.namespace);
    let names: Vec<&str> = local.iter().map(|key| &*key.name).collect();
    match (names.is_empty(), foreign.len()) {
        (true, 0) => {
            "Volume is already exclusively attached to one node and can't be attached to another".into()
        }
        (true, count) => format!("Volume is already used by {count} pod(s) in different namespaces"),
        (false, 0) => format!("Volume is already used by pod(s) {}", names.join(", ")),
        (false, count) => format!(
            "Volume is already used by pod(s) {} and {count} pod(s) in different namespaces",
            names.join(", ")
        ),
    }
}

/// Says in the node's status what is attached.
fn report(view: &View, attached: &[String], plan: &mut Plan<Note>) {
    let Some(facts) = &view.facts else { return };
    let mut known: Vec<&str> = facts.volumes_attached.iter().map(|name| &**name).collect();
    known.sort_unstable();
    if known != attached {
        let list: Vec<_> = attached.iter().map(|name| json!({"name": name, "devicePath": ""})).collect();
        let target = Target::new::<Node>(Key::cluster(view.node.clone()), &facts.uid);
        plan.act(Action::patch_status(target, Patch::Merge(json!({"status": {"volumesAttached": list}}))));
    }
}

/// Takes back a request that no pod needs any more.
fn detach(view: &View, leaving: &Leaving, plan: &mut Plan<Note>) {
    let meta = &leaving.attachment.metadata;
    let unique = unique_name(&leaving.attachment.spec.attacher, &leaving.handle);
    // First the node's status has to stop saying that it is safe to mount; its change wakes the node.
    let facts = view.facts.as_deref();
    if !facts.is_some_and(|facts| facts.volumes_attached.iter().any(|name| **name == *unique)) {
        plan.act(Action::delete(Target::new::<VolumeAttachment>(Key::of(meta), &meta.uid)));
    }
}

/// Whether the node has let go of the volume, or will not do so any more.
pub(super) fn may_go(view: &View, hold: Hold, now: Timestamp, plan: &mut Plan<Note>) -> bool {
    let facts = view.facts.as_deref();
    let out_of_service = facts.is_some_and(|f| f.taints.iter().any(|t| t.key == taint::OUT_OF_SERVICE));
    if !hold.in_use || out_of_service {
        return true;
    }
    if facts.is_some_and(is_ready) || !view.force_on_timeout {
        return false;
    }
    let waited = Duration::try_from(now.duration_since(hold.since)).unwrap_or_default();
    if waited < LONGEST_WAIT {
        plan.look_again(LONGEST_WAIT - waited);
    }
    waited >= LONGEST_WAIT
}

fn is_ready(facts: &NodeFacts) -> bool {
    let mut conditions = facts.conditions.iter();
    conditions.any(|c| c.type_ == NodeConditionType::Ready && c.status == ConditionStatus::True)
}
