//! RuntimeClass: the way in which a node runs the containers of a pod.

use std::collections::BTreeMap;

use crate::core::v1::pod::validate::{overhead as validate_overhead, tolerations as validate_tolerations};
use crate::core::v1::pod::warnings::deprecated_node_label;
use crate::core::v1::{ResourceList, Toleration};
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::immutable;
use crate::names;
use api_types_derive::Api;

/// A way in which nodes run containers.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.node.v1")]
pub struct RuntimeClass {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Name of the configuration in the container runtime; it cannot be changed.
    #[api(2, required)]
    pub handler: String,
    /// What running a pod in this way costs beyond its containers.
    #[api(3)]
    pub overhead: Option<Box<Overhead>>,
    /// Nodes that can run pods in this way.
    #[api(4)]
    pub scheduling: Option<Box<Scheduling>>,
}

/// What running a pod costs beyond its containers.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.node.v1")]
pub struct Overhead {
    /// Resources for each pod.
    #[api(1)]
    pub pod_fixed: ResourceList,
}

/// Nodes that can run pods of a class.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.node.v1")]
pub struct Scheduling {
    /// Labels that such nodes have; joined with the pod's own selector.
    #[api(1, map = atomic)]
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations that pods of the class get.
    #[api(2, list = atomic)]
    pub tolerations: Vec<Toleration>,
}

resource!(
    RuntimeClass,
    Kind::cluster_wide("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", "runtimeclass")
);

impl Strategy for RuntimeClass {
    const CREATE_ON_UPDATE: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;

    fn prepare_for_update(&mut self, old: &Self) {
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        let handler = Path::new("handler");
        if self.handler.is_empty() {
            errors.required(&handler, "");
        } else {
            errors.wrong(&handler, &self.handler, names::dns1123_label(&self.handler));
        }
        if let Some(overhead) = &self.overhead {
            validate_overhead(&overhead.pod_fixed, &Path::new("overhead"), errors);
        }
        if let Some(scheduling) = &self.scheduling {
            let path = Path::new("scheduling");
            names::validate_labels(&scheduling.node_selector, &path.child("nodeSelector"), errors);
            scheduling.validate_tolerations(&path.child("tolerations"), errors);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        immutable(&self.handler, &old.handler, &Path::new("handler"), errors);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let Some(scheduling) = &self.scheduling else { return Vec::new() };
        let messages = scheduling.node_selector.keys().filter_map(|key| deprecated_node_label(key));
        messages.map(|message| format!("scheduling.nodeSelector: {message}")).collect()
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text(
                    "Handler",
                    "Name of the configuration in the container runtime.",
                    |own: &Self, _| own.handler.as_str().into(),
                ),
                Column::age(),
            ]
        }
    }
}

impl Scheduling {
    fn validate_tolerations(&self, path: &Path, errors: &mut Errors) {
        validate_tolerations(&self.tolerations, path, errors);
        let same = |a: &Toleration, b: &Toleration| {
            (&a.key, &a.operator, &a.value, &a.effect) == (&b.key, &b.operator, &b.value, &b.effect)
        };
        for (place, toleration) in self.tolerations.iter().enumerate() {
            if self.tolerations[..place].iter().any(|before| same(before, toleration)) {
                errors.duplicate(&path.index(place), toleration as &dyn crate::value::Value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::v1::{TaintEffect, TolerationOperator};
    use crate::kind::testing::{refused, refused_update};

    fn class(handler: &str) -> RuntimeClass {
        RuntimeClass { handler: handler.into(), ..RuntimeClass::default() }
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(class("runc")).is_empty());
        assert_eq!(refused(class("")), ["handler: Required value"]);
        assert!(
            refused(class("Runc"))[0]
                .starts_with(r#"handler: Invalid value: "Runc": a lowercase RFC 1123 label"#)
        );
        assert_eq!(
            refused_update(class("b"), class("a")),
            [r#"handler: Invalid value: "b": field is immutable"#]
        );
    }

    #[test]
    fn tolerations_are_given_once() {
        let toleration = Toleration {
            key: "a".into(),
            operator: TolerationOperator::Exists,
            effect: TaintEffect::NoSchedule,
            ..Toleration::default()
        };
        let mut own = class("runc");
        let scheduling =
            Scheduling { tolerations: vec![toleration.clone(), toleration], ..Default::default() };
        own.scheduling = Some(Box::new(scheduling));
        assert_eq!(
            refused(own),
            [
                r#"scheduling.tolerations[1]: Duplicate value: {"key":"a","operator":"Exists","effect":"NoSchedule"}"#
            ]
        );
    }

    #[test]
    fn overhead_is_checked_like_limits() {
        let mut own = class("runc");
        let mut overhead = Overhead::default();
        overhead.pod_fixed.insert("cpu".into(), "-1".parse().expect("a quantity"));
        own.overhead = Some(Box::new(overhead));
        assert_eq!(
            refused(own),
            [r#"overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0"#]
        );
    }
}
