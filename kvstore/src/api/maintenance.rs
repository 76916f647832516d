//! What an operator asks of this member: status, alarms, hashes, a snapshot.

use std::io::Read;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::downgrade_request::DowngradeAction;
use futures::Stream;
use openraft::RaftMetrics;
use openraft::metrics::WaitError;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Context, SERVER_VERSION, STORAGE_VERSION, unexpected};
use crate::corruption;
use crate::error::Error;
use crate::raft::TypeConfig;
use crate::raft::command::{Answer, Kind};
use crate::raft::leadership;
use crate::state::schema;

pub struct Maintenance(pub Context);

/// Bytes of a snapshot sent at a time.
const BLOB: usize = 64 << 10;
/// After which a snapshot is asked for again.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(10);

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Maintenance {
    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        let caller = self.0.caller(&request).await?;
        match self.0.proposer.propose_by(Kind::Alarm(request.into_inner()), caller).await? {
            Answer::Alarm(mut answer) => {
                answer.header = self.0.completed(answer.header);
                Ok(Response::new(answer))
            }
            other => Err(unexpected(&other).into()),
        }
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.0.admin(&request).await?;
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
            is_learner: self.0.proposer.standing().is_learner(),
            storage_version: format!("{STORAGE_VERSION}.0"),
            db_size_quota: self.0.quota.unwrap_or(0) as i64,
            downgrade_info: Some(pb::DowngradeInfo::default()),
        }))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.0.admin(&request).await?;
        let before = self.0.shared.reader.state().size();
        self.give_back().await?;
        tracing::info!(before, after = self.0.shared.reader.state().size(), "gave space back on request");
        Ok(Response::new(pb::DefragmentResponse::default()))
    }

    async fn hash(&self, request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        self.0.admin(&request).await?;
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
        self.0.admin(&request).await?;
        let wanted = request.into_inner().revision;
        let shared = self.0.shared.clone();
        let mut hashed = blocking(move || corruption::hash(&shared, wanted)).await?;
        // COMPAT: etcd's way to say that nothing was compacted yet.
        if hashed.compact_revision == 0 {
            hashed.compact_revision = -1;
        }
        Ok(Response::new(pb::HashKvResponse { header: self.0.header_now(), ..hashed }))
    }

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.0.admin(&request).await?;
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
        self.0.admin(&request).await?;
        leadership::transfer(self.0.proposer.standing(), request.into_inner().target_id).await?;
        // COMPAT: no header.
        Ok(Response::new(pb::MoveLeaderResponse::default()))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.0.admin(&request).await?;
        let request = request.into_inner();
        // COMPAT: there is never anything to cancel, and that is no error.
        if request.action() != DowngradeAction::Cancel {
            parse_version(&request.version)?;
            // There is no older version of this store whose data could be written.
            return Err(Error::InvalidDowngradeTarget.into());
        }
        Ok(Response::new(pb::DowngradeResponse {
            header: self.0.header_now(),
            version: STORAGE_VERSION.to_owned(),
        }))
    }
}

impl Maintenance {
    /// What defragmenting is here: the sweep of a compaction is waited for, and a snapshot lets go of the
    /// log before it. The state itself gives space back while it is used.
    async fn give_back(&self) -> Result<(), Error> {
        let shared = &self.0.shared;
        let compacted = shared.reader.view().compacted;
        let mut swept = shared.swept.subscribe();
        swept.wait_for(|done| *done >= compacted).await.map_err(|_| Error::Stopped)?;
        let applied = shared.applied_index();
        let raft = self.0.proposer.raft();
        let reached =
            |metrics: &RaftMetrics<TypeConfig>| metrics.snapshot.is_some_and(|id| id.index >= applied);
        loop {
            raft.trigger().snapshot().await.map_err(|_| Error::Stopped)?;
            match raft.wait(Some(SNAPSHOT_PATIENCE)).metrics(reached, "snapshot").await {
                Ok(_) => return Ok(()),
                // Another one was being written, which ended before this point of the log.
                Err(WaitError::Timeout(..)) => {}
                Err(_) => return Err(Error::Stopped),
            }
        }
    }
}

/// COMPAT: a version is two or three numbers.
fn parse_version(text: &str) -> Result<(u64, u64), Error> {
    let numbers: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some([major, minor] | [major, minor, _]) => Ok((*major, *minor)),
        _ => Err(Error::WrongDowngradeVersion),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(error.to_string()))?
}

/// Writes the state beside the running store as a database of etcd, sends it with its checksum, and
/// removes it.
fn send_snapshot(
    context: &Context,
    blobs: &mpsc::Sender<Result<pb::SnapshotResponse, Status>>,
) -> Result<(), Error> {
    let internal = |error: &dyn std::fmt::Display| Error::Internal(error.to_string());
    let path = context.shared.snapshots.temporary();
    let written = context.shared.export(&path);
    let opened = std::fs::File::open(&path);
    // The open file outlives its name: nothing is left behind, whatever happens.
    std::fs::remove_file(&path).ok();
    let total = written.map_err(|error| internal(&error))? as usize;
    let mut file = opened.map_err(|error| internal(&error))?;
    let mut hash = Sha256::new();
    let mut sent = 0;
    while sent < total {
        let mut blob = vec![0; BLOB.min(total - sent)];
        file.read_exact(&mut blob).map_err(|error| internal(&error))?;
        hash.update(&blob);
        sent += blob.len();
        if !send_blob(context, blobs, blob.into(), total - sent) {
            return Ok(());
        }
    }
    // COMPAT: the checksum comes last and is part of the file; by its length (whole sectors and 32 bytes)
    // etcd's tools know that it is there.
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
        version: format!("{STORAGE_VERSION}.0"),
    };
    blobs.blocking_send(Ok(answer)).is_ok()
}
