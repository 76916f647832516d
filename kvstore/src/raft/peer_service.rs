//! The other end of `network`: takes what members say to each other to openraft, the log's end and the
//! leader's clocks. Served on the peer URLs alone; who connects there was let in by certificate.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use etcd_protocol::etcdserverpb as pb;
use futures::{Stream, StreamExt};
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::ClientWriteResult;
use openraft::vote::RaftLeaderId;
use tokio::io::AsyncWriteExt;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

use super::command::Proposal;
use super::leases;
use super::members::Members;
use super::peers::{MESSAGE_LIMIT, Peers, REMOVED};
use super::wire::{
    AppendReply, AppendRequest, BallotReply, BallotRequest, CLUSTER, ChangeReply, ChangeRequest, Directory,
    DirectoryServer, FROM, Fate, MembersReply, Nothing, Peer, PeerServer, ProposeReply, ProposeRequest,
    ReadIndexReply, SnapshotOffer, SnapshotPart, SnapshotReply, TO, TransferReply, TransferRequest,
};
use super::{Raft, Shared, Snapshot, SnapshotMeta, TypeConfig};
use crate::corruption;
use crate::data_dir::Identity;
use crate::error::Error;
use crate::metrics;
use crate::snapshot::SnapshotFile;

/// What a member offers the others.
#[derive(Clone)]
pub struct PeerService {
    pub identity: Identity,
    pub raft: Raft,
    pub shared: Arc<Shared>,
    pub peers: Arc<Peers>,
    pub members: Members,
}

impl PeerService {
    pub fn routes(self) -> Routes {
        let directory = DirectoryServer::new(self.clone());
        let (identity, shared) = (self.identity, self.shared.clone());
        let check = move |request: Request<()>| {
            admit(request.metadata(), identity, &shared)?;
            Ok(request)
        };
        let peer = PeerServer::new(self)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(usize::MAX);
        Routes::new(InterceptedService::new(peer, check)).add_service(directory)
    }
}

/// Whether a call is meant for this member and comes from one of its cluster.
fn admit(headers: &MetadataMap, identity: Identity, shared: &Shared) -> Result<(), Status> {
    let id = |name: &str| {
        let text = headers.get(name)?.to_str().ok()?;
        u64::from_str_radix(text, 16).ok()
    };
    let from = id(FROM).unwrap_or_default();
    if id(CLUSTER) != Some(identity.cluster_id) {
        return Err(Error::ClusterIdMismatch.into());
    }
    if id(TO) != Some(identity.member_id) {
        return Err(Status::failed_precondition("another member was meant"));
    }
    if shared.removed.read().contains(&from) {
        return Err(Status::permission_denied(REMOVED));
    }
    Ok(())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    tracing::debug!(%error, "raft has stopped");
    Error::Stopped.into()
}

