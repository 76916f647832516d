//! What happens to a ReplicationController on its way to the store: defaults, generation.

use super::*;
use crate::apps::v1::workload::{Counts, always_running, counts, name_warning};
use crate::columns::{container_images, container_names, labels};
use crate::core::v1::pod::defaults::template;
use crate::core::v1::pod::gates::drop_disabled;
use crate::core::v1::pod::validate::template as pod_template;
use crate::core::v1::pod::warnings::template as template_warnings;
use crate::field::{Errors, Path};
use crate::kind::{Column, Strategy, set_generation};
use crate::meta::v1::validate::not_negative;
use crate::selector::Labels;
use crate::value::Value;

impl Strategy for ReplicationController {
    const ORPHANS_DEPENDENTS: bool = true;

    fn set_defaults(&mut self) {
        let Some(own) = &mut self.spec.template else { return };
        template(&mut own.spec);
        let labels = &own.metadata.labels;
        if self.spec.selector.is_empty() {
            self.spec.selector = labels.clone();
        }
        if self.metadata.labels.is_empty() {
            self.metadata.labels = labels.clone();
        }
    }

    fn prepare_for_create(&mut self) {
        self.status = ReplicationControllerStatus::default();
        self.metadata.generation = 1;
        self.drop_disabled();
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        self.drop_disabled();
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("spec");
        not_negative(self.spec.min_ready_seconds, &path.child("minReadySeconds"), errors);
        if self.spec.selector.is_empty() {
            errors.required(&path.child("selector"), "");
        }
        match self.spec.replicas {
            Some(replicas) => not_negative(replicas, &path.child("replicas"), errors),
            None => errors.required(&path.child("replicas"), ""),
        }
        let path = path.child("template");
        let Some(template) = &self.spec.template else { return errors.required(&path, "") };
        let own = &template.metadata.labels;
        if !Labels::from_map(&self.spec.selector).matches(own) {
            let text = "`selector` does not match template `labels`";
            errors.invalid(&path.child("metadata").child("labels"), own as &dyn Value, text);
        }
        pod_template(template, &path, errors);
        always_running(template, "ReplicationController", &path, errors);
    }

    fn validate_status_update(&self, _old: &Self, errors: &mut Errors) {
        let status = &self.status;
        let own = Counts {
            replicas: status.replicas,
            parts: &[("fullyLabeledReplicas", status.fully_labeled_replicas)],
            ready: status.ready_replicas,
            available: status.available_replicas,
            others: &[("observedGeneration", status.observed_generation)],
        };
        counts(&own, &Path::new("status"), errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_some_and(|old| old.metadata.generation == self.metadata.generation) {
            return warnings;
        }
        if old.is_none() {
            warnings.extend(name_warning(&self.metadata));
        }
        if let Some(template) = &self.spec.template {
            warnings.extend(template_warnings(template, &Path::new("spec").child("template")));
        }
        warnings
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::integer("Desired", "Pods wanted.", |own: &Self, _| {
                    own.spec.replicas.unwrap_or_default().into()
                }),
                Column::integer("Current", "Pods seen.", |own: &Self, _| own.status.replicas.into()),
                Column::integer("Ready", "Pods that pass their readiness probe.", |own: &Self, _| {
                    own.status.ready_replicas.into()
                }),
                Column::age(),
                Column::text("Containers", "Names of the template's containers.", |own: &Self, _| {
                    own.spec.template.as_deref().map_or("".into(), container_names)
                })
                .wide(),
                Column::text("Images", "Images of the template's containers.", |own: &Self, _| {
                    own.spec.template.as_deref().map_or("".into(), container_images)
                })
                .wide(),
                Column::text("Selector", "Labels by which it knows its pods.", |own: &Self, _| {
                    labels(&own.spec.selector)
                })
                .wide(),
            ]
        }
    }

    fn selectable_names() -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("status.replicas", self.status.replicas.to_string())]
    }
}

impl ReplicationController {
    fn drop_disabled(&mut self) {
        if let Some(template) = &mut self.spec.template {
            drop_disabled(&mut template.spec);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::v1::{Container, PodTemplateSpec};
    use crate::kind::testing::{defaulted, refused};

    fn controller(change: impl FnOnce(&mut ReplicationController)) -> ReplicationController {
        let mut own = ReplicationController::default();
        let mut template = PodTemplateSpec::default();
        template.metadata.labels.insert("app".into(), "web".into());
        template.spec.containers =
            vec![Container { name: "main".into(), image: "nginx:1".into(), ..Default::default() }];
        own.spec.template = Some(Box::new(template));
        change(&mut own);
        own
    }

    #[test]
    fn selector_and_labels_are_the_template_s() {
        let own = defaulted(controller(|_| {}));
        assert_eq!(own.spec.replicas, Some(1));
        assert_eq!(own.spec.selector["app"], "web");
        assert_eq!(own.metadata.labels["app"], "web");
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(controller(|_| {})).is_empty());
        assert_eq!(
            refused(controller(|c| c.spec.template = None)),
            ["spec.selector: Required value", "spec.template: Required value"]
        );
        assert_eq!(
            refused(controller(|c| {
                c.spec.replicas = Some(-1);
                c.spec.selector.insert("app".into(), "db".into());
                c.spec.template.as_mut().expect("set").spec.active_deadline_seconds = Some(1);
            })),
            [
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#,
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported",
            ]
        );
    }
}
