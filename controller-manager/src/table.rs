//! The table of controllers: name, service account, and how each is started. What an account may do
//! stands in the apiserver's bootstrap policy, under the same name.

use std::sync::Arc;

use api_types::apps::v1::ReplicaSet;
use api_types::core::v1::ReplicationController;
use client::Client;
use client::controller::{Controller, Hands, run};
use client::events::Recorder;
use client::informer::Caches;
use daemon::clock::SharedClock;
use daemon::shutdown::Shutdown;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::controllers::autoscaler::{self, Autoscaler};
use crate::controllers::bootstrap::{BootstrapSigner, TokenCleaner};
use crate::controllers::cron_job::CronJobs;
use crate::controllers::csr::{Approving, Authority, Cleaner, Signing};
use crate::controllers::daemon_set::DaemonSets;
use crate::controllers::deployment::Deployments;
use crate::controllers::device_taint_eviction::DeviceTaintEviction;
use crate::controllers::disruption::{Disruption, StaleDisruptions};
use crate::controllers::endpoint_slice::EndpointSlices;
use crate::controllers::endpoint_slice_mirroring::Mirroring;
use crate::controllers::endpoints::EndpointsController;
use crate::controllers::garbage_collector;
use crate::controllers::job::{Jobs, Orphans};
use crate::controllers::namespace::Namespaces;
use crate::controllers::node_ipam::NodeIpam;
use crate::controllers::node_lifecycle::{Limits, NodeLifecycle};
use crate::controllers::node_ttl::NodeTtl;
use crate::controllers::pod_gc::PodGc;
use crate::controllers::replica_set::Replicas;
use crate::controllers::resource_claim::{Claims as DeviceClaims, PodClaims};
use crate::controllers::resource_quota::ResourceQuotas;
use crate::controllers::role_aggregation::RoleAggregation;
use crate::controllers::root_ca::RootCaPublisher;
use crate::controllers::service_account::ServiceAccounts;
use crate::controllers::service_account_token::AccountTokens;
use crate::controllers::service_cidr::ServiceCidrs;
use crate::controllers::stateful_set::StatefulSets;
use crate::controllers::taint_eviction::TaintEviction;
use crate::controllers::ttl_after_finished::TtlAfterFinished;
use crate::controllers::volume::attach::AttachDetach;
use crate::controllers::volume::attributes_class::AttributesProtection;
use crate::controllers::volume::binder::{Claims, Volumes};
use crate::controllers::volume::ephemeral::EphemeralVolumes;
use crate::controllers::volume::expand::Expander;
use crate::controllers::volume::protection::{ClaimProtection, VolumeProtection};
use crate::flags::Flags;
use crate::presence::Presence;

/// A controller.
pub struct Row {
    /// Upstream's name, as `--controllers` has it.
    pub name: &'static str,
    /// The service account in kube-system that it acts as; empty for the controller manager itself.
    pub account: &'static str,
    /// Starts it; an error means that its flags cannot be used. `false`: the flags leave it off.
    pub start: fn(&Start) -> anyhow::Result<bool>,
}

impl Row {
    /// Who its events come from.
    pub fn component(&self) -> &'static str {
        match self.name {
            "replicationcontroller-controller" => "replication-controller",
            "horizontal-pod-autoscaler-controller" => "horizontal-pod-autoscaler",
            "disruption-controller" => "controllermanager",
            "persistentvolume-binder-controller" => "persistentvolume-controller",
            "ephemeral-volume-controller" => "ephemeral_volume",
            "persistentvolume-expander-controller" => "volume_expand",
            "resourceclaim-controller" => "resource_claim",
            "node-lifecycle-controller" => "node-controller",
            "persistentvolume-attach-detach-controller" => "attachdetach-controller",
            name => name,
        }
    }

    /// What it may ask for, in multiples of `--kube-api-qps` and `--kube-api-burst` (upstream's). To
    /// empty a namespace takes two requests for every kind there is; to collect an object takes two.
    pub fn allowance(&self) -> (f64, u32) {
        match self.name {
            "namespace-controller" => (20.0, 100),
            "garbage-collector-controller" => (2.0, 1),
            _ => (1.0, 1),
        }
    }
}

