//! /healthz and /livez of kube-proxy, in upstream's JSON, and a small server for each Service with a
//! health check node port, by which load balancers find the nodes that have endpoints.
//!
//! Healthy means: what the apiserver told us has been written to the kernel, or has been waiting for
//! less than twice the sync period.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use daemon::clock::SharedClock;
use daemon::serve::{ServeError, bind, connections};
use daemon::shutdown::Shutdown;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;

use crate::changes::Changes;
use crate::metrics::metrics;
use crate::state::{Endpoints, Family, Services};

/// Whether the kernel has what it should.
pub struct Health {
    changes: Arc<Changes>,
    clock: SharedClock,
    /// How long changes may wait.
    patience: Duration,
    updated: Mutex<BTreeMap<&'static str, Timestamp>>,
}

impl Health {
    pub fn new(changes: Arc<Changes>, clock: SharedClock, patience: Duration) -> Arc<Self> {
        Arc::new(Self { changes, clock, patience, updated: Mutex::default() })
    }

    /// A family's table has been written.
    pub fn updated(&self, family: Family) {
        self.updated.lock().insert(family.as_str(), self.clock.now());
    }

    /// Changes that wait too long make it unhealthy; before the first sync it is starting up.
    pub fn is_healthy(&self) -> bool {
        let late = |since: Duration| self.clock.monotonic().saturating_sub(since) >= self.patience;
        self.updated.lock().is_empty() || !self.changes.pending_since().is_some_and(late)
    }

    fn is_eligible(&self) -> bool {
        self.changes.node().is_some_and(|n| n.eligible)
    }

    fn body(&self, healthy: bool, all: bool, eligible: Option<bool>) -> serde_json::Value {
        let now = self.clock.now();
        let updated = self.updated.lock().clone();
        // COMPAT: a healthy server says that it has just been updated, as older releases did.
        let last = if all { now } else { updated.values().copied().max().unwrap_or_default() };
        let mut body = json!({ "lastUpdated": last.to_string(), "currentTime": now.to_string() });
        if let Some(eligible) = eligible {
            body["nodeEligible"] = eligible.into();
        }
        body["healthy"] = healthy.into();
        if !updated.is_empty() {
            let status = |(family, at): (&'static str, Timestamp)| {
                (family.to_owned(), json!({ "lastUpdated": at.to_string(), "healthy": healthy }))
            };
            body["status"] = updated.into_iter().map(status).collect::<serde_json::Map<_, _>>().into();
        }
        body
    }

    fn healthz(&self) -> (bool, serde_json::Value) {
        let (healthy, eligible) = (self.is_healthy(), self.is_eligible());
        (healthy && eligible, self.body(healthy, healthy && eligible, Some(eligible)))
    }

    fn livez(&self) -> (bool, serde_json::Value) {
        let healthy = self.is_healthy();
        (healthy, self.body(healthy, healthy, None))
    }

    /// Serves /healthz and /livez until shutdown.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve(self: &Arc<Self>, address: SocketAddr, shutdown: Shutdown) -> Result<(), ServeError> {
        let healthz = |State(health): State<Arc<Self>>| async move {
            let (ok, body) = health.healthz();
            let answer = answer(ok, body.to_string());
            metrics().healthz.with_label_values(&[answer.status().as_str()]).inc();
            answer
        };
        let livez = |State(health): State<Arc<Self>>| async move {
            let (ok, body) = health.livez();
            let answer = answer(ok, body.to_string());
            metrics().livez.with_label_values(&[answer.status().as_str()]).inc();
            answer
        };
        let router = Router::new()
            .route("/healthz", axum::routing::get(healthz))
            .route("/livez", axum::routing::get(livez))
            .with_state(self.clone());
        let listener = bind(address).await?;
        let service = tower_service(router);
        tokio::spawn(connections(listener, None, service, shutdown));
        Ok(())
    }
}

fn answer(ok: bool, body: String) -> Response {
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, body).into_response()
}

/// The router as the kind of service that connections are given.
fn tower_service(
    router: Router,
) -> impl tower::Service<
    axum::http::Request<hyper::body::Incoming>,
    Response = Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static {
    tower::ServiceExt::map_request(router, |request: axum::http::Request<hyper::body::Incoming>| {
        request.map(axum::body::Body::new)
    })
}

/// A Service and its number of ready endpoints on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub namespace: String,
    pub name: String,
    pub local_endpoints: usize,
}

