//! CronJob: makes a Job of a template at each time of a schedule.

mod strategy;
#[cfg(test)]
mod tests;
mod validate;

use crate::batch::v1::JobSpec;
use crate::core::v1::ObjectReference;
use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::ObjectMeta;
use crate::open_enum::open_enum;
use crate::value::Time;
use api_types_derive::Api;

/// Makes a Job of a template at each time of a schedule.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct CronJob {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The schedule and the Job.
    #[api(2, required, omitempty)]
    pub spec: CronJobSpec,
    /// What was run.
    #[api(3)]
    pub status: CronJobStatus,
}

/// A schedule and what it starts.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct CronJobSpec {
    /// Times in cron's notation.
    #[api(1, required)]
    pub schedule: String,
    /// Time zone of the schedule; the controller manager's when not given.
    #[api(8)]
    pub time_zone: Option<String>,
    /// Seconds by which a start may be late before it counts as missed.
    #[api(2)]
    pub starting_deadline_seconds: Option<i64>,
    /// What happens when the previous Job still runs.
    #[api(3)]
    pub concurrency_policy: ConcurrencyPolicy,
    /// Whether nothing shall be started for now.
    #[api(4)]
    pub suspend: Option<bool>,
    /// What the Jobs look like.
    #[api(5, required)]
    pub job_template: JobTemplateSpec,
    /// Succeeded Jobs that are kept; 3 when not given.
    #[api(6)]
    pub successful_jobs_history_limit: Option<i32>,
    /// Failed Jobs that are kept; 1 when not given.
    #[api(7)]
    pub failed_jobs_history_limit: Option<i32>,
}

/// What a Job looks like that is made from a template.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct JobTemplateSpec {
    /// Labels and annotations of the Job.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The work wanted.
    #[api(2)]
    pub spec: JobSpec,
}

open_enum! {
    /// What happens when the previous Job still runs.
    pub enum ConcurrencyPolicy {
        Allow = "Allow",
        Forbid = "Forbid",
        Replace = "Replace",
    }
}

/// What a CronJob has run.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct CronJobStatus {
    /// Jobs that are running.
    #[api(1, list = atomic)]
    pub active: Vec<ObjectReference>,
    /// When a Job was last started.
    #[api(4)]
    pub last_schedule_time: Option<Time>,
    /// When a Job last succeeded.
    #[api(5)]
    pub last_successful_time: Option<Time>,
}

resource!(
    CronJob,
    Kind {
        short_names: &["cj"],
        categories: &["all"],
        subresources: &[Subresource::status("CronJob")],
        ..Kind::namespaced("batch/v1", "CronJob", "cronjobs", "cronjob")
    }
);
