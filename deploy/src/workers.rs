//! Worker nodes beside the first: each a folder in the cluster's, laid out like it, with a runtime, a
//! kubelet and a kube-proxy of its own and its own supervisor, in a network namespace of its own.
//!
//! The way into a worker's namespace begins in the cluster's, which routes between the nodes. A worker
//! has no pod network until the controller manager has given it a part of the pod addresses; then its
//! configuration is written and the first node learns the way there. Commands on all workers are this
//! program again, once for each folder: what a person may do to one worker, too.

use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::cluster::{self, Cluster};
use crate::host::{namespace, network};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::settings::{Overrides, Settings};
use crate::{image, probe, readiness, supervisor};

/// Starts the workers that the settings ask for, and takes away what there is beyond them.
pub async fn ensure(cluster: &Cluster, progress: &Progress, overrides: &Overrides) -> anyhow::Result<()> {
    for worker in existing(cluster)?.iter().filter(|w| w.number > cluster.settings.workers) {
        progress.say(format_args!("taking away worker {}", worker.number));
        let name = worker.name(cluster);
        run(&["purge"], &worker.layout)?;
        forget(cluster, &name).await?;
    }
    for number in 1..=cluster.settings.workers {
        let layout = cluster.layout.worker(number);
        std::fs::create_dir_all(layout.dir())
            .with_context(|| format!("cannot make {}", layout.dir().display()))?;
        let saved = Settings::load(&layout.settings())?;
        let settings = cluster.settings.worker(cluster.layout.dir(), layout.dir(), number, saved.as_ref())?;
        settings.save(&layout.settings())?;
        progress.say(format_args!("starting worker {number}, node {}", settings.node_name));
        let timeout = overrides.timeout.to_string();
        let no_install = overrides.no_install.then_some("--no-install");
        let args: Vec<&str> = ["up", "--timeout", &timeout].into_iter().chain(no_install).collect();
        run(&args, &layout)?;
        let settings = Settings::load(&layout.settings())?.context("the worker has saved its settings")?;
        network::route_to_pods(&settings)?;
        load_images(&cluster.layout, &layout)?;
    }
    Ok(())
}

/// Gives a worker the images that were made for the cluster: its addons run on any node.
fn load_images(cluster: &Layout, worker: &Layout) -> anyhow::Result<()> {
    let folder = cluster.path("images");
    for file in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let file = file?.path();
        if file.extension().is_some_and(|e| e == "tar") {
            image::load_file(worker, &file)?;
        }
    }
    Ok(())
}

/// Goes on in the worker's network namespace, made when missing. Does nothing when this is no worker.
pub fn enter(cluster: &Cluster) -> anyhow::Result<()> {
    let settings = &cluster.settings;
    let (Some(joined), Some(name)) = (&settings.joined, &settings.netns) else { return Ok(()) };
    if namespace::inside(name) {
        return Ok(());
    }
    let whole = Cluster::open(&joined.cluster)?;
    if supervisor::running(&whole.layout).is_none() {
        bail!("the cluster is down; `kubeforge cluster up --dir {}` starts it", joined.cluster.display());
    }
    whole.enter_namespace()?;
    namespace::ensure(name, &settings.id)?;
    network::route_to_pods(settings)?;
    namespace::enter(name)
}

/// Stops all workers (`down`), or deletes them (`purge`).
pub fn each(cluster: &Cluster, command: &str) -> anyhow::Result<()> {
    for worker in existing(cluster)?.iter().rev() {
        run(&[command], &worker.layout)?;
    }
    Ok(())
}

/// The workers that there are, as clusters of their own folders.
pub fn opened(cluster: &Cluster) -> anyhow::Result<Vec<Cluster>> {
    existing(cluster)?.iter().map(|worker| Cluster::open(worker.layout.dir())).collect()
}

/// A worker's folder.
struct Worker {
    number: u8,
    layout: Layout,
}

impl Worker {
    fn name(&self, cluster: &Cluster) -> String {
        let saved = Settings::load(&self.layout.settings()).ok().flatten();
        saved.map_or_else(|| cluster.settings.worker_name(self.number), |s| s.node_name)
    }
}

/// The folders that hold a worker, by number.
fn existing(cluster: &Cluster) -> anyhow::Result<Vec<Worker>> {
    if cluster.settings.joined.is_some() {
        return Ok(Vec::new());
    }
    let workers = (1..=u8::MAX).map(|number| Worker { number, layout: cluster.layout.worker(number) });
    Ok(workers.filter(|w| w.layout.settings().exists()).collect())
}

/// This program, on a worker's folder.
fn run(command: &[&str], layout: &Layout) -> anyhow::Result<()> {
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["cluster", command[0], "--dir"]).arg(layout.dir()).args(&command[1..]);
    let exit = child.status().context("cannot run kubeforge again")?;
    ensure!(exit.success(), "worker {}: {} failed ({exit})", layout.dir().display(), command[0]);
    Ok(())
}

/// Deletes the Node object of a worker that is no more.
async fn forget(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let tls = readiness::admin(cluster)?;
    let path = format!("/api/v1/nodes/{name}");
    let (status, body) = probe::delete(readiness::apiserver(cluster), Some(&tls), &path).await?;
    ensure!(
        matches!(status, 200 | 404),
        "cannot delete node {name}: HTTP {status} {}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}

/// Learns the worker's part of the pod addresses and writes what depends on it.
pub async fn give_network(
    cluster: &mut Cluster,
    progress: &Progress,
    overrides: &Overrides,
) -> anyhow::Result<()> {
    let patience = std::time::Duration::from_secs(overrides.timeout);
    let pods = readiness::pod_cidr(cluster, progress, patience).await?;
    let Some(joined) = &mut cluster.settings.joined else { return Ok(()) };
    if joined.pod_cidr.replace(pods) == Some(pods) {
        return Ok(());
    }
    progress.say(format_args!("node {} has the pod addresses {pods}", cluster.settings.node_name));
    cluster.settings.save(&cluster.layout.settings())?;
    cluster::configure(cluster)
}
