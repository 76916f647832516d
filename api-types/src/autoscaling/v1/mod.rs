//! Version v1 of the group autoscaling.

pub mod scale;

pub use scale::*;
