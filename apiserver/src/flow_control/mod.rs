//! API priority and fairness (KEP-1040): each request belongs to a flow of a priority level; a level
//! runs so many requests at a time, and those beyond wait in queues that flows share fairly.
//!
//! `rules` says which schema a request matches, `shares` how many seats a level has, `queues` who is
//! next, `estimate` how many seats a request takes: all pure. `level` lets requests wait, `watches` counts who hears of
//! writes, `objects` keeps the configuration current.

pub mod estimate;
mod level;
mod metrics;
pub mod objects;
mod queues;
mod rules;
mod shares;
mod watches;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration, standard};
use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use crate::query::Query;
use crate::request::{RequestInfo, User};
use estimate::{Estimate, Stock};
use level::Level;
use metrics::Metrics;

pub use level::Permit;
pub use watches::{Watches, Watching};

const SCHEMA_HEADER: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_HEADER: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// Why a request is not run; the label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    QueueFull,
    ConcurrencyLimit,
    TimeOut,
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::TimeOut => "time-out",
        }
    }
}

/// Where a request belongs.
#[derive(Clone)]
pub struct Flow {
    schema: Arc<Schema>,
    level: Arc<Level>,
    level_uid: Arc<str>,
    distinguisher: String,
}

impl Flow {
    /// Tells the client which schema and level its request fell to.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, uid) in [(SCHEMA_HEADER, &*self.schema.uid), (LEVEL_HEADER, &*self.level_uid)] {
            // Before the objects are read there are no UIDs.
            if let Some(value) = (!uid.is_empty()).then(|| HeaderValue::from_str(uid).ok()).flatten() {
                headers.insert(name, value);
            }
        }
    }
}

/// A flow schema, as requests are matched by it.
struct Schema {
    name: String,
    uid: Box<str>,
    level: String,
    spec: api_types::flowcontrol::v1::FlowSchemaSpec,
}

/// The schemas in the order in which they are asked, and the levels.
#[derive(Default)]
struct Table {
    schemas: Vec<Arc<Schema>>,
    levels: BTreeMap<String, (Arc<Level>, Arc<str>)>,
}

/// The server's flow control.
pub struct FlowControl {
    /// Requests that may run at a time in all levels together.
    seats: u32,
    /// How long a request may wait.
    patience: Duration,
    table: ArcSwap<Table>,
    /// Levels by name with their limits; guards changes of the table.
    limits: Mutex<BTreeMap<String, shares::Limits>>,
    metrics: Arc<Metrics>,
    /// The watches that writes are told to.
    pub watches: Arc<Watches>,
}

impl FlowControl {
    /// `request_timeout`: a quarter of it may be spent waiting. Until the objects are read, the
    /// standard ones apply.
    pub fn new(seats: u32, request_timeout: Duration) -> Self {
        let own = Self {
            seats,
            patience: request_timeout / 4,
            table: ArcSwap::default(),
            limits: Mutex::default(),
            metrics: Arc::new(Metrics::new()),
            watches: Arc::default(),
        };
        own.configure(standard::suggested_flow_schemas(), &standard::suggested_levels());
        own
    }

    /// Takes over a configuration. Requests that wait or run keep their places.
    pub fn configure(&self, schemas: Vec<FlowSchema>, configurations: &[PriorityLevelConfiguration]) {
        let (mut schemas, mut configurations) = (schemas, configurations.to_vec());
        // Somebody may have deleted what must be there; until it is written again it is made up.
        for fixed in standard::mandatory_flow_schemas() {
            if !schemas.iter().any(|schema| schema.metadata.name == fixed.metadata.name) {
                schemas.push(fixed);
            }
        }
        for fixed in standard::mandatory_levels() {
            if !configurations.iter().any(|level| level.metadata.name == fixed.metadata.name) {
                configurations.push(fixed);
            }
        }
        let mut limits = self.limits.lock();
        *limits = shares::limits(&configurations, self.seats);
        let old = self.table.load();
        let mut levels = BTreeMap::new();
        for configuration in &configurations {
            let name = &configuration.metadata.name;
            let Some(limits) = limits.get(name) else { continue };
            let level = match old.levels.get(name) {
                Some((level, _)) => level.clone(),
                None => Arc::new(Level::new(name, self.metrics.clone())),
            };
            level.configure(limits, configuration);
            levels.insert(name.clone(), (level, Arc::from(configuration.metadata.uid.as_str())));
        }
        let mut schemas: Vec<Arc<Schema>> = schemas
            .into_iter()
            // A schema whose level is not there matches nothing.
            .filter(|schema| levels.contains_key(&schema.spec.priority_level_configuration.name))
            .map(|schema| {
                Arc::new(Schema {
                    name: schema.metadata.name,
                    uid: schema.metadata.uid.into(),
                    level: schema.spec.priority_level_configuration.name.clone(),
                    spec: schema.spec,
                })
            })
            .collect();
        schemas.sort_by(|a, b| {
            (a.spec.matching_precedence, &a.name).cmp(&(b.spec.matching_precedence, &b.name))
        });
        self.table.store(Arc::new(Table { schemas, levels }));
    }

