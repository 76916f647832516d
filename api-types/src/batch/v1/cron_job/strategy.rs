//! What happens to a CronJob on its way to the store: defaults, generation.

use super::*;
use crate::apps::v1::workload::name_warning;
use crate::batch::v1::job::strategy::spec_warnings;
use crate::batch::v1::job::strategy::template_defaults;
use crate::columns::{container_images, container_names, selector, since};
use crate::core::v1::pod::gates::drop_disabled;
use crate::field::{Errors, Path};
use crate::kind::{Column, Strategy, set_generation};

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

    fn validate_create(&self, errors: &mut Errors) {
        validate::create(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::update(self, old, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() {
            warnings.extend(name_warning(&self.metadata));
        }
        if old.is_none_or(|old| old.metadata.generation != self.metadata.generation) {
            let path = Path::new("spec").child("jobTemplate").child("spec");
            warnings.extend(spec_warnings(&self.spec.job_template.spec, &path));
        }
        if old.is_some() && self.spec.schedule.contains("TZ") {
            // COMPAT: the doubled `spec` is upstream's.
            warnings.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
        }
        warnings
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Schedule", "Times in cron's notation.", |job: &Self, _| {
                    job.spec.schedule.as_str().into()
                }),
                Column::text("Timezone", "Time zone of the schedule.", |job: &Self, _| {
                    job.spec.time_zone.as_deref().unwrap_or("<none>").into()
                }),
                Column {
                    ty: "boolean",
                    ..Column::text(
                        "Suspend",
                        "Whether nothing is started for now.",
                        |job: &Self, _| match job.spec.suspend {
                            Some(true) => "True".into(),
                            Some(false) => "False".into(),
                            None => "<unset>".into(),
                        },
                    )
                },
                Column::integer("Active", "Jobs that are running.", |job: &Self, _| {
                    job.status.active.len().into()
                }),
                Column::text("Last Schedule", "Time since a Job was last started.", |job: &Self, now| {
                    match job.status.last_schedule_time {
                        Some(at) => since(Some(at), now).into(),
                        None => "<none>".into(),
                    }
                }),
                Column::age(),
                Column::text("Containers", "Names of the template's containers.", |job: &Self, _| {
                    container_names(&job.spec.job_template.spec.template)
                })
                .wide(),
                Column::text("Images", "Images of the template's containers.", |job: &Self, _| {
                    container_images(&job.spec.job_template.spec.template)
                })
                .wide(),
                Column::text("Selector", "Labels by which a Job knows its pods.", |job: &Self, _| {
                    selector(job.spec.job_template.spec.selector.as_deref(), "<none>")
                })
                .wide(),
            ]
        }
    }
}
