//! Version v1 of the group networking.k8s.io.

pub mod ingress;
pub mod ingress_class;
pub mod ip_address;
pub mod network_policy;
pub mod service_cidr;

pub use ingress::*;
pub use ingress_class::*;
pub use ip_address::*;
pub use network_policy::*;
pub use service_cidr::*;
