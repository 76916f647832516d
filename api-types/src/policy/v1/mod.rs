//! Version v1 of the group policy.

pub mod eviction;
pub mod pod_disruption_budget;

pub use eviction::*;
pub use pod_disruption_budget::*;