/// By health check node port, what is to be told there. Pure.
pub fn checked(families: &[(Family, Services, Endpoints)]) -> BTreeMap<u16, Checked> {
    let mut all: BTreeMap<u16, Checked> = BTreeMap::new();
    let mut counted: BTreeMap<u16, std::collections::BTreeSet<std::net::IpAddr>> = BTreeMap::new();
    for (_, services, endpoints) in families {
        for (name, port) in services {
            let Ok(number @ 1..) = u16::try_from(port.health_check_node_port) else { continue };
            let own = endpoints.get(name).into_iter().flatten();
            let local = own.filter(|e| e.is_local && e.ready).map(|e| e.address);
            let addresses = counted.entry(number).or_default();
            // Several ports of one pod count once.
            addresses.extend(local);
            all.insert(
                number,
                Checked {
                    namespace: name.namespace.to_string(),
                    name: name.service.to_string(),
                    local_endpoints: addresses.len(),
                },
            );
        }
    }
    all
}

struct Server {
    told: Arc<Mutex<Checked>>,
    shutdown: Shutdown,
}

/// The servers of health check node ports.
#[derive(Default)]
pub struct ServiceChecks {
    servers: BTreeMap<u16, Server>,
}

impl ServiceChecks {
    /// Starts, changes and stops servers so that they tell what is given.
    pub async fn update(
        &mut self,
        wanted: BTreeMap<u16, Checked>,
        health: &Arc<Health>,
        shutdown: &Shutdown,
    ) {
        self.servers.retain(|port, server| {
            let keep = wanted.contains_key(port);
            if !keep {
                server.shutdown.trigger();
            }
            keep
        });
        for (port, checked) in wanted {
            if let Some(server) = self.servers.get(&port) {
                *server.told.lock() = checked;
                continue;
            }
            let (told, own) = (Arc::new(Mutex::new(checked)), shutdown.child());
            match serve_check(port, told.clone(), health.clone(), own.clone()).await {
                Ok(()) => drop(self.servers.insert(port, Server { told, shutdown: own })),
                Err(error) => {
                    let error = daemon::logging::error_chain(&error);
                    tracing::error!(port, error, "Failed to start healthcheck of a service");
                }
            }
        }
    }
}

async fn serve_check(
    port: u16,
    told: Arc<Mutex<Checked>>,
    health: Arc<Health>,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let handler = move || {
        let (told, healthy) = (told.lock().clone(), health.is_healthy());
        async move { check_answer(&told, healthy) }
    };
    // Any path: balancers are configured with one or another.
    let router = Router::new().fallback(handler);
    let any: SocketAddr = (std::net::Ipv6Addr::UNSPECIFIED, port).into();
    let listener = match bind(any).await {
        Ok(listener) => listener,
        Err(_) => bind((std::net::Ipv4Addr::UNSPECIFIED, port).into()).await?,
    };
    tokio::spawn(connections(listener, None, tower_service(router), shutdown));
    Ok(())
}

/// COMPAT: upstream's text, line breaks and tabs included.
fn check_answer(told: &Checked, healthy: bool) -> Response {
    let Checked { namespace, name, local_endpoints } = told;
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace:?},\n\t\t\"name\": {name:?}\n\t}},\n\t\"localEndpoints\": {local_endpoints},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    );
    let mut answer = answer(*local_endpoints > 0 && healthy, body);
    let weight = header::HeaderValue::from(*local_endpoints);
    answer.headers_mut().insert("X-Load-Balancing-Endpoint-Weight", weight);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::NodeView;
    use daemon::clock::Manual;

    #[test]
    fn health_follows_pending_changes_and_the_node() {
        let clock = Manual::new(Timestamp::UNIX_EPOCH);
        let changes = Changes::new(clock.clone());
        let health = Health::new(changes.clone(), clock.clone(), Duration::from_secs(60));
        assert!(health.livez().0, "starting up");
        assert!(!health.healthz().0, "no node yet");
        changes.node_changed(Some(NodeView { eligible: true, ..NodeView::default() }));
        changes.collect("here");
        health.updated(Family::V4);
        let (ok, body) = health.healthz();
        assert!(ok);
        assert_eq!(
            body.to_string(),
            r#"{"lastUpdated":"1970-01-01T00:00:00Z","currentTime":"1970-01-01T00:00:00Z","nodeEligible":true,"healthy":true,"status":{"IPv4":{"lastUpdated":"1970-01-01T00:00:00Z","healthy":true}}}"#
        );
        changes.node_changed(Some(NodeView { eligible: false, ..NodeView::default() }));
        assert!(!health.healthz().0);
        assert!(health.livez().0);
        clock.advance(Duration::from_secs(60));
        assert!(!health.livez().0, "a change has waited for too long");
    }

    #[test]
    fn balancers_are_told_the_number_of_endpoints() {
        let told = Checked { namespace: "default".into(), name: "web".into(), local_endpoints: 2 };
        let answer = check_answer(&told, true);
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["X-Load-Balancing-Endpoint-Weight"], "2");
        assert_eq!(check_answer(&Checked { local_endpoints: 0, ..told }, true).status(), 503);
    }
}
