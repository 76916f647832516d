//! The steps of a start and the loops behind the server, as health checks under upstream's names.
//!
//! Upstream's server is put together of hooks that run once it listens, and names a check after each.
//! Monitors and upstream's own tests look for those names. Here a name is bound to the work that it
//! names there: a step that has to be done once (`Step::ok`), a loop that has to go on (`Step::runs`
//! fails once it has ended unasked), or both. Steps that are one here share their state.

use std::sync::Arc;
use std::time::Duration;

use daemon::health::{Condition, Endpoints, Health};
use daemon::log_sink::LogSink;
use daemon::shutdown::Shutdown;
use futures::future::select_all;
use tokio::task::JoinHandle;

use crate::storage::Kv;

/// How long a health check waits for the store.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// Work under one or more names.
#[derive(Clone)]
pub struct Step {
    checks: Vec<Condition>,
    /// When this is triggered, loops end as they should.
    stopping: Shutdown,
}

impl Step {
    /// It is done, or goes on.
    pub fn ok(&self) {
        self.checks.iter().for_each(Condition::ok);
    }

    fn failed(&self, reason: &str) {
        self.checks.iter().for_each(|check| check.failed(reason));
    }

    /// Watches over loops: when one of them ends before the server stops, what they do is not done any more.
    pub fn watch(&self, loops: Vec<JoinHandle<()>>) {
        if loops.is_empty() {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let (ended, ..) = select_all(loops).await;
            if this.stopping.is_triggered() {
                return;
            }
            let reason = match ended {
                Ok(()) => "has ended".to_owned(),
                Err(error) => format!("has ended: {error}"),
            };
            tracing::error!(reason, "A loop that the server needs is gone");
            this.failed(&reason);
        });
    }

    /// As `watch`, for loops that do their work from the first moment on.
    pub fn runs(&self, loops: Vec<JoinHandle<()>>) {
        self.ok();
        self.watch(loops);
    }
}

/// All steps, in the order in which upstream lists them.
pub struct Steps {
    /// The followers of the store, from which everything else here reads: upstream's informers.
    pub informers: Step,
    /// The caches are filled, the views that access is decided by too, custom kinds served.
    pub synced: Step,
    /// What admission decides by is there.
    pub admission: Step,
    /// Flow control goes by the objects; `None` without flow control.
    pub flow_control: Option<Step>,
    pub definitions: Definitions,
    pub namespaces: Step,
    pub authentication_info: Step,
    pub token_tracking: Step,
    pub ip_repair: Step,
    pub roles: Step,
    pub priority_classes: Step,
    pub flow_control_objects: Step,
    /// The `kubernetes` Service and what leads to this server.
    pub kubernetes_service: Step,
    pub service_ranges: Step,
    pub aggregator: Aggregator,
    pub shutdown: Condition,
}

/// Custom kinds.
pub struct Definitions {
    /// The definitions have been read, and all that are established are served.
    pub synced: Step,
    /// They are followed.
    pub followed: Step,
}

/// Groups that others answer for, and the objects that stand for all groups.
#[derive(Clone)]
pub struct Aggregator {
    /// The loop that looks after them goes on.
    pub runs: Step,
    /// APIServices and what leads to their servers have been read.
    pub informed: Step,
    /// The server's own groups have their APIServices, which are available from the start.
    pub registered: Step,
    /// Each remote server has been asked: requests reach it, its discovery and schemas are shown, its status is written.
    pub looked: Step,
}

