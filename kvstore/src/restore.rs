//! `kvstore snapshot`: what a saved snapshot holds, and a new cluster from it. Works on files alone; no
//! member runs meanwhile. A snapshot is a database of etcd (what `etcdctl snapshot save` gets from kvstore
//! and from etcd alike, or one out of a data directory of etcd), or one of our own (`snapshot`).
//!
//! A restored member belongs to a new cluster (alone, or with the others of `--initial-cluster`, each
//! restored from the same file): it has the keys, revisions, leases and alarms of
//! the snapshot, but another identity, so that it can never be taken for a member of the old cluster.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::bolt::Database;
use crate::bootstrap::InitialCluster;
use crate::data_dir::{DataDir, Identity};
use crate::disk::OsDisk;
use crate::import::{self, ImportError};
use crate::raft::codec::{AppliedRecord, LogIdRecord, VoteRecord};
use crate::raft::log::hard_state::{self, HardState};
use crate::raft::{LogId, Membership, StoredMembership};
use crate::snapshot::{SnapshotFolder, SnapshotHeader, SnapshotReader, SnapshotWriter};
use crate::state::schema;

/// COMPAT: a saved database is whole sectors, and then its SHA-256.
const SECTOR: u64 = 512;
const HASH: u64 = 32;

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
    /// Take a file without a checksum at its end: one copied out of a data directory of etcd
    #[arg(long)]
    pub skip_hash_check: bool,
    #[command(flatten)]
    pub target: Target,
}

/// The data directory to make.
#[derive(Args, Debug)]
pub struct Target {
    /// Name of the new member
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Directory to make; ${name}.etcd when not given
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Directory of its own for the log
    #[arg(long)]
    pub wal_dir: Option<PathBuf>,
    /// Members of the new cluster, as name=URL; this member alone when not given
    #[arg(long)]
    pub initial_cluster: Option<String>,
    /// Token of the new cluster
    #[arg(long, default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// Peer URLs of the new member
    #[arg(long, default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: String,
    /// How far the revision moves on, so that watchers of the old cluster notice
    #[arg(long, default_value_t = 0)]
    pub bump_revision: u32,
    /// Cut history at the new revision (needed with --bump-revision)
    #[arg(long)]
    pub mark_compacted: bool,
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
    let size = std::fs::metadata(file).with_context(|| format!("look at {}", file.display()))?.len();
    let mut hash = crc32fast::Hasher::new();
    if Database::is_one(file)? {
        let found = import::read(&Database::open(file)?, &mut |key, value| {
            hash.update(key);
            hash.update(value);
            Ok(())
        })?;
        return Ok(Status { hash: hash.finalize(), revision: found.revision, records: found.records, size });
    }
    let mut reader = SnapshotReader::open(file)?;
    let mut records = 0;
    while let Some((key, value)) = reader.next_pair()? {
        hash.update(&key);
        hash.update(&value);
        records += u64::from(schema::record_revision(&key).is_some());
    }
    Ok(Status { hash: hash.finalize(), revision: reader.header.revision, records, size })
}

/// Checks the SHA-256 that `etcdctl snapshot save` leaves at the end of a database.
fn check_hash(file: &Path, skip: bool) -> anyhow::Result<()> {
    let mut input = File::open(file)?;
    let length = input.metadata()?.len();
    if length % SECTOR != HASH {
        anyhow::ensure!(skip, "snapshot missing hash but --skip-hash-check=false");
        return Ok(());
    }
    if skip {
        return Ok(());
    }
    let mut hash = Sha256::new();
    std::io::copy(&mut input.by_ref().take(length - HASH), &mut hash)?;
    let mut expected = Vec::new();
    input.read_to_end(&mut expected)?;
    let found = hash.finalize();
    anyhow::ensure!(
        found[..] == expected[..],
        "the snapshot is damaged: expected sha256 {expected:x?}, got {found:x?}"
    );
    Ok(())
}

/// How revision and compaction come out.
struct Clock<'a>(&'a Target);

impl Clock<'_> {
    fn check(&self) -> anyhow::Result<()> {
        match (self.0.bump_revision > 0, self.0.mark_compacted) {
            (true, false) => anyhow::bail!("--mark-compacted required if --bump-revision > 0"),
            (false, true) => anyhow::bail!("--mark-compacted disallowed if --bump-revision not used"),
            _ => Ok(()),
        }
    }

    /// Revision and compaction of the new cluster, from those of the snapshot.
    fn moved(&self, revision: i64, compacted: i64) -> (i64, i64) {
        let moved = revision + i64::from(self.0.bump_revision);
        (moved, if self.0.mark_compacted { moved } else { compacted })
    }
}

