//! A pod's turn: look, decide, do. The only place where a pod's parts come together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Container, Pod, PodPhase, PodStatus, Secret};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::clean::clean;
use super::plan::{self, Action, Kind, View, is_sidecar};
use super::reasons::{self, StartError};
use super::sandbox_config::{Node, sandbox_config};
use super::start::{self, PodInputs};
use super::{kill, sandbox_config};
use crate::cri::observed::{ObservedPod, State};
use crate::cri::{CallError, v1};
use crate::downward::NodeFacts;
use crate::environment::Objects;
use crate::kubelet::Kubelet;
use crate::node::classes;
use crate::pod_worker::{Outcome, Stage, Turn};
use crate::probe::Type;
use crate::sources::static_pods::is_static;
use crate::status::{self, Eviction, restarting};
use crate::volume::VolumeError;
use crate::volume::apply::{self, Ready};
use crate::volume::claims::Unusable;
use crate::volume::desired;
use crate::volume::kinds::payload::Materials;
use crate::{admission, dns, resize, resources, steady, user_namespaces};

/// COMPAT: upstream's pause after something failed.
const RETRY: Duration = Duration::from_secs(10);
/// A runtime that did not answer is asked again that soon, and what passes by itself is tried again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A volume that is being attached is asked for again that soon.
const ATTACHING: Duration = Duration::from_secs(1);
/// A static pod that was changed waits for what it was before.
const PREDECESSOR: Duration = Duration::from_secs(1);
/// COMPAT: about how often upstream asks storage drivers that want it to publish a volume again.
const REPUBLISH: Duration = Duration::from_secs(90);
/// A pod at rest is looked at again that often, in case something was missed (unless `syncFrequency` is given).
const RESYNC: Duration = Duration::from_secs(300);

/// Gives a pod one turn.
pub async fn turn(kubelet: &Arc<Kubelet>, turn: &Turn, cancel: &CancellationToken) -> Outcome {
    let result = match turn.stage {
        Stage::Syncing => tokio::select! {
            result = sync(kubelet, turn) => result,
            () = cancel.cancelled() => return Outcome::Undecided(None),
        },
        Stage::Terminating => tokio::select! {
            result = terminate(kubelet, turn) => result,
            () = cancel.cancelled() => return Outcome::Wait(None),
        },
        Stage::Terminated => clean(kubelet, turn).await,
        Stage::Done if turn.freed => {
            if turn.gone {
                return Outcome::Cleaned { deleted: true };
            }
            // The API shows it still: perhaps something was changed before it could go.
            kubelet.statuses.finish(&turn.pod);
            return Outcome::Wait(None);
        }
        Stage::Done if turn.pod.metadata.deletion_timestamp.is_some() || turn.gone => {
            clean(kubelet, turn).await
        }
        Stage::Done => return Outcome::Wait(None),
    };
    result.unwrap_or_else(|error| {
        tracing::warn!(
            pod = turn.pod.metadata.name,
            namespace = turn.pod.metadata.namespace,
            error = error.message,
            "retrying"
        );
        let pause = if error.soon { look_again(kubelet) } else { RETRY };
        Outcome::Wait(Some(pause.mul_f64(0.75 + fastrand::f64() / 2.0)))
    })
}

/// When to try again what the runtime did not answer. Once it is known to be away, all pods are woken when it
/// is back: hundreds that ask each second would only fill the log.
fn look_again(kubelet: &Kubelet) -> Duration {
    if kubelet.runtime_facts.read().runtime_error.is_empty() { LOOK_AGAIN } else { RETRY }
}

/// How much of a pod's life is left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It runs, or will.
    Lives,
    /// Its containers were stopped.
    Stopped,
    /// Nothing will happen to it any more.
    Over,
}

