//! StorageClass: how volumes of a class are made.

use std::collections::BTreeMap;

use crate::core::v1::pod::warnings::deprecated_node_label;
use crate::core::v1::validate_topologies;
use crate::core::v1::{PersistentVolumeReclaimPolicy, TopologySelectorTerm};
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::immutable;
use crate::names;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// A sort of volumes and how they are made.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct StorageClass {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Who makes volumes of the class.
    #[api(2, required)]
    pub provisioner: String,
    /// Settings for whoever makes the volumes.
    #[api(3)]
    pub parameters: BTreeMap<String, String>,
    /// What happens to a volume when its claim is gone; deleted when not given.
    #[api(4)]
    pub reclaim_policy: Option<PersistentVolumeReclaimPolicy>,
    /// Options with which the volumes are mounted.
    #[api(5, list = atomic)]
    pub mount_options: Vec<String>,
    /// Whether claims of the class may grow.
    #[api(6)]
    pub allow_volume_expansion: Option<bool>,
    /// When a claim gets its volume; at once when not given.
    #[api(7)]
    pub volume_binding_mode: Option<VolumeBindingMode>,
    /// Parts of the cluster where volumes may be made.
    #[api(8, list = atomic)]
    pub allowed_topologies: Vec<TopologySelectorTerm>,
}

open_enum! {
    /// When a claim gets its volume.
    pub enum VolumeBindingMode {
        Immediate = "Immediate",
        WaitForFirstConsumer = "WaitForFirstConsumer",
    }
}

resource!(
    StorageClass,
    Kind {
        short_names: &["sc"],
        ..Kind::cluster_wide("storage.k8s.io/v1", "StorageClass", "storageclasses", "storageclass")
    }
);

/// Annotations of the class that claims get which name none; the second is the older one.
pub const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

impl StorageClass {
    pub fn is_default(&self) -> bool {
        DEFAULT_CLASS.iter().any(|key| self.metadata.annotations.get(*key).is_some_and(|v| v == "true"))
    }
}

/// The name of whoever makes volumes, or a driver's.
pub(super) fn validate_provisioner(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let lower = name.to_lowercase();
    errors.wrong(path, &lower, names::qualified_name(&lower));
}

pub(super) fn validate_parameters(parameters: &BTreeMap<String, String>, path: &Path, errors: &mut Errors) {
    const MOST: usize = 512;
    const LARGEST: usize = 256 * 1024;
    if parameters.len() > MOST {
        return errors.too_long(path, MOST);
    }
    for _ in parameters.keys().filter(|key| key.is_empty()) {
        errors.invalid(path, "", "field can not be empty.");
    }
    if parameters.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > LARGEST {
        errors.too_long(path, LARGEST);
    }
}

impl Strategy for StorageClass {
    fn set_defaults(&mut self) {
        self.reclaim_policy.get_or_insert(PersistentVolumeReclaimPolicy::Delete);
        self.volume_binding_mode.get_or_insert(VolumeBindingMode::Immediate);
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        validate_provisioner(&self.provisioner, &Path::new("provisioner"), errors);
        validate_parameters(&self.parameters, &Path::new("parameters"), errors);
        if let Some(policy) = self.reclaim_policy.as_ref().filter(|policy| !policy.is_unset()) {
            errors.choice(&Path::new("reclaimPolicy"), policy.as_str(), &["Delete", "Retain"]);
        }
        if let Some(mode) = &self.volume_binding_mode {
            let known = ["Immediate", "WaitForFirstConsumer"];
            errors.choice(&Path::new("volumeBindingMode"), mode.as_str(), &known);
        }
        validate_topologies(&self.allowed_topologies, &Path::new("allowedTopologies"), errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        immutable(&self.parameters, &old.parameters, &Path::new("parameters"), errors);
        immutable(&self.provisioner, &old.provisioner, &Path::new("provisioner"), errors);
        immutable(&self.reclaim_policy, &old.reclaim_policy, &Path::new("reclaimPolicy"), errors);
        let path = Path::new("volumeBindingMode");
        immutable(&self.volume_binding_mode, &old.volume_binding_mode, &path, errors);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        for (place, term) in self.allowed_topologies.iter().enumerate() {
            for (at, expression) in term.match_label_expressions.iter().enumerate() {
                if let Some(message) = deprecated_node_label(&expression.key) {
                    let path = Path::new("allowedTopologies").index(place).child("matchLabelExpressions");
                    warnings.push(format!("{}: {message}", path.index(at).child("key")));
                }
            }
        }
        warnings
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
                Column::text("Provisioner", "Who makes volumes of the class.", |class, _| {
                    class.provisioner.as_str().into()
                }),
                Column::text("ReclaimPolicy", "What happens to a volume without a claim.", |class, _| {
                    class.reclaim_policy.as_ref().map_or("Delete", |policy| policy.as_str()).into()
                }),
                Column::text("VolumeBindingMode", "When a claim gets its volume.", |class, _| {
                    class.volume_binding_mode.as_ref().map_or("Immediate", |mode| mode.as_str()).into()
                }),
                Column::text("AllowVolumeExpansion", "Whether claims may grow.", |class, _| {
                    class.allow_volume_expansion.unwrap_or(false).into()
                }),
                Column::age(),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::v1::TopologySelectorLabelRequirement;
    use crate::kind::testing::{defaulted, refused, refused_update};

    fn class(change: impl FnOnce(&mut StorageClass)) -> StorageClass {
        let mut own = StorageClass { provisioner: "acme.io/disk".into(), ..StorageClass::default() };
        change(&mut own);
        own
    }

    #[test]
    fn defaults() {
        let own = defaulted(class(|_| {}));
        assert_eq!(own.reclaim_policy, Some(PersistentVolumeReclaimPolicy::Delete));
        assert_eq!(own.volume_binding_mode, Some(VolumeBindingMode::Immediate));
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(class(|_| {})).is_empty());
        assert_eq!(
            refused(class(|c| {
                c.provisioner.clear();
                c.reclaim_policy = Some("Recycle".into());
                c.volume_binding_mode = Some("Later".into());
                c.parameters.insert(String::new(), "a".into());
            })),
            [
                "provisioner: Required value",
                r#"parameters: Invalid value: "": field can not be empty."#,
                r#"reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain""#,
                r#"volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer""#,
            ]
        );
        assert_eq!(
            refused_update(class(|c| c.provisioner = "b".into()), class(|_| {})),
            [r#"provisioner: Invalid value: "b": field is immutable"#]
        );
    }

    #[test]
    fn topologies_differ() {
        let term = |values: &[&str]| TopologySelectorTerm {
            match_label_expressions: vec![TopologySelectorLabelRequirement {
                key: "zone".into(),
                values: values.iter().map(|v| (*v).into()).collect(),
            }],
        };
        assert_eq!(
            refused(class(|c| c.allowed_topologies = vec![term(&["a", "b"]), term(&["b", "a"]), term(&[])])),
            [
                r#"allowedTopologies[1].matchLabelExpressions: Duplicate value: """#,
                "allowedTopologies[2].matchLabelExpressions[0].values: Required value",
            ]
        );
    }
}
