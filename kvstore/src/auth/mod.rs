//! Users, roles and what they may do. The table of users and roles (`table`) is part of the replicated
//! state and changes by commands in the log (`command`) alone; what a user may read and write is merged
//! from its roles (`permissions`); `check` holds a command of the log against it, where it is applied, so
//! that no change of rights slips in between. Who a request comes from is told by a token (`tokens`,
//! `jwt`) or a client certificate, which `api::caller` looks at.
//!
//! Passwords stand in the table as bcrypt hashes (`password`), never in the log as they are.

pub mod check;
pub mod command;
pub mod jwt;
pub mod password;
mod permissions;
pub mod table;
pub mod tokens;

pub use command::{AuthCommand, Caller, Change};
pub use table::AuthTable;

/// The user and the role that may do everything.
pub const ROOT: &str = "root";
