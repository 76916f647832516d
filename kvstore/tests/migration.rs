//! Data goes over from etcd to kvstore and back with all its revisions, by etcd's own tools where they
//! exist. Without etcd and etcdctl there is nothing to run.

#![allow(clippy::unwrap_used, reason = "a test")]

mod etcd;
mod member;

use std::path::Path;
use std::process::Command;

use etcd::Etcd;
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::mvccpb::Event;
use member::{get, prefix, put};
use tonic::transport::Channel;

fn kvstore(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kvstore")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Everything that a client can read of a store: keys at each revision that is left, events, leases,
/// users and roles.
#[derive(Debug, PartialEq)]
struct Contents {
    revision: i64,
    at: Vec<Option<Vec<etcd_protocol::mvccpb::KeyValue>>>,
    events: Vec<Event>,
    leases: Vec<(i64, i64, Vec<bytes::Bytes>)>,
    users: Vec<(String, Vec<String>)>,
    roles: Vec<(String, Vec<etcd_protocol::authpb::Permission>)>,
}

async fn contents(channel: &Channel) -> Contents {
    let mut kv = pb::kv_client::KvClient::new(channel.clone());
    let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    let revision = kv.range(all.clone()).await.unwrap().into_inner().header.unwrap().revision;
    let mut at = Vec::new();
    let mut first = None;
    for revision in 1..=revision {
        let read = kv.range(pb::RangeRequest { revision, ..all.clone() }).await.ok();
        at.push(read.map(|read| read.into_inner().kvs));
        first = first.or(at.last().unwrap().is_some().then_some(revision));
    }
    let mut lease = pb::lease_client::LeaseClient::new(channel.clone());
    let mut leases = Vec::new();
    for id in lease.lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner().leases {
        let request = pb::LeaseTimeToLiveRequest { id: id.id, keys: true };
        let mut told = lease.lease_time_to_live(request).await.unwrap().into_inner();
        told.keys.sort();
        leases.push((told.id, told.granted_ttl, told.keys));
    }
    leases.sort();
    let mut auth = pb::auth_client::AuthClient::new(channel.clone());
    let (mut users, mut roles) = (Vec::new(), Vec::new());
    for name in auth.user_list(pb::AuthUserListRequest {}).await.unwrap().into_inner().users {
        let request = pb::AuthUserGetRequest { name: name.clone() };
        users.push((name, auth.user_get(request).await.unwrap().into_inner().roles));
    }
    for role in auth.role_list(pb::AuthRoleListRequest {}).await.unwrap().into_inner().roles {
        if role != "root" {
            let request = pb::AuthRoleGetRequest { role: role.clone() };
            roles.push((role, auth.role_get(request).await.unwrap().into_inner().perm));
        }
    }
    let events = events(channel, first.unwrap(), revision).await;
    Contents { revision, at, events, leases, users, roles }
}

async fn events(channel: &Channel, from: i64, to: i64) -> Vec<Event> {
    let create = pb::WatchCreateRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        start_revision: from,
        prev_kv: true,
        ..Default::default()
    };
    let request =
        pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let requests = tokio_stream::StreamExt::chain(tokio_stream::iter([request]), tokio_stream::pending());
    let mut watch = pb::watch_client::WatchClient::new(channel.clone());
    let mut answers = watch.watch(requests).await.unwrap().into_inner();
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.kv.as_ref().unwrap().mod_revision < to) {
        events.extend(answers.message().await.unwrap().unwrap().events);
    }
    events
}

