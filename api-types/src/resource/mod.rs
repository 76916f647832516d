//! Group resource.k8s.io: devices, and claims on them (KEP-4381).

pub mod v1;
