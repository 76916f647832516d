//! Making, limiting and removing control groups on the node.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Instant;

use daemon::metrics::HistogramVec;

use super::huge::{self, HugePages};
use super::slices::{Slices, properties, rounded};
use super::{SLICE, shares_of_weight, uid_of, weight};
use crate::dbus;
use crate::latency::SECONDS;
use crate::resources::{CPU_PERIOD, PodLimits};

const MOUNT: &str = "/sys/fs/cgroup";
/// The controllers whose limits are set here.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "hugetlb"];
/// Version 1 shows no limit as a number near the largest.
const NO_LIMIT: i64 = i64::MAX / 2;

/// The node's control group file systems.
#[derive(Clone, Debug)]
pub struct Tree {
    mount: PathBuf,
    v2: bool,
    pids_max: i64,
    /// Who makes slices.
    slices: Option<Slices>,
}

/// A limit that the kernel would not take.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// In the file system.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// By systemd.
    #[error("{what} {path}: {source}")]
    Slice {
        /// What was tried.
        what: &'static str,
        /// With which slice.
        path: String,
        /// Why it failed.
        source: dbus::Error,
    },
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.display().to_string();
    move |source| CgroupError::File { what, path, source }
}

fn refused(what: &'static str, path: &str) -> impl FnOnce(dbus::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError::Slice { what, path, source }
}

impl Tree {
    /// Finds out which version the node has; `pids_max` bounds each pod (-1: no bound).
    pub fn detect(pids_max: i64) -> Self {
        Self { pids_max, ..Self::at(Path::new(MOUNT)) }
    }

    /// The file systems of this mount.
    pub fn at(mount: &Path) -> Self {
        // Only the unified hierarchy has this file at its root.
        let v2 = mount.join("cgroup.controllers").exists();
        Self { mount: mount.to_owned(), v2, pids_max: -1, slices: None }
    }

    /// The most processes of a slice.
    pub(super) fn set_tasks(&self, cgroup: &str, most: i64) -> Result<(), CgroupError> {
        let Some(slices) = self.slice(cgroup) else { return Ok(()) };
        let given = properties(&PodLimits::default(), Some(most), self.v2);
        slices.set(cgroup, given).map_err(refused("limit", cgroup))
    }

    /// The same, with slices made by systemd.
    pub fn with_slices(self) -> Self {
        Self { slices: Some(Slices::default()), ..self }
    }

    /// Who makes this cgroup, when it is a slice.
    fn slice(&self, cgroup: &str) -> Option<&Slices> {
        self.slices.as_ref().filter(|_| cgroup.ends_with(SLICE))
    }

    /// Version 2, the unified hierarchy.
    pub fn is_v2(&self) -> bool {
        self.v2
    }

    /// Where a cgroup's files for `controller` are.
    pub fn dir(&self, controller: &str, cgroup: &str) -> PathBuf {
        let cgroup = cgroup.trim_start_matches('/');
        if self.v2 { self.mount.join(cgroup) } else { self.mount.join(controller).join(cgroup) }
    }

    /// Makes a cgroup with its parents and sets its limits, where any are given.
    pub fn ensure(&self, cgroup: &str, limits: Option<&PodLimits>, pod: bool) -> Result<(), CgroupError> {
        let there = self.dir(CONTROLLERS[1], cgroup).is_dir();
        let began = Instant::now();
        let result = self.make(cgroup, limits, pod);
        match there {
            false => observe("create", began),
            true if limits.is_some() => observe("update", began),
            true => {}
        }
        result
    }

    fn make(&self, cgroup: &str, limits: Option<&PodLimits>, pod: bool) -> Result<(), CgroupError> {
        if let Some(slices) = self.slice(cgroup)
            && !self.dir("systemd", cgroup).is_dir()
        {
            let pids = pod.then_some(self.pids_max);
            let given = properties(limits.unwrap_or(&PodLimits::default()), pids, self.v2);
            slices.start(cgroup, given, self.v2).map_err(refused("start", cgroup))?;
        }
        for controller in CONTROLLERS {
            if !self.v2 && !self.mount.join(controller).is_dir() {
                continue;
            }
            let dir = self.dir(controller, cgroup);
            if self.v2 {
                self.delegate(cgroup)?;
            }
            std::fs::create_dir_all(&dir).map_err(failed("mkdir", &dir))?;
            if self.v2 {
                break;
            }
        }
        if let Some(limits) = limits {
            self.limit(cgroup, limits)?;
        }
        if pod && self.pids_max > 0 {
            self.write("pids", cgroup, "pids.max", &self.pids_max.to_string())?;
        }
        Ok(())
    }

