//! The data directory: who this member is, where log, snapshots and state are, and whether the state can
//! be trusted.
//!
//! ```text
//! member/lock          held while a process uses the directory
//! member/identity      JSON: format, cluster_id, member_id
//! member/wal/          raft::log
//! member/snap/         snapshot
//! member/state/        state::disk: a cache of the two above
//! member/state-mark    the boot id of the machine while in use; "clean" after a clean end
//! ```
//! sled does not sync its files. They are used again after a crash of the process (what it wrote is in
//! the kernel's cache) and after a clean end (we synced them), but not after a crash of the machine: then
//! the state is made anew from snapshot and log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::state::{DiskState, StateError, StateStore};

const FORMAT: u32 = 1;
const CLEAN: &str = "clean";

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("{step} {path}")]
    Io { step: &'static str, path: PathBuf, source: io::Error },
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    #[error("{0} holds the data of an etcd member; kvstore cannot use it. Give another --data-dir")]
    Etcd(PathBuf),
    #[error("{0} is damaged or was written by a newer version")]
    Identity(PathBuf),
    #[error(transparent)]
    State(#[from] StateError),
}

/// Who a member is, for as long as its data lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    format: u32,
    pub cluster_id: u64,
    pub member_id: u64,
}

impl Identity {
    /// Derived, as etcd does, from what members agree on at bootstrap.
    pub fn derive(token: &str, peer_urls: &str) -> Self {
        Self::of_cluster(token, peer_urls, &[peer_urls.to_owned()])
    }

    /// As `derive`, for one of several members: their peer URLs, each with commas between them.
    pub fn of_cluster(token: &str, own: &str, all: &[String]) -> Self {
        let mut ids: Vec<u64> = all.iter().map(|urls| digest(&["member", token, urls])).collect();
        ids.sort_unstable();
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let parts: Vec<&str> = ["cluster", token].into_iter().chain(ids.iter().map(String::as_str)).collect();
        Self { format: FORMAT, cluster_id: digest(&parts), member_id: digest(&["member", token, own]) }
    }

    /// Of a member that was told who it is.
    pub fn given(cluster_id: u64, member_id: u64) -> Self {
        Self { format: FORMAT, cluster_id, member_id }
    }

    /// Who the member is whose data is in a directory; None when there is none.
    pub fn recorded(path: &Path) -> Result<Option<Self>, DataDirError> {
        recorded(&path.join("member").join("identity"))
    }
}

/// The id of a member with these peer URLs, told apart by a token or a time.
pub fn member_id(peer_urls: &[String], salt: &str) -> u64 {
    digest(&["member", salt, &peer_urls.join(",")])
}

fn digest(parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    // Zero means "none" in the protocol.
    hash.iter().take(8).fold(0_u64, |id, byte| id << 8 | u64::from(*byte)).max(1)
}

/// An open data directory; nobody else opens it meanwhile.
pub struct DataDir {
    member: PathBuf,
    wal: PathBuf,
    pub identity: Identity,
    _lock: File,
}

impl DataDir {
    /// Opens a directory or makes one for a new member.
    pub fn open(path: &Path, wal: Option<PathBuf>, new: Identity) -> Result<Self, DataDirError> {
        let member = path.join("member");
        if member.join("snap").join("db").exists() {
            return Err(DataDirError::Etcd(path.to_owned()));
        }
        make_private(&member)?;
        sync_names(path)?;
        let lock = lock(&member)?;
        let identity = identity(&member.join("identity"), new)?;
        let wal = wal.unwrap_or_else(|| member.join("wal"));
        Ok(Self { member, wal, identity, _lock: lock })
    }

    pub fn wal(&self) -> &Path {
        &self.wal
    }

    pub fn snapshots(&self) -> PathBuf {
        self.member.join("snap")
    }

    /// Opens the state, or makes it anew when it cannot be trusted. Empty when made anew.
    pub fn open_state(&self) -> Result<Arc<DiskState>, DataDirError> {
        let path = self.member.join("state");
        let mark_path = self.member.join("state-mark");
        let boot = boot_id();
        let mark = std::fs::read_to_string(&mark_path).unwrap_or_default();
        let trusted = mark == CLEAN || boot.as_deref().is_some_and(|boot| boot == mark);
        if path.exists() && !trusted {
            tracing::warn!(
                "the machine went down while kvstore ran: rebuilding the state from snapshot and log"
            );
            remove(&path)?;
        }
        self.mark(boot.as_deref().unwrap_or("unknown"))?;
        // sled panics on some damage.
        match std::panic::catch_unwind(|| DiskState::open(&path)) {
            Ok(Ok(state)) => Ok(Arc::new(state)),
            failed => {
                let error = failed.ok().and_then(Result::err).map(|error| error.to_string());
                tracing::warn!(error, "the state does not open: rebuilding it from snapshot and log");
                remove(&path)?;
                Ok(Arc::new(DiskState::open(&path)?))
            }
        }
    }

