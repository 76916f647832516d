//! One file of the log.
//!
//! ```text
//! file    header (24 bytes), records, zeros up to the preallocated length
//! header  "FKVLOG\r\n" | format u32 = 1 | crc u32 of first | first index u64
//! record  magic u32 | length u32 of body | crc u32 of (length, synced, body) | synced u32 | body, zeros to 8 bytes
//! body    raft::codec::EntryRecord
//! ```
//! Numbers are little-endian. Named by its first index in 16 hex digits, `.log`. Indexes are consecutive
//! within a file and from one file to the next.
//!
//! `synced` is the length of the file that was known to be on disk when the record was written. It tells
//! a torn tail from damage: where a record does not check out but a later one says that this part had
//! been synced, acknowledged data is lost, and reading stops with an error. So it does where every sector
//! of the record was written (a disk writes whole sectors; those that it did not write are zero): then
//! the write was not torn, and may have been acknowledged. Else everything from there was never
//! acknowledged, and is cut off.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use prost::Message;

use crate::disk::{Disk, DiskFile};
use crate::raft::codec::EntryRecord;

pub const HEADER: usize = 24;
const MAGIC: &[u8; 8] = b"FKVLOG\r\n";
const FORMAT: u32 = 1;
const RECORD_MAGIC: u32 = 0x5245_434f;
pub const RECORD_HEADER: usize = 16;
const ALIGN: usize = 8;
/// What a disk writes whole or not at all, at least.
const SECTOR: usize = 512;

/// The log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{step} {path}")]
    Io { step: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "log segment {path} is damaged at byte {at}: {reason}. Acknowledged writes may be lost; refusing to \
         start. Restore this member from a snapshot, or, with other members intact, remove it from the \
         cluster and add it again with an empty data directory"
    )]
    Damaged { path: PathBuf, at: usize, reason: String },
}

/// Where an entry stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub offset: u32,
    /// Of the body.
    pub length: u32,
}

pub fn file_name(first: u64) -> String {
    format!("{first:016x}.log")
}

