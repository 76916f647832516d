//! The metrics pages: the kubelet's own, the usage of containers under the names that the resource
//! metrics API has given them, probes and SLIs. cAdvisor's names are in `cadvisor`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;

use api_types::core::v1::Volume;
use daemon::exposition;
use http::{Response, StatusCode};
use jiff::Timestamp;

use super::{Body, cadvisor, stats, summary, typed};
use crate::kubelet::Kubelet;
use crate::pod_worker::Stage;
use crate::volume::space::{ClaimSpace, Space};
use crate::volume::{desired, metrics as volume_metrics};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page in the making.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    pub(super) fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64, at: Option<Timestamp>) {
        let label = |(name, value): &(&str, &str)| format!("{name}=\"{}\"", exposition::escaped(value, true));
        let labels: Vec<String> = labels.iter().map(label).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let at = at.map(|at| format!(" {}", at.as_millisecond())).unwrap_or_default();
        let _ = writeln!(self.0, "{name}{labels} {}{at}", exposition::number(value));
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn response(self) -> Response<Body> {
        typed(StatusCode::OK, TEXT, self.0)
    }
}

/// /metrics
pub async fn own(kubelet: &Arc<Kubelet>) -> Response<Body> {
    let registry = daemon::metrics::global();
    let all = kubelet.workers.all();
    let active = all.iter().filter(|(_, stage)| *stage == Stage::Syncing).count();
    registry
        .int_gauge("kubelet_active_pods", "The number of pods the kubelet considers active and which are being considered when admitting new pods.")
        .set(active as i64);
    registry
        .gauge_vec("kubelet_node_name", "The node's name. The count is always 1.", &["node"])
        .with_label_values(&[kubelet.node_name.as_str()])
        .set(1.0);
    if let Ok(containers) = kubelet.runtime.containers(None).await {
        let gauge = registry.gauge_vec(
            "kubelet_running_containers",
            "Number of containers currently running",
            &["container_state"],
        );
        use crate::cri::observed::State;
        for (state, name) in [
            (State::Created, "created"),
            (State::Running, "running"),
            (State::Exited, "exited"),
            (State::Unknown, "unknown"),
        ] {
            let count = containers.iter().filter(|one| State::from_wire(one.state) == state).count();
            gauge.with_label_values(&[name]).set(count as f64);
        }
    }
    if let Ok(sandboxes) = kubelet.runtime.sandboxes(None).await {
        let ready = crate::cri::v1::PodSandboxState::SandboxReady as i32;
        registry
            .int_gauge("kubelet_running_pods", "Number of pods that have a running pod sandbox")
            .set(sandboxes.iter().filter(|sandbox| sandbox.state == ready).count() as i64);
    }
    crate::certificate::metrics::show(Timestamp::now());
    let wanted = all.iter().filter(|(_, stage)| *stage == Stage::Syncing).flat_map(|(pod, _)| {
        let claims = kubelet.claims.known(&pod.metadata.uid);
        let plugin = |volume: &Volume| match desired::wanted(volume, &claims) {
            Ok(wanted) => volume_metrics::plugin(&wanted),
            Err(_) => "N/A".to_owned(),
        };
        desired::mounted(pod).into_iter().map(plugin).collect::<Vec<_>>()
    });
    volume_metrics::count(wanted);
    let mut page = Page(String::from_utf8_lossy(&registry.text()).into_owned());
    volumes(&mut page, &kubelet.spaces.all());
    page.response()
}

/// /metrics/slis: how the health checks went.
pub fn slis() -> Response<Body> {
    typed(StatusCode::OK, TEXT, String::from_utf8_lossy(&daemon::metrics::slis().text()).into_owned())
}

