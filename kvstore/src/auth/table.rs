//! The table of users and roles, and how commands change it. Pure: part of the state machine. Every
//! change moves `revision` on, by which a token or a request that is older than the rights it asks for
//! is told apart.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use bytes::Bytes;
use etcd_protocol::authpb::{Permission, Role, User, UserAddOptions, permission};
use etcd_protocol::etcdserverpb as pb;
use prost::Message;

use super::permissions::Permissions;
use super::{Caller, Change, ROOT};
use crate::error::Error;
use crate::mvcc::KeyRange;
use crate::state::{Batch, schema};

/// What stands in the state beside users and roles.
#[derive(Clone, PartialEq, Message)]
pub struct AuthRecord {
    #[prost(bool, tag = "1")]
    pub enabled: bool,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
}

/// Users and roles.
#[derive(Clone, Debug)]
pub struct AuthTable {
    enabled: bool,
    revision: u64,
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, Role>,
    /// What each user may do: made from the two above whenever they change.
    permissions: HashMap<String, Permissions>,
}

impl Default for AuthTable {
    /// COMPAT: an empty table has revision 1.
    fn default() -> Self {
        Self {
            enabled: false,
            revision: 1,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
            permissions: HashMap::new(),
        }
    }
}

impl AuthTable {
    /// As read back from the state.
    pub fn load(record: Option<AuthRecord>, users: Vec<User>, roles: Vec<Role>) -> Self {
        let mut table = Self::default();
        if let Some(record) = record {
            (table.enabled, table.revision) = (record.enabled, record.revision);
        }
        table.users = users.into_iter().map(|user| (text(&user.name), user)).collect();
        table.roles = roles.into_iter().map(|role| (text(&role.name), role)).collect();
        table.merge();
        table
    }

    pub fn enabled(&self) -> bool {
        self.enabled
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// COMPAT: the root role's permission is on everything, whatever it was granted.
    pub fn role(&self, name: &str) -> Option<Vec<Permission>> {
        let role = self.roles.get(name)?;
        if name == ROOT {
            let everything = Permission {
                perm_type: permission::Type::Readwrite.into(),
                key: Bytes::new(),
                range_end: Bytes::from_static(b"\0"),
            };
            return Some(vec![everything]);
        }
        Some(role.key_permission.clone())
    }

    pub fn has_role(&self, user: &str, role: &str) -> bool {
        self.users.get(user).is_some_and(|user| user.roles.iter().any(|held| held == role))
    }

    /// Whether the caller may administer.
    pub fn admin(&self, caller: &Caller) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        if caller.name.is_empty() {
            return Err(Error::UserEmpty);
        }
        if !self.users.contains_key(&caller.name) {
            return Err(Error::UserNotFound);
        }
        if self.has_role(&caller.name, ROOT) { Ok(()) } else { Err(Error::PermissionDenied) }
    }

    pub fn read(&self, caller: &Caller, keys: KeyRange<'_>) -> Result<(), Error> {
        self.permit(caller, |permissions| permissions.may_read(keys))
    }

    pub fn write(&self, caller: &Caller, keys: KeyRange<'_>) -> Result<(), Error> {
        self.permit(caller, |permissions| permissions.may_write(keys))
    }

