//! What was acknowledged stays, whatever happens to the process; what is damaged is noticed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod member;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use etcd_protocol::etcdserverpb as pb;
use member::{get, prefix, put, segments, start, try_start};

const WRITERS: usize = 16;

/// Writes keys of its own until told to stop; returns what was acknowledged: key to revision.
async fn write(
    mut kv: pb::kv_client::KvClient<tonic::transport::Channel>,
    writer: usize,
    mut next: usize,
    stop: Arc<AtomicBool>,
) -> BTreeMap<String, i64> {
    let mut acknowledged = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let key = format!("w/{writer:02}/{next:08}");
        next += 1;
        match kv.put(put(&key, key.repeat(1 + next % 50))).await {
            Ok(answer) => {
                let revision = answer.into_inner().header.unwrap().revision;
                acknowledged.insert(key, revision);
            }
            Err(_) => break,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<String, i64> = BTreeMap::new();
    let start_time = Instant::now();
    let mut rounds = 0;
    while start_time.elapsed() < Duration::from_secs(18) {
        // Small snapshots and often, so that kills meet them as well.
        let member = start(folder.path(), &["--snapshot-count", "500"]);
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write(member.kv(), writer, rounds * 1_000_000, stop.clone())))
            .collect();
        tokio::time::sleep(Duration::from_millis(300 + 171 * (rounds as u64 % 7))).await;
        member.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            acknowledged.extend(writer.await.unwrap());
        }
        rounds += 1;

        let member = start(folder.path(), &[]);
        let found = member.kv().range(prefix("w/")).await.unwrap().into_inner().kvs;
        let found: BTreeMap<_, _> = found
            .into_iter()
            .map(|kv| (String::from_utf8(kv.key.to_vec()).unwrap(), (kv.mod_revision, kv.value)))
            .collect();
        for (key, revision) in &acknowledged {
            let (stored, value) = found.get(key).unwrap_or_else(|| panic!("round {rounds}: lost {key}"));
            assert_eq!(stored, revision, "{key}");
            assert!(value.starts_with(key.as_bytes()));
        }
        if rounds % 2 == 0 { member.kill() } else { assert!(member.stop()) }
    }
    assert!(rounds > 2 && acknowledged.len() > 500, "{rounds} rounds, {} writes", acknowledged.len());
}

/// A stopped store with a few hundred keys, and the newest segment of its log.
async fn prepared(folder: &std::path::Path, clean: bool) -> std::path::PathBuf {
    let member = start(folder, &[]);
    for n in 0..300 {
        member.kv().put(put(format!("k{n:03}"), vec![b'v'; 100])).await.unwrap();
    }
    if clean {
        assert!(member.stop())
    } else {
        member.kill()
    }
    segments(folder).pop().unwrap()
}

async fn keys(folder: &std::path::Path) -> (i64, String) {
    let member = start(folder, &[]);
    let request = pb::RangeRequest { count_only: true, ..prefix("k") };
    let count = member.kv().range(request).await.unwrap().into_inner().count;
    (count, member.log())
}

