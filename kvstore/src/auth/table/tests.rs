//! The table of users and roles: who may do what, and what each change answers.

use super::*;
use crate::auth::check;
use crate::lease::Table;
use crate::raft::command::Kind;

fn caller(table: &AuthTable, name: &str) -> Caller {
    Caller { name: name.to_owned(), revision: table.revision() }
}

fn change(table: &mut AuthTable, change: Change) -> Result<(), Error> {
    table.apply(&change, &mut Batch::default())
}

fn add_user(name: &str) -> Change {
    Change::UserAdd(pb::AuthUserAddRequest {
        name: name.to_owned(),
        hashed_password: "aGFzaA==".to_owned(),
        ..Default::default()
    })
}

fn add_role(name: &str) -> Change {
    Change::RoleAdd(pb::AuthRoleAddRequest { name: name.to_owned() })
}

fn grant(user: &str, role: &str) -> Change {
    Change::UserGrantRole(pb::AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() })
}

fn allow(role: &str, kind: permission::Type, key: &str, end: &str) -> Change {
    Change::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest {
        name: role.to_owned(),
        perm: Some(Permission {
            perm_type: kind.into(),
            key: key.as_bytes().to_vec().into(),
            range_end: end.as_bytes().to_vec().into(),
        }),
    })
}

/// Root, and alice who may read a..c and write w.
fn example() -> AuthTable {
    let mut table = AuthTable::default();
    for step in [
        add_user("root"),
        add_role("root"),
        grant("root", "root"),
        add_user("alice"),
        add_role("dev"),
        allow("dev", permission::Type::Read, "a", "c"),
        allow("dev", permission::Type::Write, "w", ""),
        grant("alice", "dev"),
        Change::Enable(pb::AuthEnableRequest {}),
    ] {
        change(&mut table, step).unwrap();
    }
    table
}

#[test]
fn every_change_moves_the_revision_but_turning_it_on() {
    let mut table = example();
    assert_eq!(table.revision(), 9);
    change(&mut table, grant("alice", "dev")).unwrap();
    assert_eq!(table.revision(), 9, "she had it already");
    change(&mut table, add_role("more")).unwrap();
    assert_eq!(table.revision(), 10);
    change(&mut table, Change::Disable(pb::AuthDisableRequest {})).unwrap();
    change(&mut table, Change::Disable(pb::AuthDisableRequest {})).unwrap();
    assert_eq!((table.revision(), table.enabled()), (11, false));
}

#[test]
fn what_cannot_be_done_says_so() {
    let mut table = AuthTable::default();
    let enable = || Change::Enable(pb::AuthEnableRequest {});
    assert_eq!(change(&mut table, enable()), Err(Error::RootUserNotExist));
    change(&mut table, add_user("root")).unwrap();
    assert_eq!(change(&mut table, enable()), Err(Error::RootRoleNotExist));

    let mut table = example();
    let mut check = |step, expected: Error| assert_eq!(change(&mut table, step), Err(expected));
    check(add_user(""), Error::UserEmpty);
    check(add_user("alice"), Error::UserExists);
    check(add_role(""), Error::RoleEmpty);
    check(add_role("dev"), Error::RoleExists);
    check(grant("nobody", "dev"), Error::UserNotFound);
    check(grant("alice", "nothing"), Error::RoleNotFound);
    check(allow("nothing", permission::Type::Read, "a", ""), Error::RoleNotFound);
    check(allow("dev", permission::Type::Read, "", ""), Error::InvalidAuthManagement);
    check(allow("dev", permission::Type::Read, "b", "a"), Error::InvalidAuthManagement);
    check(Change::RoleGrantPermission(Default::default()), Error::PermissionNotGiven);
    let delete = |name: &str| Change::UserDelete(pb::AuthUserDeleteRequest { name: name.to_owned() });
    check(delete("root"), Error::InvalidAuthManagement);
    check(delete("nobody"), Error::UserNotFound);
    let delete = |role: &str| Change::RoleDelete(pb::AuthRoleDeleteRequest { role: role.to_owned() });
    check(delete("root"), Error::InvalidAuthManagement);
    check(delete("nothing"), Error::RoleNotFound);
    let revoke = |name: &str, role: &str| {
        Change::UserRevokeRole(pb::AuthUserRevokeRoleRequest { name: name.to_owned(), role: role.to_owned() })
    };
    check(revoke("root", "root"), Error::InvalidAuthManagement);
    check(revoke("alice", "root"), Error::RoleNotGranted);
    let revoke =
        pb::AuthRoleRevokePermissionRequest { role: "dev".into(), key: "a".into(), ..Default::default() };
    check(Change::RoleRevokePermission(revoke), Error::PermissionNotGranted);
}

