//! Jobs on their way to the store.

use super::*;
use crate::core::v1::{Container, Toleration};
use crate::field::Errors;
use crate::kind::Strategy;
use crate::kind::testing::{defaulted, refused, refused_update};

fn job(change: impl FnOnce(&mut Job)) -> Job {
    let mut own = Job::default();
    own.metadata.name = "pi".into();
    own.metadata.namespace = "shop".into();
    own.metadata.uid = "u-1".into();
    own.spec.template.spec.restart_policy = "Never".into();
    own.spec.template.spec.containers =
        vec![Container { name: "main".into(), image: "perl:1".into(), ..Default::default() }];
    change(&mut own);
    let mut own = defaulted(own);
    own.prepare_for_create();
    own
}

#[test]
fn defaults() {
    let spec = job(|_| {}).spec;
    assert_eq!((spec.completions, spec.parallelism, spec.backoff_limit), (Some(1), Some(1), Some(6)));
    assert_eq!(spec.pod_replacement_policy, Some(PodReplacementPolicy::TerminatingOrFailed));
    let queue = job(|j| j.spec.parallelism = Some(3)).spec;
    assert_eq!((queue.completions, queue.parallelism), (None, Some(3)));
    let by_index = job(|j| {
        j.spec.backoff_limit_per_index = Some(1);
        j.spec.pod_failure_policy = Some(Box::default());
    });
    assert_eq!(by_index.spec.backoff_limit, Some(i32::MAX));
    assert_eq!(by_index.spec.pod_replacement_policy, Some(PodReplacementPolicy::Failed));
}

#[test]
fn pods_are_known_by_the_job_s_uid() {
    let own = job(|_| {});
    let selector = own.spec.selector.as_ref().expect("made");
    assert_eq!(selector.match_labels[CONTROLLER_UID_LABEL], "u-1");
    let labels = &own.spec.template.metadata.labels;
    assert_eq!((&*labels[JOB_NAME_LABEL], &*labels[OLD_CONTROLLER_UID_LABEL]), ("pi", "u-1"));
    assert!(refused(own).is_empty());

    let manual = job(|j| j.spec.manual_selector = Some(true));
    assert_eq!(
        refused(manual),
        [
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
        ]
    );
    let stolen = job(|j| _ = j.spec.template.metadata.labels.insert("controller-uid".into(), "u-2".into()));
    let errors = refused(stolen);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].starts_with("spec.template.metadata.labels[controller-uid]: Invalid value: {"),
        "{errors:?}"
    );
    assert!(errors[0].ends_with("}: must be 'u-1'"), "{errors:?}");
}

#[test]
fn what_is_refused() {
    let check = |change: &dyn Fn(&mut Job), expected: &[&str]| assert_eq!(refused(job(change)), expected);
    check(
        &|j| {
            j.spec.parallelism = Some(-1);
            j.spec.max_failed_indexes = Some(1);
            j.spec.managed_by = Some("me".into());
            j.spec.template.spec.restart_policy = "Always".into();
        },
        &[
            "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            r#"spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")"#,
            "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
            r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#,
        ],
    );
    check(
        &|j| {
            j.spec.completion_mode = Some(CompletionMode::Indexed);
            j.spec.completions = Some(5);
            j.spec.success_policy = Some(Box::new(SuccessPolicy {
                rules: vec![SuccessPolicyRule {
                    succeeded_indexes: Some("0-9".into()),
                    succeeded_count: Some(6),
                }],
            }));
        },
        &[
            r#"spec.successPolicy.rules[0].succeededIndexes: Invalid value: "0-9": error parsing succeededIndexes: too large index: "9""#,
            "spec.successPolicy.rules[0].succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)",
            "spec.successPolicy.rules[0].succeededCount: Invalid value: 6: must be less than or equal to 0 (the number of indexes in the specified succeededIndexes field)",
        ],
    );
    check(
        &|j| {
            j.spec.pod_failure_policy = Some(Box::new(PodFailurePolicy {
                rules: vec![
                    PodFailurePolicyRule {
                        action: "FailIndex".into(),
                        on_exit_codes: Some(Box::new(PodFailurePolicyOnExitCodesRequirement {
                            container_name: Some("other".into()),
                            operator: "In".into(),
                            values: vec![2, 0],
                        })),
                        ..Default::default()
                    },
                    PodFailurePolicyRule::default(),
                ],
            }));
        },
        &[
            r#"spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set"#,
            r#"spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "other": must be one of the container or initContainer names in the pod template"#,
            "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
            "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,0]: must be ordered",
            r#"spec.podFailurePolicy.rules[1].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]"#,
            "spec.podFailurePolicy.rules[1]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
        ],
    );
    let long = "a".repeat(62);
    assert_eq!(
        refused(job(|j| {
            j.metadata.name = long.clone();
            j.spec.completion_mode = Some(CompletionMode::Indexed);
            j.spec.completions = Some(5);
        })),
        [format!(
            r#"metadata.name: Invalid value: "{long}": will not able to create pod with invalid DNS label: {long}-4"#
        )]
    );
}

