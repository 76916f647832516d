//! The server's own metrics; names, labels and buckets are upstream's.

use std::time::Duration;

use daemon::metrics::{self, HistogramVec, IntCounterVec, IntGaugeVec};

use crate::request::RequestInfo;

pub struct Metrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    own_durations: HistogramVec,
    inflight: IntGaugeVec,
    long_running: IntGaugeVec,
    objects: IntGaugeVec,
    terminations: IntCounterVec,
}

const SECONDS: [f64; 22] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 60.0,
];

/// Buckets of what is not counted in waiting for others.
const OWN_SECONDS: [f64; 21] = [
    0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

impl Metrics {
    pub fn new() -> Self {
        let all = metrics::global();
        Self {
            requests: all.counter_vec(
                "apiserver_request_total",
                "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, \
                 resource, scope, component, and HTTP response code.",
                &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"],
            ),
            durations: all.histogram_vec(
                "apiserver_request_duration_seconds",
                "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, \
                 resource, subresource, scope and component.",
                &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"],
                &SECONDS,
            ),
            own_durations: all.histogram_vec(
                "apiserver_request_sli_duration_seconds",
                "[ALPHA] Response latency distribution (not counting webhook duration and priority & fairness queue wait \
                 times) in seconds for each verb, group, version, resource, subresource, scope and component.",
                &["verb", "group", "version", "resource", "subresource", "scope", "component"],
                &OWN_SECONDS,
            ),
            inflight: all.int_gauge_vec(
                "apiserver_current_inflight_requests",
                "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind \
                 in last second.",
                &["request_kind"],
            ),
            long_running: all.int_gauge_vec(
                "apiserver_longrunning_requests",
                "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, \
                 resource, scope and component. Not all requests are tracked this way.",
                &["verb", "group", "version", "resource", "subresource", "scope", "component"],
            ),
            objects: all.int_gauge_vec(
                "apiserver_storage_objects",
                "[STABLE] Number of stored objects at the time of last check split by kind. In case of a fetching \
                 error, the value will be -1.",
                &["resource"],
            ),
            terminations: all.counter_vec(
                "apiserver_request_terminations_total",
                "[ALPHA] Number of requests which apiserver terminated in self-defense.",
                &["verb", "group", "version", "resource", "subresource", "scope", "component", "code"],
            ),
        }
    }

    /// Counts a request that was answered after `took`, of which it `waited` for others.
    pub fn answered(
        &self,
        info: &RequestInfo,
        content_type: &str,
        dry_run: bool,
        code: u16,
        took: Duration,
        waited: Duration,
    ) {
        let (verb, scope, code) = (verb(info, content_type), scope(info), code.to_string());
        let dry_run = if dry_run { "All" } else { "" };
        let (group, version, resource, subresource) =
            (info.group.as_str(), info.version.as_str(), info.resource.as_str(), info.subresource.as_str());
        self.requests
            .with_label_values(&[
                verb,
                dry_run,
                group,
                version,
                resource,
                subresource,
                scope,
                "apiserver",
                &code,
            ])
            .inc();
        if verb != "WATCH" && verb != "CONNECT" {
            self.durations
                .with_label_values(&[
                    verb,
                    dry_run,
                    group,
                    version,
                    resource,
                    subresource,
                    scope,
                    "apiserver",
                ])
                .observe(took.as_secs_f64());
            self.own_durations
                .with_label_values(&[verb, group, version, resource, subresource, scope, "apiserver"])
                .observe(took.saturating_sub(waited).as_secs_f64());
        }
    }

    pub fn refused(&self, info: &RequestInfo, code: &str) {
        self.terminations
            .with_label_values(&[
                verb(info, ""),
                &info.group,
                &info.version,
                &info.resource,
                &info.subresource,
                scope(info),
                "apiserver",
                code,
            ])
            .inc();
    }

    /// Counts a request that lasts, until the guard goes.
    pub fn lasting(&self, info: &RequestInfo) -> GaugeGuard {
        GaugeGuard::new(self.long_running.with_label_values(&[
            verb(info, ""),
            &info.group,
            &info.version,
            &info.resource,
            &info.subresource,
            scope(info),
            "apiserver",
        ]))
    }

    /// Counts a short request, until the guard goes.
    pub fn short(&self, mutating: bool) -> GaugeGuard {
        let kind = if mutating { "mutating" } else { "readOnly" };
        GaugeGuard::new(self.inflight.with_label_values(&[kind]))
    }

    pub fn stored(&self, resource: &str, count: usize) {
        self.objects.with_label_values(&[resource]).set(count as i64);
    }
}

/// Holds a gauge up by one.
pub struct GaugeGuard(daemon::metrics::IntGauge);

impl GaugeGuard {
    fn new(gauge: daemon::metrics::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn verb(info: &RequestInfo, content_type: &str) -> &'static str {
    if is_connect(info) {
        return "CONNECT";
    }
    match info.verb.as_str() {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if content_type == "application/apply-patch+yaml" => "APPLY",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "head" => "GET",
        _ => "other",
    }
}

/// Whether the request opens a connection to a kubelet, pod or service.
pub fn is_connect(info: &RequestInfo) -> bool {
    info.is_resource && matches!(info.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy")
}

fn scope(info: &RequestInfo) -> &'static str {
    match info {
        i if !i.is_resource => "",
        i if !i.name.is_empty() || i.verb == "create" => "resource",
        i if !i.namespace.is_empty() => "namespace",
        _ => "cluster",
    }
}