/// Puts something of everything into a store.
async fn fill(channel: &Channel) {
    let mut kv = pb::kv_client::KvClient::new(channel.clone());
    let mut lease = pb::lease_client::LeaseClient::new(channel.clone());
    for (id, ttl) in [(7, 600), (8, 700), (9, 800)] {
        lease.lease_grant(pb::LeaseGrantRequest { id, ttl }).await.unwrap();
    }
    for n in 0..300 {
        kv.put(put(format!("key/{:03}", n % 100), format!("value {n}"))).await.unwrap();
    }
    kv.put(pb::PutRequest { lease: 7, ..put("leased/a", "1") }).await.unwrap();
    kv.put(pb::PutRequest { lease: 7, ..put("leased/b", "1") }).await.unwrap();
    kv.put(put("leased/b", "no more")).await.unwrap();
    kv.put(put("large", vec![7; 100_000])).await.unwrap();
    for key in ["key/005", "key/006", "key/007"] {
        kv.delete_range(pb::DeleteRangeRequest { key: key.into(), ..Default::default() }).await.unwrap();
    }
    kv.put(put("key/006", "again")).await.unwrap();
    kv.compact(pb::CompactionRequest { revision: 250, physical: true }).await.unwrap();
    let ops = ["t1", "t2", "t3"].map(|key| pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(put(key, "of one revision"))),
    });
    kv.txn(pb::TxnRequest { success: ops.to_vec(), ..Default::default() }).await.unwrap();
    lease.lease_revoke(pb::LeaseRevokeRequest { id: 8 }).await.unwrap();
    let delete = pb::DeleteRangeRequest { key: "t1".into(), range_end: "t3".into(), ..Default::default() };
    kv.delete_range(delete).await.unwrap();

    let mut auth = pb::auth_client::AuthClient::new(channel.clone());
    for (name, password) in [("root", "rootpw"), ("alice", "alicepw")] {
        let (name, password) = (name.to_owned(), password.to_owned());
        auth.user_add(pb::AuthUserAddRequest { name, password, ..Default::default() }).await.unwrap();
    }
    for role in ["root", "dev"] {
        auth.role_add(pb::AuthRoleAddRequest { name: role.to_owned() }).await.unwrap();
    }
    let perm = etcd_protocol::authpb::Permission {
        key: "key/".into(),
        range_end: "key0".into(),
        ..Default::default()
    };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "dev".to_owned(), perm: Some(perm) };
    auth.role_grant_permission(grant).await.unwrap();
    for (user, role) in [("root", "root"), ("alice", "dev")] {
        let (user, role) = (user.to_owned(), role.to_owned());
        auth.user_grant_role(pb::AuthUserGrantRoleRequest { user, role }).await.unwrap();
    }
}

/// With authentication on, alice reads her keys and no others.
async fn alice_reads_her_keys(channel: &Channel) {
    let mut auth = pb::auth_client::AuthClient::new(channel.clone());
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    let request = pb::AuthenticateRequest { name: "alice".to_owned(), password: "alicepw".to_owned() };
    let token = auth.authenticate(request).await.unwrap().into_inner().token;
    let mut kv = pb::kv_client::KvClient::new(channel.clone());
    let mut read = async |key: &str| {
        let mut request = tonic::Request::new(get(key));
        request.metadata_mut().insert("token", token.parse().unwrap());
        kv.range(request).await.map(|answer| answer.into_inner().count)
    };
    assert_eq!(read("key/001").await.unwrap(), 1);
    assert_eq!(read("large").await.unwrap_err().message(), "etcdserver: permission denied");
}

fn etcdctl(endpoint: &str, folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoint])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test]
async fn a_running_etcd_is_taken_over_with_its_history() {
    let folder = tempfile::tempdir().unwrap();
    let Some(theirs) = Etcd::start(&folder.path().join("etcd"), &[]) else { return };
    fill(&theirs.channel()).await;
    let expected = contents(&theirs.channel()).await;
    let data = folder.path().join("kvstore");
    let (ok, text) = kvstore(&["migrate", "--from", &theirs.endpoint, "--data-dir", data.to_str().unwrap()]);
    assert!(ok && text.contains(&format!("up to revision {}", expected.revision)), "{text}");
    assert!(!folder.path().join("kvstore.import").exists());
    drop(theirs);

    let ours = member::start(&data, &[]);
    assert_eq!(contents(&ours.channel()).await, expected);
    // And it goes on from there.
    let next = ours.kv().put(put("next", "1")).await.unwrap().into_inner().header.unwrap().revision;
    assert_eq!(next, expected.revision + 1);
    alice_reads_her_keys(&ours.channel()).await;

    let (ok, text) = kvstore(&["migrate", "--from", "127.0.0.1:1", "--data-dir", data.to_str().unwrap()]);
    assert!(!ok && text.contains("exists"), "{text}");
}

