//! Named health checks behind /healthz, /livez and /readyz, in upstream's words: `ok`, the
//! `[+]name ok` list with `?verbose` or on failure, `?exclude=name`, and one path per check
//! (`/livez/ping`). Reasons go to the log and not to the caller, since the paths are public; the
//! per-check paths do tell them, and a server may want to authorize those.
//!
//! Independent of any HTTP framework: [`Health::answer`] maps a path and query to a status and body.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use parking_lot::{Mutex, RwLock};

use crate::metrics;

/// Which of the three endpoints a check belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// All three: it makes no sense to run without it, and a restart may help.
    All,
    /// /readyz alone: not ready to serve yet, or no longer.
    Readyz,
    /// /healthz and /readyz, not /livez: waiting helps, a restart does not.
    HealthzReadyz,
    /// /livez and /healthz.
    LivezHealthz,
}

impl Endpoints {
    fn include(self, endpoint: &str) -> bool {
        match self {
            Self::All => true,
            Self::Readyz => endpoint == "readyz",
            Self::HealthzReadyz => endpoint != "livez",
            Self::LivezHealthz => endpoint != "readyz",
        }
    }
}

type CheckFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

struct Check {
    name: String,
    on: Endpoints,
    run: Box<dyn Fn() -> CheckFuture + Send + Sync>,
}

/// The checks of a process; clones share them. Starts with upstream's `ping`.
#[derive(Clone)]
pub struct Health {
    checks: Arc<RwLock<Vec<Arc<Check>>>>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.checks.read().iter().map(|c| &c.name)).finish()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

/// What a health path answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub body: String,
}

impl Answer {
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
        // Upstream marks the health paths so; probes must never be answered from a cache.
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, private"));
        response
    }
}

impl Health {
    pub fn new() -> Self {
        let health = Self { checks: Arc::default() };
        health.add(Endpoints::All, "ping", || async { Ok(()) });
        health
    }

    /// Adds a check; its error is the reason. Checks answer in the order in which they were added.
    /// A name may contain slashes (`poststarthook/start-informers`). A repeated name replaces.
    pub fn add<F, Fut>(&self, on: Endpoints, name: &str, run: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check = Arc::new(Check { name: name.into(), on, run: Box::new(move || Box::pin(run())) });
        let mut checks = self.checks.write();
        match checks.iter_mut().find(|c| c.name == name) {
            Some(slot) => *slot = check,
            None => checks.push(check),
        }
    }

    /// Adds a check that its owner sets: it fails with `reason` until [`Condition::ok`].
    pub fn condition(&self, on: Endpoints, name: &str, reason: &str) -> Condition {
        let state = Arc::new(Mutex::new(Err(reason.to_owned())));
        let read = state.clone();
        self.add(on, name, move || std::future::ready(read.lock().clone()));
        Condition { state }
    }

    /// The answer for `path`, or `None` if it is no health path. `query` is the raw query string.
    pub async fn answer(&self, path: &str, query: Option<&str>) -> Option<Answer> {
        let mut parts = path.strip_prefix('/')?.splitn(2, '/');
        let endpoint = parts.next().filter(|e| matches!(*e, "healthz" | "livez" | "readyz"))?;
        match parts.next() {
            None | Some("") => Some(self.all(endpoint, query.unwrap_or_default()).await),
            Some(name) => self.one(endpoint, name).await,
        }
    }

    fn selected(&self, endpoint: &str) -> Vec<Arc<Check>> {
        self.checks.read().iter().filter(|c| c.on.include(endpoint)).cloned().collect()
    }

    async fn one(&self, endpoint: &str, name: &str) -> Option<Answer> {
        let check = self.selected(endpoint).into_iter().find(|c| c.name == name)?;
        Some(match (check.run)().await {
            Ok(()) => Answer { status: StatusCode::OK, body: "ok".into() },
            Err(reason) => Answer {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                body: format!("internal server error: {reason}\n"),
            },
        })
    }

    async fn all(&self, endpoint: &str, query: &str) -> Answer {
        let mut excluded: Vec<String> = query_values(query, "exclude");
        excluded.sort();
        excluded.dedup();
        let mut unmatched = excluded.clone();
        let (mut lines, mut failed, mut reasons) = (String::new(), Vec::new(), Vec::new());
        for check in self.selected(endpoint) {
            let name = &check.name;
            if excluded.contains(name) {
                unmatched.retain(|e| e != name);
                lines += &format!("[+]{name} excluded: ok\n");
                continue;
            }
            let outcome = (check.run)().await;
            observe(name, endpoint, outcome.is_ok());
            match outcome {
                Ok(()) => lines += &format!("[+]{name} ok\n"),
                Err(reason) => {
                    lines += &format!("[-]{name} failed: reason withheld\n");
                    reasons.push(format!("{name}: {reason}"));
                    failed.push(name.clone());
                }
            }
        }
        if !unmatched.is_empty() {
            let names: Vec<_> = unmatched.iter().map(|n| format!("{n:?}")).collect();
            lines +=
                &format!("warn: some health checks cannot be excluded: no matches for {}\n", names.join(","));
        }
        if !failed.is_empty() {
            tracing::info!(
                endpoint,
                failed = failed.join(","),
                reasons = reasons.join("; "),
                "Health check failed"
            );
            let body = format!("{lines}{endpoint} check failed\n");
            return Answer { status: StatusCode::INTERNAL_SERVER_ERROR, body };
        }
        let verbose = query.split('&').any(|p| p.split('=').next() == Some("verbose"));
        let body = if verbose { format!("{lines}{endpoint} check passed\n") } else { "ok".into() };
        Answer { status: StatusCode::OK, body }
    }
}