/// Computes the status and hands it to the writer.
pub(super) fn report(kubelet: &Kubelet, turn: &Turn, observed: &ObservedPod, life: Life) -> PodStatus {
    let pod = &turn.pod;
    let uid = &pod.metadata.uid;
    let old = kubelet.statuses.get(uid).unwrap_or_else(|| {
        let mirror = is_static(pod).then(|| kubelet.mirrors.of(pod)).flatten();
        mirror.map_or_else(|| pod.status.clone(), |mirror| mirror.status.clone())
    });
    let given = kubelet.resizes.given(pod);
    let resize = if turn.stage == Stage::Syncing {
        kubelet.resizes.note_progress(kubelet, &given, observed);
        kubelet.resizes.conditions(pod)
    } else {
        kubelet.resizes.ended(pod);
        Vec::new()
    };
    let limits = observed.may_run().then(|| kubelet.tree.limits(&kubelet.cgroups.pod(&given)));
    let host_ips = kubelet.addresses.host_ips();
    let mut status = status::compute(&status::View {
        pod: &given,
        observed,
        old: &old,
        start_errors: &kubelet.reasons.of(uid),
        probes: &*kubelet.probes,
        terminal: life != Life::Lives,
        eviction: turn.eviction.as_ref(),
        host_ips: &host_ips,
        prefers_v6: kubelet.addresses.prefers_v6(),
        runtime_name: &kubelet.runtime_name(),
        actuated: kubelet.resizes.actuated(uid).as_ref(),
        limits: limits.as_ref(),
        resize: &resize,
        now: Timestamp::now(),
    });
    kubelet.devices.fill(uid, &mut status);
    kubelet.dra.fill(&given, &mut status, Timestamp::now());
    if life == Life::Over {
        status::finish::finish(pod, &mut status);
    }
    // An orphan has no object to write to.
    if !turn.orphan {
        let mut told = status.clone();
        let ended = |phase: &PodPhase| matches!(phase, PodPhase::Failed | PodPhase::Succeeded);
        // COMPAT: it has not ended for others before its drivers have taken its claims back.
        if ended(&told.phase) && !ended(&old.phase) && kubelet.dra.is_used_by(uid) {
            told.phase = old.phase.clone();
            told.reason.clone_from(&old.reason);
            told.message.clone_from(&old.message);
        }
        kubelet.statuses.set(pod, told);
    }
    status
}

/// Why a turn came to nothing.
pub(super) struct Failed {
    pub(super) message: String,
    /// What failed is likely to pass by itself at once, as when the runtime starts again.
    pub(super) soon: bool,
}

impl From<String> for Failed {
    fn from(message: String) -> Self {
        Self { message, soon: false }
    }
}

impl Failed {
    /// What failed says who it happened to.
    fn call(what: &str, error: &CallError) -> Self {
        Self { message: format!("{what}: {error}"), soon: error.is_unavailable() }
    }
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self { soon: error.is_unavailable(), message: error.to_string() }
    }
}

