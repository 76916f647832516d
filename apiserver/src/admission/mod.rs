//! Admission: after authorization, plugins may change a write, or refuse it.
//!
//! One file and one row in `table` for each plugin. A plugin decides from the request and the
//! views and does no I/O; `Chain` runs them in upstream's order, first all that change, later, once
//! the object is complete, all that only check. A refusal because something is missing in the
//! views is only final once the views have caught up with the store.

mod always;
mod certificate_approval;
mod certificate_signing;
mod certificate_subject_restriction;
mod chain;
pub mod change;
mod claim_resize;
mod connection;
mod default_class;
mod default_toleration_seconds;
mod escalation;
mod limit_ranger;
pub mod metrics;
mod namespace_lifecycle;
mod node_restriction;
pub mod options;
mod pod_security;
mod pod_topology_labels;
mod policy;
mod priority;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_protection;
mod table;
mod taint_nodes_by_condition;
#[cfg(test)]
mod tests;
pub mod webhook;

pub use chain::Chain;
pub use connection::Connection;
pub use default_toleration_seconds::DefaultTolerationSeconds;
pub use resource_quota::NAME as RESOURCE_QUOTA;
pub use table::chosen;

use crate::authz::Authorizer;
use crate::authz::rbac::Policy;
use crate::call::Call;
use crate::request::{RequestInfo, User};
use crate::status::{ApiError, Qualified};
use crate::views::Views;
use api_types::codec::json;
use api_types::kind::{Kind, Object, Resource};
use api_types::meta::v1::DeleteOptions;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// `exec`, `attach`, `portforward`, `proxy`: nothing is written.
    Connect,
}

impl Operation {
    pub fn is_write(self) -> bool {
        self != Self::Connect
    }

    /// As configurations, reviews and metrics name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What is to be written: open to changes in the first phase, complete in the second.
pub enum Payload<'a> {
    None,
    Open(&'a mut dyn Object),
    Complete(&'a dyn Object),
    /// What a connection is asked for: nothing is written.
    Connection(&'a mut Connection),
}

impl Payload<'_> {
    pub fn get(&self) -> Option<&dyn Object> {
        match self {
            Self::None | Self::Connection(_) => None,
            Self::Open(object) => Some(&**object),
            Self::Complete(object) => Some(*object),
        }
    }

    pub fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Connection(own) => Some(own),
            Self::None | Self::Open(_) | Self::Complete(_) => None,
        }
    }

    /// What webhooks and policies may change, as JSON.
    pub fn to_json(&self) -> Option<Vec<u8>> {
        match self {
            Self::Connection(own) => Some(own.to_json()),
            other => other.get().map(json::to_vec),
        }
    }
}

/// A write on its way to the store.
pub struct Request<'a> {
    pub operation: Operation,
    /// The kind of the path's resource, also where the object is of another kind (`pods/binding`).
    pub kind: &'static Kind,
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// That of the path; empty for creations, whose object may have a name or a prefix.
    pub name: &'a str,
    pub user: &'a User,
    /// As it was authorized.
    pub info: &'a RequestInfo,
    /// What is to be written; none for deletions and connections.
    pub object: Payload<'a>,
    /// What is there; none for creations.
    pub old: Option<&'a dyn Object>,
    /// Whether it is only tried.
    pub dry_run: bool,
    /// How to delete; none for anything but deletions.
    pub deletion: Option<&'a DeleteOptions>,
    /// The request behind it, which webhooks are told of; none in tests.
    pub call: Option<&'a Call>,
    pub warnings: Vec<String>,
}

impl Request<'_> {
    /// Whether it is about this resource itself or, with a subresource, about that.
    pub fn is_about(&self, group: &str, resource: &str, subresource: &str) -> bool {
        self.kind.group == group && self.kind.resource == resource && self.subresource == subresource
    }

    /// What is to be written, if it is a `T`.
    pub fn object<T: Resource>(&self) -> Option<&T> {
        self.object.get()?.as_any().downcast_ref()
    }

    pub fn object_mut<T: Resource>(&mut self) -> Option<&mut T> {
        match &mut self.object {
            Payload::Open(object) => object.as_any_mut().downcast_mut(),
            Payload::None | Payload::Complete(_) | Payload::Connection(_) => None,
        }
    }

    /// What is there, if it is a `T`.
    pub fn old<T: Resource>(&self) -> Option<&T> {
        self.old?.as_any().downcast_ref()
    }

    /// The name that messages show: an object without one shows its prefix.
    pub fn shown_name(&self) -> &str {
        if !self.name.is_empty() {
            return self.name;
        }
        let meta = self.object.get().map(Object::meta);
        match meta {
            Some(meta) if !meta.name.is_empty() => &meta.name,
            Some(meta) if !meta.generate_name.is_empty() => &meta.generate_name,
            _ => "Unknown",
        }
    }

    /// Notes something in the audit log, if the request is to be in it.
    pub fn annotate(&self, key: impl Into<String>, value: impl FnOnce() -> String) {
        if let Some(record) = self.call.and_then(|call| call.record.as_ref()) {
            record.annotate(key, &value());
        }
    }

    /// A 403 about this write.
    pub fn forbidden(&self, why: impl Into<String>) -> ApiError {
        ApiError::Forbidden {
            of: Qualified::from(self.kind),
            name: self.shown_name().to_owned(),
            why: why.into(),
        }
    }
}

/// Why a plugin does not let a write pass.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    Final(ApiError),
    /// Something is not in the views: it may have been made just now. The plugin is asked again once
    /// they have caught up, and then up to `waits` times more with a pause between: somebody is
    /// about to make it.
    Missing {
        error: ApiError,
        waits: u32,
    },
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Final(error)
    }
}

impl Refusal {
    pub fn missing(error: ApiError) -> Self {
        Self::Missing { error, waits: 0 }
    }

    pub fn into_error(self) -> ApiError {
        match self {
            Self::Final(error) | Self::Missing { error, .. } => error,
        }
    }
}

/// What decisions are made from.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub views: &'a Views,
    pub policy: &'a Policy,
    pub authorizer: &'a dyn Authorizer,
}

/// One plugin.
pub trait Plugin: Send + Sync {
    /// Whether it looks at writes of this sort at all.
    fn handles(&self, operation: Operation) -> bool;

    /// May change the object. May run more than once on the same object.
    ///
    /// # Errors
    /// When the write is refused.
    fn admit(&self, _request: &mut Request<'_>, _context: Context<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    /// Sees the object as it will be stored.
    ///
    /// # Errors
    /// When the write is refused.
    fn validate(&self, _request: &Request<'_>, _context: Context<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    /// Warnings for the client about a write that passes.
    fn warnings(&self, _request: &Request<'_>, _context: Context<'_>) -> Vec<String> {
        Vec::new()
    }
}
