//! kube-scheduler: gives each pod a node.
//!
//! `framework.rs` has the extension points, `plugins/` what extends them, `profile.rs` which of them
//! are in force, `extender/` the programs that are asked beside them. `queue/` holds the pods that wait, `cache/` the nodes and what runs there,
//! `storage/` the volumes and `devices.rs` the devices that pods may get;
//! `cycle.rs` and `preemption.rs` decide (all of these are pure), `scheduler.rs` acts.
//! `watch.rs` and `kube_api.rs` are the ends towards the apiserver.

mod api;
mod cache;
mod config;
mod cycle;
mod devices;
mod extender;
mod fixed_flags;
mod flags;
mod framework;
mod kube_api;
mod metrics;
mod node;
mod plugins;
mod pod;
mod pod_affinity;
mod preemption;
mod profile;
mod queue;
mod resources;
mod scheduler;
mod spread;
mod storage;
#[cfg(test)]
mod testing;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use client::events::series::Sink;
use client::events::{Recorder, SeriesRecorder};
use client::informer::Caches;
use client::leader::{Elector, End, Settings};
use client::status_server::Access;
use client::{Client, Config};
use daemon::clock::{SharedClock, System};
use daemon::health::{Endpoints, Health};
use daemon::shutdown::Shutdown;

use config::SchedulerConfig;
use flags::Flags;
use scheduler::Scheduler;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Upstream's port.
const SECURE_PORT: u16 = 10259;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let flags: Flags = daemon::flags::parse_beside(fixed_flags::TABLE);
    flags.logging.init();
    daemon::tls::install_default_provider();
    match run(flags).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "kube-scheduler failed");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    let config = flags.config()?;
    tracing::info!(version = daemon::version::line(), "Starting Kubernetes Scheduler");
    let (shutdown, clock) = (Shutdown::on_signals()?, System::shared());
    let client = client(&flags, &config)?;
    client.watch_files(shutdown.clone());

    let caches = Caches::new(client.clone(), shutdown.clone());
    let mut profiles = config.profiles()?;
    let extenders = config.extenders(&client, &caches)?;
    profiles.iter_mut().for_each(|profile| profile.extenders.clone_from(&extenders));
    let (sink, host) = (Sink::new(client.clone(), clock.clone(), shutdown.clone()), hostname());
    let recorder = |name: &str| SeriesRecorder::new(&sink, name, &host);
    let recorders = profiles.iter().map(|p| (p.name.clone(), recorder(&p.name))).collect();
    let api = Arc::new(kube_api::KubeApi::new(client.clone(), recorders));
    let backoff = queue::Backoff {
        initial: Duration::from_secs(config.pod_initial_backoff_seconds.unsigned_abs()),
        max: Duration::from_secs(config.pod_max_backoff_seconds.unsigned_abs()),
    };
    let profiles = profiles.into_iter().map(|p| (p.name.clone(), Arc::new(p))).collect();
    let percentage = config.percentage_of_nodes_to_score;
    let scheduler = Scheduler::new(profiles, api, clock.clone(), backoff, percentage);

    let health = Health::new();
    let synced =
        health.condition(Endpoints::Readyz, "sched-handler-sync", "handlers are not fully synchronized");
    let informers = health.condition(Endpoints::Readyz, "informer-sync", "informers are not synchronized");
    let access = Access { serving: &flags.serving, default_port: SECURE_PORT, delegated: &flags.delegated };
    let serving = access.serve("kube-scheduler", &client, health, &clock, &shutdown).await?;

    if shutdown.unless(watch::follow(&caches, &scheduler)).await.is_some() {
        informers.ok();
        synced.ok();
        // COMPAT: who leads is told in an event of the core group.
        let recorder =
            Recorder::new(client.clone(), "default-scheduler", "", clock.clone(), shutdown.clone());
        lead(&config, client, scheduler, clock, &shutdown, recorder).await?;
    }
    shutdown.trigger();
    if let Some(serving) = serving {
        serving.await?;
    }
    Ok(())
}

/// Schedules, as long as this is the leader or there is no election.
async fn lead(
    config: &SchedulerConfig,
    client: Client,
    scheduler: Arc<Scheduler>,
    clock: SharedClock,
    shutdown: &Shutdown,
    recorder: Recorder,
) -> anyhow::Result<()> {
    let election = &config.leader_election;
    if !election.leader_elect {
        scheduler.run(shutdown.clone()).await;
        return Ok(());
    }
    let identity = format!("{}_{}", hostname(), identity_suffix());
    let settings = Settings {
        lease_duration: election.lease_duration.0,
        renew_deadline: election.renew_deadline.0,
        retry_period: election.retry_period.0,
        ..Settings::new(&election.resource_namespace, &election.resource_name, identity)
    };
    let mut elector = Elector::new(client, settings, recorder, clock);
    if !elector.acquire(shutdown).await {
        return Ok(());
    }
    let work = shutdown.child();
    let working = tokio::spawn(scheduler.run(work.clone()));
    let end = elector.renew(shutdown).await;
    work.trigger();
    working.await?;
    elector.release().await;
    match end {
        End::Shutdown => Ok(()),
        End::Lost => anyhow::bail!("leaderelection lost"),
    }
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Something that no other candidate has.
fn identity_suffix() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

fn client(flags: &Flags, config: &SchedulerConfig) -> anyhow::Result<Client> {
    let connection = &config.client_connection;
    for (name, value) in
        [("contentType", &connection.content_type), ("acceptContentTypes", &connection.accept_content_types)]
    {
        anyhow::ensure!(
            matches!(value.as_str(), "" | "application/json" | "application/vnd.kubernetes.protobuf"),
            "clientConnection.{name}: {value:?} is not supported by this scheduler"
        );
    }
    let mut own = match connection.kubeconfig.as_str() {
        "" => Config::in_cluster().context("no --kubeconfig was given, and this is not a pod")?,
        path => Config::from_kubeconfig(Path::new(path))?,
    };
    if let Some(master) = &flags.master {
        own.server.clone_from(master);
    }
    let burst = u32::try_from(connection.burst).unwrap_or(0);
    Ok(Client::new(own.with_agent("kube-scheduler", None).with_limits(connection.qps.into(), burst))?)
}