    /// Lets the children of a cgroup's ancestors use the controllers (version 2).
    fn delegate(&self, cgroup: &str) -> Result<(), CgroupError> {
        let mut dir = self.mount.clone();
        let parts: Vec<&str> = cgroup.split('/').filter(|part| !part.is_empty()).collect();
        for part in parts {
            let control = dir.join("cgroup.subtree_control");
            let there = std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
            let wanted: Vec<String> = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"]
                .into_iter()
                .filter(|name| there.split_whitespace().any(|have| have == *name))
                .map(|name| format!("+{name}"))
                .collect();
            std::fs::write(&control, wanted.join(" ")).map_err(failed("write", &control))?;
            dir.push(part);
            std::fs::create_dir_all(&dir).map_err(failed("mkdir", &dir))?;
        }
        Ok(())
    }

    /// The limits that a cgroup has; what is not limited, or cannot be read, is absent (quota: -1).
    pub fn limits(&self, cgroup: &str) -> PodLimits {
        let read = |controller: &str, file: &str| {
            std::fs::read_to_string(self.dir(controller, cgroup).join(file)).unwrap_or_default()
        };
        let number = |text: String| text.trim().parse::<i64>().ok();
        if self.v2 {
            let quota = read("cpu", "cpu.max");
            let mut parts = quota.split_whitespace();
            let (quota, period) = (parts.next(), parts.next().and_then(|period| period.parse::<i64>().ok()));
            let quota = match quota.map(str::parse::<i64>) {
                Some(Ok(quota)) => Some(quota * CPU_PERIOD / period.unwrap_or(CPU_PERIOD).max(1)),
                Some(Err(_)) => Some(-1),
                None => None,
            };
            return PodLimits {
                cpu_shares: number(read("cpu", "cpu.weight")).map(shares_of_weight),
                cpu_quota: quota,
                memory: number(read("memory", "memory.max")),
                ..PodLimits::default()
            };
        }
        let period = number(read("cpu", "cpu.cfs_period_us")).unwrap_or(CPU_PERIOD).max(1);
        let quota = number(read("cpu", "cpu.cfs_quota_us"));
        PodLimits {
            cpu_shares: number(read("cpu", "cpu.shares")),
            cpu_quota: quota.map(|quota| if quota < 0 { -1 } else { quota * CPU_PERIOD / period }),
            memory: number(read("memory", "memory.limit_in_bytes")).filter(|limit| *limit < NO_LIMIT),
            ..PodLimits::default()
        }
    }

    /// Sets limits of a cgroup.
    pub fn limit(&self, cgroup: &str, limits: &PodLimits) -> Result<(), CgroupError> {
        let mut limits = limits.clone();
        if let Some(slices) = self.slice(cgroup) {
            limits.cpu_quota = limits.cpu_quota.map(rounded);
            let given = properties(&limits, None, self.v2);
            if !given.is_empty() {
                slices.set(cgroup, given).map_err(refused("limit", cgroup))?;
            }
        }
        if let Some(shares) = limits.cpu_shares {
            if self.v2 {
                self.write("cpu", cgroup, "cpu.weight", &weight(shares).to_string())?;
            } else {
                self.write("cpu", cgroup, "cpu.shares", &shares.to_string())?;
            }
        }
        if let Some(quota) = limits.cpu_quota {
            if self.v2 {
                let quota = if quota > 0 { quota.to_string() } else { "max".into() };
                self.write("cpu", cgroup, "cpu.max", &format!("{quota} {CPU_PERIOD}"))?;
            } else {
                self.write("cpu", cgroup, "cpu.cfs_period_us", &CPU_PERIOD.to_string())?;
                self.write("cpu", cgroup, "cpu.cfs_quota_us", &quota.to_string())?;
            }
        }
        if let Some(memory) = limits.memory.filter(|memory| *memory > 0) {
            let file = if self.v2 { "memory.max" } else { "memory.limit_in_bytes" };
            self.write("memory", cgroup, file, &memory.to_string())?;
        }
        // COMPAT: of version 1 too, but there a new cgroup has those of its parent already.
        if let Some(cpus) = limits.cpus.as_ref().filter(|_| self.v2) {
            self.write("cpuset", cgroup, "cpuset.cpus", &cpus.to_string())?;
        }
        match &limits.huge_pages {
            HugePages::Unchanged => Ok(()),
            some => self.limit_huge_pages(cgroup, some, &huge::sizes()),
        }
    }

