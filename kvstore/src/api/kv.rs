//! Keys: range, put, delete, transactions, compaction.

use etcd_protocol::etcdserverpb as pb;
use prost::Message;
use tonic::{Request, Response, Status};

use super::{Context, unexpected};
use crate::auth::{AuthTable, Caller, check};
use crate::error::Error;
use crate::metrics;
use crate::mvcc::{self, KeyRange, Keyspace, Leases, Txn, View};
use crate::raft::command::{Answer, Kind};

pub struct Kv(pub Context);

/// Times that a read of the latest revision is repeated when compaction overtakes it.
const RETRIES: usize = 10;

#[tonic::async_trait]
impl pb::kv_server::Kv for Kv {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        metrics::get().ranges.inc();
        mvcc::check_range(request.get_ref())?;
        if !request.get_ref().serializable {
            if self.0.proposer.standing().is_learner() {
                return Err(Error::NotSupportedForLearner.into());
            }
            self.0.proposer.read_barrier().await?;
        }
        let caller = self.0.caller(&request).await?;
        let request = request.into_inner();
        let keys = KeyRange::new(&request.key, &request.range_end);
        self.permit(&caller, |table, caller| table.read(caller, keys))?;
        let reader = &self.0.shared.reader;
        let read =
            || self.read(|view| mvcc::range(&view.index, view.revision, view.compacted, reader, &request));
        // Many records take a while: the other tasks of this thread go elsewhere.
        let many = !request.range_end.is_empty() && request.limit != 1;
        let (mut answer, view) = if many { tokio::task::block_in_place(read) } else { read() }?;
        self.unchanged(&caller)?;
        answer.header = self.0.header(view.revision);
        Ok(Response::new(answer))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        metrics::get().puts.inc();
        let caller = self.0.caller(&request).await?;
        let request = request.into_inner();
        mvcc::check_put(&request)?;
        let bytes = request.key.len() + request.value.len();
        match self.0.propose_growth(Kind::Put(request), bytes, caller).await? {
            Answer::Put(mut answer) => {
                answer.header = self.0.completed(answer.header);
                Ok(Response::new(answer))
            }
            other => Err(unexpected(&other).into()),
        }
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        metrics::get().deletes.inc();
        let caller = self.0.caller(&request).await?;
        let request = request.into_inner();
        if request.key.is_empty() {
            return Err(Error::EmptyKey.into());
        }
        match self.0.proposer.propose_by(Kind::DeleteRange(request), caller).await? {
            Answer::DeleteRange(mut answer) => {
                answer.header = self.0.completed(answer.header);
                Ok(Response::new(answer))
            }
            other => Err(unexpected(&other).into()),
        }
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        metrics::get().txns.inc();
        mvcc::check_txn(request.get_ref(), self.0.max_txn_ops)?;
        let read_only = mvcc::is_read_only(request.get_ref());
        if read_only && !mvcc::is_serializable(request.get_ref()) {
            self.0.proposer.read_barrier().await?;
        }
        let caller = self.0.caller(&request).await?;
        let request = request.into_inner();
        if read_only {
            self.permit(&caller, |table, caller| check::txn(table, caller, &request))?;
            let (mut answer, _) = self.read(|view| self.read_txn(view, &request))?;
            self.unchanged(&caller)?;
            answer.header = self.0.completed(answer.header);
            return Ok(Response::new(answer));
        }
        let kind = Kind::Txn(request);
        let proposed = if crate::raft::state_machine::grows(&kind) {
            let bytes = match &kind {
                Kind::Txn(txn) => txn.encoded_len(),
                _ => 0,
            };
            self.0.propose_growth(kind, bytes, caller).await?
        } else {
            self.0.proposer.propose_by(kind, caller).await?
        };
        match proposed {
            Answer::Txn(mut answer) => {
                answer.header = self.0.completed(answer.header);
                Ok(Response::new(answer))
            }
            other => Err(unexpected(&other).into()),
        }
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let caller = self.0.caller(&request).await?;
        let request = request.into_inner();
        let mut swept = self.0.shared.swept.subscribe();
        match self.0.proposer.propose_by(Kind::Compact(request), caller).await? {
            Answer::Revision(revision) => {
                if request.physical && swept.wait_for(|done| *done >= request.revision).await.is_err() {
                    return Err(Error::Stopped.into());
                }
                Ok(Response::new(pb::CompactionResponse { header: self.0.header(revision) }))
            }
            other => Err(unexpected(&other).into()),
        }
    }
}

impl Kv {
    fn permit(
        &self,
        caller: &Option<Caller>,
        check: impl Fn(&AuthTable, &Caller) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let table = self.0.shared.auth.load();
        if !table.enabled() {
            return Ok(());
        }
        check(&table, caller.as_ref().unwrap_or(&Caller::default()))
    }

    /// Whether the rights that a read was permitted by are still those that are in force after it.
    fn unchanged(&self, caller: &Option<Caller>) -> Result<(), Error> {
        match caller {
            Some(caller) if caller.revision != self.0.shared.auth.load().revision() => {
                Err(Error::AuthOldRevision)
            }
            _ => Ok(()),
        }
    }

    /// Reads from the latest view. A read of the latest revision (which is never compacted) can only
    /// find a record missing because its view has become old: it is repeated with the next one.
    fn read<T>(&self, read: impl Fn(&View) -> Result<T, Error>) -> Result<(T, std::sync::Arc<View>), Error> {
        let reader = &self.0.shared.reader;
        let mut view = reader.view();
        for _ in 0..RETRIES {
            let result = read(&view);
            let now = reader.view();
            match result {
                Err(Error::Compacted) if now.compacted != view.compacted => view = now,
                other => return other.map(|answer| (answer, view)),
            }
        }
        Err(Error::Compacted)
    }

    /// A transaction without writes, on a copy of the index that nobody else sees.
    fn read_txn(&self, view: &View, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Error> {
        let mut keyspace = Keyspace {
            index: view.index.clone(),
            revision: view.revision,
            compacted: view.compacted,
            live_bytes: 0,
        };
        Txn::new(&mut keyspace, &self.0.shared.reader, &mut NoLeases).txn(request)
    }
}

/// For transactions that attach nothing.
struct NoLeases;

impl Leases for NoLeases {
    fn exists(&self, _lease: i64) -> bool {
        false
    }

    fn attach(&mut self, _lease: i64, _key: &[u8]) {}

    fn detach(&mut self, _lease: i64, _key: &[u8]) {}
}
