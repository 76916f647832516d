//! What clients did and saw: every request with when it was sent and what came back when, and every
//! answer on every watch. The validators look at nothing else.

use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::mvccpb::Event;

use super::model::{Answer, Request};

/// Microseconds since the run began.
pub type Micros = u64;

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// `revision` is the header's.
    Answered { at: Micros, revision: i64, answer: Answer },
    /// By the store, for certain without effect.
    Refused { at: Micros, message: String },
    /// No answer: it may have taken effect, or do so later.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Operation {
    pub sent: Micros,
    pub request: Request,
    pub outcome: Outcome,
}

impl Operation {
    pub fn answered_at(&self) -> Option<Micros> {
        match &self.outcome {
            Outcome::Answered { at, .. } | Outcome::Refused { at, .. } => Some(*at),
            Outcome::Unknown => None,
        }
    }

    /// Whether it could change keys if it took effect.
    pub fn is_write(&self) -> bool {
        match &self.request {
            Request::Put(_) | Request::Delete(_) | Request::Revoke { .. } => true,
            Request::Txn(txn) => {
                let reads = |op: &pb::RequestOp| {
                    matches!(op.request, Some(pb::request_op::Request::RequestRange(_)) | None)
                };
                !txn.success.iter().chain(&txn.failure).all(reads)
            }
            Request::Range(_) | Request::Compact(_) | Request::Grant { .. } | Request::KeepAlive { .. } => {
                false
            }
        }
    }
}

/// One answer on a watch.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Micros,
    /// The header's.
    pub revision: i64,
    pub events: Vec<Event>,
    /// The next answer continues this one.
    pub fragment: bool,
}

impl Seen {
    /// A bookmark: everything up to `revision` has been sent.
    pub fn is_progress(&self) -> bool {
        self.events.is_empty()
    }
}

/// One stretch of a watch: from its creation until the stream broke.
#[derive(Clone, Debug)]
pub struct Session {
    /// First revision asked for.
    pub from: i64,
    pub seen: Vec<Seen>,
}

/// A watch, resumed after the last revision it saw whenever its stream broke.
#[derive(Clone, Debug)]
pub struct Watch {
    pub request: pb::WatchCreateRequest,
    pub sessions: Vec<Session>,
}

impl Watch {
    pub fn seen(&self) -> impl Iterator<Item = &Seen> {
        self.sessions.iter().flat_map(|session| &session.seen)
    }
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    /// The first watches every key from the first revision on, and saw the end.
    pub watches: Vec<Watch>,
}

/// A guarantee that does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub guarantee: &'static str,
    pub detail: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.guarantee, self.detail)
    }
}

impl std::error::Error for Violation {}

/// Fails a guarantee with a reason.
pub fn violated<T>(guarantee: &'static str, detail: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { guarantee, detail: detail.into() })
}
