//! What every implementation of the applied state must do.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::{Batch, Buffered, DiskState, MemoryState, StateError, StateStore};

fn on_every_store(check: impl Fn(&dyn StateStore)) {
    check(&MemoryState::default());
    let folder = tempfile::tempdir().unwrap();
    check(&DiskState::open(folder.path()).unwrap());
    // Everything still in the buffer, most of it, and nothing.
    for limit in [usize::MAX, 200, 1] {
        check(&Buffered::inline(Arc::new(MemoryState::default()), limit));
    }
    let folder = tempfile::tempdir().unwrap();
    check(&Buffered::new(Arc::new(DiskState::open(folder.path()).unwrap())).unwrap());
}

fn pairs(store: &dyn StateStore, from: &[u8], to: &[u8]) -> Vec<(Vec<u8>, Bytes)> {
    let mut found = Vec::new();
    store
        .scan(from, to, &mut |key, value| {
            found.push((key.to_vec(), value));
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

fn put(store: &dyn StateStore, key: &[u8], value: impl Into<Bytes>) {
    let mut batch = Batch::default();
    batch.put(key.to_vec(), value);
    store.write(batch).unwrap();
}

#[test]
fn keeps_what_a_batch_wrote() {
    on_every_store(|store| {
        put(store, b"b", "old");
        let mut batch = Batch::default();
        batch.put(b"a".to_vec(), "1");
        batch.delete(b"b".to_vec());
        batch.put(b"c".to_vec(), "2");
        batch.put(b"c".to_vec(), "3");
        store.write(batch).unwrap();
        assert_eq!(store.get(b"a").unwrap(), Some(Bytes::from("1")));
        assert_eq!(store.get(b"b").unwrap(), None);
        assert_eq!(store.get(b"c").unwrap(), Some(Bytes::from("3")));
    });
}

#[test]
fn scans_ascend_and_stop_when_told() {
    on_every_store(|store| {
        for key in ["b", "a", "d", "c"] {
            put(store, key.as_bytes(), key);
        }
        let keys: Vec<_> = pairs(store, b"b", b"d").into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [b"b".to_vec(), b"c".to_vec()]);
        assert!(pairs(store, b"d", b"b").is_empty());
        let mut seen = 0;
        store
            .scan(b"a", b"z", &mut |_, _| {
                seen += 1;
                if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        assert_eq!(seen, 2);
    });
}

#[test]
fn long_values_come_back_whole() {
    on_every_store(|store| {
        for length in [0, 1, 64 << 10, (64 << 10) + 1, 300_000, 2_000_000] {
            let value: Vec<u8> = (0..length).map(|i| (i * 31 % 251) as u8).collect();
            put(store, b"k", value.clone());
            assert_eq!(store.get(b"k").unwrap().unwrap(), value, "{length} bytes");
            assert_eq!(pairs(store, b"", b"\xff"), [(b"k".to_vec(), Bytes::from(value))]);
        }
        put(store, b"k", "short again");
        assert_eq!(store.get(b"k").unwrap(), Some(Bytes::from("short again")));
        let mut batch = Batch::default();
        batch.delete(b"k".to_vec());
        store.write(batch).unwrap();
        assert_eq!(store.get(b"k").unwrap(), None);
    });
}

#[test]
fn clear_leaves_nothing() {
    on_every_store(|store| {
        put(store, b"a", vec![1; 200_000]);
        put(store, b"b", "2");
        store.clear().unwrap();
        assert!(pairs(store, b"", b"\xff").is_empty());
    });
}

#[test]
fn a_reopened_store_has_what_was_synced() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskState::open(folder.path()).unwrap();
    put(&store, b"long", vec![7; 200_000]);
    store.sync().unwrap();
    drop(store);
    let store = DiskState::open(folder.path()).unwrap();
    assert_eq!(store.get(b"long").unwrap().unwrap(), vec![7; 200_000]);
}

#[test]
fn what_a_batch_replaces_leaves_nothing_behind() {
    on_every_store(|store| {
        // Long and short by turns, under one key and under its neighbours.
        for round in 0..4_usize {
            for key in ["a", "aa", "b"] {
                let length = if (round + key.len()) % 2 == 0 { 200_000 } else { 3 };
                put(store, key.as_bytes(), vec![round as u8; length]);
            }
        }
        let lengths: Vec<_> = pairs(store, b"", b"\xff").iter().map(|(_, value)| value.len()).collect();
        assert_eq!(lengths, [200_000, 3, 200_000]);
        let mut batch = Batch::default();
        ["a", "aa", "b"].into_iter().for_each(|key| batch.delete(key.into()));
        store.write(batch).unwrap();
        assert!(pairs(store, b"", b"\xff").is_empty());
    });
}

#[test]
fn a_long_value_is_read_whole_while_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskState::open(folder.path()).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..60_u8 {
                let length = [200_000, 3, 140_000][usize::from(round) % 3];
                put(&store, b"a", vec![round; length]);
                if round % 5 == 0 {
                    let mut batch = Batch::default();
                    batch.delete(b"a".to_vec());
                    store.write(batch).unwrap();
                }
            }
        });
        while !writer.is_finished() {
            let got = store.get(b"a").unwrap();
            for value in
                got.into_iter().chain(pairs(&store, b"", b"\xff").into_iter().map(|(_, value)| value))
            {
                assert!(value.iter().all(|byte| *byte == value[0]), "of two batches");
            }
        }
    });
}

