//! Usage of the node, its pods and containers, from the runtime's statistics, the control groups and
//! /proc. `summary` shows it as JSON, `cadvisor` and `metrics` as series.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::cgroup::tree::Tree;
use crate::cri::labels::{CONTAINER_NAME, Identity};
use crate::cri::observed::State;
use crate::cri::{CallError, v1};
use crate::kubelet::Kubelet;

/// Usage of one container or one cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Nanoseconds of CPU since the start.
    pub cpu: u64,
    /// Bytes, reclaimable caches not counted.
    pub working_set: u64,
    /// Bytes, all.
    pub memory: u64,
    /// Bytes of anonymous memory.
    pub rss: u64,
    /// Page faults.
    pub faults: u64,
    /// Page faults that read from disk.
    pub major_faults: u64,
}

/// A running container.
pub struct ContainerUsage {
    /// Whose it is.
    pub identity: Identity,
    /// Its name in the spec.
    pub name: String,
    /// The runtime's id.
    pub id: String,
    /// Its image.
    pub image: String,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// What it uses.
    pub usage: Usage,
    /// Bytes and inodes of its writable layer.
    pub writable: (u64, u64),
}

/// CPU readings of before: a rate needs two.
#[derive(Default)]
pub struct Sampler(Mutex<HashMap<String, (Timestamp, u64, u64)>>);

impl Sampler {
    /// Nanoseconds of CPU per second; the last rate while no time has passed.
    pub(super) fn rate(&self, key: &str, now: Timestamp, cpu: u64) -> u64 {
        let mut samples = self.0.lock();
        let (then, before, rate) = samples.get(key).copied().unwrap_or((now, cpu, 0));
        let elapsed = now.duration_since(then).as_secs_f64();
        // Less than nothing: the clock was set back.
        if elapsed < 0.0 {
            samples.insert(key.to_owned(), (now, cpu, rate));
            return rate;
        }
        if elapsed < 1.0 {
            samples.entry(key.to_owned()).or_insert((now, cpu, 0));
            return rate;
        }
        let rate = (cpu.saturating_sub(before) as f64 / elapsed) as u64;
        samples.insert(key.to_owned(), (now, cpu, rate));
        rate
    }

    pub(super) fn keep(&self, used: impl Fn(&str) -> bool) {
        self.0.lock().retain(|key, _| used(key));
    }
}

/// The running containers and what they use.
pub async fn containers(kubelet: &Arc<Kubelet>) -> Result<Vec<ContainerUsage>, CallError> {
    let (stats, containers) =
        tokio::try_join!(kubelet.runtime.container_stats(), kubelet.runtime.containers(None))?;
    let mut by_id: HashMap<String, v1::ContainerStats> =
        stats.into_iter().filter_map(|stats| Some((stats.attributes.as_ref()?.id.clone(), stats))).collect();
    let value = |value: Option<v1::UInt64Value>| value.map_or(0, |value| value.value);
    let mut all = Vec::new();
    for container in containers {
        if State::from_wire(container.state) != State::Running {
            continue;
        }
        let (Some(identity), Some(stats)) =
            (Identity::from_labels(&container.labels), by_id.remove(&container.id))
        else {
            continue;
        };
        let mut usage = Usage::default();
        if let Some(cpu) = stats.cpu {
            usage.cpu = value(cpu.usage_core_nano_seconds);
        }
        if let Some(memory) = stats.memory {
            usage.working_set = value(memory.working_set_bytes);
            usage.memory = value(memory.usage_bytes).max(usage.working_set);
            usage.rss = value(memory.rss_bytes);
            usage.faults = value(memory.page_faults);
            usage.major_faults = value(memory.major_page_faults);
        }
        let writable = stats
            .writable_layer
            .map(|layer| (value(layer.used_bytes), value(layer.inodes_used)))
            .unwrap_or_default();
        all.push(ContainerUsage {
            identity,
            name: container.labels.get(CONTAINER_NAME).cloned().unwrap_or_default(),
            id: container.id,
            image: container.image.map(|image| image.image).unwrap_or_default(),
            created_at: container.created_at,
            usage,
            writable,
        });
    }
    Ok(all)
}

/// The number that a file holds.
pub(super) fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number behind a name, where each line has one of both.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// What a control group uses, its children included.
pub fn of_cgroup(kubelet: &Kubelet, path: &str) -> Option<Usage> {
    of_cgroup_tree(&kubelet.tree, path)
}

/// The same, with the file systems at hand.
pub(super) fn of_cgroup_tree(tree: &Tree, path: &str) -> Option<Usage> {
    let dir = tree.dir("memory", path);
    let stat = std::fs::read_to_string(dir.join("memory.stat")).ok()?;
    let mut usage = Usage::default();
    if tree.is_v2() {
        let cpu = std::fs::read_to_string(dir.join("cpu.stat")).ok()?;
        usage.cpu = field(&cpu, "usage_usec")? * 1000;
        usage.memory = number(&dir.join("memory.current")).unwrap_or_default();
        usage.rss = field(&stat, "anon").unwrap_or_default();
        usage.faults = field(&stat, "pgfault").unwrap_or_default();
        usage.major_faults = field(&stat, "pgmajfault").unwrap_or_default();
        usage.working_set = usage.memory.saturating_sub(field(&stat, "inactive_file").unwrap_or_default());
    } else {
        usage.cpu = number(&tree.dir("cpuacct", path).join("cpuacct.usage")).unwrap_or_default();
        usage.memory = number(&dir.join("memory.usage_in_bytes")).unwrap_or_default();
        usage.rss = field(&stat, "total_rss").unwrap_or_default();
        usage.faults = field(&stat, "total_pgfault").unwrap_or_default();
        usage.major_faults = field(&stat, "total_pgmajfault").unwrap_or_default();
        usage.working_set =
            usage.memory.saturating_sub(field(&stat, "total_inactive_file").unwrap_or_default());
    }
    Some(usage)
}

/// What the whole node uses, from /proc: the root's control group does not know it everywhere.
pub fn of_node() -> Usage {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name: &str| {
        memory
            .lines()
            .find_map(|line| {
                line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
            })
            .unwrap_or_default()
            * 1024
    };
    // user nice system idle iowait irq softirq steal: all but idle and iowait is use, in hundredths.
    let busy: u64 = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .take(8)
        .enumerate()
        .filter(|(place, _)| !matches!(place, 3 | 4))
        .filter_map(|(_, ticks)| ticks.parse::<u64>().ok())
        .sum();
    let used = kib("MemTotal").saturating_sub(kib("MemFree"));
    Usage {
        cpu: busy * 10_000_000,
        memory: used,
        // COMPAT: as upstream counts it: caches that were used lately are in use.
        working_set: used.saturating_sub(kib("Inactive(file)")),
        rss: kib("AnonPages"),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_need_time_between_readings() {
        let sampler = Sampler::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(sampler.rate("a", at(0), 100), 0);
        assert_eq!(sampler.rate("a", at(10), 5_100), 500);
        assert_eq!(sampler.rate("a", at(10), 9_999), 500);
        assert_eq!(sampler.rate("a", at(11), 5_100), 0);
    }
}
