//! Leases: which exist and what hangs on them (`Table`, part of the replicated state), and when they end
//! (`Lessor`, known to the leader alone: a lease ends by a revocation in the log, never by a clock on
//! its own). A restart or a new leader gives every lease its full time again.

mod expiry;

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::mvcc::{Key, Leases};

pub use expiry::Lessor;

/// Longest lease, in seconds.
pub const MAX_TTL: i64 = 9_000_000_000;

/// A lease as kept in the state.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseRecord {
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Seconds.
    #[prost(int64, tag = "2")]
    pub ttl: i64,
}

#[derive(Clone, Debug, Default)]
struct Lease {
    ttl: i64,
    keys: BTreeSet<Key>,
}

/// All leases and their keys.
#[derive(Clone, Debug, Default)]
pub struct Table {
    leases: BTreeMap<i64, Lease>,
}

impl Table {
    pub fn grant(&mut self, id: i64, ttl: i64) -> Result<(), Error> {
        if id == 0 {
            return Err(Error::LeaseNotFound);
        }
        if ttl > MAX_TTL {
            return Err(Error::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Error::LeaseExists);
        }
        self.leases.insert(id, Lease { ttl, keys: BTreeSet::new() });
        Ok(())
    }

    /// Takes a lease out; returns its keys.
    pub fn revoke(&mut self, id: i64) -> Result<BTreeSet<Key>, Error> {
        self.leases.remove(&id).map(|lease| lease.keys).ok_or(Error::LeaseNotFound)
    }

    pub fn ids(&self) -> impl Iterator<Item = i64> {
        self.leases.keys().copied()
    }

    /// Time granted, in seconds.
    pub fn ttl(&self, id: i64) -> Option<i64> {
        self.leases.get(&id).map(|lease| lease.ttl)
    }

    pub fn keys(&self, id: i64) -> Option<&BTreeSet<Key>> {
        self.leases.get(&id).map(|lease| &lease.keys)
    }
}

impl Leases for Table {
    fn exists(&self, lease: i64) -> bool {
        self.leases.contains_key(&lease)
    }

    fn attach(&mut self, lease: i64, key: &[u8]) {
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.insert(Key::from(key));
        }
    }

    fn detach(&mut self, lease: i64, key: &[u8]) {
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_and_revokes() {
        let mut table = Table::default();
        assert_eq!(table.grant(0, 10), Err(Error::LeaseNotFound));
        assert_eq!(table.grant(7, MAX_TTL + 1), Err(Error::LeaseTtlTooLarge));
        assert_eq!(table.grant(7, 10), Ok(()));
        assert_eq!(table.grant(7, 10), Err(Error::LeaseExists));
        table.attach(7, b"a");
        table.attach(7, b"b");
        table.detach(7, b"a");
        table.attach(8, b"of no lease");
        assert_eq!(table.revoke(7).unwrap(), BTreeSet::from([Key::from(&b"b"[..])]));
        assert_eq!(table.revoke(7), Err(Error::LeaseNotFound));
    }
}
