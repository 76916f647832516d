//! Version v1 of the core group.

pub mod binding;
pub mod config_map;
pub mod endpoints;
pub mod event;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod range_allocation;
pub mod reference;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod well_known;

pub use crate::meta::v1::ConditionStatus;
pub use binding::*;
pub use config_map::*;
pub use endpoints::*;
pub use event::*;
pub use namespace::*;
pub use node::*;
pub use pod::*;
pub use range_allocation::*;
pub use reference::*;
pub use secret::*;
pub use service::*;
pub use service_account::*;
