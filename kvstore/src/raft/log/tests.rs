//! The log's files: torn and damaged ones, and openraft's own suite on the whole store.

use std::sync::atomic::{AtomicBool, Ordering};

use openraft::storage::RaftLogStorage;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, RaftLogReader, StorageError};
use tempfile::TempDir;

use super::segment::{HEADER, RECORD_HEADER, frame};
use super::*;
use crate::raft::codec::LogIdRecord;
use crate::raft::command::Proposal;
use crate::raft::{Applier, Shared as State};
use crate::snapshot::SnapshotFolder;
use crate::state::MemoryState;

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Applier, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Applier), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let log = LogStore::open(&folder.path().join("wal")).unwrap();
        let snapshots = SnapshotFolder::open(&folder.path().join("snap")).unwrap();
        let state = State::load(Arc::new(MemoryState::default()), snapshots, 1, 10_000).unwrap();
        Ok((folder, log, Applier::new(state)))
    }
}

#[tokio::test]
async fn openrafts_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}

fn entry(index: u64, length: usize) -> Entry {
    let id = LogIdRecord { term: 1, node: 1, index };
    Entry { log_id: id.into(), payload: EntryPayload::Normal(Proposal(vec![7; length].into())) }
}

async fn append(log: &mut LogStore, entries: Vec<Entry>) {
    let (done, answer) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(done)).await.unwrap();
    answer.await.unwrap().unwrap();
}

fn open(folder: &TempDir) -> Result<LogStore, LogError> {
    LogStore::open(folder.path())
}

async fn indexes(log: &mut LogStore) -> Vec<u64> {
    let entries = log.try_get_log_entries(0..u64::MAX).await.unwrap();
    entries.iter().map(|entry| entry.log_id.index).collect()
}

#[tokio::test]
async fn entries_are_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(&folder).unwrap();
    log.save_vote(&Vote::new_committed(3, 9)).await.unwrap();
    append(&mut log, (0..100).map(|index| entry(index, 300_000)).collect()).await;
    append(&mut log, vec![entry(100, 10)]).await;
    assert!(log.shared.inner.lock().segments.len() > 1, "30 MB take several segments");
    drop(log);
    let mut log = open(&folder).unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 9)));
    assert_eq!(indexes(&mut log).await, (0..=100).collect::<Vec<_>>());
    let read = log.try_get_log_entries(57..58).await.unwrap();
    assert_eq!(read, [entry(57, 300_000)]);
}

#[tokio::test]
async fn what_was_truncated_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(&folder).unwrap();
    append(&mut log, (0..100).map(|index| entry(index, 300_000)).collect()).await;
    log.truncate_after(Some(entry(10, 0).log_id)).await.unwrap();
    append(&mut log, vec![entry(11, 5), entry(12, 5)]).await;
    assert_eq!(log.try_get_log_entries(11..12).await.unwrap(), [entry(11, 5)]);
    drop(log);
    let mut log = open(&folder).unwrap();
    assert_eq!(indexes(&mut log).await, (0..=12).collect::<Vec<_>>());
    log.truncate_after(None).await.unwrap();
    append(&mut log, vec![entry(0, 1)]).await;
    drop(log);
    assert_eq!(indexes(&mut open(&folder).unwrap()).await, [0]);
}

#[tokio::test]
async fn purging_frees_whole_segments() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(&folder).unwrap();
    append(&mut log, (0..100).map(|index| entry(index, 300_000)).collect()).await;
    log.purge(entry(80, 0).log_id).await.unwrap();
    assert_eq!(indexes(&mut log).await, (81..100).collect::<Vec<_>>());
    assert_eq!(log.shared.inner.lock().segments.len(), 1);
    // A snapshot from elsewhere, far ahead.
    log.purge(entry(500, 0).log_id).await.unwrap();
    append(&mut log, vec![entry(501, 1)]).await;
    drop(log);
    let mut log = open(&folder).unwrap();
    assert_eq!(indexes(&mut log).await, [501]);
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(entry(500, 0).log_id));
}

#[tokio::test]
async fn a_purge_that_was_cut_short_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(&folder).unwrap();
    append(&mut log, (0..100).map(|index| entry(index, 300_000)).collect()).await;
    let paths: Vec<_> = log.shared.inner.lock().segments.iter().map(|s| s.path.clone()).collect();
    let hard = HardState { purged: Some(LogIdRecord { term: 1, node: 1, index: 500 }), ..Default::default() };
    drop(log);
    // Noted that a snapshot holds everything up to 500, and no more than that.
    hard_state::save(&OsDisk, folder.path(), &hard).unwrap();
    let mut log = open(&folder).unwrap();
    assert!(paths.iter().all(|path| !path.exists()));
    append(&mut log, vec![entry(501, 1), entry(502, 1)]).await;
    drop(log);
    assert_eq!(indexes(&mut open(&folder).unwrap()).await, [501, 502]);
}

