//! The life of a local cluster: the commands of `kubeforge cluster`, each as its steps.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use nix::sys::signal::Signal;

use crate::host::processes::Identity;
use crate::host::{facts, kernel, namespace, network, packages, ports};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::settings::{Overrides, Settings};
use crate::supervisor::{self, Status};
use crate::{addons, config, daemons, image, pki, readiness, teardown, workers};

/// Unix sockets have paths of at most 107 bytes; the longest of ours is `run/containerd.sock.ttrpc`.
const LONGEST_DIR: usize = 80;
/// Tells a command that `cluster run` runs the folder of the cluster.
const OF_RUN: &str = "FERROKUBE_CLUSTER_DIR";

/// A cluster that exists: its folder and what it was made with.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub layout: Layout,
    pub settings: Settings,
}

impl Cluster {
    /// The cluster in `dir`.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let nothing =
            || format!("there is no cluster in {} (`kubeforge cluster up` makes one)", dir.display());
        let layout = Layout::new(dir.canonicalize().with_context(nothing)?);
        let settings = Settings::load(&layout.settings())?.with_context(nothing)?;
        Ok(Self { layout, settings })
    }

    /// The folder that holds the authorities and the administrator's kubeconfig.
    pub fn control_plane(&self) -> Layout {
        match &self.settings.joined {
            Some(joined) => Layout::new(joined.cluster.clone()),
            None => self.layout.clone(),
        }
    }

    /// The daemons that run here.
    fn daemons(&self) -> Vec<&'static str> {
        daemons::table(&self.layout, &self.settings).iter().map(|daemon| daemon.name).collect()
    }

    /// The folders of all nodes, this one first.
    pub fn nodes(&self) -> anyhow::Result<Vec<Layout>> {
        let workers = workers::opened(self)?.into_iter().map(|worker| worker.layout);
        Ok(std::iter::once(self.layout.clone()).chain(workers).collect())
    }

    /// Goes on in the cluster's network namespace, if it has one and it still exists.
    pub fn enter_namespace(&self) -> anyhow::Result<()> {
        match &self.settings.netns {
            Some(name) if namespace::exists(name) && !namespace::inside(name) => namespace::enter(name),
            _ => Ok(()),
        }
    }
}

/// Starts a cluster, or one of its workers, making what is missing.
pub async fn up(dir: &Path, overrides: &Overrides) -> anyhow::Result<()> {
    let progress = Progress::start();
    facts::require_root()?;
    packages::ensure_installed(&progress, !overrides.no_install)?;
    let mut cluster = prepare(dir, overrides)?;
    let is_worker = cluster.settings.joined.is_some();
    workers::enter(&cluster)?;
    if let Some(name) = cluster.settings.netns.as_deref().filter(|name| !namespace::inside(name)) {
        namespace::ensure(name, &cluster.settings.id)?;
    }
    cluster.enter_namespace()?;

    let supervisor = supervisor::running(&cluster.layout);
    if supervisor.is_none() {
        supervisor::end_orphans(&cluster.layout);
        check_ports(&cluster)?;
        if network::has_proxy_tables() {
            progress.say(
                "note: a kube-proxy's rules are in place already; if its cluster runs, Services will collide",
            );
        }
    }
    check_binaries(&cluster)?;
    prepare_host(&cluster, &progress)?;
    let made = pki::ensure(&cluster.layout, &cluster.settings, Timestamp::now())?;
    if !made.is_empty() {
        progress.say(format_args!(
            "made {} certificates and keys in {}",
            made.len(),
            cluster.layout.path("pki").display()
        ));
    }
    config::write(&cluster.layout, &cluster.settings)?;
    match supervisor {
        Some(supervisor) => {
            progress.say("this is running; restarting what has changed");
            supervisor.signal(Signal::SIGHUP);
        }
        None => {
            progress.say(format_args!("starting {}", cluster.daemons().join(", ")));
            start_supervisor(&cluster).await?;
        }
    }
    wait_for_containerd(&cluster, &progress).await?;
    if image::ensure_pause(&cluster.layout)? {
        progress.say(format_args!("loaded the pause image {}", image::PAUSE_IMAGE));
    }
    if is_worker {
        workers::give_network(&mut cluster, &progress, overrides).await?;
        return readiness::wait(&cluster, &progress, Duration::from_secs(overrides.timeout)).await;
    }
    readiness::wait(&cluster, &progress, Duration::from_secs(overrides.timeout)).await?;
    readiness::label_node(&cluster).await?;
    addons::ensure(&cluster, &progress, Duration::from_secs(overrides.timeout)).await?;
    workers::ensure(&cluster, &progress, overrides).await?;
    say_what_next(&cluster, &progress);
    Ok(())
}