/// Where the last record of a segment starts: at the last magic number.
fn last_record(segment: &std::path::Path) -> u64 {
    let bytes = std::fs::read(segment).unwrap();
    let magic = 0x5245_434f_u32.to_le_bytes();
    bytes.chunks(8).rposition(|chunk| chunk.starts_with(&magic)).unwrap() as u64 * 8
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let segment = prepared(folder.path(), false).await;
    // A write that was under way: a header that promises more than the sectors that were written.
    let bytes = std::fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let end = end.next_multiple_of(8);
    let mut torn = [0x5245_434f_u32.to_le_bytes(), 5000_u32.to_le_bytes()].concat();
    torn.resize((end + 520).next_multiple_of(512) - end, 7);
    let end = end as u64;
    let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&torn, end).unwrap();
    let (count, log) = keys(folder.path()).await;
    assert_eq!(count, 300);
    assert!(log.contains("cut a torn write off the end of the log"), "{log}");
    let (count, log) = keys(folder.path()).await;
    assert_eq!(count, 300);
    assert!(!log.contains("torn"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_before_the_tail_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let segment = prepared(folder.path(), false).await;
    let middle = last_record(&segment) / 2;
    let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&[0xff; 3], middle).unwrap();
    let log = try_start(folder.path(), &[]).err().expect("it must not start");
    assert!(log.contains("is damaged at byte") && log.contains("Restore this member"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_too_early_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let segment = prepared(folder.path(), true).await;
    let at = last_record(&segment);
    std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(at).unwrap();
    let log = try_start(folder.path(), &[]).err().expect("it must not start");
    assert!(log.contains("ends before what has been applied"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_is_rebuilt_from_snapshot_and_log() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &["--snapshot-count", "100"]);
    for n in 0..1000 {
        member.kv().put(put(format!("k{n:03}"), vec![b'v'; 1000])).await.unwrap();
    }
    let lease = member.lease().lease_grant(pb::LeaseGrantRequest { ttl: 1000, id: 77 }).await.unwrap();
    let leased = pb::PutRequest { lease: lease.into_inner().id, ..put("leased", "x") };
    member.kv().put(leased).await.unwrap();
    let compaction = pb::CompactionRequest { revision: 500, physical: true };
    member.kv().compact(compaction).await.unwrap();
    let hash =
        member.maintenance().hash_kv(pb::HashKvRequest { revision: 0 }).await.unwrap().into_inner().hash;
    member.kill();
    let snapshots = std::fs::read_dir(folder.path().join("member/snap")).unwrap().count();
    assert_eq!(snapshots, 1);

    // As after a crash of the machine.
    std::fs::write(folder.path().join("member/state-mark"), "another boot").unwrap();
    let member = start(folder.path(), &[]);
    assert!(member.log().contains("rebuilding the state"), "{}", member.log());
    let again = member.maintenance().hash_kv(pb::HashKvRequest { revision: 0 }).await.unwrap().into_inner();
    assert_eq!((again.hash, again.compact_revision), (hash, 500));
    let error = member.kv().range(pb::RangeRequest { revision: 499, ..get("k000") }).await.unwrap_err();
    assert_eq!(error.message(), "etcdserver: mvcc: required revision has been compacted");
    let request = pb::LeaseTimeToLiveRequest { id: 77, keys: true };
    let lease = member.lease().lease_time_to_live(request).await.unwrap().into_inner();
    assert_eq!((lease.granted_ttl, lease.keys), (1000, vec!["leased".into()]));
    member.lease().lease_revoke(pb::LeaseRevokeRequest { id: 77 }).await.unwrap();
    assert!(member.kv().range(get("leased")).await.unwrap().into_inner().kvs.is_empty());
}

fn kvstore(arguments: &[&str]) -> (bool, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kvstore")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_snapshot_makes_a_new_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let member = start(&folder.path().join("old"), &["--name", "old"]);
    for n in 0..200 {
        member.kv().put(put(format!("k{:02}", n % 50), n.to_string())).await.unwrap();
    }
    member.kv().compact(pb::CompactionRequest { revision: 100, physical: true }).await.unwrap();
    member.lease().lease_grant(pb::LeaseGrantRequest { ttl: 500, id: 5 }).await.unwrap();
    let request = pb::HashKvRequest { revision: 0 };
    let hash = member.maintenance().hash_kv(request).await.unwrap().into_inner();

    let mut saved = Vec::new();
    let mut blobs = member.maintenance().snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    while let Some(blob) = blobs.message().await.unwrap() {
        saved.extend_from_slice(&blob.blob);
    }
    // What etcdctl looks for: whole sectors and a SHA-256.
    assert_eq!(saved.len() % 512, 32);
    std::fs::write(path("saved"), &saved).unwrap();
    member.kv().put(put("after", "the snapshot")).await.unwrap();
    drop(member);

    let (ok, text) = kvstore(&["snapshot", "status", &path("saved")]);
    assert!(ok && text.contains(", 201, "), "{text}");
    let restore = ["snapshot", "restore", &path("saved"), "--data-dir", &path("new")];
    let restore = [&restore[..], &["--initial-cluster-token", "another"]].concat();
    let (ok, text) = kvstore(&restore);
    assert!(ok, "{text}");
    let (ok, text) = kvstore(&restore);
    assert!(!ok && text.contains("exists"), "{text}");

    for _ in 0..2 {
        let member = start(&folder.path().join("new"), &["--name", "new"]);
        let again = member.maintenance().hash_kv(request).await.unwrap().into_inner();
        assert_eq!((again.hash, again.hash_revision, again.compact_revision), (hash.hash, 201, 100));
        let (old, new) = (hash.header.unwrap(), again.header.unwrap());
        assert!(old.cluster_id != new.cluster_id && old.member_id != new.member_id);
        assert!(new.raft_term > old.raft_term);
        let mut cluster = pb::cluster_client::ClusterClient::new(member.channel());
        let members =
            cluster.member_list(pb::MemberListRequest::default()).await.unwrap().into_inner().members;
        assert_eq!((members.len(), members[0].name.as_str()), (1, "new"));
        assert!(member.kv().range(get("after")).await.unwrap().into_inner().kvs.is_empty());
        assert!(member.stop());
    }
    let member = start(&folder.path().join("new"), &[]);
    assert_eq!(member.kv().put(put("k", "v")).await.unwrap().into_inner().header.unwrap().revision, 202);
    drop(member);

    saved[5000] ^= 1;
    std::fs::write(path("saved"), &saved).unwrap();
    let (ok, text) = kvstore(&["snapshot", "restore", &path("saved"), "--data-dir", &path("third")]);
    assert!(!ok && text.contains("is damaged"), "{text}");
    assert!(!folder.path().join("third").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_snapshot_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &["--snapshot-count", "100"]);
    for n in 0..2000 {
        member.kv().put(put(format!("k{}", n % 100), vec![b'v'; 1000])).await.unwrap();
    }
    assert!(member.stop());
    let snapshots = folder.path().join("member/snap");
    assert_eq!(std::fs::read_dir(&snapshots).unwrap().count(), 1);
    let away = folder.path().join("away");
    std::fs::rename(&snapshots, &away).unwrap();
    // The state alone is enough,
    assert!(start(folder.path(), &[]).stop());
    // but not when it has to be rebuilt.
    std::fs::remove_dir_all(folder.path().join("member/snap")).unwrap();
    std::fs::write(folder.path().join("member/state-mark"), "another boot").unwrap();
    let log = try_start(folder.path(), &[]).err().expect("it must not start");
    assert!(log.contains("is missing. Restore this member"), "{log}");
    std::fs::remove_dir_all(&snapshots).unwrap();
    std::fs::rename(&away, &snapshots).unwrap();
    let member = start(folder.path(), &[]);
    assert_eq!(member.kv().range(prefix("k")).await.unwrap().into_inner().count, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let member = start(folder.path(), &[]);
    for n in 0..500 {
        member.kv().put(put(format!("k{n}"), vec![b'v'; 2000])).await.unwrap();
    }
    assert!(member.stop());
    let file = folder.path().join("member/state/db");
    let length = std::fs::metadata(&file).unwrap().len();
    let state = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    for at in (0..length).step_by(9973) {
        state.write_all_at(&[0x5a; 16], at).unwrap();
    }
    drop(state);
    let member = start(folder.path(), &[]);
    let found = member.kv().range(prefix("k")).await.unwrap().into_inner();
    assert_eq!(found.count, 500);
    assert!(found.kvs.iter().all(|kv| kv.value.len() == 2000));
}
