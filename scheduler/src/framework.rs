//! The extension points at which plugins take part in scheduling, in the order in which a pod meets
//! them: PreEnqueue, QueueSort, PreFilter, Filter, PostFilter, PreScore, Score, Reserve, Permit,
//! PreBind, Bind, PostBind (upstream's "Scheduling Framework").
//!
//! Up to Reserve everything is pure: plugins read the pod, the snapshot and what they themselves
//! left in the [`CycleState`]. Permit, PreBind and Bind may wait and do I/O. A plugin implements the
//! traits of its points and stands in the table of `plugins/mod.rs`.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api_types::resource::v1::ResourceClaim;

use crate::cache::{Cache, NodeInfo, Snapshot};
use crate::devices::{self, Devices};
use crate::node::NodeView;
use crate::pod::PodView;
use crate::profile::Profile;
use crate::storage::{
    AttachmentView, CapacityView, Changed, ClaimView, ClassView, CsiDriverView, CsiNodeView, VolumeView,
};

/// The highest score that a plugin may give a node after normalizing.
pub const MAX_SCORE: i64 = 100;

/// How bad a "no" is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Not now; preempting other pods may help.
    Unschedulable,
    /// Not now, and preemption will not help.
    Unresolvable,
    /// Waits for something outside.
    Pending,
    /// The plugin failed; the pod is tried again.
    Error,
}

impl Code {
    /// Upstream's word in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unschedulable => "Unschedulable",
            Self::Unresolvable => "UnschedulableAndUnresolvable",
            Self::Pending => "Pending",
            Self::Error => "Error",
        }
    }
}

/// A plugin's "no".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub code: Code,
    pub reasons: Vec<Cow<'static, str>>,
    /// Filled in by the framework.
    pub plugin: &'static str,
}

impl Rejection {
    pub fn new(code: Code, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reasons: vec![reason.into()], plugin: "" }
    }
    pub fn unschedulable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unschedulable, reason)
    }
    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unresolvable, reason)
    }
    pub fn error(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Error, reason)
    }
    #[must_use]
    pub fn by(mut self, plugin: &'static str) -> Self {
        self.plugin = plugin;
        self
    }
    pub fn message(&self) -> String {
        self.reasons.join(", ")
    }
}

/// A plugin's answer.
pub type Verdict = Result<(), Rejection>;

/// Something that happened in the cluster, for which pods may be worth another try.
#[derive(Clone, Debug)]
pub enum ClusterEvent {
    /// A pod appeared on a node.
    AssignedPodAdded(Arc<PodView>),
    /// A pod on a node changed.
    AssignedPodUpdated {
        old: Arc<PodView>,
        new: Arc<PodView>,
    },
    /// A pod that was on a node, or assumed to be, is gone.
    AssignedPodDeleted(Arc<PodView>),
    /// The waiting pod itself changed.
    PodUpdated {
        old: Arc<PodView>,
        new: Arc<PodView>,
    },
    NodeAdded(Arc<NodeView>),
    NodeUpdated {
        old: Arc<NodeView>,
        new: Arc<NodeView>,
    },
    NodeDeleted(Arc<NodeView>),
    /// A namespace's labels changed.
    NamespaceChanged,
    Claim(Changed<ClaimView>),
    Volume(Changed<VolumeView>),
    Class(Changed<ClassView>),
    CsiNode(Changed<CsiNodeView>),
    CsiDriver(Changed<CsiDriverView>),
    Capacity(Changed<CapacityView>),
    Attachment(Changed<AttachmentView>),
    /// A claim for devices, and all devices as they are with it.
    DeviceClaim(Changed<devices::Claim>, Devices),
    DeviceClass(Changed<devices::Class>),
    DeviceSlice(Changed<devices::Slice>),
}

/// `labels!("PersistentVolume")`: upstream's labels of adding, changing and deleting.
macro_rules! labels {
    ($resource:literal) => {
        [concat!($resource, "Add"), concat!($resource, "Update"), concat!($resource, "Delete")]
    };
}

