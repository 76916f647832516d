//! Binding: the write by which the scheduler gives a pod its node.

use crate::core::v1::ObjectReference;
use crate::field::{Errors, Path};
use crate::kind::{Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use api_types_derive::Api;

/// Puts a pod on a node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Binding {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The node that the pod is to run on.
    #[api(2, required)]
    pub target: ObjectReference,
}

resource!(
    Binding,
    Kind { verbs: Kind::CREATE_ONLY, ..Kind::namespaced("v1", "Binding", "bindings", "binding") }
);

impl Strategy for Binding {
    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("target");
        if !matches!(self.target.kind.as_str(), "" | "Node") {
            errors.not_supported(&path.child("kind"), &self.target.kind, &["Node", "<empty>"]);
        }
        errors.need(&path, "name", &self.target.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::refused;

    #[test]
    fn pods_are_bound_to_nodes() {
        let mut own = Binding::default();
        own.target.kind = "Pod".into();
        assert_eq!(
            refused(own),
            [
                r#"target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>""#,
                "target.name: Required value",
            ]
        );
    }
}
