//! Leases and the clock: only the leader knows how long a lease has left, so that the others ask it.
//! Before it answers it makes sure that it still leads (a member that was cut off must not keep alive what
//! another leader lets end) and that it has applied what was acknowledged: whoever was granted a lease by
//! another member, or by the leader before, has it.

use std::sync::Arc;
use std::time::Duration;

use etcd_protocol::etcdserverpb as pb;
use openraft::ReadPolicy;
use tonic::{Code, Status};

use super::peers::Lane;
use super::standing::Standing;
use super::{Raft, Shared, runtime};
use crate::error::Error;
use crate::metrics;

/// How long a leader may take to apply what it has committed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes sure that this member leads, that its clocks count, and that it knows every lease that was
/// granted before.
async fn lead(raft: &Raft, shared: &Shared) -> Result<(), Error> {
    // At once while a quorum has been heard within the lease.
    let read = raft.get_read_linearizer(ReadPolicy::LeaseRead).await.map_err(|_| Error::NotLeader)?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let applied = shared.await_applied(read.read_log_id().index(), deadline).await;
    applied.map_err(|_| Error::NotLeader)?;
    // The clocks may still be those of an earlier term.
    let term = raft.as_leader().ok().map(|leader| leader.leader_id().term);
    if term.is_some() && shared.lessor.primary() == term { Ok(()) } else { Err(Error::NotLeader) }
}

/// Gives a lease its whole time anew; returns that, or zero for a lease that has ended.
pub async fn renew_here(raft: &Raft, shared: &Shared, id: i64) -> Result<i64, Error> {
    lead(raft, shared).await?;
    let lessor = &shared.lessor;
    let now = runtime::now();
    let Some(ttl) = shared.machine.lock().leases.ttl(id) else { return Ok(0) };
    if lessor.remaining(id, now).is_some_and(|left| left.is_zero()) {
        // This process may have stood still since it made sure: then the lease is another leader's.
        lead(raft, shared).await?;
        return Ok(0);
    }
    lessor.renew(id, ttl, now);
    metrics::get().leases_renewed.inc();
    Ok(ttl)
}

/// What is known of a lease; the header carries the revision only.
pub async fn time_to_live_here(
    raft: &Raft,
    shared: &Shared,
    request: &pb::LeaseTimeToLiveRequest,
) -> Result<pb::LeaseTimeToLiveResponse, Error> {
    lead(raft, shared).await?;
    let remaining = shared.lessor.remaining(request.id, runtime::now());
    let machine = shared.machine.lock();
    let header = pb::ResponseHeader { revision: machine.keyspace.revision, ..Default::default() };
    let mut answer = pb::LeaseTimeToLiveResponse {
        header: Some(header),
        id: request.id,
        // COMPAT: an unknown lease is no error here.
        ttl: -1,
        ..Default::default()
    };
    if let Some(granted) = machine.leases.ttl(request.id) {
        answer.granted_ttl = granted;
        answer.ttl = remaining.map_or(granted, |left| left.as_secs() as i64);
        if request.keys
            && let Some(keys) = machine.leases.keys(request.id)
        {
            answer.keys = keys.iter().map(|key| bytes::Bytes::copy_from_slice(key)).collect();
        }
    }
    Ok(answer)
}

/// Leases as any member answers for them.
#[derive(Clone)]
pub struct Leases {
    pub standing: Standing,
    pub shared: Arc<Shared>,
    pub timeout: Duration,
}

impl Leases {
    /// As `renew_here`, by the leader.
    pub async fn renew(&self, id: i64) -> Result<i64, Error> {
        self.ask(
            || renew_here(&self.standing.raft, &self.shared, id),
            |mut client| async move {
                let request = pb::LeaseKeepAliveRequest { id };
                client.keep_alive(request).await.map(|answer| answer.into_inner().ttl)
            },
        )
        .await
    }

    /// As `time_to_live_here`, by the leader.
    pub async fn time_to_live(
        &self,
        request: &pb::LeaseTimeToLiveRequest,
    ) -> Result<pb::LeaseTimeToLiveResponse, Error> {
        let request = *request;
        self.ask(
            || time_to_live_here(&self.standing.raft, &self.shared, &request),
            |mut client| async move { client.time_to_live(request).await.map(tonic::Response::into_inner) },
        )
        .await
    }

    /// Neither question changes anything that may not be changed twice: it is asked until answered.
    async fn ask<T, H, R>(
        &self,
        here: impl Fn() -> H,
        there: impl Fn(super::peers::Client) -> R,
    ) -> Result<T, Error>
    where
        H: Future<Output = Result<T, Error>>,
        R: Future<Output = Result<T, Status>>,
    {
        let deadline = tokio::time::Instant::now() + self.timeout;
        loop {
            let seat = self.standing.await_leader(deadline).await?;
            let result = if seat.leader == self.standing.id() {
                here().await
            } else {
                match self.standing.peers.link_to(seat.leader) {
                    None => Err(Error::NotLeader),
                    Some(link) => {
                        let asked = there(link.client(Lane::Urgent));
                        match tokio::time::timeout_at(deadline, asked).await {
                            Ok(answer) => answer.map_err(|status| unavailable(&status)),
                            Err(_) => Err(Error::Timeout),
                        }
                    }
                }
            };
            match result {
                Err(Error::NotLeader) => {
                    if !self.standing.pause(seat, deadline).await {
                        return Err(Error::Timeout);
                    }
                }
                other => return other,
            }
        }
    }
}

/// Whatever kept the leader from answering: another attempt may reach it.
fn unavailable(status: &Status) -> Error {
    match status.code() {
        Code::Internal => Error::Internal(status.message().to_owned()),
        _ => Error::NotLeader,
    }
}
