//! The condition that most newer kinds report in their status.

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
