//! The store's client: etcd v3 over gRPC, and nothing of Kubernetes.
//!
//! Every write is a transaction guarded by the key's mod revision (0 for "not there"); the losing
//! side gets the present value in the same answer. Concurrent questions for the store's current
//! revision share one request. A value is bytes; keys are relative to the registry prefix.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use daemon::metrics;
use etcd_protocol::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest,
    RangeResponse, RequestOp, StatusRequest, TxnRequest, TxnResponse, WatchCreateRequest,
    WatchProgressRequest, WatchRequest, WatchResponse, compare, kv_client::KvClient,
    lease_client::LeaseClient, maintenance_client::MaintenanceClient, request_op, response_op,
    watch_client::WatchClient, watch_request,
};
use etcd_protocol::mvccpb::KeyValue;
use futures::channel::mpsc;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tonic::Streaming;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::encryption::Encryption;
use super::members::Members;

/// How the store is reached.
#[derive(Debug, Clone)]
pub struct KvOptions {
    /// `https://host:2379`; several are balanced.
    pub servers: Vec<String>,
    /// PEM of the authorities, certificate and key; none of them for `http://`.
    pub ca: Option<Vec<u8>>,
    pub cert: Option<Vec<u8>>,
    pub key: Option<Vec<u8>>,
    /// `/registry`.
    pub prefix: String,
}

/// Why the store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KvError {
    #[error("etcd endpoint {0:?}: {1}")]
    Endpoint(String, String),
    /// The revision is no longer in the store.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// The revision is not there yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    Future,
    #[error("etcdserver: request is too large")]
    TooLarge,
    #[error("{0}")]
    Store(String),
    /// No answer; whether a write happened is not known.
    #[error("{0}")]
    Unavailable(String),
}

impl From<tonic::Status> for KvError {
    fn from(status: tonic::Status) -> Self {
        let message = status.message();
        match status.code() {
            tonic::Code::OutOfRange if message.contains("compacted") => Self::Compacted,
            tonic::Code::OutOfRange if message.contains("future") => Self::Future,
            tonic::Code::InvalidArgument if message.contains("too large") => Self::TooLarge,
            tonic::Code::Unavailable
            | tonic::Code::DeadlineExceeded
            | tonic::Code::Cancelled
            | tonic::Code::Unknown => Self::Unavailable(status.to_string()),
            _ => Self::Store(message.to_owned()),
        }
    }
}

/// A value and the revision of its last write.
#[derive(Debug, Clone)]
pub struct Versioned {
    pub key: Bytes,
    pub value: Bytes,
    pub revision: i64,
}

/// The outcome of a guarded write.
#[derive(Debug)]
pub enum Guarded {
    /// Done at this revision.
    Done(i64),
    /// The guard did not hold; the present value, if any.
    Lost(Option<Versioned>),
}

/// One guarded write of a transaction.
#[derive(Debug, Clone)]
pub struct Op {
    key: Bytes,
    /// `None` deletes.
    value: Option<Bytes>,
    /// The revision of the key's last write, 0 for a key that is not there; `None` for any.
    expected: Option<i64>,
    lease: i64,
}

impl Op {
    /// Writes `key`, last written at `expected` (0: not there).
    pub fn put(key: &str, value: Bytes, expected: i64) -> Self {
        let key = Bytes::copy_from_slice(key.as_bytes());
        Self { key, value: Some(value), expected: Some(expected), lease: 0 }
    }

    pub fn delete(key: &str, expected: Option<i64>) -> Self {
        Self { key: Bytes::copy_from_slice(key.as_bytes()), value: None, expected, lease: 0 }
    }

    pub fn with_lease(self, lease: i64) -> Self {
        Self { lease, ..self }
    }

    fn name(&self) -> &'static str {
        match (&self.value, self.expected) {
            (None, _) => "delete",
            (Some(_), Some(0)) => "create",
            (Some(_), _) => "update",
        }
    }

    fn compare(&self) -> Option<Compare> {
        Some(Compare {
            result: compare::CompareResult::Equal.into(),
            target: compare::CompareTarget::Mod.into(),
            key: self.key.clone(),
            target_union: Some(compare::TargetUnion::ModRevision(self.expected?)),
            ..Compare::default()
        })
    }

    fn request(self) -> request_op::Request {
        let (key, lease) = (self.key, self.lease);
        match self.value {
            Some(value) => {
                request_op::Request::RequestPut(PutRequest { key, value, lease, ..PutRequest::default() })
            }
            None => request_op::Request::RequestDeleteRange(DeleteRangeRequest {
                key,
                ..DeleteRangeRequest::default()
            }),
        }
    }
}

