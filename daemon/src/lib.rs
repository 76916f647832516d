//! What every process of the cluster shares: flags and config files, logging, TLS with reload,
//! /metrics, /healthz /livez /readyz, what systemd is told, the status server, shutdown, the clock, the version.
//!
//! A daemon's `main` reads, top to bottom: [`flags::parse`] its flags, [`logging::init`],
//! [`shutdown::Shutdown::on_signals`], load [`tls`] material, register [`health`] checks, spawn its
//! loops with a clone of the shutdown, and run its server ([`serve::StatusServer`] for those whose
//! only server is this one) until shutdown. Nothing here knows the Kubernetes API or speaks to it:
//! what needs the apiserver (delegated authorization) comes in through [`serve::Gate`].

pub mod clock;
pub mod config_file;
pub mod exposition;
pub mod flags;
pub mod go_words;
pub mod health;
pub mod log_sink;
pub mod logging;
pub mod metrics;
pub mod readiness;
pub mod serve;
pub mod shutdown;
pub mod signals;
pub mod tls;
pub mod version;
pub mod zpages;
