//! How the daemons speak to the apiserver: the client, caches that follow it, the work queue, the
//! one controller loop, leader election, events.
//!
//! - [`Client`]: `client.api::<Pod>().namespace("default").get("web")`; errors are [`Error`].
//! - [`informer`]: list and watch into stores of projections, shared by all who read them.
//! - [`queue`]: keys to work on, each once, with back-off.
//! - [`controller`]: `observe → plan → act`, and the loop that runs it.
//! - [`leader`]: who of several replicas works.
//! - [`delegated`]: who may read a daemon's /metrics, asked of the apiserver; [`status_server`]
//!   serves them.
//! - [`events`]: what `kubectl describe` shows below an object.
//!
//! Nothing here knows what a controller decides.

pub mod api;
pub mod config;
pub mod connection;
#[cfg(test)]
mod connection_tests;
pub mod controller;
pub mod delegated;
pub mod discovery;
pub mod error;
pub mod events;
#[cfg(test)]
mod fake_server;
pub mod informer;
pub mod key;
mod kubeconfig;
pub mod leader;
pub mod limiter;
mod metrics;
pub mod path;
pub mod queue;
pub mod status_server;
pub mod token;
mod transport;
pub mod watch;

pub use api::{Api, Deleted, Page, Patch};
pub use api_types::meta::v1::{DeleteOptions, ListOptions};
pub use config::{Config, ConfigError};
pub use connection::{Call, Client};
pub use error::Error;
pub use key::Key;
pub use path::ResourceRef;
pub use token::{TokenCell, TokenSource};
pub use watch::{WatchEvent, WatchStream};
