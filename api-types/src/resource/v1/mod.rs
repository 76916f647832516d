//! Version v1 of the group resource.k8s.io.
//!
//! Requests and configuration are shared by claims, templates and classes (`request.rs`); what a claim
//! got is in `allocation.rs`. Names that several kinds check are in `names.rs`. Expressions in CEL are
//! checked for their length only.

pub mod allocation;
pub mod claim;
pub mod claim_template;
pub mod device_class;
mod names;
pub mod request;
pub mod slice;

pub use allocation::*;
pub use claim::*;
pub use claim_template::*;
pub use device_class::*;
pub use request::*;
pub use slice::*;
