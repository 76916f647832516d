//! Puts the kubelet together and runs it until a signal. Pods go on running when it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use client::Client;
use daemon::clock::System;
use daemon::shutdown::Shutdown;
use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::{Semaphore, mpsc};

use crate::cgroup::tree::Tree;
use crate::config::KubeletConfiguration;
use crate::cri::changes::{self, Change, Pulse};
use crate::cri::{Runtime, v1};
use crate::csi::{self, Csi};
use crate::device::{self, Devices};
use crate::dra::{Dra, drivers};
use crate::events::Recorder;
use crate::eviction::Pressures;
use crate::flags::Flags;
use crate::image_gc::Records;
use crate::images::Images;
use crate::images::plugins::Plugins;
use crate::kubelet::{Kubelet, REMOVALS, RuntimeFacts};
use crate::machine::{self, Machine};
use crate::node::addresses::{Addresses, plan::Asked};
use crate::node::classes::Classes;
use crate::node::{self, allocatable};
use crate::placement::Placement;
use crate::placement::topology::Topology;
use crate::pod_worker::{Source, Stage, Workers};
use crate::probe::schedule::{Probes, Surroundings};
use crate::resize::Resizes;
use crate::shutdown::{self, Ending};
use crate::sources::manifest_url::Place;
use crate::sources::manifests::Manifests;
use crate::sources::mirrors::Mirrors;
use crate::sources::references::References;
use crate::sources::runtime_classes::RuntimeClasses;
use crate::sources::services::Services;
use crate::sources::tokens::Tokens;
use crate::status::writer::Statuses;
use crate::swap::{self, Swap};
use crate::sync_pod::backoff::Backoff;
use crate::sync_pod::reasons::Reasons;
use crate::user_namespaces::UserNamespaces;
use crate::volume::claims::ClaimCache;
use crate::volume::space::{self, Spaces};
use crate::{
    certificate, cgroup, eviction, housekeeping, image_gc, placement, plugins, pod_resources, runtime_watch,
    server, sources, steady,
};

/// Runs the kubelet.
pub async fn run(flags: Flags, mut config: KubeletConfiguration) -> anyhow::Result<()> {
    for (flag, amounts) in
        [("--kube-reserved", &config.kube_reserved), ("--system-reserved", &config.system_reserved)]
    {
        cgroup::reserved::check(flag, amounts).map_err(anyhow::Error::msg)?;
    }
    node::labels::check(&flags.node_labels.0)
        .map_err(|error| anyhow::anyhow!("failed to validate kubelet flags: {error}"))?;
    config.check_machine(Tree::detect(-1).is_v2())?;
    if config.enable_profiling_handler == Some(true) {
        tracing::warn!("enableProfilingHandler: there are no profiles to be had: /debug/pprof is disabled");
    }
    let shutdown = Shutdown::on_signals()?;
    let Some(kubeconfig) = &flags.kubeconfig else {
        bail!("--kubeconfig is required: running without an API server is not supported");
    };
    tracing::info!(version = daemon::version::GIT_VERSION, "starting the kubelet");
    let watchdog = daemon::readiness::watchdog()?;
    let machine = Machine::look();
    let behavior = &config.memory_swap.swap_behavior;
    if swap::is_limited(behavior) && !Tree::detect(-1).is_v2() {
        bail!("swap feature is enabled and LimitedSwap but it is only supported with cgroupv2");
    }
    if config.single_process_oom_kill == Some(false) && !Tree::detect(-1).is_v2() {
        bail!(
            "invalid configuration: singleProcessOOMKill must not be explicitly set to false when using cgroup v1"
        );
    }
    if config.fail_swap_on == Some(false) && behavior.is_empty() {
        tracing::info!("NoSwap is set due to memorySwapBehavior not specified");
    }
    if config.fail_swap_on.unwrap_or(true) && machine.swap > 0 {
        bail!(
            "running with swap on is not supported, please disable swap or set --fail-swap-on flag to false"
        );
    }
    std::fs::create_dir_all(flags.root_dir.join("pods")).context("making the root directory")?;
    server::make_folder(&flags.root_dir).context("error creating checkpoint directory")?;
    let runtime = Runtime::new(
        &config.container_runtime_endpoint,
        config.runtime_request_timeout.unwrap_or(Duration::from_secs(120)),
    )?;
    let facts = first_contact(&runtime, &mut config, &shutdown).await?;
    certificate::bootstrap(&flags, &node_name(&flags), &shutdown).await?;
    let rate = config.api_rate();
    let mut client_config = client::Config::from_kubeconfig(kubeconfig)?
        .with_agent("kubelet", None)
        .with_limits(rate.per_second, rate.burst);
    let rotates = config.rotate_certificates == Some(true) || flags.bootstrap_kubeconfig.is_some();
    if rotates {
        certificate::adopt(&mut client_config, &flags.cert_dir, Timestamp::now())?;
    }
    let client = Client::new(client_config)?;
    client.watch_files(shutdown.clone());
    server::certify(&mut config, &flags, &node_name(&flags))?;
    let kubelet = assemble(&flags, config, machine, runtime, facts, client, shutdown.clone())?;
    kubelet.addresses.remember(&kubelet.addresses.published(&[]).await);
    node::prepare::prepare(&kubelet)?;
    if let Err(error) = kubelet.images.settle().await {
        tracing::warn!(%error, "cannot find out what became of image pulls");
    }

    let listeners = server::Server::bind(&kubelet, &flags).await?;
    kubelet.recorder.node(&kubelet.node_name, "Normal", "Starting", "Starting kubelet.");
    spawn_loops(&kubelet, kubelet.config.manifest_place()?);
    if rotates {
        let (client, node) = (kubelet.client.clone(), kubelet.node_name.clone());
        tokio::spawn(certificate::rotate(client, flags.cert_dir.clone(), node, certificate::Use::Client));
    }
    if kubelet.config.server_tls_bootstrap == Some(true) {
        let (client, node) = (kubelet.client.clone(), kubelet.node_name.clone());
        let purpose = certificate::Use::Server(Arc::clone(&kubelet.addresses));
        tokio::spawn(certificate::rotate(client, flags.cert_dir.clone(), node, purpose));
    }
    let health = listeners.serve(Arc::clone(&kubelet), shutdown.clone());
    if let Some(patience) = watchdog {
        tokio::spawn(daemon::readiness::stay_alive(health, patience));
    }
    daemon::readiness::announce();
    shutdown.wait().await;
    tracing::info!("stopping; pods keep running");
    Ok(())
}