/// Makes the pod run.
async fn sync(kubelet: &Arc<Kubelet>, turn: &Turn) -> Result<Outcome, Failed> {
    let uid = &turn.pod.metadata.uid;
    let observed = match kubelet.observe(uid).await {
        Ok(observed) => observed,
        // Until the pod is seen its status is what it was, perhaps before a restart.
        Err(error) => {
            tracing::warn!(%error, pod = turn.pod.metadata.name, "cannot look at a pod");
            return Ok(Outcome::Undecided(Some(look_again(kubelet))));
        }
    };
    let fixed = is_static(&turn.pod);
    if fixed && !observed.may_run() && kubelet.workers.has_predecessor(&turn.pod) {
        return Ok(Outcome::Undecided(Some(PREDECESSOR)));
    }
    if !turn.admitted
        && !observed.may_run()
        && let Err(refusal) = admission::admit(kubelet, &turn.pod)
    {
        return Ok(Outcome::Evict(refusal));
    }
    if !observed.may_run()
        && let Err(refusal) = kubelet
            .placement
            .admit(&kubelet.devices, &turn.pod, !turn.admitted, |uid| kubelet.workers.may_be_active(uid))
            .await
    {
        kubelet.recorder.pod(&turn.pod, "Warning", &refusal.reason, &refusal.message);
        let message = format!("Pod was rejected: {}", refusal.message);
        return Ok(Outcome::Evict(Eviction { reason: refusal.reason, message, disrupts: false }));
    }
    // From here on the pod is what it was promised to be.
    let (pod, resize_waits) = kubelet.resizes.settle(kubelet, &turn.pod, &observed);
    let pod = &pod;
    if let Some(outcome) = deadline(kubelet, pod) {
        return Ok(outcome);
    }
    let status = report(kubelet, turn, &observed, Life::Lives);
    if matches!(status.phase, PodPhase::Failed | PodPhase::Succeeded) {
        return Ok(Outcome::Finished);
    }
    if fixed {
        kubelet.mirrors.reconcile(kubelet, &turn.pod);
    }
    let network_error = kubelet.runtime_facts.read().network_error.clone();
    if !network_error.is_empty() && !pod.spec.host_network {
        let message = format!("network is not ready: {network_error}");
        kubelet.recorder.pod(pod, "Warning", "NetworkNotReady", &message);
        return Err(message.into());
    }
    ensure_cgroup(kubelet, pod, &observed)?;
    make_directories(kubelet, pod)?;
    kubelet.references.register(pod);
    let (volumes, objects, renewal) = match prepare_volumes(kubelet, pod, &observed).await {
        Ok(prepared) => prepared,
        // Containers that run go on running without the change that failed.
        Err(NotReady::Waits(error)) => {
            tracing::info!(pod = pod.metadata.name, error, "waiting for volumes");
            return Ok(Outcome::Wait(Some(ATTACHING)));
        }
        Err(NotReady::Failed(error)) => {
            tracing::warn!(pod = pod.metadata.name, error, "volumes are not ready");
            let now = steady::now();
            // A wake before its time is no new failure.
            if kubelet.volume_failures.remaining_since_update(uid, now).is_none() {
                kubelet.volume_failures.next(uid, now);
            }
            return Ok(Outcome::Wait(kubelet.volume_failures.remaining_since_update(uid, now)));
        }
    };
    kubelet.volume_failures.forget(uid);
    kubelet.probes.add(pod);
    let liveness = |id: &str| kubelet.probes.verdict(id, Type::Liveness);
    let startup = |id: &str| kubelet.probes.verdict(id, Type::Startup);
    let decide = |observed: &ObservedPod, status: &PodStatus| {
        plan::plan(&View {
            pod,
            observed,
            liveness: &liveness,
            startup: &startup,
            actuated: kubelet.resizes.actuated(uid).as_ref(),
            restarting: restarting::under_way(status),
        })
    };
    let actions = decide(&observed, &status);
    let mut next = Next::default();
    next.sooner(resize_waits.then_some(resize::RETRY));
    if !actions.is_empty() {
        tracing::debug!(pod = pod.metadata.name, ?actions, "sync");
        let begins = actions.iter().any(|action| matches!(action, Action::CreateSandbox { .. }));
        let remapped = begins && user_namespaces::asks(pod);
        if remapped {
            user_namespaces::STARTED.inc();
        }
        let result = perform(kubelet, pod, observed, actions, &volumes, &objects, &mut next).await;
        if remapped && (result.is_err() || !kubelet.reasons.of(uid).is_empty()) {
            user_namespaces::FAILED.inc();
        }
        let observed = kubelet.observe(uid).await?;
        let status = report(kubelet, turn, &observed, Life::Lives);
        if matches!(status.phase, PodPhase::Failed | PodPhase::Succeeded) {
            return Ok(Outcome::Finished);
        }
        result?;
        // What was started may be all that the next containers waited for.
        let actions = decide(&observed, &status);
        let progress = actions.iter().any(|action| match action {
            Action::Start { kind, index } => {
                spec_at(pod, *kind, *index).is_some_and(|spec| observed.container(&spec.name).is_none())
            }
            _ => false,
        });
        if progress && next.0.is_none() {
            return Ok(Outcome::Wait(Some(Duration::ZERO)));
        }
    }
    let resync = kubelet.config.sync_frequency.unwrap_or(RESYNC);
    for wake in [renewal, until_deadline(pod), Some(resync.mul_f64(1.0 + fastrand::f64() / 2.0))] {
        next.sooner(wake);
    }
    Ok(Outcome::Wait(next.0))
}

