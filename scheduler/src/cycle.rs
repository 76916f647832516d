//! One attempt to find a node for a pod: PreFilter, Filter, (PostFilter,) PreScore, Score, choose.
//! Pure (but for extenders, which are asked): from profile, snapshot and pod to a node or the reason why there is none, in upstream's words.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::cache::{NodeInfo, Snapshot};
use crate::extender::{self, EXTENDER};
use crate::framework::{Code, CycleState, Failed, PostFiltered, Rejection};
use crate::metrics::{self, Point};
use crate::pod::PodView;
use crate::profile::{Prepared, Profile};

/// Clusters smaller than this are always searched whole.
const MIN_FEASIBLE_NODES: usize = 100;
/// The least share of nodes that is searched, in percent.
const MIN_PERCENTAGE: usize = 5;

/// A node for a pod.
pub struct Chosen {
    pub node: Arc<str>,
    pub state: CycleState,
    pub evaluated: usize,
    pub feasible: usize,
}

/// No node for a pod.
#[derive(Debug)]
pub enum Failure {
    /// The cluster has no nodes.
    NoNodes,
    /// No node fits; what preemption made of it.
    Unfit { message: String, rejected_by: BTreeSet<&'static str>, pending: bool, post: Box<PostFiltered> },
    /// A plugin failed.
    Error(String),
}

impl Failure {
    pub fn message(&self) -> String {
        match self {
            Self::NoNodes => "no nodes available to schedule pods".into(),
            Self::Unfit { message, .. } | Self::Error(message) => message.clone(),
        }
    }
}

/// What an attempt needs beside the pod.
pub struct Attempt<'a> {
    pub profile: &'a Profile,
    pub snapshot: &'a Snapshot,
    /// percentageOfNodesToScore; 0 adapts to the size of the cluster.
    pub percentage: i32,
    /// Where in the list of nodes the search begins.
    pub start: usize,
    pub random: &'a mut fastrand::Rng,
}

/// The outcome of an attempt, and where the next search is to begin.
pub struct Outcome {
    pub result: Result<Chosen, Failure>,
    pub next_start: usize,
}

