//! Which pods are made and which go.

use std::time::Duration;

use api_types::batch::v1::{CompletionMode, Job};
use api_types::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use api_types::meta::v1::ObjectMeta;
use client::Patch;
use client::controller::{Action, Plan, Step, Target, Told};
use serde_json::json;

use super::pods::{Crew, Worker, completions, is_indexed, is_suspended, number, replaces_failed_only};
use super::policy::Meaning;
use super::{Own, View, verdict};
use crate::cached::controller_reference;
use crate::cached::job_pod::{FAILURES, IGNORED_FAILURES, INDEX, TRACKING};

/// Most pods created or deleted in one go.
const BURST: usize = 500;
/// Longest prefix of a generated name.
const LONGEST_PREFIX: usize = 58;
/// Where containers find the index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// The least time until the next look for a new pod.
const BATCH: Duration = Duration::from_secs(1);

/// What is done about pods.
#[derive(Debug, Default)]
pub(super) struct Work<'a> {
    /// Deleted, and whether they are let go uncounted.
    pub delete: Vec<Worker<'a>>,
    pub uncounted: bool,
    /// An entry for each new pod: its index.
    pub create: Vec<Option<i32>>,
    pub again: Option<Duration>,
}

pub(super) fn plan(view: &View) -> Plan<Own> {
    let mut plan = Plan::nothing();
    let job = &view.job;
    if let Some(CompletionMode::Other(_)) = job.spec.completion_mode {
        let message = "Skipped Job sync because completion mode is unknown";
        plan.tell(Told::warning(view.reference(), "UnknownCompletionMode", message));
        return plan;
    }
    let crew = Crew::of(view);
    let work = decide(view, &crew);
    if let Some(again) = work.again {
        plan.look_again(again);
    }
    if let Some(left) = verdict::deadline(job, view.at).filter(|left| !left.is_zero()) {
        plan.look_again(left);
    }
    if work.uncounted {
        plan.step(Step::Together(work.delete.iter().filter(|w| w.facts.tracked).map(release).collect()));
    }
    if !work.delete.is_empty() {
        plan.step(Step::Together(work.delete.iter().map(|w| deletion(view, w)).collect()));
    }
    if !work.create.is_empty() {
        plan.step(Step::SlowStart(work.create.iter().map(|index| creation(view, &crew, *index)).collect()));
    }
    if !crew.adoption.is_nothing() {
        plan.steps.insert(0, Step::Own(Own::Pods(crew.adoption)));
    }
    plan
}

pub(super) fn decide<'a>(view: &'a View, crew: &Crew<'a>) -> Work<'a> {
    let job = crew.job;
    let active = crew.active();
    if verdict::of(crew, view.at).is_some() {
        return Work { delete: active, ..Work::default() };
    }
    if job.metadata.deletion_timestamp.is_some() {
        return Work::default();
    }
    if is_suspended(job) {
        return Work { delete: active, uncounted: true, ..Work::default() };
    }
    let parallelism = job.spec.parallelism.unwrap_or(1);
    let running = number(active.len());
    let wanted = match job.spec.completions {
        None if crew.succeeded > 0 => running,
        None => parallelism,
        Some(completions) => (completions - crew.succeeded).min(parallelism).max(0),
    };
    let mut surplus = crew.surplus(usize::try_from(running - wanted).unwrap_or(0));
    surplus.truncate(BURST);
    if !surplus.is_empty() {
        return Work { delete: surplus, uncounted: true, ..Work::default() };
    }
    let going = if replaces_failed_only(job) { crew.terminating() } else { 0 };
    let missing = usize::try_from(wanted - going - running).unwrap_or(0).min(BURST);
    if missing == 0 {
        return Work::default();
    }
    if job.spec.backoff_limit_per_index.is_none()
        && let Some(left) = crew.backoff.left(view.at)
    {
        return Work { again: Some(left.max(BATCH)), ..Work::default() };
    }
    if !is_indexed(job) {
        return Work { create: vec![None; missing], ..Work::default() };
    }
    let pending = pending_indexes(crew, missing);
    let left = |index: &i32| crew.kept.get(index).and_then(|failed| index_backoff(view, failed));
    let ready: Vec<_> = pending.iter().filter(|index| left(index).is_none()).map(|i| Some(*i)).collect();
    let again = pending.iter().filter_map(left).min().map(|left| left.max(BATCH));
    Work { create: ready, again, ..Work::default() }
}

/// How long the index of a failed pod still has to wait.
fn index_backoff(view: &View, failed: &Worker<'_>) -> Option<Duration> {
    let failures = u32::try_from(failed.all_failures()).unwrap_or(0).saturating_add(1);
    super::Backoff { failures, last: Some(failed.facts.finished) }.left(view.at)
}

