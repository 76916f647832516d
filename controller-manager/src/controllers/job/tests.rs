//! Rounds of a Job: pods in, actions and status out.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::batch::v1::{
    CompletionMode, Job, JobConditionType as Type, JobStatus, PodFailurePolicy,
    PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, PodReplacementPolicy, SuccessPolicy,
    SuccessPolicyRule, UncountedTerminatedPods,
};
use api_types::core::v1::{Container, Pod, PodPhase};
use api_types::meta::v1::{ConditionStatus, LabelSelector};
use api_types::value::Time;
use client::Key;
use client::controller::{Controller as _, Outcome, Plan, Step};
use jiff::Timestamp;

use super::{Backoff, Jobs, Own, View};
use crate::cached::job_pod::{Ended, JobFacts};
use crate::cached::{Owner, PodFacts};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("batch.kubernetes.io/job-name".into(), "work".into())])
}

fn view(parallelism: i32, completions: Option<i32>) -> View {
    let mut job = Job::default();
    job.metadata.namespace = "ns".into();
    job.metadata.name = "work".into();
    job.metadata.uid = "job-uid".into();
    job.spec.parallelism = Some(parallelism);
    job.spec.completions = completions;
    job.spec.backoff_limit = Some(6);
    job.spec.selector = Some(Box::new(LabelSelector { match_labels: labels(), ..Default::default() }));
    job.spec.template.metadata.labels = labels();
    job.spec.template.spec.containers = vec![Container { name: "c".into(), ..Container::default() }];
    job.status.start_time = Some(Time(at(0)));
    View { job, pods: Vec::new(), backoff: Backoff::default(), at: at(1000) }
}

fn indexed(parallelism: i32, completions: i32) -> View {
    let mut view = view(parallelism, Some(completions));
    view.job.spec.completion_mode = Some(CompletionMode::Indexed);
    view
}

fn add(view: &mut View, name: &str, phase: PodPhase, change: impl FnOnce(&mut PodFacts, &mut JobFacts)) {
    let mut facts = JobFacts { tracked: true, finished: at(0), ..JobFacts::default() };
    let mut pod = PodFacts {
        uid: name.into(),
        labels: labels(),
        owner: Some(Owner { uid: "job-uid".into(), ..Owner::default() }),
        node: "n1".into(),
        phase,
        ..PodFacts::default()
    };
    change(&mut pod, &mut facts);
    pod.job = Some(Box::new(facts));
    view.pods.push((Key::new("ns", name), Arc::new(pod)));
}

fn pod(view: &mut View, name: &str, phase: PodPhase) {
    add(view, name, phase, |_, _| {});
}

fn indexed_pod(view: &mut View, name: &str, phase: PodPhase, index: i32) {
    add(view, name, phase, |_, facts| facts.index = Some(index));
}

fn described(plan: &Plan<Own>) -> Vec<String> {
    plan.actions().iter().map(|a| a.effect.describe()).collect()
}

fn done(view: &View) -> Vec<String> {
    described(&Jobs::plan(view, view.at))
}

fn conclude(view: &View) -> (JobStatus, Vec<String>, Vec<String>) {
    let plan = Jobs::conclude(view, &Outcome::default(), view.at);
    let status = plan.actions().iter().find_map(|a| a.effect.object::<Job>().map(|job| job.status.clone()));
    let freed = described(&plan).into_iter().filter(|d| d.starts_with("patch")).collect();
    let told = plan.steps.iter().filter_map(|step| match step {
        Step::Tell(told) => Some(format!("{}: {}", told.reason, told.message)),
        _ => None,
    });
    (status.unwrap_or_else(|| view.job.status.clone()), freed, told.collect())
}

/// What a server and a kubelet make of a round: the status is stored, pods lose their finalizer.
fn next(view: &mut View) -> Vec<String> {
    let (status, freed, told) = conclude(view);
    view.job.status = status;
    for (key, pod) in &mut view.pods {
        if freed.contains(&format!("patch Pod {key}")) {
            Arc::make_mut(pod).job.as_mut().unwrap().tracked = false;
        }
    }
    told
}

fn condition(status: &JobStatus, type_: Type) -> Option<(String, String)> {
    let condition = status.conditions.iter().find(|c| c.type_ == type_)?;
    assert_eq!(condition.status, ConditionStatus::True);
    Some((condition.reason.clone(), condition.message.clone()))
}

