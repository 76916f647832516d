//! Version v1 of the group discovery.k8s.io.

pub mod endpoint_slice;

pub use endpoint_slice::*;
