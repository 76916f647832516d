//! Elections: who stands first in a line leads.

use std::pin::Pin;

use bytes::Bytes;
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::request_op::Request as Op;
use etcd_protocol::mvccpb::event::EventType;
use etcd_protocol::v3electionpb::election_server::{Election, ElectionServer};
use etcd_protocol::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Context;
use super::line::{Line, created, op};

pub struct Elections(Context);

pub fn server(context: Context) -> ElectionServer<Elections> {
    ElectionServer::new(Elections(context))
}

/// COMPAT: in the words of etcd's client library, without a code of their own.
fn not_leader() -> Status {
    Status::unknown("election: not leader")
}

fn no_leader() -> Status {
    Status::unknown("election: no leader")
}

#[tonic::async_trait]
impl Election for Elections {
    type ObserveStream = Pin<Box<dyn Stream<Item = Result<LeaderResponse, Status>> + Send>>;

    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let line = Line::of(&self.0, &request, &request.get_ref().name);
        let CampaignRequest { name, lease, value } = request.into_inner();
        let place = line.join(lease, value.clone()).await?;
        let leader = LeaderKey { name, key: place.key.clone(), rev: place.created, lease: place.lease };
        let mut header = place.header;
        if place.before.as_ref().is_some_and(|before| before.value != value) {
            header = proclaim(&line, &leader, value).await?;
        }
        line.wait(&place).await?;
        Ok(Response::new(CampaignResponse { header, leader: Some(leader) }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let line = Line::of(&self.0, &request, b"");
        let ProclaimRequest { leader, value } = request.into_inner();
        let leader = leader.ok_or_else(no_key)?;
        let header = proclaim(&line, &leader, value).await?;
        Ok(Response::new(ProclaimResponse { header }))
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        let line = Line::of(&self.0, &request, &request.get_ref().name);
        let found = line.range(line.first()).await?;
        let kv = found.kvs.into_iter().next().ok_or_else(no_leader)?;
        Ok(Response::new(LeaderResponse { header: found.header, kv: Some(kv) }))
    }

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let line = Line::of(&self.0, &request, &request.get_ref().name);
        let (leaders, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::select! {
                Err(status) = observe(&line, &leaders) => {
                    // Gone when nobody listens any more.
                    leaders.send(Err(status)).await.ok();
                }
                () = leaders.closed() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        let line = Line::of(&self.0, &request, b"");
        let leader = request.into_inner().leader.ok_or_else(no_key)?;
        let delete = pb::DeleteRangeRequest { key: leader.key.clone(), ..Default::default() };
        let answer = line
            .txn(pb::TxnRequest {
                compare: vec![created(&leader.key, leader.rev)],
                success: vec![op(Op::RequestDeleteRange(delete))],
                failure: Vec::new(),
            })
            .await?;
        // COMPAT: whoever does not lead any more is told nothing.
        Ok(Response::new(ResignResponse { header: answer.header }))
    }
}

/// COMPAT: of a request that names no leader.
fn no_key() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

/// Another value for who leads.
async fn proclaim(
    line: &Line,
    leader: &LeaderKey,
    value: Bytes,
) -> Result<Option<pb::ResponseHeader>, Status> {
    let put = pb::PutRequest { key: leader.key.clone(), value, lease: leader.lease, ..Default::default() };
    let answer = line
        .txn(pb::TxnRequest {
            compare: vec![created(&leader.key, leader.rev)],
            success: vec![op(Op::RequestPut(put))],
            failure: Vec::new(),
        })
        .await?;
    if answer.succeeded { Ok(answer.header) } else { Err(not_leader()) }
}

/// Tells of every leader and of every value that it proclaims. Never ends well.
async fn observe(
    line: &Line,
    leaders: &mpsc::Sender<Result<LeaderResponse, Status>>,
) -> Result<std::convert::Infallible, Status> {
    let ended = || Status::cancelled("the client is gone");
    loop {
        let found = line.range(line.first()).await?;
        let revision = found.header.as_ref().map_or(0, |header| header.revision);
        let (header, leader) = match found.kvs.into_iter().next() {
            Some(kv) => (found.header, kv),
            None => {
                let mut changes = line.changes(None, revision)?;
                loop {
                    let (header, events) = changes.next().await?;
                    let put = events.into_iter().find(|event| event.r#type() == EventType::Put);
                    if let Some(kv) = put.and_then(|event| event.kv) {
                        // There may be more in the same answer: the header is of this one.
                        break (
                            header.map(|header| pb::ResponseHeader { revision: kv.mod_revision, ..header }),
                            kv,
                        );
                    }
                }
            }
        };
        let revision = header.as_ref().map_or(0, |header| header.revision);
        let key = leader.key.clone();
        leaders.send(Ok(LeaderResponse { header, kv: Some(leader) })).await.map_err(|_| ended())?;
        let mut changes = line.changes(Some(&key), revision + 1)?;
        'leads: loop {
            let (header, events) = changes.next().await?;
            for event in events {
                if event.r#type() == EventType::Delete {
                    break 'leads;
                }
                let answer = LeaderResponse { header, kv: event.kv };
                leaders.send(Ok(answer)).await.map_err(|_| ended())?;
            }
        }
    }
}
