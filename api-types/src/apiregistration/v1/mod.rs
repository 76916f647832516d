//! Version v1 of the group apiregistration.k8s.io.

pub mod api_service;

pub use api_service::*;
