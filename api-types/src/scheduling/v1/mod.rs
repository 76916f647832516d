//! Version v1 of the group scheduling.k8s.io.

pub mod priority_class;

pub use priority_class::*;
