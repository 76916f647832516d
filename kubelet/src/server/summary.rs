//! /stats/summary (`stats.k8s.io/v1alpha1`): what the node, its pods and their containers use, as JSON.
//!
//! Files are counted once in `volumeStatsAggPeriod`, when somebody asks. What cannot be read is left out.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api_types::core::v1::Pod;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::cadvisor::{self, Interface};
use super::pressure::{self, Pressure};
use super::stats::{ContainerUsage, Sampler, Usage, containers, field, number, of_cgroup, of_node};
use super::{Body, parameters, text, typed};
use crate::cgroup::tree::Tree;
use crate::cri::labels::Identity;
use crate::cri::v1::PodSandboxState;
use crate::eviction::observe;
use crate::eviction::rank::{Disk, PodUsage};
use crate::kubelet::Kubelet;
use crate::volume::space::ClaimSpace;

/// COMPAT: the interface whose figures stand for a pod or node.
const DEFAULT_INTERFACE: &str = "eth0";

/// What pods store, by their UIDs.
type Stored = BTreeMap<String, PodUsage>;

/// Makes the page; remembers what the next one needs.
#[derive(Default)]
pub struct Summary {
    sampler: Sampler,
    stored: Mutex<Option<(Instant, Arc<Stored>)>>,
}

