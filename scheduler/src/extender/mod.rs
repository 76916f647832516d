//! Extenders: programs beside the scheduler that it asks over HTTP, after its own plugins, which of the
//! nodes that fit do fit, how good they are, whom to preempt, and that may bind in its place
//! (KubeSchedulerConfiguration's `extenders`).
//!
//! This file says what is made of their answers and is pure; `http.rs` asks them, `wire.rs` has what is
//! sent and read. An attempt waits for them, as upstream's does: they hold up all pods.

mod http;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::NodeInfo;
use crate::framework::{MAX_SCORE, Rejection, Wait};
use crate::pod::PodView;
use crate::preemption::Candidate;
pub use http::{DEFAULT_TIMEOUT, HttpExtender, ServerObjects, Settings};

/// What rejections by extenders are filed under. No plugin has the name: any event wakes the pod.
pub const EXTENDER: &str = "Extender";
/// The highest score that an extender may give.
const MAX_EXTENDER_SCORE: i64 = 10;

/// What an extender left of the nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// Names of those that fit.
    pub nodes: Vec<String>,
    /// Why others do not, by name.
    pub failed: HashMap<String, String>,
    /// As `failed`, where preempting pods would not help.
    pub unresolvable: HashMap<String, String>,
}

/// An extender's scores of nodes, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scores {
    pub by_node: HashMap<String, i64>,
    /// What each is multiplied by.
    pub weight: i64,
}

/// Whom an extender would preempt on a node.
#[derive(Debug, PartialEq, Eq)]
pub struct Victims {
    pub node: String,
    pub uids: Vec<String>,
    pub violations: usize,
}

/// A program that is asked. Errors are texts for people.
pub trait Extender: Send + Sync + 'static {
    /// Its URL.
    fn name(&self) -> &str;
    /// Whether scheduling goes on without it when it does not answer.
    fn is_ignorable(&self) -> bool;
    /// Whether the pod asks for something that this extender manages.
    fn is_interested(&self, pod: &PodView) -> bool;
    /// `None`: it does not filter.
    fn filter(&self, pod: &PodView, nodes: &[Arc<NodeInfo>]) -> Option<Result<Filtered, String>>;
    /// `None`: it gives no scores.
    fn prioritize(&self, pod: &PodView, nodes: &[Arc<NodeInfo>]) -> Option<Result<Scores, String>>;
    /// `None`: it leaves preemption alone.
    fn preempt(&self, pod: &PodView, candidates: &[Candidate]) -> Option<Result<Vec<Victims>, String>>;
    /// `None`: it does not bind.
    fn bind(&self, pod: &PodView, node: &str) -> Option<Wait>;
}

/// The extenders of a scheduler, in the order in which they are asked.
pub type Extenders = Vec<Arc<dyn Extender>>;

fn skipped(extender: &dyn Extender, error: &str) {
    tracing::info!(
        extender = extender.name(),
        error,
        "Skipping extender as it returned error and has ignorable flag set"
    );
}

/// Those of the nodes that all extenders let pass; why not, for the others, goes to `rejections`.
///
/// # Errors
/// When an extender that must not be ignored fails.
pub fn filter(
    extenders: &[Arc<dyn Extender>],
    pod: &PodView,
    mut nodes: Vec<Arc<NodeInfo>>,
    rejections: &mut HashMap<Arc<str>, Rejection>,
) -> Result<Vec<Arc<NodeInfo>>, String> {
    for extender in extenders.iter().filter(|e| e.is_interested(pod)) {
        if nodes.is_empty() {
            break;
        }
        let Some(answer) = extender.filter(pod, &nodes) else { continue };
        let filtered = match answer.and_then(|filtered| known(&**extender, &nodes, filtered)) {
            Ok(filtered) => filtered,
            Err(error) if extender.is_ignorable() => {
                skipped(&**extender, &error);
                continue;
            }
            Err(error) => return Err(error),
        };
        let reject = |(name, why): (&String, &String), with: fn(String) -> Rejection| {
            (Arc::from(name.as_str()), with(why.clone()).by(EXTENDER))
        };
        let failed = filtered.failed.iter().map(|entry| reject(entry, Rejection::unschedulable));
        rejections.extend(failed.collect::<Vec<_>>());
        // In both lists: this one counts.
        let unresolvable = filtered.unresolvable.iter().map(|entry| reject(entry, Rejection::unresolvable));
        rejections.extend(unresolvable.collect::<Vec<_>>());
        nodes.retain(|node| filtered.nodes.iter().any(|name| **name == **node.name()));
    }
    Ok(nodes)
}

