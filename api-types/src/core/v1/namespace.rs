//! Namespace: a scope for names, and for deletion of all within.

use crate::core::v1::well_known::{finalizer, label};
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, NameRule, Strategy, Subresource, resource};
use crate::meta::v1::{ConditionStatus, ObjectMeta};
use crate::names;
use crate::open_enum::open_enum;
use crate::value::Time;
use api_types_derive::Api;

/// A scope for names, permissions and limits.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Namespace {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What must happen before the namespace can go.
    #[api(2)]
    pub spec: NamespaceSpec,
    /// Whether it is active or being deleted.
    #[api(3)]
    pub status: NamespaceStatus,
}

/// What holds a namespace back from going.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NamespaceSpec {
    /// Those who must clean up before the namespace is removed.
    #[api(1, list = atomic)]
    pub finalizers: Vec<String>,
}

/// Where a namespace is in its life.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NamespaceStatus {
    /// Active or Terminating.
    #[api(1)]
    pub phase: NamespacePhase,
    /// What deletion is waiting for.
    #[api(2, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<NamespaceCondition>,
}

open_enum! {
    /// Where a namespace is in its life.
    pub enum NamespacePhase {
        Active = "Active",
        Terminating = "Terminating",
    }
}

/// One observation about a namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NamespaceCondition {
    /// What is observed.
    #[api(1, required)]
    pub type_: NamespaceConditionType,
    /// Whether it holds.
    #[api(2, required)]
    pub status: ConditionStatus,
    /// When the status last changed.
    #[api(4, always)]
    pub last_transition_time: Option<Time>,
    /// Cause of the last change in one CamelCase word.
    #[api(5)]
    pub reason: String,
    /// The same for people.
    #[api(6)]
    pub message: String,
}

open_enum! {
    /// What a condition of a namespace speaks of.
    pub enum NamespaceConditionType {
        NamespaceDeletionDiscoveryFailure = "NamespaceDeletionDiscoveryFailure",
        NamespaceDeletionContentFailure = "NamespaceDeletionContentFailure",
        NamespaceDeletionGroupVersionParsingFailure = "NamespaceDeletionGroupVersionParsingFailure",
        NamespaceContentRemaining = "NamespaceContentRemaining",
        NamespaceFinalizersRemaining = "NamespaceFinalizersRemaining",
    }
}

resource!(
    Namespace,
    Kind {
        short_names: &["ns"],
        verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
        subresources: &[
            Subresource::own("finalize", "Namespace", &["update"]),
            Subresource::status("Namespace")
        ],
        ..Kind::cluster_wide("v1", "Namespace", "namespaces", "namespace")
    }
);

impl Namespace {
    /// What a write to `/finalize` may change: spec and metadata.
    pub fn prepare_for_finalize(&mut self, old: &Self) {
        self.status = old.status.clone();
        self.metadata.generation = old.metadata.generation;
    }

    /// In place of the other checks for such a write, after those of metadata.
    pub fn validate_finalize(&self, errors: &mut Errors) {
        for (place, name) in self.spec.finalizers.iter().enumerate() {
            spec_finalizer(name, &Path::new("spec").child("finalizers").index(place), errors);
        }
    }
}

fn spec_finalizer(name: &str, path: &Path, errors: &mut Errors) {
    errors.wrong(path, name, names::qualified_name(name));
    let known = [finalizer::KUBERNETES, finalizer::ORPHAN, finalizer::FOREGROUND];
    if !name.contains('/') && !known.contains(&name) {
        errors.invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

impl Strategy for Namespace {
    const NAME_RULE: NameRule = NameRule::Label;

    fn set_defaults(&mut self) {
        if !self.metadata.name.is_empty() {
            self.metadata.labels.insert(label::METADATA_NAME.to_owned(), self.metadata.name.clone());
        }
        if self.status.phase.is_unset() {
            self.status.phase = NamespacePhase::Active;
        }
    }

    /// Runs when a generated name is known, so that the label holds it.
    fn prepare_for_create(&mut self) {
        self.metadata.labels.insert(label::METADATA_NAME.to_owned(), self.metadata.name.clone());
        self.status = NamespaceStatus { phase: NamespacePhase::Active, ..NamespaceStatus::default() };
        if !self.spec.finalizers.iter().any(|f| f == finalizer::KUBERNETES) {
            self.spec.finalizers.push(finalizer::KUBERNETES.to_owned());
        }
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.status = old.status.clone();
        self.metadata.generation = old.metadata.generation;
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        for name in &self.spec.finalizers {
            spec_finalizer(name, &Path::new("spec").child("finalizers"), errors);
        }
    }

    fn validate_status_update(&self, _old: &Self, errors: &mut Errors) {
        // COMPAT: the path has a capital.
        let path = Path::new("status").child("Phase");
        let phase = self.status.phase.as_str();
        match self.metadata.deletion_timestamp {
            None if phase != "Active" => {
                errors.invalid(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty");
            }
            Some(_) if phase != "Terminating" => {
                errors.invalid(&path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
            }
            _ => {}
        }
    }

    fn selectable_names() -> &'static [&'static str] {
        &["status.phase"]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("status.phase", self.status.phase.to_string())]
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Status", "Whether the namespace is active or going.", |ns, _| {
                    ns.status.phase.as_str().into()
                }),
                Column::age(),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Errors;
    use crate::kind::testing::{defaulted, refused};

    fn namespace() -> Namespace {
        let mut own = Namespace::default();
        own.metadata.name = "shop".into();
        own
    }

    #[test]
    fn new_namespaces() {
        let mut own = defaulted(namespace());
        assert_eq!(own.metadata.labels["kubernetes.io/metadata.name"], "shop");
        own.prepare_for_create();
        assert_eq!(own.spec.finalizers, ["kubernetes"]);
        assert_eq!(own.status.phase, NamespacePhase::Active);
    }

    #[test]
    fn finalizers_are_known_or_qualified() {
        let mut own = namespace();
        own.spec.finalizers = vec!["example.com/a".into(), "mine".into()];
        assert_eq!(
            refused(own),
            [
                r#"spec.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified"#
            ]
        );
    }

    #[test]
    fn phases_follow_deletion() {
        let mut own = namespace();
        own.status.phase = NamespacePhase::Terminating;
        let mut errors = Errors::default();
        own.validate_status_update(&namespace(), &mut errors);
        assert_eq!(
            errors.to_string(),
            r#"status.Phase: Invalid value: "Terminating": may only be 'Active' if `deletionTimestamp` is empty"#
        );
    }
}
