//! Namespace and name: what caches and queues are keyed by.

use std::fmt;

use api_types::meta::v1::ObjectMeta;

/// An object's place: `namespace/name`, or `name` alone outside of namespaces.
/// Ordered by namespace first, so that a namespace is a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Empty for cluster-wide objects.
    pub namespace: Box<str>,
    pub name: Box<str>,
}

impl Key {
    pub fn new(namespace: impl Into<Box<str>>, name: impl Into<Box<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of something outside of namespaces.
    pub fn cluster(name: impl Into<Box<str>>) -> Self {
        Self::new("", name)
    }

    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.as_str(), meta.name.as_str())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}