/// The lowest indexes that nobody works on.
fn pending_indexes(crew: &Crew<'_>, count: usize) -> Vec<i32> {
    use super::indexes::Indexes;
    let job = crew.job;
    let mut taken =
        crew.succeeded_indexes.with(&Indexes::of(crew.active().iter().filter_map(|w| w.facts.index)));
    if replaces_failed_only(job) {
        let going = crew.all.iter().filter(|w| w.is_terminating()).filter_map(|w| w.facts.index);
        taken = taken.with(&Indexes::of(going));
    }
    if let Some(failed) = &crew.failed_indexes {
        taken = taken.with(failed);
    }
    taken.absent(completions(job)).take(count).collect()
}

/// Takes the finalizer off: the pod is counted, or is not to be.
pub(super) fn release(worker: &Worker<'_>) -> Action {
    let patch =
        json!({ "metadata": { "uid": &*worker.pod.uid, "$deleteFromPrimitiveList/finalizers": [TRACKING] } });
    Action::patch(Target::new::<Pod>(worker.key.clone(), &worker.pod.uid), Patch::Strategic(patch))
}

fn deletion(view: &View, worker: &Worker<'_>) -> Action {
    Action::delete(Target::new::<Pod>(worker.key.clone(), &worker.pod.uid))
        .on_success(Told::normal(
            view.reference(),
            "SuccessfulDelete",
            format!("Deleted pod: {}", worker.key.name),
        ))
        .on_failure(Told::warning(view.reference(), "FailedDelete", "Error deleting: {error}"))
}

fn creation(view: &View, crew: &Crew<'_>, index: Option<i32>) -> Action {
    let job = &view.job;
    let template = &job.spec.template;
    let mut metadata = ObjectMeta {
        namespace: job.metadata.namespace.clone(),
        generate_name: format!("{}-", job.metadata.name),
        labels: template.metadata.labels.clone(),
        annotations: template.metadata.annotations.clone(),
        finalizers: template.metadata.finalizers.clone(),
        owner_references: vec![controller_reference::<Job>(&job.metadata)],
        ..ObjectMeta::default()
    };
    if !metadata.finalizers.iter().any(|f| f == TRACKING) {
        metadata.finalizers.push(TRACKING.into());
    }
    let mut spec = template.spec.clone();
    if is_indexed(job) {
        spec.init_containers.iter_mut().chain(&mut spec.containers).for_each(tell_index);
    }
    if let Some(index) = index {
        metadata.generate_name = prefix(&job.metadata.name, index);
        metadata.annotations.insert(INDEX.into(), index.to_string());
        metadata.labels.insert(INDEX.into(), index.to_string());
        spec.hostname = format!("{}-{index}", job.metadata.name);
        if job.spec.backoff_limit_per_index.is_some() {
            let (counted, ignored) = failures_so_far(job, crew.kept.get(&index));
            metadata.annotations.insert(FAILURES.into(), counted.to_string());
            if ignored > 0 {
                metadata.annotations.insert(IGNORED_FAILURES.into(), ignored.to_string());
            }
        }
    }
    Action::create(Pod { metadata, spec, ..Pod::default() })
        .on_success(Told::normal(view.reference(), "SuccessfulCreate", "Created pod: {name}"))
        .on_failure(Told::warning(view.reference(), "FailedCreate", "Error creating: {error}"))
}

/// Failures of an index, counted and ignored, the pod that is being replaced included.
fn failures_so_far(job: &Job, replaced: Option<&Worker<'_>>) -> (i32, i32) {
    let Some(replaced) = replaced else { return (0, 0) };
    let (counted, ignored) = (replaced.facts.failures, replaced.facts.ignored_failures);
    match replaced.meaning(job) {
        Meaning::Ignored => (counted, ignored + 1),
        _ => (counted + 1, ignored),
    }
}

/// `job-3-`, shortened so that a generated name fits.
fn prefix(job: &str, index: i32) -> String {
    let tail = format!("-{index}-");
    let room = LONGEST_PREFIX - tail.len();
    let stem: String =
        if job.len() + tail.len() > LONGEST_PREFIX { job.chars().take(room).collect() } else { job.into() };
    stem + &tail
}

fn tell_index(container: &mut Container) {
    if container.env.iter().any(|e| e.name == INDEX_VARIABLE) {
        return;
    }
    let field_path = format!("metadata.labels['{INDEX}']");
    let source = ObjectFieldSelector { field_path, ..ObjectFieldSelector::default() };
    let value_from = EnvVarSource { field_ref: Some(Box::new(source)), ..EnvVarSource::default() };
    container.env.push(EnvVar {
        name: INDEX_VARIABLE.into(),
        value_from: Some(Box::new(value_from)),
        ..EnvVar::default()
    });
}
