//! Snapshots: the whole state at one point of the log, in one file of our own. The log is only purged up
//! to a snapshot that is on disk; the state beside it is a cache that may be rebuilt from both.
//!
//! ```text
//! "FKVSNAP\n" | format u32 = 1
//! block*        length u32 | crc u32 of body | body
//!   first body  SnapshotHeader
//!   others      pairs of the state: key length u32, key, value length u32, value
//! end           length u32 = 0 | sha256 of everything before
//! ```
//! Numbers are little-endian. Named `<index>.snap`; written under another name, synced, then renamed.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::raft::SnapshotMeta;
use crate::raft::codec::{AppliedRecord, BrokenMembership};

const MAGIC: &[u8; 8] = b"FKVSNAP\n";
const FORMAT: u32 = 1;
/// Bytes of pairs after which a block is closed.
const BLOCK_BYTES: usize = 256 << 10;
const LONGEST_BLOCK: usize = 256 << 20;

#[derive(Clone, PartialEq, Message)]
pub struct SnapshotHeader {
    #[prost(message, optional, tag = "1")]
    pub applied: Option<AppliedRecord>,
    #[prost(uint64, tag = "2")]
    pub cluster_id: u64,
    #[prost(int64, tag = "3")]
    pub revision: i64,
    /// Version of the program that wrote it.
    #[prost(string, tag = "4")]
    pub writer: String,
}

/// A finished snapshot on disk.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    pub path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("{step} snapshot {path}")]
    Io { step: &'static str, path: PathBuf, source: io::Error },
    #[error("snapshot {path} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: &'static str },
}

/// Writes a snapshot pair by pair.
pub struct SnapshotWriter {
    path: PathBuf,
    out: BufWriter<File>,
    hash: Sha256,
    block: Vec<u8>,
}

impl SnapshotWriter {
    pub fn create(path: &Path, header: &SnapshotHeader) -> Result<Self, SnapshotError> {
        let io = |source| SnapshotError::Io { step: "create", path: path.to_owned(), source };
        let out = BufWriter::new(File::create(path).map_err(io)?);
        let mut writer = Self { path: path.to_owned(), out, hash: Sha256::new(), block: Vec::new() };
        writer.raw(MAGIC)?;
        writer.raw(&FORMAT.to_le_bytes())?;
        writer.block = header.encode_to_vec();
        writer.flush_block()?;
        Ok(writer)
    }

    pub fn pair(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        for part in [key, value] {
            self.block.extend_from_slice(&(part.len() as u32).to_le_bytes());
            self.block.extend_from_slice(part);
        }
        if self.block.len() >= BLOCK_BYTES { self.flush_block() } else { Ok(()) }
    }

    /// Writes the end and waits for the disk.
    pub fn finish(mut self) -> Result<(), SnapshotError> {
        if !self.block.is_empty() {
            self.flush_block()?;
        }
        self.raw(&0_u32.to_le_bytes())?;
        let hash = self.hash.clone().finalize();
        let io = |source| SnapshotError::Io { step: "finish", path: self.path.clone(), source };
        self.out.write_all(&hash).map_err(io)?;
        self.out.flush().map_err(io)?;
        self.out.get_ref().sync_all().map_err(io)
    }

    fn flush_block(&mut self) -> Result<(), SnapshotError> {
        let block = std::mem::take(&mut self.block);
        self.raw(&(block.len() as u32).to_le_bytes())?;
        self.raw(&crc32fast::hash(&block).to_le_bytes())?;
        self.raw(&block)?;
        self.block = block;
        self.block.clear();
        Ok(())
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.hash.update(bytes);
        let io = |source| SnapshotError::Io { step: "write", path: self.path.clone(), source };
        self.out.write_all(bytes).map_err(io)
    }
}

/// Reads a snapshot; nothing it returned counts before `next` has returned `None`.
pub struct SnapshotReader {
    path: PathBuf,
    input: BufReader<File>,
    hash: Sha256,
    block: Bytes,
    pub header: SnapshotHeader,
}

impl SnapshotReader {
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let io = |source| SnapshotError::Io { step: "open", path: path.to_owned(), source };
        let input = BufReader::with_capacity(1 << 20, File::open(path).map_err(io)?);
        let header = SnapshotHeader::default();
        let mut reader =
            Self { path: path.to_owned(), input, hash: Sha256::new(), block: Bytes::new(), header };
        if reader.raw(8)? != MAGIC[..] {
            return Err(reader.damaged("it does not start as a snapshot does"));
        }
        if reader.number()? != FORMAT {
            return Err(reader.damaged("it was written by a version with another format"));
        }
        let block = reader.next_block()?.ok_or_else(|| reader.damaged("it has no header"))?;
        reader.header =
            SnapshotHeader::decode(block).map_err(|_| reader.damaged("its header does not decode"))?;
        Ok(reader)
    }

    /// The next pair; `None` after the last, once the whole file has checked out.
    pub fn next_pair(&mut self) -> Result<Option<(Bytes, Bytes)>, SnapshotError> {
        if !self.block.has_remaining() {
            match self.next_block()? {
                Some(block) => self.block = block,
                None => return Ok(None),
            }
        }
        Ok(Some((self.part()?, self.part()?)))
    }

    fn part(&mut self) -> Result<Bytes, SnapshotError> {
        if self.block.remaining() < 4 {
            return Err(self.damaged("a pair is cut short"));
        }
        let length = self.block.get_u32_le() as usize;
        if self.block.remaining() < length {
            return Err(self.damaged("a pair is cut short"));
        }
        Ok(self.block.split_to(length))
    }

    fn next_block(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let length = self.number()? as usize;
        if length == 0 {
            let expected = self.hash.clone().finalize();
            let found = self.raw(expected.len())?;
            if found != expected[..] {
                return Err(self.damaged("its checksum does not match"));
            }
            return Ok(None);
        }
        if length > LONGEST_BLOCK {
            return Err(self.damaged("a block is too long"));
        }
        let crc = self.number()?;
        let block = self.raw(length)?;
        if crc32fast::hash(&block) != crc {
            return Err(self.damaged("a block does not check out"));
        }
        Ok(Some(block))
    }

    fn number(&mut self) -> Result<u32, SnapshotError> {
        Ok(self.raw(4)?.get_u32_le())
    }

    fn raw(&mut self, length: usize) -> Result<Bytes, SnapshotError> {
        let mut bytes = vec![0; length];
        let path = &self.path;
        self.input.read_exact(&mut bytes).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                SnapshotError::Damaged { path: path.clone(), reason: "it is cut short" }
            }
            _ => SnapshotError::Io { step: "read", path: path.clone(), source },
        })?;
        self.hash.update(&bytes);
        Ok(bytes.into())
    }

    fn damaged(&self, reason: &'static str) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), reason }
    }
}