fn invalid(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

/// From whom, for metrics.
fn sender<T>(request: &Request<T>) -> String {
    let from = request.metadata().get(FROM).and_then(|value| value.to_str().ok());
    from.unwrap_or_default().to_owned()
}

#[tonic::async_trait]
impl Directory for PeerService {
    async fn members(&self, _request: Request<Nothing>) -> Result<Response<MembersReply>, Status> {
        let members = self.members.list();
        if members.is_empty() {
            return Err(Status::unavailable("this member has not joined its cluster yet"));
        }
        Ok(Response::new(MembersReply { cluster_id: self.identity.cluster_id, members }))
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    type AppendStream = Pin<Box<dyn Stream<Item = Result<AppendReply, Status>> + Send>>;

    async fn append(
        &self,
        request: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let (peers, label) = (self.peers.clone(), sender(&request));
        let requests = request.into_inner();
        let requests = tokio_stream::StreamExt::map_while(requests, move |request| {
            let request = request.ok()?;
            metrics::get().peers.received(&label, prost::Message::encoded_len(&request));
            peers.hear();
            match request.try_into() {
                Ok(request) => Some(request),
                Err(error) => {
                    tracing::error!(%error, peer = label, "cannot read what a peer sent");
                    None
                }
            }
        });
        let peers = self.peers.clone();
        let replies = self.raft.stream_append(requests).map(move |result| {
            // A slow disk holds the answer back, not the knowledge that there is a leader.
            peers.hear();
            result.map(AppendReply::from).map_err(stopped)
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotPart>>,
    ) -> Result<Response<SnapshotReply>, Status> {
        let label = sender(&request);
        let mut parts = request.into_inner();
        let offer = parts.message().await?.and_then(|part| part.offer);
        let offer = offer.ok_or_else(|| invalid("a snapshot begins with what it is"))?;
        let path = self.shared.snapshots.temporary();
        let start = Instant::now();
        let result = self.receive(&offer, &mut parts, &path, &label).await;
        // Gone when it was installed; not to be kept when it was not.
        tokio::fs::remove_file(&path).await.ok();
        let vote = result?;
        tracing::info!(peer = label, bytes = offer.bytes, took = ?start.elapsed(), "received a snapshot");
        Ok(Response::new(SnapshotReply { vote: Some(vote.into()) }))
    }

    async fn vote(&self, request: Request<BallotRequest>) -> Result<Response<BallotReply>, Status> {
        let message = request.into_inner();
        let pre_vote = message.pre_vote;
        let request = message.request().map_err(invalid)?;
        let answered =
            if pre_vote { self.raft.pre_vote(request).await } else { self.raft.vote(request).await };
        Ok(Response::new(answered.map_err(stopped)?.into()))
    }

    async fn transfer(&self, request: Request<TransferRequest>) -> Result<Response<TransferReply>, Status> {
        let request = request.into_inner().request().map_err(invalid)?;
        let answered = self.raft.handle_transfer_leader(request).await;
        Ok(Response::new(answered.map_err(stopped)?.into()))
    }

    async fn propose(&self, request: Request<ProposeRequest>) -> Result<Response<ProposeReply>, Status> {
        let request = request.into_inner();
        let (responder, complete) =
            ProgressResponder::<TypeConfig, ClientWriteResult<TypeConfig>>::complete_only();
        let leader = LeaderId::new(request.term, self.identity.member_id);
        self.raft
            .write(Proposal(request.command))
            .responder(responder)
            .with_leader(leader)
            .await
            .map_err(stopped)?;
        // Who asked may learn it from the log sooner, and hang up: the answer is waited for all the same.
        let waiting = tokio::spawn(async move {
            match complete.await {
                Ok(Ok(_)) => Fate::Applied,
                Ok(Err(ClientWriteError::LogEntryDiscarded(_))) | Err(_) => Fate::Unknown,
                // All others are decided before anything is appended.
                Ok(Err(_)) => Fate::Refused,
            }
        });
        let fate = waiting.await.unwrap_or(Fate::Unknown);
        Ok(Response::new(ProposeReply { fate: fate.into() }))
    }

    async fn read_index(&self, _request: Request<Nothing>) -> Result<Response<ReadIndexReply>, Status> {
        let read = self.raft.get_read_linearizer(openraft::ReadPolicy::ReadIndex).await;
        let read = read.map_err(|_| Status::from(Error::NotLeader))?;
        Ok(Response::new(ReadIndexReply { index: read.read_log_id().index() }))
    }

    async fn change_members(&self, request: Request<ChangeRequest>) -> Result<Response<ChangeReply>, Status> {
        let change = request.into_inner().change.ok_or_else(|| invalid("no change is asked for"))?;
        Ok(Response::new(self.members.change_here(change).await?))
    }

    async fn farewell(&self, _request: Request<Nothing>) -> Result<Response<Nothing>, Status> {
        self.peers.say_removed();
        Ok(Response::new(Nothing {}))
    }

    async fn keep_alive(
        &self,
        request: Request<pb::LeaseKeepAliveRequest>,
    ) -> Result<Response<pb::LeaseKeepAliveResponse>, Status> {
        let id = request.into_inner().id;
        let ttl = leases::renew_here(&self.raft, &self.shared, id).await?;
        Ok(Response::new(pb::LeaseKeepAliveResponse { header: None, id, ttl }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let (shared, revision) = (self.shared.clone(), request.into_inner().revision);
        let hashed = tokio::task::spawn_blocking(move || corruption::hash(&shared, revision)).await;
        let hashed = hashed.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(hashed?))
    }

    async fn time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        Ok(Response::new(leases::time_to_live_here(&self.raft, &self.shared, &request).await?))
    }
}

impl PeerService {
    /// Writes what comes to a file, and has it installed; returns the vote that holds then.
    async fn receive(
        &self,
        offer: &SnapshotOffer,
        parts: &mut Streaming<SnapshotPart>,
        path: &std::path::Path,
        label: &str,
    ) -> Result<super::Vote, Status> {
        let unwritable = |error: std::io::Error| Status::internal(format!("write the snapshot: {error}"));
        let vote = offer.vote().map_err(invalid)?;
        let applied = offer.applied.clone().unwrap_or_default();
        let last_membership = applied.membership().map_err(invalid)?;
        let mut file = tokio::fs::File::create(path).await.map_err(unwritable)?;
        let mut bytes = 0;
        while let Some(part) = parts.message().await? {
            bytes += part.data.len() as u64;
            metrics::get().peers.received(label, part.data.len());
            self.peers.hear();
            file.write_all(&part.data).await.map_err(unwritable)?;
        }
        if bytes != offer.bytes {
            return Err(invalid(format!("a snapshot of {} bytes ended after {bytes}", offer.bytes)));
        }
        file.sync_all().await.map_err(unwritable)?;
        drop(file);
        let meta = SnapshotMeta { last_log_id: applied.last(), last_membership };
        let snapshot = Snapshot { meta, snapshot: SnapshotFile { path: path.to_owned() } };
        let answer = self.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        metrics::get().peers.snapshot_received(label);
        Ok(answer.vote)
    }
}
