//! What an operator asks of this member: status, alarms, hashes, a snapshot.

use std::io::Read;
use std::ops::ControlFlow;
use std::pin::Pin;

use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use futures::Stream;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Context, SERVER_VERSION, STORAGE_VERSION, unexpected};
use crate::error::Error;
use crate::mvcc;
use crate::raft::command::{Answer, Kind};
use crate::state::schema;

pub struct Maintenance(pub Context);

/// Bytes of a snapshot sent at a time.
const BLOB: usize = 64 << 10;
/// COMPAT: etcdctl takes a file for complete when it is whole sectors and a SHA-256.
const SECTOR: usize = 512;

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Maintenance {
    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        match self.0.proposer.propose(Kind::Alarm(request.into_inner())).await? {
            Answer::Alarm(mut answer) => {
                answer.header = self.0.completed(answer.header);
                Ok(Response::new(answer))
            }
            other => Err(unexpected(&other).into()),
        }
    }

    async fn status(
        &self,
        _request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let shared = &self.0.shared;
        let (leader, index) = self.0.proposer.leader_and_last_index();
        let mut errors = Vec::new();
        if leader.is_none() {
            errors.push(Error::NoLeader.to_string());
        }
        for alarm in shared.machine.lock().alarms.values() {
            errors.push(format!("memberID:{} alarm:{} ", alarm.member_id, alarm.alarm().as_str_name()));
        }
        Ok(Response::new(pb::StatusResponse {
            header: self.0.header_now(),
            version: SERVER_VERSION.to_owned(),
            db_size: shared.reader.state().size() as i64,
            leader: leader.unwrap_or(0),
            raft_index: index,
            raft_term: shared.term(),
            raft_applied_index: shared.applied_index(),
            errors,
            db_size_in_use: shared.live_bytes() as i64,
            is_learner: false,
            storage_version: format!("{STORAGE_VERSION}.0"),
            db_size_quota: self.0.quota.unwrap_or(0) as i64,
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    async fn defragment(
        &self,
        _request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        Err(Error::Unsupported("defragment: compaction gives space back for reuse by itself").into())
    }

    async fn hash(&self, _request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        let shared = self.0.shared.clone();
        let hash = blocking(move || {
            let mut hasher = crc32fast::Hasher::new();
            shared.reader.state().scan(schema::ALL.0, schema::ALL.1, &mut |key, value| {
                hasher.update(key);
                hasher.update(&value);
                ControlFlow::Continue(())
            })?;
            Ok(hasher.finalize())
        })
        .await?;
        Ok(Response::new(pb::HashResponse { header: self.0.header_now(), hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let wanted = request.into_inner().revision;
        let shared = self.0.shared.clone();
        let view = shared.reader.view();
        let revision = if wanted > 0 { wanted } else { view.revision };
        if revision > view.revision {
            return Err(Error::FutureRevision.into());
        }
        if revision < view.compacted {
            return Err(Error::Compacted.into());
        }
        let compacted = view.compacted;
        let hash = blocking(move || mvcc::hash(&view, revision, &shared.reader)).await?;
        Ok(Response::new(pb::HashKvResponse {
            header: self.0.header_now(),
            hash,
            compact_revision: compacted,
            hash_revision: revision,
        }))
    }

    async fn snapshot(
        &self,
        _request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let (blobs, receiver) = mpsc::channel(4);
        let context = self.0.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = send_snapshot(&context, &blobs) {
                // Whoever asked may be gone.
                blobs.blocking_send(Err(error.into())).ok();
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        if !self.0.proposer.is_leader() {
            return Err(Error::NotLeader.into());
        }
        if request.into_inner().target_id != self.0.member_id {
            return Err(Error::BadLeaderTransferee.into());
        }
        Ok(Response::new(pb::MoveLeaderResponse { header: self.0.header_now() }))
    }

    async fn downgrade(
        &self,
        _request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(Error::Unsupported("downgrade").into())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(error.to_string()))?
}

/// Writes a snapshot beside the running store, sends it with padding and checksum, and removes it.
fn send_snapshot(
    context: &Context,
    blobs: &mpsc::Sender<Result<pb::SnapshotResponse, Status>>,
) -> Result<(), Error> {
    let internal = |error: &dyn std::fmt::Display| Error::Internal(error.to_string());
    let path = context.shared.snapshots.temporary();
    let written = context.shared.write_snapshot(&path).and_then(|_| {
        std::fs::File::open(&path).map_err(|source| {
            crate::snapshot::SnapshotError::Io { step: "open", path: path.clone(), source }.into()
        })
    });
    // The open file outlives its name: nothing is left behind, whatever happens.
    std::fs::remove_file(&path).ok();
    let mut file = written.map_err(|error| internal(&error))?;
    let length = file.metadata().map_err(|error| internal(&error))?.len() as usize;
    let total = length.next_multiple_of(SECTOR);
    let mut hash = Sha256::new();
    let mut sent = 0;
    while sent < total {
        let mut blob = vec![0; BLOB.min(total - sent)];
        let within = blob.len().min(length.saturating_sub(sent));
        file.read_exact(&mut blob[..within]).map_err(|error| internal(&error))?;
        hash.update(&blob);
        sent += blob.len();
        if !send_blob(context, blobs, blob.into(), total - sent) {
            return Ok(());
        }
    }
    send_blob(context, blobs, Bytes::copy_from_slice(&hash.finalize()), 0);
    Ok(())
}

/// False: the client is gone.
fn send_blob(
    context: &Context,
    blobs: &mpsc::Sender<Result<pb::SnapshotResponse, Status>>,
    blob: Bytes,
    remaining: usize,
) -> bool {
    let answer = pb::SnapshotResponse {
        header: context.header_now(),
        remaining_bytes: remaining as u64,
        blob,
        version: STORAGE_VERSION.to_owned(),
    };
    blobs.blocking_send(Ok(answer)).is_ok()
}
