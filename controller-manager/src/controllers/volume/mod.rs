//! The controllers of storage claims: binding them to volumes, keeping what is in use from being
//! deleted, and making the claims of pods' own ephemeral volumes.

pub mod binder;
pub mod ephemeral;
pub mod protection;
