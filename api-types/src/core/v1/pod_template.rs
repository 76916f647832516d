//! PodTemplate: a stored description of pods that nothing acts on by itself.

use crate::columns::{container_images, container_names, labels};
use crate::core::v1::PodTemplateSpec;
use crate::core::v1::pod::defaults::template;
use crate::core::v1::pod::gates::drop_disabled;
use crate::core::v1::pod::validate::template as pod_template;
use crate::core::v1::pod::warnings::template as template_warnings;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource, set_generation};
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

    fn validate(&self, errors: &mut Errors) {
        pod_template(&self.template, &Path::new("template"), errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        if old.is_some_and(|old| old.metadata.generation == self.metadata.generation) {
            return Vec::new();
        }
        template_warnings(&self.template, &Path::new("template"))
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Containers", "Names of the template's containers.", |own: &Self, _| {
                    container_names(&own.template)
                }),
                Column::text("Images", "Images of the template's containers.", |own: &Self, _| {
                    container_images(&own.template)
                }),
                Column::text("Pod Labels", "Labels of the pods.", |own: &Self, _| {
                    labels(&own.template.metadata.labels)
                }),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::v1::Container;
    use crate::kind::testing::refused;

    #[test]
    fn the_template_is_checked() {
        let mut own = PodTemplate::default();
        assert_eq!(refused(own.clone()), ["template.spec.containers: Required value"]);
        own.template.spec.containers =
            vec![Container { name: "main".into(), image: "nginx:1".into(), ..Default::default() }];
        assert!(refused(own).is_empty());
    }
}
