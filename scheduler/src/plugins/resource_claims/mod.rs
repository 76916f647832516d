//! DynamicResources: the claims of a pod get devices (KEP-4381).
//!
//! PreEnqueue holds a pod back until its claims are there. Filter asks the `allocator` what the claims would get on each
//! node, Reserve keeps that for the node that was chosen, PreBind (`bind.rs`) writes it and waits for devices that have
//! to be made ready first. When no node is left, PostFilter gives up an allocation that nobody else uses.

mod allocator;
mod bind;
mod claims;
mod extended;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::node::selection::Terms;
use api_types::resource::v1::{AllocationResult, ResourceClaim};
use daemon::clock::SharedClock;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::cache::{Cache, NodeInfo, Snapshot};
use crate::config::args::DevicesArgs;
use crate::devices::{Claim, Devices, key};
use crate::framework::{
    Around, ClusterEvent, CycleState, Failed, Filter, Plugin, PostFilter, PostFiltered, PreBind, PreEnqueue,
    PreFilter, PreFiltered, Rejection, Release, Reserve, Score, Verdict, Wait, normalize_to_max,
};
use crate::pod::PodView;
use crate::storage::Changed;
use allocator::{Allocator, Failure, Selectors};
pub use bind::delete;
pub use extended::Delegated;
use extended::{OnNode, Wishes};

/// Most alternatives of a request; the first counts that much.
const MOST_OPTIONS: i64 = 8;

pub struct DynamicResources {
    args: DevicesArgs,
    clock: SharedClock,
    selectors: Arc<Selectors>,
}

impl DynamicResources {
    pub fn new(args: DevicesArgs, clock: SharedClock) -> Self {
        Self { args, clock, selectors: Arc::default() }
    }
}

/// A pod's claims at the time of the attempt, shared by all that it goes through.
#[derive(Clone, Default)]
struct Attempt(Arc<Wanted>);

#[derive(Default)]
struct Wanted {
    /// As they were when the attempt began. That for extended resources comes last.
    claims: Vec<Arc<Claim>>,
    /// What the last one is for, if it is for extended resources.
    extended: Option<Wishes>,
    /// Nodes on which the devices of claims that have some can be used.
    nodes: Vec<Option<Terms>>,
    /// When there are claims without devices.
    allocator: Option<Allocator>,
    found: Mutex<Found>,
}

/// What the attempt found out and did.
#[derive(Default)]
struct Found {
    /// Claims whose devices cannot be used on some node.
    unavailable: BTreeSet<usize>,
    /// What the claims without devices get on each node, in their order.
    on_node: HashMap<Arc<str>, Vec<AllocationResult>>,
    /// What the claim for extended resources asks for on each node that takes it.
    extended: HashMap<Arc<str>, OnNode>,
    /// What Reserve kept, by the claim's place.
    kept: HashMap<usize, Arc<AllocationResult>>,
    /// Claims as they were written.
    written: HashMap<usize, ResourceClaim>,
}

impl Wanted {
    /// The claim for extended resources, and its place.
    fn special(&self) -> Option<(usize, &Arc<Claim>)> {
        self.extended.as_ref().and_then(|_| self.claims.iter().enumerate().next_back())
    }

    /// Claims that the pod names.
    fn named(&self) -> &[Arc<Claim>] {
        &self.claims[..self.claims.len() - usize::from(self.extended.is_some())]
    }

    /// Claims without devices that the pod names, and their places.
    fn to_allocate(&self) -> impl Iterator<Item = (usize, &ResourceClaim)> {
        let claims = self.named().iter().enumerate();
        claims.filter(|(_, claim)| claim.status.allocation.is_none()).map(|(at, claim)| (at, &claim.0))
    }
}

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::DeviceClaim(changed, devices) => claim_helps(pod, changed, devices),
            ClusterEvent::PodUpdated { old, new } => {
                new.uid == pod.uid && old.device_claims != new.device_claims
            }
            ClusterEvent::DeviceClass(Changed { new, .. }) => new.is_some(),
            ClusterEvent::DeviceSlice(Changed { new, .. }) => new.is_some(),
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated { old, new } => {
                old.labels != new.labels
                    || old.allocatable != new.allocatable
                    || old.allowed_pods != new.allowed_pods
            }
            _ => false,
        }
    }
}

