//! Version v1 of the group apiextensions.k8s.io.

pub mod custom_resource_definition;
pub mod json_schema;

pub use custom_resource_definition::*;
pub use json_schema::*;
