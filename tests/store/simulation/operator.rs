//! Changes of the members while everything else goes on: kvstore's own rules and steps
//! (`kvstore::raft::members`), asked of whoever leads. Members are added with a vote or to learn, promoted,
//! removed, whether they run or not; who was removed may go on without knowing.
//!
//! An id runs in one process for ever: it is never started again on an empty disk.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etcd_protocol::etcdserverpb as pb;
use fastrand::Rng;
use kvstore::raft::command::{Kind, Proposal};
use kvstore::raft::wire::{Change, ChangeReply};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use super::member::{Member, Running};
use super::network::Network;
use super::world::World;

/// At most so many members at a time.
const MOST: usize = 6;
/// After this, another change is tried beside one that has not ended.
const PATIENCE: Duration = Duration::from_secs(3);

struct Attempt {
    began: Instant,
    removes: Option<u64>,
    result: JoinHandle<Result<ChangeReply, Status>>,
}

/// Who changes the members.
#[derive(Default)]
pub struct Operator {
    attempts: Vec<Attempt>,
    /// Peer URLs given away so far.
    places: u64,
    /// Changes that were confirmed.
    pub made: usize,
}

/// Someone who believes to lead.
pub fn leader(members: &[Member]) -> Option<Running> {
    let running =
        members.iter().filter(|member| !member.retired).filter_map(|member| member.running.as_ref());
    let mut alive = running.filter(|running| running.life.goes_on());
    alive.find(|running| running.raft.is_leader()).cloned()
}

impl Operator {
    /// Looks after what was begun, and perhaps begins something.
    pub async fn turn(
        &mut self,
        rng: &mut Rng,
        world: &World,
        network: &Network,
        members: &mut Vec<Member>,
        folder: &Path,
    ) -> Result<()> {
        self.look_after(rng, world, network, members).await?;
        let Some(leader) = leader(members) else { return Ok(()) };
        let list = leader.members.list();
        follow(&list, rng, world, network, members, folder).await?;
        introduce(&list, &leader);
        let waits = self.attempts.iter().any(|attempt| attempt.began.elapsed() < PATIENCE);
        if waits || world.stopped() || rng.u8(..) > 150 {
            return Ok(());
        }
        let Some(change) = self.choose(rng, &list) else { return Ok(()) };
        if crate::simulation::alone() {
            eprintln!("{:?}: {change:?}", Instant::now());
        }
        let removes = match &change {
            Change::Remove(request) => Some(request.id),
            _ => None,
        };
        let asked = leader.members.clone();
        let result = tokio::spawn(async move { asked.change_here(change).await });
        self.attempts.push(Attempt { began: Instant::now(), removes, result });
        Ok(())
    }

    fn choose(&mut self, rng: &mut Rng, list: &[pb::Member]) -> Option<Change> {
        let room = list.len() < MOST;
        match rng.u32(..100) {
            0..50 if room => {
                self.places += 1;
                let peer_urls = vec![format!("http://place{}:2380", self.places)];
                Some(Change::Add(pb::MemberAddRequest { peer_urls, is_learner: rng.bool() }))
            }
            0..70 => {
                let learner = list.iter().find(|member| member.is_learner)?;
                Some(Change::Promote(pb::MemberPromoteRequest { id: learner.id }))
            }
            _ => rng.choice(list).map(|member| Change::Remove(pb::MemberRemoveRequest { id: member.id })),
        }
    }

    /// Takes note of changes that have come to an end.
    async fn look_after(
        &mut self,
        rng: &mut Rng,
        world: &World,
        network: &Network,
        members: &mut [Member],
    ) -> Result<()> {
        let (ended, going): (Vec<_>, Vec<_>) =
            self.attempts.drain(..).partition(|attempt| attempt.result.is_finished());
        self.attempts = going;
        for attempt in ended {
            let result = attempt.result.await?;
            if crate::simulation::alone() {
                eprintln!("{:?}: change: {:?}", Instant::now(), result.as_ref().map(|reply| &reply.members));
            }
            if result.is_err() {
                continue;
            }
            self.made += 1;
            let gone = attempt.removes.and_then(|id| members.iter().position(|member| member.id == id));
            if let Some(n) = gone {
                members[n].retired = true;
                if rng.bool() {
                    world.set(n, None);
                    members[n].crash(network, false).await;
                }
            }
        }
        Ok(())
    }

    /// In peace, everything that was begun ends, and nobody waits for a vote. Returns who the members are;
    /// the processes of others are ended.
    pub async fn settle(
        &mut self,
        rng: &mut Rng,
        world: &World,
        network: &Network,
        members: &mut Vec<Member>,
        folder: &Path,
    ) -> Result<Vec<pb::Member>> {
        let ends = async {
            loop {
                self.turn(rng, world, network, members, folder).await?;
                if self.attempts.is_empty()
                    && let Some(leader) = leader(members)
                {
                    let list = leader.members.list();
                    let to_vote = list.iter().filter(|member| !member.is_learner).map(|member| member.id);
                    if leader.raft.voter_ids().eq(to_vote) && list.iter().all(|m| !m.name.is_empty()) {
                        return anyhow::Ok(list);
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = timeout(Duration::from_secs(60), ends).await;
        let list = ended.context("changes of the members do not come to their end")??;
        for (n, member) in members.iter_mut().enumerate() {
            if list.iter().all(|listed| listed.id != member.id) {
                world.set(n, None);
                member.crash(network, false).await;
                member.retired = true;
            }
        }
        ensure!(!list.is_empty(), "nobody is a member any more");
        Ok(list)
    }
}

/// Starts a process for whoever is a member and never had one.
async fn follow(
    list: &[pb::Member],
    rng: &mut Rng,
    world: &World,
    network: &Network,
    members: &mut Vec<Member>,
    folder: &Path,
) -> Result<()> {
    for listed in list {
        if members.iter().any(|member| member.id == listed.id) {
            continue;
        }
        // Sometimes it takes its time.
        if !world.stopped() && rng.u8(..) < 80 {
            continue;
        }
        let mut member = Member::added(listed.id, folder, rng.u64(..));
        member.start(network).await?;
        world.enter(member.running.clone());
        members.push(member);
    }
    Ok(())
}

/// Tells the cluster the names of those that have started, as each does for itself.
pub fn introduce(list: &[pb::Member], leader: &Running) {
    for listed in list.iter().filter(|listed| listed.name.is_empty()) {
        let told = pb::Member {
            name: format!("m{:x}", listed.id),
            client_urls: vec!["http://client:2379".to_owned()],
            ..listed.clone()
        };
        let raft = leader.raft.clone();
        // Tried again in the next turn.
        tokio::spawn(
            async move { raft.client_write(Proposal::new(&Kind::Publish(told), None, 0)).await.ok() },
        );
    }
}
