//! What happens to a DaemonSet on its way to the store: defaults, generation.

use super::*;
use crate::columns::{container_images, container_names, labels, selector};
use crate::core::v1::pod::defaults::template;
use crate::core::v1::pod::gates::drop_disabled;
use crate::core::v1::pod::warnings::template as template_warnings;
use crate::field::{Errors, Path};
use crate::kind::{Column, Strategy, set_generation};

// COMPAT: a field of the first versions, which counts changes of the template, lives on as an
// annotation of every DaemonSet.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

impl DaemonSet {
    fn template_generation(&self) -> i64 {
        let annotation = self.metadata.annotations.get(TEMPLATE_GENERATION);
        annotation.and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    fn set_template_generation(&mut self, generation: i64) {
        self.metadata.annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string());
    }
}

impl Strategy for DaemonSet {
    fn set_defaults(&mut self) {
        // COMPAT: upstream's internal type has it as a field, so whoever writes the object owns the annotation.
        self.set_template_generation(self.template_generation());
        let spec = &mut self.spec;
        spec.revision_history_limit.get_or_insert(10);
        if spec.update_strategy.type_.is_unset() {
            spec.update_strategy.type_ = DaemonSetUpdateStrategyType::RollingUpdate;
        }
        if spec.update_strategy.type_ == DaemonSetUpdateStrategyType::RollingUpdate {
            let limits = spec.update_strategy.rolling_update.get_or_insert_default();
            limits.max_unavailable.get_or_insert(1.into());
            limits.max_surge.get_or_insert(0.into());
        }
        template(&mut spec.template.spec);
    }

    fn prepare_for_create(&mut self) {
        self.status = DaemonSetStatus::default();
        self.metadata.generation = 1;
        self.set_template_generation(self.template_generation().max(1));
        drop_disabled(&mut self.spec.template.spec);
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        drop_disabled(&mut self.spec.template.spec);
        let changed = self.spec.template != old.spec.template;
        self.set_template_generation(old.template_generation() + i64::from(changed));
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
        self.set_template_generation(old.template_generation());
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
        if old.is_some_and(|old| old.spec.template == self.spec.template) {
            return Vec::new();
        }
        template_warnings(&self.spec.template, &Path::new("spec").child("template"))
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::integer("Desired", "Nodes that should run a pod.", |set: &Self, _| {
                    set.status.desired_number_scheduled.into()
                }),
                Column::integer("Current", "Nodes that should run a pod and do.", |set: &Self, _| {
                    set.status.current_number_scheduled.into()
                }),
                Column::integer("Ready", "Nodes whose pod is ready.", |set: &Self, _| {
                    set.status.number_ready.into()
                }),
                Column::integer(
                    "Up-to-date",
                    "Nodes whose pod has the current template.",
                    |set: &Self, _| set.status.updated_number_scheduled.into(),
                ),
                Column::integer(
                    "Available",
                    "Nodes whose pod has been ready for long enough.",
                    |set: &Self, _| set.status.number_available.into(),
                ),
                Column::text("Node Selector", "Labels of nodes that suit.", |set: &Self, _| {
                    labels(&set.spec.template.spec.node_selector)
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
