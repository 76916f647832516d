//! Calls as Prometheus counts them for servers of Go's gRPC (`grpc_server_*`), which is what etcd's dashboards
//! look at: begun, handled by code, messages either way, and with `--metrics=extensive` how long each took.
//!
//! COMPAT: every method shows from the start, with zeros; what `gate` turns away is not counted. A call whose
//! client is gone before its end was canceled.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Buf, Bytes};
use daemon::metrics::{Histogram, IntCounter};
use http_body::{Body as HttpBody, Frame};

/// As Go names them, in the order of their numbers.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const CANCELED: usize = 1;
const UNKNOWN: usize = 2;

const UNARY: &str = "unary";
const SERVER_STREAM: &str = "server_stream";
const BIDI_STREAM: &str = "bidi_stream";

/// Methods of one kind of a service.
type Row = (&'static str, &'static str, &'static [&'static str]);

const TABLE: &[Row] = &[
    ("etcdserverpb.KV", UNARY, &["Range", "Put", "DeleteRange", "Txn", "Compact"]),
    ("etcdserverpb.Watch", BIDI_STREAM, &["Watch"]),
    ("etcdserverpb.Lease", UNARY, &["LeaseGrant", "LeaseRevoke", "LeaseTimeToLive", "LeaseLeases"]),
    ("etcdserverpb.Lease", BIDI_STREAM, &["LeaseKeepAlive"]),
    (
        "etcdserverpb.Cluster",
        UNARY,
        &["MemberAdd", "MemberRemove", "MemberUpdate", "MemberList", "MemberPromote"],
    ),
    (
        "etcdserverpb.Maintenance",
        UNARY,
        &["Alarm", "Status", "Defragment", "Hash", "HashKV", "MoveLeader", "Downgrade"],
    ),
    ("etcdserverpb.Maintenance", SERVER_STREAM, &["Snapshot"]),
    (
        "etcdserverpb.Auth",
        UNARY,
        &[
            "AuthEnable",
            "AuthDisable",
            "AuthStatus",
            "Authenticate",
            "UserAdd",
            "UserGet",
            "UserList",
            "UserDelete",
            "UserChangePassword",
            "UserGrantRole",
            "UserRevokeRole",
            "RoleAdd",
            "RoleGet",
            "RoleList",
            "RoleDelete",
            "RoleGrantPermission",
            "RoleRevokePermission",
        ],
    ),
    ("v3lockpb.Lock", UNARY, &["Lock", "Unlock"]),
    ("v3electionpb.Election", UNARY, &["Campaign", "Proclaim", "Leader", "Resign"]),
    ("v3electionpb.Election", SERVER_STREAM, &["Observe"]),
    ("grpc.health.v1.Health", UNARY, &["Check"]),
    ("grpc.health.v1.Health", SERVER_STREAM, &["Watch"]),
];

/// Seconds: the default of Prometheus's clients.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Set once, before the first call.
static EXTENSIVE: AtomicBool = AtomicBool::new(false);

struct Method {
    unary: bool,
    started: IntCounter,
    received: IntCounter,
    sent: IntCounter,
    handled: Vec<IntCounter>,
    seconds: Option<Histogram>,
}

/// By path.
static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    let registry = daemon::metrics::global();
    let labels = ["grpc_type", "grpc_service", "grpc_method"];
    let counter = |name, help| registry.counter_vec(name, help, &labels);
    let started = counter("grpc_server_started_total", "Total number of RPCs started on the server.");
    let received = counter(
        "grpc_server_msg_received_total",
        "Total number of RPC stream messages received on the server.",
    );
    let sent =
        counter("grpc_server_msg_sent_total", "Total number of gRPC stream messages sent by the server.");
    let handled = registry.counter_vec(
        "grpc_server_handled_total",
        "Total number of RPCs completed on the server, regardless of success or failure.",
        &["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
    );
    let seconds = EXTENSIVE.load(Ordering::Relaxed).then(|| {
        registry.histogram_vec(
            "grpc_server_handling_seconds",
            "Histogram of response latency (seconds) of gRPC that had been application-level handled by the \
             server.",
            &labels,
            &BUCKETS,
        )
    });
    let mut methods = HashMap::new();
    for (service, kind, names) in TABLE {
        for name in *names {
            let labels = [*kind, *service, *name];
            let method = Method {
                unary: *kind == UNARY,
                started: started.with_label_values(&labels),
                received: received.with_label_values(&labels),
                sent: sent.with_label_values(&labels),
                handled: CODES
                    .iter()
                    .map(|code| handled.with_label_values(&[*kind, *service, *name, *code]))
                    .collect(),
                seconds: seconds.as_ref().map(|seconds| seconds.with_label_values(&labels)),
            };
            methods.insert(format!("/{service}/{name}"), method);
        }
    }
    methods
});