/// The earliest time to look again.
#[derive(Default)]
struct Next(Option<Duration>);

impl Next {
    fn sooner(&mut self, delay: Option<Duration>) {
        self.0 = match (self.0, delay) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

fn until_deadline(pod: &Pod) -> Option<Duration> {
    let seconds = pod.spec.active_deadline_seconds?;
    let started = pod.status.start_time?.0;
    let left = seconds - Timestamp::now().duration_since(started).as_secs();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or_default()))
}

fn deadline(kubelet: &Kubelet, pod: &Pod) -> Option<Outcome> {
    if until_deadline(pod)? > Duration::ZERO {
        return None;
    }
    let message = "Pod was active on the node longer than the specified deadline";
    kubelet.recorder.pod(pod, "Normal", "DeadlineExceeded", message);
    let reason = "DeadlineExceeded".into();
    Some(Outcome::Evict(Eviction { reason, message: message.into(), disrupts: false }))
}

/// The pod's control group. While containers run its limits change only as a resize says.
fn ensure_cgroup(kubelet: &Kubelet, pod: &Pod, observed: &ObservedPod) -> Result<(), String> {
    let path = kubelet.cgroups.pod(pod);
    let runs = observed.containers.iter().any(|seen| matches!(seen.state, State::Running | State::Unknown));
    let limits = (!runs).then(|| resources::pod_limits(pod, kubelet.pod_quota(pod)));
    if limits.is_some() {
        kubelet.resizes.told_pod(pod);
        if let Err(error) = classes::update(kubelet) {
            tracing::warn!(%error, "Failed to update QoS cgroups while syncing pod");
        }
    }
    kubelet.tree.ensure(&path, limits.as_ref(), true).map_err(|error| {
        let message =
            format!("unable to ensure pod container exists: failed to create container for {path}: {error}");
        kubelet.recorder.pod(pod, "Warning", "FailedCreatePodContainer", &message);
        message
    })
}

fn make_directories(kubelet: &Kubelet, pod: &Pod) -> Result<(), String> {
    use std::os::unix::fs::DirBuilderExt;
    let dir = kubelet.pod_dir(&pod.metadata.uid);
    for dir in [dir.clone(), dir.join("volumes"), dir.join("plugins")] {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(&dir);
        made.map_err(|error| {
            let message = format!("error making pod data directories: mkdir {}: {error}", dir.display());
            kubelet.recorder.pod(pod, "Warning", "Failed", &message);
            message
        })?;
    }
    Ok(())
}

/// Why a pod's volumes are not there.
enum NotReady {
    /// Others have yet to do their part.
    Waits(String),
    /// Something failed.
    Failed(String),
}

