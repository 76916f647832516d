//! A cluster of real processes: what clients see while members come and go.

#![allow(clippy::unwrap_used, reason = "a test")]

mod member;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_protocol::etcdserverpb as pb;
use member::cluster::Cluster;
use member::{get, prefix, put};
use tonic::Code;
use tonic::transport::Endpoint;

fn check(error: &tonic::Status, code: Code, text: &str) {
    assert_eq!((error.code(), error.message()), (code, text));
}

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

/// Puts numbers one after another through whoever takes them, as a client does that retries.
async fn keep_putting(urls: Vec<String>, stop: Arc<AtomicBool>) -> u64 {
    let mut clients: Vec<_> = urls
        .into_iter()
        .map(|url| {
            let endpoint = Endpoint::from_shared(url).unwrap().timeout(Duration::from_secs(10));
            pb::kv_client::KvClient::new(endpoint.connect_lazy())
        })
        .collect();
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut attempts = 0;
        while let Err(status) = clients[0].put(put("counter", (written + 1).to_string())).await {
            attempts += 1;
            assert!(attempts < 60, "put {written} failed {attempts} times: {status}");
            clients.rotate_left(1);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        written += 1;
    }
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn members_restart_one_by_one_under_a_client_that_retries() {
    let mut cluster = Cluster::start(3, &[]);
    let names: Vec<String> = cluster.members.keys().cloned().collect();
    let urls = names.iter().map(|name| cluster.client_url(name)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(keep_putting(urls, stop.clone()));
    for name in &names {
        assert!(cluster.stop(name), "{name} ended with an error");
        cluster.restart(name);
    }
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();
    assert!(written > 3, "{written}");
    for name in &names {
        let found = cluster.members[name].kv().range(get("counter")).await.unwrap().into_inner().kvs;
        assert_eq!(found[0].value, written.to_string(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_hands_the_leadership_over() {
    let mut cluster = Cluster::start(3, &[]);
    let leader = cluster.leader().await;
    let term = cluster.status(&leader).await.raft_term;
    assert!(cluster.stop(&leader));
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    cluster.members[&next].kv().put(put("k", "v")).await.unwrap();
    assert_eq!(cluster.status(&next).await.raft_term, term + 1, "one election, and nobody stood twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leadership_moves_to_whom_it_is_given() {
    let cluster = Cluster::start(3, &[]);
    let leader = cluster.leader().await;
    let follower = cluster.followers().await.pop().unwrap();
    let target = pb::MoveLeaderRequest { target_id: cluster.id(&follower).await };
    let refused = cluster.members[&follower].maintenance().move_leader(target).await.unwrap_err();
    check(&refused, Code::FailedPrecondition, "etcdserver: not leader");
    let nobody = pb::MoveLeaderRequest { target_id: 1 };
    let refused = cluster.members[&leader].maintenance().move_leader(nobody).await.unwrap_err();
    check(&refused, Code::FailedPrecondition, "etcdserver: bad leader transferee");
    cluster.members[&leader].maintenance().move_leader(target).await.unwrap();
    assert_eq!(cluster.leader().await, follower);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_joins_is_promoted_and_is_removed() {
    let mut cluster = Cluster::start(3, &[]);
    for n in 0..20 {
        cluster.members["m1"].kv().put(put(format!("k/{n}"), "v")).await.unwrap();
    }
    let follower = cluster.followers().await.pop().unwrap();
    let name = cluster.name_another();
    let request = pb::MemberAddRequest { peer_urls: vec![cluster.peer_url(&name)], is_learner: true };
    // Through a follower: the leader does it.
    let mut client = cluster.client(&follower);
    let added = client.member_add(request.clone()).await.unwrap().into_inner();
    assert_eq!(added.members.len(), 4);
    let id = added.member.unwrap().id;
    let twice = client.member_add(request).await.unwrap_err();
    check(&twice, Code::FailedPrecondition, "etcdserver: Peer URLs already exists");
    let early = client.member_promote(pb::MemberPromoteRequest { id }).await.unwrap_err();
    let not_ready = "etcdserver: can only promote a learner member which is in sync with leader";
    check(&early, Code::FailedPrecondition, not_ready);

    cluster.restart(&name);
    cluster.await_key(&name, "k/19").await;
    assert!(cluster.status(&name).await.is_learner);
    let refused = cluster.members[&name].kv().range(get("k/1")).await.unwrap_err();
    check(&refused, Code::FailedPrecondition, "etcdserver: rpc not supported for learner");
    let listed = cluster.list(&follower).await.into_iter().find(|member| member.id == id).unwrap();
    assert!(listed.is_learner && listed.name == name);

    let promoted = client.member_promote(pb::MemberPromoteRequest { id }).await.unwrap().into_inner();
    assert!(promoted.members.iter().all(|member| !member.is_learner));
    let again = client.member_promote(pb::MemberPromoteRequest { id }).await.unwrap_err();
    check(&again, Code::FailedPrecondition, "etcdserver: can only promote a learner member");
    cluster.members[&name].kv().put(put("by the new one", "v")).await.unwrap();

    client.member_remove(pb::MemberRemoveRequest { id }).await.unwrap();
    let gone = client.member_remove(pb::MemberRemoveRequest { id }).await.unwrap_err();
    check(&gone, Code::NotFound, "etcdserver: member not found");
    let removed = cluster.members.remove(&name).unwrap();
    assert!(removed.ended_well(), "it ends by itself");
    assert_eq!(cluster.list(&follower).await.len(), 3);
    // It does not come back either.
    assert!(cluster.try_start_one(&name).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_member_grows_into_three() {
    let mut cluster = Cluster::start(1, &[]);
    cluster.members["m1"].kv().put(put("k", "v")).await.unwrap();
    for _ in 0..2 {
        let name = cluster.name_another();
        let request = pb::MemberAddRequest { peer_urls: vec![cluster.peer_url(&name)], is_learner: false };
        let added = cluster.client("m1").member_add(request).await.unwrap().into_inner();
        assert!(!added.member.unwrap().is_learner);
        // Nothing stops while the new one has not started.
        cluster.members["m1"].kv().put(put("while waiting", &name)).await.unwrap();
        cluster.restart(&name);
        // It votes as soon as it has caught up.
        while cluster.status(&name).await.is_learner {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let found = cluster.members[&name].kv().range(get("while waiting")).await.unwrap().into_inner();
        assert_eq!(found.kvs[0].value, name);
    }
    let leader = cluster.leader().await;
    cluster.kill(&leader);
    for name in cluster.members.keys() {
        cluster.members[name].kv().put(put("after", "v")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_replaced() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.members["m1"].kv().put(put("k", "v")).await.unwrap();
    let dead = cluster.followers().await.pop().unwrap();
    let id = cluster.id(&dead).await;
    let leader = cluster.leader().await;
    cluster.kill(&dead);
    // Its data is lost: it may not come back as if nothing had been.
    std::fs::remove_dir_all(cluster.data(&dead)).unwrap();
    let refused = cluster.try_start_one(&dead).err().unwrap();
    assert!(refused.contains("has already been bootstrapped"), "{refused}");

    cluster.client(&leader).member_remove(pb::MemberRemoveRequest { id }).await.unwrap();
    cluster.forget(&dead);
    let name = cluster.name_another();
    let request = pb::MemberAddRequest { peer_urls: vec![cluster.peer_url(&name)], is_learner: false };
    cluster.client(&leader).member_add(request).await.unwrap();
    cluster.restart(&name);
    cluster.await_key(&name, "k").await;
    let members = cluster.list(&leader).await;
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|member| member.id != id && !member.name.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_fell_behind_gets_a_snapshot() {
    let mut cluster = Cluster::start(3, &["--snapshot-count", "100", "--snapshot-catchup-entries", "10"]);
    let behind = cluster.followers().await.pop().unwrap();
    cluster.members["m1"].kv().put(put("first", "v")).await.unwrap();
    cluster.kill(&behind);
    let leader = cluster.leader().await;
    let mut kv = cluster.members[&leader].kv();
    for n in 0..400 {
        kv.put(put(format!("k/{n}"), vec![b'x'; 2000])).await.unwrap();
    }
    kv.compact(pb::CompactionRequest { revision: 200, physical: true }).await.unwrap();
    cluster.restart(&behind);
    let found = cluster.members[&behind].kv().range(prefix("k/")).await.unwrap().into_inner();
    assert_eq!(found.count, 400);
    let log = cluster.members[&behind].log();
    assert!(log.contains("received a snapshot"), "{log}");
    let mut hashes = BTreeSet::new();
    for member in cluster.members.values() {
        let request = pb::HashKvRequest { revision: 300 };
        hashes.insert(member.maintenance().hash_kv(request).await.unwrap().into_inner().hash);
    }
    assert_eq!(hashes.len(), 1);
    // And it starts again from what it was sent.
    cluster.kill(&behind);
    cluster.restart(&behind);
    assert_eq!(cluster.members[&behind].kv().range(prefix("k/")).await.unwrap().into_inner().count, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_followers_see_what_was_acknowledged_before() {
    let cluster = Cluster::start(3, &[]);
    let followers = cluster.followers().await;
    let leader = cluster.leader().await;
    let mut writer = cluster.members[&leader].kv();
    for n in 0..100 {
        writer.put(put("key", n.to_string())).await.unwrap();
        let reader = &cluster.members[&followers[n % 2]];
        let found = reader.kv().range(get("key")).await.unwrap().into_inner().kvs;
        assert_eq!(found[0].value, n.to_string());
    }
}

/// Whoever answers for leases knows of one that any member has just granted.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_known_to_all_once_it_is_granted() {
    let cluster = Cluster::start(3, &[]);
    let names: Vec<String> = cluster.members.keys().cloned().collect();
    for round in 0..60 {
        let (grants, renews) = (&names[round % 3], &names[round / 3 % 3]);
        let request = pb::LeaseGrantRequest { ttl: 60, id: 0 };
        let id = cluster.members[grants].lease().lease_grant(request).await.unwrap().into_inner().id;
        let requests = tokio_stream::iter([pb::LeaseKeepAliveRequest { id }]);
        let mut answers =
            cluster.members[renews].lease().lease_keep_alive(requests).await.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap().ttl, 60, "{grants}, {renews}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_outlive_their_leader_and_end_all_the_same() {
    let mut cluster = Cluster::start(3, &[]);
    let follower = cluster.followers().await.pop().unwrap();
    let mut leases = cluster.members[&follower].lease();
    let id = leases.lease_grant(pb::LeaseGrantRequest { id: 0, ttl: 3 }).await.unwrap().into_inner().id;
    let kept = leases.lease_grant(pb::LeaseGrantRequest { id: 0, ttl: 600 }).await.unwrap().into_inner().id;
    cluster.members[&follower].kv().put(pb::PutRequest { lease: id, ..put("leased", "v") }).await.unwrap();
    let leader = cluster.leader().await;
    cluster.kill(&leader);
    // Kept alive, and asked for, through one that does not lead.
    let follower = cluster.followers().await.pop().unwrap();
    let mut leases = cluster.members[&follower].lease();
    let request = pb::LeaseKeepAliveRequest { id: kept };
    let mut answers = leases.lease_keep_alive(tokio_stream::iter([request])).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().ttl, 600);
    let request = pb::LeaseTimeToLiveRequest { id: kept, keys: false };
    assert!(leases.lease_time_to_live(request).await.unwrap().into_inner().ttl > 500);
    loop {
        let found = cluster.members[&follower].kv().range(get("leased")).await.unwrap().into_inner();
        if found.count == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_only_stale_reads_are_answered() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.members["m1"].kv().put(put("k", "v")).await.unwrap();
    cluster.kill("m2");
    cluster.kill("m3");
    let member = &cluster.members["m1"];
    let stale = pb::RangeRequest { serializable: true, ..get("k") };
    assert_eq!(member.kv().range(stale).await.unwrap().into_inner().count, 1);
    let refused = member.kv().put(put("k", "w")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let refused = member.kv().range(get("k")).await.unwrap_err();
    check(&refused, Code::Unavailable, "etcdserver: request timed out");
    let mut request = tonic::Request::new(get("k"));
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let refused = member.kv().range(request).await.unwrap_err();
    check(&refused, Code::Unavailable, "etcdserver: no leader");
    cluster.start_all(&["m2".to_owned(), "m3".to_owned()]);
    cluster.members["m1"].kv().put(put("k", "w")).await.unwrap();
}

/// Writes an authority's certificate, and one by it with its key, for members on loopback.
fn write_certificates(folder: &std::path::Path, known: &mut String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    known.push_str(&params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let member = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = member.signed_by(&key, &issuer).unwrap();
    // Who was known before stays known: members change over one by one.
    for (name, text) in [("ca", &*known), ("cert", &certificate.pem()), ("key", &key.serialize_pem())] {
        let path = folder.join(format!("{name}.pem"));
        std::fs::write(path.with_extension("new"), text).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_show_certificates_and_take_new_ones_while_they_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut authorities = String::new();
    write_certificates(folder.path(), &mut authorities);
    let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    let flags = [
        "--peer-client-cert-auth",
        "--peer-trusted-ca-file",
        &ca,
        "--peer-cert-file",
        &cert,
        "--peer-key-file",
        &key,
    ];
    let mut cluster = Cluster::start_over("https", 3, &flags);
    cluster.members["m1"].kv().put(put("k", "1")).await.unwrap();

    // Who shows a certificate is told that clients are not served here; without one nobody is heard.
    let stranger = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(tonic::transport::Certificate::from_pem(&authorities))
        .domain_name("127.0.0.1");
    let pem = |path: &str| std::fs::read(path).unwrap();
    let peer = stranger.clone().identity(tonic::transport::Identity::from_pem(pem(&cert), pem(&key)));
    for (tls, heard) in [(peer, true), (stranger, false)] {
        let endpoint = Endpoint::from_shared(cluster.peer_url("m1")).unwrap().tls_config(tls).unwrap();
        let mut client = pb::kv_client::KvClient::new(endpoint.connect_lazy());
        let error = client.range(get("k")).await.unwrap_err();
        assert_eq!(error.code() == Code::Unimplemented, heard, "{error}");
    }

    write_certificates(folder.path(), &mut authorities);
    for member in cluster.members.values() {
        while member.log().matches("Reloaded changed files").count() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let follower = cluster.followers().await.pop().unwrap();
    assert!(cluster.stop(&follower));
    cluster.restart(&follower);
    cluster.members[&follower].kv().put(put("k", "2")).await.unwrap();
}

/// Pre-vote: who was away longer than an election timeout asks first, and is told that there is a leader.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_comes_back_does_not_disturb() {
    let mut cluster = Cluster::start(3, &[]);
    let leader = cluster.leader().await;
    let follower = cluster.followers().await.pop().unwrap();
    let term = cluster.status(&leader).await.raft_term;
    // Stopped, its clock goes on: it wakes up without a leader.
    for signal in ["STOP", "CONT"] {
        cluster.members[&follower].signal(signal);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    cluster.kill(&follower);
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.restart(&follower);
    cluster.members[&follower].kv().put(put("back", "again")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cluster.leader().await, leader);
    for name in cluster.members.keys() {
        assert_eq!(cluster.status(name).await.raft_term, term, "{name}");
    }
}
