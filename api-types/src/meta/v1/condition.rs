//! The condition that most newer kinds report in their status.

use crate::field::{Errors, Path};
use crate::names;
use crate::open_enum::open_enum;
use crate::value::Time;
use api_types_derive::Api;

/// One observation about an object.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct Condition {
    /// What is observed.
    #[api(1, required)]
    pub type_: String,
    /// Whether it holds.
    #[api(2, required)]
    pub status: ConditionStatus,
    /// Generation of the spec that it speaks of.
    #[api(3)]
    pub observed_generation: i64,
    /// When the status last changed.
    #[api(4, required)]
    pub last_transition_time: Option<Time>,
    /// Cause of the last change in one CamelCase word.
    #[api(5, required)]
    pub reason: String,
    /// The same for people.
    #[api(6, required)]
    pub message: String,
}

open_enum! {
    /// Whether a condition holds.
    pub enum ConditionStatus {
        True = "True",
        False = "False",
        Unknown = "Unknown",
    }
}

/// Refuses conditions that are incomplete or there twice; `path` is the list's.
pub(crate) fn validate(conditions: &[Condition], path: &Path, errors: &mut Errors) {
    const REASON_LIMIT: usize = 1024;
    const MESSAGE_LIMIT: usize = 32 * 1024;
    for (place, condition) in conditions.iter().enumerate() {
        let path = path.index(place);
        if conditions[..place].iter().any(|other| other.type_ == condition.type_) {
            errors.duplicate(&path.child("type"), &condition.type_);
        }
        errors.wrong(&path.child("type"), &condition.type_, names::qualified_name(&condition.type_));
        errors.choice(&path.child("status"), condition.status.as_str(), &["False", "True", "Unknown"]);
        if condition.observed_generation < 0 {
            let text = "must be greater than or equal to zero";
            errors.invalid(&path.child("observedGeneration"), condition.observed_generation, text);
        }
        if condition.last_transition_time.is_none() {
            errors.required(&path.child("lastTransitionTime"), "");
        }
        errors.need(&path, "reason", &condition.reason);
        if !condition.reason.is_empty() {
            errors.wrong(
                &path.child("reason"),
                &condition.reason,
                names::condition_reason(&condition.reason),
            );
            if condition.reason.len() > REASON_LIMIT {
                errors.too_long(&path.child("reason"), REASON_LIMIT);
            }
        }
        if condition.message.len() > MESSAGE_LIMIT {
            errors.too_long(&path.child("message"), MESSAGE_LIMIT);
        }
    }
}
