//! The controllers of storage claims: binding them to volumes, keeping what is in use from being
//! deleted, making the claims of pods' own ephemeral volumes, having volumes attached to nodes, and
//! telling who makes volumes larger.

pub mod attach;
pub mod attributes_class;
pub mod binder;
pub mod ephemeral;
pub mod expand;
pub mod protection;
