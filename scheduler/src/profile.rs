//! A profile: the plugins in force at each extension point for the pods of one scheduler name.
//! It runs a point's plugins in order and stamps rejections with the plugin's name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cache::{Cache, NodeInfo, Snapshot};
use crate::devices::Devices;
use crate::extender::Extenders;
use crate::framework::{
    Around, Bind, ClusterEvent, Code, CycleState, Failed, Filter, Permit, Plugin, PostBind, PostFilter,
    PostFiltered, PreBind, PreEnqueue, PreFilter, PreFiltered, PreScore, QueueSort, Rejection, Reserve,
    Score, SortKey, Verdict,
};
use crate::metrics::{self, Point};
use crate::plugins::Points;
use crate::pod::PodView;

/// Plugins by extension point.
#[derive(Default)]
pub struct Profile {
    /// The scheduler name whose pods it serves.
    pub name: Arc<str>,
    /// Overrides the configuration's percentageOfNodesToScore.
    pub percentage: Option<i32>,
    pub pre_enqueue: Vec<Arc<dyn PreEnqueue>>,
    pub queue_sort: Option<Arc<dyn QueueSort>>,
    pub pre_filter: Vec<Arc<dyn PreFilter>>,
    pub filter: Vec<Arc<dyn Filter>>,
    pub post_filter: Vec<Arc<dyn PostFilter>>,
    pub pre_score: Vec<Arc<dyn PreScore>>,
    pub score: Vec<(Arc<dyn Score>, i64)>,
    pub reserve: Vec<Arc<dyn Reserve>>,
    pub permit: Vec<Arc<dyn Permit>>,
    pub pre_bind: Vec<Arc<dyn PreBind>>,
    pub bind: Vec<Arc<dyn Bind>>,
    pub post_bind: Vec<Arc<dyn PostBind>>,
    /// The same for all profiles.
    pub extenders: Extenders,
    plugins: BTreeMap<&'static str, Arc<dyn Plugin>>,
}

/// What the PreFilter plugins found together.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Plugins whose Filter has nothing to say.
    pub skipped: BTreeSet<&'static str>,
    /// The only nodes worth a look, and the plugins that said so.
    pub nodes: Option<BTreeSet<String>>,
    pub narrowed_by: BTreeSet<&'static str>,
}

impl Profile {
    /// Notes a plugin, so that its hints are asked.
    pub fn know(&mut self, points: &Points) {
        self.plugins.insert(points.plugin.name(), points.plugin.clone());
    }

    /// A pod's place in the queue.
    pub fn sort_key(&self, pod: &PodView, since: std::time::Duration) -> SortKey {
        self.queue_sort.as_ref().map_or((0, since), |sort| sort.key(pod, since))
    }

    /// Whether the pod may enter the queue.
    pub fn run_pre_enqueue(&self, pod: &PodView, devices: &Devices) -> Verdict {
        self.pre_enqueue.iter().try_for_each(|p| p.pre_enqueue(pod, devices).map_err(|r| r.by(p.name())))
    }

    /// Whether one of the plugins that rejected `pod` thinks that `event` helps.
    pub fn wakes(&self, pod: &PodView, rejected_by: &BTreeSet<&'static str>, event: &ClusterEvent) -> bool {
        // Nobody in particular rejected it: then anything may help.
        rejected_by.is_empty()
            || rejected_by.iter().any(|name| self.plugins.get(name).is_none_or(|p| p.wakes(pod, event)))
    }