pub fn restore(flags: &Restore) -> anyhow::Result<Identity> {
    // Before anything is made: is the snapshot sound?
    if Database::is_one(&flags.file)? {
        check_hash(&flags.file, flags.skip_hash_check)?;
    } else {
        status(&flags.file)?;
    }
    make(&flags.file, &flags.target)
}

/// Makes a data directory from a sound file.
pub fn make(file: &Path, target: &Target) -> anyhow::Result<Identity> {
    let clock = Clock(target);
    clock.check()?;
    let cluster = InitialCluster::parse(
        target.initial_cluster.as_deref().unwrap_or_default(),
        &target.name,
        &target.initial_advertise_peer_urls,
        &target.initial_cluster_token,
    )?;
    let path = target.data_dir.clone().unwrap_or_else(|| format!("{}.etcd", target.name).into());
    anyhow::ensure!(!path.join("member").exists(), "data-dir {} exists", path.display());
    let source = Source::open(file)?;
    let (revision, compacted) = source.revisions()?;
    let (revision, compacted) = clock.moved(revision, compacted);

    let identity = cluster.identity();
    let data = DataDir::open(&path, target.wal_dir.clone(), identity)?;
    // Each member of the new cluster is restored from the same file, and begins at the same point.
    let nodes = cluster.nodes();
    let voters: BTreeSet<u64> = nodes.keys().copied().collect();
    let last = source.last(voters.first().copied().unwrap_or(identity.member_id))?;
    let membership = Membership::new(vec![voters], nodes).context("make the membership")?;
    let applied = AppliedRecord::new(Some(last), &StoredMembership::new(Some(last), membership));
    let header = SnapshotHeader {
        applied: Some(applied.clone()),
        cluster_id: identity.cluster_id,
        revision,
        writer: env!("CARGO_PKG_VERSION").to_owned(),
    };

    let folder = SnapshotFolder::open(&data.snapshots())?;
    let unfinished = folder.unfinished();
    let mut writer = SnapshotWriter::create(&unfinished, &header)?;
    source.copy(&mut writer)?;
    writer.pair(&schema::meta(schema::APPLIED), &applied.encode_to_vec())?;
    writer.pair(&schema::meta(schema::REVISION), &revision.to_be_bytes())?;
    if compacted > 0 {
        writer.pair(&schema::meta(schema::COMPACTED), &compacted.to_be_bytes())?;
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

/// What is restored from.
enum Source<'a> {
    /// A snapshot of our own.
    Own(&'a Path),
    /// A database of etcd, or one that we have written as such.
    Etcd(Database),
}

impl<'a> Source<'a> {
    fn open(file: &'a Path) -> anyhow::Result<Self> {
        Ok(if Database::is_one(file)? { Source::Etcd(Database::open(file)?) } else { Source::Own(file) })
    }

    fn revisions(&self) -> anyhow::Result<(i64, i64)> {
        match self {
            Source::Etcd(database) => {
                let found = import::look(database)?;
                Ok((found.revision, found.compacted))
            }
            Source::Own(file) => {
                let mut reader = SnapshotReader::open(file)?;
                let (key, mut compacted) = (schema::meta(schema::COMPACTED), 0);
                while let Some((name, value)) = reader.next_pair()? {
                    if name == key {
                        compacted =
                            i64::from_be_bytes(value.as_ref().try_into().context("compacted revision")?);
                    }
                }
                Ok((reader.header.revision, compacted))
            }
        }
    }

    /// The point of the log at which the new cluster begins.
    fn last(&self, member: u64) -> anyhow::Result<LogId> {
        match self {
            Source::Etcd(_) => Ok(LogIdRecord { term: 1, node: member, index: 1 }.into()),
            Source::Own(file) => {
                let header = SnapshotReader::open(file)?.header;
                let last = header.applied.as_ref().and_then(AppliedRecord::last);
                last.context("the snapshot is of no log entry")
            }
        }
    }

    /// Copies everything but what the new cluster has of its own.
    fn copy(&self, writer: &mut SnapshotWriter) -> anyhow::Result<()> {
        match self {
            Source::Etcd(database) => {
                let put = &mut |key: &[u8], value: &[u8]| {
                    writer.pair(key, value).map_err(|error| ImportError::Put(error.to_string()))
                };
                import::read(database, put)?;
            }
            Source::Own(file) => {
                let own = [schema::APPLIED, schema::REVISION, schema::COMPACTED].map(schema::meta);
                let mut reader = SnapshotReader::open(file)?;
                while let Some((key, value)) = reader.next_pair()? {
                    let key: &[u8] = &key;
                    let within = |(from, to): (&[u8], &[u8])| key >= from && key < to;
                    let of_old_members = within(schema::MEMBERS) || within(schema::REMOVED);
                    if !of_old_members && !own.iter().any(|own| own == key) {
                        writer.pair(key, &value)?;
                    }
                }
            }
        }
        Ok(())
    }
}
