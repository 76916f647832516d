//! PodTemplate: a stored description of pods that nothing acts on by itself.

use crate::core::v1::PodTemplateSpec;
use crate::core::v1::pod::defaults::template;
use crate::core::v1::pod::gates::drop_disabled;
use crate::kind::{Kind, Strategy, resource, set_generation};
use crate::meta::v1::ObjectMeta;
use api_types_derive::Api;

/// A stored description of pods.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodTemplate {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What the pods look like.
    #[api(2)]
    pub template: PodTemplateSpec,
}

resource!(PodTemplate, Kind { ..Kind::namespaced("v1", "PodTemplate", "podtemplates", "podtemplate") });

impl Strategy for PodTemplate {
    fn set_defaults(&mut self) {
        template(&mut self.template.spec);
    }

    fn prepare_for_create(&mut self) {
        self.metadata.generation = 1;
        drop_disabled(&mut self.template.spec);
    }

    fn prepare_for_update(&mut self, old: &Self) {
        drop_disabled(&mut self.template.spec);
        set_generation(&mut self.metadata, &old.metadata, self.template != old.template);
    }
}
