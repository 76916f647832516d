//! What happens to a Deployment on its way to the store: defaults, generation, columns.

use super::*;
use crate::apps::v1::workload::template_warnings;
use crate::columns::{container_images, container_names, selector};
use crate::core::v1::pod::defaults::template;
use crate::core::v1::pod::gates::drop_disabled;
use crate::field::Errors;
use crate::kind::{Column, Strategy, set_generation};

impl Strategy for Deployment {
    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        if spec.strategy.type_.is_unset() {
            spec.strategy.type_ = DeploymentStrategyType::RollingUpdate;
        }
        if spec.strategy.type_ == DeploymentStrategyType::RollingUpdate {
            let limits = spec.strategy.rolling_update.get_or_insert_default();
            limits.max_unavailable.get_or_insert("25%".into());
            limits.max_surge.get_or_insert("25%".into());
        }
        template(&mut spec.template.spec);
    }

    fn prepare_for_create(&mut self) {
        self.status = DeploymentStatus::default();
        self.metadata.generation = 1;
        drop_disabled(&mut self.spec.template.spec);
    }

    /// Annotations count as well: they are copied to the ReplicaSets.
    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        drop_disabled(&mut self.spec.template.spec);
        let changed = self.spec != old.spec || self.metadata.annotations != old.metadata.annotations;
        set_generation(&mut self.metadata, &old.metadata, changed);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.labels = old.metadata.labels.clone();
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        validate::spec(&self.spec, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::update(self, old, errors);
    }

    fn validate_status_update(&self, old: &Self, errors: &mut Errors) {
        validate::status_update(&self.status, &old.status, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        template_warnings(&self.metadata, &self.spec.template, old.map(|old| &old.metadata))
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Ready", "Ready pods out of those wanted.", |deployment: &Self, _| {
                    let wanted = deployment.spec.replicas.unwrap_or_default();
                    format!("{}/{wanted}", deployment.status.ready_replicas).into()
                }),
                Column::text("Up-to-date", "Pods that have the current template.", |deployment: &Self, _| {
                    deployment.status.updated_replicas.into()
                }),
                Column::text(
                    "Available",
                    "Pods that have been ready for long enough.",
                    |deployment: &Self, _| deployment.status.available_replicas.into(),
                ),
                Column::age(),
                Column::text("Containers", "Names of the template's containers.", |deployment: &Self, _| {
                    container_names(&deployment.spec.template)
                })
                .wide(),
                Column::text("Images", "Images of the template's containers.", |deployment: &Self, _| {
                    container_images(&deployment.spec.template)
                })
                .wide(),
                Column::text(
                    "Selector",
                    "Labels by which the Deployment knows its pods.",
                    |deployment: &Self, _| selector(deployment.spec.selector.as_deref(), ""),
                )
                .wide(),
            ]
        }
    }
}
