//! etcd's database file, as bbolt lays it out: what `etcdctl snapshot save` gets from us, what etcd's own
//! tools restore from, and what we import. Only what a file at rest needs: written once, in order; read
//! once, in order.
//!
//! ```text
//! page      id u64 | flags u16 | count u16 | overflow u32 | elements…        (overflow: pages that follow)
//!   meta      magic u32 | version u32 | page size u32 | 0 u32 | root bucket (page u64, sequence u64)
//!             | freelist page u64 | pages u64 | transaction u64 | FNV-1a u64 of the 56 bytes before
//!   leaf      elements: flags u32 | place u32 | key length u32 | value length u32, then keys and values
//!   branch    elements: place u32 | key length u32 | page u64, then keys
//! ```
//! Little-endian; places count from their element. Pages 0 and 1 are metas, of which the one with the later
//! transaction counts. The root bucket's values are buckets: page u64, sequence u64; page 0 means that the
//! bucket's only page follows within the value.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::io;
use std::path::PathBuf;

pub use read::Database;
pub use write::Writer;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const PAGE_HEADER: usize = 16;
const ELEMENT: usize = 16;
const BUCKET_HEADER: usize = 16;
/// Bytes of a meta that its checksum covers.
const META: usize = 56;

const BRANCH_PAGE: u16 = 0x01;
const LEAF_PAGE: u16 = 0x02;
const META_PAGE: u16 = 0x04;
const FREELIST_PAGE: u16 = 0x10;
/// A leaf element whose value is a bucket.
const BUCKET: u32 = 0x01;

#[derive(Debug, thiserror::Error)]
pub enum BoltError {
    #[error("{step} {path}")]
    Io { step: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is no database of etcd, or it is damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
