//! Whether the caller of a command may have it applied: asked of the table as it is at that point of the
//! log, so that every member decides the same and no change of rights comes in between.

use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::request_op::Request;

use super::{AuthTable, Caller, Change};
use crate::error::Error;
use crate::lease::Table;
use crate::mvcc::KeyRange;
use crate::raft::command::Kind;

pub fn permit(table: &AuthTable, caller: &Caller, kind: &Kind, leases: &Table) -> Result<(), Error> {
    if !table.enabled() {
        return Ok(());
    }
    match kind {
        Kind::Put(put) => {
            table.write(caller, one(&put.key))?;
            lease(table, caller, put.lease, leases)?;
            if put.prev_kv { table.read(caller, one(&put.key)) } else { Ok(()) }
        }
        Kind::DeleteRange(request) => delete(table, caller, request),
        Kind::Txn(request) => txn(table, caller, request),
        Kind::LeaseRevoke(request) => lease(table, caller, request.id, leases),
        Kind::Auth(command) => match command.change {
            Some(Change::Authenticate(_)) => Ok(()),
            _ => table.admin(caller),
        },
        // COMPAT: open to everyone; what administers otherwise is checked where it is asked for.
        Kind::LeaseGrant(_) | Kind::Compact(_) | Kind::Alarm(_) | Kind::Publish(_) | Kind::Admit(_) => Ok(()),
    }
}

/// Whether the caller may have a transaction carried out, whichever branch it takes.
///
/// Beyond etcd: nested transactions are looked into, and a put that asks for the previous value takes
/// the right to read it, as it does outside of a transaction.
pub fn txn(table: &AuthTable, caller: &Caller, request: &pb::TxnRequest) -> Result<(), Error> {
    for compare in &request.compare {
        table.read(caller, KeyRange::new(&compare.key, &compare.range_end))?;
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => {
                table.read(caller, KeyRange::new(&range.key, &range.range_end))?;
            }
            Some(Request::RequestPut(put)) => {
                table.write(caller, one(&put.key))?;
                if put.prev_kv {
                    table.read(caller, one(&put.key))?;
                }
            }
            Some(Request::RequestDeleteRange(request)) => delete(table, caller, request)?,
            Some(Request::RequestTxn(nested)) => txn(table, caller, nested)?,
            None => {}
        }
    }
    Ok(())
}

fn delete(table: &AuthTable, caller: &Caller, request: &pb::DeleteRangeRequest) -> Result<(), Error> {
    let keys = KeyRange::new(&request.key, &request.range_end);
    table.write(caller, keys)?;
    if request.prev_kv { table.read(caller, keys) } else { Ok(()) }
}

/// A lease may be used and ended by who may write all the keys that hang on it.
fn lease(table: &AuthTable, caller: &Caller, id: i64, leases: &Table) -> Result<(), Error> {
    if table.admin(caller).is_ok() {
        return Ok(());
    }
    leases.keys(id).into_iter().flatten().try_for_each(|key| table.write(caller, one(key)))
}

fn one(key: &[u8]) -> KeyRange<'_> {
    KeyRange::new(key, b"")
}
