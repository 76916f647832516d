//! ResourceClaimTemplate: what the claims of pods are made from (KEP-4381).

use super::claim::ResourceClaimSpec;
use crate::field::{Errors, Path};
use crate::kind::{Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::immutable;
use crate::names;
use api_types_derive::Api;

/// What claims of pods are made from.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct ResourceClaimTemplate {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The claims' metadata and spec; cannot change.
    #[api(2, required)]
    pub spec: ResourceClaimTemplateSpec,
}

/// Metadata and spec of claims.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct ResourceClaimTemplateSpec {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Spec of the claims.
    #[api(2, required)]
    pub spec: ResourceClaimSpec,
}

resource!(
    ResourceClaimTemplate,
    Kind::namespaced(
        "resource.k8s.io/v1",
        "ResourceClaimTemplate",
        "resourceclaimtemplates",
        "resourceclaimtemplate"
    )
);

impl Strategy for ResourceClaimTemplate {
    fn set_defaults(&mut self) {
        self.spec.spec.devices.set_defaults();
    }

    fn validate_create(&self, errors: &mut Errors) {
        let path = Path::new("spec");
        let meta = path.child("metadata");
        names::validate_annotations(&self.spec.metadata.annotations, &meta.child("annotations"), errors);
        names::validate_labels(&self.spec.metadata.labels, &meta.child("labels"), errors);
        self.spec.spec.validate(&path.child("spec"), errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        immutable(&self.spec, &old.spec, &Path::new("spec"), errors);
    }
}
