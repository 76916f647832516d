//! Version v1 of the group authorization.k8s.io.

pub mod self_subject_rules_review;
pub mod subject_access_review;

pub use self_subject_rules_review::*;
pub use subject_access_review::*;
