//! What the supervisor tells others: run/status.json, replaced at every change.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::plan::Fingerprint;
use crate::daemons::Daemon;
use crate::host::packages;
use crate::host::processes::Identity;
use crate::layout::Layout;

/// All daemons, in the order in which they first started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    pub daemons: Vec<DaemonStatus>,
}

/// One daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    pub name: String,
    /// `None` while it waits for its (next) start.
    pub process: Option<Identity>,
    #[serde(with = "crate::settings::text")]
    pub since: Timestamp,
    pub restarts: u32,
    /// Failures in a row, without a minute's rest.
    pub failures: u32,
    /// How it ended last.
    pub last_exit: Option<String>,
}

impl DaemonStatus {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            process: None,
            since: Timestamp::now(),
            restarts: 0,
            failures: 0,
            last_exit: None,
        }
    }
}

impl Status {
    /// As the supervisor wrote it last; empty when it never did.
    pub fn read(layout: &Layout) -> Self {
        std::fs::read(layout.status()).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default()
    }

    pub fn daemon(&self, name: &str) -> Option<&DaemonStatus> {
        self.daemons.iter().find(|d| d.name == name)
    }
}

/// The supervisor's side.
#[derive(Debug)]
pub struct Board {
    file: PathBuf,
    status: Mutex<Status>,
}

impl Board {
    pub fn new(file: PathBuf) -> Self {
        Self { file, status: Mutex::default() }
    }

    pub fn put(&self, daemon: &DaemonStatus) {
        let mut status = self.status.lock();
        match status.daemons.iter_mut().find(|d| d.name == daemon.name) {
            Some(slot) => *slot = daemon.clone(),
            None => status.daemons.push(daemon.clone()),
        }
        let json = serde_json::to_vec_pretty(&*status).expect("plain data");
        let temporary = self.file.with_extension("new");
        let written = std::fs::write(&temporary, json).and_then(|()| std::fs::rename(&temporary, &self.file));
        if let Err(error) = written {
            tracing::warn!(%error, "Cannot write the status");
        }
    }
}

/// What a daemon would be started from now: its flags, its program's file, the contents of its inputs.
pub fn fingerprint(daemon: &Daemon) -> Fingerprint {
    let mut hash = Sha256::new();
    let program = match daemon.program.is_absolute() {
        true => Some(daemon.program.clone()),
        false => daemon.program.to_str().and_then(packages::program),
    };
    if let Some(meta) = program.and_then(|p| std::fs::metadata(p).ok()) {
        hash.update(format!("{} {} {} {}\n", meta.dev(), meta.ino(), meta.mtime(), meta.size()));
    }
    for arg in &daemon.args {
        hash.update(format!("{arg}\n"));
    }
    for file in &daemon.inputs {
        hash.update(std::fs::read(file).unwrap_or_default());
    }
    Fingerprint { name: daemon.name, digest: hex::encode(hash.finalize()) }
}
