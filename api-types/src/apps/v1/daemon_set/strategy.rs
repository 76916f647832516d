//! What happens to a DaemonSet on its way to the store: defaults, generation.

use super::*;
use crate::core::v1::pod::defaults::template;
use crate::core::v1::pod::gates::drop_disabled;
use crate::kind::{Strategy, set_generation};

impl Strategy for DaemonSet {
    fn set_defaults(&mut self) {
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
}
