//! ControllerRevision: a saved state of a DaemonSet or StatefulSet.

use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::{immutable, not_negative};
use crate::value::RawExtension;
use api_types_derive::Api;

/// A saved, immutable state of a workload that rollbacks return to.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.apps.v1")]
pub struct ControllerRevision {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The saved state, in the owner's own format.
    #[api(2, always)]
    pub data: RawExtension,
    /// Number of the state; larger is newer.
    #[api(3, required)]
    pub revision: i64,
}

resource!(
    ControllerRevision,
    Kind::namespaced("apps/v1", "ControllerRevision", "controllerrevisions", "controllerrevision")
);

impl Strategy for ControllerRevision {
    fn validate(&self, errors: &mut Errors) {
        not_negative(self.revision, &Path::new("revision"), errors);
    }

    fn validate_create(&self, errors: &mut Errors) {
        let path = Path::new("data");
        match serde_json::from_slice(self.data.as_bytes()) {
            Ok(serde_json::Value::Object(_)) => {}
            Ok(serde_json::Value::Null) => errors.required(&path, "data is mandatory"),
            Err(_) if self.data.as_bytes().is_empty() => errors.required(&path, "data is mandatory"),
            Ok(_) => errors.required(&path, "data must be a valid JSON object"),
            Err(e) => errors.invalid(&path, "<value omitted>", format!("error parsing data: {e}")),
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        immutable(&self.data, &old.data, &Path::new("data"), errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Controller", "Workload that the state belongs to.", |revision, _| {
                    owner(&revision.metadata).into()
                }),
                Column::text("Revision", "Number of the state; larger is newer.", |revision, _| {
                    revision.revision.into()
                }),
                Column::age(),
            ]
        }
    }
}

/// The controlling owner as `daemonset.apps/name`.
fn owner(meta: &ObjectMeta) -> String {
    let Some(owner) = meta.owner_references.iter().find(|owner| owner.controller == Some(true)) else {
        return "<none>".to_owned();
    };
    let kind = owner.kind.to_lowercase();
    match owner.api_version.split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", owner.name),
        None => format!("{kind}/{}", owner.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, refused_update};

    fn revision(data: &str) -> ControllerRevision {
        ControllerRevision { data: RawExtension(data.as_bytes().into()), ..ControllerRevision::default() }
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(revision(r#"{"spec":{}}"#)).is_empty());
        assert_eq!(refused(revision("")), ["data: Required value: data is mandatory"]);
        assert_eq!(refused(revision("[]")), ["data: Required value: data must be a valid JSON object"]);
        assert_eq!(
            refused_update(revision(r#"{"a":1}"#), revision("{}")),
            [r#"data: Invalid value: {"a":1}: field is immutable"#]
        );
    }
}
