//! A member whose keys are not its peers' is found out before it serves anyone, when it is told to look
//! (`--feature-gates=InitialCorruptCheck=true`, as kubeadm does).

#![allow(clippy::unwrap_used, reason = "a test")]

mod member;

use std::path::Path;
use std::process::Command;

use etcd_protocol::etcdserverpb as pb;
use member::cluster::Cluster;
use member::{put, start};

/// A store with one key, saved.
async fn save(folder: &Path, value: &str) -> String {
    let member = start(&folder.join(format!("data-{value}")), &[]);
    member.kv().put(put("k", value)).await.unwrap();
    let mut saved = Vec::new();
    let mut blobs = member.maintenance().snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    while let Some(blob) = blobs.message().await.unwrap() {
        saved.extend_from_slice(&blob.blob);
    }
    let path = folder.join(format!("saved-{value}"));
    std::fs::write(&path, saved).unwrap();
    path.to_str().unwrap().to_owned()
}

fn restore(cluster: &Cluster, name: &str, saved: &str) {
    let data = cluster.data(name);
    if data.exists() {
        std::fs::remove_dir_all(&data).unwrap();
    }
    let members = ["m1", "m2", "m3"].map(|name| format!("{name}={}", cluster.peer_url(name))).join(",");
    let output = Command::new(env!("CARGO_BIN_EXE_kvstore"))
        .args(["snapshot", "restore", saved, "--name", name, "--initial-cluster", &members])
        .args(["--initial-advertise-peer-urls", &cluster.peer_url(name), "--data-dir"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_holds_something_else_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let (same, other) = (save(folder.path(), "same").await, save(folder.path(), "other").await);
    let mut cluster = Cluster::start(3, &["--feature-gates", "InitialCorruptCheck=true"]);
    for name in ["m1", "m2", "m3"] {
        assert!(cluster.stop(name));
        restore(&cluster, name, if name == "m3" { &other } else { &same });
    }
    cluster.start_all(&["m1".to_owned(), "m2".to_owned()]);
    let log = cluster.try_start_one("m3").err().expect("it holds another value");
    assert!(log.contains("found data inconsistency with peers"), "{log}");
    restore(&cluster, "m3", &same);
    cluster.restart("m3");
    let log = cluster.members["m3"].log();
    assert!(log.contains("initial corruption checking passed"), "{log}");
    cluster.await_key("m3", "k").await;
}