/// Makes the metrics, with a histogram of how long calls take or without.
pub fn prepare(extensive: bool) {
    EXTENSIVE.store(extensive, Ordering::Relaxed);
    LazyLock::force(&METHODS);
}

/// A unary call under way.
pub struct Unary(Call);

impl Unary {
    /// None: nothing that is counted.
    pub fn begin(path: &str) -> Option<Self> {
        let method = METHODS.get(path).filter(|method| method.unary)?;
        method.started.inc();
        method.received.inc();
        Some(Self(Call { method, began: Instant::now(), code: CANCELED }))
    }

    pub fn answered(self, headers: &axum::http::HeaderMap) {
        let code = code(headers).unwrap_or(0);
        if code == 0 {
            self.0.method.sent.inc();
        }
        self.0.ended(code);
    }
}

/// Counts a call.
pub async fn counted(request: Request, next: Next) -> Response {
    if let Some(call) = Unary::begin(request.uri().path()) {
        let response = next.run(request).await;
        call.answered(response.headers());
        return response;
    }
    let Some(method) = METHODS.get(request.uri().path()) else { return next.run(request).await };
    method.started.inc();
    let call = Call { method, began: Instant::now(), code: CANCELED };
    let request = request
        .map(|body| Body::new(Counted { body, messages: Messages::new(&method.received), call: None }));
    let response = next.run(request).await;
    if let Some(code) = code(response.headers()) {
        call.ended(code);
        return response;
    }
    response.map(|body| Body::new(Counted { body, messages: Messages::new(&method.sent), call: Some(call) }))
}

/// The number in `grpc-status`, where there is one.
fn code(headers: &axum::http::HeaderMap) -> Option<usize> {
    let status = headers.get("grpc-status")?;
    let number = status.to_str().ok().and_then(|status| status.parse().ok());
    Some(number.filter(|number| *number < CODES.len()).unwrap_or(UNKNOWN))
}

/// A call under way.
struct Call {
    method: &'static Method,
    began: Instant,
    code: usize,
}

impl Call {
    fn ended(mut self, code: usize) {
        self.code = code;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.method.handled[self.code].inc();
        if let Some(seconds) = &self.method.seconds {
            seconds.observe(self.began.elapsed().as_secs_f64());
        }
    }
}

/// A stream of messages that is looked at as it passes.
struct Counted {
    body: Body,
    messages: Messages,
    /// Of a response: it ends the call.
    call: Option<Call>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.messages.pass(data.clone());
                }
                if let Some(trailers) = frame.trailers_ref()
                    && let Some(call) = self.call.take()
                {
                    call.ended(code(trailers).unwrap_or(UNKNOWN));
                }
            }
            Some(Err(_)) => drop(self.call.take()),
            None => {
                if let Some(call) = self.call.take() {
                    call.ended(UNKNOWN);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// Counts messages in the bytes of a stream: a flag, a length of four bytes, the message.
struct Messages {
    counter: IntCounter,
    /// Bytes of the prefix that were seen, and the length as far as it was.
    prefix: usize,
    length: u32,
    /// Bytes of the message that are still to come.
    left: usize,
}

impl Messages {
    fn new(counter: &IntCounter) -> Self {
        Self { counter: counter.clone(), prefix: 0, length: 0, left: 0 }
    }

    fn pass(&mut self, mut data: Bytes) {
        while data.has_remaining() {
            if self.left > 0 {
                let here = self.left.min(data.len());
                data.advance(here);
                self.left -= here;
                continue;
            }
            let byte = data.get_u8();
            if self.prefix > 0 {
                self.length = self.length << 8 | u32::from(byte);
            }
            self.prefix += 1;
            if self.prefix == 5 {
                self.counter.inc();
                (self.left, self.prefix, self.length) = (self.length as usize, 0, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_wherever_frames_end() {
        let mut stream = Vec::new();
        for length in [0, 1, 300, 70_000, 0] {
            stream.push(0);
            stream.extend_from_slice(&u32::to_be_bytes(length));
            stream.extend(std::iter::repeat_n(9, length as usize));
        }
        for step in [1, 2, 5, 7, 1000, stream.len()] {
            let counter = IntCounter::new("c", "c").unwrap();
            let mut messages = Messages::new(&counter);
            stream.chunks(step).for_each(|chunk| messages.pass(Bytes::copy_from_slice(chunk)));
            assert_eq!(counter.get(), 5, "in steps of {step}");
        }
    }

    #[test]
    fn codes_are_read_from_headers() {
        let of = |status: &'static str| {
            let mut headers = axum::http::HeaderMap::new();
            headers.insert("grpc-status", axum::http::HeaderValue::from_static(status));
            code(&headers).map(|code| CODES[code])
        };
        assert_eq!(of("0"), Some("OK"));
        assert_eq!(of("16"), Some("Unauthenticated"));
        assert_eq!(of("99"), Some("Unknown"));
        assert_eq!(code(&axum::http::HeaderMap::new()), None);
    }
}