/// Devices that a claim gave up may be for anybody; else only the pod's own claims matter.
fn claim_helps(pod: &PodView, changed: &Changed<Claim>, devices: &Devices) -> bool {
    let (old, Some(new)) = (&changed.old, &changed.new) else { return false };
    let Ok(own) = claims::of_pod(devices, pod) else { return false };
    let freed = |old: &Arc<Claim>| old.status.allocation.is_some() && new.status.allocation.is_none();
    if old.as_ref().is_some_and(freed) {
        return true;
    }
    let is_own = own.iter().any(|claim| claim.metadata.uid == new.metadata.uid);
    is_own && old.as_ref().is_none_or(|old| old.status != new.status)
}

impl PreEnqueue for DynamicResources {
    fn pre_enqueue(&self, pod: &PodView, devices: &Devices) -> Verdict {
        claims::of_pod(devices, pod).map(drop).map_err(Rejection::unresolvable)
    }
}

impl PreFilter for DynamicResources {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
    ) -> Result<PreFiltered, Rejection> {
        state.put(Attempt::default());
        let devices = &snapshot.devices;
        let mut claims = claims::of_pod(devices, pod).map_err(Rejection::unresolvable)?;
        let mut wanted = Wanted { extended: extended::wishes(pod, devices), ..Wanted::default() };
        if claims.is_empty() && wanted.extended.is_none() {
            return Ok(PreFiltered::Skip);
        }
        for claim in &claims {
            let allocation = claim.status.allocation.as_ref();
            wanted.nodes.push(allocation.and_then(|a| a.node_selector.as_deref()).map(Terms::of));
            if allocation.is_none() {
                can_be_allocated(claim, devices)?;
            }
        }
        if let Some(wishes) = &wanted.extended {
            claims.push(Arc::new(client::informer::Whole(extended::claim(pod, devices, share_id()))));
            wanted.nodes.push(None);
            state.put(wishes.delegated());
        }
        wanted.claims = claims;
        if wanted.extended.is_some() || wanted.to_allocate().next().is_some() {
            let in_use = devices.in_use().clone();
            let classes = devices.classes.clone();
            wanted.allocator =
                Some(Allocator::new(devices.slices.values(), in_use, classes, self.selectors.clone()));
        }
        state.put(Attempt(Arc::new(wanted)));
        Ok(PreFiltered::AllNodes)
    }
}

/// Whether there is any point in looking at nodes.
fn can_be_allocated(claim: &ResourceClaim, devices: &Devices) -> Verdict {
    if devices.is_pending(&claim.metadata.uid) {
        let key = key(claim);
        return Err(Rejection::unresolvable(format!(
            "resource claim {key} is in the process of being allocated"
        )));
    }
    for request in &claim.spec.devices.requests {
        let known = |class: &str, request: &str| {
            if class.is_empty() {
                return Err(Rejection::error(format!("request {request}: unsupported request type")));
            }
            if !devices.classes.contains_key(class) {
                let message = format!("request {request}: device class {class} does not exist");
                return Err(Rejection::unresolvable(message));
            }
            Ok(())
        };
        match (&request.exactly, request.first_available.as_slice()) {
            (Some(exactly), _) => known(&exactly.device_class_name, &request.name)?,
            (None, []) => {
                let (key, name) = (key(claim), &request.name);
                let message = format!("resource claim {key}, request {name}: unknown request type");
                return Err(Rejection::unresolvable(message));
            }
            (None, options) => options.iter().try_for_each(|option| {
                known(&option.device_class_name, &format!("{}/{}", request.name, option.name))
            })?,
        }
    }
    Ok(())
}

impl DynamicResources {
    /// Whether the devices that a claim has can be used on the node.
    fn is_available(&self, claim: &Claim, nodes: Option<&Terms>, node: &NodeInfo, now: Timestamp) -> bool {
        let node = node.node();
        if nodes.is_some_and(|terms| !terms.matches(&node.name, &node.labels)) {
            return false;
        }
        if claim.status.allocation.is_none() {
            return true;
        }
        // Devices that did not become ready are given up, so that others can be tried.
        claims::is_ready(claim)
            .is_ok_and(|ready| ready || !claims::is_overdue(claim, self.args.binding_timeout, now))
    }

