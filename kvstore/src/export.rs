//! The state as a database of etcd: what a saved snapshot is, so that etcd's tools look into it and
//! restore from it as from their own. `import` reads it back.
//!
//! ```text
//! state                                bucket      key                            value
//! 'r' main, sub -> KeyValue            key         main "_" sub, "t" if deleted   KeyValue
//! 'l' id -> LeaseRecord                lease       id                             leasepb.Lease
//! 'a' … -> AlarmMember                 alarm       AlarmMember
//! 'u' name -> User, 'o' name -> Role   authUsers, authRoles   name
//! 'm' auth -> AuthRecord               auth        authEnabled, authRevision
//! 'm' compacted                        meta        scheduledCompactRev, finishedCompactRev
//! ```
//! Members are left out, as restoring does: a restored cluster has its own.

use std::path::Path;

use bytes::Bytes;
use etcd_protocol::mvccpb::KeyValue;
use prost::Message;

use crate::auth::table::AuthRecord;
use crate::bolt::{BoltError, Writer};
use crate::mvcc::{Revision, decode_record};
use crate::state::{StateError, schema};

/// Version of etcd whose layout this is.
const STORAGE_VERSION: &str = "3.6.0";

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Bolt(#[from] BoltError),
}

/// What the file says about where in the log it stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub index: u64,
    pub term: u64,
    /// Whether everything that the last compaction forgets has been swept out.
    pub swept: bool,
}

/// Called for each record, ascending.
pub type Put<'a> = &'a mut dyn FnMut(&[u8], Bytes) -> Result<(), ExportError>;

/// Writes the file. `pairs` is the state without its records, which `records` hands over. Returns the
/// length in bytes.
pub fn write(
    path: &Path,
    place: Place,
    pairs: &[(Vec<u8>, Bytes)],
    records: impl FnOnce(Put<'_>) -> Result<(), ExportError>,
) -> Result<u64, ExportError> {
    let within = |(from, to): (&'static [u8], &'static [u8])| {
        pairs.iter().filter(move |(key, _)| key.as_slice() >= from && key.as_slice() < to)
    };
    let mut writer = Writer::create(path)?;
    writer.bucket("alarm", |put| {
        let mut alarms: Vec<_> = within(schema::ALARMS).map(|(_, alarm)| alarm).collect();
        alarms.sort();
        alarms.into_iter().try_for_each(|alarm| put(alarm, b""))
    })?;
    let auth = pairs.iter().find(|(key, _)| *key == schema::meta(schema::AUTH));
    let auth = auth.and_then(|(_, value)| AuthRecord::decode(value.clone()).ok());
    writer.bucket("auth", |put| {
        let Some(auth) = &auth else { return put(b"authRevision", &1_u64.to_be_bytes()) };
        put(b"authEnabled", &[u8::from(auth.enabled)])?;
        put(b"authRevision", &auth.revision.to_be_bytes())
    })?;
    for (bucket, range) in
        [("authRoles", schema::ROLES), ("authUsers", schema::USERS), ("lease", schema::LEASES)]
    {
        writer.bucket(bucket, |put| within(range).try_for_each(|(key, value)| put(&key[1..], value)))?;
    }
    for bucket in ["cluster", "members", "members_removed"] {
        writer.bucket(bucket, |_| Ok::<(), BoltError>(()))?;
    }
    let compacted = pairs.iter().find(|(key, _)| *key == schema::meta(schema::COMPACTED));
    let compacted =
        compacted.and_then(|(_, value)| Some(i64::from_be_bytes(value.as_ref().try_into().ok()?)));
    writer.bucket("meta", |put| {
        put(b"consistent_index", &place.index.to_be_bytes())?;
        if let Some(compacted) = compacted {
            let revision = revision_key(Revision::new(compacted, 0), false);
            if place.swept {
                put(b"finishedCompactRev", &revision)?;
            }
            put(b"scheduledCompactRev", &revision)?;
        }
        put(b"storageVersion", STORAGE_VERSION.as_bytes())?;
        put(b"term", &place.term.to_be_bytes())
    })?;
    writer.bucket("key", |put| {
        records(&mut |key, value| {
            let revision = schema::record_revision(key).ok_or_else(|| StateError::Broken(key.to_vec()))?;
            let kv = decode_record(revision, value.clone())?;
            if kv.version > 0 {
                put(&revision_key(revision, false), &value)?;
            } else {
                let deleted = KeyValue { key: kv.key, ..Default::default() };
                put(&revision_key(revision, true), &deleted.encode_to_vec())?;
            }
            Ok(())
        })
    })?;
    Ok(writer.finish()?)
}

/// A revision as etcd keys its records.
fn revision_key(revision: Revision, deleted: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(18);
    key.extend(revision.main.to_be_bytes());
    key.push(b'_');
    key.extend(u64::from(revision.sub).to_be_bytes());
    if deleted {
        key.push(b't');
    }
    key
}