fn shown(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn stamp(nanoseconds: i64) -> String {
    shown(Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default())
}

fn memory(now: Timestamp, usage: &Usage, available: Option<u64>) -> Value {
    let mut value = json!({
        "time": shown(now),
        "usageBytes": usage.memory,
        "workingSetBytes": usage.working_set,
        "rssBytes": usage.rss,
        "pageFaults": usage.faults,
        "majorPageFaults": usage.major_faults,
    });
    if let Some(available) = available {
        value["availableBytes"] = available.into();
    }
    value
}

/// A filesystem, and what somebody uses of it; without, what all do.
#[derive(Clone, Copy)]
struct Filesystem {
    now: Timestamp,
    available: u64,
    capacity: u64,
    used: (u64, u64),
    inodes: u64,
    inodes_free: u64,
}

impl Filesystem {
    fn of(now: Timestamp, path: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(path).ok()?;
        let unit = stat.f_frsize;
        let capacity = stat.f_blocks * unit;
        Some(Self {
            now,
            available: stat.f_bavail * unit,
            capacity,
            used: (capacity.saturating_sub(stat.f_bfree * unit), stat.f_files.saturating_sub(stat.f_ffree)),
            inodes: stat.f_files,
            inodes_free: stat.f_ffree,
        })
    }

    fn used_by(self, bytes: u64, inodes: u64) -> Self {
        Self { used: (bytes, inodes), ..self }
    }

    fn stored(self, disk: Disk) -> Self {
        let unsigned = |amount: i64| u64::try_from(amount).unwrap_or_default();
        self.used_by(unsigned(disk.bytes), unsigned(disk.inodes))
    }

    fn value(self) -> Value {
        json!({
            "time": shown(self.now),
            "availableBytes": self.available,
            "capacityBytes": self.capacity,
            "usedBytes": self.used.0,
            "inodesFree": self.inodes_free,
            "inodes": self.inodes,
            "inodesUsed": self.used.1,
        })
    }
}

/// A volume that is a claim.
fn claim_volume(now: Timestamp, one: &ClaimSpace) -> Value {
    let mut value = json!({
        "time": shown(now),
        "name": one.volume,
        "pvcRef": {"name": one.claim, "namespace": one.namespace},
    });
    if let Some(bytes) = one.space.bytes {
        value["availableBytes"] = bytes.available.into();
        value["capacityBytes"] = bytes.total.into();
        value["usedBytes"] = bytes.used.into();
    }
    if let Some(inodes) = one.space.inodes {
        value["inodesFree"] = inodes.available.into();
        value["inodes"] = inodes.total.into();
        value["inodesUsed"] = inodes.used.into();
    }
    if let Some(abnormal) = one.space.abnormal {
        value["volumeHealthStats"] = json!({"abnormal": abnormal});
    }
    value
}

/// The figures of all interfaces, those of the default one in front; none where there is no interface.
fn network(now: Timestamp, interfaces: &[Interface]) -> Option<Value> {
    let one = |interface: &Interface| {
        json!({
            "name": interface.name,
            "rxBytes": interface.received[0],
            "rxErrors": interface.received[2],
            "txBytes": interface.sent[0],
            "txErrors": interface.sent[2],
        })
    };
    if interfaces.is_empty() {
        return None;
    }
    let front = interfaces.iter().find(|interface| interface.name == DEFAULT_INTERFACE);
    let mut value = front.map_or_else(|| json!({"name": ""}), one);
    value["time"] = shown(now).into();
    value["interfaces"] = interfaces.iter().map(one).collect();
    Some(value)
}

/// Of a line `NAME: N kB` in /proc/meminfo: bytes.
pub(super) fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn boot_time() -> Timestamp {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let seconds = field(&stat, "btime").unwrap_or_default();
    Timestamp::from_second(i64::try_from(seconds).unwrap_or_default()).unwrap_or_default()
}

/// The control group of this process, if it has one of its own.
fn own_group(cgroups: &str) -> Option<&str> {
    let fits =
        |controllers: &str| controllers.is_empty() || controllers.split(',').any(|name| name == "memory");
    let groups = cgroups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    groups.filter(|(controllers, _)| fits(controllers)).map(|(_, path)| path).find(|path| *path != "/")
}

/// Adds how long the processes of a control group waited; what is waited for disks is left out of brief pages.
fn set_pressure(value: &mut Value, now: Timestamp, [cpu, memory, io]: [Pressure; 3], brief: bool) {
    value["cpu"]["psi"] = cpu.value();
    value["memory"]["psi"] = memory.value();
    if !brief {
        value["io"] = json!({"time": shown(now), "psi": io.value()});
    }
}

/// The swap that a control group of version 2 has used, and what is left of its limit.
pub(super) fn swap_of(tree: &Tree, cgroup: &str, now: Timestamp) -> Option<Value> {
    let dir = tree.dir("memory", cgroup);
    let used = number(&dir.join("memory.swap.current"))?;
    let mut value = json!({"time": shown(now), "swapUsageBytes": used});
    // `max` is no number: no limit, nothing to be left of.
    let left = number(&dir.join("memory.swap.max")).map(|most| most.saturating_sub(used));
    set(&mut value, "swapAvailableBytes", left.map(Value::from));
    Some(value)
}

/// What is left of the memory of a control group that has a limit.
fn left(tree: &Tree, cgroup: &str, usage: &Usage) -> Option<u64> {
    let limit = u64::try_from(tree.limits(cgroup).memory?).ok()?;
    Some(limit.saturating_sub(usage.working_set))
}

/// Sets a field unless there is nothing to show.
fn set(value: &mut Value, name: &str, part: Option<Value>) {
    if let Some(part) = part.filter(|part| !part.is_null()) {
        value[name] = part;
    }
}

/// What all pods' values are made from.
struct View<'a> {
    kubelet: &'a Kubelet,
    now: Timestamp,
    /// CPU and memory alone.
    brief: bool,
    node_fs: Option<Filesystem>,
    image_fs: Option<Filesystem>,
    stored: &'a Stored,
    spaces: &'a [ClaimSpace],
    /// Sandboxes that are ready, by their pods' UIDs.
    sandboxes: HashMap<String, String>,
}

impl Summary {
    fn cpu(&self, key: &str, now: Timestamp, usage: &Usage) -> Value {
        json!({
            "time": shown(now),
            "usageNanoCores": self.sampler.rate(key, now, usage.cpu),
            "usageCoreNanoSeconds": usage.cpu,
        })
    }

    /// What pods store, as it was counted lately.
    async fn stored(&self, kubelet: &Arc<Kubelet>) -> Arc<Stored> {
        let mut stored = self.stored.lock().await;
        if let Some((at, known)) = &*stored
            && at.elapsed() < kubelet.config.volume_stats_period()
        {
            return Arc::clone(known);
        }
        let pods = kubelet.workers.all().into_iter().map(|(pod, _)| pod).collect();
        let counted = observe::candidates(kubelet, pods, true).await.into_iter();
        let counted: Stored =
            counted.filter_map(|one| Some((one.pod.metadata.uid.clone(), one.usage?))).collect();
        let counted = Arc::new(counted);
        *stored = Some((Instant::now(), Arc::clone(&counted)));
        counted
    }

