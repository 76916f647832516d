//! Job: pods that run to completion.

pub mod indexes;
mod policy;
mod status;
mod status_validate;
pub(crate) mod strategy;
#[cfg(test)]
mod tests;
pub(crate) mod validate;

pub use policy::*;
pub use status::*;
pub use strategy::{CONTROLLER_UID_LABEL, JOB_NAME_LABEL, OLD_CONTROLLER_UID_LABEL, OLD_JOB_NAME_LABEL};

use crate::core::v1::PodTemplateSpec;
use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::{ConditionStatus, LabelSelector, ObjectMeta};
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// Runs pods until enough of them have succeeded.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct Job {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The work wanted.
    #[api(2)]
    pub spec: JobSpec,
    /// How far it has come.
    #[api(3)]
    pub status: JobStatus,
}

/// The pods that a Job runs and when it ends.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct JobSpec {
    /// Pods that may run at once; 1 when not given.
    #[api(1)]
    pub parallelism: Option<i32>,
    /// Pods that must succeed; when not given, the success of any ends the Job.
    #[api(2)]
    pub completions: Option<i32>,
    /// Seconds after its start at which the Job is stopped and failed.
    #[api(3)]
    pub active_deadline_seconds: Option<i64>,
    /// What a failed pod means, by exit code or condition.
    #[api(11)]
    pub pod_failure_policy: Option<Box<PodFailurePolicy>>,
    /// When the Job is done although not all pods have succeeded.
    #[api(16)]
    pub success_policy: Option<Box<SuccessPolicy>>,
    /// Failures after which the Job counts as failed; 6 when not given.
    #[api(7)]
    pub backoff_limit: Option<i32>,
    /// Failures of one index after which that index counts as failed.
    #[api(12)]
    pub backoff_limit_per_index: Option<i32>,
    /// Failed indexes after which the Job counts as failed.
    #[api(13)]
    pub max_failed_indexes: Option<i32>,
    /// Labels by which the Job knows its pods; made by the server.
    #[api(4)]
    pub selector: Option<Box<LabelSelector>>,
    /// Whether selector and labels are the user's own.
    #[api(5)]
    pub manual_selector: Option<bool>,
    /// What the pods look like.
    #[api(6, required)]
    pub template: PodTemplateSpec,
    /// Seconds after its end at which the Job is deleted; never when not given.
    #[api(8)]
    pub ttl_seconds_after_finished: Option<i32>,
    /// Whether pods are counted, or each index must succeed once.
    #[api(9)]
    pub completion_mode: Option<CompletionMode>,
    /// Whether no pods shall run for now.
    #[api(10)]
    pub suspend: Option<bool>,
    /// When a replacement for a pod is made.
    #[api(14)]
    pub pod_replacement_policy: Option<PodReplacementPolicy>,
    /// Controller that runs the Job, when it is not the built-in one.
    #[api(15)]
    pub managed_by: Option<String>,
}

open_enum! {
    /// How completions are counted.
    pub enum CompletionMode {
        NonIndexed = "NonIndexed",
        Indexed = "Indexed",
    }
}

open_enum! {
    /// When a replacement for a pod is made.
    pub enum PodReplacementPolicy {
        TerminatingOrFailed = "TerminatingOrFailed",
        Failed = "Failed",
    }
}

resource!(
    Job,
    Kind {
        categories: &["all"],
        subresources: &[Subresource::status("Job")],
        ..Kind::namespaced("batch/v1", "Job", "jobs", "job")
    }
);
