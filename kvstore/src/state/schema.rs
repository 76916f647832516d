//! Where things stand in the applied state.
//!
//! ```text
//! 'r' main u64 BE, sub u32 BE  -> mvccpb.KeyValue; version 0 is a tombstone (key and mod_revision only)
//! 'l' lease id u64 BE          -> LeaseRecord
//! 'a' alarm                    -> etcdserverpb.AlarmMember
//! 'm' name                     -> one value each: applied, membership, revision, compacted, swept, auth,
//!                                 removed/…, member/…
//! 'o' name                     -> authpb.Role
//! 'u' name                     -> authpb.User
//! ```

use crate::mvcc::Revision;

const RECORD: u8 = b'r';
const LEASE: u8 = b'l';
const ALARM: u8 = b'a';
const META: u8 = b'm';
const ROLE: u8 = b'o';
const USER: u8 = b'u';

/// How far the log has been applied (`raft::codec::AppliedRecord`).
pub const APPLIED: &str = "applied";
/// Revision that history was cut at.
pub const COMPACTED: &str = "compacted";
/// Current revision (a compaction may have removed the record that carried it).
pub const REVISION: &str = "revision";

/// Whether authentication is on, and the revision of users and roles (`auth::table::AuthRecord`).
pub const AUTH: &str = "auth";

pub fn record(revision: Revision) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + Revision::ENCODED_LEN);
    key.push(RECORD);
    key.extend_from_slice(&revision.to_bytes());
    key
}

pub fn record_revision(key: &[u8]) -> Option<Revision> {
    key.strip_prefix(&[RECORD]).and_then(Revision::from_bytes)
}

pub fn lease(id: i64) -> Vec<u8> {
    let mut key = vec![LEASE];
    key.extend_from_slice(&id.to_be_bytes());
    key
}

pub fn alarm(member: u64, alarm: i32) -> Vec<u8> {
    let mut key = vec![ALARM];
    key.extend_from_slice(&member.to_be_bytes());
    key.extend_from_slice(&alarm.to_be_bytes());
    key
}

pub fn member(id: u64) -> Vec<u8> {
    let mut key = meta("member/");
    key.extend_from_slice(&id.to_be_bytes());
    key
}

pub fn user(name: &str) -> Vec<u8> {
    [&[USER], name.as_bytes()].concat()
}

pub fn role(name: &str) -> Vec<u8> {
    [&[ROLE], name.as_bytes()].concat()
}

/// That a member was removed; there is no value.
pub fn removed(id: u64) -> Vec<u8> {
    let mut key = meta("removed/");
    key.extend_from_slice(&id.to_be_bytes());
    key
}

pub fn removed_id(key: &[u8]) -> Option<u64> {
    key.strip_prefix(REMOVED.0)?.try_into().ok().map(u64::from_be_bytes)
}

pub fn meta(name: &str) -> Vec<u8> {
    let mut key = vec![META];
    key.extend_from_slice(name.as_bytes());
    key
}

/// Bounds of everything but revisions' records, and of these.
pub const RECORDS: (&[u8], &[u8]) = (b"r", b"s");
pub const LEASES: (&[u8], &[u8]) = (b"l", b"m");
pub const ALARMS: (&[u8], &[u8]) = (b"a", b"b");
pub const MEMBERS: (&[u8], &[u8]) = (b"mmember/", b"mmember0");
pub const USERS: (&[u8], &[u8]) = (b"u", b"v");
pub const ROLES: (&[u8], &[u8]) = (b"o", b"p");
pub const REMOVED: (&[u8], &[u8]) = (b"mremoved/", b"mremoved0");
pub const ALL: (&[u8], &[u8]) = (b"", b"\xff");
