//! Changes of the members: one is taken out of the cluster, loses its data, and comes back at the same place
//! as another member, with a vote at once or as a learner that is promoted.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::cluster_client::ClusterClient;
use tonic::Status;
use tonic::transport::Channel;

use crate::members::Member;

/// How long each step may be refused: the cluster may have to find a leader first.
const PATIENCE: Duration = Duration::from_secs(40);

/// Replaces the n-th of several members that all run.
pub async fn replace(members: &mut [Member], n: usize, learner: bool) -> Result<()> {
    let mut cluster = client(&members[(n + 1) % members.len()])?;
    let id = id_of(&mut cluster, &members[n].name).await?;
    until_done("member remove", &["member not found"], async || {
        cluster.clone().member_remove(pb::MemberRemoveRequest { id }).await.map(drop)
    })
    .await?;
    let member = &mut members[n];
    member.kill()?;
    member.forget_everything()?;
    let request = pb::MemberAddRequest { peer_urls: vec![member.peer.clone()], is_learner: learner };
    until_done("member add", &["Peer URLs already exists"], async || {
        cluster.clone().member_add(request.clone()).await.map(drop)
    })
    .await?;
    member.start()?;
    if learner {
        let id = by_url(&mut cluster, &member.peer).await?;
        until_done("member promote", &["can only promote a learner member"], async || {
            let promoted = cluster.clone().member_promote(pb::MemberPromoteRequest { id }).await;
            promoted.map(drop).map_err(|status| match status.message() {
                // The same words before: it has not caught up. After: it was promoted already.
                text if text.ends_with("which is in sync with leader") => Status::unavailable(text),
                _ => status,
            })
        })
        .await?;
    }
    member.ready().await
}

fn client(member: &Member) -> Result<ClusterClient<Channel>> {
    Ok(ClusterClient::new(member.channel(Duration::from_secs(5))?))
}

async fn list(cluster: &mut ClusterClient<Channel>) -> Result<Vec<pb::Member>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match cluster.member_list(pb::MemberListRequest { linearizable: true }).await {
            Ok(answer) => return Ok(answer.into_inner().members),
            Err(error) if Instant::now() > deadline => return Err(error).context("member list"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn id_of(cluster: &mut ClusterClient<Channel>, name: &str) -> Result<u64> {
    let members = list(cluster).await?;
    let found = members.iter().find(|member| member.name == name);
    Ok(found.with_context(|| format!("{name} is no member: {members:?}"))?.id)
}

async fn by_url(cluster: &mut ClusterClient<Channel>, url: &str) -> Result<u64> {
    let members = list(cluster).await?;
    let found = members.iter().find(|member| member.peer_urls.iter().any(|known| known == url));
    Ok(found.with_context(|| format!("{url} is no member: {members:?}"))?.id)
}

/// Asks until it is answered; `done` are the refusals that say that it had been done before.
async fn until_done(
    step: &str,
    done: &[&str],
    mut ask: impl AsyncFnMut() -> Result<(), Status>,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(()) => return Ok(()),
            Err(status) if done.iter().any(|text| status.message().contains(text)) => {
                if status.code() != tonic::Code::Unavailable {
                    return Ok(());
                }
            }
            Err(status) if Instant::now() > deadline => bail!("{step}: {status}"),
            Err(_) => {}
        }
        if Instant::now() > deadline {
            bail!("{step} is not done in time");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
