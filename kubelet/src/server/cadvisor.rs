//! /metrics/cadvisor: what the node, the classes of pods, pods, their sandboxes and containers use,
//! under cAdvisor's names.
//!
//! The numbers come from control groups and, for networks, from /proc of a sandbox's process; whose
//! they are, from the runtime. What a control group does not tell has no series.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use api_types::core::v1::PodQOSClass;
use http::Response;
use jiff::Timestamp;

use super::Body;
use super::metrics::Page;
use super::pressure::{self, Pressure};
use super::stats::{self, ContainerUsage, Usage, field, number};
use crate::cgroup::tree::Tree;
use crate::cri::labels::Identity;
use crate::cri::v1::PodSandboxState;
use crate::kubelet::Kubelet;
use crate::resources::{CPU_PERIOD, PodLimits};

/// Interfaces that belong to no pod's traffic.
const IGNORED: [&str; 3] = ["lo", "veth", "docker"];
/// The kernel counts times of processes in hundredths of a second.
const TICKS: f64 = 100.0;

/// Bytes and operations, read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Io {
    read_bytes: u64,
    written_bytes: u64,
    reads: u64,
    writes: u64,
}

/// Bytes, packets, errors and drops of one direction.
pub(super) type Traffic = [u64; 4];

/// One network interface.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) received: Traffic,
    pub(super) sent: Traffic,
}

/// What one control group has used.
#[derive(Debug, Default)]
struct Readings {
    usage: Option<Usage>,
    /// Seconds in user and kernel mode.
    modes: Option<(f64, f64)>,
    /// Periods, those that were throttled, nanoseconds of throttling.
    throttling: Option<[u64; 3]>,
    /// By name in memory.stat.
    memory: BTreeMap<&'static str, u64>,
    most: Option<u64>,
    oom_kills: Option<u64>,
    io: BTreeMap<String, Io>,
    interfaces: Vec<Interface>,
    processes: Option<u64>,
    threads: Option<u64>,
    limits: Option<PodLimits>,
    /// Of CPU, memory and disks.
    pressure: Option<[Pressure; 3]>,
    /// Periods with bursts, and nanoseconds of them.
    bursts: [u64; 2],
    /// Bytes: of memory and swap or swap alone, as the version counts; of memory that is kept.
    swap_limit: u64,
    reservation: u64,
    threads_max: u64,
    /// Open files, sockets among them, and how many the first process may open.
    files: Option<(u64, u64, Option<f64>)>,
}

/// A control group and whose it is.
#[derive(Debug, Default)]
struct Row {
    id: String,
    identity: Identity,
    container: String,
    /// The runtime's name.
    name: String,
    image: String,
    /// Seconds since the epoch.
    started: Option<f64>,
    /// Bytes of the writable layer.
    writable: Option<u64>,
    /// Whose network is shown: that of the first process of the group, or the node's.
    network: Option<Network>,
    readings: Readings,
}

#[derive(Clone, Copy, Debug)]
enum Network {
    Node,
    OfProcess,
}