#[test]
fn pods_are_made_up_to_the_parallelism() {
    let mut given = view(2, Some(5));
    assert_eq!(done(&given), ["create Pod ns/work-", "create Pod ns/work-"]);
    let plan = Jobs::plan(&given, given.at);
    let made: &Pod = plan.actions()[0].effect.object().unwrap();
    assert_eq!(made.metadata.finalizers, ["batch.kubernetes.io/job-tracking"]);
    assert_eq!(made.metadata.owner_references[0].kind, "Job");
    pod(&mut given, "a", PodPhase::Running);
    assert_eq!(done(&given).len(), 1);
    given.job.status.succeeded = 4;
    assert!(done(&given).is_empty(), "one is enough for the rest");
}

#[test]
fn a_job_completes_in_steps_that_lose_nothing() {
    let mut given = view(1, Some(1));
    pod(&mut given, "a", PodPhase::Succeeded);
    assert!(done(&given).is_empty());
    let (status, freed, _) = conclude(&given);
    assert_eq!(status.uncounted_terminated_pods.as_ref().unwrap().succeeded, ["a"]);
    assert_eq!((status.succeeded, freed), (0, vec!["patch Pod ns/a".to_owned()]));
    assert_eq!(
        condition(&status, Type::SuccessCriteriaMet).unwrap(),
        ("CompletionsReached".into(), "Reached expected number of succeeded pods".into())
    );
    assert_eq!(condition(&status, Type::Complete), None);
    assert!(next(&mut given).is_empty());
    assert_eq!(next(&mut given), ["Completed: Job completed"]);
    let status = &given.job.status;
    assert_eq!((status.succeeded, status.active), (1, 0));
    assert!(condition(status, Type::Complete).is_some() && status.completion_time.is_some());
    assert_eq!(**status.uncounted_terminated_pods.as_ref().unwrap(), UncountedTerminatedPods::default());
}

#[test]
fn a_pod_that_is_named_already_is_not_named_again() {
    let mut given = view(1, Some(2));
    pod(&mut given, "a", PodPhase::Succeeded);
    next(&mut given);
    let named = given.job.status.clone();
    Arc::make_mut(&mut given.pods[0].1).job.as_mut().unwrap().tracked = true;
    assert_eq!(conclude(&given).0, named, "the finalizer was not taken off after all");
    Arc::make_mut(&mut given.pods[0].1).job.as_mut().unwrap().tracked = false;
    next(&mut given);
    assert_eq!(given.job.status.succeeded, 1);
    given.pods.clear();
    assert_eq!(conclude(&given).0.succeeded, 1);
}

#[test]
fn failures_back_off_and_then_end_the_job() {
    let mut given = view(1, Some(1));
    given.job.spec.backoff_limit = Some(1);
    add(&mut given, "a", PodPhase::Failed, |_, facts| facts.finished = at(995));
    let plan = Jobs::plan(&given, given.at);
    assert!(plan.actions().is_empty(), "ten seconds after the first failure");
    assert_eq!(plan.again.unwrap().as_secs(), 5);
    let counted = Jobs::conclude(&given, &Outcome::default(), given.at);
    let remembers = |s: &Step<Own>| matches!(s, Step::Own(Own::Counted(_, b)) if b.failures == 1);
    assert!(counted.steps.iter().any(remembers));
    next(&mut given);
    next(&mut given);
    assert_eq!(given.job.status.failed, 1);
    given.at = at(1010);
    assert_eq!(done(&given).len(), 1);
    pod(&mut given, "b", PodPhase::Failed);
    pod(&mut given, "c", PodPhase::Running);
    assert_eq!(done(&given), ["delete Pod ns/c"]);
    given.pods.pop();
    next(&mut given);
    assert_eq!(
        condition(&given.job.status, Type::FailureTarget).unwrap(),
        ("BackoffLimitExceeded".into(), "Job has reached the specified backoff limit".into())
    );
    assert_eq!(next(&mut given), ["BackoffLimitExceeded: Job has reached the specified backoff limit"]);
    assert_eq!(given.job.status.failed, 2);
    assert!(condition(&given.job.status, Type::Failed).is_some());
}

#[test]
fn restarts_count_when_pods_restart_in_place() {
    let mut given = view(1, Some(1));
    given.job.spec.template.spec.restart_policy = "OnFailure".into();
    given.job.spec.backoff_limit = Some(3);
    add(&mut given, "a", PodPhase::Running, |_, facts| facts.restarts = 2);
    assert!(done(&given).is_empty());
    Arc::make_mut(&mut given.pods[0].1).job.as_mut().unwrap().restarts = 3;
    assert_eq!(done(&given), ["delete Pod ns/a"]);
}

