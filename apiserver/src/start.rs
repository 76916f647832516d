//! Brings the server up in order, and down in reverse: store, caches, access control, listener,
//! then what a fresh cluster needs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use daemon::health::Health;
use daemon::shutdown::Shutdown;
use daemon::tls::{ClientAuth, Pem, ServerTls, ServerTlsOptions};
use tokio::sync::Semaphore;

use crate::access;
use crate::aggregator::{self, Aggregator};
use crate::audit::{Audit, LogOptions};
use crate::bootstrap::{self, ObjectsError};
use crate::flags::{AuditFlags, Etcd, Flags, Generic};
use crate::flow_control::{self, FlowControl};
use crate::kinds::component::Components;
use crate::kinds::service::{self, ServiceRanges};
use crate::listener;
use crate::metrics::Metrics;
use crate::objects::Registry;
use crate::server::Server;
use crate::steps::Steps;
use crate::storage::encryption::Encryption;
use crate::storage::kv::{Kv, KvOptions};
use crate::storage::{Storage, compactor};
use crate::subresource::Kubelets;
use crate::views::CatchUp;

const RETRY: Duration = Duration::from_secs(1);

/// Runs the server until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting.
pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    tracing::info!(version = daemon::version::GIT_VERSION, "Starting kube-apiserver");
    let encryption = match &flags.etcd.encryption_provider_config {
        Some(path) => Some(Encryption::load(path, &flags.etcd.etcd_prefix)?),
        None => None,
    };
    let store = store(&flags.etcd)?;
    let kv = Arc::new(Kv::connect(&store)?.encrypting(encryption));
    let tls = serving_tls(&flags)?;
    let address = (flags.serving.bind_address, flags.serving.secure_port);
    let listener = daemon::serve::bind(address.into()).await?;

    let health = Health::new();
    let steps = Steps::new(&health, &kv, flags.generic.enable_priority_and_fairness, &shutdown);

    // Caches and loops outlive the requests that are drained.
    let background = Shutdown::new();
    let storage = Arc::new(Storage::new(kv.clone()));
    steps.informers.runs(storage.spawn(&background));
    tokio::spawn(storage.clone().forget(background.clone()));
    tokio::spawn(learn_version(kv.clone()));
    tokio::spawn(compactor::run(kv, flags.etcd.etcd_compaction_interval.0, background.clone()));

    let advertised = advertised(&flags);
    let access = access::Access::new(&flags, &storage, &advertised, &background)?;
    crate::crd::conversion::install(access.caller);
    let server = Arc::new(Server {
        storage,
        authenticator: access.authenticator,
        authorizer: access.authorizer,
        fresh: access.feed.clone(),
        admission: access.admission,
        aggregator: Aggregator::new(aggregator_options(&flags)),
        audit: audit(&flags.audit)?,
        open_id: access.open_id,
        issuer: access.issuer,
        health,
        metrics: Metrics::new(),
        flow_control: flow_control(&flags.generic)?,
        reading: places(flags.generic.max_requests_inflight),
        writing: places(flags.generic.max_mutating_requests_inflight),
        request_timeout: flags.generic.request_timeout.0,
        min_request_timeout: Duration::from_secs(flags.generic.min_request_timeout),
        goaway_chance: goaway_chance(flags.generic.goaway_chance)?,
        event_ttl: flags.etcd.event_ttl.0,
        allow_privileged: flags.misc.allow_privileged,
        kubelets: Kubelets::new(&flags.misc, &background)?,
        components: Components::new(&store)?,
        service_ranges: ServiceRanges {
            ips: flags.misc.service_cluster_ip_range.parse().context("--service-cluster-ip-range")?,
            ports: flags.misc.service_node_port_range.parse().context("--service-node-port-range")?,
        },
        address: advertised,
    });
    tls.watch(background.clone());
    let progress = aggregator::Progress {
        told: steps.authentication_info.clone(),
        aggregator: steps.aggregator.clone(),
    };
    let aggregating = aggregator::run(server.clone(), told(&flags)?, progress, background.clone());
    steps.aggregator.runs.runs(vec![tokio::spawn(aggregating)]);
    if let Some(step) = &steps.flow_control {
        let following = flow_control::objects::follow(server.clone(), step.clone(), background.clone());
        step.watch(vec![tokio::spawn(following)]);
    }
    let closing = Shutdown::new();
    let serving = tokio::spawn(listener::serve(server.clone(), listener, tls, closing.clone()));
    tracing::info!(address = %server.address, "Serving securely");
    // COMPAT: upstream's says so as soon as it listens; /readyz is what tells more.
    daemon::readiness::announce();

    let filled = async {
        server.storage.synced().await;
        access.feed.filled().await;
        // Webhooks, policies and what they look at are read out of these.
        steps.admission.ok();
    };
    let definitions = crate::crd::Definitions::new(server.clone(), background.clone());
    if shutdown.unless(filled).await.is_some() {
        // Before this server calls itself ready, it serves what was defined before.
        shutdown.unless(definitions.serve_all()).await;
        steps.definitions.synced.ok();
        steps.synced.ok();
        tracing::info!("Watch caches are filled");
        shutdown.unless(bootstrap(&server, &steps)).await;
    }
    // Shut down with the requests: its last act needs the store only.
    let leaving = shutdown.child();
    let advertises = flags.misc.endpoint_reconciler_type != "none";
    let own = service::Own { ip: own_ip(&flags), port: flags.serving.secure_port, advertises };
    steps.definitions.followed.runs(vec![tokio::spawn(definitions.run())]);
    tokio::spawn(crate::policies::status::run(server.clone(), background.clone()));
    let repairing = service::repair(server.clone(), steps.ip_repair.clone(), background.clone());
    steps.ip_repair.watch(vec![tokio::spawn(repairing)]);
    let reconciling = service::reconcile(server.clone(), own, steps.kubernetes_service.clone(), leaving);
    let advertising = tokio::spawn(reconciling);

    shutdown.wait().await;
    tracing::info!("Shutting down");
    steps.shutdown.failed("process is shutting down");
    tokio::time::sleep(flags.generic.shutdown_delay_duration.0).await;
    server.storage.end_watches();
    closing.trigger();
    serving.await.context("the listener's task")?;
    advertising.await.context("the kubernetes service's task")?;
    background.trigger();
    Ok(())
}

