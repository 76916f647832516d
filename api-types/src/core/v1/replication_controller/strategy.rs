//! What happens to a ReplicationController on its way to the store: defaults, generation.

use super::*;
use crate::core::v1::pod::defaults::template;
use crate::core::v1::pod::gates::drop_disabled;
use crate::kind::{Strategy, set_generation};

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
