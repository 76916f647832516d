//! Replacing pods of an older template: first away with the old and then the new
//! (`maxUnavailable`), or first the new beside the old (`maxSurge`).

use api_types::IntOrString;
use api_types::apps::v1::{DaemonSet, DaemonSetUpdateStrategyType, RollingUpdateDaemonSet};
use jiff::Timestamp;

use super::View;
use super::fit::Fit;
use super::plan::{ByNode, Changes, Daemon, is_updated};

/// The parameters of a rolling update.
fn rolling_update(set: &DaemonSet) -> Option<&RollingUpdateDaemonSet> {
    let strategy = &set.spec.update_strategy;
    let rolls = strategy.type_ == DaemonSetUpdateStrategyType::RollingUpdate;
    strategy.rolling_update.as_deref().filter(|_| rolls)
}

fn count(value: Option<&IntOrString>, total: usize) -> usize {
    let total = i32::try_from(total).unwrap_or(i32::MAX);
    let count = value.and_then(|v| v.scaled(total, true)).unwrap_or(0);
    usize::try_from(count).unwrap_or(0)
}

/// Whether new pods come before old ones go.
pub(super) fn surges(set: &DaemonSet) -> bool {
    rolling_update(set).is_some_and(|update| count(update.max_surge.as_ref(), 1) > 0)
}

/// The pods of a node that are not going: of the current template and of an older one.
struct Pair<'a> {
    new: Option<Daemon<'a>>,
    old: Option<Daemon<'a>>,
}

impl<'a> Pair<'a> {
    /// `None` when there is more than one of a sort: something else has to settle first.
    fn of(set: &DaemonSet, daemons: &[Daemon<'a>], hash: &str) -> Option<Self> {
        let mut pair = Self { new: None, old: None };
        for daemon in daemons.iter().filter(|(_, pod)| pod.deleting.is_none()) {
            let place = if is_updated(set, &daemon.1, hash) { &mut pair.new } else { &mut pair.old };
            if place.replace(daemon).is_some() {
                return None;
            }
        }
        Some(pair)
    }
}

/// One round of a rolling update.
pub(super) fn rolling<'a>(view: &'a View, mut pods: ByNode<'a>, hash: &str, now: Timestamp) -> Changes<'a> {
    let set = &view.set;
    let fit = Fit::of(set);
    let mut desired = 0;
    for (node, facts) in &view.nodes {
        if fit.verdict(&node.name, facts).run {
            desired += 1;
            pods.entry(&node.name).or_default();
        }
    }
    let update = rolling_update(set);
    let surge = count(update.and_then(|u| u.max_surge.as_ref()), desired);
    let mut unavailable = count(update.and_then(|u| u.max_unavailable.as_ref()), desired);
    if desired > 0 && unavailable == 0 && surge == 0 {
        unavailable = 1;
    }
    let available = |(_, pod): Daemon<'_>| pod.is_available(set.spec.min_ready_seconds, now);
    let pairs = pods.into_iter().map(|(node, daemons)| (node, Pair::of(set, &daemons, hash)));
    if surge == 0 {
        return replace(pairs.map(|(_, pair)| pair), unavailable, available);
    }
    let runs = |name: &str| {
        let node = view.nodes.iter().find(|(node, _)| *node.name == *name);
        node.is_some_and(|(node, facts)| fit.verdict(&node.name, facts).run)
    };
    grow(pairs, (surge, desired), available, runs)
}

/// Deletes old pods, unavailable ones first, so that at most `limit` nodes are without.
fn replace<'a>(
    pairs: impl Iterator<Item = Option<Pair<'a>>>,
    limit: usize,
    available: impl Fn(Daemon<'_>) -> bool,
) -> Changes<'a> {
    let mut down = 0;
    let (mut unwell, mut candidates) = (Vec::new(), Vec::new());
    for pair in pairs {
        match pair {
            Some(Pair { new: Some(new), old: None }) => down += usize::from(!available(new)),
            Some(Pair { new: None, old: Some(old) }) if available(old) => candidates.push(&old.0),
            Some(Pair { new: None, old: Some(old) }) => {
                unwell.push(&old.0);
                down += 1;
            }
            _ => down += 1,
        }
    }
    let more = candidates.into_iter().take(limit.saturating_sub(down));
    Changes { delete: unwell.into_iter().chain(more).collect(), create: Vec::new() }
}

/// Creates new pods beside old ones, at most `surge` that are not available yet, and deletes old
/// ones whose new one is.
fn grow<'a>(
    pairs: impl Iterator<Item = (&'a str, Option<Pair<'a>>)>,
    (surge, desired): (usize, usize),
    available: impl Fn(Daemon<'_>) -> bool,
    runs: impl Fn(&str) -> bool,
) -> Changes<'a> {
    let (mut surging, mut well) = (0, 0);
    let mut changes = Changes::default();
    let (mut candidates, mut misplaced) = (Vec::new(), Vec::new());
    for (node, pair) in pairs {
        let Some(pair) = pair else {
            surging += 1;
            continue;
        };
        well += usize::from(pair.old.or(pair.new).is_some_and(&available));
        match (pair.new, pair.old) {
            (_, None) => {}
            (None, Some(old)) if available(old) && runs(node) => candidates.push(node),
            (None, Some(old)) if available(old) => misplaced.push(&old.0),
            (None, Some(_)) if runs(node) => changes.create.push(node),
            (None, Some(old)) => changes.delete.push(&old.0),
            (Some(new), Some(old)) if available(new) => changes.delete.push(&old.0),
            (Some(_), Some(_)) => surging += 1,
        }
    }
    changes.delete.extend(misplaced.into_iter().take(well.saturating_sub(desired)));
    changes.create.extend(candidates.into_iter().take(surge.saturating_sub(surging)));
    changes
}
