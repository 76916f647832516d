//! The arithmetic of rollouts: how far surge and unavailability reach, and who gets how many.

use api_types::IntOrString;
use api_types::apps::v1::{Deployment, DeploymentStrategyType, ReplicaSet};

use super::revision;

/// Replicas that the Deployment asks for.
pub(super) fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

/// Replicas that a ReplicaSet is asked for.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

pub(super) fn total(sets: &[ReplicaSet]) -> i32 {
    sets.iter().map(size).sum()
}

pub(super) fn rolls(deployment: &Deployment) -> bool {
    deployment.spec.strategy.type_ == DeploymentStrategyType::RollingUpdate
}

/// Surge and unavailability as counts. Not both are 0: unavailability rounds down, and a rollout
/// must be able to move.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    let update = deployment.spec.strategy.rolling_update.as_deref().cloned().unwrap_or_default();
    let resolve = |value: Option<IntOrString>, round_up| {
        value.and_then(|v| v.scaled(wanted(deployment), round_up)).unwrap_or(0)
    };
    let surge = resolve(update.max_surge, true);
    let unavailable = resolve(update.max_unavailable, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// Pods above the count that a rollout may add.
pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    if rolls(deployment) { fenceposts(deployment).0 } else { 0 }
}

/// Pods below the count that may be unavailable.
pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    if !rolls(deployment) || wanted(deployment) == 0 {
        return 0;
    }
    fenceposts(deployment).1.min(wanted(deployment))
}

/// Size for the new ReplicaSet, given all others.
pub(super) fn grown(deployment: &Deployment, all: i32, new: i32) -> i32 {
    let wanted = wanted(deployment);
    if !rolls(deployment) {
        return wanted;
    }
    let room = wanted + max_surge(deployment) - all;
    if room <= 0 { new } else { new + room.min(wanted - new) }
}

/// New sizes for the old ReplicaSets, oldest first: first what is not available anyway, then as much
/// as availability allows.
pub(super) fn shrunk(deployment: &Deployment, old: &[ReplicaSet], new: &ReplicaSet) -> Vec<i32> {
    let mut sizes: Vec<i32> = old.iter().map(size).collect();
    let min_available = wanted(deployment) - max_unavailable(deployment);
    let new_unavailable = size(new) - new.status.available_replicas;
    let mut most = sizes.iter().sum::<i32>() + size(new) - min_available - new_unavailable;
    if sizes.iter().all(|size| *size == 0) || most <= 0 {
        return sizes;
    }
    for (size, set) in sizes.iter_mut().zip(old) {
        let unhealthy = *size - set.status.available_replicas;
        if *size > 0 && unhealthy > 0 {
            let less = unhealthy.min(most);
            *size -= less;
            most -= less;
        }
        if most <= 0 {
            break;
        }
    }
    let available =
        old.iter().map(|s| s.status.available_replicas).sum::<i32>() + new.status.available_replicas;
    let mut spare = available - min_available;
    for size in &mut sizes {
        if spare <= 0 {
            break;
        }
        let less = (*size).min(spare);
        *size -= less;
        spare -= less;
    }
    sizes
}

/// Sizes for all active ReplicaSets when the count changed in the middle of a rollout: each grows or
/// shrinks in proportion, the largest takes what rounding leaves. In the order given.
pub(super) fn proportional(deployment: &Deployment, active: &[ReplicaSet]) -> Vec<i32> {
    let wanted = wanted(deployment);
    let allowed = if wanted > 0 { wanted + max_surge(deployment) } else { 0 };
    let to_add = allowed - total(active);
    let mut order: Vec<usize> = (0..active.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&active[a], &active[b]);
        let newer_first = revision::by_age(b, a);
        size(b).cmp(&size(a)).then(if to_add < 0 { newer_first.reverse() } else { newer_first })
    });
    let mut sizes: Vec<i32> = active.iter().map(size).collect();
    if to_add == 0 {
        return sizes;
    }
    let mut added = 0;
    for &place in &order {
        let part = share(deployment, &active[place]);
        let left = to_add - added;
        let part = if size(&active[place]) == 0 || left == 0 {
            0
        } else if to_add > 0 {
            part.min(left)
        } else {
            part.max(left)
        };
        sizes[place] += part;
        added += part;
    }
    if let Some(&largest) = order.first() {
        sizes[largest] = (sizes[largest] + to_add - added).max(0);
    }
    sizes
}

/// How much one ReplicaSet should change, if it alone were asked.
fn share(deployment: &Deployment, set: &ReplicaSet) -> i32 {
    let wanted = wanted(deployment);
    if wanted == 0 {
        return -size(set);
    }
    let before = match revision::noted(set, revision::MAX) {
        Some(max) if max != 0 => max,
        _ => deployment.status.replicas,
    };
    if before == 0 {
        return 0;
    }
    let max = wanted + max_surge(deployment);
    let target = f64::from(size(set)) * f64::from(max) / f64::from(before);
    // Half rounds away from zero, as Go's rounding does. Sizes fit: they are bounded by the counts.
    target.round() as i32 - size(set)
}
