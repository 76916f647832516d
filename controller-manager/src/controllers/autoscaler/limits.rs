//! What holds a proposal back: recent proposals, the allowed rate, the least and the most.

use std::time::Duration;

use api_types::autoscaling::v2::{
    HPAScalingPolicyType as Unit, HPAScalingRules, HorizontalPodAutoscalerSpec, ScalingPolicySelect as Select,
};
use jiff::Timestamp;

use super::Settings;

/// Without a behavior, scaling up is limited to this factor, or to this number if that is more.
const UP_FACTOR: i32 = 2;
const UP_LEAST: i32 = 4;
/// Longest span that policies may look back on, and so how long things are remembered.
const REMEMBERED: i64 = 3600;

/// What an autoscaler remembers between looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    proposals: Vec<(Timestamp, i32)>,
    /// Rescalings, by how many pods.
    changes: Vec<(Timestamp, i32)>,
}

/// What is left of a proposal, and the conditions that tell of it: reason and text, and whether the
/// number was limited.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limited {
    pub replicas: i32,
    pub able: (&'static str, &'static str),
    pub limited: (bool, &'static str, &'static str),
}

const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_MANY: (&str, &str) =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const UP_LIMIT: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: (&str, &str) =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const UP_HELD: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_HELD: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);

impl Memory {
    /// The number at the first look counts as a proposal.
    pub(super) fn begin(&mut self, current: i32, now: Timestamp) {
        if self.proposals.is_empty() {
            self.proposals.push((now, current));
        }
    }

    pub(super) fn rescaled(&mut self, by: i32, now: Timestamp) {
        self.changes.push((now, by));
    }

    fn forget(&mut self, now: Timestamp) {
        let young = |(at, _): &(Timestamp, i32)| now.as_second() - at.as_second() <= REMEMBERED;
        self.proposals.retain(young);
        self.changes.retain(young);
    }

    /// Proposals of the last while.
    fn recent(&self, seconds: i64, now: Timestamp) -> impl Iterator<Item = i32> + '_ {
        let young = move |at: &Timestamp| now.as_second() - at.as_second() <= seconds;
        self.proposals.iter().filter(move |(at, _)| young(at)).map(|(_, proposal)| *proposal)
    }

    /// How many pods there were this long ago, by the rescalings since.
    fn before(&self, current: i32, seconds: i32, now: Timestamp) -> i32 {
        let young = |at: &Timestamp| now.as_second() - at.as_second() < i64::from(seconds);
        current - self.changes.iter().filter(|(at, _)| young(at)).map(|(_, by)| by).sum::<i32>()
    }
}

/// Holds a proposal against all limits, and remembers it.
pub(super) fn limit(
    spec: &HorizontalPodAutoscalerSpec,
    memory: &mut Memory,
    settings: &Settings,
    (current, proposed): (i32, i32),
    now: Timestamp,
) -> Limited {
    memory.forget(now);
    let least = spec.min_replicas.unwrap_or(1);
    let (held, able) = stabilized(spec, memory, settings, (current, proposed), now);
    memory.proposals.push((now, proposed));
    let (replicas, (reason, text)) = match &spec.behavior {
        None => {
            let rate = (UP_FACTOR * current).max(UP_LEAST);
            let (most, why) =
                if spec.max_replicas > rate { (rate, UP_LIMIT) } else { (spec.max_replicas, TOO_MANY) };
            if held < least {
                (least, TOO_FEW)
            } else if held > most {
                (most, why)
            } else {
                (held, WITHIN)
            }
        }
        Some(behavior) if held > current => {
            let rate = up(behavior.scale_up.as_deref(), memory, current, now).max(current);
            let (most, why) =
                if spec.max_replicas > rate { (rate, UP_LIMIT) } else { (spec.max_replicas, TOO_MANY) };
            if held > most { (most, why) } else { (held, WITHIN) }
        }
        Some(behavior) if held < current => {
            let rate = down(behavior.scale_down.as_deref(), memory, current, now).min(current);
            let (fewest, why) = if least < rate { (rate, DOWN_LIMIT) } else { (least, TOO_FEW) };
            if held < fewest { (fewest, why) } else { (held, WITHIN) }
        }
        Some(_) => (held, WITHIN),
    };
    Limited { replicas, able, limited: (replicas != held, reason, text) }
}

fn stabilized(
    spec: &HorizontalPodAutoscalerSpec,
    memory: &Memory,
    settings: &Settings,
    (current, proposed): (i32, i32),
    now: Timestamp,
) -> (i32, (&'static str, &'static str)) {
    let default_down = seconds(settings.downscale_stabilization);
    let window = |rules: Option<&HPAScalingRules>, default: i64| {
        rules.and_then(|r| r.stabilization_window_seconds).map_or(default, i64::from)
    };
    let Some(behavior) = &spec.behavior else {
        let held = memory.recent(default_down, now).max().unwrap_or(proposed).max(proposed);
        return (held, if held == proposed { READY } else { DOWN_HELD });
    };
    let (up, down) =
        (window(behavior.scale_up.as_deref(), 0), window(behavior.scale_down.as_deref(), default_down));
    let lowest =
        if up > 0 { memory.recent(up, now).min().unwrap_or(proposed).min(proposed) } else { proposed };
    let highest =
        if down > 0 { memory.recent(down, now).max().unwrap_or(proposed).max(proposed) } else { proposed };
    let held = current.max(lowest).min(highest);
    let able = if held == proposed {
        READY
    } else if proposed > current {
        UP_HELD
    } else {
        DOWN_HELD
    };
    (held, able)
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

/// The most that the policies for scaling up allow.
fn up(rules: Option<&HPAScalingRules>, memory: &Memory, current: i32, now: Timestamp) -> i32 {
    let Some(rules) = rules else { return (UP_FACTOR * current).max(UP_LEAST) };
    let allowed = rules.policies.iter().map(|policy| {
        let start = memory.before(current, policy.period_seconds, now);
        match policy.type_ {
            Unit::Percent => (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
            _ => start.saturating_add(policy.value),
        }
    });
    match rules.select_policy {
        Some(Select::Disabled) => current,
        Some(Select::Min) => allowed.min().unwrap_or(current),
        _ => allowed.max().unwrap_or(current),
    }
}

/// The fewest that the policies for scaling down allow.
fn down(rules: Option<&HPAScalingRules>, memory: &Memory, current: i32, now: Timestamp) -> i32 {
    let Some(rules) = rules else { return 0 };
    let allowed = rules.policies.iter().map(|policy| {
        let start = memory.before(current, policy.period_seconds, now);
        match policy.type_ {
            Unit::Percent => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
            _ => start.saturating_sub(policy.value),
        }
    });
    match rules.select_policy {
        Some(Select::Disabled) => current,
        Some(Select::Min) => allowed.max().unwrap_or(current),
        _ => allowed.min().unwrap_or(current),
    }
}