/// One page of a prefix.
#[derive(Debug, Default)]
pub struct Page {
    pub items: Vec<Versioned>,
    /// The store's revision when it answered.
    pub revision: i64,
    pub more: bool,
    /// What there is from the start on, whatever the limit.
    pub count: i64,
}

/// A running watch.
pub struct Watch {
    pub responses: Streaming<WatchResponse>,
    requests: mpsc::Sender<WatchRequest>,
}

impl Watch {
    /// Asks the store to say how far this watch has come.
    pub fn ask_progress(&mut self) {
        let request = watch_request::RequestUnion::ProgressRequest(WatchProgressRequest {});
        // A full channel has such a request in it. A closed one means that the stream has ended, which its reader sees.
        let _ = self.requests.try_send(WatchRequest { request_union: Some(request) });
    }
}

/// A page of large objects may be larger than tonic's 4 MB.
const LIMIT: usize = 1 << 30;
/// How soon a member that stands still is given up, sooner than by etcd's own client (30 s and 10 s): leases of
/// leaders must outlive it. etcd takes pings every 5 s (`--grpc-keepalive-min-time`).
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

fn keys(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(LIMIT).max_encoding_message_size(LIMIT)
}

/// The client.
pub struct Kv {
    members: Members,
    prefix: String,
    /// `None` stores values as they are.
    encryption: Option<Encryption>,
    waiting: Arc<Mutex<Revisions>>,
    /// Set once the store's version is known; see [`progress_is_reliable`].
    reliable_progress: AtomicBool,
    /// The revision up to which the store is known to be compacted.
    compacted: AtomicI64,
    latency: metrics::HistogramVec,
    /// Leases of recent making by time to live, shared by keys of about the same end, as upstream does.
    recent_leases: tokio::sync::Mutex<HashMap<i64, SharedLease>>,
}

struct SharedLease {
    id: i64,
    made: Instant,
    uses: u32,
}

/// How many keys may hang on one lease, and for how long new ones join it.
const LEASE_KEYS: u32 = 1000;
const LEASE_REUSE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Revisions {
    asking: bool,
    next: Vec<oneshot::Sender<Result<i64, KvError>>>,
}

impl Kv {
    /// Makes the client; connections are opened when needed.
    ///
    /// # Errors
    /// When an endpoint or the TLS material cannot be used.
    pub fn connect(options: &KvOptions) -> Result<Self, KvError> {
        let mut endpoints = Vec::new();
        for server in &options.servers {
            let wrong = |e: &dyn std::fmt::Display| KvError::Endpoint(server.clone(), e.to_string());
            let mut endpoint = Endpoint::from_shared(server.clone())
                .map_err(|e| wrong(&e))?
                .connect_timeout(Duration::from_secs(5))
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(16 << 20)
                .tcp_nodelay(true);
            if server.starts_with("https://") {
                let mut tls = ClientTlsConfig::new();
                if let Some(ca) = &options.ca {
                    tls = tls.ca_certificate(tonic::transport::Certificate::from_pem(ca));
                }
                if let (Some(cert), Some(key)) = (&options.cert, &options.key) {
                    tls = tls.identity(tonic::transport::Identity::from_pem(cert, key));
                }
                endpoint = endpoint.tls_config(tls).map_err(|e| wrong(&e))?;
            }
            endpoints.push(endpoint);
        }
        Ok(Self {
            members: Members::new(&endpoints),
            prefix: options.prefix.trim_end_matches('/').to_owned(),
            encryption: None,
            waiting: Arc::default(),
            reliable_progress: AtomicBool::new(false),
            compacted: AtomicI64::new(0),
            latency: metrics::global().histogram_vec(
                "etcd_request_duration_seconds",
                "[BETA] Etcd request latency in seconds for each operation and object type.",
                &["operation", "type"],
                &[
                    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0,
                    8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
                ],
            ),
            recent_leases: tokio::sync::Mutex::default(),
        })
    }

    /// The full key of a path below the registry prefix.
    pub fn key(&self, path: &str) -> String {
        format!("{}/{path}", self.prefix)
    }

    fn observe(&self, operation: &str, key: &[u8], since: Instant) {
        let text = std::str::from_utf8(key).unwrap_or_default();
        let kind = text.strip_prefix(&self.prefix).unwrap_or(text).trim_start_matches('/');
        let kind = kind.split('/').next().unwrap_or_default();
        self.latency.with_label_values(&[operation, kind]).observe(since.elapsed().as_secs_f64());
    }

