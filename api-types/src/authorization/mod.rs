//! The group authorization.k8s.io.

pub mod v1;
