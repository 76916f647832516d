//! The cluster's certificates, laid out as kubeadm lays them out: three authorities (cluster,
//! front proxy, store), the leaves that they sign, and the service accounts' RSA key pair.
//! [`plan`] says which there must be; [`ensure`] makes those that are missing, end within thirty
//! days, or say something else than they should. Authorities and the service accounts' key are never replaced.

mod issue;
pub mod plan;

pub use issue::{ensure, write};
