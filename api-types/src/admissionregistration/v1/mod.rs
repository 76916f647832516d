//! Version v1 of the group admissionregistration.k8s.io.

pub mod mutating_admission_policy;
pub mod policy;
pub mod policy_head;
mod policy_strategy;
pub mod rule;
pub mod validating_admission_policy;
pub mod webhook_configuration;

pub use mutating_admission_policy::*;
pub use policy::*;
pub use policy_head::*;
pub use rule::*;
pub use validating_admission_policy::*;
pub use webhook_configuration::*;