    fn permit(&self, caller: &Caller, may: impl Fn(&Permissions) -> bool) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        match caller.revision {
            0 => return Err(Error::UserEmpty),
            old if old < self.revision => return Err(Error::AuthOldRevision),
            _ => {}
        }
        let permitted =
            self.has_role(&caller.name, ROOT) || self.permissions.get(&caller.name).is_some_and(may);
        if permitted { Ok(()) } else { Err(Error::PermissionDenied) }
    }

    /// Carries out a change. The giving of tokens changes nothing here: it is only checked.
    pub fn apply(&mut self, change: &Change, batch: &mut Batch) -> Result<(), Error> {
        match change {
            Change::Enable(_) => return self.enable(batch),
            Change::Disable(_) if !self.enabled => return Ok(()),
            Change::Disable(_) => self.enabled = false,
            Change::UserAdd(request) => self.add_user(request, batch)?,
            Change::UserDelete(request) => self.delete_user(request, batch)?,
            Change::UserChangePassword(request) => self.change_password(request, batch)?,
            Change::UserGrantRole(request) => {
                if !self.grant_role(request, batch)? {
                    return Ok(());
                }
            }
            Change::UserRevokeRole(request) => self.revoke_role(request, batch)?,
            Change::RoleAdd(request) => self.add_role(request, batch)?,
            Change::RoleDelete(request) => self.delete_role(request, batch)?,
            Change::RoleGrantPermission(request) => self.grant_permission(request, batch)?,
            Change::RoleRevokePermission(request) => self.revoke_permission(request, batch)?,
            Change::Authenticate(request) => return self.authenticate(&request.name),
        }
        self.revision += 1;
        self.record(batch);
        self.merge();
        Ok(())
    }

    fn authenticate(&self, name: &str) -> Result<(), Error> {
        if !self.enabled {
            return Err(Error::AuthNotEnabled);
        }
        match self.users.get(name) {
            Some(user) if !no_password(user) => Ok(()),
            _ => Err(Error::AuthFailed),
        }
    }

    /// COMPAT: turning it on does not move the revision.
    fn enable(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if self.enabled {
            return Ok(());
        }
        if !self.users.contains_key(ROOT) {
            return Err(Error::RootUserNotExist);
        }
        if !self.has_role(ROOT, ROOT) {
            return Err(Error::RootRoleNotExist);
        }
        self.enabled = true;
        self.record(batch);
        Ok(())
    }

    fn add_user(&mut self, request: &pb::AuthUserAddRequest, batch: &mut Batch) -> Result<(), Error> {
        if request.name.is_empty() {
            return Err(Error::UserEmpty);
        }
        if self.users.contains_key(&request.name) {
            return Err(Error::UserExists);
        }
        let options = request.options.unwrap_or_default();
        let password = if options.no_password { Bytes::new() } else { hash(&request.hashed_password)? };
        let user = User {
            name: request.name.clone().into(),
            password,
            roles: Vec::new(),
            options: Some(UserAddOptions { no_password: options.no_password }),
        };
        self.put_user(user, batch);
        Ok(())
    }

    fn delete_user(&mut self, request: &pb::AuthUserDeleteRequest, batch: &mut Batch) -> Result<(), Error> {
        if self.enabled && request.name == ROOT {
            return Err(Error::InvalidAuthManagement);
        }
        self.users.remove(&request.name).ok_or(Error::UserNotFound)?;
        batch.delete(schema::user(&request.name));
        Ok(())
    }

    fn change_password(
        &mut self,
        request: &pb::AuthUserChangePasswordRequest,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let mut user = self.users.get(&request.name).ok_or(Error::UserNotFound)?.clone();
        user.password = if no_password(&user) { Bytes::new() } else { hash(&request.hashed_password)? };
        self.put_user(user, batch);
        Ok(())
    }

    /// False: the user has it already, and nothing changed.
    fn grant_role(
        &mut self,
        request: &pb::AuthUserGrantRoleRequest,
        batch: &mut Batch,
    ) -> Result<bool, Error> {
        let mut user = self.users.get(&request.user).ok_or(Error::UserNotFound)?.clone();
        // COMPAT: the root role can be granted before it is made.
        if request.role != ROOT && !self.roles.contains_key(&request.role) {
            return Err(Error::RoleNotFound);
        }
        if user.roles.contains(&request.role) {
            return Ok(false);
        }
        user.roles.push(request.role.clone());
        user.roles.sort();
        self.put_user(user, batch);
        Ok(true)
    }

    fn revoke_role(
        &mut self,
        request: &pb::AuthUserRevokeRoleRequest,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        if self.enabled && request.name == ROOT && request.role == ROOT {
            return Err(Error::InvalidAuthManagement);
        }
        let mut user = self.users.get(&request.name).ok_or(Error::UserNotFound)?.clone();
        let before = user.roles.len();
        user.roles.retain(|role| *role != request.role);
        if user.roles.len() == before {
            return Err(Error::RoleNotGranted);
        }
        self.put_user(user, batch);
        Ok(())
    }

    fn add_role(&mut self, request: &pb::AuthRoleAddRequest, batch: &mut Batch) -> Result<(), Error> {
        if request.name.is_empty() {
            return Err(Error::RoleEmpty);
        }
        if self.roles.contains_key(&request.name) {
            return Err(Error::RoleExists);
        }
        self.put_role(Role { name: request.name.clone().into(), key_permission: Vec::new() }, batch);
        Ok(())
    }

    fn delete_role(&mut self, request: &pb::AuthRoleDeleteRequest, batch: &mut Batch) -> Result<(), Error> {
        if self.enabled && request.role == ROOT {
            return Err(Error::InvalidAuthManagement);
        }
        self.roles.remove(&request.role).ok_or(Error::RoleNotFound)?;
        batch.delete(schema::role(&request.role));
        let holders: Vec<User> =
            self.users.values().filter(|user| user.roles.contains(&request.role)).cloned().collect();
        for mut user in holders {
            user.roles.retain(|role| *role != request.role);
            self.put_user(user, batch);
        }
        Ok(())
    }

    fn grant_permission(
        &mut self,
        request: &pb::AuthRoleGrantPermissionRequest,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let wanted = request.perm.as_ref().ok_or(Error::PermissionNotGiven)?;
        if wanted.key.is_empty() || KeyRange::new(&wanted.key, &wanted.range_end).is_empty() {
            return Err(Error::InvalidAuthManagement);
        }
        let mut role = self.roles.get(&request.name).ok_or(Error::RoleNotFound)?.clone();
        let same = |held: &&mut Permission| held.key == wanted.key && held.range_end == wanted.range_end;
        match role.key_permission.iter_mut().find(same) {
            Some(held) => held.perm_type = wanted.perm_type,
            None => {
                role.key_permission.push(wanted.clone());
                role.key_permission.sort_by(|a, b| a.key.cmp(&b.key));
            }
        }
        self.put_role(role, batch);
        Ok(())
    }

    fn revoke_permission(
        &mut self,
        request: &pb::AuthRoleRevokePermissionRequest,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let mut role = self.roles.get(&request.role).ok_or(Error::RoleNotFound)?.clone();
        let before = role.key_permission.len();
        role.key_permission.retain(|held| held.key != request.key || held.range_end != request.range_end);
        if role.key_permission.len() == before {
            return Err(Error::PermissionNotGranted);
        }
        self.put_role(role, batch);
        Ok(())
    }

    fn put_user(&mut self, user: User, batch: &mut Batch) {
        let name = text(&user.name);
        batch.put(schema::user(&name), user.encode_to_vec());
        self.users.insert(name, user);
    }

    fn put_role(&mut self, role: Role, batch: &mut Batch) {
        let name = text(&role.name);
        batch.put(schema::role(&name), role.encode_to_vec());
        self.roles.insert(name, role);
    }

    fn record(&self, batch: &mut Batch) {
        let record = AuthRecord { enabled: self.enabled, revision: self.revision };
        batch.put(schema::meta(schema::AUTH), record.encode_to_vec());
    }

    fn merge(&mut self) {
        let merged = self.users.iter().map(|(name, user)| {
            let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
            (name.clone(), Permissions::merge(roles.flat_map(|role| &role.key_permission)))
        });
        self.permissions = merged.collect();
    }
}

/// Whether a user can only show a certificate.
pub fn no_password(user: &User) -> bool {
    user.options.as_ref().is_some_and(|options| options.no_password)
}

/// A hash as the log carries it: in base64.
fn hash(encoded: &str) -> Result<Bytes, Error> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
    decoded.map(Bytes::from).map_err(|_| Error::NoPasswordUser)
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests;
