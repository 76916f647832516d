//! What all kinds share: metadata, lists, selectors, conditions, statuses, options.

pub mod v1;

pub use crate::value::{Duration, MicroTime, Time};
