//! What the controller last saw of a Job.

use crate::meta::v1::ConditionStatus;
use crate::open_enum::open_enum;
use crate::value::Time;
use api_types_derive::Api;

/// How far a Job has come.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct JobStatus {
    /// Latest observations; Complete or Failed ends the Job.
    #[api(1, list = atomic, patch = merge_key("type"))]
    pub conditions: Vec<JobCondition>,
    /// When the controller first saw the Job, or when it was last resumed.
    #[api(2)]
    pub start_time: Option<Time>,
    /// When the Job was done; only if it succeeded.
    #[api(3)]
    pub completion_time: Option<Time>,
    /// Pods that are pending or running and not terminating.
    #[api(4)]
    pub active: i32,
    /// Pods that have succeeded.
    #[api(5)]
    pub succeeded: i32,
    /// Pods that have failed.
    #[api(6)]
    pub failed: i32,
    /// Pods that are being deleted and not yet gone.
    #[api(11)]
    pub terminating: Option<i32>,
    /// Indexes that have succeeded, such as 1,3-5.
    #[api(7)]
    pub completed_indexes: String,
    /// Indexes that have failed for good, such as 1,3-5.
    #[api(10)]
    pub failed_indexes: Option<String>,
    /// Pods that ended and are not in the counts yet.
    #[api(8)]
    pub uncounted_terminated_pods: Option<Box<UncountedTerminatedPods>>,
    /// Active pods that are ready.
    #[api(9)]
    pub ready: Option<i32>,
}

/// UIDs of pods that ended and are not in the counts yet.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct UncountedTerminatedPods {
    /// Pods that succeeded.
    #[api(1, list = set)]
    pub succeeded: Vec<String>,
    /// Pods that failed.
    #[api(2, list = set)]
    pub failed: Vec<String>,
}

/// One observation about a Job.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.batch.v1")]
pub struct JobCondition {
    /// What is observed.
    #[api(1, required)]
    pub type_: JobConditionType,
    /// Whether it holds.
    #[api(2, required)]
    pub status: ConditionStatus,
    /// When it was last looked at.
    #[api(3, always)]
    pub last_probe_time: Option<Time>,
    /// When the status last changed.
    #[api(4, always)]
    pub last_transition_time: Option<Time>,
    /// Cause of the last change in one CamelCase word.
    #[api(5)]
    pub reason: String,
    /// The same for people.
    #[api(6)]
    pub message: String,
}

open_enum! {
    /// What a condition of a Job speaks of.
    pub enum JobConditionType {
        Suspended = "Suspended",
        Complete = "Complete",
        Failed = "Failed",
        FailureTarget = "FailureTarget",
        SuccessCriteriaMet = "SuccessCriteriaMet",
    }
}