/// A segment with three records: the first synced before the second was written, the second not before
/// the third.
fn sample() -> (Vec<u8>, [usize; 4]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    drop(segment::create(&OsDisk, &path, 5, 64 << 10).unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    let mut at = HEADER;
    let mut starts = [0; 4];
    let mut synced = HEADER;
    for (n, start) in starts.iter_mut().enumerate().take(3) {
        *start = at;
        let mut record = Vec::new();
        frame(&mut record, &EntryRecord::from(&entry(5 + n as u64, 1500)).encode_to_vec(), synced as u32);
        bytes[at..at + record.len()].copy_from_slice(&record);
        at += record.len();
        if n == 0 {
            synced = at;
        }
    }
    starts[3] = at;
    (bytes, starts)
}

fn read(bytes: Vec<u8>, is_last: bool) -> Result<(usize, usize), String> {
    segment::read(Path::new("s"), &bytes.into(), is_last)
        .map(|contents| (contents.positions.len(), contents.end))
        .map_err(|error| error.to_string())
}

#[test]
fn an_intact_segment_reads() {
    let (bytes, starts) = sample();
    assert_eq!(read(bytes.clone(), true), Ok((3, starts[3])));
    assert_eq!(read(bytes, false), Ok((3, starts[3])));
}

#[test]
fn only_what_was_never_synced_is_cut_off() {
    let (bytes, starts) = sample();
    let broken = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at + RECORD_HEADER + 3] ^= 1;
        bytes
    };
    // The last two were one write: torn where a sector is missing.
    let torn = |at: usize, sectors: usize| {
        let mut bytes = bytes.clone();
        let missing = at.next_multiple_of(512);
        bytes[missing..missing + 512 * sectors].fill(0);
        bytes
    };
    assert_eq!(read(torn(starts[2], 4), true), Ok((2, starts[2])));
    assert_eq!(read(torn(starts[1], 1), true), Ok((1, starts[1])));
    assert_eq!(read(torn(starts[1], 8), true), Ok((1, starts[1])));
    // Written as a whole and yet wrong: it may have been acknowledged.
    for at in [starts[1], starts[2]] {
        let error = read(broken(at), true).unwrap_err();
        assert!(error.contains("although all of it was written"), "{error}");
    }
    // The first was on disk before the second was written.
    let error = read(broken(starts[0]), true).unwrap_err();
    assert!(error.contains("is damaged at byte 24: a record that had reached the disk"), "{error}");
    // A hole in the middle of what was written last.
    let mut hole = bytes.clone();
    hole[starts[1]..starts[2]].fill(0);
    assert_eq!(read(hole, true), Ok((1, starts[1])));
    let mut hole = bytes.clone();
    hole[starts[0]..starts[1]].fill(0);
    assert!(read(hole, true).is_err());
}

#[test]
fn nothing_is_cut_off_segments_before_the_last() {
    let (mut bytes, starts) = sample();
    bytes[starts[2] + 20] ^= 1;
    let error = read(bytes, false).unwrap_err();
    assert!(error.contains("does not check out") && error.contains("Restore this member"), "{error}");
}

#[test]
fn a_damaged_header_is_noticed() {
    let (bytes, _) = sample();
    for at in 0..HEADER {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        assert!(read(bytes, true).is_err(), "byte {at}");
    }
    assert!(read(bytes[..10].to_vec(), true).is_err());
}

#[tokio::test]
async fn a_missing_segment_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(&folder).unwrap();
    append(&mut log, (0..120).map(|index| entry(index, 300_000)).collect()).await;
    let paths: Vec<_> = log.shared.inner.lock().segments.iter().map(|s| s.path.clone()).collect();
    drop(log);
    assert_eq!(paths.len(), 3);
    let kept = std::fs::read(&paths[1]).unwrap();
    std::fs::remove_file(&paths[1]).unwrap();
    assert!(open(&folder).err().unwrap().to_string().contains("are missing before it"));
    std::fs::write(&paths[1], kept).unwrap();
    std::fs::remove_file(&paths[0]).unwrap();
    assert!(open(&folder).err().unwrap().to_string().contains("are missing before it"));
}

/// A disk whose syncs fail once it is told to.
#[derive(Clone, Default)]
struct Failing {
    told: Arc<AtomicBool>,
}

struct FailingFile {
    file: Arc<dyn DiskFile>,
    told: Arc<AtomicBool>,
}

impl Failing {
    fn over(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FailingFile { file, told: self.told.clone() })
    }
}

impl Disk for Failing {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_folder(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(folder)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        OsDisk.read(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.over(OsDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.over(OsDisk.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        OsDisk.sync_folder(folder)
    }
}

impl DiskFile for FailingFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }

    fn sync(&self) -> io::Result<()> {
        // Once: what was written is said to be there by the next.
        if self.told.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("told to fail"));
        }
        self.file.sync()
    }
}

/// Otherwise a vote could outlive the first entry that it was given after: the next start would find a
/// cluster that has begun, without knowing its members (the simulation's seed 2737).
#[tokio::test]
async fn nothing_is_written_after_an_append_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Failing::default();
    let (mut log, writer) =
        LogStore::open_on(Arc::new(disk.clone()), folder.path(), writer::SEGMENT_BYTES).unwrap();
    let writing = std::thread::spawn(move || writer.run());
    append(&mut log, vec![entry(0, 10)]).await;
    disk.told.store(true, Ordering::Relaxed);
    for index in [1, 2] {
        let (done, answer) = TypeConfig::oneshot();
        log.append(vec![entry(index, 10)], IOFlushed::signal(done)).await.unwrap();
        assert!(answer.await.unwrap().is_err(), "entry {index}");
    }
    assert!(log.save_vote(&Vote::new(1, 1)).await.is_err());
    drop(log);
    writing.join().unwrap();
    let mut log = open(&folder).unwrap();
    assert_eq!(log.read_vote().await.unwrap(), None);
    // The kernel may have had the first of them.
    assert!(indexes(&mut log).await.len() <= 2);
}
