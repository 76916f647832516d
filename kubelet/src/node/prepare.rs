//! What is done to the node before pods run: settings of its kernel, the control groups of pods, limits of those of the
//! system's daemons, and what the kubelet's own process is given.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use api_types::Quantity;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{allocatable, classes};
use crate::cgroup::Driver;
use crate::cgroup::huge::HugePages;
use crate::cgroup::reserved::{self, Group, Reserved};
use crate::eviction::observe;
use crate::kernel;
use crate::kubelet::Kubelet;
use crate::placement::cpu_set::CpuSet;
use crate::resources::{self, PodLimits};
use crate::volume::mounts;

/// COMPAT: how soon limits that the kernel refused are set again.
const AGAIN: Duration = Duration::from_secs(60);
/// COMPAT: how often processes are looked for that are in the wrong group.
const EVERY: Duration = Duration::from_secs(60);
/// COMPAT: how often the kubelet's own score is set where nothing else is asked for.
const SCORE_EVERY: Duration = Duration::from_secs(300);
/// Of the kubelet's own process.
const SCORE: &str = "/proc/self/oom_score_adj";
const ENFORCED: &str = "NodeAllocatableEnforced";
const NOT_ENFORCED: &str = "FailedNodeAllocatableEnforcement";

/// Prepares the node.
///
/// # Errors
/// What upstream does not start with either.
pub fn prepare(kubelet: &Arc<Kubelet>) -> anyhow::Result<()> {
    let config = &kubelet.config;
    let start = |error: String| anyhow::anyhow!("Failed to start ContainerManager: {error}");
    daemon::metrics::global()
        .int_gauge("kubelet_cgroup_version", "cgroup version on the hosts.")
        .set(if kubelet.tree.is_v2() { 2 } else { 1 });
    if !kubelet.tree.is_v2() {
        let warning = "cgroup v1 detected. cgroup v1 support is deprecated and will be removed in a future release. \
                       Please migrate to cgroup v2. More information at \
                       https://git.k8s.io/enhancements/keps/sig-node/5573-remove-cgroup-v1";
        tracing::warn!(warning, "Warning about the control groups' version");
        kubelet.recorder.node(&kubelet.node_name, "Warning", "CgroupV1", warning);
    }
    open_files(config.open_files());
    if let Err(error) = std::fs::write(SCORE, config.oom_score().to_string()) {
        tracing::warn!(%error, score = config.oom_score(), "Failed to ApplyOOMScoreAdj");
    }
    if kubelet.machine.swap > 0 && !mounts::can_stay_out_of_swap(&kubelet.root) {
        let message = "The tmpfs noswap option is not supported. Memory-backed volumes (e.g. secrets, emptyDirs, \
                       etc.) might be swapped to disk and should no longer be considered secure.";
        let reason = "PossibleMemoryBackedVolumesOnDisk";
        kubelet.recorder.plain_node(&kubelet.node_name, "Warning", reason, message);
    }
    kernel::settle(Path::new("/proc/sys"), config.protect_kernel_defaults).map_err(start)?;
    pods(kubelet)?;
    for one in reserved::reserved(config).map_err(start)? {
        hold(kubelet, &one).map_err(start)?;
    }
    if config.system_cgroups == "/" {
        bail!(start("system container cannot be root (\"/\")".into()));
    }
    tokio::spawn(own_process(Arc::clone(kubelet)));
    Ok(())
}

/// The control groups that all pods are in.
fn pods(kubelet: &Arc<Kubelet>) -> anyhow::Result<()> {
    let config = &kubelet.config;
    let capacity = allocatable::capacity(&kubelet.machine, &kubelet.root, kubelet.most_pods());
    let reservations = [&config.system_reserved, &config.kube_reserved];
    let kept: &[_] = if config.enforces("pods") { &reservations } else { &[] };
    // Without the thresholds: pods are evicted before the kernel has to kill.
    let enforced = allocatable::allocatable(&capacity, kept, &[]).map_err(anyhow::Error::msg)?;
    let all = PodLimits {
        cpu_shares: Some(resources::shares(resources::cpu(&enforced))),
        memory: Some(resources::memory(&enforced)),
        huge_pages: HugePages::Unbounded,
        cpus: every_cpu(kubelet),
        ..Default::default()
    };
    let mut most = observe::pids().map(|seen| seen.capacity);
    for amounts in kept {
        let of_these = reserved::amount(amounts, "pid").map_err(anyhow::Error::msg)?;
        let of_these = of_these.as_ref().map_or(0, Quantity::value);
        most = most.map(|most| (most - of_these).max(0));
    }
    let group = kubelet.cgroups.all();
    kubelet.tree.ensure(&group, None, false)?;
    tokio::spawn(limit(Arc::clone(kubelet), group, all, most));
    classes::make(kubelet)?;
    tokio::spawn(classes::follow(Arc::clone(kubelet)));
    Ok(())
}

/// COMPAT: where no CPUs are given to containers alone, groups name all CPUs: so systemd knows of the controller and
/// does not take it away.
fn every_cpu(kubelet: &Kubelet) -> Option<CpuSet> {
    (!kubelet.placement.shares_cpus()).then(|| kubelet.placement.every_cpu()).filter(|cpus| !cpus.is_empty())
}