impl Steps {
    /// Nothing is done yet. `stopping` is the signal to the process.
    pub fn new(health: &Health, kv: &Arc<Kv>, flow_control: bool, stopping: &Shutdown) -> Self {
        let sink = LogSink::stderr();
        health.add(Endpoints::All, "log", move || {
            let sink = sink.clone();
            async move { sink.check().await }
        });
        store_checks(health, kv);
        let on = |endpoints, names: &[&str]| Step {
            checks: names.iter().map(|name| health.condition(endpoints, name, "not finished")).collect(),
            stopping: stopping.clone(),
        };
        let hook = |name: &str| on(Endpoints::All, &[&format!("poststarthook/{name}")]);
        let both = |one: Step, other: Step| Step { checks: [one.checks, other.checks].concat(), ..one };

        let informer_sync = on(Endpoints::Readyz, &["informer-sync"]);
        let admission = hook("start-apiserver-admission-initializer");
        let informers = hook("generic-apiserver-start-informers");
        let flow_control = flow_control.then(|| {
            // Requests are sorted from the moment on that the objects are known.
            both(hook("priority-and-fairness-config-consumer"), hook("priority-and-fairness-filter"))
        });
        // How many objects there are is read off the caches, which their followers keep.
        let counts = hook("storage-object-count-tracker-hook");
        let informers = both(informers, counts);
        let informers = both(informers, hook("start-apiextensions-informers"));
        let followed = hook("start-apiextensions-controllers");
        let definitions = Definitions { followed, synced: hook("crd-informer-synced") };
        let kubernetes_service = hook("bootstrap-controller");
        let namespaces = hook("start-system-namespaces-controller");
        let authentication_info = hook("start-cluster-authentication-info-controller");
        let synced = both(informer_sync, hook("storage-readiness"));
        let token_tracking = hook("start-legacy-token-tracking-controller");
        let service_ranges = hook("start-kubernetes-service-cidr-controller");
        let ip_repair = hook("start-service-ip-repair-controllers");
        let roles = hook("rbac/bootstrap-roles");
        let priority_classes = hook("scheduling/bootstrap-system-priority-classes");
        let flow_control_objects = hook("priority-and-fairness-config-producer");

        let informed = hook("start-kube-aggregator-informers");
        let looked = hook("apiservice-registration-controller");
        let local = hook("apiservice-status-local-available-controller");
        let looked = both(looked, hook("apiservice-status-remote-available-controller"));
        let looked = both(looked, hook("apiservice-discovery-controller"));
        let runs = hook("kube-apiserver-autoregistration");
        let registered = both(local, on(Endpoints::All, &["autoregister-completion"]));
        let looked = both(looked, hook("apiservice-openapi-controller"));
        let looked = both(looked, hook("apiservice-openapiv3-controller"));
        let aggregator = Aggregator { runs, informed, registered, looked };

        let shutdown = health.condition(Endpoints::Readyz, "shutdown", "");
        shutdown.ok();
        Self {
            informers,
            synced,
            admission,
            flow_control,
            definitions,
            namespaces,
            authentication_info,
            token_tracking,
            ip_repair,
            roles,
            priority_classes,
            flow_control_objects,
            kubernetes_service,
            service_ranges,
            aggregator,
            shutdown,
        }
    }
}

fn store_checks(health: &Health, kv: &Arc<Kv>) {
    for (on, name) in [(Endpoints::All, "etcd"), (Endpoints::Readyz, "etcd-readiness")] {
        let kv = kv.clone();
        health.add(on, name, move || {
            let kv = kv.clone();
            async move {
                match tokio::time::timeout(STORE_PATIENCE, kv.revision()).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("the store did not answer in time".to_owned()),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::kv::KvOptions;

    fn nowhere() -> Arc<Kv> {
        let options = KvOptions {
            servers: vec!["http://127.0.0.1:1".into()],
            ca: None,
            cert: None,
            key: None,
            prefix: "/registry".into(),
        };
        Arc::new(Kv::connect(&options).expect("a client connects lazily"))
    }

    async fn code(health: &Health, path: &str) -> u16 {
        health.answer(path, None).await.expect("a health path").status.as_u16()
    }

    #[tokio::test]
    async fn nothing_is_done_before_it_is() {
        let (health, stopping) = (Health::new(), Shutdown::new());
        let steps = Steps::new(&health, &nowhere(), true, &stopping);
        let answer = health.answer("/readyz", Some("verbose")).await.expect("a health path");
        let well: Vec<&str> = answer.body.lines().filter(|line| line.starts_with("[+]")).collect();
        assert_eq!(well, ["[+]ping ok", "[+]log ok", "[+]shutdown ok"]);
        steps.aggregator.registered.ok();
        for name in ["poststarthook/apiservice-status-local-available-controller", "autoregister-completion"]
        {
            assert_eq!(code(&health, &format!("/livez/{name}")).await, 200, "{name}");
        }
        assert_eq!(code(&health, "/livez/poststarthook/rbac/bootstrap-roles").await, 500);
    }

    #[tokio::test]
    async fn without_flow_control_nobody_asks_for_it() {
        let (health, stopping) = (Health::new(), Shutdown::new());
        let steps = Steps::new(&health, &nowhere(), false, &stopping);
        assert!(steps.flow_control.is_none());
        assert_eq!(health.answer("/livez/poststarthook/priority-and-fairness-filter", None).await, None);
    }

    #[tokio::test]
    async fn a_loop_that_ends_is_told_unless_the_server_stops() {
        let (health, stopping) = (Health::new(), Shutdown::new());
        let steps = Steps::new(&health, &nowhere(), false, &stopping);
        let path = "/livez/poststarthook/kube-apiserver-autoregistration";
        let (end, ends) = tokio::sync::oneshot::channel::<()>();
        let goes_on = tokio::spawn(std::future::pending());
        let ending = tokio::spawn(async {
            let _ = ends.await;
        });
        steps.aggregator.runs.runs(vec![goes_on, ending]);
        assert_eq!(code(&health, path).await, 200);
        let _ = end.send(());
        while code(&health, path).await == 200 {
            tokio::task::yield_now().await;
        }

        let path = "/livez/poststarthook/bootstrap-controller";
        stopping.trigger();
        steps.kubernetes_service.runs(vec![tokio::spawn(async {})]);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(code(&health, path).await, 200);
    }
}