    /// Syncs the state at a clean end, so that the next start can use it.
    pub fn close_state(&self, state: &dyn StateStore) -> Result<(), DataDirError> {
        state.sync()?;
        self.mark(CLEAN)
    }

    fn mark(&self, text: &str) -> Result<(), DataDirError> {
        write_synced(&self.member, "state-mark", text.as_bytes())
    }
}

fn make_private(path: &Path) -> Result<(), DataDirError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(|source| DataDirError::Io { step: "create", path: path.to_owned(), source })
}

/// Makes the names on the way to the member's folder survive a crash of the machine.
fn sync_names(path: &Path) -> Result<(), DataDirError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for folder in [Some(path.as_path()), path.parent()].into_iter().flatten() {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        match synced {
            // A parent that we may not read was there before us.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            other => {
                other.map_err(|source| DataDirError::Io { step: "sync", path: folder.to_owned(), source })?
            }
        }
    }
    Ok(())
}

fn lock(member: &Path) -> Result<File, DataDirError> {
    let path = member.join("lock");
    let io = |source| DataDirError::Io { step: "open", path: path.clone(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::InUse(member.to_owned())),
        Err(errno) => Err(DataDirError::Io { step: "lock", path, source: errno.into() }),
    }
}

fn identity(path: &Path, new: Identity) -> Result<Identity, DataDirError> {
    let io = |step| move |source| DataDirError::Io { step, path: path.to_owned(), source };
    if let Some(identity) = recorded(path)? {
        return Ok(identity);
    }
    let json = serde_json::to_vec(&new).map_err(|error| io("encode")(error.into()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    write_synced(folder, "identity", &json)?;
    Ok(new)
}

fn recorded(path: &Path) -> Result<Option<Identity>, DataDirError> {
    match std::fs::read(path) {
        Ok(bytes) => match serde_json::from_slice::<Identity>(&bytes) {
            Ok(identity) if identity.format == FORMAT => Ok(Some(identity)),
            _ => Err(DataDirError::Identity(path.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataDirError::Io { step: "read", path: path.to_owned(), source }),
    }
}

/// Replaces a small file as a whole; it is on disk when this returns.
fn write_synced(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), DataDirError> {
    let path = folder.join(name);
    let temporary = folder.join(format!("{name}.new"));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| DataDirError::Io { step: "write", path: path.clone(), source })
}

fn remove(path: &Path) -> Result<(), DataDirError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DataDirError::Io { step: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Changes with every start of the machine.
fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_outlives_the_flags_it_came_from() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::derive("t", "http://a:1");
        let other = Identity::derive("t", "http://b:1");
        assert_ne!(first.member_id, other.member_id);
        drop(DataDir::open(folder.path(), None, first).unwrap());
        assert_eq!(DataDir::open(folder.path(), None, other).unwrap().identity, first);
    }

    #[test]
    fn members_agree_on_who_they_are() {
        let all = ["http://a:1", "http://b:1", "http://c:1"].map(str::to_owned);
        let of = |own: &str, all: &[String]| Identity::of_cluster("t", own, all);
        let (a, b) = (of("http://a:1", &all), of("http://b:1", &all));
        assert_eq!(a.cluster_id, b.cluster_id);
        assert_ne!(a.member_id, b.member_id);
        let mut turned = all.clone();
        turned.reverse();
        assert_eq!(of("http://a:1", &turned), a);
        assert_eq!(a.member_id, member_id(&all[..1], "t"));
        assert_ne!(of("http://a:1", &all[..2]).cluster_id, a.cluster_id);
        assert_eq!(of("http://a:1", &all[..1]), Identity::derive("t", "http://a:1"));
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::derive("t", "http://a:1");
        let first = DataDir::open(folder.path(), None, identity).unwrap();
        assert!(matches!(DataDir::open(folder.path(), None, identity), Err(DataDirError::InUse(_))));
        drop(first);
        DataDir::open(folder.path(), None, identity).unwrap();
    }

    #[test]
    fn a_state_from_before_a_crash_of_the_machine_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path(), None, Identity::derive("t", "http://a:1")).unwrap();
        let write = |state: &dyn StateStore| {
            let mut batch = crate::state::Batch::default();
            batch.put(b"k".to_vec(), "v");
            state.write(batch).unwrap();
        };
        let state = dir.open_state().unwrap();
        write(state.as_ref());
        dir.close_state(state.as_ref()).unwrap();
        drop(state);
        let state = dir.open_state().unwrap();
        assert!(state.get(b"k").unwrap().is_some(), "a clean end keeps it");
        drop(state);
        dir.mark("another boot").unwrap();
        let state = dir.open_state().unwrap();
        assert!(state.get(b"k").unwrap().is_none());
    }

    #[test]
    fn etcds_data_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("member/snap")).unwrap();
        std::fs::write(folder.path().join("member/snap/db"), "bolt").unwrap();
        let identity = Identity::derive("t", "http://a:1");
        assert!(matches!(DataDir::open(folder.path(), None, identity), Err(DataDirError::Etcd(_))));
    }
}