    /// The present value, and the store's revision.
    pub async fn get(&self, key: &str) -> Result<(Option<Versioned>, i64), KvError> {
        let since = Instant::now();
        let request = RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..RangeRequest::default() };
        let answer = self.range(request).await?;
        self.observe("get", key.as_bytes(), since);
        let revision = answer.header.map_or(0, |h| h.revision);
        Ok((answer.kvs.into_iter().next().map(|kv| self.opened(kv)), revision))
    }

    /// Writes a value that must have been last written at `expected` (0: must not be there).
    pub async fn put(&self, key: &str, value: Bytes, expected: i64, lease: i64) -> Result<Guarded, KvError> {
        self.commit(vec![Op::put(key, value, expected).with_lease(lease)]).await
    }

    /// Older revisions than this are gone.
    pub fn compacted(&self) -> i64 {
        self.compacted.load(Ordering::Relaxed)
    }

    /// Takes in that the store is compacted up to `revision`.
    pub fn note_compacted(&self, revision: i64) {
        self.compacted.fetch_max(revision, Ordering::Relaxed);
    }

    /// Seals and opens values from now on.
    #[must_use]
    pub fn encrypting(self, encryption: Option<Encryption>) -> Self {
        Self { encryption, ..self }
    }

    /// A value as it was before it was stored. One that cannot be opened is told here and passed on as
    /// it is: its reader then finds no object in it.
    pub fn opened(&self, kv: KeyValue) -> Versioned {
        let value = match self.encryption.as_ref().map(|own| own.open(&kv.key, &kv.value)) {
            None => kv.value,
            Some(Ok(value)) => value.into(),
            Some(Err(error)) => {
                tracing::error!(key = %String::from_utf8_lossy(&kv.key), %error, "Cannot decrypt a stored value");
                kv.value
            }
        };
        Versioned { key: kv.key, value, revision: kv.mod_revision }
    }

    fn sealed(&self, op: Op) -> Result<Op, KvError> {
        let (Some(encryption), Some(value)) = (&self.encryption, &op.value) else { return Ok(op) };
        let value = encryption.seal(&op.key, value).map_err(|error| KvError::Store(error.to_string()))?;
        Ok(Op { value: Some(value.into()), ..op })
    }

    /// Does all of `ops`, or none if a guard does not hold. The first one is the object written and
    /// gives the metric its name; a lost race answers with the present value of its key.
    pub async fn commit(&self, ops: Vec<Op>) -> Result<Guarded, KvError> {
        let since = Instant::now();
        let Some(first) = ops.first() else { return Ok(Guarded::Done(0)) };
        let (key, operation) = (first.key.clone(), first.name());
        let compare = ops.iter().filter_map(Op::compare).collect();
        let ops: Vec<Op> = ops.into_iter().map(|op| self.sealed(op)).collect::<Result<_, _>>()?;
        let read = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let request = TxnRequest {
            compare,
            success: ops.into_iter().map(|op| RequestOp { request: Some(op.request()) }).collect(),
            failure: vec![RequestOp { request: Some(request_op::Request::RequestRange(read)) }],
        };
        let answer = self.txn(request).await?;
        self.observe(operation, &key, since);
        if answer.succeeded {
            return Ok(Guarded::Done(answer.header.map_or(0, |h| h.revision)));
        }
        let present = answer.responses.into_iter().next().and_then(|op| match op.response {
            Some(response_op::Response::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        Ok(Guarded::Lost(present.map(|kv| self.opened(kv))))
    }

    /// A page of `prefix`, from key `start` on, at `revision` (0: the present one).
    pub async fn page(&self, prefix: &str, start: &[u8], limit: i64, revision: i64) -> Result<Page, KvError> {
        let since = Instant::now();
        let request = RangeRequest {
            key: Bytes::copy_from_slice(start),
            range_end: range_end(prefix.as_bytes()),
            limit,
            revision,
            ..RangeRequest::default()
        };
        let answer = self.range(request).await?;
        self.observe("list", prefix.as_bytes(), since);
        Ok(Page {
            items: answer.kvs.into_iter().map(|kv| self.opened(kv)).collect(),
            revision: answer.header.map_or(0, |h| h.revision),
            more: answer.more,
            count: answer.count,
        })
    }

    /// Follows `prefix` from `revision` on.
    pub async fn watch(&self, prefix: &str, revision: i64) -> Result<Watch, KvError> {
        let create = WatchCreateRequest {
            key: Bytes::copy_from_slice(prefix.as_bytes()),
            range_end: range_end(prefix.as_bytes()),
            start_revision: revision,
            progress_notify: true,
            ..WatchCreateRequest::default()
        };
        let union = watch_request::RequestUnion::CreateRequest(create);
        let first = WatchRequest { request_union: Some(union) };
        let watch = self
            .members
            .read(|channel| {
                let first = first.clone();
                async move {
                    // Of the kind that takes memory for what is in it, not beforehand: it lasts as long as the watch.
                    let (requests, receiver) = mpsc::channel(0);
                    let mut client = WatchClient::new(channel).max_decoding_message_size(LIMIT);
                    let asked = stream::iter([first]).chain(receiver);
                    let responses = client.watch(asked).await?.into_inner();
                    Ok(Watch { responses, requests })
                }
            })
            .await?;
        Ok(watch)
    }

    /// The store's revision at some moment after the call: a linearizable read, shared by all who
    /// ask while one is under way to be sent.
    pub async fn revision(self: &Arc<Self>) -> Result<i64, KvError> {
        let (sender, receiver) = oneshot::channel();
        let start = {
            let mut waiting = self.waiting.lock();
            waiting.next.push(sender);
            !std::mem::replace(&mut waiting.asking, true)
        };
        if start {
            let this = self.clone();
            tokio::spawn(async move { this.answer_revisions().await });
        }
        receiver.await.map_err(|_| KvError::Unavailable("revision request dropped".into()))?
    }

    async fn answer_revisions(&self) {
        loop {
            // Whoever asks from here on waits for the next round.
            let round = {
                let mut waiting = self.waiting.lock();
                if waiting.next.is_empty() {
                    waiting.asking = false;
                    return;
                }
                std::mem::take(&mut waiting.next)
            };
            let answer = self.get(&self.key("health")).await.map(|(_, revision)| revision);
            for sender in round {
                let _ = sender.send(answer.clone());
            }
        }
    }

    /// A lease on which keys with this time to live may hang.
    pub async fn lease(&self, ttl: i64) -> Result<i64, KvError> {
        let mut recent = self.recent_leases.lock().await;
        // The last key to join must still live its whole time.
        let reuse = (LEASE_REUSE.as_secs() as i64).min(ttl / 10);
        if let Some(lease) = recent
            .get_mut(&ttl)
            .filter(|lease| lease.uses < LEASE_KEYS && (lease.made.elapsed().as_secs() as i64) < reuse)
        {
            lease.uses += 1;
            return Ok(lease.id);
        }
        let request = LeaseGrantRequest { ttl: ttl + reuse, id: 0 };
        let answer = self
            .members
            .write(move |channel| async move { LeaseClient::new(channel).lease_grant(request).await })
            .await?
            .into_inner();
        recent.insert(ttl, SharedLease { id: answer.id, made: Instant::now(), uses: 1 });
        Ok(answer.id)
    }

    /// The version that the store reports; from then on it is known what can be asked of it.
    pub async fn version(&self) -> Result<String, KvError> {
        let status = self
            .members
            .read(|channel| async { MaintenanceClient::new(channel).status(StatusRequest::default()).await })
            .await?;
        let version = status.into_inner().version;
        self.reliable_progress.store(progress_is_reliable(&version), Ordering::Relaxed);
        Ok(version)
    }

    /// Whether the store can be asked how far a watch has come.
    pub fn progress_is_reliable(&self) -> bool {
        self.reliable_progress.load(Ordering::Relaxed)
    }

    /// A transaction as it is.
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, KvError> {
        let ask = |channel| {
            let request = request.clone();
            async move { keys(channel).txn(request).await }
        };
        Ok(self.members.write(ask).await?.into_inner())
    }

    /// Forgets what was before `revision`.
    pub async fn compact(&self, revision: i64) -> Result<(), KvError> {
        let request = CompactionRequest { revision, physical: false };
        self.members.write(|channel| async move { keys(channel).compact(request).await }).await?;
        Ok(())
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, KvError> {
        let ask = |channel| {
            let request = request.clone();
            async move { keys(channel).range(request).await }
        };
        Ok(self.members.read(ask).await?.into_inner())
    }
}

/// The first key after all that begin with `prefix`.
pub fn range_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xFF {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(&[0])
}

/// Whether a store of this version answers progress requests only after the events before it
/// (etcd 3.4.25 and 3.5.8 learned it; upstream trusts 3.4.31 and 3.5.13).
pub fn progress_is_reliable(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map(|n| n.parse::<u32>().unwrap_or(0));
    let (major, minor, patch) =
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match (major, minor) {
        (3, 4) => patch >= 31,
        (3, 5) => patch >= 13,
        (3, minor) => minor > 5,
        (major, _) => major > 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(range_end(b"/registry/pods/"), &b"/registry/pods0"[..]);
        assert_eq!(range_end(b"a\xff"), &b"b"[..]);
        assert_eq!(range_end(b"\xff"), &b"\0"[..]);
    }

    #[test]
    fn old_etcds_are_known() {
        for (version, reliable) in [
            ("3.4.23", false),
            ("3.4.31", true),
            ("3.5.12", false),
            ("3.5.13", true),
            ("3.6.0-rc.1", true),
            ("3.6.4", true),
        ] {
            assert_eq!(progress_is_reliable(version), reliable, "{version}");
        }
    }
}