    /// Moves free seats to the levels that want them; to be called every [`shares::PERIOD`].
    pub fn rebalance(&self) {
        let limits = self.limits.lock();
        let table = self.table.load();
        let demands: BTreeMap<String, u32> =
            table.levels.iter().map(|(name, (level, _))| (name.clone(), level.take_demand())).collect();
        for (name, seats) in shares::balanced(&limits, &demands, self.seats) {
            if let Some((level, _)) = table.levels.get(&name) {
                level.set_seats(seats);
            }
        }
    }

    /// The flow of a request. `None` only when not even the catch-all objects are there.
    pub fn classify(&self, user: &User, info: &RequestInfo) -> Option<Flow> {
        let table = self.table.load();
        let schema = table.schemas.iter().find(|schema| rules::matches(&schema.spec, user, info))?;
        let (level, level_uid) = table.levels.get(&schema.level)?;
        Some(Flow {
            schema: schema.clone(),
            level: level.clone(),
            level_uid: level_uid.clone(),
            distinguisher: rules::distinguisher(&schema.spec, user, info).to_owned(),
        })
    }

    /// What a request of the flow is taken to need; `stock` tells what there is of its resource.
    pub fn estimate(
        &self,
        flow: &Flow,
        info: &RequestInfo,
        query: &Query,
        stock: impl FnOnce() -> Option<Stock>,
    ) -> Estimate {
        let (level, schema, most) = (flow.level.name(), &flow.schema.name, flow.level.most_of_one());
        let estimate = match info.verb.as_str() {
            "list" | "watch" => estimate::list(info, query, stock(), most),
            "create" | "update" | "patch" | "delete" => {
                let watches = self.watches.interested(info);
                self.metrics.watched(level, schema, watches);
                estimate::write(info, watches, most)
            }
            _ => Estimate::ONE,
        };
        self.metrics.estimated(level, schema, estimate.width());
        estimate
    }

    /// Waits for the flow's turn. The request runs while the permit lives.
    ///
    /// # Errors
    /// Why it may not run.
    pub async fn admit(&self, flow: &Flow, estimate: Estimate) -> Result<Permit, Refusal> {
        let permit = flow.level.admit(&flow.schema.name, &flow.distinguisher, estimate, self.patience).await;
        if let Err(refusal) = &permit {
            self.metrics.rejected(flow.level.name(), &flow.schema.name, refusal.reason());
        }
        permit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, groups: &[&str]) -> User {
        User { name: name.into(), groups: groups.iter().map(|g| (*g).into()).collect(), ..User::default() }
    }

    fn level_of(control: &FlowControl, user: &User, info: &RequestInfo) -> (String, String) {
        let flow = control.classify(user, info).expect("catch-all");
        (flow.schema.name.clone(), flow.level.name().to_owned())
    }

    #[test]
    fn the_standard_schemas_sort_requests_as_documented() {
        let control = FlowControl::new(600, Duration::from_secs(60));
        let pods = RequestInfo {
            is_resource: true,
            verb: "list".into(),
            resource: "pods".into(),
            namespace: "default".into(),
            ..RequestInfo::default()
        };
        let lease = RequestInfo {
            verb: "update".into(),
            group: "coordination.k8s.io".into(),
            resource: "leases".into(),
            namespace: "kube-system".into(),
            ..pods.clone()
        };
        let health = RequestInfo { verb: "get".into(), path: "/healthz".into(), ..RequestInfo::default() };
        let check = |user: &User, info: &RequestInfo, schema: &str, level: &str| {
            assert_eq!(level_of(&control, user, info), (schema.to_owned(), level.to_owned()));
        };
        let everybody = "system:authenticated";
        check(&user("admin", &["system:masters"]), &pods, "exempt", "exempt");
        check(&user("system:node:a", &["system:nodes", everybody]), &pods, "system-nodes", "system");
        check(&user("system:node:a", &["system:nodes", everybody]), &lease, "system-node-high", "node-high");
        let scheduler = user("system:kube-scheduler", &[everybody]);
        check(&scheduler, &lease, "system-leader-election", "leader-election");
        check(&scheduler, &pods, "kube-scheduler", "workload-high");
        let groups = ["system:serviceaccounts", everybody];
        check(
            &user("system:serviceaccount:kube-system:x", &groups),
            &pods,
            "kube-system-service-accounts",
            "workload-high",
        );
        check(&user("system:serviceaccount:web:x", &groups), &pods, "service-accounts", "workload-low");
        check(&user("jane", &[everybody]), &pods, "global-default", "global-default");
        check(&user("system:anonymous", &["system:unauthenticated"]), &health, "probes", "exempt");
    }
}
