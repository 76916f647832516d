//! Version v1 of the group rbac.authorization.k8s.io.

pub mod binding;
pub mod role;

pub use binding::*;
pub use role::*;
