//! Metrics of flow control; names, labels and buckets are upstream's.

use std::time::Duration;

use daemon::metrics::{self, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};

use super::shares::Limits;

pub struct Metrics {
    rejected: IntCounterVec,
    dispatched: IntCounterVec,
    waiting: IntGaugeVec,
    executing: IntGaugeVec,
    seats: IntGaugeVec,
    nominal: IntGaugeVec,
    lower: IntGaugeVec,
    upper: IntGaugeVec,
    current: IntGaugeVec,
    wait: HistogramVec,
    execution: HistogramVec,
}

const FLOW: [&str; 2] = ["priority_level", "flow_schema"];
const SECONDS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];

impl Metrics {
    pub fn new() -> Self {
        let all = metrics::global();
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            all.int_gauge_vec(&format!("apiserver_flowcontrol_{name}"), help, labels)
        };
        let level = &FLOW[..1];
        Self {
            rejected: all.counter_vec(
                "apiserver_flowcontrol_rejected_requests_total",
                "[BETA] Number of requests rejected by API Priority and Fairness subsystem",
                &["priority_level", "flow_schema", "reason"],
            ),
            dispatched: all.counter_vec(
                "apiserver_flowcontrol_dispatched_requests_total",
                "[BETA] Number of requests executed by API Priority and Fairness subsystem",
                &FLOW,
            ),
            waiting: gauge(
                "current_inqueue_requests",
                "[BETA] Number of requests currently pending in queues of the API Priority and Fairness subsystem",
                &FLOW,
            ),
            executing: gauge(
                "current_executing_requests",
                "[BETA] Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the \
                 API Priority and Fairness subsystem",
                &FLOW,
            ),
            seats: gauge(
                "current_executing_seats",
                "[BETA] Concurrency (number of seats) occupied by the currently executing (initial stage for a \
                 WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem",
                &FLOW,
            ),
            nominal: gauge(
                "nominal_limit_seats",
                "[BETA] Nominal number of execution seats configured for each priority level",
                level,
            ),
            lower: gauge(
                "lower_limit_seats",
                "[ALPHA] Configured lower bound on number of execution seats available to each priority level",
                level,
            ),
            upper: gauge(
                "upper_limit_seats",
                "[ALPHA] Configured upper bound on number of execution seats available to each priority level",
                level,
            ),
            current: gauge(
                "current_limit_seats",
                "[ALPHA] current derived number of execution seats available to each priority level",
                level,
            ),
            wait: all.histogram_vec(
                "apiserver_flowcontrol_request_wait_duration_seconds",
                "[BETA] Length of time a request spent waiting in its queue",
                &["priority_level", "flow_schema", "execute"],
                &SECONDS,
            ),
            execution: all.histogram_vec(
                "apiserver_flowcontrol_request_execution_seconds",
                "[ALPHA] Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution \
                 in the API Priority and Fairness subsystem",
                &["priority_level", "flow_schema", "type"],
                &SECONDS,
            ),
        }
    }

    pub fn limits(&self, level: &str, limits: &Limits) {
        for (gauge, seats) in [
            (&self.nominal, limits.nominal),
            (&self.lower, limits.least),
            (&self.upper, limits.most),
            (&self.current, limits.nominal),
        ] {
            gauge.with_label_values(&[level]).set(seats.into());
        }
    }

    pub fn current_limit(&self, level: &str, seats: u32) {
        self.current.with_label_values(&[level]).set(seats.into());
    }

    pub fn rejected(&self, level: &str, schema: &str, reason: &str) {
        self.rejected.with_label_values(&[level, schema, reason]).inc();
    }

    /// Counts one that waits, until the guard goes.
    pub fn waiting(&self, level: &str, schema: &str) -> Waiting {
        let gauge = self.waiting.with_label_values(&[level, schema]);
        gauge.inc();
        Waiting(gauge)
    }

    pub fn waited(&self, level: &str, schema: &str, runs: bool, waited: Duration) {
        let runs = if runs { "true" } else { "false" };
        self.wait.with_label_values(&[level, schema, runs]).observe(waited.as_secs_f64());
    }

    pub fn started(&self, level: &str, schema: &str) {
        self.dispatched.with_label_values(&[level, schema]).inc();
        self.executing.with_label_values(&[level, schema]).inc();
        self.seats.with_label_values(&[level, schema]).inc();
    }

    pub fn ended(&self, level: &str, schema: &str, ran: Duration) {
        self.executing.with_label_values(&[level, schema]).dec();
        self.seats.with_label_values(&[level, schema]).dec();
        self.execution.with_label_values(&[level, schema, "regular"]).observe(ran.as_secs_f64());
    }
}

/// Holds a gauge up by one.
pub struct Waiting(IntGauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}