/// Writes what the daemons read and sets the node's rules, as the settings have it.
pub fn configure(cluster: &Cluster) -> anyhow::Result<()> {
    config::write(&cluster.layout, &cluster.settings)?;
    network::ensure_rules(&cluster.settings)
}

/// The folder and the settings, checked and saved.
fn prepare(dir: &Path, overrides: &Overrides) -> anyhow::Result<Cluster> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    ensure!(
        dir.as_os_str().len() <= LONGEST_DIR,
        "{}: sockets below it would have too long a path; choose another --dir of at most {LONGEST_DIR} characters",
        dir.display()
    );
    let layout = Layout::new(dir);
    let mut overrides = overrides.clone();
    if let Some(bin_dir) = &mut overrides.bin_dir {
        *bin_dir = bin_dir.canonicalize().with_context(|| format!("--bin-dir={}", bin_dir.display()))?;
    }
    let host = facts::facts()?;
    let settings = match Settings::load(&layout.settings())? {
        Some(saved) => saved.overridden(&overrides, &host)?,
        None => Settings::new(layout.dir(), &overrides, &host)?,
    };
    for folder in layout.folders() {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    settings.save(&layout.settings())?;
    Ok(Cluster { layout, settings })
}

fn check_ports(cluster: &Cluster) -> anyhow::Result<()> {
    let wanted = cluster.settings.ports.all();
    let holders = ports::taken(&wanted.map(|(port, _)| port));
    if holders.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = holders
        .iter()
        .map(|holder| {
            let daemon =
                wanted.iter().find(|(port, _)| *port == holder.port).map_or("", |(_, daemon)| daemon);
            format!("  {holder}; {daemon} needs it")
        })
        .collect();
    bail!("ports are taken:\n{}\nStop these, or choose other ports with --port-base", lines.join("\n"))
}

