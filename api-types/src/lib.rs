//! Every kind of the Kubernetes API that Ferrokube serves: types, facts, defaults, validation,
//! strategy, columns; and the machinery over them: codecs, schemas, selectors, patches.
//!
//! Invariants: no I/O, no clock (times come in as parameters), and no fact about a kind anywhere
//! else. A struct declares each field once (`#[derive(Api)]`); everything that reads or writes
//! objects walks the table made from that declaration (`schema.rs`, `value/`).

pub mod addresses;
pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod codec;
pub mod columns;
pub mod coordination;
pub mod core;
pub mod custom;
pub mod defaults;
pub mod diff;
pub mod discovery;
pub mod events;
pub mod field;
pub mod flowcontrol;
pub mod kind;
pub mod kinds;
pub mod meta;
pub mod names;
pub mod networking;
pub mod node;
mod open_enum;
pub mod policy;
pub mod quota;
pub mod rbac;
pub mod resource;
pub mod schedule;
pub mod scheduling;
pub mod schema;
pub mod selector;
pub mod storage;
pub mod value;
pub mod webhook;

pub use kind::{Kind, Object, Resource, Row, Strategy};
pub use value::{ByteString, IntOrString, Quantity, RawExtension};
