//! Version v1 of the group coordination.k8s.io.

pub mod lease;

pub use lease::*;