    fn pod(&self, view: &View<'_>, pod: &Pod, own: &[&ContainerUsage]) -> Value {
        let (uid, now, kubelet) = (&pod.metadata.uid, view.now, view.kubelet);
        let group = kubelet.cgroups.pod(pod);
        let mut total = Usage::default();
        for one in own {
            total.cpu += one.usage.cpu;
            total.working_set += one.usage.working_set;
            total.memory += one.usage.memory;
            total.rss += one.usage.rss;
        }
        let all = of_cgroup(kubelet, &group).unwrap_or(total);
        let started = pod.status.start_time.or(pod.metadata.creation_timestamp).unwrap_or_default();
        let stored = view.stored.get(uid);
        let container = |one: &&ContainerUsage| {
            let below = cadvisor::below(&kubelet.tree, &group, &one.id);
            let mut value = json!({
                "name": one.name,
                "startTime": stamp(one.created_at),
                "cpu": self.cpu(&one.id, now, &one.usage),
                "memory": memory(now, &one.usage, left(&kubelet.tree, &below, &one.usage)),
            });
            set_pressure(&mut value, now, pressure::of(&kubelet.tree, &below), view.brief);
            if !view.brief {
                set(&mut value, "swap", swap_of(&kubelet.tree, &below, now));
                let rootfs = view.image_fs.map(|fs| fs.used_by(one.writable.0, one.writable.1).value());
                set(&mut value, "rootfs", rootfs);
                let logs = stored.and_then(|known| known.containers.iter().find(|c| c.name == one.name));
                let logs = logs.zip(view.node_fs).map(|(used, fs)| fs.stored(used.logs).value());
                set(&mut value, "logs", logs);
            }
            value
        };
        let mut value = json!({
            "podRef": {"name": pod.metadata.name, "namespace": pod.metadata.namespace, "uid": uid},
            "startTime": started.to_string(),
            "containers": own.iter().map(container).collect::<Vec<_>>(),
            "cpu": self.cpu(uid, now, &all),
            "memory": memory(now, &all, left(&kubelet.tree, &group, &all)),
        });
        set_pressure(&mut value, now, pressure::of(&kubelet.tree, &group), view.brief);
        if view.brief {
            return value;
        }
        let claims = view.spaces.iter().filter(|one| one.uid == *uid).map(|one| claim_volume(now, one));
        let mut volumes: Vec<Value> = claims.collect();
        for (name, disk) in stored.into_iter().flat_map(|known| &known.volumes) {
            let Some(fs) = view.node_fs.filter(|_| !volumes.iter().any(|known| known["name"] == **name))
            else {
                continue;
            };
            let mut volume = fs.stored(*disk).value();
            volume["name"] = name.as_str().into();
            volumes.push(volume);
        }
        set(&mut value, "volume", (!volumes.is_empty()).then(|| volumes.into()));
        let stored_here = stored.zip(view.node_fs).map(|(known, fs)| fs.stored(known.stored(pod)).value());
        set(&mut value, "ephemeral-storage", stored_here);
        let sandbox = view.sandboxes.get(uid).filter(|_| !pod.spec.host_network);
        let interfaces = sandbox.map(|id| cadvisor::network_of_pod(&kubelet.tree, &group, id));
        set(&mut value, "network", interfaces.and_then(|interfaces| network(now, &interfaces)));
        value["process_stats"] = json!({"process_count": kubelet.tree.processes(&group)});
        set(&mut value, "swap", swap_of(&kubelet.tree, &group, now));
        value
    }