#[test]
fn a_deadline_ends_the_job() {
    let mut given = view(1, Some(1));
    pod(&mut given, "a", PodPhase::Running);
    given.job.spec.active_deadline_seconds = Some(1200);
    assert_eq!(Jobs::plan(&given, given.at).again.unwrap().as_secs(), 200);
    given.job.spec.active_deadline_seconds = Some(900);
    assert_eq!(done(&given), ["delete Pod ns/a"]);
    let (status, freed, _) = conclude(&given);
    assert_eq!(condition(&status, Type::FailureTarget).unwrap().0, "DeadlineExceeded");
    assert_eq!(condition(&status, Type::Failed), None, "its pod is still going");
    assert_eq!((status.active, status.terminating, freed.len()), (0, Some(1), 1));
}

#[test]
fn suspended_jobs_have_no_pods() {
    let mut given = view(2, Some(2));
    given.job.spec.suspend = Some(true);
    pod(&mut given, "a", PodPhase::Running);
    assert_eq!(done(&given), ["patch Pod ns/a", "delete Pod ns/a"]);
    let told = next(&mut given);
    assert_eq!(told, ["Suspended: Job suspended"]);
    assert_eq!(given.job.status.start_time, None);
    assert_eq!(condition(&given.job.status, Type::Suspended).unwrap().0, "JobSuspended");
    given.job.spec.suspend = Some(false);
    given.pods.clear();
    assert_eq!(done(&given).len(), 2);
    assert_eq!(next(&mut given), ["Resumed: Job resumed"]);
    assert_eq!(given.job.status.start_time, Some(Time(given.at)));
}

#[test]
fn surplus_pods_go_uncounted() {
    let mut given = view(1, Some(5));
    pod(&mut given, "a", PodPhase::Running);
    pod(&mut given, "b", PodPhase::Pending);
    assert_eq!(done(&given), ["patch Pod ns/b", "delete Pod ns/b"]);
}

#[test]
fn without_completions_one_success_ends_the_work() {
    let mut given = view(2, None);
    pod(&mut given, "a", PodPhase::Succeeded);
    pod(&mut given, "b", PodPhase::Running);
    assert!(done(&given).is_empty(), "the others run to their end");
    assert_eq!(condition(&conclude(&given).0, Type::SuccessCriteriaMet), None);
    given.pods.pop();
    assert!(condition(&conclude(&given).0, Type::SuccessCriteriaMet).is_some());
}

#[test]
fn indexes_are_worked_on_in_order_and_once() {
    let mut given = indexed(2, 4);
    given.job.status.completed_indexes = "0".into();
    indexed_pod(&mut given, "one", PodPhase::Running, 1);
    let plan = Jobs::plan(&given, given.at);
    let made: &Pod = plan.actions()[0].effect.object().unwrap();
    assert_eq!((plan.actions().len(), made.metadata.generate_name.as_str()), (1, "work-2-"));
    assert_eq!(made.metadata.annotations["batch.kubernetes.io/job-completion-index"], "2");
    assert_eq!(made.spec.hostname, "work-2");
    assert_eq!(made.spec.containers[0].env[0].name, "JOB_COMPLETION_INDEX");
    indexed_pod(&mut given, "one-again", PodPhase::Pending, 1);
    assert_eq!(done(&given), ["patch Pod ns/one-again", "delete Pod ns/one-again"]);
}

#[test]
fn completed_indexes_are_written_down() {
    let mut given = indexed(4, 4);
    for (name, index) in [("a", 0), ("b", 1), ("c", 3)] {
        indexed_pod(&mut given, name, PodPhase::Succeeded, index);
    }
    next(&mut given);
    assert_eq!((given.job.status.completed_indexes.as_str(), given.job.status.succeeded), ("0,1,3", 3));
}

