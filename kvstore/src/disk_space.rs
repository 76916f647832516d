//! Room on the file system of the data directory. Running out in the middle of a write would stop the
//! store; so writes are refused while there is still room for what lets go of data: deletions,
//! compactions, the log they take.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Below this, writes that grow are refused.
const SCARCE: u64 = 128 << 20;
/// Below this, nothing is written any more: two segments of the log and what the state needs.
const NONE: u64 = 48 << 20;
/// How long an answer of the file system holds.
const FRESH: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    None,
    Scarce,
    Enough,
}

pub struct DiskSpace {
    paths: Vec<PathBuf>,
    last: Mutex<Option<(Instant, u64)>>,
}

impl DiskSpace {
    /// Watches the file systems of these folders.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, last: Mutex::new(None) }
    }

    pub fn room(&self) -> Room {
        match self.free() {
            free if free < NONE => Room::None,
            free if free < SCARCE => Room::Scarce,
            _ => Room::Enough,
        }
    }

    /// Bytes free where least is free.
    pub fn free(&self) -> u64 {
        let now = Instant::now();
        let mut last = self.last.lock();
        if let Some((at, free)) = *last
            && now.duration_since(at) < FRESH
        {
            return free;
        }
        let free = self.paths.iter().map(|path| match rustix::fs::statvfs(path) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            // A file system that does not tell is not held against the writer.
            Err(_) => u64::MAX,
        });
        let free = free.min().unwrap_or(u64::MAX);
        *last = Some((now, free));
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_file_system_decides() {
        // A file system of its own that has no room at all.
        let space = DiskSpace::new(vec!["/proc".into(), std::env::temp_dir()]);
        assert_eq!((space.free(), space.room()), (0, Room::None));
        let space = DiskSpace::new(vec!["/no/such/folder".into()]);
        assert_eq!(space.room(), Room::Enough);
    }
}
