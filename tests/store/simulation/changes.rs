//! Changes of the members at moments that dice rarely meet, each set up on purpose.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etcd_protocol::etcdserverpb as pb;
use kvstore::raft::wire::Change;
use tokio::time::{sleep, timeout};

use super::in_simulation;
use super::member::{Member, Running};
use super::network::Network;
use super::operator;

/// Of the simulated clock.
const PATIENCE: Duration = Duration::from_secs(60);

/// Three members that run, and know each other's names.
async fn three(folder: &Path, network: &Network) -> Result<Vec<Member>> {
    network.heal();
    let ids = [1, 2, 3];
    let mut members: Vec<Member> = ids.iter().map(|id| Member::founding(*id, &ids, folder, *id)).collect();
    for member in &mut members {
        member.start(network).await?;
    }
    let known = async {
        loop {
            let leader = leader(&members).await;
            let list = leader.members.list();
            if list.len() == 3 && list.iter().all(|member| !member.name.is_empty()) {
                return;
            }
            operator::introduce(&list, &leader);
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE, known).await.context("they do not get to know each other")?;
    // Until everyone has been heard of.
    sleep(Duration::from_secs(1)).await;
    Ok(members)
}

async fn leader(members: &[Member]) -> Running {
    loop {
        match operator::leader(members) {
            Some(leader) => return leader,
            None => sleep(Duration::from_millis(20)).await,
        }
    }
}

fn addition(is_learner: bool) -> Change {
    Change::Add(pb::MemberAddRequest { peer_urls: vec!["http://place:2380".to_owned()], is_learner })
}

#[test]
fn a_leader_that_is_removed_makes_no_change_after_it() -> Result<()> {
    in_simulation(1, async |folder| {
        let network = Network::default();
        let mut members = three(&folder, &network).await?;
        let removed = leader(&members).await;
        let id = *removed.raft.node_id();
        // Still at it when the second is asked for, and a leader for another while after that.
        let first = removed.members.clone();
        let first =
            tokio::spawn(
                async move { first.change_here(Change::Remove(pb::MemberRemoveRequest { id })).await },
            );
        sleep(Duration::from_millis(1)).await;
        let second = removed.members.change_here(addition(true)).await;
        first.await?.context("remove the leader")?;
        let refused = second.err().context("it was made by who is no member any more")?;
        ensure!(refused.message() == "etcdserver: not leader", "{refused:?}");
        members[id as usize - 1].retired = true;
        timeout(PATIENCE, leader(&members))
            .await
            .context("nobody leads")?
            .members
            .change_here(addition(true))
            .await
            .context("the successor makes it")?;
        for member in &mut members {
            member.crash(&network, false).await;
        }
        Ok(())
    })
}

#[test]
fn who_leads_anew_gives_the_vote_that_a_member_waits_for() -> Result<()> {
    // By the order in which things are applied and told, which the dice of networks and disks decide.
    for seed in 1..6 {
        in_simulation(seed, async |folder| {
            let network = Network::default();
            let mut members = three(&folder, &network).await?;
            let reply = leader(&members).await.members.change_here(addition(false)).await?;
            let id = reply.member.context("it is told who was added")?.id;
            // Nobody has applied anything when one of them leads again.
            for member in &mut members {
                member.crash(&network, true).await;
            }
            members.push(Member::added(id, &folder, 4));
            for member in &mut members {
                member.start(&network).await?;
            }
            let given = async {
                while !leader(&members).await.raft.voter_ids().any(|voter| voter == id) {
                    sleep(Duration::from_millis(100)).await;
                }
            };
            timeout(PATIENCE, given).await.context("the vote is never given")?;
            for member in &mut members {
                member.crash(&network, false).await;
            }
            Ok(())
        })?;
    }
    Ok(())
}
