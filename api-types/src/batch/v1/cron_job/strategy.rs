//! What happens to a CronJob on its way to the store: defaults, generation.

use super::*;
use crate::batch::v1::job::strategy::template_defaults;
use crate::core::v1::pod::gates::drop_disabled;
use crate::kind::{Strategy, set_generation};

impl Strategy for CronJob {
    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        if spec.concurrency_policy.is_unset() {
            spec.concurrency_policy = ConcurrencyPolicy::Allow;
        }
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
        template_defaults(&mut spec.job_template.spec);
    }

    fn prepare_for_create(&mut self) {
        self.status = CronJobStatus::default();
        self.metadata.generation = 1;
        drop_disabled(&mut self.spec.job_template.spec.template.spec);
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        drop_disabled(&mut self.spec.job_template.spec.template.spec);
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
    }
}
