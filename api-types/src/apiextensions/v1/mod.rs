//! Version v1 of the group apiextensions.k8s.io.

pub mod custom_resource_definition;

pub use custom_resource_definition::*;
