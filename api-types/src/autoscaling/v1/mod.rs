//! Version v1 of the group autoscaling.

mod conversion;
pub mod horizontal_pod_autoscaler;
pub mod metric;
pub mod scale;

pub use horizontal_pod_autoscaler::*;
pub use metric::*;
pub use scale::*;