/// The folder that holds the latest snapshot.
#[derive(Clone)]
pub struct SnapshotFolder {
    path: PathBuf,
}

impl SnapshotFolder {
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let io = |source| SnapshotError::Io { step: "open folder of", path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        // What a crash left half-written.
        for entry in std::fs::read_dir(path).map_err(io)? {
            let entry = entry.map_err(io)?;
            if entry.file_name().to_str().is_some_and(|name| name.ends_with(".new")) {
                std::fs::remove_file(entry.path()).map_err(io)?;
            }
        }
        Ok(Self { path: path.to_owned() })
    }

    pub fn path_for(&self, index: u64) -> PathBuf {
        self.path.join(format!("{index:016x}.snap"))
    }

    pub fn unfinished(&self) -> PathBuf {
        self.path.join("unfinished.new")
    }

    /// A name that no one else uses, for a snapshot that is not to stay.
    pub fn temporary(&self) -> PathBuf {
        self.path.join(format!("{:016x}.sent.new", fastrand::u64(..)))
    }

    /// Keeps a finished file and removes older ones. It is the current snapshot unless a later one came in
    /// while it was written: that one stays, since the log may begin after it.
    pub fn adopt(&self, finished: &Path, index: u64) -> Result<SnapshotFile, SnapshotError> {
        let path = self.path_for(index);
        let io = |source| SnapshotError::Io { step: "adopt", path: path.clone(), source };
        std::fs::rename(finished, &path).map_err(io)?;
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(io)?;
        for older in self.indexes()?.into_iter().filter(|other| *other < index) {
            std::fs::remove_file(self.path_for(older)).map_err(io)?;
        }
        Ok(SnapshotFile { path })
    }

    /// The latest snapshot, with its description.
    pub fn current(&self) -> Result<Option<(SnapshotHeader, SnapshotFile)>, SnapshotError> {
        let Some(index) = self.indexes()?.into_iter().max() else { return Ok(None) };
        let path = self.path_for(index);
        let reader = SnapshotReader::open(&path)?;
        Ok(Some((reader.header, SnapshotFile { path })))
    }

    fn indexes(&self) -> Result<Vec<u64>, SnapshotError> {
        let io = |source| SnapshotError::Io { step: "list", path: self.path.clone(), source };
        let mut indexes = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(".snap"));
            indexes.extend(digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()));
        }
        Ok(indexes)
    }
}

impl SnapshotHeader {
    /// As openraft describes it.
    pub fn meta(&self) -> Result<SnapshotMeta, BrokenMembership> {
        let applied = self.applied.clone().unwrap_or_default();
        Ok(SnapshotMeta { last_log_id: applied.last(), last_membership: applied.membership()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("s");
        let header = SnapshotHeader { revision: 9, ..Default::default() };
        let mut writer = SnapshotWriter::create(&path, &header).unwrap();
        for n in 0..5000_u32 {
            writer.pair(&n.to_be_bytes(), &[n as u8; 100]).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    fn read_all(path: &Path) -> Result<usize, SnapshotError> {
        let mut reader = SnapshotReader::open(path)?;
        let mut pairs = 0;
        while let Some((key, value)) = reader.next_pair()? {
            assert_eq!((key.len(), value.len()), (4, 100));
            pairs += 1;
        }
        Ok(pairs)
    }

    #[test]
    fn comes_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_all(&written(folder.path())).unwrap(), 5000);
    }

    #[test]
    fn one_that_was_written_slowly_does_not_take_the_place_of_a_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = SnapshotFolder::open(&folder.path().join("snap")).unwrap();
        for index in [20, 30, 25] {
            snapshots.adopt(&written(folder.path()), index).unwrap();
        }
        let (_, current) = snapshots.current().unwrap().unwrap();
        assert_eq!(current.path, snapshots.path_for(30));
        assert!(current.path.exists() && !snapshots.path_for(20).exists());
    }

    #[test]
    fn any_flipped_or_missing_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let good = std::fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(4999).chain([good.len() - 1]) {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            std::fs::write(&path, &bad).unwrap();
            assert!(read_all(&path).is_err(), "byte {at}");
        }
        for length in [0, 11, 100, good.len() / 2, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(read_all(&path).is_err(), "{length} bytes");
        }
    }
}