    fn allocate(
        &self,
        allocator: &Allocator,
        wanted: &Wanted,
        extended: Option<&OnNode>,
        node: &NodeInfo,
    ) -> Result<Vec<AllocationResult>, Rejection> {
        let mut claims: Vec<&ResourceClaim> = wanted.to_allocate().map(|(_, claim)| claim).collect();
        claims.extend(extended.map(|extended| &extended.claim));
        let started = self.clock.monotonic();
        let longest = self.args.filter_timeout;
        let stop = || longest > Duration::ZERO && self.clock.monotonic().saturating_sub(started) > longest;
        match allocator.allocate(node.node(), &claims, &stop, &mut share_id) {
            Ok(Some(results)) => Ok(results),
            Ok(None) => Err(Rejection::unresolvable("cannot allocate all claims")),
            Err(Failure::Node(why)) => Err(Rejection::unresolvable(why)),
            Err(Failure::TimedOut) => {
                let node = node.name();
                Err(Rejection::error(format!("node {node}: timed out trying to allocate devices")))
            }
            Err(Failure::Claim(why)) => Err(Rejection::error(why)),
        }
    }
}

fn share_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl Filter for DynamicResources {
    fn filter(&self, state: &CycleState, pod: &PodView, node: &NodeInfo) -> Verdict {
        let Some(Attempt(wanted)) = state.get::<Attempt>() else { return Ok(()) };
        let extended = match (&wanted.extended, wanted.special()) {
            // Left from an attempt that failed: it is deleted, and made anew.
            (Some(_), Some((_, claim))) if !extended::is_in_memory(claim) => {
                return Err(Rejection::unresolvable("cannot schedule extended resource claim"));
            }
            (Some(wishes), Some((_, claim))) => {
                wishes.on(claim, pod, node.node()).map_err(Rejection::unresolvable)?
            }
            _ => None,
        };
        if extended.is_none() && wanted.named().is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let available =
            |at: &usize| self.is_available(&wanted.claims[*at], wanted.nodes[*at].as_ref(), node, now);
        let unavailable: Vec<usize> = (0..wanted.claims.len()).filter(|at| !available(at)).collect();
        let results = match &wanted.allocator {
            Some(allocator) => Some(self.allocate(allocator, wanted, extended.as_ref(), node)?),
            None => None,
        };
        let mut found = wanted.found.lock();
        if !unavailable.is_empty() {
            found.unavailable.extend(unavailable);
            return Err(Rejection::unresolvable("resourceclaim not available on the node"));
        }
        if let Some(results) = results {
            found.on_node.insert(node.name().clone(), results);
            found.extended.extend(extended.map(|extended| (node.name().clone(), extended)));
        }
        Ok(())
    }
}

impl PostFilter for DynamicResources {
    /// COMPAT: upstream says so of every pod that fits nowhere, whether it has claims or not; and when
    /// a plugin before this one said no to all nodes, it fails over its missing state, so that nothing
    /// is preempted for a pod that waits for its storage.
    fn post_filter(&self, failed: &Failed<'_>) -> PostFiltered {
        let Some(Attempt(wanted)) = failed.state.get::<Attempt>() else {
            return PostFiltered { message: "not found".into(), failed: true, ..PostFiltered::default() };
        };
        let said = |message: &str| PostFiltered { message: message.into(), ..PostFiltered::default() };
        if wanted.claims.is_empty() {
            return said("no new claims to deallocate");
        }
        let found = wanted.found.lock();
        // Any of them: nothing says which would help.
        let count = found.unavailable.len().max(1);
        let start = failed.random as usize % count;
        let claims = found.unavailable.iter().map(|at| &wanted.claims[*at]);
        let mut turned = claims.clone().skip(start).chain(claims.take(start));
        match turned.find(|claim| claims::is_free_for(claim, failed.pod)) {
            Some(claim) => PostFiltered {
                release: Some(Release::Deallocate(claim.clone())),
                ..said("deallocation of ResourceClaim completed")
            },
            None => match wanted.special() {
                Some((_, claim)) if !extended::is_in_memory(claim) => PostFiltered {
                    release: Some(Release::Delete(claim.clone())),
                    ..said("deletion of ResourceClaim completed")
                },
                _ => said("still not schedulable"),
            },
        }
    }
}

