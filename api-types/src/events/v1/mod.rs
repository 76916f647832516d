//! Version v1 of the group events.k8s.io.

pub mod event;

pub use event::*;