impl From<String> for NotReady {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

type Prepared = (BTreeMap<String, Ready>, Objects, Option<Duration>);

/// Reads what the pod refers to, and sets up its volumes.
async fn prepare_volumes(
    kubelet: &Arc<Kubelet>,
    pod: &Arc<Pod>,
    observed: &ObservedPod,
) -> Result<Prepared, NotReady> {
    let failed_at = |step: &str, volume: &str, error: &str| {
        let message = format!("{step} for volume {volume:?} : {error}");
        kubelet.recorder.pod(pod, "Warning", "FailedMount", &message);
        message
    };
    let failed = |volume: &str, error: &str| failed_at("MountVolume.SetUp failed", volume, error);
    let objects = kubelet.references.objects(pod).await?;
    let (tokens, renewal) = match kubelet.tokens.of(pod).await {
        Ok(tokens) => tokens,
        Err(error) => {
            let name = pod
                .spec
                .volumes
                .iter()
                .find(|volume| {
                    volume.source.projected.as_ref().is_some_and(|projected| {
                        projected.sources.iter().any(|source| source.service_account_token.is_some())
                    })
                })
                .map(|volume| volume.name.clone())
                .unwrap_or_default();
            return Err(failed(&name, &error).into());
        }
    };
    let unprocessed = |volumes: &[&str], errors: &[String]| {
        let (names, errors) = (volumes.join(" "), errors.join("; "));
        let message = format!(
            "Unable to attach or mount volumes: unmounted volumes=[{names}], unattached volumes=[], failed to process volumes=[{names}]: {errors}"
        );
        kubelet.recorder.pod(pod, "Warning", "FailedMount", &message);
        message
    };
    let claims = kubelet.claims.of(pod).await.map_err(|(volume, error)| match error {
        Unusable::Unprocessed(error) => unprocessed(&[&volume], &[error]),
        Unusable::Elsewhere(message) => {
            kubelet.recorder.pod(pod, "Warning", "FailedMount", &message);
            message
        }
    })?;
    let republished = desired::mounted(pod).iter().any(|volume| {
        let behind = claims.get(&volume.name).and_then(|claimed| claimed.volume.spec.source.csi.as_ref());
        let inline = volume.source.csi.as_ref().map(|source| &source.driver);
        inline.or(behind.map(|source| &source.driver)).is_some_and(|driver| kubelet.csi.republishes(driver))
    });
    let renewal = renewal.into_iter().chain(republished.then_some(REPUBLISH)).min();
    let (node, of, dir) = (Arc::clone(kubelet), Arc::clone(pod), kubelet.pod_dir(&pod.metadata.uid));
    let (given, ips) = (objects.clone(), observed.ips().to_vec());
    let worked = tokio::task::spawn_blocking(move || {
        let host_ips = node.addresses.host_ips();
        let facts = NodeFacts { host_ips: &host_ips, pod_ips: &ips, allocatable: Some(&node.allocatable) };
        apply::ensure(&of, &dir, &Materials { objects: given, tokens, facts }, &claims, &node.csi)
    });
    let (ready, problems) = worked.await.map_err(|error| error.to_string())?;
    let (waiting, problems): (Vec<_>, Vec<_>) =
        problems.into_iter().partition(|problem| problem.error.is_waiting());
    let told = |problem: &apply::Failed| {
        if !problem.block {
            return failed_at(&problem.error.step(false), &problem.name, &problem.error.to_string());
        }
        let step = problem.error.step(true);
        let message = format!("{step} for volume {:?} : {}", problem.name, problem.error);
        kubelet.recorder.pod(pod, "Warning", "FailedMapVolume", &message);
        message
    };
    let (untried, problems): (Vec<_>, Vec<_>) =
        problems.into_iter().partition(|problem| matches!(problem.error, VolumeError::Unprocessed(_)));
    let mut messages: Vec<String> = problems.iter().map(told).collect();
    if !untried.is_empty() {
        let names: Vec<&str> = untried.iter().map(|one| one.volume.as_str()).collect();
        let errors: Vec<String> = untried.iter().map(|one| one.error.to_string()).collect();
        messages.push(unprocessed(&names, &errors));
    }
    for mapped in ready.values().filter_map(|one| one.mapped.as_ref()) {
        for (what, path) in [("globalMapPath", &mapped.place), ("volumeMapPath", &mapped.links)] {
            let path = path.display().to_string();
            let message =
                format!("MapVolume.MapPodDevice succeeded for volume {:?} {what} {path:?}", mapped.name);
            kubelet.recorder.pod(pod, "Normal", "SuccessfulMountVolume", &message);
        }
    }
    if !messages.is_empty() {
        return Err(NotReady::Failed(messages.join("; ")));
    }
    let Some(first) = waiting.first() else { return Ok((ready, objects, renewal)) };
    if kubelet.csi.in_use.overdue(&pod.metadata.uid, Instant::now()) {
        let names: Vec<&str> = waiting.iter().map(|one| one.volume.as_str()).collect();
        let names = names.join(" ");
        let message = format!(
            "Unable to attach or mount volumes: unmounted volumes=[{names}], unattached volumes=[{names}], failed to process volumes=[]: context deadline exceeded"
        );
        kubelet.recorder.pod(pod, "Warning", "FailedMount", &message);
    }
    Err(NotReady::Waits(format!("{}: {}", first.volume, first.error)))
}

/// Does what the plan says, in its order.
async fn perform(
    kubelet: &Arc<Kubelet>,
    pod: &Arc<Pod>,
    observed: ObservedPod,
    actions: Vec<Action>,
    volumes: &BTreeMap<String, Ready>,
    objects: &Objects,
    next: &mut Next,
) -> Result<(), Failed> {
    let meta = &pod.metadata;
    let uid = &meta.uid;
    let pull_secrets = pull_secrets(kubelet, pod, objects);
    let settings = dns_settings(kubelet, pod);
    let node = Node {
        cgroups: &kubelet.cgroups,
        cluster_domain: &kubelet.config.cluster_domain,
        pod_logs: &kubelet.config.pod_logs_dir,
    };
    let mut ready = observed.ready_sandbox().cloned();
    let mut config = None;
    // A failed init container keeps the ones after it from starting.
    let mut blocked = false;
    for action in actions {
        match action {
            Action::StopPod => {
                if ready.is_some() && !observed.sandboxes.is_empty() && config.is_none() {
                    let changed = plan::sandbox_changed(pod, &observed).0;
                    if changed {
                        let text = "Pod sandbox changed, it will be killed and re-created.";
                        kubelet.recorder.pod(pod, "Normal", "SandboxChanged", text);
                    }
                }
                kill::stop_pod(kubelet, pod, &observed, None)
                    .await
                    .map_err(|error| failed_kill(kubelet, pod, error))?;
                ready = None;
            }
            Action::PurgeInit => {
                let init = |name: &str| pod.spec.init_containers.iter().any(|spec| spec.name == name);
                for seen in observed.containers.iter().filter(|seen| init(&seen.name)) {
                    kubelet.runtime.remove_container(&seen.id).await?;
                }
            }
            Action::StopContainer { id, name, message, reason } => {
                let Some(seen) = observed.containers.iter().find(|seen| seen.id == id) else { continue };
                let target = kill::Target { pod, seen, message: &message, reason, grace: None };
                kill::stop_container(kubelet, target)
                    .await
                    .map_err(|error| Failed::call(&format!("cannot stop container {name}"), &error))?;
            }
            Action::Reset { id, kill } => {
                let Some(seen) = observed.containers.iter().find(|seen| seen.id == id) else { continue };
                if kill {
                    let reason = plan::KillReason::Ordinary;
                    let target = kill::Target { pod, seen, message: "killing", reason, grace: Some(0) };
                    kill::stop_container(kubelet, target).await.map_err(|error| {
                        Failed::call(&format!("cannot stop container {}", seen.name), &error)
                    })?;
                }
                kubelet.runtime.remove_container(&id).await?;
                next.sooner(Some(Duration::ZERO));
            }
            Action::Resize { updates } => {
                // It is in the pod's condition; the containers go on as they are.
                if let Err(error) = resize::act::resize(kubelet, pod, &updates).await {
                    tracing::warn!(pod = meta.name, namespace = meta.namespace, error, "cannot resize");
                    next.sooner(Some(RETRY));
                }
            }
            Action::CreateSandbox { attempt } => {
                kubelet.dra.prepare(pod).await.map_err(|error| {
                    let message =
                        format!("Failed to prepare dynamic resources: prepare dynamic resources: {error}");
                    kubelet.recorder.pod(pod, "Warning", "FailedPrepareDynamicResources", &message);
                    message
                })?;
                let told = |message: String| {
                    kubelet.recorder.pod(pod, "Warning", "FailedCreatePodSandBox", &message);
                    message
                };
                let (made, handler) = sandbox(kubelet, pod, attempt, &settings, &node)
                    .await
                    .map_err(|error| told(format!("Failed to create pod sandbox: {error}")))?;
                let logs = sandbox_config::log_directory(node.pod_logs, pod);
                std::fs::create_dir_all(&logs).map_err(|error| format!("mkdir {logs}: {error}"))?;
                kubelet.runtime.run_sandbox(made.clone(), &handler).await.map_err(|error| {
                    let failed = Failed::call("Failed to create pod sandbox", &error);
                    told(failed.message.clone());
                    failed
                })?;
                let now = kubelet.observe(uid).await.map_err(|error| {
                    let failed = Failed::call("Unable to get pod sandbox status", &error);
                    kubelet.recorder.pod(pod, "Warning", "FailedPodSandBoxStatus", &failed.message);
                    failed
                })?;
                ready = now.ready_sandbox().cloned();
                config = Some(made);
            }
            Action::Start { kind, index } => {
                if blocked && kind != Kind::Ephemeral {
                    continue;
                }
                let Some(found) = &ready else {
                    return Err("the sandbox is gone again".to_owned().into());
                };
                let config = match &config {
                    Some(config) => config,
                    None => config.insert(sandbox(kubelet, pod, found.attempt, &settings, &node).await?.0),
                };
                let host_ips = kubelet.addresses.host_ips();
                let pod_ips: &[String] = if pod.spec.host_network { &host_ips } else { &found.ips };
                let common = PodInputs {
                    pod,
                    sandbox: &found.id,
                    sandbox_config: config,
                    pod_ips,
                    volumes,
                    objects,
                    pull_secrets: &pull_secrets,
                };
                let started = start_one(kubelet, &common, &observed, kind, index, next).await;
                let container = spec_at(pod, kind, index);
                blocked |= !started && kind == Kind::Init && !container.is_some_and(is_sidecar);
            }
        }
    }
    Ok(())
}

/// The sandbox's configuration, and the runtime's handler that makes it; an error is worded for the event.
async fn sandbox(
    kubelet: &Kubelet,
    pod: &Pod,
    attempt: u32,
    settings: &dns::PodDns,
    node: &Node<'_>,
) -> Result<(v1::PodSandboxConfig, String), String> {
    let handler = kubelet.runtime_classes.handler(pod).await?;
    let users = kubelet.users(pod, &handler)?;
    Ok((sandbox_config(pod, attempt, settings, node, users)?, handler))
}

fn failed_kill(kubelet: &Kubelet, pod: &Pod, error: CallError) -> Failed {
    let failed = Failed::call("error killing pod", &error);
    kubelet.recorder.pod(pod, "Warning", "FailedKillPod", &failed.message);
    failed
}

fn spec_at(pod: &Pod, kind: Kind, index: usize) -> Option<&Container> {
    let spec = &pod.spec;
    match kind {
        Kind::Init => spec.init_containers.get(index),
        Kind::Regular => spec.containers.get(index),
        Kind::Ephemeral => spec.ephemeral_containers.get(index).map(|container| &container.common),
    }
}

/// Starts a container unless it is in back-off; answers whether it was started.
async fn start_one(
    kubelet: &Arc<Kubelet>,
    common: &PodInputs<'_>,
    observed: &ObservedPod,
    kind: Kind,
    index: usize,
    next: &mut Next,
) -> bool {
    let pod = common.pod;
    let uid = &pod.metadata.uid;
    let Some(container) = spec_at(pod, kind, index) else { return false };
    if let Err((error, remaining)) = check_backoff(kubelet, pod, container, observed) {
        kubelet.reasons.set(uid, &container.name, error);
        next.sooner(Some(remaining));
        return false;
    }
    let seen = observed.container(&container.name);
    let logs = sandbox_config::log_directory(&kubelet.config.pod_logs_dir, pod);
    let restart_count = match seen {
        Some(seen) => seen.facts.restart_count + 1,
        None => start::restart_count_by_logs(&std::path::Path::new(&logs).join(&container.name)),
    };
    let target = (kind == Kind::Ephemeral)
        .then(|| pod.spec.ephemeral_containers.get(index).map(|ephemeral| &ephemeral.target_container_name))
        .flatten()
        .and_then(|name| observed.container(name))
        .map(|seen| seen.id.clone());
    if kind != Kind::Ephemeral {
        kubelet.resizes.told(pod, container);
    }
    match start::start(kubelet, common, container, restart_count, target).await {
        Ok(()) => {
            kubelet.reasons.clear(uid, &container.name);
            true
        }
        Err(error) => {
            tracing::info!(
                pod = pod.metadata.name,
                container = container.name,
                reason = error.reason,
                message = error.message,
                "container not started"
            );
            next.sooner(Some(kubelet.images.remaining(uid, &container.image).unwrap_or(RETRY)));
            kubelet.reasons.set(uid, &container.name, error);
            false
        }
    }
}

/// A container that ended lately waits; how long grows with each end.
fn check_backoff(
    kubelet: &Kubelet,
    pod: &Pod,
    container: &Container,
    observed: &ObservedPod,
) -> Result<(), (StartError, Duration)> {
    let meta = &pod.metadata;
    let ended =
        observed.containers.iter().find(|seen| seen.name == container.name && seen.state == State::Exited);
    let Some(ended) = ended else { return Ok(()) };
    let finished = Timestamp::from_nanosecond(i128::from(ended.finished_at)).unwrap_or_default();
    let key = format!("{}_{}_{}", meta.uid, container.name, container.image);
    let now = steady::now();
    let since = kubelet.crashes.ended(&key, &ended.id, steady::of(finished, Timestamp::now(), now));
    if let Some((delay, remaining)) = kubelet.crashes.remaining(&key, since, now) {
        let shown = format!("{}_{}({})", meta.name, meta.namespace, meta.uid);
        let event = format!("Back-off restarting failed container {} in pod {shown}", container.name);
        kubelet.recorder.container(pod, &container.name, "Warning", "BackOff", &event);
        let delay = daemon::flags::GoDuration(delay);
        let message = format!("back-off {delay} restarting failed container={} pod={shown}", container.name);
        return Err((StartError::new(reasons::CRASH_LOOP, message), remaining));
    }
    kubelet.crashes.next(&key, since);
    Ok(())
}

fn pull_secrets(kubelet: &Kubelet, pod: &Pod, objects: &Objects) -> Vec<Arc<Secret>> {
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for reference in pod.spec.image_pull_secrets.iter().filter(|reference| !reference.name.is_empty()) {
        match objects.secrets.get(&reference.name) {
            Some(secret) => there.push(Arc::clone(secret)),
            None => missing.push(reference.name.clone()),
        }
    }
    if !missing.is_empty() {
        let message = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        );
        kubelet.recorder.pod(pod, "Warning", "FailedToRetrieveImagePullSecret", &message);
    }
    there
}

