//! What is written comes back, and damage is noticed before it is believed.

use std::ops::ControlFlow;
use std::path::Path;

use super::{BoltError, Database, Writer};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs(count: u32, value: usize) -> Pairs {
    (0..count).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; value])).collect()
}

fn written(path: &Path, buckets: &[(&str, Pairs)]) -> u64 {
    let mut writer = Writer::create(path).unwrap();
    for (name, pairs) in buckets {
        writer
            .bucket(name, |put| pairs.iter().try_for_each(|(key, value)| put(key, value)))
            .map_err(|error: BoltError| error)
            .unwrap();
    }
    writer.finish().unwrap()
}

fn read(database: &Database, bucket: &str) -> Result<Pairs, BoltError> {
    let mut pairs = Vec::new();
    database.each(bucket, &mut |key, value| {
        pairs.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(pairs)
}

#[test]
fn buckets_of_any_size_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let buckets = [
        ("many", pairs(50_000, 10)),
        ("empty", vec![]),
        ("large", pairs(20, 10_000)),
        ("long-keys", (0..40_u8).map(|n| (vec![n; 5000], vec![])).collect()),
        ("one", pairs(1, 0)),
    ];
    let length = written(&path, &buckets);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
    assert!(Database::is_one(&path).unwrap());
    let database = Database::open(&path).unwrap();
    let names = database.buckets().unwrap();
    assert_eq!(names, [&b"empty"[..], b"large", b"long-keys", b"many", b"one"]);
    for (name, pairs) in &buckets {
        assert!(read(&database, name).unwrap() == *pairs, "{name}");
    }
    assert!(read(&database, "absent").unwrap().is_empty());
    let mut first = None;
    database
        .each("many", &mut |key, _| {
            first = Some(key.to_vec());
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(first, Some(vec![0; 4]));
}

#[test]
fn the_second_meta_serves_when_the_first_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    written(&path, &[("b", pairs(10, 10))]);
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[40] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    assert_eq!(read(&Database::open(&path).unwrap(), "b").unwrap().len(), 10);
    bad[4096 + 40] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    assert!(matches!(Database::open(&path), Err(BoltError::Damaged { .. })));
}

#[test]
fn damage_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    written(&path, &[("b", pairs(2000, 10)), ("c", pairs(3, 9000))]);
    let good = std::fs::read(&path).unwrap();
    // Places and lengths of every page, turned into nonsense one byte at a time.
    for at in (2 * 4096..good.len()).step_by(4096).flat_map(|page| page..page + 40) {
        let mut bad = good.clone();
        bad[at] = !bad[at];
        std::fs::write(&path, &bad).unwrap();
        let database = Database::open(&path).unwrap();
        for bucket in ["b", "c"] {
            read(&database, bucket).ok();
        }
    }
    for length in [0, 10, 4096, 8192, 3 * 4096, good.len() - 4096] {
        std::fs::write(&path, &good[..length]).unwrap();
        let read = Database::open(&path).and_then(|database| read(&database, "b"));
        assert!(read.is_err(), "{length} bytes");
    }
    std::fs::write(&path, b"short").unwrap();
    assert!(!Database::is_one(&path).unwrap());
}