fn known(extender: &dyn Extender, nodes: &[Arc<NodeInfo>], filtered: Filtered) -> Result<Filtered, String> {
    let stranger = filtered.nodes.iter().find(|name| !nodes.iter().any(|n| **n.name() == ***name));
    match stranger {
        None => Ok(filtered),
        Some(name) => Err(format!(
            "extender {:?} claims a filtered node {name:?} which is not found in the input node list",
            extender.name()
        )),
    }
}

/// Adds the extenders' scores, brought to the plugins' scale, to those of the nodes.
pub fn prioritize(
    extenders: &[Arc<dyn Extender>],
    pod: &PodView,
    nodes: &[Arc<NodeInfo>],
    totals: &mut [i64],
) {
    for extender in extenders.iter().filter(|e| e.is_interested(pod)) {
        match extender.prioritize(pod, nodes) {
            None => {}
            Some(Ok(Scores { by_node, weight })) => {
                for (node, total) in nodes.iter().zip(totals.iter_mut()) {
                    let score = by_node.get(&**node.name()).copied().unwrap_or(0);
                    let scaled = score.saturating_mul(weight).saturating_mul(MAX_SCORE / MAX_EXTENDER_SCORE);
                    *total = total.saturating_add(scaled);
                }
            }
            // COMPAT: whether it is ignorable or not.
            Some(Err(error)) => tracing::debug!(
                extender = extender.name(),
                pod = pod.key(),
                error,
                "Failed to run extender's priority function. No score given by this extender"
            ),
        }
    }
}

/// What the extenders leave of the candidates for preemption.
///
/// # Errors
/// When an extender that must not be ignored fails, or names pods that are not there.
pub fn preempt(
    extenders: &[Arc<dyn Extender>],
    pod: &PodView,
    mut candidates: Vec<Candidate>,
    node: impl Fn(&str) -> Option<Arc<NodeInfo>>,
) -> Result<Vec<Candidate>, String> {
    for extender in extenders.iter().filter(|e| e.is_interested(pod)) {
        if candidates.is_empty() {
            break;
        }
        let Some(answer) = extender.preempt(pod, &candidates) else { continue };
        let resolve = |victims: Vec<Victims>| {
            victims
                .into_iter()
                .map(|victims| candidate(&**extender, victims, &node))
                .collect::<Result<Vec<_>, _>>()
        };
        match answer.and_then(resolve) {
            Ok(mut left) => {
                if let Some(empty) = left.iter().find(|c| c.victims.is_empty())
                    && !extender.is_ignorable()
                {
                    return Err(format!("expected at least one victim pod on node {:?}", empty.node));
                }
                left.retain(|candidate| !candidate.victims.is_empty());
                candidates = left;
            }
            Err(error) if extender.is_ignorable() => skipped(&**extender, &error),
            Err(error) => return Err(error),
        }
    }
    Ok(candidates)
}

fn candidate(
    extender: &dyn Extender,
    victims: Victims,
    node: impl Fn(&str) -> Option<Arc<NodeInfo>>,
) -> Result<Candidate, String> {
    let Victims { node: name, uids, violations } = victims;
    let info = node(&name).ok_or_else(|| format!("nodeinfo not found for node name {name:?}"))?;
    let find = |uid: &String| {
        info.pods.iter().find(|pod| *pod.uid == **uid).cloned().ok_or_else(|| {
            format!(
                "extender: {} claims to preempt pod (UID: {uid}) on node: {name}, but the pod is not found on \
                 that node",
                extender.name()
            )
        })
    };
    let victims = uids.iter().map(find).collect::<Result<_, _>>()?;
    Ok(Candidate { node: info.name().clone(), victims, violations })
}
