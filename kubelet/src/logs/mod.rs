//! Container logs on the node: their format ([`line`]), reading them for the API ([`read`]), and
//! rotating them ([`rotate`]).
//!
//! ```text
//! /var/log/pods/NAMESPACE_NAME_UID/CONTAINER/RESTART.log          written by the runtime
//! /var/log/pods/…/CONTAINER/RESTART.log.20261121-104000[.gz]      rotated
//! /var/log/containers/NAME_NAMESPACE_CONTAINER-ID.log             link, for log collectors
//! ```

pub mod line;
pub mod read;
pub mod rotate;