/// How full the volumes behind claims are; a claim of several pods counts once.
fn volumes(page: &mut Page, all: &[ClaimSpace]) {
    let mut claims: BTreeMap<(&str, &str), &Space> = BTreeMap::new();
    for one in all {
        claims.insert((&one.namespace, &one.claim), &one.space);
    }
    type Read = fn(&Space) -> Option<u64>;
    let metrics: [(&str, &str, Read); 7] = [
        ("available_bytes", "Number of available bytes in the volume", |s| Some(s.bytes?.available)),
        ("capacity_bytes", "Capacity in bytes of the volume", |s| Some(s.bytes?.total)),
        (
            "health_status_abnormal",
            "Abnormal volume health status. The count is either 1 or 0. 1 indicates the volume is unhealthy, 0 indicates volume is healthy",
            |s| s.abnormal.map(u64::from),
        ),
        ("inodes", "Maximum number of inodes in the volume", |s| Some(s.inodes?.total)),
        ("inodes_free", "Number of free inodes in the volume", |s| Some(s.inodes?.available)),
        ("inodes_used", "Number of used inodes in the volume", |s| Some(s.inodes?.used)),
        ("used_bytes", "Number of used bytes in the volume", |s| Some(s.bytes?.used)),
    ];
    for (name, help, read) in metrics {
        let name = format!("kubelet_volume_stats_{name}");
        let known: Vec<_> = claims.iter().filter_map(|(key, space)| Some((key, read(space)?))).collect();
        if known.is_empty() {
            continue;
        }
        page.metric(&name, "gauge", &format!("[ALPHA] {help}"));
        for ((namespace, claim), value) in known {
            let labels = [("namespace", *namespace), ("persistentvolumeclaim", *claim)];
            page.sample(&name, &labels, value as f64, None);
        }
    }
}

/// /metrics/resource: what the metrics server reads.
pub async fn resource(kubelet: &Arc<Kubelet>) -> Response<Body> {
    let mut page = Page::default();
    let now = Some(Timestamp::now());
    let (containers, failed) = match stats::containers(kubelet).await {
        Ok(containers) => (containers, 0.0),
        Err(_) => (Vec::new(), 1.0),
    };
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    page.metric(
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
    );
    for one in &containers {
        page.sample("container_cpu_usage_seconds_total", &labels(one), seconds(one.usage.cpu), now);
    }
    page.metric(
        "container_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the container in bytes",
    );
    for one in &containers {
        page.sample("container_memory_working_set_bytes", &labels(one), one.usage.working_set as f64, now);
    }
    page.metric(
        "container_start_time_seconds",
        "gauge",
        "[STABLE] Start time of the container since unix epoch in seconds",
    );
    for one in &containers {
        page.sample("container_start_time_seconds", &labels(one), one.created_at as f64 / 1e9, now);
    }
    let now_used = Timestamp::now();
    let groups: HashMap<String, String> = kubelet
        .workers
        .all()
        .iter()
        .map(|(pod, _)| (pod.metadata.uid.clone(), kubelet.cgroups.pod(pod)))
        .collect();
    let swap = |group: &str, what: &str| -> Option<f64> {
        let value = summary::swap_of(&kubelet.tree, group, now_used)?;
        let part = |name: &str| value[name].as_f64();
        match what {
            "limit" => Some(part("swapAvailableBytes")? + part("swapUsageBytes")?),
            _ => part("swapUsageBytes"),
        }
    };
    for (name, help, what) in [
        ("container_swap_limit_bytes", "container swap limit", "limit"),
        ("container_swap_usage_bytes", "container swap usage", "usage"),
    ] {
        let help =
            format!("[ALPHA] Current amount of the {help} in bytes. Reported only on non-windows systems");
        page.metric(name, "gauge", &help);
        for one in &containers {
            let group = groups.get(&one.identity.uid).map(|pod| cadvisor::below(&kubelet.tree, pod, &one.id));
            if let Some(value) = group.and_then(|group| swap(&group, what)) {
                page.sample(name, &labels(one), value, now);
            }
        }
    }
    let node = stats::of_node();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    if let Some((all, free)) =
        summary::meminfo(&memory, "SwapTotal").zip(summary::meminfo(&memory, "SwapFree"))
    {
        let help = "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems";
        page.metric("node_swap_usage_bytes", "gauge", help);
        page.sample("node_swap_usage_bytes", &[], all.saturating_sub(free) as f64, now);
    }
    let help = "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems";
    page.metric("pod_swap_usage_bytes", "gauge", help);
    let mut shown: Vec<&str> = Vec::new();
    for one in &containers {
        let identity = &one.identity;
        let value = groups.get(&identity.uid).and_then(|pod| swap(pod, "usage"));
        if let Some(value) = value.filter(|_| !shown.contains(&identity.uid.as_str())) {
            shown.push(&identity.uid);
            let of = [("namespace", identity.namespace.as_str()), ("pod", identity.name.as_str())];
            page.sample("pod_swap_usage_bytes", &of, value, now);
        }
    }
    page.metric(
        "node_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
    );
    page.sample("node_cpu_usage_seconds_total", &[], seconds(node.cpu), now);
    page.metric(
        "node_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the node in bytes",
    );
    page.sample("node_memory_working_set_bytes", &[], node.working_set as f64, now);
    let mut pods: Vec<(&str, &str, u64, u64)> = Vec::new();
    for one in &containers {
        let (namespace, name) = (one.identity.namespace.as_str(), one.identity.name.as_str());
        match pods.iter_mut().find(|pod| (pod.0, pod.1) == (namespace, name)) {
            Some(pod) => {
                pod.2 += one.usage.cpu;
                pod.3 += one.usage.working_set;
            }
            None => pods.push((namespace, name, one.usage.cpu, one.usage.working_set)),
        }
    }
    page.metric(
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
    );
    for (namespace, name, cpu, _) in &pods {
        page.sample(
            "pod_cpu_usage_seconds_total",
            &[("namespace", namespace), ("pod", name)],
            seconds(*cpu),
            now,
        );
    }
    page.metric("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes");
    for (namespace, name, _, memory) in &pods {
        page.sample(
            "pod_memory_working_set_bytes",
            &[("namespace", namespace), ("pod", name)],
            *memory as f64,
            now,
        );
    }
    page.metric(
        "resource_scrape_error",
        "gauge",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
    );
    page.sample("resource_scrape_error", &[], failed, None);
    page.metric(
        "scrape_error",
        "gauge",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
    );
    page.sample("scrape_error", &[], failed, None);
    page.response()
}

