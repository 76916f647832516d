//! The group admissionregistration.k8s.io: who is asked about a write, beside the server itself.

pub mod v1;
