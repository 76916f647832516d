//! Who asks for what: the user behind a request and what its path and method mean.
//!
//! Made once at the start of the pipeline and only read afterwards. Authentication fills `User`,
//! the path gives `RequestInfo`, and authorization sees both as `Attributes`
//! (API doc "Controlling Access to the Kubernetes API").

use std::collections::BTreeMap;

/// An authenticated user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    pub const ANONYMOUS: &'static str = "system:anonymous";
    /// Every authenticated user is in it.
    pub const AUTHENTICATED: &'static str = "system:authenticated";
    pub const UNAUTHENTICATED: &'static str = "system:unauthenticated";
    /// May do everything, before any authorizer is asked.
    pub const MASTERS: &'static str = "system:masters";

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// What a request is about, read from its method and path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Below /api or /apis with a resource (as opposed to /healthz, /api, /apis/apps/v1 …).
    pub is_resource: bool,
    /// The URL's path as it came.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `proxy`;
    /// the lower-case HTTP method for paths without a resource.
    pub verb: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// What follows the subresource (`proxy` paths).
    pub rest: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// One question to the authorizers.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    pub user: &'a User,
    pub info: &'a RequestInfo,
}

/// An authorizer's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// With the reason, for the audit log and for access reviews.
    Allow(String),
    /// No further authorizer is asked.
    #[allow(dead_code, reason = "our own authorizers have no opinion where they do not allow; webhooks deny")]
    Deny(String),
    /// The next authorizer decides; the reason is shown if none allows.
    NoOpinion(String),
}
