//! Serving HTTP: [`connections`] turns a listener into requests for any tower service (with or
//! without TLS, HTTP/1.1 and HTTP/2, upgrades, graceful end), and [`StatusServer`] is the
//! whole server of the daemons that have no other: /healthz /livez /readyz for everyone, /metrics and
//! the rest behind a [`Gate`].

mod authority;
mod connections;
mod delegated_flags;
mod flags;
mod gate;
mod gathered;
mod status;
mod streams;
#[cfg(test)]
mod tests;

pub use connections::{
    Accepted, HttpOptions, PeerCertificates, RemoteAddr, Retreat, ServeError, bind, connections,
    connections_each, connections_with,
};
pub use delegated_flags::DelegatedFlags;
pub use flags::ServingFlags;
pub use gate::{Gate, GateFuture, Open, Refusal};
pub use status::{Page, StatusServer};
pub use streams::{Work, in_a_task};
