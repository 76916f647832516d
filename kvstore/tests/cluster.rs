//! A cluster of real processes: what clients see while members come and go.

#![allow(clippy::unwrap_used)] // helpers of tests

mod member;

use std::collections::BTreeSet;

use etcd_protocol::etcdserverpb as pb;
use member::cluster::Cluster;
use member::{get, prefix, put};

#[tokio::test(flavor = "multi_thread")]
async fn three_members_are_one_store() {
    let cluster = Cluster::start(3, &[]);
    let mut revisions = BTreeSet::new();
    for name in cluster.members.keys() {
        let answer = cluster.members[name].kv().put(put(format!("k/{name}"), name)).await.unwrap();
        revisions.insert(answer.into_inner().header.unwrap().revision);
    }
    assert_eq!(revisions, BTreeSet::from([2, 3, 4]));
    // Every member reads what any has acknowledged, at once.
    for name in cluster.members.keys() {
        let found = cluster.members[name].kv().range(prefix("k/")).await.unwrap().into_inner();
        assert_eq!((found.count, found.header.unwrap().revision), (3, 4), "{name}");
    }
    let lists: BTreeSet<String> = {
        let mut lists = BTreeSet::new();
        for name in cluster.members.keys() {
            lists.insert(format!("{:?}", cluster.list(name).await));
        }
        lists
    };
    assert_eq!(lists.len(), 1, "{lists:?}");
    let members = cluster.list("m1").await;
    assert_eq!(members.len(), 3);
    for member in members {
        assert_eq!(member.peer_urls, [cluster.peer_url(&member.name)]);
        assert_eq!(member.client_urls, [cluster.client_url(&member.name)]);
        assert_eq!(member.id, cluster.id(&member.name).await);
        assert!(!member.is_learner);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_asked_reads_its_own_writes() {
    let cluster = Cluster::start(3, &[]);
    let follower = cluster.followers().await.pop().unwrap();
    let mut kv = cluster.members[&follower].kv();
    for n in 0..50 {
        kv.put(put("key", n.to_string())).await.unwrap();
        let read = pb::RangeRequest { serializable: true, ..get("key") };
        let found = kv.range(read).await.unwrap().into_inner().kvs;
        assert_eq!(found[0].value, n.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_go_on_when_the_leader_dies() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.members["m1"].kv().put(put("before", "1")).await.unwrap();
    let leader = cluster.leader().await;
    cluster.kill(&leader);
    for name in cluster.members.keys() {
        // Waits for the election.
        cluster.members[name].kv().put(put(format!("after/{name}"), "1")).await.unwrap();
        assert_eq!(cluster.members[name].kv().range(get("before")).await.unwrap().into_inner().count, 1);
    }
    cluster.restart(&leader);
    let found = cluster.members[&leader].kv().range(prefix("after/")).await.unwrap().into_inner();
    assert_eq!(found.count, 2);
}
