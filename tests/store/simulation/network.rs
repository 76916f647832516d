//! The network between simulated members: everything takes a while, some of it is lost, and some members
//! do not hear each other. What is lost on the way back has been done all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvstore::raft::{Raft, Snapshot, TypeConfig, Vote};
use kvstore::snapshot::{SnapshotFile, SnapshotFolder};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use super::member::Life;

/// A member as its peers reach it.
#[derive(Clone)]
pub struct Reachable {
    pub raft: Raft,
    pub life: Arc<Life>,
    pub snapshots: SnapshotFolder,
}

#[derive(Default)]
struct State {
    members: BTreeMap<u64, Reachable>,
    /// Pairs that do not hear each other, the smaller first.
    cut: BTreeSet<(u64, u64)>,
    /// Messages lost, of 256.
    loss: u8,
    slowest: u64,
}

#[derive(Clone, Default)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

impl Network {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().expect("nobody panics with it"))
    }

    pub fn join(&self, id: u64, member: Reachable) {
        self.with(|state| drop(state.members.insert(id, member)));
    }

    pub fn leave(&self, id: u64) {
        self.with(|state| drop(state.members.remove(&id)));
    }

    /// Members of one side do not hear those of the other.
    pub fn part(&self, side: &BTreeSet<u64>, others: &BTreeSet<u64>) {
        let pairs = side.iter().flat_map(|a| others.iter().map(move |b| (*a.min(b), *a.max(b))));
        self.with(|state| state.cut.extend(pairs));
    }

    pub fn disturb(&self, loss: u8, slowest: u64) {
        self.with(|state| (state.loss, state.slowest) = (loss, slowest));
    }

    pub fn heal(&self) {
        self.with(|state| {
            state.cut.clear();
            (state.loss, state.slowest) = (0, 3);
        });
    }

    /// One message on its way.
    async fn pass(&self, from: u64, to: u64) -> Result<Reachable, Unreachable<TypeConfig>> {
        let slowest = self.with(|state| state.slowest).max(1);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=slowest))).await;
        let arrived = self.with(|state| {
            let lost = fastrand::u8(..) < state.loss || state.cut.contains(&(from.min(to), from.max(to)));
            state.members.get(&to).filter(|_| !lost).cloned()
        });
        arrived
            .filter(|member| member.life.goes_on())
            .ok_or_else(|| Unreachable::new(&io::Error::other("nobody answers")))
    }

    /// A message there, what it is answered, and the answer's way back.
    async fn exchange<T, F: Future<Output = Option<T>>>(
        &self,
        from: u64,
        to: u64,
        call: impl FnOnce(Reachable) -> F,
    ) -> Result<T, Unreachable<TypeConfig>> {
        let member = self.pass(from, to).await?;
        let life = member.life.clone();
        let answer = call(member).await;
        self.pass(to, from).await?;
        answer
            .filter(|_| life.goes_on())
            .ok_or_else(|| Unreachable::new(&io::Error::other("it ended while it was asked")))
    }
}

/// One member's way to the others.
#[derive(Clone)]
pub struct Port {
    pub network: Network,
    pub from: u64,
}

pub struct Line {
    port: Port,
    to: u64,
}

impl RaftNetworkFactory<TypeConfig> for Port {
    type Network = Line;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Line {
        Line { port: self.clone(), to: target }
    }
}

type Failed = RPCError<TypeConfig>;

impl RaftNetworkV2<TypeConfig> for Line {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Failed> {
        let Port { network, from } = &self.port;
        let call = |member: Reachable| async move { member.raft.append_entries(request).await.ok() };
        Ok(network.exchange(*from, self.to, call).await?)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        let Port { network, from } = &self.port;
        let call = |member: Reachable| async move { member.raft.vote(request).await.ok() };
        Ok(network.exchange(*from, self.to, call).await?)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failed> {
        let Port { network, from } = &self.port;
        let call = |member: Reachable| async move { member.raft.pre_vote(request).await.ok() };
        Ok(network.exchange(*from, self.to, call).await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let Port { network, from } = &self.port;
        let call = |member: Reachable| async move {
            let path = member.snapshots.temporary();
            // The sender may have written a later one and removed this.
            std::fs::copy(&snapshot.snapshot.path, &path).ok()?;
            let copy = Snapshot { meta: snapshot.meta, snapshot: SnapshotFile { path } };
            member.raft.install_full_snapshot(vote, copy).await.ok()
        };
        Ok(network.exchange(*from, self.to, call).await?)
    }
}
