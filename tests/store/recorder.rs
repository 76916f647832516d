//! Sends requests and writes down what was sent and what came back.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use etcd_protocol::etcdserverpb as pb;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::history::{Micros, Operation, Outcome};
use crate::members::Member;
use crate::model::{Answer, Request};

/// Everything that was asked in a run.
pub struct Recorder {
    began: Instant,
    operations: Mutex<Vec<Operation>>,
}

impl Recorder {
    pub fn new() -> Self {
        Self { began: Instant::now(), operations: Mutex::default() }
    }

    pub fn now(&self) -> Micros {
        self.began.elapsed().as_micros() as Micros
    }

    pub fn operations(&self) -> Vec<Operation> {
        self.operations.lock().expect("nobody panics with it").clone()
    }

    /// Sends a request and records it; returns what became of it.
    pub async fn send(&self, connection: &Connection, request: Request) -> Outcome {
        let sent = self.now();
        let result = connection.send(&request).await;
        let at = self.now();
        let outcome = match result {
            Ok((revision, answer)) => Outcome::Answered { at, revision, answer },
            Err(status) if is_refusal(&status) => {
                Outcome::Refused { at, message: status.message().to_owned() }
            }
            Err(_) => Outcome::Unknown,
        };
        let operation = Operation { sent, request, outcome: outcome.clone() };
        self.operations.lock().expect("nobody panics with it").push(operation);
        outcome
    }
}

/// Whether an error says for certain that nothing happened.
fn is_refusal(status: &Status) -> bool {
    let certain = [
        Code::InvalidArgument,
        Code::OutOfRange,
        Code::FailedPrecondition,
        Code::NotFound,
        Code::ResourceExhausted,
    ];
    // Which member was asked says nothing of the store: another one is asked next.
    let elsewhere = status.message() == "etcdserver: rpc not supported for learner";
    certain.contains(&status.code()) && status.message().starts_with("etcdserver: ") && !elsewhere
}

/// Clients of one member on one connection.
#[derive(Clone)]
pub struct Connection {
    channel: Channel,
}

impl Connection {
    pub fn to(member: &Member) -> Result<Self> {
        Ok(Self { channel: member.channel(Duration::from_secs(3))? })
    }

    fn kv(&self) -> pb::kv_client::KvClient<Channel> {
        pb::kv_client::KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    async fn send(&self, request: &Request) -> Result<(i64, Answer), Status> {
        let revision = |header: &Option<pb::ResponseHeader>| header.as_ref().map_or(0, |h| h.revision);
        let mut lease = pb::lease_client::LeaseClient::new(self.channel.clone());
        Ok(match request {
            Request::Range(range) => {
                let answer = self.kv().range(range.clone()).await?.into_inner();
                (revision(&answer.header), Answer::Range(answer))
            }
            Request::Put(put) => {
                let answer = self.kv().put(put.clone()).await?.into_inner();
                (revision(&answer.header), Answer::Put(answer))
            }
            Request::Delete(delete) => {
                let answer = self.kv().delete_range(delete.clone()).await?.into_inner();
                (revision(&answer.header), Answer::Delete(answer))
            }
            Request::Txn(txn) => {
                let answer = self.kv().txn(txn.clone()).await?.into_inner();
                (revision(&answer.header), Answer::Txn(answer))
            }
            Request::Compact(to) => {
                let request = pb::CompactionRequest { revision: *to, physical: false };
                let answer = self.kv().compact(request).await?.into_inner();
                (revision(&answer.header), Answer::Compact)
            }
            Request::Grant { lease: id, ttl } => {
                let request = pb::LeaseGrantRequest { ttl: *ttl, id: *id };
                let answer = lease.lease_grant(request).await?.into_inner();
                (revision(&answer.header), Answer::Grant { ttl: answer.ttl })
            }
            Request::Revoke { lease: id } => {
                let answer = lease.lease_revoke(pb::LeaseRevokeRequest { id: *id }).await?.into_inner();
                (revision(&answer.header), Answer::Revoke)
            }
            Request::KeepAlive { lease: id } => {
                let requests = futures::stream::iter([pb::LeaseKeepAliveRequest { id: *id }]);
                let mut answers = lease.lease_keep_alive(requests).await?.into_inner();
                let answer = answers.message().await?.ok_or_else(|| Status::unavailable("no answer"))?;
                (revision(&answer.header), Answer::KeepAlive { ttl: answer.ttl })
            }
        })
    }
}
