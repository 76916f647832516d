//! The audit log: who asked for what, and what came of it (API doc "Auditing"; audit.k8s.io/v1).
//!
//! `policy` says how much is recorded of a request, `record` collects it on the request's way through
//! the pipeline and writes an event at each stage, `log` is the file. Events are written before the
//! answer goes out. Annotations of admission plugins are not recorded.

mod log;
mod metrics;
mod policy;
mod record;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::request::Parts;
use jiff::Timestamp;

use crate::request::{RequestInfo, User};

pub use log::{Log, LogOptions};
pub use policy::Level;
pub use record::{Record, Stage};

use metrics::Metrics;
use policy::Policy;

/// Why auditing cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("failed to read file path {path:?}")]
    Read { path: String, source: std::io::Error },
    #[error("failed decoding: {0}: from file {1}")]
    Decode(String, String),
    #[error("{0}: from file {1}")]
    Invalid(String, String),
    #[error("unable to create audit log file {path:?}")]
    Open { path: String, source: std::io::Error },
}

/// The audit policy and where events go.
pub struct Audit {
    policy: Policy,
    log: Log,
    metrics: Metrics,
}

impl Audit {
    /// Reads the policy and opens the log.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn new(policy: &Path, options: LogOptions) -> Result<Self, AuditError> {
        Ok(Self { policy: Policy::load(policy)?, log: Log::open(options)?, metrics: Metrics::new() })
    }

    /// Begins the record of a request; `None` when the policy does not want any.
    pub fn open(
        self: &Arc<Self>,
        parts: &Parts,
        info: &RequestInfo,
        user: &User,
        remote: SocketAddr,
        id: &str,
        received: Timestamp,
    ) -> Option<Arc<Record>> {
        let wanted = self.policy.of(user, info);
        self.metrics.level(wanted.level);
        if wanted.level == Level::None {
            return None;
        }
        Some(Arc::new(Record::new(self.clone(), wanted, parts, info, user, remote, id, received)))
    }

    fn write(&self, event: &record::Event<'_>) {
        self.metrics.event();
        if let Err(error) = self.log.write(event) {
            self.metrics.error();
            tracing::error!(%error, audit_id = event.audit_id, "Unable to write an audit event");
        }
    }
}
