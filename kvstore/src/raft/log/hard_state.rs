//! What raft must remember beside the log: the vote, and up to where the log was purged. A small file,
//! replaced as a whole.
//!
//! ```text
//! "FKVHS\r\n\0" | crc u32 LE of body | body (HardState)
//! ```

use std::io;
use std::path::Path;

use prost::Message;

use crate::disk::Disk;
use crate::raft::codec::{LogIdRecord, VoteRecord};

const MAGIC: &[u8; 8] = b"FKVHS\r\n\0";
const NAME: &str = "hard-state";

#[derive(Clone, PartialEq, Message)]
pub struct HardState {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<VoteRecord>,
    /// Last entry that was purged.
    #[prost(message, optional, tag = "2")]
    pub purged: Option<LogIdRecord>,
}

pub fn save(disk: &dyn Disk, folder: &Path, state: &HardState) -> io::Result<()> {
    let body = state.encode_to_vec();
    let temporary = folder.join(format!("{NAME}.new"));
    let file = disk.create(&temporary)?;
    let bytes = [&MAGIC[..], &crc32fast::hash(&body).to_le_bytes(), &body].concat();
    file.write_all_at(&bytes, 0)?;
    file.sync()?;
    disk.rename(&temporary, &folder.join(NAME))?;
    disk.sync_folder(folder)
}

/// `Ok(None)`: there is none yet.
pub fn load(disk: &dyn Disk, folder: &Path) -> io::Result<Option<HardState>> {
    let path = folder.join(NAME);
    let bytes = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = || {
        let path = path.display();
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{path} is damaged; restore this member from a snapshot"),
        )
    };
    let (magic, rest) = bytes.split_at_checked(8).ok_or_else(damaged)?;
    let (crc, body) = rest.split_at_checked(4).ok_or_else(damaged)?;
    if magic != MAGIC || crc != crc32fast::hash(body).to_le_bytes() {
        return Err(damaged());
    }
    HardState::decode(body).map(Some).map_err(|_| damaged())
}
