//! The text of a 403, as clients and people know it.

use crate::request::Attributes;

/// `pods "x" is forbidden: User "u" cannot get resource "pods" …`: the whole message of the Status.
/// `reason` is the authorizers' and may be empty.
pub fn forbidden_message(attributes: Attributes<'_>, reason: &str) -> String {
    let info = attributes.info;
    let mut text = escape(&forbidden_text(attributes));
    if !reason.is_empty() {
        text.push_str(": ");
        text.push_str(reason);
    }
    let resource = if info.group.is_empty() || info.resource.is_empty() {
        info.resource.clone()
    } else {
        format!("{}.{}", info.resource, info.group)
    };
    if resource.is_empty() {
        format!("forbidden: {text}")
    } else if info.name.is_empty() {
        format!("{resource} is forbidden: {text}")
    } else {
        format!("{resource} {:?} is forbidden: {text}", info.name)
    }
}

/// `User "u" cannot list resource "pods" in API group "" in the namespace "default"`.
pub fn forbidden_text(attributes: Attributes<'_>) -> String {
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
