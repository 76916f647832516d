//! `podFailurePolicy` and `successPolicy`: what a failed pod means, and when some successes are enough.

use api_types::batch::v1::{
    Job, PodFailurePolicyAction as Act, PodFailurePolicyOnExitCodesOperator as Operator,
    PodFailurePolicyOnExitCodesRequirement,
};
use client::Key;

use super::indexes::Indexes;
use crate::cached::job_pod::{Ended, JobFacts};

/// What the policy makes of a failed pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    /// No rule matches, or one says `Count`.
    Counts,
    /// As if it had not happened.
    Ignored,
    /// Its index has failed.
    FailsIndex,
    /// The Job has failed, and this is why.
    FailsJob(String),
}

/// What a failed pod means: the first rule that matches decides.
pub(super) fn meaning(job: &Job, key: &Key, facts: &JobFacts) -> Meaning {
    let rules = job.spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (place, rule) in rules.enumerate() {
        let cause = if let Some(codes) = &rule.on_exit_codes {
            let ended = facts.ended.iter().find(|ended| exits(codes, ended));
            ended.map(|e| format!("Container {} for pod {key} failed with exit code {}", e.container, e.code))
        } else {
            let matches = |c: &&api_types::core::v1::PodCondition| {
                rule.on_pod_conditions.iter().any(|p| p.type_ == c.type_ && p.status == c.status)
            };
            let condition = facts.conditions.iter().find(matches);
            condition.map(|c| format!("Pod {key} has condition {}", c.type_))
        };
        let Some(cause) = cause else { continue };
        match &rule.action {
            Act::Ignore => return Meaning::Ignored,
            Act::FailIndex => return Meaning::FailsIndex,
            Act::Count => return Meaning::Counts,
            Act::FailJob => {
                return Meaning::FailsJob(format!("{cause} matching FailJob rule at index {place}"));
            }
            Act::Unset | Act::Other(_) => {}
        }
    }
    Meaning::Counts
}

fn exits(codes: &PodFailurePolicyOnExitCodesRequirement, ended: &Ended) -> bool {
    let named = codes.container_name.as_ref().is_none_or(|name| **name == *ended.container);
    let listed = codes.values.contains(&ended.code);
    named
        && match codes.operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
            Operator::Unset | Operator::Other(_) => false,
        }
}

/// The message of the first rule of the success policy that these indexes satisfy.
pub(super) fn success(job: &Job, succeeded: &Indexes) -> Option<String> {
    let completions = job.spec.completions?;
    if succeeded.count() == 0 {
        return None;
    }
    let rules = job.spec.success_policy.iter().flat_map(|policy| &policy.rules);
    let satisfied =
        rules.enumerate().find(|(_, rule)| match (&rule.succeeded_indexes, rule.succeeded_count) {
            (Some(text), count) => {
                let wanted = Indexes::parse(text, completions);
                let have = wanted.common(succeeded);
                wanted.count() > 0 && (have == wanted.count() || count.is_some_and(|count| have >= count))
            }
            (None, Some(count)) => succeeded.count() >= count,
            (None, None) => false,
        });
    satisfied.map(|(place, _)| format!("Matched rules at index {place}"))
}