fn store(flags: &Etcd) -> anyhow::Result<KvOptions> {
    let read = |path: &Option<std::path::PathBuf>| -> anyhow::Result<Option<Vec<u8>>> {
        let Some(path) = path else { return Ok(None) };
        Ok(Some(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
    };
    Ok(KvOptions {
        servers: flags.etcd_servers.clone(),
        ca: read(&flags.etcd_cafile)?,
        cert: read(&flags.etcd_certfile)?,
        key: read(&flags.etcd_keyfile)?,
        prefix: flags.etcd_prefix.clone(),
    })
}

fn serving_tls(flags: &Flags) -> anyhow::Result<Arc<ServerTls>> {
    let cert = Pem::File(flags.serving.tls_cert_file.clone());
    let key = Pem::File(flags.serving.tls_private_key_file.clone());
    let authorities =
        [&flags.authentication.client_ca_file, &flags.authentication.requestheader_client_ca_file];
    let client_auth = match authorities.into_iter().flatten().collect::<Vec<_>>().as_slice() {
        [] => ClientAuth::Off,
        [one] => ClientAuth::Request(Pem::File((*one).clone())),
        // Clients choose their certificate by these names; what it is worth is decided later.
        all => {
            let mut names = Vec::new();
            for path in all {
                let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                names.extend(text);
                names.push(b'\n');
            }
            ClientAuth::Request(Pem::Data(names))
        }
    };
    let options = ServerTlsOptions {
        client_auth,
        min_version: flags.serving.tls_min_version.parse()?,
        cipher_suites: flags.serving.tls_cipher_suites.clone(),
        ..ServerTlsOptions::new(cert, key)
    };
    Ok(ServerTls::load(options)?)
}

fn flow_control(flags: &Generic) -> anyhow::Result<Option<Arc<FlowControl>>> {
    if !flags.enable_priority_and_fairness {
        return Ok(None);
    }
    let seats = flags.max_requests_inflight + flags.max_mutating_requests_inflight;
    anyhow::ensure!(
        seats > 0,
        "--max-requests-inflight={} and --max-mutating-requests-inflight={} must add up to a positive value, otherwise \
         --enable-priority-and-fairness=true leaves nothing to share",
        flags.max_requests_inflight,
        flags.max_mutating_requests_inflight
    );
    let seats = u32::try_from(seats).context("--max-requests-inflight")?;
    Ok(Some(Arc::new(FlowControl::new(seats, flags.request_timeout.0))))
}

fn audit(flags: &AuditFlags) -> anyhow::Result<Option<Arc<Audit>>> {
    let Some(path) = &flags.audit_log_path else { return Ok(None) };
    let Some(policy) = &flags.audit_policy_file else {
        tracing::warn!("No audit policy file provided, no events will be recorded for log backend");
        return Ok(None);
    };
    let options = LogOptions {
        path: path.clone(),
        legacy: flags.audit_log_format == "legacy",
        max_size: flags.audit_log_maxsize << 20,
        max_age: Duration::from_secs(flags.audit_log_maxage * 24 * 60 * 60),
        max_backups: flags.audit_log_maxbackup,
        compress: flags.audit_log_compress,
    };
    Ok(Some(Arc::new(Audit::new(policy, options).context("loading audit policy file")?)))
}

fn aggregator_options(flags: &Flags) -> aggregator::Options {
    let files = (&flags.misc.proxy_client_cert_file, &flags.misc.proxy_client_key_file);
    aggregator::Options {
        certificate: match files {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            _ => None,
        },
        to_endpoints: flags.misc.enable_aggregator_routing,
    }
}

/// What extension servers are told of authentication.
fn told(flags: &Flags) -> anyhow::Result<aggregator::Told> {
    let own = &flags.authentication;
    let mut told = aggregator::Told::default();
    let mut file = |key: &str, path: &Option<std::path::PathBuf>| -> anyhow::Result<()> {
        let Some(path) = path else { return Ok(()) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        told.0.insert(key.to_owned(), text);
        Ok(())
    };
    file("client-ca-file", &own.client_ca_file)?;
    file("requestheader-client-ca-file", &own.requestheader_client_ca_file)?;
    if own.requestheader_client_ca_file.is_some() {
        for (key, list) in [
            ("requestheader-allowed-names", &own.requestheader_allowed_names),
            ("requestheader-username-headers", &own.requestheader_username_headers),
            ("requestheader-uid-headers", &own.requestheader_uid_headers),
            ("requestheader-group-headers", &own.requestheader_group_headers),
            ("requestheader-extra-headers-prefix", &own.requestheader_extra_headers_prefix),
        ] {
            told.0.insert(key.to_owned(), serde_json::json!(list).to_string());
        }
    }
    Ok(told)
}

fn goaway_chance(chance: f64) -> anyhow::Result<f64> {
    anyhow::ensure!(
        (0.0..=0.02).contains(&chance),
        "--goaway-chance can not be less than 0 or greater than 0.02"
    );
    Ok(chance)
}

fn places(limit: usize) -> Option<Semaphore> {
    (limit > 0).then(|| Semaphore::new(limit))
}

fn advertised(flags: &Flags) -> String {
    std::net::SocketAddr::new(own_ip(flags), flags.serving.secure_port).to_string()
}

/// The address at which the cluster reaches this server. Loopback and "all" are none: then it is
/// that of the interface with the default route.
fn own_ip(flags: &Flags) -> std::net::IpAddr {
    let given = flags.generic.advertise_address.unwrap_or(flags.serving.bind_address);
    if !given.is_unspecified() && !given.is_loopback() {
        return given;
    }
    // Connecting a datagram socket sends nothing; it only chooses the interface.
    let chosen = std::net::UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| socket.connect("192.0.2.1:9").map(|()| socket))
        .and_then(|socket| socket.local_addr());
    chosen.map_or(given, |address| address.ip())
}

/// Asks the store for its version until it says so.
async fn learn_version(kv: Arc<Kv>) {
    loop {
        match kv.version().await {
            Ok(version) => {
                let progress = kv.progress_is_reliable();
                tracing::info!(version, progress, "Connected to the store");
                return;
            }
            Err(error) => {
                tracing::info!(%error, "Waiting for the store");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Writes what every cluster has; repeats what fails until it is there.
async fn bootstrap(server: &Arc<Server>, steps: &Steps) {
    let objects = Registry(server.clone());
    retried(|| bootstrap::ensure_namespaces(&objects)).await;
    steps.namespaces.ok();
    retried(|| bootstrap::ensure_priority_classes(&objects)).await;
    steps.priority_classes.ok();
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    retried(|| bootstrap::ensure_token_tracking(&objects, today)).await;
    steps.token_tracking.ok();
    retried(|| service::ensure_default(server, &objects)).await;
    steps.service_ranges.ok();
    retried(|| flow_control::objects::ensure(&objects)).await;
    steps.flow_control_objects.ok();
    retried(|| bootstrap::ensure_policy(&objects)).await;
    steps.roles.ok();
    tracing::info!("The cluster has what every cluster has");
}

async fn retried<F: Future<Output = Result<(), ObjectsError>>>(step: impl Fn() -> F) {
    while let Err(error) = step().await {
        tracing::warn!(%error, "Cannot write what every cluster has");
        tokio::time::sleep(RETRY).await;
    }
}