#[test]
fn a_crash_keeps_the_first_batches_and_a_failure_changes_nothing() {
    let store = MemoryState::default();
    put(&store, b"a", "1");
    store.sync().unwrap();
    put(&store, b"b", "2");
    put(&store, b"a", "3");
    let keys =
        |store: &MemoryState| pairs(store, b"", b"\xff").into_iter().map(|(_, v)| v).collect::<Vec<_>>();
    assert_eq!(keys(&store.after_crash(|_| 0)), ["1"]);
    assert_eq!(keys(&store.after_crash(|batches| batches - 1)), ["1", "2"]);
    assert_eq!(keys(&store.after_crash(|batches| batches)), ["3", "2"]);
    store.fail_after(1);
    put(&store, b"c", "4");
    let mut batch = Batch::default();
    batch.put(b"d".to_vec(), "5");
    batch.delete(b"a".to_vec());
    assert!(matches!(store.write(batch), Err(super::StateError::Write(_))));
    assert_eq!(keys(&store), ["3", "2", "4"]);
}

#[test]
fn a_crash_may_come_while_it_is_emptied() {
    let store = MemoryState::default();
    ["a", "b", "c"].into_iter().for_each(|key| put(&store, key.as_bytes(), key));
    store.clear().unwrap();
    assert!(pairs(&store, b"", b"\xff").is_empty());
    let left = pairs(&store.after_crash(|batches| batches - 1), b"", b"\xff");
    assert_eq!(left, [(b"c".to_vec(), Bytes::from("c"))]);
}

#[test]
fn what_is_gathered_shows_in_scans_and_arrives_in_order() {
    let below = Arc::new(MemoryState::default());
    for key in ["a", "b", "c", "d"] {
        put(below.as_ref(), key.as_bytes(), "old");
    }
    let store = Buffered::inline(below.clone(), usize::MAX);
    let mut batch = Batch::default();
    batch.put(b"aa".to_vec(), "new");
    batch.put(b"b".to_vec(), "new");
    batch.delete(b"c".to_vec());
    batch.put(b"e".to_vec(), "new");
    store.write(batch).unwrap();
    let seen = |store: &dyn StateStore, from: &[u8], to: &[u8]| {
        let text = |(key, value): (Vec<u8>, Bytes)| {
            format!("{}={}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value))
        };
        pairs(store, from, to).into_iter().map(text).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(seen(&store, b"a", b"z"), "a=old aa=new b=new d=old e=new");
    assert_eq!(seen(&store, b"aa", b"e"), "aa=new b=new d=old");
    assert_eq!(seen(below.as_ref(), b"a", b"z"), "a=old b=old c=old d=old");
    store.sync().unwrap();
    assert_eq!(seen(below.as_ref(), b"a", b"z"), "a=old aa=new b=new d=old e=new");
}

#[test]
fn a_failure_below_ends_the_writes_and_spares_what_is_read() {
    for threaded in [false, true] {
        let below = Arc::new(MemoryState::default());
        let store = match threaded {
            true => Buffered::new(below.clone()).unwrap(),
            false => Buffered::inline(below.clone(), usize::MAX),
        };
        put(&store, b"a", "1");
        below.fail_after(0);
        assert!(matches!(store.sync(), Err(StateError::Write(_))), "it is told");
        let mut batch = Batch::default();
        batch.put(b"b".to_vec(), "2");
        assert!(matches!(store.write(batch), Err(StateError::Ended)), "and the end of it");
        assert_eq!(store.get(b"a").unwrap(), Some(Bytes::from("1")));
        assert_eq!(below.get(b"a").unwrap(), None);
    }
}

#[test]
fn a_thread_empties_the_buffer() {
    let below = Arc::new(MemoryState::default());
    let store = Buffered::new(below.clone()).unwrap();
    for n in 0..100_u32 {
        put(&store, &n.to_be_bytes(), vec![n as u8; 50_000]);
    }
    // 5 MB: more than waits at a time.
    assert!(below.size() > 4_000_000, "{}", below.size());
    assert_eq!(pairs(&store, b"\0", b"\xff").len(), 100);
    drop(store);
}
