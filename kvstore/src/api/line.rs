//! Keys that stand in line below a prefix, the oldest first: what locks and elections are made of. A key
//! is called `NAME/LEASE` (in hexadecimal) and goes with its lease; whose key is the oldest has the lock, or
//! leads. As etcd's client library has it, which programs mix with these services.
//!
//! Everything is done by way of the services that clients use, with the rights of the client that asked.

use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_protocol::etcdserverpb::kv_server::Kv as _;
use etcd_protocol::etcdserverpb::lease_server::Lease as _;
use etcd_protocol::etcdserverpb::range_request::{SortOrder, SortTarget};
use etcd_protocol::etcdserverpb::request_op::Request as Op;
use etcd_protocol::etcdserverpb::response_op::Response as Answer;
use etcd_protocol::mvccpb::{Event, KeyValue};
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status};

use super::Context;
use super::kv::Kv;
use super::lease::Lease;
use crate::error::Error;
use crate::watch::watchers::{Delivery, Watchers};

/// Seconds of a lease that is made because the client has none.
const OWN_LEASE_TTL: i64 = 60;

/// The keys below one name, as one client sees them.
#[derive(Clone)]
pub struct Line {
    context: Context,
    metadata: MetadataMap,
    extensions: Extensions,
    prefix: Bytes,
}

/// A key in a line.
#[derive(Clone, Debug)]
pub struct Place {
    pub key: Bytes,
    pub lease: i64,
    /// At which the key was created: those created before it come first.
    pub created: i64,
    pub header: Option<pb::ResponseHeader>,
    /// What was there, when it stood in line already.
    pub before: Option<KeyValue>,
}

