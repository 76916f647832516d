//! Locks and elections that the server waits for: what clients without etcd's library use. The same calls
//! are made to a real etcd where one is installed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod etcd;
mod member;

use std::time::Duration;

use bytes::Bytes;
use etcd::Etcd;
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::kv_client::KvClient;
use etcd_protocol::etcdserverpb::lease_client::LeaseClient;
use etcd_protocol::v3electionpb::election_client::ElectionClient;
use etcd_protocol::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ResignRequest,
};
use etcd_protocol::v3lockpb::lock_client::LockClient;
use etcd_protocol::v3lockpb::{LockRequest, LockResponse, UnlockRequest};
use member::{prefix, start};
use tonic::transport::Channel;
use tonic::{Code, Status};

async fn lock(channel: Channel, name: &'static str, lease: i64) -> Result<LockResponse, Status> {
    let request = LockRequest { name: name.into(), lease };
    LockClient::new(channel).lock(request).await.map(tonic::Response::into_inner)
}

/// Waits until so many keys are below a name.
async fn until_in_line(channel: &Channel, name: &str, count: i64) {
    let mut kv = KvClient::new(channel.clone());
    while kv.range(prefix(name)).await.unwrap().into_inner().count != count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn grant(channel: &Channel) -> i64 {
    let request = pb::LeaseGrantRequest { ttl: 60, id: 0 };
    LeaseClient::new(channel.clone()).lease_grant(request).await.unwrap().into_inner().id
}

async fn locks(channel: Channel) {
    let lease = grant(&channel).await;
    let held = lock(channel.clone(), "l", lease).await.unwrap();
    assert_eq!(held.key, format!("l/{lease:x}"));
    assert!(held.header.unwrap().revision > 1);
    // Who has it, has it again.
    assert_eq!(lock(channel.clone(), "l", lease).await.unwrap().key, held.key);

    let second = tokio::spawn(lock(channel.clone(), "l", 0));
    until_in_line(&channel, "l/", 2).await;
    let third = tokio::spawn(lock(channel.clone(), "l", 0));
    until_in_line(&channel, "l/", 3).await;
    // Who goes leaves the line.
    third.abort();
    until_in_line(&channel, "l/", 2).await;
    assert!(!second.is_finished());
    let mut client = LockClient::new(channel.clone());
    client.unlock(UnlockRequest { key: held.key.clone() }).await.unwrap();
    let second = second.await.unwrap().unwrap();
    assert_ne!(second.key, held.key);
    // Unlocking what is not locked is no error; a lease that ends lets go.
    client.unlock(UnlockRequest { key: held.key }).await.unwrap();
    let third = tokio::spawn(lock(channel.clone(), "l", lease));
    until_in_line(&channel, "l/", 2).await;
    let (_, id) = std::str::from_utf8(&second.key).unwrap().rsplit_once('/').unwrap();
    let revoke = pb::LeaseRevokeRequest { id: i64::from_str_radix(id, 16).unwrap() };
    LeaseClient::new(channel.clone()).lease_revoke(revoke).await.unwrap();
    third.await.unwrap().unwrap();
}

async fn elections(channel: Channel) {
    let campaign = |lease: i64, value: &'static str| {
        let mut client = ElectionClient::new(channel.clone());
        async move {
            let request = CampaignRequest { name: "e".into(), lease, value: value.into() };
            client.campaign(request).await.unwrap().into_inner().leader.unwrap()
        }
    };
    let mut client = ElectionClient::new(channel.clone());
    let leader_of = |name: &'static str| LeaderRequest { name: name.into() };
    let nobody = client.leader(leader_of("e")).await.unwrap_err();
    assert_eq!((nobody.code(), nobody.message()), (Code::Unknown, "election: no leader"));
    // Who listens before there is a leader hears of the first. (etcd's answer begins with it.)
    let early = {
        let mut client = client.clone();
        tokio::spawn(async move {
            let mut seen = client.observe(leader_of("e")).await.unwrap().into_inner();
            seen.message().await.unwrap().unwrap()
        })
    };

    let (one, two) = (grant(&channel).await, grant(&channel).await);
    let leader = campaign(one, "one").await;
    let expected =
        LeaderKey { name: "e".into(), key: format!("e/{one:x}").into(), rev: leader.rev, lease: one };
    assert_eq!(leader, expected);
    let value = |answer: LeaderResponse| {
        assert!(answer.header.unwrap().revision > 0);
        answer.kv.unwrap().value
    };
    assert_eq!(value(early.await.unwrap()), "one");
    assert_eq!(value(client.leader(leader_of("e")).await.unwrap().into_inner()), "one");
    let next = tokio::spawn(campaign(two, "two"));
    until_in_line(&channel, "e/", 2).await;
    let mut seen = client.observe(leader_of("e")).await.unwrap().into_inner();
    assert_eq!(value(seen.message().await.unwrap().unwrap()), "one");

    let proclaim = |leader: &LeaderKey, value: &'static str| ProclaimRequest {
        leader: Some(leader.clone()),
        value: Bytes::from_static(value.as_bytes()),
    };
    client.proclaim(proclaim(&leader, "uno")).await.unwrap();
    assert_eq!(value(seen.message().await.unwrap().unwrap()), "uno");
    // Campaigning again under the same lease proclaims.
    assert_eq!(campaign(one, "eins").await.rev, leader.rev);
    assert_eq!(value(seen.message().await.unwrap().unwrap()), "eins");
    assert!(!next.is_finished());

    let resign = |leader: &LeaderKey| ResignRequest { leader: Some(leader.clone()) };
    assert!(client.resign(resign(&leader)).await.unwrap().into_inner().header.is_some());
    assert_eq!(next.await.unwrap().lease, two);
    assert_eq!(value(seen.message().await.unwrap().unwrap()), "two");
    let refused = client.proclaim(proclaim(&leader, "again")).await.unwrap_err();
    assert_eq!(refused.message(), "election: not leader");
    client.resign(resign(&leader)).await.unwrap();
    assert_eq!(value(client.leader(leader_of("e")).await.unwrap().into_inner()), "two");
    let refused = client.resign(ResignRequest::default()).await.unwrap_err();
    assert_eq!(refused.message(), "\"leader\" field must be provided");
}

#[tokio::test(flavor = "multi_thread")]
async fn kvstore_locks_and_elects() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &[]);
    locks(member.endless_channel()).await;
    // etcd 3.4 leaves this one without an answer.
    let refused = lock(member.channel(), "other", 12345).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: requested lease not found");
    elections(member.endless_channel()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_locks_and_elects_the_same_way() {
    let folder = tempfile::tempdir().unwrap();
    let Some(etcd) = Etcd::start(folder.path(), &[]) else { return };
    locks(etcd.channel()).await;
    elections(etcd.channel()).await;
}
