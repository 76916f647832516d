//! What the tests that cross crates share: stock kubectl as a driver of a running cluster.
//!
//! The cluster is not made here: `make test` starts one with kubeforge, names its folder in
//! `FERROKUBE_CLUSTER_DIR`, runs the tests against it and takes it away. Without the variable the
//! tests say that they are skipped.

mod cluster;
mod kubectl;
pub mod process;
mod proxy;

pub use cluster::{BUSYBOX, Cluster, Namespace};
pub use kubectl::{Outcome, eventually, run};
pub use proxy::{Proxy, Response};