impl Line {
    /// Below a name, with the rights of who sends the request.
    pub fn of<T>(context: &Context, request: &Request<T>, name: &[u8]) -> Self {
        Self {
            context: context.clone(),
            metadata: request.metadata().clone(),
            extensions: request.extensions().clone(),
            prefix: [name, b"/"].concat().into(),
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        Request::from_parts(self.metadata.clone(), self.extensions.clone(), message)
    }

    pub async fn txn(&self, txn: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        Ok(Kv(self.context.clone()).txn(self.request(txn)).await?.into_inner())
    }

    pub async fn range(&self, range: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        Ok(Kv(self.context.clone()).range(self.request(range)).await?.into_inner())
    }

    pub async fn delete(&self, key: Bytes) -> Result<pb::DeleteRangeResponse, Status> {
        let request = pb::DeleteRangeRequest { key, ..Default::default() };
        Ok(Kv(self.context.clone()).delete_range(self.request(request)).await?.into_inner())
    }

    /// COMPAT: without a lease the client gets one that nobody keeps alive.
    async fn lease(&self, lease: i64) -> Result<i64, Status> {
        if lease != 0 {
            return Ok(lease);
        }
        let request = pb::LeaseGrantRequest { ttl: OWN_LEASE_TTL, id: 0 };
        Ok(Lease(self.context.clone()).lease_grant(self.request(request)).await?.into_inner().id)
    }

    /// The oldest key of the line.
    pub fn first(&self) -> pb::RangeRequest {
        pb::RangeRequest {
            key: self.prefix.clone(),
            range_end: after(&self.prefix),
            limit: 1,
            sort_order: SortOrder::Ascend.into(),
            sort_target: SortTarget::Create.into(),
            ..Default::default()
        }
    }

    /// Takes a place in the line, or finds that this lease has one.
    pub async fn join(&self, lease: i64, value: Bytes) -> Result<Place, Status> {
        let lease = self.lease(lease).await?;
        let key: Bytes = [&self.prefix[..], format!("{lease:x}").as_bytes()].concat().into();
        let put = pb::PutRequest { key: key.clone(), value, lease, ..Default::default() };
        let get = pb::RangeRequest { key: key.clone(), ..Default::default() };
        let answer = self
            .txn(pb::TxnRequest {
                compare: vec![created(&key, 0)],
                success: vec![op(Op::RequestPut(put)), op(Op::RequestRange(self.first()))],
                failure: vec![op(Op::RequestRange(get)), op(Op::RequestRange(self.first()))],
            })
            .await?;
        let before = match answer.responses.into_iter().next().and_then(|op| op.response) {
            Some(Answer::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        };
        let revision = answer.header.as_ref().map_or(0, |header| header.revision);
        let created = before.as_ref().map_or(revision, |kv| kv.create_revision);
        Ok(Place { key, lease, created, header: answer.header, before })
    }

    /// Waits until nobody stands before a place; the key goes when the client does not wait so long.
    pub async fn wait(&self, place: &Place) -> Result<(), Status> {
        let mut leave = Leave { line: self, key: Some(place.key.clone()) };
        let earlier = pb::RangeRequest {
            sort_order: SortOrder::Descend.into(),
            max_create_revision: place.created - 1,
            ..self.first()
        };
        while let Some(before) = self.range(earlier.clone()).await?.kvs.pop() {
            self.gone(&before).await?;
        }
        leave.key = None;
        Ok(())
    }

    /// Waits until a key is deleted.
    async fn gone(&self, kv: &KeyValue) -> Result<(), Status> {
        let mut current = self.context.shared.events.subscribe();
        loop {
            let view = self.context.shared.reader.view();
            if view.index.latest(&kv.key).is_none_or(|version| version.create != kv.create_revision) {
                return Ok(());
            }
            drop(view);
            tokio::select! {
                changed = current.changed() => changed.map_err(|_| Error::Stopped)?,
                () = self.context.shutdown.wait() => return Err(Error::Stopped.into()),
            }
        }
    }

    /// Changes of one key of the line (of all when none is given) from a revision on.
    pub fn changes(&self, key: Option<&Bytes>, start_revision: i64) -> Result<Changes, Status> {
        let (key, range_end) = match key {
            Some(key) => (key.clone(), Bytes::new()),
            None => (self.prefix.clone(), after(&self.prefix)),
        };
        let current = self.context.shared.events.subscribe();
        let mut watchers = Watchers::default();
        let request = pb::WatchCreateRequest { key, range_end, start_revision, ..Default::default() };
        watchers
            .create(request, self.context.shared.reader.view().revision)
            .map_err(|error| Status::unknown(error.to_string()))?;
        Ok(Changes { context: self.context.clone(), watchers, current })
    }
}

/// A key whose client is gone before its turn has come leaves the line.
struct Leave<'a> {
    line: &'a Line,
    key: Option<Bytes>,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let line = self.line.clone();
        tokio::spawn(async move {
            if let Err(error) = line.delete(key).await {
                tracing::warn!(
                    error = error.message(),
                    "a client's place in a line stays until its lease ends"
                );
            }
        });
    }
}

/// A watch of our own.
pub struct Changes {
    context: Context,
    watchers: Watchers,
    current: watch::Receiver<i64>,
}

impl Changes {
    /// The next changes, and a header for them.
    pub async fn next(&mut self) -> Result<(Option<pb::ResponseHeader>, Vec<Event>), Status> {
        let shared = self.context.shared.clone();
        loop {
            self.current.borrow_and_update();
            while !self.watchers.synced(shared.reader.view().revision) {
                match self.watchers.advance(&shared.events, &shared.reader)?.pop() {
                    Some(Delivery::Events { revision, events, .. }) => {
                        return Ok((self.context.header(revision), events));
                    }
                    Some(Delivery::Compacted { .. }) => return Err(Error::Compacted.into()),
                    None => {}
                }
            }
            tokio::select! {
                changed = self.current.changed() => changed.map_err(|_| Error::Stopped)?,
                () = self.context.shutdown.wait() => return Err(Error::Stopped.into()),
            }
        }
    }
}

/// That a key was created at a revision; at 0: that there is none.
pub fn created(key: &Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Default::default()
    }
}

pub fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// The end of the range of keys with a prefix, which ends in a slash.
fn after(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}
