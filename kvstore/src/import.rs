//! A database of etcd as pairs of our state: keys with all their revisions, leases, alarms, users and
//! roles. The layout is drawn in `export`.

use std::ops::ControlFlow;

use etcd_protocol::etcdserverpb::AlarmMember;
use etcd_protocol::mvccpb::KeyValue;
use prost::Message;

use crate::auth::table::AuthRecord;
use crate::bolt::{BoltError, Database};
use crate::mvcc::Revision;
use crate::state::schema;

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Bolt(#[from] BoltError),
    #[error("bucket {bucket} holds what etcd does not write there: {key:02x?}")]
    Unknown { bucket: &'static str, key: Vec<u8> },
    #[error("{0}")]
    Put(String),
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub revision: i64,
    pub compacted: i64,
    pub records: u64,
}

/// Takes a pair of the state.
pub type Put<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), ImportError>;

/// Hands over every pair but revision and compaction, which `Found` tells.
pub fn read(database: &Database, put: Put<'_>) -> Result<Found, ImportError> {
    let mut found = Found { revision: 1, ..Found::default() };
    each(database, "key", |key, value| {
        let unknown = || ImportError::Unknown { bucket: "key", key: key.to_vec() };
        let (revision, deleted) = parse_revision(key).ok_or_else(unknown)?;
        found.revision = found.revision.max(revision.main);
        found.records += 1;
        if !deleted {
            return put(&schema::record(revision), value);
        }
        let kv = KeyValue::decode(value).map_err(|_| unknown())?;
        let deleted = KeyValue { key: kv.key, mod_revision: revision.main, ..Default::default() };
        put(&schema::record(revision), &deleted.encode_to_vec())
    })?;
    each(database, "lease", |key, value| {
        let id = key.try_into().map(i64::from_be_bytes);
        let id = id.map_err(|_| ImportError::Unknown { bucket: "lease", key: key.to_vec() })?;
        put(&schema::lease(id), value)
    })?;
    each(database, "alarm", |key, _| {
        let alarm = AlarmMember::decode(key);
        let alarm = alarm.map_err(|_| ImportError::Unknown { bucket: "alarm", key: key.to_vec() })?;
        put(&schema::alarm(alarm.member_id, alarm.alarm), key)
    })?;
    each(database, "authUsers", |key, value| put(&schema::user(&String::from_utf8_lossy(key)), value))?;
    each(database, "authRoles", |key, value| put(&schema::role(&String::from_utf8_lossy(key)), value))?;
    let mut auth = AuthRecord { enabled: false, revision: 1 };
    each(database, "auth", |key, value| {
        match key {
            b"authEnabled" => auth.enabled = value == [1],
            b"authRevision" => auth.revision = value.try_into().map_or(auth.revision, u64::from_be_bytes),
            _ => {}
        }
        Ok(())
    })?;
    put(&schema::meta(schema::AUTH), &auth.encode_to_vec())?;
    each(database, "meta", |key, value| {
        if (key == b"scheduledCompactRev" || key == b"finishedCompactRev")
            && let Some((revision, _)) = parse_revision(value)
        {
            found.compacted = found.compacted.max(revision.main);
        }
        Ok(())
    })?;
    found.revision = found.revision.max(found.compacted);
    Ok(found)
}

/// Counts without taking anything over.
pub fn look(database: &Database) -> Result<Found, ImportError> {
    read(database, &mut |_, _| Ok(()))
}

fn each(
    database: &Database,
    bucket: &str,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let mut failed = None;
    database.each(bucket, &mut |key, value| match visit(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// A revision as etcd keys its records, and whether it is a deletion.
fn parse_revision(bytes: &[u8]) -> Option<(Revision, bool)> {
    let deleted = match bytes.len() {
        17 => false,
        18 if bytes[17] == b't' => true,
        _ => return None,
    };
    let main = i64::from_be_bytes(bytes[..8].try_into().ok()?);
    let sub = u64::from_be_bytes(bytes[9..17].try_into().ok()?);
    (bytes[8] == b'_' && main > 0).then_some((Revision::new(main, u32::try_from(sub).ok()?), deleted))
}