#[test]
fn an_index_has_a_limit_of_its_own() {
    let mut given = indexed(2, 2);
    given.job.spec.backoff_limit = Some(i32::MAX);
    given.job.spec.backoff_limit_per_index = Some(1);
    add(&mut given, "a", PodPhase::Failed, |_, f| (f.index, f.finished) = (Some(0), at(900)));
    indexed_pod(&mut given, "b", PodPhase::Succeeded, 1);
    let plan = Jobs::plan(&given, given.at);
    let made: &Pod = plan.actions()[0].effect.object().unwrap();
    assert_eq!(made.metadata.annotations["batch.kubernetes.io/job-index-failure-count"], "1");
    let (status, freed, _) = conclude(&given);
    assert_eq!(status.failed_indexes.as_deref(), Some(""));
    assert_eq!(freed, ["patch Pod ns/b"], "the failed one is kept until its replacement is there");
    add(&mut given, "a2", PodPhase::Failed, |_, f| (f.index, f.failures) = (Some(0), 1));
    next(&mut given);
    assert_eq!(given.job.status.failed_indexes.as_deref(), Some("0"));
    assert_eq!(condition(&given.job.status, Type::FailureTarget).unwrap().0, "FailedIndexes");
    assert_eq!(next(&mut given), ["FailedIndexes: Job has failed indexes"]);
}

#[test]
fn a_failure_policy_may_ignore_or_end_it_all() {
    let mut given = view(1, Some(1));
    let rule = |action: &str, code: i32| PodFailurePolicyRule {
        action: action.into(),
        on_exit_codes: Some(Box::new(PodFailurePolicyOnExitCodesRequirement {
            operator: "In".into(),
            values: vec![code],
            ..Default::default()
        })),
        ..Default::default()
    };
    let rules = vec![rule("Ignore", 3), rule("FailJob", 42)];
    given.job.spec.pod_failure_policy = Some(Box::new(PodFailurePolicy { rules }));
    let ended = |code| vec![Ended { container: "c".into(), code }].into();
    add(&mut given, "a", PodPhase::Failed, |_, facts| facts.ended = ended(3));
    let (status, freed, _) = conclude(&given);
    assert_eq!(freed.len(), 1);
    assert!(status.uncounted_terminated_pods.unwrap().failed.is_empty());
    add(&mut given, "b", PodPhase::Failed, |_, facts| facts.ended = ended(42));
    let (reason, message) = condition(&conclude(&given).0, Type::FailureTarget).unwrap();
    assert_eq!(reason, "PodFailurePolicy");
    assert_eq!(message, "Container c for pod ns/b failed with exit code 42 matching FailJob rule at index 1");
}

#[test]
fn a_success_policy_may_end_it_early() {
    let mut given = indexed(3, 3);
    let rule = SuccessPolicyRule { succeeded_indexes: Some("0,2".into()), succeeded_count: Some(1) };
    given.job.spec.success_policy = Some(Box::new(SuccessPolicy { rules: vec![rule] }));
    indexed_pod(&mut given, "a", PodPhase::Succeeded, 1);
    indexed_pod(&mut given, "b", PodPhase::Running, 0);
    assert_eq!(condition(&conclude(&given).0, Type::SuccessCriteriaMet), None);
    indexed_pod(&mut given, "c", PodPhase::Succeeded, 2);
    assert_eq!(done(&given), ["delete Pod ns/b"]);
    let met = condition(&conclude(&given).0, Type::SuccessCriteriaMet).unwrap();
    assert_eq!(met, ("SuccessPolicy".into(), "Matched rules at index 0".into()));
}

#[test]
fn replacements_may_wait_for_the_end() {
    let mut given = view(1, Some(1));
    add(&mut given, "a", PodPhase::Running, |pod, _| pod.deleting = Some(at(990)));
    given.at = at(1100);
    assert_eq!(done(&given).len(), 1, "a pod that is going is replaced at once");
    given.job.spec.pod_replacement_policy = Some(PodReplacementPolicy::Failed);
    assert!(done(&given).is_empty());
    let (status, freed, _) = conclude(&given);
    assert_eq!((status.terminating, freed.len()), (Some(1), 0));
}

#[test]
fn a_job_that_goes_makes_nothing_and_frees_its_pods() {
    let mut given = view(2, Some(2));
    given.job.metadata.deletion_timestamp = Some(Time(at(900)));
    pod(&mut given, "a", PodPhase::Running);
    assert!(done(&given).is_empty());
    assert_eq!(conclude(&given).1, ["patch Pod ns/a"]);
}

#[test]
fn strays_are_adopted_with_the_finalizer() {
    let mut given = view(1, Some(1));
    add(&mut given, "a", PodPhase::Running, |pod, facts| (pod.owner, facts.tracked) = (None, false));
    let plan = Jobs::plan(&given, given.at);
    let Step::Own(Own::Pods(adoption)) = &plan.steps[0] else { panic!("{plan:?}") };
    assert_eq!(adoption.finalizer, Some("batch.kubernetes.io/job-tracking"));
    assert_eq!(adoption.adopt.len(), 1);
}