fn dns_settings(kubelet: &Kubelet, pod: &Pod) -> dns::PodDns {
    let path = kubelet.config.resolver();
    let node = std::fs::read_to_string(path).unwrap_or_default();
    let cluster = dns::ClusterDns {
        servers: kubelet.config.cluster_dns.clone(),
        domain: kubelet.config.cluster_domain.clone(),
    };
    let made = dns::of_pod(pod, &dns::parse_resolv_conf(&node), &cluster);
    for (reason, message) in &made.warnings {
        kubelet.recorder.pod(pod, "Warning", reason, message);
    }
    made
}

/// Stops the pod.
async fn terminate(kubelet: &Arc<Kubelet>, turn: &Turn) -> Result<Outcome, Failed> {
    let pod = &turn.pod;
    let uid = &pod.metadata.uid;
    kubelet.probes.stop_liveness_and_startup(uid);
    let observed = kubelet.observe(uid).await?;
    if !turn.orphan {
        report(kubelet, turn, &observed, Life::Lives);
        // A readiness probe follows the pod to its end.
        if observed.may_run() && pod.metadata.deletion_timestamp.is_some() {
            kubelet.probes.add(pod);
            kubelet.probes.stop_liveness_and_startup(uid);
        }
    }
    kill::stop_pod(kubelet, pod, &observed, turn.grace)
        .await
        .map_err(|error| failed_kill(kubelet, pod, error))?;
    let observed = kubelet.observe(uid).await?;
    if let Some(running) = observed.containers.iter().find(|seen| seen.state == State::Running) {
        return Err(format!("container {} runs although it was stopped", running.name).into());
    }
    kubelet.probes.remove(uid);
    // COMPAT: before the pod is said to have ended, since its claims may then be given to others.
    let returned = kubelet.dra.unprepare(pod).await;
    returned.map_err(|error| format!("unprepare dynamic resources: {error}"))?;
    if !turn.orphan {
        report(kubelet, turn, &observed, Life::Stopped);
    }
    Ok(Outcome::Stopped)
}
