//! Version v2 of the group autoscaling.

pub mod horizontal_pod_autoscaler;

pub use horizontal_pod_autoscaler::*;