    /// A controller that is not there (a kernel without it) is no reason to fail.
    pub(super) fn write(
        &self,
        controller: &str,
        cgroup: &str,
        file: &str,
        value: &str,
    ) -> Result<(), CgroupError> {
        let path = self.dir(controller, cgroup).join(file);
        if !path.exists() {
            return Ok(());
        }
        std::fs::write(&path, value).map_err(failed("write", &path))
    }

    /// How many processes are in a cgroup and below.
    pub fn processes(&self, cgroup: &str) -> i64 {
        let file = self.dir("pids", cgroup).join("pids.current");
        match std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()) {
            Some(count) => count,
            None => processes(&self.dir("memory", cgroup)).len() as i64,
        }
    }

    /// Removes a cgroup with its children, killing what is left in it.
    pub fn remove(&self, cgroup: &str) -> Result<(), CgroupError> {
        let (mut there, began) = (false, Instant::now());
        if let Some(slices) = self.slice(cgroup)
            && self.dir("systemd", cgroup).is_dir()
        {
            slices.stop(cgroup).map_err(refused("stop", cgroup))?;
        }
        for root in self.hierarchies() {
            let dir = root.join(cgroup.trim_start_matches('/'));
            if dir.is_dir() {
                there = true;
                kill_all(&dir);
                remove_tree(&dir).map_err(failed("rmdir", &dir))?;
            }
        }
        if there {
            observe("destroy", began);
        }
        Ok(())
    }

    pub(super) fn hierarchies(&self) -> Vec<PathBuf> {
        if self.v2 {
            return vec![self.mount.clone()];
        }
        crate::volume::actual::entries(&self.mount)
            .unwrap_or_default()
            .into_iter()
            .filter(|dir| dir.is_dir())
            .collect()
    }

    /// The uids of the pods that have a cgroup below `class`.
    pub fn pods(&self, class: &str) -> BTreeSet<String> {
        let mut uids = BTreeSet::new();
        for root in self.hierarchies() {
            let dir = root.join(class.trim_start_matches('/'));
            for path in crate::volume::actual::entries(&dir).unwrap_or_default() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                // Burstable and besteffort stand beside the guaranteed pods.
                if let Some(uid) = uid_of(&name).filter(|_| path.is_dir()) {
                    uids.insert(uid);
                }
            }
        }
        uids
    }
}

/// Something was done to a pod's or a class's cgroup.
fn observe(operation: &str, began: Instant) {
    static TOOK: LazyLock<HistogramVec> = LazyLock::new(|| {
        daemon::metrics::global().histogram_vec(
            "kubelet_cgroup_manager_duration_seconds",
            "Duration in seconds for cgroup manager operations. Broken down by method.",
            &["operation_type"],
            &SECONDS,
        )
    });
    TOOK.with_label_values(&[operation]).observe(began.elapsed().as_secs_f64());
}

fn processes(dir: &Path) -> Vec<i32> {
    let own = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for child in crate::volume::actual::entries(dir).unwrap_or_default() {
        if child.is_dir() {
            pids.extend(processes(&child));
        }
    }
    pids
}

fn kill_all(dir: &Path) {
    for pid in processes(dir) {
        // 0 stands for a process of another pid namespace; -1 and the like would hit everyone.
        if pid > 1 {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in crate::volume::actual::entries(dir)? {
        if child.is_dir() {
            remove_tree(&child)?;
        }
    }
    match std::fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