impl Attempt<'_> {
    /// Looks for a node for the pod.
    pub fn run(mut self, pod: &Arc<PodView>) -> Outcome {
        let count = self.snapshot.nodes.len();
        if count == 0 {
            return Outcome { result: Err(Failure::NoNodes), next_start: 0 };
        }
        let mut state = CycleState::default();
        let prepared = metrics::timed(self.profile, Point::PreFilter, || {
            self.profile.run_pre_filter(&mut state, pod, self.snapshot)
        });
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(rejection) => {
                let result = Err(self.rejected_everywhere(&state, pod, rejection));
                return Outcome { result, next_start: self.start % count };
            }
        };
        let search = metrics::timed(self.profile, Point::Filter, || self.search(&state, &prepared, pod));
        let next_start = (self.start + search.processed) % count;
        let result = match search {
            Search { error: Some(error), .. } => Err(Failure::Error(error)),
            Search { feasible, rejections, extended, .. } if feasible.is_empty() => {
                Err(self.unfit(&state, &prepared, pod, rejections, extended))
            }
            Search { feasible, rejections, .. } => {
                let evaluated = feasible.len() + rejections.len();
                Ok(self.choose(state, pod, &feasible, evaluated))
            }
        };
        Outcome { result, next_start }
    }

    fn search(&self, state: &CycleState, prepared: &Prepared, pod: &PodView) -> Search {
        let fits = |node: &NodeInfo| {
            self.profile.run_filter_with_nominated(state, &prepared.skipped, pod, node, self.snapshot)
        };
        let mut found = Search::default();
        // Room was made on the nominated node; it is taken before others are looked at.
        if let Some(node) = self.snapshot.get(&pod.nominated_node)
            && prepared.nodes.as_ref().is_none_or(|names| names.contains(&*pod.nominated_node))
            && fits(node).is_ok()
        {
            found.feasible.push(node.clone());
            self.extend(pod, &mut found);
            if !found.feasible.is_empty() {
                return found;
            }
            found = Search::default();
        }
        let narrowed: Option<Vec<&Arc<NodeInfo>>> =
            prepared.nodes.as_ref().map(|names| names.iter().filter_map(|n| self.snapshot.get(n)).collect());
        let nodes: Vec<&Arc<NodeInfo>> = match narrowed {
            Some(nodes) => nodes,
            None => {
                let all = &self.snapshot.nodes;
                let start = self.start % all.len();
                all[start..].iter().chain(&all[..start]).collect()
            }
        };
        let wanted = nodes_to_find(self.profile.percentage.unwrap_or(self.percentage), nodes.len());
        for node in nodes {
            match fits(node) {
                Ok(()) => found.feasible.push(node.clone()),
                Err(rejection) if rejection.code == Code::Error => {
                    found.error = Some(format!(
                        "running {:?} filter plugin: {}",
                        rejection.plugin,
                        rejection.message()
                    ));
                    found.processed = found.feasible.len() + found.rejections.len();
                    return found;
                }
                Err(rejection) => drop(found.rejections.insert(node.name().clone(), rejection)),
            }
            if found.feasible.len() >= wanted {
                break;
            }
        }
        self.extend(pod, &mut found);
        found
    }

    /// Asks the extenders about the nodes that fit.
    fn extend(&self, pod: &PodView, found: &mut Search) {
        found.processed = found.feasible.len() + found.rejections.len();
        let nodes = std::mem::take(&mut found.feasible);
        let before = nodes.len();
        match extender::filter(&self.profile.extenders, pod, nodes, &mut found.rejections) {
            Ok(left) => found.feasible = left,
            Err(error) => found.error = Some(error),
        }
        found.extended = found.feasible.len() < before;
    }

    /// A PreFilter plugin said no for every node.
    fn rejected_everywhere(
        &mut self,
        state: &CycleState,
        pod: &Arc<PodView>,
        rejection: Rejection,
    ) -> Failure {
        if rejection.code == Code::Error {
            return Failure::Error(format!(
                "running PreFilter plugin {:?}: {}",
                rejection.plugin,
                rejection.message()
            ));
        }
        let count = self.snapshot.nodes.len();
        let message = format!("0/{count} nodes are available: {}.", rejection.message());
        let rejected_by = BTreeSet::from([rejection.plugin]);
        let pending = rejection.code == Code::Pending;
        let everywhere = self.snapshot.nodes.iter().map(|n| (n.name().clone(), rejection.clone())).collect();
        self.after_failure(state, pod, &everywhere, message, rejected_by, pending)
    }

    fn unfit(
        &mut self,
        state: &CycleState,
        prepared: &Prepared,
        pod: &Arc<PodView>,
        rejections: HashMap<Arc<str>, Rejection>,
        extended: bool,
    ) -> Failure {
        let count = self.snapshot.nodes.len();
        let mut rejected_by: BTreeSet<_> = rejections.values().map(|r| r.plugin).collect();
        rejected_by.extend(&prepared.narrowed_by);
        if extended {
            rejected_by.insert(EXTENDER);
        }
        let absent = (rejections.len() < count).then(|| {
            let names: Vec<_> = prepared.narrowed_by.iter().copied().collect();
            format!("node(s) didn't satisfy plugin(s) [{}]", names.join(" "))
        });
        let message =
            fit_error(count, rejections.values(), absent.filter(|_| !prepared.narrowed_by.is_empty()));
        let pending = rejections.values().any(|r| r.code == Code::Pending);
        self.after_failure(state, pod, &rejections, message, rejected_by, pending)
    }

    fn after_failure(
        &mut self,
        state: &CycleState,
        pod: &Arc<PodView>,
        rejections: &HashMap<Arc<str>, Rejection>,
        mut message: String,
        rejected_by: BTreeSet<&'static str>,
        pending: bool,
    ) -> Failure {
        let failed = Failed {
            profile: self.profile,
            snapshot: self.snapshot,
            state,
            pod,
            rejections,
            random: self.random.u32(..),
        };
        let post = metrics::timed(self.profile, Point::PostFilter, || self.profile.run_post_filter(&failed));
        if !post.message.is_empty() {
            message.push(' ');
            message.push_str(&post.message);
        }
        Failure::Unfit { message, rejected_by, pending, post: Box::new(post) }
    }

    fn choose(
        &mut self,
        mut state: CycleState,
        pod: &PodView,
        nodes: &[Arc<NodeInfo>],
        evaluated: usize,
    ) -> Chosen {
        let at = match nodes {
            [_] => 0,
            nodes => {
                let mut totals = self.profile.run_score(&mut state, pod, self.snapshot, nodes);
                extender::prioritize(&self.profile.extenders, pod, nodes, &mut totals);
                highest(&totals, self.random)
            }
        };
        Chosen { node: nodes[at].name().clone(), state, evaluated, feasible: nodes.len() }
    }
}

/// What the search found.
#[derive(Default)]
pub struct Search {
    feasible: Vec<Arc<NodeInfo>>,
    rejections: HashMap<Arc<str>, Rejection>,
    error: Option<String>,
    /// Nodes that the plugins looked at.
    processed: usize,
    /// Whether extenders took nodes away.
    extended: bool,
}

/// The position of the highest total, any of them when several are equal.
fn highest(totals: &[i64], random: &mut fastrand::Rng) -> usize {
    let most = totals.iter().max();
    let best: Vec<usize> = (0..totals.len()).filter(|at| Some(&totals[*at]) == most).collect();
    random.choice(best).unwrap_or(0)
}

/// How many fitting nodes end the search.
fn nodes_to_find(percentage: i32, nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE_NODES {
        return nodes;
    }
    let percentage = match usize::try_from(percentage).unwrap_or(0) {
        0 => 50usize.saturating_sub(nodes / 125).max(MIN_PERCENTAGE),
        percentage => percentage,
    };
    (nodes * percentage / 100).max(MIN_FEASIBLE_NODES)
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).`
/// `absent` is the reason for nodes without a rejection.
pub fn fit_error<'a>(
    nodes: usize,
    rejections: impl Iterator<Item = &'a Rejection>,
    absent: Option<String>,
) -> String {
    let mut histogram: BTreeMap<String, usize> = BTreeMap::new();
    let mut rejected = 0;
    for rejection in rejections {
        rejected += 1;
        for reason in &rejection.reasons {
            *histogram.entry(reason.to_string()).or_default() += 1;
        }
    }
    if let Some(reason) = absent
        && nodes > rejected
    {
        *histogram.entry(reason).or_default() += nodes - rejected;
    }
    let mut reasons: Vec<String> = histogram.into_iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    reasons.sort();
    let mut message = format!("0/{nodes} nodes are available:");
    if !reasons.is_empty() {
        message += &format!(" {}.", reasons.join(", "));
    }
    message
}

#[cfg(test)]
mod tests;
