//! The metrics of a process in Prometheus' text format.
//!
//! A metric is made where it is counted: `metrics::global().counter_vec("x_total", "Help", &["code"])`.
//! Asking again for the same name returns the same metric, so that tests and parts that start
//! twice need no care. Names, labels and help texts are upstream's. Every registry carries
//! `kubernetes_build_info` and `process_*`, which we read from /proc ourselves.

use std::any::Any;
use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, HistogramOpts, Opts};

pub use prometheus::{
    Counter, CounterVec, Gauge as FloatGauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, exponential_buckets, linear_buckets,
};

use crate::{exposition, version};

/// The media type of [`Registry::text`].
pub const TEXT_FORMAT: &str = prometheus::TEXT_FORMAT;

/// The process's registry.
pub fn global() -> &'static Registry {
    static GLOBAL: LazyLock<Registry> = LazyLock::new(Registry::new);
    &GLOBAL
}

/// What /metrics/slis shows: the outcome of health checks, and since when the process runs (KEP-3466).
pub fn slis() -> &'static Registry {
    static SLIS: LazyLock<Registry> = LazyLock::new(|| {
        let registry = Registry::empty();
        registry
            .gauge(
                "process_start_time_seconds",
                "[ALPHA] Start time of the process since unix epoch in seconds.",
            )
            .set(start_time().unwrap_or_default());
        registry
    });
    &SLIS
}

/// A set of metrics.
pub struct Registry {
    inner: prometheus::Registry,
    made: Mutex<HashMap<String, Box<dyn Any + Send>>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.made.lock().keys()).finish()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    fn empty() -> Self {
        Self { inner: prometheus::Registry::new(), made: Mutex::default() }
    }

    /// One with the metrics that every process has.
    pub fn new() -> Self {
        let registry = Self::empty();
        registry
            .inner
            .register(Box::new(Process::new()))
            .expect("process_* are the first metrics in the registry");
        let v = version::info();
        registry
            .gauge_vec(
                "kubernetes_build_info",
                "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree \
                 state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it \
                 is running.",
                &[
                    "major", "minor", "git_version", "git_commit", "git_tree_state", "build_date", "go_version",
                    "compiler", "platform",
                ],
            )
            .with_label_values(&[
                v.major, v.minor, v.git_version, v.git_commit, v.git_tree_state, v.build_date, v.go_version, v.compiler,
                v.platform,
            ])
            .set(1.0);
        registry
    }

    /// All metrics, in the text exposition format.
    pub fn text(&self) -> Vec<u8> {
        let mut text = String::new();
        exposition::write(&self.inner.gather(), &mut text);
        text.into_bytes()
    }

    /// Adds a collector of the caller's own.
    ///
    /// # Errors
    /// When one of its names is taken.
    pub fn register(&self, collector: Box<dyn Collector>) -> prometheus::Result<()> {
        self.inner.register(collector)
    }

    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.made(name, || IntCounter::with_opts(Opts::new(name, help)))
    }
    pub fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.made(name, || IntCounterVec::new(Opts::new(name, help), labels))
    }
    /// A counter of fractions, such as seconds.
    pub fn float_counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        self.made(name, || CounterVec::new(Opts::new(name, help), labels))
    }
    pub fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        self.made(name, || IntGauge::with_opts(Opts::new(name, help)))
    }
    pub fn int_gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.made(name, || IntGaugeVec::new(Opts::new(name, help), labels))
    }
    pub fn gauge(&self, name: &str, help: &str) -> FloatGauge {
        self.made(name, || Gauge::with_opts(Opts::new(name, help)))
    }
    pub fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.made(name, || GaugeVec::new(Opts::new(name, help), labels))
    }
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.made(name, || Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }
    pub fn histogram_vec(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        self.made(name, || {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)
        })
    }

    /// The metric of this name, made on first use. Names, labels and buckets are constants of the
    /// source, so a mistake in them, or two types under one name, is a bug and panics.
    fn made<M, F>(&self, name: &str, make: F) -> M
    where
        M: Collector + Clone + 'static,
        F: FnOnce() -> prometheus::Result<M>,
    {
        let mut made = self.made.lock();
        if let Some(existing) = made.get(name) {
            return existing
                .downcast_ref::<M>()
                .unwrap_or_else(|| panic!("metric {name} has two types"))
                .clone();
        }
        let metric = make().unwrap_or_else(|e| panic!("metric {name}: {e}"));
        self.inner.register(Box::new(metric.clone())).unwrap_or_else(|e| panic!("metric {name}: {e}"));
        made.insert(name.to_owned(), Box::new(metric.clone()));
        metric
    }
}

