//! openraft's calls to other members, over `peers`. Entries go through one stream per peer for as long
//! as it is followed: requests are not held back for answers, which come in order.
//!
//! Deadlines: openraft's own for votes and heartbeats; streams live until their connection does, which
//! pings find out (`peers`). A follower whose disk stalls answers late and keeps its stream.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use prost::Message;
use tokio::io::AsyncReadExt;
use tonic::Status;

use super::codec::AppliedRecord;
use super::peers::{Lane, Link, Peers};
use super::wire::{AppendRequest, BallotRequest, SnapshotOffer, SnapshotPart, TransferRequest};
use super::{Snapshot, TypeConfig, Vote};
use crate::metrics;
use crate::snapshot::SnapshotFile;

/// Bytes of a snapshot in one message.
const PART: usize = 512 << 10;

/// Makes openraft's connections to peers.
pub struct Network {
    peers: Arc<Peers>,
}

impl Network {
    pub fn new(peers: Arc<Peers>) -> Self {
        Self { peers }
    }

    fn connection(&self, target: u64, node: &BasicNode, lane: Lane) -> Connection {
        Connection { link: self.peers.note(target, &node.addr), peers: self.peers.clone(), lane }
    }
}

/// What openraft says to one peer.
pub struct Connection {
    link: Arc<Link>,
    peers: Arc<Peers>,
    lane: Lane,
}

type Failed = RPCError<TypeConfig>;

impl Connection {
    fn failed(&self, status: &Status) -> Failed {
        self.peers.examine(status);
        self.link.failed(status.message());
        Failed::Unreachable(Unreachable::new(&io::Error::other(format!(
            "{}: {}",
            self.link.label,
            status.message()
        ))))
    }

    /// Runs a call within openraft's deadline.
    async fn within<T>(
        &self,
        option: &RPCOption,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Failed> {
        match tokio::time::timeout(option.hard_ttl(), call).await {
            Ok(Ok(answer)) => {
                self.link.answered(None);
                Ok(answer.into_inner())
            }
            Ok(Err(status)) => Err(self.failed(&status)),
            Err(_) => Err(self.failed(&Status::deadline_exceeded("no answer in time"))),
        }
    }

    async fn ballot(
        &self,
        request: VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        let mut client = self.link.client(Lane::Urgent);
        let reply = self.within(&option, client.vote(BallotRequest::new(request, pre_vote))).await?;
        reply.response().map_err(|error| garbled(&error))
    }
}

fn garbled(error: &super::wire::WireError) -> Failed {
    Failed::Network(NetworkError::new(&io::Error::new(io::ErrorKind::InvalidData, error.to_string())))
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Connection {
        self.connection(target, node, Lane::Bulk)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> Connection {
        self.connection(target, node, Lane::Urgent)
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Failed> {
        let input = Box::pin(futures::stream::once(async { request }));
        let mut replies = self.stream_append(input, option).await?;
        match replies.next().await {
            Some(result) => Ok(result?.into()),
            None => Err(garbled(&super::wire::WireError::Empty)),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Failed>>, Failed>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let this: &'s Self = self;
        Box::pin(async move {
            let link = this.link.clone();
            let urgent = this.lane == Lane::Urgent;
            let start = Instant::now();
            let requests = input.map(move |request| {
                let message = AppendRequest::from(request);
                metrics::get().peers.sent(&link.label, message.encoded_len());
                message
            });
            let mut client = this.link.client(this.lane);
            let replies = client.append(requests).await.map_err(|status| this.failed(&status))?.into_inner();
            let results = replies.map(move |reply| match reply {
                Ok(reply) => {
                    // A heartbeat's stream is one request and its answer.
                    this.link.answered(urgent.then(|| start.elapsed()));
                    reply.result().map_err(|error| garbled(&error))
                }
                Err(status) => Err(this.failed(&status)),
            });
            let results: BoxStream<'s, _> = Box::pin(results);
            Ok(results)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        self.ballot(request, false, option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        self.ballot(request, true, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sending = send(&self.link, vote, &snapshot);
        let result = tokio::select! {
            result = sending => result,
            closed = cancel => return Err(closed.into()),
        };
        let counted = &metrics::get().peers;
        match result {
            Ok(vote) => {
                counted.snapshot_sent(&self.link.label);
                Ok(SnapshotResponse::new(vote))
            }
            Err(status) => {
                counted.snapshot_failed(&self.link.label);
                tracing::warn!(peer = self.link.label, error = status.message(), "could not send a snapshot");
                Err(self.failed(&status).into())
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Failed> {
        let mut client = self.link.client(Lane::Urgent);
        let asked = TransferRequest::from(request.clone());
        let reply = self.within(&option, client.transfer(asked)).await?;
        Ok(reply.response(&request))
    }
}

/// Sends a snapshot's file; returns the receiver's vote.
async fn send(link: &Link, vote: Vote, snapshot: &Snapshot) -> Result<Vote, Status> {
    let unreadable = |error: io::Error| Status::internal(format!("read the snapshot: {error}"));
    // Open, the file stays readable when a newer one takes its place.
    let file = tokio::fs::File::open(&snapshot.snapshot.path).await.map_err(unreadable)?;
    let bytes = file.metadata().await.map_err(unreadable)?.len();
    tracing::info!(peer = link.label, bytes, "sending a snapshot");
    let applied = AppliedRecord::new(snapshot.meta.last_log_id, &snapshot.meta.last_membership);
    let offer = SnapshotOffer { vote: Some(vote.into()), applied: Some(applied), bytes };
    let first = SnapshotPart { offer: Some(offer), data: Bytes::new() };
    let label = link.label.clone();
    let rest = futures::stream::unfold(file, move |mut file| {
        let label = label.clone();
        async move {
            let mut data = BytesMut::with_capacity(PART);
            while data.len() < PART {
                match file.read_buf(&mut data).await {
                    Ok(0) => break,
                    Ok(_) => {}
                    // The receiver counts bytes: it will not take what is cut short.
                    Err(error) => {
                        tracing::error!(%error, "cannot read the snapshot that is being sent");
                        return None;
                    }
                }
            }
            if data.is_empty() {
                return None;
            }
            metrics::get().peers.sent(&label, data.len());
            Some((SnapshotPart { offer: None, data: data.freeze() }, file))
        }
    });
    let parts = futures::stream::once(async { first }).chain(rest);
    let reply = link.client(Lane::Bulk).snapshot(parts).await?.into_inner();
    reply.vote().map_err(|error| Status::internal(error.to_string()))
}