/// The page.
pub async fn page(kubelet: &Arc<Kubelet>) -> Response<Body> {
    let containers = stats::containers(kubelet).await.unwrap_or_default();
    let sandboxes = kubelet.runtime.sandboxes(None).await.unwrap_or_default();
    let ready = sandboxes.into_iter().filter(|one| one.state == PodSandboxState::SandboxReady as i32);
    let sandboxes =
        ready.filter_map(|one| Some((Identity::from_labels(&one.labels)?, one.id, one.created_at)));
    let sandboxes: Vec<(Identity, String, i64)> = sandboxes.collect();
    // All have the same.
    let pause = match sandboxes.last() {
        Some((_, id, _)) => kubelet.runtime.sandbox_image(id).await,
        None => String::new(),
    };
    let mut rows = rows(kubelet, containers, sandboxes, &pause);
    let reader = kubelet.clone();
    // Some twenty small files for each row.
    let read = tokio::task::spawn_blocking(move || {
        for row in &mut rows {
            row.readings = readings(&reader.tree, row);
        }
        rows.retain(|row| row.readings.usage.is_some());
        rows
    });
    let rows = read.await.unwrap_or_default();
    let mut page = Page::default();
    write(&mut page, &rows, Timestamp::now());
    page.metric("machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    let machine = &kubelet.machine;
    let ids = [
        ("boot_id", machine.boot_id.as_str()),
        ("machine_id", machine.machine_id.as_str()),
        ("system_uuid", machine.system_uuid.as_str()),
    ];
    page.sample("machine_cpu_cores", &ids, machine.cpus as f64, None);
    page.metric("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    page.sample("machine_memory_bytes", &ids, machine.memory as f64, None);
    page.metric("machine_swap_bytes", "gauge", "Amount of swap memory available on the machine.");
    page.sample("machine_swap_bytes", &ids, machine.swap as f64, None);
    page.metric(
        "machine_scrape_error",
        "gauge",
        "1 if there was an error while getting machine metrics, 0 otherwise.",
    );
    page.sample("machine_scrape_error", &[], 0.0, None);
    let error = "1 if there was an error while getting container metrics, 0 otherwise";
    page.metric("container_scrape_error", "gauge", error);
    page.sample("container_scrape_error", &[], if rows.is_empty() { 1.0 } else { 0.0 }, None);
    page.response()
}

/// All that is shown, nothing read yet.
fn rows(
    kubelet: &Kubelet,
    containers: Vec<ContainerUsage>,
    sandboxes: Vec<(Identity, String, i64)>,
    pause: &str,
) -> Vec<Row> {
    let names = &kubelet.cgroups;
    let mut rows = vec![Row { id: "/".into(), network: Some(Network::Node), ..Row::default() }];
    let classes = [PodQOSClass::Burstable, PodQOSClass::BestEffort];
    let above = std::iter::once(names.all()).chain(classes.iter().map(|class| names.class(class)));
    rows.extend(above.map(|id| Row { id, ..Row::default() }));
    let seconds = |nanoseconds: i64| nanoseconds as f64 / 1e9;
    let mut groups: BTreeMap<String, String> = BTreeMap::new();
    for (pod, _) in kubelet.workers.all() {
        let meta = &pod.metadata;
        let id = names.pod(&pod);
        groups.insert(meta.uid.clone(), id.clone());
        let identity =
            Identity { uid: meta.uid.clone(), namespace: meta.namespace.clone(), name: meta.name.clone() };
        rows.push(Row { id, identity, ..Row::default() });
    }
    for (identity, name, created) in sandboxes {
        let Some(id) = groups.get(&identity.uid).map(|pod| below(&kubelet.tree, pod, &name)) else {
            continue;
        };
        let (started, network) = (Some(seconds(created)), Some(Network::OfProcess));
        let image = pause.to_owned();
        rows.push(Row { id, identity, name, image, started, network, ..Row::default() });
    }
    for one in containers {
        let Some(id) = groups.get(&one.identity.uid).map(|pod| below(&kubelet.tree, pod, &one.id)) else {
            continue;
        };
        rows.push(Row {
            id,
            identity: one.identity,
            container: one.name,
            name: one.id,
            image: one.image,
            started: Some(seconds(one.created_at)),
            writable: Some(one.writable.0),
            ..Row::default()
        });
    }
    rows
}

/// The control group that the runtime made below a pod's: runc names it by itself, or through systemd.
pub(super) fn below(tree: &Tree, pod: &str, id: &str) -> String {
    let own = format!("{pod}/{id}");
    let scope = format!("{pod}/cri-containerd-{id}.scope");
    if tree.dir("memory", &scope).exists() { scope } else { own }
}

/// The network of a pod: that of the first process of its sandbox.
pub(super) fn network_of_pod(tree: &Tree, pod: &str, sandbox: &str) -> Vec<Interface> {
    let group = tree.dir("memory", &below(tree, pod, sandbox));
    let processes = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let first = processes.lines().next();
    first.map(|process| interfaces(&Path::new("/proc").join(process).join("net/dev"))).unwrap_or_default()
}

/// The node's network.
pub(super) fn network_of_node() -> Vec<Interface> {
    interfaces(Path::new("/proc/self/net/dev"))
}

fn readings(tree: &Tree, row: &Row) -> Readings {
    let id = row.id.as_str();
    let text = |controller: &str, file: &str| {
        std::fs::read_to_string(tree.dir(controller, id).join(file)).unwrap_or_default()
    };
    let count = |controller: &str, file: &str| number(&tree.dir(controller, id).join(file));
    let is_node = id == "/";
    let mut readings = Readings {
        usage: if is_node { Some(stats::of_node()) } else { stats::of_cgroup_tree(tree, id) },
        ..Readings::default()
    };
    let stat = text("memory", "memory.stat");
    let cpu = text("cpu", "cpu.stat");
    let mut memory = |name: &'static str, value: Option<u64>| {
        readings.memory.extend(value.map(|value| (name, value)));
    };
    if tree.is_v2() {
        memory("cache", field(&stat, "file"));
        memory("mapped_file", field(&stat, "file_mapped"));
        memory("active_file", field(&stat, "active_file"));
        memory("inactive_file", field(&stat, "inactive_file"));
        memory("kernel", field(&stat, "kernel"));
        memory("swap", count("memory", "memory.swap.current"));
        readings.most = count("memory", "memory.peak");
        readings.oom_kills = field(&text("memory", "memory.events"), "oom_kill");
        let seconds = |name: &str| field(&cpu, name).map(|micros| micros as f64 / 1e6);
        readings.modes = seconds("user_usec").zip(seconds("system_usec"));
        readings.throttling = throttling(&cpu, "throttled_usec", 1000);
        readings.io = io_of_v2(&text("io", "io.stat"));
    } else {
        for (name, own) in [
            ("cache", "total_cache"),
            ("mapped_file", "total_mapped_file"),
            ("active_file", "total_active_file"),
            ("inactive_file", "total_inactive_file"),
            ("swap", "total_swap"),
        ] {
            memory(name, field(&stat, own));
        }
        memory("kernel", count("memory", "memory.kmem.usage_in_bytes"));
        memory("failcnt", count("memory", "memory.failcnt"));
        readings.most = count("memory", "memory.max_usage_in_bytes");
        readings.oom_kills = field(&text("memory", "memory.oom_control"), "oom_kill");
        let modes = text("cpuacct", "cpuacct.stat");
        let seconds = |name: &str| field(&modes, name).map(|ticks| ticks as f64 / TICKS);
        readings.modes = seconds("user").zip(seconds("system"));
        readings.throttling = throttling(&cpu, "throttled_time", 1);
        let (bytes, operations) = (
            text("blkio", "blkio.throttle.io_service_bytes_recursive"),
            text("blkio", "blkio.throttle.io_serviced_recursive"),
        );
        readings.io = io_of_v1(&bytes, &operations);
    }
    readings.pressure = pressure::is_told(tree).then(|| pressure::of(tree, id));
    readings.bursts = [field(&cpu, "nr_bursts").unwrap_or_default(), burst(&cpu).unwrap_or_default()];
    let limit = |v2: &str, v1: &str| count("memory", if tree.is_v2() { v2 } else { v1 }).unwrap_or_default();
    if !is_node {
        readings.limits = Some(tree.limits(id));
        readings.threads = count("pids", "pids.current");
        readings.threads_max = count("pids", "pids.max").unwrap_or_default();
        readings.swap_limit = limit("memory.swap.max", "memory.memsw.limit_in_bytes");
        readings.reservation = limit("memory.min", "memory.soft_limit_in_bytes");
    }
    let processes = text("memory", "cgroup.procs");
    if !row.name.is_empty() {
        readings.processes = Some(processes.lines().count() as u64);
        readings.files = Some(files(&processes));
    }
    readings.interfaces = match (row.network, processes.lines().next()) {
        (Some(Network::Node), _) => network_of_node(),
        (Some(Network::OfProcess), Some(process)) => {
            interfaces(&Path::new("/proc").join(process).join("net/dev"))
        }
        _ => Vec::new(),
    };
    readings
}

/// Nanoseconds of bursts: version 2 counts microseconds.
fn burst(stat: &str) -> Option<u64> {
    field(stat, "burst_usec").map(|micros| micros * 1000).or_else(|| field(stat, "burst_time"))
}

/// Files that processes have open, the sockets among them, and how many the first may open (-1: any number).
fn files(processes: &str) -> (u64, u64, Option<f64>) {
    let (mut open, mut sockets) = (0, 0);
    for process in processes.lines() {
        for link in std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten() {
            open += 1;
            let target = std::fs::read_link(link.path());
            sockets += u64::from(target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:")));
        }
    }
    let limits = processes.lines().next().map(|first| format!("/proc/{first}/limits"));
    let limits = limits.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    (open, sockets, soft_limit(&limits))
}

/// `Max open files            1024                 524288               files`
fn soft_limit(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(-1.0),
        number => number.parse().ok(),
    }
}

fn throttling(stat: &str, time: &str, unit: u64) -> Option<[u64; 3]> {
    Some([field(stat, "nr_periods")?, field(stat, "nr_throttled")?, field(stat, time)? * unit])
}

/// `8:0 Read 4096`, a line for each device and direction.
fn io_of_v1(bytes: &str, operations: &str) -> BTreeMap<String, Io> {
    let mut all: BTreeMap<String, Io> = BTreeMap::new();
    for (text, of_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(device), Some(what), Some(Ok(value))) =
                (words.next(), words.next(), words.next().map(str::parse))
            else {
                continue;
            };
            let io = all.entry(device.to_owned()).or_default();
            match (what, of_bytes) {
                ("Read", true) => io.read_bytes = value,
                ("Write", true) => io.written_bytes = value,
                ("Read", false) => io.reads = value,
                ("Write", false) => io.writes = value,
                _ => {}
            }
        }
    }
    all
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4`, a line for each device.
fn io_of_v2(text: &str) -> BTreeMap<String, Io> {
    let io = |line: &str| {
        let (device, counts) = line.split_once(' ')?;
        let mut io = Io::default();
        for (name, value) in counts.split_whitespace().filter_map(|count| count.split_once('=')) {
            let value = value.parse().unwrap_or_default();
            match name {
                "rbytes" => io.read_bytes = value,
                "wbytes" => io.written_bytes = value,
                "rios" => io.reads = value,
                "wios" => io.writes = value,
                _ => {}
            }
        }
        Some((device.to_owned(), io))
    };
    text.lines().filter_map(io).collect()
}

/// `/dev/sda` of `8:0`; nothing for what has no name.
fn device(numbers: &str) -> String {
    let uevent = std::fs::read_to_string(format!("/sys/dev/block/{numbers}/uevent")).unwrap_or_default();
    let name = uevent.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    name.map(|name| format!("/dev/{name}")).unwrap_or_default()
}

fn interfaces(path: &Path) -> Vec<Interface> {
    interfaces_in(&std::fs::read_to_string(path).unwrap_or_default())
}

/// /proc/net/dev: two lines of titles, then `eth0: ` and eight numbers for each direction.
fn interfaces_in(text: &str) -> Vec<Interface> {
    let interface = |line: &str| {
        let (name, counts) = line.split_once(':')?;
        let name = name.trim();
        let counts: Vec<u64> = counts.split_whitespace().filter_map(|count| count.parse().ok()).collect();
        let traffic = |at: usize| {
            Some([*counts.get(at)?, *counts.get(at + 1)?, *counts.get(at + 2)?, *counts.get(at + 3)?])
        };
        let ignored = IGNORED.iter().any(|prefix| name.starts_with(prefix));
        (!ignored).then_some(Interface { name: name.to_owned(), received: traffic(0)?, sent: traffic(8)? })
    };
    text.lines().skip(2).filter_map(interface).collect()
}

/// How the series of a metric come out of a row.
enum Series {
    One(fn(&Row) -> Option<f64>),
    PerDevice(fn(&Io) -> u64),
    PerInterface(fn(&Interface) -> u64),
    /// Page faults, of the group and with those below.
    Faults,
}

type Metric = (&'static str, &'static str, &'static str, Series);

/// Seconds of nanoseconds.
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn used(row: &Row, read: fn(&Usage) -> u64) -> Option<f64> {
    row.readings.usage.as_ref().map(|usage| read(usage) as f64)
}

fn memory(row: &Row, name: &str) -> Option<f64> {
    row.readings.memory.get(name).map(|value| *value as f64)
}

/// What was throttled, where the CPU has a quota.
fn throttled(row: &Row, at: usize) -> Option<u64> {
    quota(row)?;
    row.readings.throttling.map(|counts| counts[at])
}

fn burst_of(row: &Row, at: usize) -> Option<u64> {
    quota(row).map(|_| row.readings.bursts[at])
}

/// Seconds in which nothing, or not everything, got on.
fn stalled(row: &Row, kind: usize) -> Option<f64> {
    row.readings.pressure.map(|all| all[kind].full.total as f64 / 1e6)
}

fn waiting(row: &Row, kind: usize) -> Option<f64> {
    row.readings.pressure.map(|all| all[kind].some.total as f64 / 1e6)
}

/// COMPAT: what is near the largest number is no limit: 0.
fn spec(limit: u64) -> f64 {
    if limit > 1 << 62 { 0.0 } else { limit as f64 }
}

fn quota(row: &Row) -> Option<i64> {
    row.readings.limits.as_ref()?.cpu_quota.filter(|quota| *quota > 0)
}

#[rustfmt::skip]
fn metrics() -> Vec<Metric> {
    use Series::{Faults, One, PerDevice, PerInterface};
    vec![
        ("container_cpu_cfs_burst_periods_total", "counter", "Number of periods when burst occurs.", One(|r| burst_of(r, 0).map(|n| n as f64))),
        ("container_cpu_cfs_burst_seconds_total", "counter", "Total time duration the container has been bursted.", One(|r| burst_of(r, 1).map(seconds))),
        ("container_cpu_cfs_periods_total", "counter", "Number of elapsed enforcement period intervals.", One(|r| throttled(r, 0).map(|n| n as f64))),
        ("container_cpu_cfs_throttled_periods_total", "counter", "Number of throttled period intervals.", One(|r| throttled(r, 1).map(|n| n as f64))),
        ("container_cpu_cfs_throttled_seconds_total", "counter", "Total time duration the container has been throttled.", One(|r| throttled(r, 2).map(seconds))),
        ("container_cpu_system_seconds_total", "counter", "Cumulative system cpu time consumed in seconds.", One(|r| r.readings.modes.map(|m| m.1))),
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", One(|r| r.readings.usage.map(|u| seconds(u.cpu)))),
        ("container_cpu_user_seconds_total", "counter", "Cumulative user cpu time consumed in seconds.", One(|r| r.readings.modes.map(|m| m.0))),
        ("container_file_descriptors", "gauge", "Number of open file descriptors for the container.", One(|r| r.readings.files.map(|f| f.0 as f64))),
        ("container_fs_reads_bytes_total", "counter", "Cumulative count of bytes read", PerDevice(|io| io.read_bytes)),
        ("container_fs_reads_total", "counter", "Cumulative count of reads completed", PerDevice(|io| io.reads)),
        ("container_fs_usage_bytes", "gauge", "Number of bytes that are consumed by the container on this filesystem.", One(|r| r.writable.map(|n| n as f64))),
        ("container_fs_writes_bytes_total", "counter", "Cumulative count of bytes written", PerDevice(|io| io.written_bytes)),
        ("container_fs_writes_total", "counter", "Cumulative count of writes completed", PerDevice(|io| io.writes)),
        ("container_last_seen", "gauge", "Last time a container was seen by the exporter", One(|_| Some(Timestamp::now().as_second() as f64))),
        ("container_memory_cache", "gauge", "Number of bytes of page cache memory.", One(|r| memory(r, "cache"))),
        ("container_memory_failcnt", "counter", "Number of memory usage hits limits", One(|r| memory(r, "failcnt"))),
        ("container_memory_failures_total", "counter", "Cumulative count of memory allocation failures.", Faults),
        ("container_memory_kernel_usage", "gauge", "Size of kernel memory allocated in bytes.", One(|r| memory(r, "kernel"))),
        ("container_memory_mapped_file", "gauge", "Size of memory mapped files in bytes.", One(|r| memory(r, "mapped_file"))),
        ("container_memory_max_usage_bytes", "gauge", "Maximum memory usage recorded in bytes", One(|r| r.readings.most.map(|n| n as f64))),
        ("container_memory_rss", "gauge", "Size of RSS in bytes.", One(|r| used(r, |u| u.rss))),
        ("container_memory_swap", "gauge", "Container swap usage in bytes.", One(|r| memory(r, "swap"))),
        ("container_memory_total_active_file_bytes", "gauge", "Current total active file in bytes.", One(|r| memory(r, "active_file"))),
        ("container_memory_total_inactive_file_bytes", "gauge", "Current total inactive file in bytes.", One(|r| memory(r, "inactive_file"))),
        ("container_memory_usage_bytes", "gauge", "Current memory usage in bytes, including all memory regardless of when it was accessed", One(|r| used(r, |u| u.memory))),
        ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", One(|r| used(r, |u| u.working_set))),
        ("container_network_receive_bytes_total", "counter", "Cumulative count of bytes received", PerInterface(|i| i.received[0])),
        ("container_network_receive_errors_total", "counter", "Cumulative count of errors encountered while receiving", PerInterface(|i| i.received[2])),
        ("container_network_receive_packets_dropped_total", "counter", "Cumulative count of packets dropped while receiving", PerInterface(|i| i.received[3])),
        ("container_network_receive_packets_total", "counter", "Cumulative count of packets received", PerInterface(|i| i.received[1])),
        ("container_network_transmit_bytes_total", "counter", "Cumulative count of bytes transmitted", PerInterface(|i| i.sent[0])),
        ("container_network_transmit_errors_total", "counter", "Cumulative count of errors encountered while transmitting", PerInterface(|i| i.sent[2])),
        ("container_network_transmit_packets_dropped_total", "counter", "Cumulative count of packets dropped while transmitting", PerInterface(|i| i.sent[3])),
        ("container_network_transmit_packets_total", "counter", "Cumulative count of packets transmitted", PerInterface(|i| i.sent[1])),
        ("container_oom_events_total", "counter", "Count of out of memory events observed for the container", One(|r| r.readings.oom_kills.map(|n| n as f64))),
        ("container_pressure_cpu_stalled_seconds_total", "counter", "Total time duration no tasks in the container could make progress due to CPU congestion.", One(|r| stalled(r, 0))),
        ("container_pressure_cpu_waiting_seconds_total", "counter", "Total time duration tasks in the container have waited due to CPU congestion.", One(|r| waiting(r, 0))),
        ("container_pressure_io_stalled_seconds_total", "counter", "Total time duration no tasks in the container could make progress due to IO congestion.", One(|r| stalled(r, 2))),
        ("container_pressure_io_waiting_seconds_total", "counter", "Total time duration tasks in the container have waited due to IO congestion.", One(|r| waiting(r, 2))),
        ("container_pressure_memory_stalled_seconds_total", "counter", "Total time duration no tasks in the container could make progress due to memory congestion.", One(|r| stalled(r, 1))),
        ("container_pressure_memory_waiting_seconds_total", "counter", "Total time duration tasks in the container have waited due to memory congestion.", One(|r| waiting(r, 1))),
        ("container_processes", "gauge", "Number of processes running inside the container.", One(|r| r.readings.processes.map(|n| n as f64))),
        ("container_sockets", "gauge", "Number of open sockets for the container.", One(|r| r.readings.files.map(|f| f.1 as f64))),
        ("container_spec_cpu_period", "gauge", "CPU period of the container.", One(|r| r.readings.limits.as_ref().map(|_| CPU_PERIOD as f64))),
        ("container_spec_cpu_quota", "gauge", "CPU quota of the container.", One(|r| quota(r).map(|n| n as f64))),
        ("container_spec_cpu_shares", "gauge", "CPU share of the container.", One(|r| Some(r.readings.limits.as_ref()?.cpu_shares? as f64))),
        ("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", One(|r| Some(r.readings.limits.as_ref()?.memory.unwrap_or(0) as f64))),
        ("container_spec_memory_reservation_limit_bytes", "gauge", "Memory reservation limit for the container.", One(|r| Some(spec(r.readings.reservation)))),
        ("container_spec_memory_swap_limit_bytes", "gauge", "Memory swap limit for the container.", One(|r| Some(spec(r.readings.swap_limit)))),
        ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.", One(|r| r.started)),
        ("container_threads", "gauge", "Number of threads running inside the container", One(|r| r.readings.threads.map(|n| n as f64))),
        ("container_threads_max", "gauge", "Maximum number of threads allowed inside the container, infinity if value is zero", One(|r| r.readings.threads.map(|_| r.readings.threads_max as f64))),
        ("container_ulimits_soft", "gauge", "Soft ulimit values for the container root process. Unlimited if -1, except priority and nice", One(|r| r.readings.files?.2)),
    ]
}

fn write(page: &mut Page, rows: &[Row], now: Timestamp) {
    for (name, kind, help, series) in metrics() {
        page.metric(name, kind, help);
        for row in rows {
            let mut sample = |extra: &[(&'static str, &str)], value: f64| {
                let mut labels = vec![
                    ("container", row.container.as_str()),
                    ("id", row.id.as_str()),
                    ("image", row.image.as_str()),
                    ("name", row.name.as_str()),
                    ("namespace", row.identity.namespace.as_str()),
                    ("pod", row.identity.name.as_str()),
                ];
                labels.extend_from_slice(extra);
                labels.sort_unstable();
                page.sample(name, &labels, value, Some(now));
            };
            match &series {
                Series::One(read) => {
                    let extra = match name {
                        "container_cpu_usage_seconds_total" => Some(("cpu", "total")),
                        "container_fs_usage_bytes" => Some(("device", "")),
                        "container_ulimits_soft" => Some(("ulimit", "max_open_files")),
                        _ => None,
                    };
                    if let Some(value) = read(row) {
                        sample(extra.as_slice(), value);
                    }
                }
                Series::PerDevice(read) => {
                    for (numbers, io) in &row.readings.io {
                        sample(&[("device", &device(numbers))], read(io) as f64);
                    }
                }
                Series::Faults => {
                    let Some(usage) = &row.readings.usage else { continue };
                    for (kind, count) in [("pgfault", usage.faults), ("pgmajfault", usage.major_faults)] {
                        // COMPAT: both the same, as on control groups v2.
                        for scope in ["container", "hierarchy"] {
                            sample(&[("failure_type", kind), ("scope", scope)], count as f64);
                        }
                    }
                }
                Series::PerInterface(read) => {
                    for interface in &row.readings.interfaces {
                        sample(&[("interface", &interface.name)], read(interface) as f64);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_and_those_of_nobody_left_out() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n    \
                    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: 100 2 3 4 0 0 0 0 200 5 6 7 0 0 0 0\nveth12: 1 1 1 1 0 0 0 0 1 1 1 1 0 0 0 0\n";
        let eth0 = Interface { name: "eth0".into(), received: [100, 2, 3, 4], sent: [200, 5, 6, 7] };
        assert_eq!(interfaces_in(text), [eth0]);
    }

    #[test]
    fn both_versions_tell_the_same_of_devices() {
        let io = Io { read_bytes: 4096, written_bytes: 512, reads: 2, writes: 1 };
        let of_v1 = io_of_v1(
            "8:0 Read 4096\n8:0 Write 512\n8:0 Sync 1\nTotal 4608\n",
            "8:0 Read 2\n8:0 Write 1\nTotal 3\n",
        );
        assert_eq!(of_v1, [("8:0".to_owned(), io)].into());
        assert_eq!(io_of_v2("8:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0\n"), of_v1);
    }

    #[test]
    fn limits_and_bursts_are_read() {
        let limits = |soft: &str| {
            format!("Max cpu time unlimited\nMax open files            {soft}    4096   files\n")
        };
        assert_eq!(soft_limit(&limits("1024")), Some(1024.0));
        assert_eq!((soft_limit(&limits("unlimited")), soft_limit("")), (Some(-1.0), None));
        assert_eq!(
            (burst("nr_bursts 1\nburst_usec 2\n"), burst("burst_time 2000\n")),
            (Some(2000), Some(2000))
        );
        assert_eq!([spec(5), spec(u64::MAX)], [5.0, 0.0]);
    }

    #[test]
    fn pressure_and_faults_are_series() {
        let mut pressure = [Pressure::default(); 3];
        pressure[1].full.total = 1_500_000;
        let usage = Some(Usage { faults: 7, ..Usage::default() });
        let readings = Readings { usage, pressure: Some(pressure), ..Readings::default() };
        let rows =
            [Row { readings, ..Row::default() }, Row { readings: Readings::default(), ..Row::default() }];
        let mut page = Page::default();
        write(&mut page, &rows, Timestamp::UNIX_EPOCH);
        let series = |name: &str| -> Vec<String> {
            let lines = page.text().lines().filter(|line| line.starts_with(&format!("{name}{{")));
            lines.map(|line| line.rsplit(' ').nth(1).unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(series("container_pressure_memory_stalled_seconds_total"), ["1.5"]);
        assert_eq!(series("container_pressure_memory_waiting_seconds_total"), ["0"]);
        assert_eq!(series("container_memory_failures_total"), ["7", "7", "0", "0"]);
    }

    #[test]
    fn series_carry_whose_they_are() {
        let identity = Identity { uid: "u".into(), namespace: "shop".into(), name: "web-0".into() };
        let interface = Interface { name: "eth0".into(), received: [7, 0, 0, 0], sent: [0; 4] };
        let usage = Some(Usage { cpu: 2_500_000_000, ..Usage::default() });
        let limits = Some(PodLimits { cpu_quota: Some(-1), ..PodLimits::default() });
        let throttling = Some([1, 1, 1]);
        let readings =
            Readings { usage, throttling, limits, interfaces: vec![interface], ..Readings::default() };
        let row =
            Row { id: "/kubepods/podu/s".into(), identity, name: "s".into(), readings, ..Row::default() };
        let mut page = Page::default();
        write(&mut page, &[row], Timestamp::UNIX_EPOCH);
        let text = page.text();
        let labels =
            r#"id="/kubepods/podu/s",image="",interface="eth0",name="s",namespace="shop",pod="web-0""#;
        assert!(
            text.contains(&format!("container_network_receive_bytes_total{{container=\"\",{labels}}} 7 0\n"))
        );
        assert!(text.contains("container_cpu_usage_seconds_total{container=\"\",cpu=\"total\",id="));
        assert!(!text.contains("container_cpu_cfs_periods_total{"), "there is no quota");
    }
}
