//! Startup, liveness and readiness probes.
//!
//! [`tracker`] is the pure state machine of one probe: when to run it, and what a run means. [`check`]
//! performs one run (exec, HTTP, TCP, gRPC). [`schedule`] keeps the probes of all pods in one timer
//! queue; a run is a short task, an idle probe costs an entry in a map. A verdict that changed wakes
//! the pod's worker.

pub mod check;
pub mod schedule;
pub mod tracker;

use api_types::core::v1::{Pod, PodStatus};

/// What a probe has found about a container, once its thresholds were reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Unknown,
    /// It is well.
    Success,
    /// It is not.
    Failure,
}

/// The three probes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Has it started?
    Startup,
    /// Is it alive?
    Liveness,
    /// May it get requests?
    Readiness,
}

impl Type {
    /// The word that starts the events' messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    /// What holds for a new container until the probe ran.
    pub fn initial(self) -> Verdict {
        match self {
            Self::Startup => Verdict::Unknown,
            Self::Liveness => Verdict::Success,
            Self::Readiness => Verdict::Failure,
        }
    }
}

/// Sets `started` and `ready` of every container status.
pub trait ProbeView {
    /// Marks the statuses of `pod`.
    fn mark(&self, pod: &Pod, status: &mut PodStatus);
}
