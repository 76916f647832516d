//! What raft must remember beside the log: the vote, and up to where the log was purged. A small file,
//! replaced as a whole.
//!
//! ```text
//! "FKVHS\r\n\0" | crc u32 LE of body | body (HardState)
//! ```

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use prost::Message;

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

pub fn save(folder: &Path, state: &HardState) -> io::Result<()> {
    let body = state.encode_to_vec();
    let temporary = folder.join(format!("{NAME}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(MAGIC)?;
    file.write_all(&crc32fast::hash(&body).to_le_bytes())?;
    file.write_all(&body)?;
    file.sync_data()?;
    std::fs::rename(&temporary, folder.join(NAME))?;
    File::open(folder)?.sync_all()
}

/// `Ok(None)`: there is none yet.
pub fn load(folder: &Path) -> io::Result<Option<HardState>> {
    let path = folder.join(NAME);
    let bytes = match std::fs::read(&path) {
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
