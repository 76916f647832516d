//! `kvstore snapshot`: what a saved snapshot holds, and a new cluster from it. Works on files alone; no
//! member runs meanwhile.
//!
//! A restored member is the only one of a new cluster: it has the keys, revisions, leases and alarms of
//! the snapshot, but another identity, so that it can never be taken for a member of the old cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use openraft::BasicNode;
use prost::Message;

use crate::data_dir::{DataDir, Identity};
use crate::disk::OsDisk;
use crate::raft::codec::{AppliedRecord, VoteRecord};
use crate::raft::log::hard_state::{self, HardState};
use crate::raft::{Membership, StoredMembership};
use crate::snapshot::{SnapshotFolder, SnapshotReader, SnapshotWriter};
use crate::state::schema;

/// Looks at snapshots and restores from them.
#[derive(Parser, Debug)]
#[command(name = "kvstore snapshot")]
pub struct SnapshotCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Checks a snapshot and prints its hash, revision, keys and size
    Status {
        file: PathBuf,
        /// How to print it: simple, table or json
        #[arg(short, long, default_value = "simple", value_parser = ["simple", "table", "json"])]
        write_out: String,
    },
    /// Makes the data directory of a new cluster from a snapshot
    Restore(Restore),
}

/// Flags of `etcdutl snapshot restore`.
#[derive(Args, Debug)]
pub struct Restore {
    pub file: PathBuf,
    /// Name of the new member
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Directory to make; ${name}.etcd when not given
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Directory of its own for the log
    #[arg(long)]
    pub wal_dir: Option<PathBuf>,
    /// The new cluster: this member alone
    #[arg(long)]
    pub initial_cluster: Option<String>,
    /// Token of the new cluster
    #[arg(long, default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// Peer URLs of the new member
    #[arg(long, default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: String,
}

/// Runs the command line after `kvstore`.
pub fn run(command: SnapshotCommand) -> anyhow::Result<()> {
    match command.action {
        Action::Status { file, write_out } => {
            let status = status(&file)?;
            print!("{}", status.text(&write_out));
            Ok(())
        }
        Action::Restore(flags) => {
            let identity = restore(&flags)?;
            println!("restored {} as member {:x}", flags.file.display(), identity.member_id);
            Ok(())
        }
    }
}

/// What a snapshot holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Status {
    /// CRC-32 of all pairs.
    pub hash: u32,
    pub revision: i64,
    /// Records, all revisions counted.
    pub records: u64,
    /// Bytes of the file.
    pub size: u64,
}

impl Status {
    fn text(&self, form: &str) -> String {
        let Self { hash, revision, records, size } = self;
        match form {
            "json" => {
                format!(
                    "{{\"hash\":{hash},\"revision\":{revision},\"totalKey\":{records},\"totalSize\":{size}}}\n"
                )
            }
            "table" => {
                let head = ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"].map(str::to_owned);
                let row = [format!("{hash:x}"), revision.to_string(), records.to_string(), size.to_string()];
                let widths: Vec<usize> = head.iter().zip(&row).map(|(a, b)| a.len().max(b.len())).collect();
                let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
                let line = |cells: &[String]| -> String {
                    let cells = cells.iter().zip(&widths);
                    cells.map(|(cell, width)| format!("| {cell:>width$} ")).collect()
                };
                format!("{rule}+\n{}|\n{rule}+\n{}|\n{rule}+\n", line(&head), line(&row))
            }
            _ => format!("{hash:x}, {revision}, {records}, {size}\n"),
        }
    }
}

pub fn status(file: &Path) -> anyhow::Result<Status> {
    let mut reader = SnapshotReader::open(file)?;
    let mut hash = crc32fast::Hasher::new();
    let mut records = 0;
    while let Some((key, value)) = reader.next_pair()? {
        hash.update(&key);
        hash.update(&value);
        records += u64::from(schema::record_revision(&key).is_some());
    }
    let size = std::fs::metadata(file)?.len();
    Ok(Status { hash: hash.finalize(), revision: reader.header.revision, records, size })
}

pub fn restore(flags: &Restore) -> anyhow::Result<Identity> {
    let peers = &flags.initial_advertise_peer_urls;
    if let Some(cluster) = &flags.initial_cluster {
        let alone = format!("{}={peers}", flags.name);
        anyhow::ensure!(
            *cluster == alone,
            "--initial-cluster: clusters of several members are not supported yet; it must be {alone}"
        );
    }
    let path = flags.data_dir.clone().unwrap_or_else(|| format!("{}.etcd", flags.name).into());
    anyhow::ensure!(!path.join("member").exists(), "data-dir {} exists", path.display());
    // Before anything is made: is the snapshot sound?
    status(&flags.file)?;
    let identity = Identity::derive(&flags.initial_cluster_token, peers);
    let data = DataDir::open(&path, flags.wal_dir.clone(), identity)?;

    let mut reader = SnapshotReader::open(&flags.file)?;
    let mut header = reader.header.clone();
    let last =
        header.applied.as_ref().and_then(AppliedRecord::last).context("the snapshot is of no log entry")?;
    let voters = BTreeSet::from([identity.member_id]);
    let nodes = BTreeMap::from([(identity.member_id, BasicNode::new(peers))]);
    let membership = Membership::new(vec![voters], nodes).context("make the membership")?;
    let applied = AppliedRecord::new(Some(last), &StoredMembership::new(Some(last), membership));
    header.applied = Some(applied.clone());
    header.cluster_id = identity.cluster_id;

    let folder = SnapshotFolder::open(&data.snapshots())?;
    let unfinished = folder.unfinished();
    let mut writer = SnapshotWriter::create(&unfinished, &header)?;
    let applied_key = schema::meta(schema::APPLIED);
    while let Some((key, value)) = reader.next_pair()? {
        let key: &[u8] = &key;
        let of_old_members = key >= schema::MEMBERS.0 && key < schema::MEMBERS.1;
        if key == applied_key {
            writer.pair(key, &applied.encode_to_vec())?;
        } else if !of_old_members {
            writer.pair(key, &value)?;
        }
    }
    writer.finish()?;
    folder.adopt(&unfinished, last.index)?;

    // The log goes on after the snapshot, in a later term than any of the old cluster.
    let hard = HardState {
        vote: Some(VoteRecord { term: last.leader_id.term + 1, node: identity.member_id, committed: false }),
        purged: Some(last.into()),
    };
    std::fs::create_dir_all(data.wal()).context("make the log's directory")?;
    hard_state::save(&OsDisk, data.wal(), &hard).context("write the hard state")?;
    Ok(identity)
}
