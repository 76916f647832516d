//! Leases. Granting and revoking go through the log; keeping alive moves a deadline of the leader's.

use std::pin::Pin;
use std::time::Instant;

use etcd_protocol::etcdserverpb as pb;
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Context, gate, unexpected};
use crate::error::Error;
use crate::lease::MAX_TTL;
use crate::metrics;
use crate::mvcc::KeyRange;
use crate::raft::command::{Answer, Kind};

pub struct Lease(pub Context);

#[tonic::async_trait]
impl pb::lease_server::Lease for Lease {
    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let caller = self.0.caller(&request).await?;
        let mut request = request.into_inner();
        if request.ttl > MAX_TTL {
            return Err(Error::LeaseTtlTooLarge.into());
        }
        request.ttl = request.ttl.max(self.0.min_lease_ttl);
        while request.id == 0 {
            let id = fastrand::i64(1..i64::MAX);
            if self.0.shared.machine.lock().leases.ttl(id).is_none() {
                request.id = id;
            }
        }
        match self.0.propose_growth(Kind::LeaseGrant(request), 0, caller).await? {
            Answer::LeaseGrant(mut answer) => {
                metrics::get().leases_granted.inc();
                answer.header = self.0.completed(answer.header);
                Ok(Response::new(answer))
            }
            other => Err(unexpected(&other).into()),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let caller = self.0.caller(&request).await?;
        match self.0.proposer.propose_by(Kind::LeaseRevoke(request.into_inner()), caller).await? {
            Answer::Revision(revision) => {
                metrics::get().leases_revoked.inc();
                Ok(Response::new(pb::LeaseRevokeResponse { header: self.0.header(revision) }))
            }
            other => Err(unexpected(&other).into()),
        }
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let require_leader = gate::requires_leader(request.metadata().as_ref());
        let mut requests = request.into_inner();
        let context = self.0.clone();
        let (answers, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            let shutdown = context.shutdown.clone();
            let mut leaderless = std::pin::pin!(gate::leaderless(&context, require_leader));
            loop {
                let request = tokio::select! {
                    request = requests.message() => request,
                    () = &mut leaderless => {
                        // Gone, if it cannot be told.
                        answers.send(Err(Error::NoLeader.into())).await.ok();
                        return;
                    }
                    () = answers.closed() => return,
                    () = shutdown.wait() => return,
                };
                let Ok(Some(request)) = request else { return };
                let answer = keep_alive(&context, request.id).await;
                if answers.send(answer).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let caller = self.0.caller(&request).await?.unwrap_or_default();
        let request = request.into_inner();
        {
            let machine = self.0.shared.machine.lock();
            if request.keys && machine.auth.enabled() && caller.name.is_empty() {
                return Err(Error::UserEmpty.into());
            }
        }
        let mut answer = self.0.proposer.leases().time_to_live(&request).await?;
        let auth = self.0.shared.auth.load();
        for key in &answer.keys {
            auth.read(&caller, KeyRange::new(key, b""))?;
        }
        answer.header = self.0.completed(answer.header);
        Ok(Response::new(answer))
    }

    async fn lease_leases(
        &self,
        _request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.0.proposer.read_barrier().await?;
        let machine = self.0.shared.machine.lock();
        // COMPAT: the one that ends next comes first.
        let now = Instant::now();
        let mut leases: Vec<_> = machine.leases.ids().map(|id| pb::LeaseStatus { id }).collect();
        leases.sort_by_cached_key(|lease| self.0.shared.lessor.remaining(lease.id, now));
        let header = self.0.header(machine.keyspace.revision);
        Ok(Response::new(pb::LeaseLeasesResponse { header, leases }))
    }
}

/// COMPAT: a lease that is gone is answered with a time of zero, not with an error.
async fn keep_alive(context: &Context, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
    let ttl = context.proposer.leases().renew(id).await?;
    Ok(pb::LeaseKeepAliveResponse { header: context.header_now(), id, ttl })
}
