//! Version v1 of the group node.k8s.io.

pub mod runtime_class;

pub use runtime_class::*;