    /// Control groups that are no pods: the one of all pods, the kubelet's own, and those that the configuration names.
    fn system(&self, view: &View<'_>) -> Value {
        let cgroups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let config = &view.kubelet.config;
        let told = |name, path: &str| (!path.is_empty()).then(|| (name, path.to_owned()));
        let own = || own_group(&cgroups).map(|path| ("kubelet", path.to_owned()));
        let groups = [
            Some(("pods", view.kubelet.cgroups.all())),
            told("kubelet", &config.kubelet_cgroups).or_else(own),
            told("runtime", &view.kubelet.runtime_cgroup),
            told("misc", &config.system_cgroups),
        ];
        let one = |(name, path): (&str, String)| {
            let usage = of_cgroup(view.kubelet, &path)?;
            let dir = view.kubelet.tree.dir("memory", &path);
            let made = std::fs::metadata(dir).ok().and_then(|meta| Timestamp::from_second(meta.ctime()).ok());
            let mut value = json!({
                "name": name,
                "startTime": shown(made.unwrap_or_default()),
                "cpu": self.cpu(&format!("/{name}"), view.now, &usage),
                "memory": memory(view.now, &usage, left(&view.kubelet.tree, &path, &usage)),
            });
            set_pressure(&mut value, view.now, pressure::of(&view.kubelet.tree, &path), view.brief);
            if !view.brief {
                set(&mut value, "swap", swap_of(&view.kubelet.tree, &path, view.now));
            }
            Some(value)
        };
        groups.into_iter().flatten().filter_map(one).collect()
    }

