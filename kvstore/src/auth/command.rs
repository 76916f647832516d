//! What the log carries about users and roles: etcd's own request messages, with passwords hashed, and
//! who asked for a command.

use etcd_protocol::etcdserverpb as pb;

/// Who asks: a user, and the revision of the table that its token was given at.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Caller {
    /// Empty: nobody who said who they are.
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
}

/// A change of users and roles, or the giving of a token.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuthCommand {
    #[prost(oneof = "Change", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub change: Option<Change>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Change {
    #[prost(message, tag = "1")]
    Enable(pb::AuthEnableRequest),
    #[prost(message, tag = "2")]
    Disable(pb::AuthDisableRequest),
    #[prost(message, tag = "3")]
    UserAdd(pb::AuthUserAddRequest),
    #[prost(message, tag = "4")]
    UserDelete(pb::AuthUserDeleteRequest),
    #[prost(message, tag = "5")]
    UserChangePassword(pb::AuthUserChangePasswordRequest),
    #[prost(message, tag = "6")]
    UserGrantRole(pb::AuthUserGrantRoleRequest),
    #[prost(message, tag = "7")]
    UserRevokeRole(pb::AuthUserRevokeRoleRequest),
    #[prost(message, tag = "8")]
    RoleAdd(pb::AuthRoleAddRequest),
    #[prost(message, tag = "9")]
    RoleDelete(pb::AuthRoleDeleteRequest),
    #[prost(message, tag = "10")]
    RoleGrantPermission(pb::AuthRoleGrantPermissionRequest),
    #[prost(message, tag = "11")]
    RoleRevokePermission(pb::AuthRoleRevokePermissionRequest),
    #[prost(message, tag = "12")]
    Authenticate(Authenticate),
}

/// Gives a user whose password was found right a simple token, on every member.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Authenticate {
    #[prost(string, tag = "1")]
    pub name: String,
    /// The random part of the token; the entry's index in the log is the other.
    #[prost(string, tag = "2")]
    pub prefix: String,
}