#[test]
fn what_may_change() {
    let old = job(|_| {});
    let mut new = old.clone();
    new.spec.parallelism = Some(4);
    new.spec.suspend = Some(true);
    assert!(refused_update(new.clone(), old.clone()).is_empty());
    new.spec.completions = Some(4);
    assert_eq!(refused_update(new, old), ["spec.completions: Invalid value: 4: field is immutable"]);
    let grown = |completions| {
        job(|j| {
            j.spec.completion_mode = Some(CompletionMode::Indexed);
            j.spec.completions = Some(completions);
            j.spec.parallelism = Some(3);
        })
    };
    assert!(refused_update(grown(3), grown(5)).is_empty());
    assert_eq!(
        refused_update(grown(4), grown(5)),
        ["spec.completions: Invalid value: 4: can only be modified in tandem with spec.parallelism"]
    );
}

#[test]
fn pods_of_a_suspended_job_may_be_sent_elsewhere() {
    let moved = |old: &Job| {
        let mut new = old.clone();
        new.spec.template.spec.tolerations =
            vec![Toleration { operator: "Exists".into(), ..Default::default() }];
        refused_update(new, old.clone()).len()
    };
    let mut old = job(|j| j.spec.suspend = Some(true));
    assert_eq!(moved(&old), 0);
    old.status.active = 1;
    assert_eq!(moved(&old), 1);
    assert_eq!(moved(&job(|_| {})), 1);
}

fn status(change: impl FnOnce(&mut Job, &mut Job)) -> Vec<String> {
    let (mut old, mut new) = (job(|_| {}), job(|_| {}));
    change(&mut old, &mut new);
    let mut errors = Errors::default();
    new.validate_status_update(&old, &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

fn condition(type_: JobConditionType) -> JobCondition {
    JobCondition { type_, status: ConditionStatus::True, ..Default::default() }
}

#[test]
fn statuses_of_finished_jobs() {
    use JobConditionType::{Complete, Failed, FailureTarget, SuccessCriteriaMet};
    assert_eq!(
        status(|_, new| {
            new.status.conditions = vec![condition(Complete)];
            new.status.active = 1;
        }),
        [
            "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            "status.completionTime: Required value: completionTime is required for Complete jobs",
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
            "status.startTime: Required value: startTime is required for finished job",
        ]
    );
    assert!(
        status(|_, new| {
            new.status.conditions = vec![condition(SuccessCriteriaMet), condition(Complete)];
            new.status.start_time = Some(Default::default());
            new.status.completion_time = Some(Default::default());
        })
        .is_empty()
    );
    assert_eq!(
        status(|old, new| {
            old.status.conditions = vec![condition(FailureTarget), condition(Failed)];
            old.status.failed = 2;
            old.status.start_time = Some(Default::default());
            new.status.failed = 1;
            new.status.start_time = Some(Default::default());
        }),
        [
            "status.conditions: Invalid value: cannot disable the terminal Failed=True condition",
            "status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition",
            "status.failed: Invalid value: 1: cannot decrease the failed counter",
        ]
    );
}

#[test]
fn statuses_of_indexed_jobs() {
    assert_eq!(
        status(|_, new| {
            new.spec.completion_mode = Some(CompletionMode::Indexed);
            new.spec.completions = Some(5);
            new.spec.backoff_limit_per_index = Some(0);
            new.status.completed_indexes = "0-2".into();
            new.status.failed_indexes = Some("2,7".into());
        }),
        [
            r#"status.failedIndexes: Invalid value: "2,7": error parsing failedIndexes: too large index: "7""#,
            r#"status.failedIndexes: Invalid value: "2,7": failedIndexes and completedIndexes overlap at index: 2"#,
        ]
    );
}