/// The node's name: as given, or the host's.
fn node_name(flags: &Flags) -> String {
    match flags.hostname_override.trim() {
        "" => machine::hostname(),
        name => name.to_lowercase(),
    }
}

/// Waits for the runtime, and learns from it who makes control groups.
async fn first_contact(
    runtime: &Runtime,
    config: &mut KubeletConfiguration,
    shutdown: &Shutdown,
) -> anyhow::Result<RuntimeFacts> {
    let facts = runtime_watch::wait(runtime, &config.container_runtime_endpoint, shutdown).await?;
    // Older runtimes cannot say: then the file does.
    if let Ok(answer) = runtime.runtime_config().await
        && let Some(linux) = answer.linux
    {
        config.cgroup_driver = match v1::CgroupDriver::try_from(linux.cgroup_driver) {
            Ok(v1::CgroupDriver::Systemd) => "systemd".into(),
            Ok(v1::CgroupDriver::Cgroupfs) => "cgroupfs".into(),
            Err(_) => bail!("runtime returned an unknown cgroup driver {}", linux.cgroup_driver),
        };
        tracing::info!(driver = config.cgroup_driver, "the runtime says who makes control groups");
    }
    if config.cgroup_driver == "systemd" && !cgroup::slices::booted() {
        bail!("cgroupDriver: systemd: systemd not running on this host, cannot use systemd cgroups manager");
    }
    Ok(facts)
}

