//! Makes the runtime hold what a pod's spec asks for.
//!
//! [`plan`] compares the spec with what the runtime shows and lists the actions, purely; [`act`] does
//! them. [`backoff`] says when a crashed container or a failed pull may be tried again, and [`reasons`]
//! keeps why a container could not be started, for the status.

pub mod act;
pub mod backoff;
mod clean;
pub mod container_config;
pub mod kill;
pub mod plan;
pub mod reasons;
pub mod sandbox_config;
pub mod start;

#[cfg(test)]
mod tests;
