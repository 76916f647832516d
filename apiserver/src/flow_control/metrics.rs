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
    queued_seats: IntGaugeVec,
    wait: HistogramVec,
    execution: HistogramVec,
    estimated: HistogramVec,
    watched: HistogramVec,
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
            queued_seats: gauge(
                "current_inqueue_seats",
                "[ALPHA] Number of seats currently pending in queues of the API Priority and Fairness subsystem",
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
            estimated: all.histogram_vec(
                "apiserver_flowcontrol_work_estimated_seats",
                "[ALPHA] Number of estimated seats (maximum of initial and final seats) associated with requests in \
                 API Priority and Fairness",
                &FLOW,
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0],
            ),
            watched: all.histogram_vec(
                "apiserver_flowcontrol_watch_count_samples",
                "[ALPHA] count of watchers for mutating requests in API Priority and Fairness",
                &FLOW,
                &[0.0, 1.0, 10.0, 100.0, 1000.0, 10_000.0],
            ),
        }
    }

    pub fn estimated(&self, level: &str, schema: &str, seats: u32) {
        self.estimated.with_label_values(&[level, schema]).observe(seats.into());
    }

    pub fn watched(&self, level: &str, schema: &str, watches: usize) {
        self.watched.with_label_values(&[level, schema]).observe(watches as f64);
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

    /// Counts one that waits for so many seats, until the guard goes.
    pub fn waiting(&self, level: &str, schema: &str, seats: u32) -> Waiting {
        let of = [(&self.waiting, 1), (&self.queued_seats, i64::from(seats))];
        Waiting(of.map(|(gauges, count)| {
            let gauge = gauges.with_label_values(&[level, schema]);
            gauge.add(count);
            (gauge, count)
        }))
    }

    pub fn waited(&self, level: &str, schema: &str, runs: bool, waited: Duration) {
        let runs = if runs { "true" } else { "false" };
        self.wait.with_label_values(&[level, schema, runs]).observe(waited.as_secs_f64());
    }

    pub fn started(&self, level: &str, schema: &str, seats: u32) {
        self.dispatched.with_label_values(&[level, schema]).inc();
        self.executing.with_label_values(&[level, schema]).inc();
        self.seats.with_label_values(&[level, schema]).add(seats.into());
    }

    /// Its seats are free again, which may be some time after it has ended.
    pub fn freed(&self, level: &str, schema: &str, seats: u32) {
        self.seats.with_label_values(&[level, schema]).sub(seats.into());
    }

    pub fn ended(&self, level: &str, schema: &str, ran: Duration) {
        self.executing.with_label_values(&[level, schema]).dec();
        self.execution.with_label_values(&[level, schema, "regular"]).observe(ran.as_secs_f64());
    }
}

/// Holds gauges up by so much.
pub struct Waiting([(IntGauge, i64); 2]);

impl Drop for Waiting {
    fn drop(&mut self) {
        for (gauge, count) in &self.0 {
            gauge.sub(*count);
        }
    }
}