/// What a controller is started with.
pub struct Start {
    pub flags: Arc<Flags>,
    /// Acts as the controller's own account.
    pub client: Client,
    pub caches: Caches,
    pub presence: Presence,
    pub recorder: Recorder,
    pub clock: SharedClock,
    pub shutdown: Shutdown,
    /// Ended before the process gives up the lead.
    pub tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Start {
    pub fn hands(&self) -> Hands {
        Hands::new(self.client.clone(), self.recorder.clone(), self.clock.clone())
    }

    /// Runs a controller in the one loop.
    fn run<C: Controller>(&self, controller: C, workers: usize) -> anyhow::Result<bool> {
        let running = run(controller, &self.caches, self.hands(), workers, self.shutdown.clone());
        self.tasks.lock().spawn(running.ended());
        Ok(true)
    }
}

/// All controllers, in the order in which they are started.
pub const ROWS: &[Row] = &[
    Row {
        name: "serviceaccount-token-controller",
        account: "",
        start: |s| match &s.flags.service_account_private_key_file {
            Some(key) => {
                let tokens = AccountTokens::new(key, s.flags.root_ca_file.as_deref())?;
                s.run(tokens, s.flags.concurrent_serviceaccount_token_syncs)
            }
            None => Ok(false),
        },
    },
    Row {
        name: "serviceaccount-controller",
        account: "service-account-controller",
        start: |s| s.run(ServiceAccounts, 1),
    },
    Row {
        name: "root-ca-certificate-publisher-controller",
        account: "root-ca-cert-publisher",
        start: |s| match &s.flags.root_ca_file {
            Some(file) => s.run(RootCaPublisher::new(file)?, 1),
            None => Ok(false),
        },
    },
    Row {
        name: "endpoints-controller",
        account: "endpoint-controller",
        start: |s| s.run(EndpointsController, s.flags.concurrent_endpoint_syncs),
    },
    Row {
        name: "endpointslice-controller",
        account: "endpointslice-controller",
        start: |s| {
            let max_per_slice = usize::from(s.flags.max_endpoints_per_slice);
            s.run(EndpointSlices { max_per_slice }, s.flags.concurrent_service_endpoint_syncs)
        },
    },
    Row {
        name: "endpointslice-mirroring-controller",
        account: "endpointslicemirroring-controller",
        start: |s| {
            let max_per_subset = usize::from(s.flags.mirroring_max_endpoints_per_subset);
            s.run(Mirroring { max_per_subset }, s.flags.mirroring_concurrent_service_endpoint_syncs)
        },
    },
    Row {
        name: "clusterrole-aggregation-controller",
        account: "clusterrole-aggregation-controller",
        start: |s| s.run(RoleAggregation, 5),
    },
    Row {
        name: "namespace-controller",
        account: "namespace-controller",
        start: |s| s.run(Namespaces, s.flags.concurrent_namespace_syncs),
    },
    Row {
        name: "garbage-collector-controller",
        account: "generic-garbage-collector",
        start: |s| {
            if s.flags.enable_garbage_collector {
                garbage_collector::start(s);
            }
            Ok(s.flags.enable_garbage_collector)
        },
    },
    Row {
        name: "deployment-controller",
        account: "deployment-controller",
        start: |s| s.run(Deployments, s.flags.concurrent_deployment_syncs),
    },
    Row {
        name: "replicaset-controller",
        account: "replicaset-controller",
        start: |s| s.run(Replicas::<ReplicaSet>::default(), s.flags.concurrent_replicaset_syncs),
    },
    Row {
        name: "replicationcontroller-controller",
        account: "replication-controller",
        start: |s| s.run(Replicas::<ReplicationController>::default(), s.flags.concurrent_rc_syncs),
    },
    Row {
        name: "statefulset-controller",
        account: "statefulset-controller",
        start: |s| s.run(StatefulSets, s.flags.concurrent_statefulset_syncs),
    },
    Row {
        name: "daemonset-controller",
        account: "daemon-set-controller",
        start: |s| s.run(DaemonSets::default(), s.flags.concurrent_daemonset_syncs),
    },
    Row {
        name: "job-controller",
        account: "job-controller",
        start: |s| {
            s.run(Orphans, 1)?;
            s.run(Jobs::new(s.clock.clone()), s.flags.concurrent_job_syncs)
        },
    },
    Row {
        name: "cronjob-controller",
        account: "cronjob-controller",
        start: |s| s.run(CronJobs::new(s.clock.clone()), s.flags.concurrent_cron_job_syncs),
    },
    Row {
        name: "ttl-after-finished-controller",
        account: "ttl-after-finished-controller",
        start: |s| s.run(TtlAfterFinished, s.flags.concurrent_ttl_after_finished_syncs),
    },
    Row {
        name: "disruption-controller",
        account: "disruption-controller",
        start: |s| {
            s.run(StaleDisruptions, 1)?;
            s.run(Disruption, 1)
        },
    },
    Row {
        name: "persistentvolume-binder-controller",
        account: "persistent-volume-binder",
        start: |s| {
            s.run(Claims, 1)?;
            s.run(Volumes, 1)
        },
    },
    Row {
        name: "persistentvolume-attach-detach-controller",
        account: "attachdetach-controller",
        start: |s| {
            let force = !s.flags.disable_force_detach_on_timeout;
            s.run(AttachDetach::new(s.clock.clone(), force), 1)
        },
    },
    Row {
        name: "persistentvolume-protection-controller",
        account: "pv-protection-controller",
        start: |s| s.run(VolumeProtection, 1),
    },
    Row {
        name: "persistentvolumeclaim-protection-controller",
        account: "pvc-protection-controller",
        start: |s| s.run(ClaimProtection, 1),
    },
    Row {
        name: "volumeattributesclass-protection-controller",
        account: "volumeattributesclass-protection-controller",
        start: |s| s.run(AttributesProtection, 1),
    },
    Row {
        name: "persistentvolume-expander-controller",
        account: "expand-controller",
        start: |s| s.run(Expander, 1),
    },
    Row {
        name: "ephemeral-volume-controller",
        account: "ephemeral-volume-controller",
        start: |s| s.run(EphemeralVolumes, s.flags.concurrent_ephemeralvolume_syncs),
    },
    Row {
        name: "horizontal-pod-autoscaler-controller",
        account: "horizontal-pod-autoscaler",
        start: |s| {
            let f = &s.flags;
            let settings = autoscaler::Settings {
                period: f.horizontal_pod_autoscaler_sync_period.0,
                downscale_stabilization: f.horizontal_pod_autoscaler_downscale_stabilization.0,
                tolerance: autoscaler::Tolerance::both(f.horizontal_pod_autoscaler_tolerance),
                cpu_initialization: f.horizontal_pod_autoscaler_cpu_initialization_period.0,
                initial_readiness: f.horizontal_pod_autoscaler_initial_readiness_delay.0,
            };
            s.run(Autoscaler::new(settings), f.concurrent_horizontal_pod_autoscaler_syncs)
        },
    },
    Row {
        name: "resourcequota-controller",
        account: "resourcequota-controller",
        start: |s| {
            let period = s.flags.resource_quota_sync_period.0;
            let presence = s.presence.clone();
            s.run(ResourceQuotas { period, presence }, s.flags.concurrent_resource_quota_syncs)
        },
    },
    Row {
        name: "certificatesigningrequest-approving-controller",
        account: "certificate-controller",
        start: |s| s.run(Approving, 1),
    },
    Row {
        name: "certificatesigningrequest-signing-controller",
        account: "certificate-controller",
        start: |s| match (&s.flags.cluster_signing_cert_file, &s.flags.cluster_signing_key_file) {
            (Some(cert), Some(key)) => {
                s.run(Signing::new(Authority::load(cert, key)?, s.flags.cluster_signing_duration.0), 1)
            }
            _ => Ok(false),
        },
    },
    Row {
        name: "certificatesigningrequest-cleaner-controller",
        account: "certificate-controller",
        start: |s| s.run(Cleaner, 1),
    },
    Row {
        name: "pod-garbage-collector-controller",
        account: "pod-garbage-collector",
        start: |s| s.run(PodGc::new(s.flags.terminated_pod_gc_threshold), 2),
    },
    Row {
        name: "node-ipam-controller",
        account: "node-controller",
        start: |s| {
            if !s.flags.allocate_node_cidrs {
                return Ok(false);
            }
            s.run(NodeIpam::new(&s.flags)?, 1)
        },
    },
    Row {
        name: "node-lifecycle-controller",
        account: "node-controller",
        start: |s| s.run(NodeLifecycle::new(Limits::from(&*s.flags), s.clock.clone()), 1),
    },
    Row {
        name: "service-cidr-controller",
        account: "service-cidrs-controller",
        start: |s| s.run(ServiceCidrs, 5),
    },
    Row { name: "ttl-controller", account: "ttl-controller", start: |s| s.run(NodeTtl::default(), 5) },
    Row {
        name: "bootstrap-signer-controller",
        account: "bootstrap-signer",
        start: |s| s.run(BootstrapSigner, 1),
    },
    Row { name: "token-cleaner-controller", account: "token-cleaner", start: |s| s.run(TokenCleaner, 1) },
    Row {
        name: "taint-eviction-controller",
        account: "node-controller",
        start: |s| s.run(TaintEviction::new(s.clock.clone()), 2),
    },
    Row {
        name: "resourceclaim-controller",
        account: "resource-claim-controller",
        start: |s| {
            s.run(PodClaims, s.flags.concurrent_resourceclaim_syncs)?;
            s.run(DeviceClaims::default(), s.flags.concurrent_resourceclaim_syncs)
        },
    },
    Row {
        name: "device-taint-eviction-controller",
        account: "device-taint-eviction-controller",
        start: |s| s.run(DeviceTaintEviction::default(), s.flags.concurrent_device_taint_eviction_syncs),
    },
];

/// Upstream's controllers that do not exist here: they may be turned off, and not asked for.
const ABSENT: &[&str] = &[
    "cloud-node-lifecycle-controller",
    "kube-apiserver-serving-clustertrustbundle-publisher-controller",
    "legacy-serviceaccount-token-cleaner-controller",
    "node-route-controller",
    "podcertificaterequest-cleaner-controller",
    "podgroup-protection-controller",
    "resourcepoolstatusrequest-controller",
    "selinux-warning-controller",
    "service-ca-certificate-publisher-controller",
    "service-lb-controller",
    "storage-version-migrator-controller",
    "storageversion-garbage-collector-controller",
    "validatingadmissionpolicy-status-controller",
];

/// Those that `*` leaves out.
const OFF_BY_DEFAULT: &[&str] = &["bootstrap-signer-controller", "token-cleaner-controller"];

/// Names from before all of them ended in `-controller`. kubeadm's manifest still has some.
const ALIASES: &[(&str, &str)] = &[
    ("attachdetach", "persistentvolume-attach-detach-controller"),
    ("bootstrapsigner", "bootstrap-signer-controller"),
    ("cloud-node-lifecycle", "cloud-node-lifecycle-controller"),
    ("clusterrole-aggregation", "clusterrole-aggregation-controller"),
    ("cronjob", "cronjob-controller"),
    ("csrapproving", "certificatesigningrequest-approving-controller"),
    ("csrcleaner", "certificatesigningrequest-cleaner-controller"),
    ("csrsigning", "certificatesigningrequest-signing-controller"),
    ("daemonset", "daemonset-controller"),
    ("deployment", "deployment-controller"),
    ("disruption", "disruption-controller"),
    ("endpoint", "endpoints-controller"),
    ("endpointslice", "endpointslice-controller"),
    ("endpointslicemirroring", "endpointslice-mirroring-controller"),
    ("ephemeral-volume", "ephemeral-volume-controller"),
    ("garbagecollector", "garbage-collector-controller"),
    ("horizontalpodautoscaling", "horizontal-pod-autoscaler-controller"),
    ("job", "job-controller"),
    ("legacy-service-account-token-cleaner", "legacy-serviceaccount-token-cleaner-controller"),
    ("namespace", "namespace-controller"),
    ("nodeipam", "node-ipam-controller"),
    ("nodelifecycle", "node-lifecycle-controller"),
    ("persistentvolume-binder", "persistentvolume-binder-controller"),
    ("persistentvolume-expander", "persistentvolume-expander-controller"),
    ("podgc", "pod-garbage-collector-controller"),
    ("pv-protection", "persistentvolume-protection-controller"),
    ("pvc-protection", "persistentvolumeclaim-protection-controller"),
    ("replicaset", "replicaset-controller"),
    ("replicationcontroller", "replicationcontroller-controller"),
    ("resource-claim-controller", "resourceclaim-controller"),
    ("resourcequota", "resourcequota-controller"),
    ("root-ca-cert-publisher", "root-ca-certificate-publisher-controller"),
    ("route", "node-route-controller"),
    ("service", "service-lb-controller"),
    ("serviceaccount", "serviceaccount-controller"),
    ("serviceaccount-token", "serviceaccount-token-controller"),
    ("statefulset", "statefulset-controller"),
    ("storage-version-gc", "storageversion-garbage-collector-controller"),
    ("svm", "storage-version-migrator-controller"),
    ("tokencleaner", "token-cleaner-controller"),
    ("ttl", "ttl-controller"),
    ("ttl-after-finished", "ttl-after-finished-controller"),
];

/// An entry of `--controllers` with the name that is used today.
fn canonical(entry: &str) -> String {
    let (sign, name) = entry.strip_prefix('-').map_or(("", entry), |name| ("-", name));
    let today = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, today)| today);
    format!("{sign}{today}")
}

