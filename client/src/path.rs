//! Paths of resources and their queries: `/apis/apps/v1/namespaces/default/deployments/web/scale`.

use std::borrow::Cow;

use api_types::Kind;
use api_types::meta::v1::{DeleteOptions, ListOptions};

/// Which resource: the part of a kind's facts that paths are made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceRef {
    /// Empty for the core group.
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    /// Plural: `deployments`.
    pub resource: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub namespaced: bool,
}

impl From<&'static Kind> for ResourceRef {
    fn from(kind: &'static Kind) -> Self {
        Self {
            group: kind.group.into(),
            version: kind.version.into(),
            resource: kind.resource.into(),
            kind: kind.kind.into(),
            namespaced: kind.namespaced,
        }
    }
}

impl ResourceRef {
    /// `apps/v1`, or `v1` in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `deployments.apps`, or `pods` in the core group.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_string()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    /// The path of the collection, of an object in it, or of an object's subresource.
    /// No namespace means all of them; it is ignored for cluster-wide resources.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>, subresource: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let Some(namespace) = namespace.filter(|n| self.namespaced && !n.is_empty()) {
            path.push_str("/namespaces/");
            escape(namespace, &mut path);
        }
        path.push('/');
        path.push_str(&self.resource);
        for part in [name, subresource].into_iter().flatten() {
            path.push('/');
            escape(part, &mut path);
        }
        path
    }
}

/// `?a=b&c=d`, or nothing.
#[derive(Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.0.push(if self.0.is_empty() { '?' } else { '&' });
            self.0.push_str(name);
            self.0.push('=');
            escape(value, &mut self.0);
        }
    }

    pub(crate) fn list(options: &ListOptions) -> Self {
        let mut query = Self::default();
        query.add("labelSelector", &options.label_selector);
        query.add("fieldSelector", &options.field_selector);
        query.add("resourceVersion", &options.resource_version);
        query.add("resourceVersionMatch", options.resource_version_match.as_str());
        query.add("continue", &options.continue_);
        if options.limit > 0 {
            query.add("limit", &options.limit.to_string());
        }
        if options.watch {
            query.add("watch", "true");
        }
        if options.allow_watch_bookmarks {
            query.add("allowWatchBookmarks", "true");
        }
        if let Some(seconds) = options.timeout_seconds {
            query.add("timeoutSeconds", &seconds.to_string());
        }
        if let Some(send) = options.send_initial_events {
            query.add("sendInitialEvents", if send { "true" } else { "false" });
        }
        query
    }

    pub(crate) fn on(&self, mut path: String) -> String {
        path.push_str(&self.0);
        path
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters; names of RBAC objects hold colons.
fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Whether these options say anything that needs a body.
pub(crate) fn is_default(options: &DeleteOptions) -> bool {
    *options == DeleteOptions::default()
}

#[cfg(test)]
mod tests {
    use api_types::Resource as _;
    use api_types::apps::v1::Deployment;
    use api_types::core::v1::{Node, Pod};

    use super::*;

    #[test]
    fn paths_follow_scope_and_group() {
        let pods = ResourceRef::from(Pod::facts());
        assert_eq!(pods.path(None, None, None), "/api/v1/pods");
        assert_eq!(pods.path(Some("ns"), Some("a"), Some("binding")), "/api/v1/namespaces/ns/pods/a/binding");
        assert_eq!(ResourceRef::from(Node::facts()).path(Some("ns"), Some("n"), None), "/api/v1/nodes/n");
        let deployments = ResourceRef::from(Deployment::facts());
        assert_eq!(deployments.path(Some("a b"), None, None), "/apis/apps/v1/namespaces/a%20b/deployments");
        assert_eq!(deployments.api_version(), "apps/v1");
    }

    #[test]
    fn queries_carry_what_was_asked() {
        let options = ListOptions {
            label_selector: "a in (b,c)".into(),
            limit: 500,
            resource_version: "0".into(),
            ..Default::default()
        };
        assert_eq!(
            Query::list(&options).on("/x".into()),
            "/x?labelSelector=a%20in%20%28b%2Cc%29&resourceVersion=0&limit=500"
        );
    }
}