fn check_binaries(cluster: &Cluster) -> anyhow::Result<()> {
    let missing: Vec<PathBuf> = daemons::table(&cluster.layout, &cluster.settings)
        .into_iter()
        .map(|daemon| daemon.program)
        .chain([cluster.settings.bin_dir.join("cluster-dns")])
        .filter(|program| match program.is_absolute() {
            true => !program.is_file(),
            false => program.to_str().and_then(packages::program).is_none(),
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.iter().map(|p| p.display().to_string()).collect();
    bail!("missing programs: {} (build them with `make build`)", names.join(", "))
}

fn prepare_host(cluster: &Cluster, progress: &Progress) -> anyhow::Result<()> {
    if kernel::ensure_shared_root()? {
        progress.say("made / a shared mount");
    }
    for sysctl in kernel::ensure_sysctls()? {
        progress.say(format_args!("set the kernel setting {sysctl}"));
    }
    kernel::ensure_cgroups(&cluster.settings.cgroup_root())?;
    network::ensure_rules(&cluster.settings)
}

async fn start_supervisor(cluster: &Cluster) -> anyhow::Result<()> {
    let layout = &cluster.layout;
    // What an earlier supervisor wrote says nothing about this one.
    let _ = std::fs::remove_file(layout.status());
    let log = std::fs::OpenOptions::new().create(true).append(true).open(layout.log("supervisor"))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["cluster", "supervise", "--dir"])
        .arg(layout.dir())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the supervisor")?;
    while supervisor::running(layout).is_none() {
        if let Some(exit) = child.try_wait()? {
            bail!("the supervisor ended ({exit}):\n{}", log_end(cluster, "supervisor", 5));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn wait_for_containerd(cluster: &Cluster, progress: &Progress) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let deadline = progress.elapsed() + PATIENCE;
    while tokio::net::UnixStream::connect(cluster.layout.containerd_socket()).await.is_err() {
        if progress.elapsed() > deadline {
            bail!(
                "containerd does not answer. The last lines of {}:\n{}",
                cluster.layout.log("containerd").display(),
                log_end(cluster, "containerd", 15)
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn say_what_next(cluster: &Cluster, progress: &Progress) {
    let dir = cluster.layout.dir().display();
    let own = std::env::current_exe().unwrap_or_else(|_| "kubeforge".into());
    println!(
        "
The cluster is up after {:.1} s. Next:

  export KUBECONFIG={}
  kubectl get nodes

  {} image busybox --dir {dir}     # an image to try things with
  kubectl create deployment web --image=busybox:1.35 -- httpd -f -p 8080

Logs are in {dir}/logs; `make cluster-down` stops everything and keeps the data.",
        progress.elapsed().as_secs_f64(),
        cluster.layout.kubeconfig("admin").display(),
        own.display(),
    );
}

/// Stops everything that belongs to the cluster and keeps its data.
pub async fn down(cluster: &Cluster) -> anyhow::Result<()> {
    let progress = Progress::start();
    facts::require_root()?;
    cluster.enter_namespace()?;
    workers::each(cluster, "down")?;
    stop(cluster, &progress)
}

fn stop(cluster: &Cluster, progress: &Progress) -> anyhow::Result<()> {
    if let Some(supervisor) = supervisor::running(&cluster.layout) {
        progress.say("stopping the daemons");
        supervisor.signal(Signal::SIGTERM);
        while supervisor.alive() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    supervisor::end_orphans(&cluster.layout);
    let ended = teardown::end_containers(cluster);
    if ended > 0 {
        progress.say(format_args!("ended {ended} processes in containers"));
    }
    let mut left = teardown::clean_host(cluster);
    // What `cluster run` runs lives in the namespace, and may start the cluster again.
    let lived_in = std::env::var_os(OF_RUN).is_some_and(|dir| *dir == *cluster.layout.dir().as_os_str());
    if let Some(name) = cluster.settings.netns.as_ref().filter(|_| !lived_in) {
        left.extend(namespace::remove(name).err().map(|e| format!("network namespace {name}: {e:#}")));
    }
    ensure!(
        left.is_empty(),
        "everything has stopped, but these could not be removed:\n  {}",
        left.join("\n  ")
    );
    progress.say(format_args!("everything has stopped; the data is in {}", cluster.layout.dir().display()));
    Ok(())
}

/// Stops everything and deletes the folder.
pub async fn purge(cluster: &Cluster) -> anyhow::Result<()> {
    let progress = Progress::start();
    facts::require_root()?;
    cluster.enter_namespace()?;
    workers::each(cluster, "purge")?;
    stop(cluster, &progress)?;
    teardown::forget_containers(cluster);
    let dir = cluster.layout.dir();
    std::fs::remove_dir_all(dir).with_context(|| format!("cannot delete {}", dir.display()))?;
    progress.say(format_args!("deleted {}", dir.display()));
    Ok(())
}

/// Prints what runs, on all nodes. An error when something does not, so that scripts can ask.
pub fn status(cluster: &Cluster) -> anyhow::Result<()> {
    let mut stopped = print_status(cluster);
    for worker in workers::opened(cluster)? {
        println!("\n{}", worker.settings.node_name);
        let names = print_status(&worker).into_iter();
        stopped.extend(names.map(|name| format!("{name} of {}", worker.settings.node_name)));
    }
    ensure!(supervisor::running(&cluster.layout).is_some(), "the cluster is down");
    ensure!(stopped.is_empty(), "not running: {}", stopped.join(", "));
    Ok(())
}

/// Prints what runs on one node; gives what does not.
fn print_status(cluster: &Cluster) -> Vec<String> {
    println!("{:<26}{:<10}{:<10}{:<24}LAST EXIT", "DAEMON", "PID", "RESTARTS", "SINCE");
    let board = Status::read(&cluster.layout);
    let mut stopped = Vec::new();
    for name in cluster.daemons() {
        let status = board.daemon(name);
        let process = status.and_then(|s| s.process).filter(|p| p.alive());
        let (restarts, since) =
            status.map_or((0, String::new()), |s| (s.restarts, format!("{:.0}", s.since)));
        let pid = process.map_or("-".to_owned(), |p| p.pid.to_string());
        let exit = status.and_then(|s| s.last_exit.as_deref()).unwrap_or_default();
        println!("{name:<26}{pid:<10}{restarts:<10}{since:<24}{exit}");
        if process.is_none() {
            stopped.push(name.to_owned());
        }
    }
    stopped
}

/// Prints a daemon's log.
pub fn logs(cluster: &Cluster, name: &str, tail: Option<usize>) -> anyhow::Result<()> {
    known(cluster, name, "supervisor")?;
    let file = cluster.layout.log(name);
    match tail {
        Some(lines) => println!("{}", log_end(cluster, name, lines)),
        None => {
            let mut log =
                std::fs::File::open(&file).with_context(|| format!("cannot read {}", file.display()))?;
            std::io::copy(&mut log, &mut std::io::stdout())?;
        }
    }
    Ok(())
}

/// kill -9, for tests of what survives it. What was killed so is started again at once, however often.
pub fn kill(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    known(cluster, name, "all")?;
    let board = Status::read(&cluster.layout);
    let victims: Vec<(&str, Identity)> = board
        .daemons
        .iter()
        .filter(|d| name == "all" || d.name == name)
        .filter_map(|d| Some((d.name.as_str(), d.process?)))
        .filter(|(_, process)| process.alive())
        .collect();
    ensure!(!victims.is_empty(), "{name} is not running");
    for (name, victim) in victims {
        let mark = cluster.layout.asked_to_end(name);
        std::fs::write(&mark, "").with_context(|| format!("cannot write {}", mark.display()))?;
        victim.signal(Signal::SIGKILL);
    }
    Ok(())
}

/// Becomes `command`, in the cluster's network namespace. Besides KUBECONFIG it learns the folder
/// and us, for tests. Returns only when it cannot be run.
pub fn run(cluster: &Cluster, command: &[OsString]) -> anyhow::Result<()> {
    cluster.enter_namespace()?;
    let (program, args) = command.split_first().context("no command")?;
    let error = Command::new(program)
        .args(args)
        .env("KUBECONFIG", cluster.control_plane().kubeconfig("admin"))
        .env(OF_RUN, cluster.layout.dir())
        .env("FERROKUBE_KUBEFORGE", std::env::current_exe()?)
        .exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

fn known(cluster: &Cluster, name: &str, more: &'static str) -> anyhow::Result<()> {
    let all: Vec<&str> = cluster.daemons().into_iter().chain([more]).collect();
    ensure!(all.contains(&name), "there is no {name:?}; known: {}", all.join(", "));
    Ok(())
}

/// The last lines of a daemon's log.
pub fn log_end(cluster: &Cluster, daemon: &str, lines: usize) -> String {
    let bytes = std::fs::read(cluster.layout.log(daemon)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..]
        .iter()
        .map(|l| format!("  {l}\n"))
        .collect::<String>()
        .trim_end()
        .to_owned()
}