fn assemble(
    flags: &Flags,
    mut config: KubeletConfiguration,
    machine: Machine,
    runtime: Runtime,
    facts: RuntimeFacts,
    client: Client,
    shutdown: Shutdown,
) -> anyhow::Result<Arc<Kubelet>> {
    let node_name = node_name(flags);
    let (asked, invalid) =
        Asked::parse(&flags.node_ip, &flags.cloud_provider, &node_name).map_err(anyhow::Error::msg)?;
    if !invalid.is_empty() {
        tracing::info!(IPs = ?invalid, "Could not parse some node IP(s), ignoring them");
    }
    let topology = Topology::look(u64::try_from(machine.memory).unwrap_or_default());
    let settings = config.placement();
    let named = settings.named_cpus(&topology).map_err(anyhow::Error::msg)?;
    if !named.is_empty() {
        // COMPAT: CPUs that are reserved by number take the place of amounts.
        config.kube_reserved.remove("cpu");
        config.system_reserved.insert("cpu".into(), named.len().to_string());
    }
    let capacity = allocatable::capacity(&machine, &flags.root_dir, config.pods_of(machine.cpus));
    let reservations = [&config.system_reserved, &config.kube_reserved];
    let thresholds = config.thresholds()?;
    let allocatable =
        allocatable::allocatable(&capacity, &reservations, &thresholds).map_err(anyhow::Error::msg)?;
    let allocatable = allocatable::without_huge_pages(allocatable, &capacity);
    let reserved =
        allocatable::reserved(&capacity, &reservations, &thresholds).map_err(anyhow::Error::msg)?;
    allocatable::check(&capacity, &reserved)
        .map_err(|error| anyhow::anyhow!("Failed to start ContainerManager: {error}"))?;
    let placement = Placement::load(&flags.root_dir, &settings, topology, &reserved)
        .map_err(|error| anyhow::anyhow!("failed to start the container manager: {error}"))?;
    let user_namespaces = UserNamespaces::load(&flags.root_dir, config.ids_per_pod()?, config.max_pods)
        .map_err(anyhow::Error::msg)?;
    let events = config.event_rate();
    let recorder = Recorder::new(client::events::Recorder::new(
        client.limited(events.per_second, events.burst),
        "kubelet",
        &node_name,
        System::shared(),
        shutdown,
    ));
    let started = steady::now();
    let mirrors = Arc::new(Mirrors::default());
    let (workers, statuses) = (Workers::new(), Statuses::new(client.clone(), Arc::clone(&mirrors)));
    let wake = {
        let workers = Arc::clone(&workers);
        move |uid: &str| workers.wake(uid)
    };
    let probes = Probes::new(Surroundings {
        runtime: runtime.clone(),
        recorder: recorder.clone(),
        status: {
            let statuses = Arc::clone(&statuses);
            Box::new(move |uid| statuses.get(uid))
        },
        wake: Box::new(wake.clone()),
        started,
    });
    let devices = Arc::new(Devices::load(&flags.root_dir));
    devices.wake_with(wake.clone());
    let dra = Dra::load(client.clone(), &node_name, &flags.root_dir, drivers::AWAY, wake.clone())
        .map_err(anyhow::Error::msg)?;
    let tokens = Arc::new(Tokens::new(client.clone()));
    let pids = config.pod_pids_limit.unwrap_or(-1);
    let driver = match config.cgroup_driver.as_str() {
        "systemd" => cgroup::Driver::Systemd,
        _ => cgroup::Driver::Cgroupfs,
    };
    let tree = Tree::detect(pids);
    let swap = Swap {
        controlled: swap::controlled(tree.is_v2()),
        v2: tree.is_v2(),
        limited: swap::is_limited(&config.memory_swap.swap_behavior),
        memory: machine.memory,
        size: machine.swap,
    };
    let records = crate::images::records::Records::open(&flags.root_dir, config.image_policy()?)
        .context("keeping records of image pulls")?;
    let pulls = config.pulls()?;
    let (of_plugins, programs) = (
        Path::new(&flags.image_credential_provider_config),
        Path::new(&flags.image_credential_provider_bin_dir),
    );
    let plugins = Plugins::load(of_plugins, programs, client.clone(), Arc::clone(&tokens))
        .map_err(|error| anyhow::anyhow!("Failed to register CRI auth plugins: {error}"))?;
    Ok(Arc::new(Kubelet {
        addresses: Arc::new(Addresses::new(asked, &node_name)),
        root: flags.root_dir.clone(),
        node_labels: flags.node_labels.0.clone(),
        runtime_cgroup: flags.node.runtime_cgroups.clone(),
        // COMPAT: what tells that the node lives waits for no turn.
        heartbeat: client.limited(0.0, 0),
        images: Images::new(runtime.clone(), recorder.clone(), pulls, records, &flags.root_dir, plugins),
        crashes: Backoff::of_crashes(config.longest_crash_wait()?),
        // COMPAT: upstream's for volumes: half a second to two minutes.
        volume_failures: Backoff::new(Duration::from_millis(500), Duration::from_secs(122)),
        reasons: Reasons::default(),
        manifests: Manifests::new(&config.static_pod_path),
        mirrors,
        resizes: Resizes::load(&flags.root_dir)?,
        pressures: Pressures::default(),
        image_records: Records::default(),
        references: References::new(client.clone(), Arc::new(wake)),
        runtime_classes: RuntimeClasses::new(),
        claims: ClaimCache::new(client.clone(), &node_name),
        spaces: Spaces::default(),
        services: Services::new(),
        devices,
        dra,
        placement: Arc::new(placement),
        user_namespaces,
        csi: Arc::new(Csi::new(client.clone(), &node_name, &flags.root_dir, Arc::clone(&tokens))),
        tokens,
        tree: if driver == cgroup::Driver::Systemd { tree.with_slices() } else { tree },
        cgroups: cgroup::Names::new(&config.cgroup_root, driver),
        shutdown: Ending::default(),
        pulse: Pulse::new(),
        runtime_facts: RwLock::new(facts),
        node_name,
        config,
        client,
        runtime,
        recorder,
        machine,
        swap,
        classes: Classes::default(),
        allocatable,
        probes,
        statuses,
        workers,
        removals: Semaphore::new(REMOVALS),
    }))
}

