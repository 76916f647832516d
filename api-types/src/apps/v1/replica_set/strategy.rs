//! What happens to a ReplicaSet on its way to the store: defaults, generation, columns.

use super::*;
use crate::apps::v1::workload::{Counts, counts, selector_and_template, template_warnings};
use crate::columns::{container_images, container_names, selector};
use crate::core::v1::pod::defaults::template;
use crate::core::v1::pod::gates::drop_disabled;
use crate::field::{Errors, Path};
use crate::kind::{Column, Strategy, set_generation};
use crate::meta::v1::validate::{immutable, not_negative};

impl Strategy for ReplicaSet {
    fn set_defaults(&mut self) {
        self.spec.replicas.get_or_insert(1);
        template(&mut self.spec.template.spec);
    }

    fn prepare_for_create(&mut self) {
        self.status = ReplicaSetStatus::default();
        self.metadata.generation = 1;
        drop_disabled(&mut self.spec.template.spec);
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        drop_disabled(&mut self.spec.template.spec);
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("spec");
        not_negative(self.spec.replicas.unwrap_or_default(), &path.child("replicas"), errors);
        not_negative(self.spec.min_ready_seconds, &path.child("minReadySeconds"), errors);
        selector_and_template(self.spec.selector.as_deref(), &self.spec.template, &path, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        immutable(&self.spec.selector, &old.spec.selector, &Path::new("spec").child("selector"), errors);
    }

    fn validate_status_update(&self, _old: &Self, errors: &mut Errors) {
        let status = &self.status;
        let own = Counts {
            replicas: status.replicas,
            parts: &[("fullyLabeledReplicas", status.fully_labeled_replicas)],
            ready: status.ready_replicas,
            available: status.available_replicas,
            others: &[
                ("observedGeneration", status.observed_generation),
                ("terminatingReplicas", status.terminating_replicas.unwrap_or_default().into()),
            ],
        };
        counts(&own, &Path::new("status"), errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        template_warnings(&self.metadata, &self.spec.template, old.map(|old| &old.metadata))
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::integer("Desired", "Pods wanted.", |set: &Self, _| {
                    set.spec.replicas.unwrap_or_default().into()
                }),
                Column::integer("Current", "Pods seen.", |set: &Self, _| set.status.replicas.into()),
                Column::integer("Ready", "Pods that pass their readiness probe.", |set: &Self, _| {
                    set.status.ready_replicas.into()
                }),
                Column::age(),
                Column::text("Containers", "Names of the template's containers.", |set: &Self, _| {
                    container_names(&set.spec.template)
                })
                .wide(),
                Column::text("Images", "Images of the template's containers.", |set: &Self, _| {
                    container_images(&set.spec.template)
                })
                .wide(),
                Column::text("Selector", "Labels by which the set knows its pods.", |set: &Self, _| {
                    selector(set.spec.selector.as_deref(), "<none>")
                })
                .wide(),
            ]
        }
    }
}
