//! IngressClass: which controller serves an Ingress.

use crate::columns::or;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource, set_generation};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::immutable;
use crate::names;
use api_types_derive::Api;

/// Names a controller for Ingresses.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressClass {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The controller and its settings.
    #[api(2)]
    pub spec: IngressClassSpec,
}

/// The controller of a class.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressClassSpec {
    /// Name of the controller, as `example.com/ingress`; it cannot be changed.
    #[api(1)]
    pub controller: String,
    /// An object with the controller's settings.
    #[api(2)]
    pub parameters: Option<Box<IngressClassParametersReference>>,
}

/// Points to an object with the settings of a controller.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressClassParametersReference {
    /// Group of the object's kind; not given for the core group.
    #[api(1)]
    pub api_group: Option<String>,
    /// Kind of the object.
    #[api(2, required)]
    pub kind: String,
    /// Name of the object.
    #[api(3, required)]
    pub name: String,
    /// `Cluster`, or `Namespace` where the object is in one.
    #[api(4, always)]
    pub scope: Option<String>,
    /// Namespace of the object.
    #[api(5)]
    pub namespace: Option<String>,
}

resource!(
    IngressClass,
    Kind::cluster_wide("networking.k8s.io/v1", "IngressClass", "ingressclasses", "ingressclass")
);

/// Annotation of the class that Ingresses get which name none.
pub const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

const LONGEST_CONTROLLER: usize = 250;

impl IngressClass {
    pub fn is_default(&self) -> bool {
        self.metadata.annotations.get(DEFAULT_CLASS).is_some_and(|value| value == "true")
    }
}

impl Strategy for IngressClass {
    fn set_defaults(&mut self) {
        if let Some(parameters) = &mut self.spec.parameters {
            parameters.scope.get_or_insert_with(|| "Cluster".to_owned());
        }
    }

    fn prepare_for_create(&mut self) {
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("spec");
        let controller = path.child("controller");
        if self.spec.controller.len() > LONGEST_CONTROLLER {
            errors.too_long(&controller, LONGEST_CONTROLLER);
        }
        names::validate_prefixed_path(&self.spec.controller, &controller, errors);
        if let Some(parameters) = &self.spec.parameters {
            parameters.validate(&path.child("parameters"), errors);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        let path = Path::new("spec").child("controller");
        immutable(&self.spec.controller, &old.spec.controller, &path, errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column {
                    cell: |class: &Self, _| {
                        let mark = if class.is_default() { " (default)" } else { "" };
                        format!("{}{mark}", class.metadata.name).into()
                    },
                    ..Column::name()
                },
                Column::text("Controller", "Who serves Ingresses of the class.", |class, _| {
                    class.spec.controller.as_str().into()
                }),
                Column::text("Parameters", "The object with the controller's settings.", |class, _| {
                    let text = class.spec.parameters.as_ref().map(|parameters| parameters.text());
                    or(text.as_deref().unwrap_or_default(), "<none>").into()
                }),
                Column::age(),
            ]
        }
    }
}

impl IngressClassParametersReference {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        if let Some(group) = &self.api_group {
            errors.wrong(&path.child("apiGroup"), group, names::dns1123_subdomain(group));
        }
        for (name, value) in [("kind", &self.kind), ("name", &self.name)] {
            errors.need(path, name, value);
            errors.wrong(&path.child(name), value, names::path_segment(value));
        }
        let Some(scope) = &self.scope else { return errors.required(&path.child("scope"), "") };
        let namespace = path.child("namespace");
        match (scope.as_str(), &self.namespace) {
            ("Namespace", None) => {
                errors.required(&namespace, "`parameters.scope` is set to 'Namespace'");
            }
            ("Namespace", Some(name)) => errors.wrong(&namespace, name, names::dns1123_label(name)),
            ("Cluster", Some(_)) => errors.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'"),
            ("Cluster", None) => {}
            _ => errors.not_supported(&path.child("scope"), scope, &["Cluster", "Namespace"]),
        }
    }

    /// `Kind.group/name`
    fn text(&self) -> String {
        let group = self.api_group.as_ref().map(|group| format!(".{group}")).unwrap_or_default();
        format!("{}{group}/{}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, refused_update};

    fn class(controller: &str) -> IngressClass {
        let mut own = IngressClass::default();
        own.spec.controller = controller.into();
        own
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(class("acme.io/nginx")).is_empty());
        assert_eq!(refused(class("")), ["spec.controller: Required value"]);
        assert_eq!(
            refused(class("nginx")),
            [
                r#"spec.controller: Invalid value: "nginx": must be a domain-prefixed path (such as "acme.io/foo")"#
            ]
        );
        assert_eq!(
            refused(class("acme.io/a b")),
            [
                r#"spec.controller: Invalid value: "a b": Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')"#
            ]
        );
        assert_eq!(
            refused_update(class("acme.io/b"), class("acme.io/a")),
            [r#"spec.controller: Invalid value: "acme.io/b": field is immutable"#]
        );
    }

    #[test]
    fn parameters_say_where_they_are() {
        let with = |change: fn(&mut IngressClassParametersReference)| {
            let mut own = class("acme.io/nginx");
            let mut parameters = IngressClassParametersReference {
                kind: "Settings".into(),
                name: "a".into(),
                ..IngressClassParametersReference::default()
            };
            change(&mut parameters);
            own.spec.parameters = Some(Box::new(parameters));
            refused(own)
        };
        assert!(with(|_| {}).is_empty());
        assert_eq!(
            with(|p| p.scope = Some("Namespace".into())),
            ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"]
        );
        assert_eq!(
            with(|p| p.namespace = Some("a".into())),
            ["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"]
        );
        assert_eq!(
            with(|p| p.scope = Some("World".into())),
            [
                r#"spec.parameters.scope: Unsupported value: "World": supported values: "Cluster", "Namespace""#
            ]
        );
    }
}
