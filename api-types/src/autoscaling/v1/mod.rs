//! Version v1 of the group autoscaling.

pub mod horizontal_pod_autoscaler;
pub mod scale;

pub use horizontal_pod_autoscaler::*;
pub use scale::*;