fn spawn_loops(kubelet: &Arc<Kubelet>, place: Option<Place>) {
    // Before the API's pods: what is static is not to be taken for an orphan.
    kubelet.manifests.load(kubelet);
    if let Some(place) = place {
        kubelet.workers.expect_source(Source::Url);
        tokio::spawn(sources::manifest_url::run(Arc::clone(kubelet), place));
    }
    let (sender, receiver) = mpsc::channel(1024);
    tokio::spawn(changes::follow(kubelet.runtime.clone(), kubelet.pulse.clone(), sender));
    tokio::spawn(tell_workers(Arc::clone(kubelet), receiver));
    tokio::spawn(Arc::clone(&kubelet.workers).run(Arc::clone(kubelet)));
    tokio::spawn(Arc::clone(&kubelet.statuses).run());
    tokio::spawn(Arc::clone(&kubelet.probes).run());
    tokio::spawn(Arc::clone(&kubelet.services).run(kubelet.client.clone()));
    tokio::spawn(Arc::clone(&kubelet.runtime_classes).run(kubelet.client.clone()));
    tokio::spawn(Arc::clone(&kubelet.csi).run());
    if kubelet.config.make_iptables_util_chains != Some(false) {
        tokio::spawn(node::iptables::run());
    }
    tokio::spawn(runtime_watch::run(Arc::clone(kubelet)));
    tokio::spawn(sources::pods::run(Arc::clone(kubelet)));
    tokio::spawn(sources::manifests::run(Arc::clone(kubelet)));
    tokio::spawn(housekeeping::run(Arc::clone(kubelet)));
    tokio::spawn(image_gc::run(Arc::clone(kubelet)));
    tokio::spawn(eviction::run(Arc::clone(kubelet)));
    tokio::spawn(space::run(Arc::clone(kubelet)));
    tokio::spawn(csi::expand::run(Arc::clone(kubelet)));
    shutdown::start(kubelet);
    tokio::spawn(device::plugin::serve(Arc::clone(&kubelet.devices)));
    tokio::spawn(serve_pod_resources(Arc::clone(kubelet)));
    tokio::spawn(placement::reconcile::run(Arc::clone(kubelet)));
    let node = Arc::clone(kubelet);
    tokio::spawn(async move {
        if node.config.register_node != Some(false) {
            node::register::register_until_done(&node).await;
        }
        tokio::spawn(node::lease::run(Arc::clone(&node)));
        tokio::spawn(Arc::clone(&node.dra).run(Arc::clone(&node)));
        tokio::spawn(plugins::run(Arc::clone(&node)));
        node::status::run(node).await;
    });
}

/// Answers those that ask which pod has which resources.
async fn serve_pod_resources(kubelet: Arc<Kubelet>) {
    let (listed, named) = (Arc::clone(&kubelet.workers), Arc::clone(&kubelet.workers));
    let sources = pod_resources::Sources {
        pods: Box::new(move |active| {
            let all = listed.all().into_iter();
            all.filter(|(_, stage)| !active || *stage <= Stage::Terminating).map(|(pod, _)| pod).collect()
        }),
        pod: Box::new(move |namespace, name| named.by_name(namespace, name)),
        devices: Arc::clone(&kubelet.devices),
        placement: Arc::clone(&kubelet.placement),
        claims: Box::new({
            let dra = Arc::clone(&kubelet.dra);
            move |pod, container| dra.of_container(pod, container)
        }),
    };
    let socket = kubelet.root.join("pod-resources/kubelet.sock");
    if let Err(error) = pod_resources::serve(sources, &socket).await {
        tracing::error!(%error, socket = %socket.display(), "cannot tell of pods' resources");
    }
}

/// A change in the runtime wakes its pod.
async fn tell_workers(kubelet: Arc<Kubelet>, mut changes: mpsc::Receiver<Change>) {
    while let Some(change) = changes.recv().await {
        kubelet.workers.wake(&change.identity.uid);
    }
}