fn labels(one: &stats::ContainerUsage) -> [(&'static str, &str); 3] {
    [("container", &one.name), ("namespace", &one.identity.namespace), ("pod", &one.identity.name)]
}

/// /metrics/probes: the results of the probes that are under way.
pub fn probes(kubelet: &Arc<Kubelet>) -> Response<Body> {
    let mut page = Page::default();
    page.metric(
        "prober_probe_total",
        "counter",
        "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.",
    );
    for count in kubelet.probes.counts() {
        let meta = &count.pod.metadata;
        let labels = [
            ("container", count.container.as_str()),
            ("namespace", meta.namespace.as_str()),
            ("pod", meta.name.as_str()),
            ("pod_uid", meta.uid.as_str()),
            ("probe_type", count.type_.as_str()),
            ("result", count.result),
        ];
        page.sample("prober_probe_total", &labels, count.runs as f64, None);
    }
    page.response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::space::Amount;

    #[test]
    fn a_claim_of_two_pods_is_told_once() {
        let bytes = Some(Amount { total: 10, available: 4, used: 6 });
        let one = |uid: &str| ClaimSpace {
            uid: uid.into(),
            volume: "v".into(),
            namespace: "ns".into(),
            claim: "data".into(),
            space: Space { bytes, inodes: None, abnormal: None },
        };
        let mut page = Page::default();
        volumes(&mut page, &[one("a"), one("b")]);
        let line = "kubelet_volume_stats_used_bytes{namespace=\"ns\",persistentvolumeclaim=\"data\"} 6";
        assert_eq!(page.0.lines().filter(|found| *found == line).count(), 1, "{}", page.0);
        assert!(!page.0.contains("inodes"), "what is not known is not told: {}", page.0);
    }
}