    /// # Errors
    /// When no node can fit, or a plugin failed.
    pub fn run_pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
    ) -> Result<Prepared, Rejection> {
        let (mut all, mut rejected) = (Prepared::default(), None);
        for plugin in &self.pre_filter {
            match plugin.pre_filter(state, pod, snapshot).map_err(|r| r.by(plugin.name())) {
                Ok(PreFiltered::Skip) => drop(all.skipped.insert(plugin.name())),
                Ok(PreFiltered::AllNodes) => {}
                Ok(PreFiltered::Nodes(names)) => {
                    all.narrowed_by.insert(plugin.name());
                    all.nodes = Some(match all.nodes.take() {
                        None => names,
                        Some(before) => before.intersection(&names).cloned().collect(),
                    });
                    if all.nodes.as_ref().is_some_and(BTreeSet::is_empty) {
                        return Err(Rejection::unresolvable(none_left(&all.narrowed_by)).by(plugin.name()));
                    }
                }
                // Preemption may come later and needs the state of the others.
                Err(rejection) if rejection.code == Code::Unschedulable => rejected = Some(rejection),
                Err(rejection) => return Err(rejection),
            }
        }
        rejected.map_or(Ok(all), Err)
    }

    /// Whether the pod fits the node as it is given.
    pub fn run_filter(
        &self,
        state: &CycleState,
        skipped: &BTreeSet<&'static str>,
        pod: &PodView,
        node: &NodeInfo,
    ) -> Verdict {
        let active = self.filter.iter().filter(|p| !skipped.contains(p.name()));
        active.into_iter().try_for_each(|p| p.filter(state, pod, node).map_err(|r| r.by(p.name())))
    }

    /// Whether the pod fits the node both with and without the pods of the same or a higher
    /// priority that are nominated to it: they may run there soon, or go elsewhere.
    pub fn run_filter_with_nominated(
        &self,
        state: &CycleState,
        skipped: &BTreeSet<&'static str>,
        pod: &PodView,
        node: &NodeInfo,
        snapshot: &Snapshot,
    ) -> Verdict {
        let nominated: Vec<_> = snapshot
            .nominated
            .get(node.name())
            .into_iter()
            .flatten()
            .filter(|p| p.priority >= pod.priority && p.uid != pod.uid)
            .collect();
        if !nominated.is_empty() {
            let (mut state, mut node) = (state.clone(), node.clone());
            for other in nominated {
                node.add(other.clone());
                self.run_add_pod(&mut state, pod, other, &node, snapshot);
            }
            self.run_filter(&state, skipped, pod, &node)?;
        }
        self.run_filter(state, skipped, pod, node)
    }

    pub fn run_add_pod(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        added: &PodView,
        node: &NodeInfo,
        all: &Snapshot,
    ) {
        self.pre_filter.iter().for_each(|p| p.add_pod(state, pod, added, node, all));
    }

    pub fn run_remove_pod(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        gone: &PodView,
        node: &NodeInfo,
        all: &Snapshot,
    ) {
        self.pre_filter.iter().for_each(|p| p.remove_pod(state, pod, gone, node, all));
    }

    /// Asks the PostFilter plugins in turn until one helps.
    pub fn run_post_filter(&self, failed: &Failed<'_>) -> PostFiltered {
        let mut all = PostFiltered::default();
        for plugin in &self.post_filter {
            let own = plugin.post_filter(failed);
            if own.failed || own.nominate.as_ref().is_some_and(|n| !n.is_empty()) {
                return PostFiltered { release: own.release.or(all.release), ..own };
            }
            all.release = own.release.or(all.release);
            all.nominate = own.nominate.or(all.nominate);
            if !own.message.is_empty() {
                if !all.message.is_empty() {
                    all.message.push_str(", ");
                }
                all.message.push_str(&own.message);
            }
        }
        all
    }

    /// The weighted sum of all scores for each node, in the order of `nodes`.
    pub fn run_score(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
        nodes: &[Arc<NodeInfo>],
    ) -> Vec<i64> {
        let skips =
            |p: &&Arc<dyn PreScore>, state: &mut CycleState| !p.pre_score(state, pod, snapshot, nodes);
        let skipped: BTreeSet<_> = metrics::timed(self, Point::PreScore, || {
            self.pre_score.iter().filter(|p| skips(p, state)).map(|p| p.name()).collect()
        });
        metrics::timed(self, Point::Score, || {
            let mut totals = vec![0; nodes.len()];
            for (plugin, weight) in self.score.iter().filter(|(p, _)| !skipped.contains(p.name())) {
                let mut scores: Vec<i64> =
                    nodes.iter().map(|n| plugin.score(state, pod, n, snapshot)).collect();
                plugin.normalize(state, nodes, &mut scores);
                for (total, score) in totals.iter_mut().zip(scores) {
                    *total += score * weight;
                }
            }
            totals
        })
    }

    /// # Errors
    /// The first plugin that refuses; then all have been told to undo.
    pub fn run_reserve(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        node: &str,
        cache: &mut Cache,
    ) -> Verdict {
        let mut reserve =
            |p: &Arc<dyn Reserve>| p.reserve(state, pod, node, cache).map_err(|r| r.by(p.name()));
        let verdict = self.reserve.iter().try_for_each(&mut reserve);
        if verdict.is_err() {
            self.run_unreserve(state, pod, node, cache);
        }
        verdict
    }

    pub fn run_unreserve(&self, state: &mut CycleState, pod: &PodView, node: &str, cache: &mut Cache) {
        self.reserve.iter().rev().for_each(|p| p.unreserve(state, pod, node, cache));
    }

    /// Undoes at the apiserver what `run_unreserve` cannot.
    pub async fn run_clean_up(&self, state: &CycleState, pod: &Arc<PodView>, around: &Around) {
        for plugin in self.reserve.iter().rev() {
            if let Some(wait) = plugin.clean_up(state, pod, around) {
                // What went wrong has been told; there is nothing else to be done about it.
                let _ = wait.await;
            }
        }
    }
}

fn none_left(plugins: &BTreeSet<&'static str>) -> String {
    let names: Vec<_> = plugins.iter().copied().collect();
    match names.as_slice() {
        [one] => format!("node(s) didn't satisfy plugin {one}"),
        all => format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", all.join(" ")),
    }
}