/// `process_*`, as Prometheus' client libraries name them, read at each scrape.
struct Process {
    cpu_seconds: Counter,
    open_fds: Gauge,
    max_fds: Gauge,
    virtual_memory: Gauge,
    resident_memory: Gauge,
    start_time: Gauge,
}

/// The kernel's unit of CPU time in /proc, fixed at 100 per second for user space on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    fn new() -> Self {
        let gauge = |name: &str, help: &str| Gauge::new(name, help).expect("the name is valid");
        Self {
            cpu_seconds: Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
            )
            .expect("the name is valid"),
            open_fds: gauge("process_open_fds", "Number of open file descriptors."),
            max_fds: gauge("process_max_fds", "Maximum number of open file descriptors."),
            virtual_memory: gauge("process_virtual_memory_bytes", "Virtual memory size in bytes."),
            resident_memory: gauge("process_resident_memory_bytes", "Resident memory size in bytes."),
            start_time: gauge(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            ),
        }
    }

    fn parts(&self) -> [&dyn Collector; 6] {
        [
            &self.cpu_seconds,
            &self.open_fds,
            &self.max_fds,
            &self.virtual_memory,
            &self.resident_memory,
            &self.start_time,
        ]
    }

    fn refresh(&self) -> Option<()> {
        let stat = ProcStat::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
        // A counter cannot be set: start over and add.
        self.cpu_seconds.reset();
        self.cpu_seconds.inc_by(stat.cpu_ticks / TICKS_PER_SECOND);
        self.virtual_memory.set(stat.virtual_bytes);
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        self.resident_memory.set(kilobytes(&status, "VmRSS:")? * 1024.0);
        self.start_time.set(boot_time()? + stat.start_ticks / TICKS_PER_SECOND);
        self.open_fds.set(std::fs::read_dir("/proc/self/fd").ok()?.count() as f64);
        let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
        let max = limits.lines().find_map(|l| l.strip_prefix("Max open files"))?.split_whitespace().next()?;
        self.max_fds.set(max.parse().unwrap_or(f64::INFINITY));
        Some(())
    }
}

fn boot_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()
}

/// When the process began, in seconds since 1970.
pub(crate) fn start_time() -> Option<f64> {
    let stat = ProcStat::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
    Some(boot_time()? + stat.start_ticks / TICKS_PER_SECOND)
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }
    fn collect(&self) -> Vec<MetricFamily> {
        if self.refresh().is_none() {
            return Vec::new();
        }
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

struct ProcStat {
    cpu_ticks: f64,
    start_ticks: f64,
    virtual_bytes: f64,
}

impl ProcStat {
    /// proc_pid_stat(5): the second field is the name in parentheses and may hold anything.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        // fields[0] is field 3 of the manual page.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, start_ticks: field(22)?, virtual_bytes: field(23)? })
    }
}

fn kilobytes(status: &str, name: &str) -> Option<f64> {
    status.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let line =
            text.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("{name} missing in\n{text}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    #[test]
    fn every_registry_tells_the_build_and_the_process() {
        let text = String::from_utf8(Registry::new().text()).unwrap();
        assert_eq!(value(&text, "kubernetes_build_info{"), 1.0);
        assert!(text.contains("git_version=\"v1.36.2+ferrokube."), "{text}");
        assert!(value(&text, "process_resident_memory_bytes") > 100_000.0);
        assert!(value(&text, "process_open_fds") >= 3.0);
        let started = value(&text, "process_start_time_seconds");
        let now = jiff::Timestamp::now().as_second() as f64;
        assert!((now - 86_400.0..=now + 2.0).contains(&started), "{started} {now}");
        assert!(text.contains("# TYPE process_cpu_seconds_total counter"));
    }

    #[test]
    fn asking_twice_returns_the_same_metric() {
        let registry = Registry::new();
        registry.counter_vec("x_total", "X.", &["code"]).with_label_values(&["200"]).inc();
        registry.counter_vec("x_total", "X.", &["code"]).with_label_values(&["200"]).inc();
        assert_eq!(value(&String::from_utf8(registry.text()).unwrap(), "x_total{code=\"200\"}"), 2.0);
    }

    #[test]
    #[should_panic(expected = "metric y has two types")]
    fn one_name_has_one_type() {
        let registry = Registry::new();
        registry.counter("y", "Y.");
        registry.gauge("y", "Y.");
    }

    #[test]
    fn proc_stat_survives_odd_names() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 12 30 0 0 20 0 1 0 555 4096 9";
        let parsed = ProcStat::parse(stat).unwrap();
        assert_eq!((parsed.cpu_ticks, parsed.start_ticks, parsed.virtual_bytes), (42.0, 555.0, 4096.0));
    }
}