pub fn first_index(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// Makes a segment of `length` zeros after its header, on disk when this returns.
pub fn create(disk: &dyn Disk, path: &Path, first: u64, length: u64) -> Result<Arc<dyn DiskFile>, LogError> {
    let io = |step| move |source| LogError::Io { step, path: path.to_owned(), source };
    let file = disk.create(path).map_err(io("create log segment"))?;
    file.allocate(length).map_err(io("allocate log segment"))?;
    file.write_all_at(&header(first), 0).map_err(io("write log segment"))?;
    file.sync().map_err(io("sync log segment"))?;
    Ok(file)
}

fn header(first: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.put_slice(MAGIC);
    bytes.put_u32_le(FORMAT);
    bytes.put_u32_le(crc32fast::hash(&first.to_le_bytes()));
    bytes.put_u64_le(first);
    bytes
}

/// Adds a framed record to `buffer`.
pub fn frame(buffer: &mut Vec<u8>, body: &[u8], synced: u32) {
    let length = body.len() as u32;
    buffer.put_u32_le(RECORD_MAGIC);
    buffer.put_u32_le(length);
    buffer.put_u32_le(checksum(length, synced, body));
    buffer.put_u32_le(synced);
    buffer.put_slice(body);
    buffer.resize(buffer.len().next_multiple_of(ALIGN), 0);
}

fn checksum(length: u32, synced: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&synced.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// A record as read: its body, the claim it makes, and where the next one starts.
struct Record<'a> {
    body: &'a [u8],
    synced: u32,
    next: usize,
}

fn parse(bytes: &[u8], at: usize) -> Option<Record<'_>> {
    let word = |n: usize| {
        let start = at + 4 * n;
        bytes.get(start..start + 4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    };
    if word(0)? != RECORD_MAGIC {
        return None;
    }
    let (length, crc, synced) = (word(1)?, word(2)?, word(3)?);
    let start = at + RECORD_HEADER;
    let body = bytes.get(start..start.checked_add(length as usize)?)?;
    let next = (start + length as usize).next_multiple_of(ALIGN);
    (checksum(length, synced, body) == crc).then_some(Record { body, synced, next })
}

/// What a segment holds.
pub struct Contents {
    pub first: u64,
    pub positions: Vec<Position>,
    pub last: Option<EntryRecord>,
    /// Length of what is intact.
    pub end: usize,
    /// Bytes after `end` that are neither intact nor zero.
    pub torn: usize,
    /// What comes after this is intact but may never have been synced.
    pub synced: usize,
}

/// Reads a segment. Only the last one of a log may end in a torn write.
pub fn read(path: &Path, bytes: &Bytes, is_last: bool) -> Result<Contents, LogError> {
    let damaged =
        |at: usize, reason: &str| LogError::Damaged { path: path.to_owned(), at, reason: reason.into() };
    let head = bytes.get(..HEADER).ok_or_else(|| damaged(0, "it is shorter than its header"))?;
    if &head[..8] != MAGIC {
        return Err(damaged(0, "it does not start as a log segment does"));
    }
    let number = |range: std::ops::Range<usize>| {
        head[range].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    if number(8..12) != u64::from(FORMAT) {
        return Err(damaged(8, "it was written by a version with another log format"));
    }
    let first = number(16..24);
    if header(first) != head {
        return Err(damaged(12, "its header does not check out"));
    }
    let mut contents = Contents { first, positions: Vec::new(), last: None, end: HEADER, torn: 0, synced: 0 };
    while let Some(record) = parse(bytes, contents.end) {
        let body = bytes.slice_ref(record.body);
        let entry =
            EntryRecord::decode(body).map_err(|_| damaged(contents.end, "an entry does not decode"))?;
        let index = first + contents.positions.len() as u64;
        if entry.id.is_none_or(|id| id.index != index) {
            return Err(damaged(contents.end, "an entry has the wrong index"));
        }
        let offset = (contents.end + RECORD_HEADER) as u32;
        contents.positions.push(Position { offset, length: record.body.len() as u32 });
        contents.last = Some(entry);
        contents.synced = record.synced as usize;
        contents.end = record.next;
    }
    let rest = &bytes[contents.end.min(bytes.len())..];
    contents.torn = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if contents.torn > 0 {
        if !is_last {
            return Err(damaged(contents.end, "a record does not check out"));
        }
        if synced_past(bytes, contents.end) {
            return Err(damaged(contents.end, "a record that had reached the disk does not check out"));
        }
        if !is_torn(bytes, contents.end) {
            return Err(damaged(contents.end, "a record does not check out although all of it was written"));
        }
    }
    Ok(contents)
}

/// Whether a part of the record at `at` was never written.
fn is_torn(bytes: &[u8], at: usize) -> bool {
    let word = |n: usize| {
        let word = bytes.get(at + 4 * n..at + 4 * n + 4);
        word.map_or(0, |word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    };
    // Magic and length are in one sector.
    let length = match word(0) {
        0 => return true,
        RECORD_MAGIC => word(1) as usize,
        _ => return false,
    };
    let end = at.saturating_add(RECORD_HEADER).saturating_add(length);
    if end > bytes.len() {
        return true;
    }
    let mut start = at;
    while start < end {
        let next = (start + 1).next_multiple_of(SECTOR).min(end);
        if bytes[start..next].iter().all(|byte| *byte == 0) {
            return true;
        }
        start = next;
    }
    false
}

/// Whether any intact record after `end` says that more than `end` had been synced.
fn synced_past(bytes: &[u8], end: usize) -> bool {
    let mut at = end.next_multiple_of(ALIGN);
    while at + RECORD_HEADER <= bytes.len() {
        if parse(bytes, at).is_some_and(|record| record.synced as usize > end) {
            return true;
        }
        at += ALIGN;
    }
    false
}