#[tokio::test]
async fn etcds_tools_restore_what_kvstore_saves() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    if !Etcd::installed() {
        return;
    }
    let ours = member::start(&folder.path().join("kvstore"), &[]);
    fill(&ours.channel()).await;
    let expected = contents(&ours.channel()).await;
    etcdctl(&ours.address, folder.path(), &["snapshot", "save", "saved"]);
    drop(ours);
    let status = etcdctl("", folder.path(), &["snapshot", "status", "saved"]);
    let told: Vec<_> = status.trim().split(", ").collect();
    assert_eq!(told[1].parse::<i64>().unwrap(), expected.revision, "{status}");
    let (ok, text) = kvstore(&["snapshot", "status", &path("saved")]);
    assert!(ok && text.split(", ").nth(1) == Some(told[1]), "{text}");

    let theirs = Etcd::restore(&folder.path().join("saved"), &folder.path().join("etcd"));
    assert_eq!(contents(&theirs.channel()).await, expected);
    alice_reads_her_keys(&theirs.channel()).await;
    drop(theirs);

    let (ok, text) = kvstore(&["snapshot", "restore", &path("saved"), "--data-dir", &path("again")]);
    assert!(ok, "{text}");
    let again = member::start(&folder.path().join("again"), &[]);
    assert_eq!(contents(&again.channel()).await, expected);
}

#[tokio::test]
async fn a_restored_cluster_moves_its_revision_on_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let ours = member::start(&folder.path().join("kvstore"), &[]);
    for n in 0..10 {
        ours.kv().put(put(format!("k{n}"), "v")).await.unwrap();
    }
    let mut saved = Vec::new();
    let mut blobs = ours.maintenance().snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    while let Some(answer) = blobs.message().await.unwrap() {
        saved.extend_from_slice(&answer.blob);
    }
    drop(ours);
    std::fs::write(path("saved"), &saved).unwrap();
    let restore = |more: &[&str]| {
        let file = path("saved");
        let directory = path("restored");
        let words = [&["snapshot", "restore", &file, "--data-dir", &directory], more].concat();
        kvstore(&words)
    };
    assert!(
        restore(&["--bump-revision", "5"]).1.contains("--mark-compacted required if --bump-revision > 0")
    );
    assert!(
        restore(&["--mark-compacted"]).1.contains("--mark-compacted disallowed if --bump-revision not used")
    );
    let (ok, text) = restore(&["--bump-revision", "1000", "--mark-compacted"]);
    assert!(ok, "{text}");
    let restored = member::start(&folder.path().join("restored"), &[]);
    let mut kv = restored.kv();
    let all = kv.range(prefix("k")).await.unwrap().into_inner();
    assert_eq!((all.count, all.header.unwrap().revision), (10, 1011));
    let error = kv.range(pb::RangeRequest { revision: 1010, ..get("k1") }).await.unwrap_err();
    assert_eq!(error.message(), "etcdserver: mvcc: required revision has been compacted");
    assert_eq!(kv.put(put("k", "v")).await.unwrap().into_inner().header.unwrap().revision, 1012);

    // A file that is not what was saved is not restored from.
    saved[20_000] ^= 1;
    std::fs::write(path("saved"), &saved).unwrap();
    let (ok, text) = kvstore(&["snapshot", "restore", &path("saved"), "--data-dir", &path("other")]);
    assert!(!ok && text.contains("expected sha256"), "{text}");
    std::fs::write(path("saved"), &saved[..saved.len() - 32]).unwrap();
    let (ok, text) = kvstore(&["snapshot", "restore", &path("saved"), "--data-dir", &path("other")]);
    assert!(!ok && text.contains("snapshot missing hash but --skip-hash-check=false"), "{text}");
}