    /// The page.
    pub async fn page(&self, kubelet: &Arc<Kubelet>, query: Option<&str>) -> Response<Body> {
        let brief = parameters(query, "only_cpu_and_memory") == ["true"];
        let containers = match containers(kubelet).await {
            Ok(containers) => containers,
            Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        let image_fs = kubelet.runtime.image_fs().await.unwrap_or_default();
        let usage = image_fs.image_filesystems.first();
        let images: PathBuf = usage
            .and_then(|usage| usage.fs_id.as_ref())
            .map_or_else(|| kubelet.root.clone(), |id| id.mountpoint.clone().into());
        let sandboxes =
            if brief { Vec::new() } else { kubelet.runtime.sandboxes(None).await.unwrap_or_default() };
        let ready = sandboxes.into_iter().filter(|one| one.state == PodSandboxState::SandboxReady as i32);
        let now = Timestamp::now();
        let stored = if brief { Arc::default() } else { self.stored(kubelet).await };
        let view = View {
            kubelet,
            now,
            brief,
            node_fs: Filesystem::of(now, &kubelet.root),
            image_fs: Filesystem::of(now, &images),
            stored: &stored,
            spaces: &kubelet.spaces.all(),
            sandboxes: ready
                .filter_map(|one| Some((Identity::from_labels(&one.labels)?.uid, one.id)))
                .collect(),
        };
        let mut pods: Vec<Value> = Vec::new();
        for (pod, _) in kubelet.workers.all() {
            let of = |one: &&ContainerUsage| one.identity.uid == pod.metadata.uid;
            let own: Vec<&ContainerUsage> = containers.iter().filter(of).collect();
            if !own.is_empty() {
                pods.push(self.pod(&view, &pod, &own));
            }
        }
        let node = of_node();
        let available =
            u64::try_from(kubelet.machine.memory).unwrap_or_default().saturating_sub(node.working_set);
        let mut shown_node = json!({
            "nodeName": kubelet.node_name,
            "systemContainers": self.system(&view),
            "startTime": shown(boot_time()),
            "cpu": self.cpu("node", now, &node),
            "memory": memory(now, &node, Some(available)),
        });
        set_pressure(&mut shown_node, now, pressure::of(&kubelet.tree, "/"), brief);
        if !brief {
            let value = |value: Option<crate::cri::v1::UInt64Value>| value.map_or(0, |value| value.value);
            let used = usage.map_or((0, 0), |usage| (value(usage.used_bytes), value(usage.inodes_used)));
            let of_images = view.image_fs.map(|fs| fs.used_by(used.0, used.1).value());
            set(&mut shown_node, "network", network(now, &cadvisor::network_of_node()));
            set(&mut shown_node, "fs", view.node_fs.map(Filesystem::value));
            shown_node["runtime"] = json!({"imageFs": of_images, "containerFs": of_images});
            let rlimit = observe::pids().map(|pids| {
                json!({"time": shown(now), "maxpid": pids.capacity, "curproc": pids.capacity - pids.available})
            });
            set(&mut shown_node, "rlimit", rlimit);
            let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let swap = meminfo(&memory, "SwapTotal").zip(meminfo(&memory, "SwapFree")).map(|(all, free)| {
                json!({
                    "time": shown(now),
                    "swapAvailableBytes": free,
                    "swapUsageBytes": all.saturating_sub(free),
                })
            });
            set(&mut shown_node, "swap", swap);
        }
        self.sampler.keep(|key| {
            key == "node"
                || key.starts_with('/')
                || kubelet.workers.knows(key)
                || containers.iter().any(|one| one.id == key)
        });
        let body = json!({"node": shown_node, "pods": pods});
        typed(StatusCode::OK, "application/json", body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_interface_stands_in_front_of_all() {
        let one = |name: &str, at: u64| Interface {
            name: name.into(),
            received: [at, 0, at + 1, 0],
            sent: [at + 2, 0, at + 3, 0],
        };
        let now = Timestamp::from_second(0).unwrap();
        assert_eq!(network(now, &[]), None);
        let value = network(now, &[one("cni0", 10), one("eth0", 20)]).unwrap();
        assert_eq!(value["name"], "eth0");
        assert_eq!(
            [&value["rxBytes"], &value["rxErrors"], &value["txBytes"], &value["txErrors"]],
            [20, 21, 22, 23]
        );
        assert_eq!(value["interfaces"][0]["name"], "cni0");
        let value = network(now, &[one("ens3", 1)]).unwrap();
        assert_eq!((&value["name"], value.get("rxBytes")), (&json!(""), None));
    }

    #[test]
    fn the_kubelets_own_group_is_found_in_both_versions() {
        let first = "12:cpu,cpuacct:/other\n9:memory:/system.slice/kubelet.service\n0::/else\n";
        assert_eq!(own_group(first), Some("/system.slice/kubelet.service"));
        assert_eq!(own_group("0::/system.slice/kubelet.service\n"), Some("/system.slice/kubelet.service"));
        assert_eq!(own_group("9:memory:/\n0::/\n"), None);
    }

    #[test]
    fn swap_of_a_group_has_a_limit_or_none() {
        let mount = std::env::temp_dir().join(format!("kubelet-swap-{}", uuid::Uuid::new_v4()));
        let write = |file: &str, text: &str| {
            std::fs::create_dir_all(mount.join("a")).unwrap();
            std::fs::write(mount.join(file), text).unwrap();
        };
        write("cgroup.controllers", "memory");
        let now = Timestamp::from_second(0).unwrap();
        assert_eq!(swap_of(&Tree::at(&mount), "/a", now), None);
        write("a/memory.swap.current", "10\n");
        write("a/memory.swap.max", "max\n");
        let value = swap_of(&Tree::at(&mount), "/a", now).unwrap();
        assert_eq!((&value["swapUsageBytes"], value.get("swapAvailableBytes")), (&json!(10), None));
        write("a/memory.swap.max", "25\n");
        assert_eq!(swap_of(&Tree::at(&mount), "/a", now).unwrap()["swapAvailableBytes"], 15);
        std::fs::remove_dir_all(&mount).unwrap();
    }

    #[test]
    fn sizes_in_meminfo_are_bytes() {
        let text = "MemTotal:  10 kB\nSwapTotal:       2 kB\nSwapFree:        1 kB\n";
        assert_eq!((meminfo(text, "SwapTotal"), meminfo(text, "SwapFree")), (Some(2048), Some(1024)));
        assert_eq!(meminfo(text, "Swap"), None);
    }

    #[test]
    fn a_filesystem_shows_what_one_uses_of_it() {
        let now = Timestamp::from_second(0).unwrap();
        let fs = Filesystem::of(now, Path::new("/")).unwrap();
        let value = fs.stored(Disk { bytes: 7, inodes: 3 }).value();
        assert_eq!((&value["usedBytes"], &value["inodesUsed"]), (&json!(7), &json!(3)));
        assert_eq!(value["capacityBytes"], fs.value()["capacityBytes"]);
    }
}