/// The rows that `--controllers` selects.
///
/// # Errors
/// When a name is unknown, or is asked for and does not exist here.
pub fn selected(controllers: &[String]) -> anyhow::Result<Vec<&'static Row>> {
    let controllers: Vec<String> = controllers.iter().map(|entry| canonical(entry)).collect();
    for entry in controllers.iter().filter(|e| *e != "*") {
        let name = entry.strip_prefix('-').unwrap_or(entry);
        let known = ROWS.iter().any(|row| row.name == name);
        anyhow::ensure!(
            known || ABSENT.contains(&name),
            "--controllers: {name:?} is not in the list of known controllers"
        );
        anyhow::ensure!(
            known || entry.starts_with('-'),
            "--controllers: {name:?} is not supported by this controller manager"
        );
    }
    let says = |text: &str| controllers.iter().any(|e| e == text);
    let all = |row: &Row| says("*") && !OFF_BY_DEFAULT.contains(&row.name);
    let wanted = |row: &&Row| says(row.name) || (all(row) && !says(&format!("-{}", row.name)));
    Ok(ROWS.iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(controllers: &str) -> Result<Vec<&'static str>, String> {
        let controllers: Vec<String> = controllers.split(',').map(str::to_owned).collect();
        selected(&controllers).map(|rows| rows.iter().map(|r| r.name).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn controllers_are_selected_by_name() {
        let all = ROWS.len() - OFF_BY_DEFAULT.len();
        assert_eq!(names("*").unwrap().len(), all);
        assert_eq!(names("*,-deployment-controller").unwrap().len(), all - 1);
        assert_eq!(names("replicaset-controller").unwrap(), ["replicaset-controller"]);
        assert_eq!(names("*,-service-lb-controller").unwrap().len(), all);
    }

    #[test]
    fn what_kubeadm_and_older_unit_files_say_is_understood() {
        assert_eq!(names("*,bootstrapsigner,tokencleaner").unwrap().len(), ROWS.len());
        assert_eq!(names("*,-ttl,-attachdetach").unwrap().len(), ROWS.len() - OFF_BY_DEFAULT.len() - 2);
        assert_eq!(names("replicaset").unwrap(), ["replicaset-controller"]);
        let known = |name: &str| ROWS.iter().any(|row| row.name == name) || ABSENT.contains(&name);
        let strangers: Vec<_> = ALIASES.iter().filter(|(_, today)| !known(today)).collect();
        assert!(strangers.is_empty(), "{strangers:?}");
    }

    #[test]
    fn unknown_and_absent_ones_are_refused_by_name() {
        assert_eq!(
            names("*,foo").unwrap_err(),
            "--controllers: \"foo\" is not in the list of known controllers"
        );
        assert_eq!(
            names("service").unwrap_err(),
            "--controllers: \"service-lb-controller\" is not supported by this controller manager"
        );
    }

    #[test]
    fn every_name_stands_once() {
        let mut names: Vec<_> = ROWS.iter().map(|r| r.name).chain(ABSENT.iter().copied()).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