impl ClusterEvent {
    /// The label of metrics; upstream's names.
    pub fn label(&self) -> &'static str {
        match self {
            Self::AssignedPodAdded(_) => "AssignedPodAdd",
            Self::AssignedPodUpdated { .. } => "AssignedPodUpdate",
            Self::AssignedPodDeleted(_) => "AssignedPodDelete",
            Self::PodUpdated { .. } => "UnschedulablePodUpdate",
            Self::NodeAdded(_) => "NodeAdd",
            Self::NodeUpdated { .. } => "NodeUpdate",
            Self::NodeDeleted(_) => "NodeDelete",
            Self::NamespaceChanged => "NamespaceUpdate",
            Self::Claim(c) => c.label(labels!("PersistentVolumeClaim")),
            Self::Volume(c) => c.label(labels!("PersistentVolume")),
            Self::Class(c) => c.label(labels!("storage.k8s.io/StorageClass")),
            Self::CsiNode(c) => c.label(labels!("storage.k8s.io/CSINode")),
            Self::CsiDriver(c) => c.label(labels!("storage.k8s.io/CSIDriver")),
            Self::Capacity(c) => c.label(labels!("storage.k8s.io/CSIStorageCapacity")),
            Self::Attachment(c) => c.label(labels!("storage.k8s.io/VolumeAttachment")),
            Self::DeviceClaim(c, _) => c.label(labels!("resource.k8s.io/ResourceClaim")),
            Self::DeviceClass(c) => c.label(labels!("resource.k8s.io/DeviceClass")),
            Self::DeviceSlice(c) => c.label(labels!("resource.k8s.io/ResourceSlice")),
        }
    }

    /// Whether it may let pods in that PreEnqueue holds back. Else their gates open by an update of the pod itself.
    pub fn opens_gates(&self) -> bool {
        matches!(self, Self::DeviceClaim(..))
    }

    /// The node that appeared or changed, and how it was before.
    pub fn node(&self) -> Option<(Option<&NodeView>, &NodeView)> {
        match self {
            Self::NodeAdded(new) => Some((None, new)),
            Self::NodeUpdated { old, new } => Some((Some(old), new)),
            _ => None,
        }
    }

    /// A claim that `pod` uses appeared or changed: the version before, and the new one.
    pub fn claim_of(&self, pod: &PodView) -> Option<(Option<&ClaimView>, &ClaimView)> {
        let Self::Claim(Changed { old, new: Some(new) }) = self else { return None };
        let used = *new.namespace == *pod.namespace && pod.volume_claims.iter().any(|c| c.name == new.name);
        used.then_some((old.as_deref(), &**new))
    }
}

/// What all plugins have.
pub trait Plugin: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// The queueing hint: whether `event` may let `pod` pass where this plugin rejected it.
    /// A plugin that cannot tell says yes.
    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        let _ = (pod, event);
        true
    }
}

/// Before a pod enters the queue of pods that are ready to be scheduled.
pub trait PreEnqueue: Plugin {
    fn pre_enqueue(&self, pod: &PodView, devices: &Devices) -> Verdict;
}

/// A pod's place in the queue: smaller goes first.
pub type SortKey = (i64, Duration);

/// The order of the queue. All profiles share one.
pub trait QueueSort: Plugin {
    /// `since` is the moment when the pod last entered the queue.
    fn key(&self, pod: &PodView, since: Duration) -> SortKey;
}

/// What PreFilter found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreFiltered {
    /// The plugin has nothing against any node: its Filter is not called.
    Skip,
    /// Every node is to be looked at.
    AllNodes,
    /// Only these can fit.
    Nodes(BTreeSet<String>),
}