/// Limits all pods together. They may use more than that now: then evictions come first.
async fn limit(kubelet: Arc<Kubelet>, group: String, limits: PodLimits, pids: Option<i64>) {
    let event = |kind: &str, reason: &str, message: &str| {
        kubelet.recorder.plain_node(&kubelet.node_name, kind, reason, message);
    };
    loop {
        let set = kubelet.tree.limit(&group, &limits);
        match set.and_then(|()| pids.map_or(Ok(()), |pids| kubelet.tree.limit_pids(&group, pids))) {
            Ok(()) => return event("Normal", ENFORCED, "Updated Node Allocatable limit across pods"),
            Err(error) => {
                let parts: Vec<String> = group
                    .split('/')
                    .filter(|part| !part.is_empty())
                    .map(|part| format!("{part:?}"))
                    .collect();
                let message =
                    format!("Failed to update Node Allocatable Limits [{}]: {error}", parts.join(" "));
                event("Warning", NOT_ENFORCED, &message);
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Limits a group of daemons to what is reserved for them.
fn hold(kubelet: &Kubelet, held: &Reserved) -> Result<(), String> {
    let driver = match kubelet.config.cgroup_driver.as_str() {
        "systemd" => Driver::Systemd,
        _ => Driver::Cgroupfs,
    };
    let group = Group::named(&held.name, driver);
    let set = || {
        if !held.any {
            return Err(format!("{group} cgroup is not configured properly"));
        }
        kubelet.tree.present(&group)?;
        // COMPAT: no huge pages are for daemons.
        let huge_pages = HugePages::Only(BTreeMap::new());
        let limits = PodLimits { huge_pages, cpus: every_cpu(kubelet), ..held.limits.clone() };
        kubelet.tree.limit(&group.path, &limits).map_err(|error| error.to_string())?;
        let pids = held.pids.map_or(Ok(()), |pids| kubelet.tree.limit_pids(&group.path, pids));
        pids.map_err(|error| error.to_string())
    };
    let event = |kind: &str, reason: &str, message: &str| {
        kubelet.recorder.plain_node(&kubelet.node_name, kind, reason, message);
    };
    match set() {
        Ok(()) => {
            let message = format!("Updated limits on {} cgroup {}", held.short, held.name);
            event("Normal", ENFORCED, &message);
            Ok(())
        }
        Err(error) => {
            let error = daemon::go_words::worded(&error).into_owned();
            let message =
                format!("Failed to enforce {} Cgroup Limits on {:?}: {error}", held.what, held.name);
            event("Warning", NOT_ENFORCED, &message);
            Err(message)
        }
    }
}

/// How many files may be open. The kernel lets no one beyond the hard limit who may not raise it: then all of that.
fn open_files(most: u64) {
    let both = |most| Rlimit { current: most, maximum: most };
    if let Err(error) = setrlimit(Resource::Nofile, both(Some(most))) {
        tracing::warn!(%error, most, "Failed to set rlimit on max file handles");
        let hard = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(Resource::Nofile, both(hard));
    }
}

/// Keeps the kubelet, and the processes of the system, in the groups that they are to be in.
async fn own_process(kubelet: Arc<Kubelet>) {
    let config = &kubelet.config;
    let every = if config.kubelet_cgroups.is_empty() && config.system_cgroups.is_empty() {
        SCORE_EVERY
    } else {
        EVERY
    };
    loop {
        let work = Arc::clone(&kubelet);
        let done = tokio::task::spawn_blocking(move || settle_processes(&work)).await;
        if let Ok(Err(error)) = done {
            tracing::warn!(%error, "Failed to ensure state");
        }
        tokio::time::sleep(every).await;
    }
}

fn settle_processes(kubelet: &Kubelet) -> Result<(), String> {
    let config = &kubelet.config;
    let own = std::process::id();
    if !config.system_cgroups.is_empty() {
        for pid in kubelet.tree.members("/").into_iter().filter(|pid| *pid != 1 && has_program(*pid)) {
            let name = &config.system_cgroups;
            kubelet.tree.enter(name, pid).map_err(|error| {
                format!("failed to move PID {pid} into the system container {name:?}: {error}")
            })?;
        }
    }
    // In a container the groups are those of the container.
    let namespace = |pid: &str, whose: &str| {
        std::fs::read_link(format!("/proc/{pid}/ns/pid"))
            .map_err(|_| format!("failed to find pid namespace of {whose}"))
    };
    if namespace("1", "init process")? != namespace("self", &format!("process {own}"))? {
        return Ok(());
    }
    if !config.kubelet_cgroups.is_empty() && !kubelet.tree.members(&config.kubelet_cgroups).contains(&own) {
        let name = &config.kubelet_cgroups;
        let moved = kubelet.tree.enter(name, own);
        moved.map_err(|error| format!("failed to move PID {own} to {name:?}: {error}"))?;
    }
    let score = config.oom_score();
    std::fs::write(SCORE, score.to_string())
        .map_err(|error| format!("failed to apply oom score {score} to PID {own}: {error}"))
}

/// A thread of the kernel has none.
fn has_program(pid: u32) -> bool {
    !std::fs::read_link(format!("/proc/{pid}/exe"))
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