/// Counts the outcome of a check, for /metrics/slis. Checks that are asked for one by one are not counted.
fn observe(name: &str, endpoint: &str, well: bool) {
    let registry = metrics::slis();
    let last = registry.gauge_vec(
        "kubernetes_healthcheck",
        "[STABLE] This metric records the result of a single healthcheck.",
        &["name", "type"],
    );
    last.with_label_values(&[name, endpoint]).set(f64::from(u8::from(well)));
    let all = registry.counter_vec(
        "kubernetes_healthchecks_total",
        "[STABLE] This metric records the results of all healthcheck.",
        &["name", "type", "status"],
    );
    all.with_label_values(&[name, endpoint, if well { "success" } else { "error" }]).inc();
}

/// A check's state in its owner's hands.
#[derive(Clone, Debug)]
pub struct Condition {
    state: Arc<Mutex<Result<(), String>>>,
}

impl Condition {
    pub fn ok(&self) {
        *self.state.lock() = Ok(());
    }
    pub fn failed(&self, reason: impl Into<String>) {
        *self.state.lock() = Err(reason.into());
    }
}

fn query_values(query: &str, name: &str) -> Vec<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| percent_decoded(value))
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(health: &Health, path: &str, query: &str) -> (u16, String) {
        let answer = health.answer(path, Some(query)).await.unwrap();
        (answer.status.as_u16(), answer.body)
    }

    #[tokio::test]
    async fn healthy_is_ok_and_verbose_lists() {
        let health = Health::new();
        health.add(Endpoints::All, "etcd", || async { Ok(()) });
        assert_eq!(ask(&health, "/healthz", "").await, (200, "ok".into()));
        let expected = "[+]ping ok\n[+]etcd ok\nlivez check passed\n";
        assert_eq!(ask(&health, "/livez", "verbose").await, (200, expected.into()));
        assert_eq!(ask(&health, "/livez/etcd", "").await, (200, "ok".into()));
    }

    #[tokio::test]
    async fn failure_withholds_the_reason_from_the_public_paths() {
        let health = Health::new();
        let synced = health.condition(Endpoints::Readyz, "informer-sync", "2 informers not started yet");
        let expected = "[+]ping ok\n[-]informer-sync failed: reason withheld\nreadyz check failed\n";
        assert_eq!(ask(&health, "/readyz", "").await, (500, expected.into()));
        assert_eq!(ask(&health, "/livez", "").await, (200, "ok".into()));
        assert!(ask(&health, "/readyz/informer-sync", "").await.1.contains("2 informers"));
        assert_eq!(health.answer("/livez/informer-sync", None).await, None);
        synced.ok();
        assert_eq!(ask(&health, "/readyz", "").await.0, 200);
    }

    #[tokio::test]
    async fn excluded_checks_count_as_ok_and_unknown_ones_are_told() {
        let health = Health::new();
        health.condition(Endpoints::All, "poststarthook/x", "not yet");
        let query = "exclude=poststarthook%2Fx&exclude=nope&verbose=1";
        let expected = "[+]ping ok\n[+]poststarthook/x excluded: ok\nwarn: some health checks cannot be excluded: \
                        no matches for \"nope\"\nhealthz check passed\n";
        assert_eq!(ask(&health, "/healthz", query).await, (200, expected.into()));
    }

    #[tokio::test]
    async fn outcomes_are_counted_for_slis() {
        let health = Health::new();
        let state = health.condition(Endpoints::Readyz, "slow-start", "not yet");
        ask(&health, "/readyz", "").await;
        state.ok();
        ask(&health, "/readyz", "").await;
        let text = String::from_utf8(metrics::slis().text()).unwrap();
        for line in [
            "kubernetes_healthcheck{name=\"slow-start\",type=\"readyz\"} 1",
            "kubernetes_healthchecks_total{name=\"slow-start\",status=\"error\",type=\"readyz\"} 1",
            "kubernetes_healthchecks_total{name=\"slow-start\",status=\"success\",type=\"readyz\"} 1",
        ] {
            assert!(text.contains(line), "{line} missing in\n{text}");
        }
    }

    #[tokio::test]
    async fn other_paths_are_not_ours() {
        assert_eq!(Health::new().answer("/metrics", None).await, None);
        assert_eq!(Health::new().answer("/healthz/nope", None).await, None);
    }
}