/// Once for each attempt, before the nodes are looked at.
pub trait PreFilter: Plugin {
    /// # Errors
    /// When no node can fit.
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
    ) -> Result<PreFiltered, Rejection>;

    /// `added` is thought to run on `node`: preemption tries what would be.
    fn add_pod(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        added: &PodView,
        node: &NodeInfo,
        snapshot: &Snapshot,
    ) {
        let _ = (state, pod, added, node, snapshot);
    }

    /// `removed` is thought to be gone from `node`.
    fn remove_pod(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        removed: &PodView,
        node: &NodeInfo,
        snapshot: &Snapshot,
    ) {
        let _ = (state, pod, removed, node, snapshot);
    }
}

/// Whether a pod fits a node.
pub trait Filter: Plugin {
    fn filter(&self, state: &CycleState, pod: &PodView, node: &NodeInfo) -> Verdict;
}

/// What an attempt that found no node looked like.
pub struct Failed<'a> {
    pub profile: &'a Profile,
    pub snapshot: &'a Snapshot,
    pub state: &'a CycleState,
    pub pod: &'a Arc<PodView>,
    /// Why each node was rejected; a node that is missing was not looked at and cannot fit.
    pub rejections: &'a HashMap<Arc<str>, Rejection>,
    /// A random number, for plugins that begin somewhere.
    pub random: u32,
}

/// What PostFilter achieved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PostFiltered {
    /// The pod's nominated node: `Some` replaces it, an empty name clears it.
    pub nominate: Option<Arc<str>>,
    /// Pods to delete so that the pod fits its nominated node, most important first.
    pub victims: Vec<Arc<PodView>>,
    /// What a claim is to give up, so that the pod finds other devices.
    pub release: Option<Release>,
    /// For people, when the plugin could not help.
    pub message: String,
    /// Whether the plugin failed: then none after it is asked, and its message alone is told.
    pub failed: bool,
}

/// What PostFilter wants a claim to give up.
#[derive(Clone, Debug, PartialEq)]
pub enum Release {
    /// Its devices.
    Deallocate(Arc<devices::Claim>),
    /// Everything: it was made for the pod in an attempt that failed.
    Delete(Arc<devices::Claim>),
}

/// After no node was found: preemption.
pub trait PostFilter: Plugin {
    fn post_filter(&self, failed: &Failed<'_>) -> PostFiltered;
}

/// Once for each attempt, before nodes are scored.
pub trait PreScore: Plugin {
    /// Whether the plugin scores this pod at all.
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
        feasible: &[Arc<NodeInfo>],
    ) -> bool;
}

/// How well a pod fits a node.
pub trait Score: Plugin {
    fn score(&self, state: &CycleState, pod: &PodView, node: &NodeInfo, snapshot: &Snapshot) -> i64;

    /// Brings the scores of all nodes into 0..=100. `nodes` are in the order of `scores`.
    fn normalize(&self, state: &CycleState, nodes: &[Arc<NodeInfo>], scores: &mut [i64]) {
        let _ = (state, nodes, scores);
    }
}

/// When a node has been chosen, before anybody else can take the room.
pub trait Reserve: Plugin {
    fn reserve(&self, state: &mut CycleState, pod: &PodView, node: &str, cache: &mut Cache) -> Verdict;
    /// Undoes `reserve`; called for all Reserve plugins, in reverse order, also for those that did not come to it.
    fn unreserve(&self, state: &mut CycleState, pod: &PodView, node: &str, cache: &mut Cache);
    /// What is left to be undone at the apiserver after `unreserve`; nothing for most.
    fn clean_up(&self, state: &CycleState, pod: &Arc<PodView>, around: &Around) -> Option<Wait> {
        let _ = (state, pod, around);
        None
    }
}

/// Something that is waited for.
pub type Wait = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// What Permit says. No plugin in the table extends Permit yet.
#[allow(dead_code, reason = "part of the framework's interface; today's plugins only allow")]
pub enum Permission {
    Allow,
    Reject(Rejection),
    /// Allowed or rejected when the future ends, rejected when that takes longer than the duration.
    Wait(Duration, Wait),
}

/// Whether the binding of a pod may go ahead now.
pub trait Permit: Plugin {
    fn permit(&self, state: &CycleState, pod: &PodView, node: &str) -> Permission;
}

