//! Metrics of auditing; names and labels are upstream's.

use daemon::metrics::{self, IntCounter, IntCounterVec};

use super::Level;

pub struct Metrics {
    events: IntCounterVec,
    errors: IntCounterVec,
    levels: IntCounterVec,
}

impl Metrics {
    pub fn new() -> Self {
        let all = metrics::global();
        Self {
            events: all.counter_vec(
                "apiserver_audit_event_total",
                "[ALPHA] Counter of audit events generated and sent to the audit backend.",
                &[],
            ),
            errors: all.counter_vec(
                "apiserver_audit_error_total",
                "[ALPHA] Counter of audit events that failed to be audited properly. Plugin identifies the plugin \
                 affected by the error.",
                &["plugin"],
            ),
            levels: all.counter_vec(
                "apiserver_audit_level_total",
                "[ALPHA] Counter of policy levels for audit events (1 per request).",
                &["level"],
            ),
        }
    }

    pub fn event(&self) {
        let counter: IntCounter = self.events.with_label_values::<&str>(&[]);
        counter.inc();
    }

    pub fn error(&self) {
        self.errors.with_label_values(&["log"]).inc();
    }

    pub fn level(&self, level: Level) {
        self.levels.with_label_values(&[level.as_str()]).inc();
    }
}
