//! kube-controller-manager: the loops that move what is towards what is wanted.
//!
//! `table.rs` lists the controllers, `controllers/` has a folder for each, `cached/` what they keep
//! of the cluster. `client::controller` has the one loop that runs them.

mod adoption;
mod cached;
mod controllers;
mod fixed_flags;
mod flags;
mod identity;
mod presence;
mod revisions;
mod selector_text;
mod service_pods;
mod table;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use client::events::Recorder;
use client::informer::Caches;
use client::leader::{Elector, End, Settings};
use client::status_server::Access;
use client::{Client, Config};
use daemon::clock::{SharedClock, System};
use daemon::health::{Condition, Endpoints, Health};
use daemon::shutdown::Shutdown;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use flags::Flags;
use identity::Identities;
use presence::Presence;
use table::{Row, Start};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Upstream's port.
const SECURE_PORT: u16 = 10257;
/// How long controllers may take to end what is under way once they shall stop.
const FAREWELL: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let flags: Flags = daemon::flags::parse_beside(fixed_flags::TABLE);
    flags.logging.init();
    daemon::tls::install_default_provider();
    match run(flags).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "kube-controller-manager failed");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    flags.check()?;
    let rows = table::selected(&flags.controllers)?;
    tracing::info!(version = daemon::version::line(), "Starting");
    let (shutdown, clock) = (Shutdown::on_signals()?, System::shared());
    let mut config = match &flags.kubeconfig {
        Some(path) => Config::from_kubeconfig(path)?,
        None => Config::in_cluster().context("no --kubeconfig was given, and this is not a pod")?,
    };
    if let Some(master) = &flags.master {
        config.server.clone_from(master);
    }
    let config = config.with_limits(flags.kube_api_qps, flags.kube_api_burst);
    let root = Client::new(config.clone().with_agent("kube-controller-manager", None))?;
    root.watch_files(shutdown.clone());

    let health = Health::new();
    let leading = health.condition(Endpoints::HealthzReadyz, "leaderElection", "the lease was lost");
    leading.ok();
    let access = Access { serving: &flags.serving, default_port: SECURE_PORT, delegated: &flags.delegated };
    let serving = access.serve("kube-controller-manager", &root, health, &clock, &shutdown).await?;
    let work = Work { flags: Arc::new(flags), rows, root, config, clock, leading };
    let outcome = work.lead(&shutdown).await;
    shutdown.trigger();
    if let Some(serving) = serving {
        serving.await?;
    }
    outcome
}

struct Work {
    flags: Arc<Flags>,
    rows: Vec<&'static Row>,
    root: Client,
    config: Config,
    clock: SharedClock,
    leading: Condition,
}

impl Work {
    /// Runs the controllers, as long as this is the leader or there is no election.
    async fn lead(self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let flags = &self.flags;
        if !flags.leader_elect {
            return self.control(shutdown.child()).await;
        }
        let agent = self.config.clone().with_agent("kube-controller-manager", Some("leader-election"));
        let client = Client::new(agent)?;
        let identity = format!("{}_{}", hostname(), uuid::Uuid::new_v4());
        let settings = Settings {
            lease_duration: flags.leader_elect_lease_duration.0,
            renew_deadline: flags.leader_elect_renew_deadline.0,
            retry_period: flags.leader_elect_retry_period.0,
            ..Settings::new(
                &flags.leader_elect_resource_namespace,
                &flags.leader_elect_resource_name,
                identity.clone(),
            )
        };
        let (clock, leading) = (self.clock.clone(), self.leading.clone());
        let recorder = Recorder::new(client.clone(), &identity, "", clock.clone(), shutdown.clone());
        let mut elector = Elector::new(client, settings, recorder, clock);
        if !elector.acquire(shutdown).await {
            return Ok(());
        }
        let work = shutdown.child();
        let mut working = tokio::spawn(self.control(work.clone()));
        tokio::select! {
            end = elector.renew(shutdown) => {
                work.trigger();
                if end == End::Lost {
                    // Another may lead already: what is under way must not go on.
                    leading.failed("the lease was lost");
                    anyhow::bail!("leaderelection lost");
                }
                working.await??;
            }
            // They end by themselves only when one could not be started.
            ended = &mut working => ended??,
        }
        elector.release().await;
        Ok(())
    }

    /// Starts all controllers and waits until they have ended.
    async fn control(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let caches = Caches::new(self.root.clone(), shutdown.clone());
        let tasks = Arc::new(Mutex::new(JoinSet::new()));
        let presence = Presence::default();
        let identities = Identities {
            root: self.root.clone(),
            config: self.config.clone(),
            separate: self.flags.use_service_account_credentials,
            clock: self.clock.clone(),
            shutdown: shutdown.clone(),
        };
        for row in &self.rows {
            let Ok(client) = identities.client(row.account, row.allowance()).await else { break };
            let recorder =
                Recorder::new(client.clone(), row.component(), "", self.clock.clone(), shutdown.clone());
            let start = Start {
                flags: self.flags.clone(),
                client,
                caches: caches.clone(),
                presence: presence.clone(),
                recorder,
                clock: self.clock.clone(),
                shutdown: shutdown.clone(),
                tasks: tasks.clone(),
            };
            let started = (row.start)(&start).with_context(|| format!("cannot start {}", row.name))?;
            let message = if started { "Started controller" } else { "The flags leave this controller off" };
            tracing::info!(controller = row.name, message);
        }
        shutdown.wait().await;
        let mut tasks = std::mem::take(&mut *tasks.lock());
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            tracing::warn!("Some controllers did not end in time");
        }
        Ok(())
    }
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