/// What a plugin that waits can see of the cluster.
pub trait Sight: Send + Sync + 'static {
    fn storage(&self) -> crate::storage::Storage;
    fn devices(&self) -> Devices;
    /// Notes a claim that was written, under whose UID its allocation may have been pending.
    fn claim_written(&self, pending: &str, claim: ResourceClaim);
    fn node(&self, name: &str) -> Option<Arc<NodeView>>;
    /// Whether the pod is still there.
    fn expects(&self, uid: &str) -> bool;
    /// Told of when storage changes or pods go.
    fn changes(&self) -> tokio::sync::watch::Receiver<u64>;
}

/// What a plugin that waits can use.
#[derive(Clone)]
pub struct Around {
    pub api: Arc<dyn crate::api::Api>,
    pub sight: Arc<dyn Sight>,
    pub clock: daemon::clock::SharedClock,
}

/// What must be done before a pod is bound.
pub trait PreBind: Plugin {
    /// Whether there is anything to do for the pod (upstream's PreBindPreFlight).
    fn has_work(&self, state: &CycleState) -> bool;

    fn pre_bind(&self, state: &CycleState, pod: &Arc<PodView>, node: &str, around: &Around) -> Wait;
}

/// Binds a pod.
pub trait Bind: Plugin {
    fn bind(&self, api: &Arc<dyn crate::api::Api>, pod: &Arc<PodView>, node: &str) -> Wait;
}

/// After a pod was bound.
pub trait PostBind: Plugin {
    fn post_bind(&self, state: &CycleState, pod: &PodView, node: &str);
}

/// What plugins remember within one attempt: at most one value of each type.
#[derive(Default)]
pub struct CycleState {
    values: HashMap<TypeId, Box<dyn Remembered>>,
}

trait Remembered: Any + Send + Sync {
    fn clone_boxed(&self) -> Box<dyn Remembered>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Clone + Send + Sync + 'static> Remembered for T {
    fn clone_boxed(&self) -> Box<dyn Remembered> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl Clone for CycleState {
    fn clone(&self) -> Self {
        // Through the box: the box itself is Remembered too.
        Self { values: self.values.iter().map(|(id, v)| (*id, (**v).clone_boxed())).collect() }
    }
}

impl CycleState {
    pub fn put<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        self.values.insert(TypeId::of::<T>(), Box::new(value));
    }
    pub fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<&T> {
        self.values.get(&TypeId::of::<T>()).and_then(|v| (**v).as_any().downcast_ref())
    }
    pub fn get_mut<T: Clone + Send + Sync + 'static>(&mut self) -> Option<&mut T> {
        self.values.get_mut(&TypeId::of::<T>()).and_then(|v| (**v).as_any_mut().downcast_mut())
    }
}

/// Stretches scores so that the highest becomes 100, or the lowest when `reverse`.
pub fn normalize_to_max(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        *score = match (highest, reverse) {
            (0, true) => MAX_SCORE,
            (0, false) => *score,
            (_, true) => MAX_SCORE - MAX_SCORE * *score / highest,
            (_, false) => MAX_SCORE * *score / highest,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_of_the_state_changes_alone() {
        #[derive(Clone)]
        struct Count(i32);
        let mut state = CycleState::default();
        state.put(Count(1));
        let mut copy = state.clone();
        if let Some(count) = copy.get_mut::<Count>() {
            count.0 += 1;
        }
        assert_eq!(state.get::<Count>().map(|c| c.0), Some(1));
        assert_eq!(copy.get::<Count>().map(|c| c.0), Some(2));
    }

    #[test]
    fn scores_are_stretched() {
        let check = |mut given: Vec<i64>, reverse, expected: &[i64]| {
            normalize_to_max(&mut given, reverse);
            assert_eq!(given, expected);
        };
        check(vec![1, 2, 4], false, &[25, 50, 100]);
        check(vec![1, 2, 4], true, &[75, 50, 0]);
        check(vec![0, 0], false, &[0, 0]);
        check(vec![0, 0], true, &[100, 100]);
    }
}