impl Score for DynamicResources {
    /// The earlier the alternatives stand that the claims get, the better (KEP-4816).
    fn score(&self, state: &CycleState, _: &PodView, node: &NodeInfo, _: &Snapshot) -> i64 {
        let Some(Attempt(wanted)) = state.get::<Attempt>() else { return 0 };
        if wanted.claims.is_empty() {
            return 0;
        }
        let found = wanted.found.lock();
        let Some(results) = found.on_node.get(node.name()) else { return 0 };
        let mut results = results.iter();
        let allocations = wanted.claims.iter().filter_map(|claim| {
            let allocation = claim.status.allocation.as_deref().or_else(|| results.next())?;
            Some((claim, allocation))
        });
        allocations.map(|(claim, allocation)| preference(claim, allocation)).sum()
    }

    fn normalize(&self, _: &CycleState, _: &[Arc<NodeInfo>], scores: &mut [i64]) {
        normalize_to_max(scores, false);
    }
}

fn preference(claim: &ResourceClaim, allocation: &AllocationResult) -> i64 {
    let given = |name: &str| allocation.devices.results.iter().any(|result| result.request == name);
    let lists = claim.spec.devices.requests.iter().filter(|request| request.exactly.is_none());
    let options = lists.flat_map(|request| {
        let names = request.first_available.iter().map(|option| format!("{}/{}", request.name, option.name));
        (0..).zip(names)
    });
    options.filter(|(_, name)| given(name)).map(|(place, _)| MOST_OPTIONS - place).sum()
}

impl Reserve for DynamicResources {
    fn reserve(&self, state: &mut CycleState, _: &PodView, node: &str, cache: &mut Cache) -> Verdict {
        let Some(Attempt(wanted)) = state.get::<Attempt>() else { return Ok(()) };
        if wanted.allocator.is_none() {
            // What the claims have is only to be reserved, which binding does: whoever is first.
            return Ok(());
        }
        let mut found = wanted.found.lock();
        let mut claims: Vec<(usize, &ResourceClaim)> = wanted.to_allocate().collect();
        let extended = found.extended.get(node);
        claims.extend(wanted.special().filter(|_| extended.is_some()).map(|(at, claim)| (at, &claim.0)));
        if claims.is_empty() {
            // The node's device plugins have it all.
            return Ok(());
        }
        let Some(results) = found.on_node.get(node).filter(|results| results.len() == claims.len()).cloned()
        else {
            return Err(Rejection::error("claim allocation not found for node"));
        };
        for ((at, claim), result) in claims.into_iter().zip(results) {
            let allocation = Arc::new(result);
            cache.devices.reserve(claim, allocation.clone());
            found.kept.insert(at, allocation);
        }
        Ok(())
    }

    fn unreserve(&self, state: &mut CycleState, _: &PodView, _: &str, cache: &mut Cache) {
        let Some(Attempt(wanted)) = state.get::<Attempt>() else { return };
        for at in wanted.found.lock().kept.keys() {
            cache.devices.settle(&wanted.claims[*at].metadata.uid);
        }
    }

    fn clean_up(&self, state: &CycleState, pod: &Arc<PodView>, around: &Around) -> Option<Wait> {
        let Attempt(wanted) = state.get::<Attempt>()?.clone();
        bind::clean_up(wanted, pod, around)
    }
}

impl PreBind for DynamicResources {
    fn has_work(&self, state: &CycleState) -> bool {
        state.get::<Attempt>().is_some_and(|Attempt(wanted)| !wanted.claims.is_empty())
    }

    fn pre_bind(&self, state: &CycleState, pod: &Arc<PodView>, node: &str, around: &Around) -> Wait {
        let Some(Attempt(wanted)) = state.get::<Attempt>().cloned() else {
            return Box::pin(async { Ok(()) });
        };
        let task = bind::Task {
            wanted,
            pod: pod.clone(),
            node: node.to_owned(),
            around: around.clone(),
            timeout: self.args.binding_timeout,
        };
        Box::pin(async move { task.run().await.map_err(Rejection::error) })
    }
}
