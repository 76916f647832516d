//! The text of a 403, as clients and people know it.

use crate::request::Attributes;
use crate::status::{ApiError, Qualified};

/// The error of a request that nobody allows; `reason` is the authorizers' and may be empty.
pub fn forbidden(attributes: Attributes<'_>, reason: &str) -> ApiError {
    let info = attributes.info;
    let mut why = escape(&forbidden_text(attributes));
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    if info.is_resource {
        ApiError::Forbidden { of: Qualified::new(&info.group, &info.resource), name: info.name.clone(), why }
    } else {
        ApiError::ForbiddenPath(format!("forbidden: {why}"))
    }
}

/// `User "u" cannot list resource "pods" in API group "" in the namespace "default"`.
fn forbidden_text(attributes: Attributes<'_>) -> String {
    let (user, info) = (&attributes.user.name, attributes.info);
    if !info.is_resource {
        return format!("User {user:?} cannot {} path {:?}", info.verb, info.path);
    }
    let resource = if info.subresource.is_empty() {
        info.resource.clone()
    } else {
        format!("{}/{}", info.resource, info.subresource)
    };
    let what =
        format!("User {user:?} cannot {} resource {resource:?} in API group {:?}", info.verb, info.group);
    if info.namespace.is_empty() {
        format!("{what} at the cluster scope")
    } else {
        format!("{what} in the namespace {:?}", info.namespace)
    }
}

/// COMPAT: upstream keeps the message from looking like HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