#[test]
fn a_user_may_what_its_roles_may() {
    let table = example();
    let alice = caller(&table, "alice");
    let keys = |start: &'static str, end: &'static str| KeyRange::new(start.as_bytes(), end.as_bytes());
    assert_eq!(table.read(&alice, keys("a", "c")), Ok(()));
    assert_eq!(table.read(&alice, keys("a", "d")), Err(Error::PermissionDenied));
    assert_eq!(table.write(&alice, keys("a", "")), Err(Error::PermissionDenied));
    assert_eq!(table.write(&alice, keys("w", "")), Ok(()));
    assert_eq!(table.read(&caller(&table, "root"), keys("", "\0")), Ok(()));
    assert_eq!(table.read(&caller(&table, "nobody"), keys("a", "")), Err(Error::PermissionDenied));
    assert_eq!(table.read(&Caller::default(), keys("a", "")), Err(Error::UserEmpty));
    let old = Caller { revision: alice.revision - 1, ..alice.clone() };
    assert_eq!(table.read(&old, keys("a", "")), Err(Error::AuthOldRevision));
    assert_eq!(table.admin(&alice), Err(Error::PermissionDenied));
    assert_eq!(table.admin(&caller(&table, "nobody")), Err(Error::UserNotFound));
    assert_eq!(table.admin(&Caller::default()), Err(Error::UserEmpty));
}

#[test]
fn commands_are_held_against_the_rights_of_who_asks() {
    use etcd_protocol::etcdserverpb::request_op::Request;
    let table = example();
    let alice = caller(&table, "alice");
    let mut leases = Table::default();
    for (lease, key) in [(7, "w"), (8, "secret")] {
        leases.grant(lease, 100).unwrap();
        crate::mvcc::Leases::attach(&mut leases, lease, key.as_bytes());
    }
    let check = |kind, expected: Result<(), Error>| {
        assert_eq!(check::permit(&table, &alice, &kind, &leases), expected, "{kind:?}");
    };
    let denied = Err(Error::PermissionDenied);
    let put = |key: &str| pb::PutRequest { key: key.as_bytes().to_vec().into(), ..Default::default() };
    check(Kind::Put(put("w")), Ok(()));
    check(Kind::Put(put("x")), denied.clone());
    check(Kind::Put(pb::PutRequest { prev_kv: true, ..put("w") }), denied.clone());
    check(Kind::Put(pb::PutRequest { lease: 7, ..put("w") }), Ok(()));
    check(Kind::Put(pb::PutRequest { lease: 8, ..put("w") }), denied.clone());
    check(Kind::LeaseRevoke(pb::LeaseRevokeRequest { id: 7 }), Ok(()));
    check(Kind::LeaseRevoke(pb::LeaseRevokeRequest { id: 8 }), denied.clone());
    let delete = pb::DeleteRangeRequest { key: "w".into(), ..Default::default() };
    check(Kind::DeleteRange(delete.clone()), Ok(()));
    check(Kind::DeleteRange(pb::DeleteRangeRequest { prev_kv: true, ..delete }), denied.clone());

    let op = |request| pb::RequestOp { request: Some(request) };
    let txn = |success: Vec<pb::RequestOp>| pb::TxnRequest { success, ..Default::default() };
    check(Kind::Txn(txn(vec![op(Request::RequestPut(put("w")))])), Ok(()));
    let bad = txn(vec![op(Request::RequestPut(put("x")))]);
    check(Kind::Txn(bad.clone()), denied.clone());
    check(
        Kind::Txn(pb::TxnRequest { success: vec![], failure: bad.success.clone(), ..bad.clone() }),
        denied.clone(),
    );
    check(Kind::Txn(txn(vec![op(Request::RequestTxn(bad))])), denied.clone());
    let compare = pb::Compare { key: "x".into(), ..Default::default() };
    check(Kind::Txn(pb::TxnRequest { compare: vec![compare], ..Default::default() }), denied);
}

#[test]
fn what_is_loaded_is_what_was_recorded() {
    let table = example();
    let users = table.users.values().cloned().collect();
    let roles = table.roles.values().cloned().collect();
    let record = AuthRecord { enabled: true, revision: table.revision };
    let loaded = AuthTable::load(Some(record), users, roles);
    assert_eq!(loaded.permissions, table.permissions);
    assert_eq!((loaded.enabled, loaded.revision, loaded.users), (true, 9, table.users));
    assert_eq!(AuthTable::load(None, vec![], vec![]).revision(), 1);
}
