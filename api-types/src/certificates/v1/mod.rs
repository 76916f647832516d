//! Version v1 of the group certificates.k8s.io.

pub mod certificate_signing_request;

pub use certificate_signing_request::*;
