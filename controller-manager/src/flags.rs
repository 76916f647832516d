//! The command line of kube-controller-manager, in upstream's sections. A flag of a controller that
//! does not exist here is unknown, and so refused by its name.

use std::path::PathBuf;

use clap::Parser;
use daemon::flags::{GoDuration, LoggingFlags};
use daemon::serve::{DelegatedFlags, ServingFlags};

/// The Kubernetes controller manager runs the loops that watch the state of the cluster through the
/// apiserver and move it towards the desired state.
#[derive(Parser, Clone, Debug)]
#[command(name = "kube-controller-manager")]
pub struct Flags {
    /// Controllers to enable: '*' all that are on by default, 'foo' the controller named foo, '-foo' not that one
    #[arg(
        long,
        value_name = "strings",
        value_delimiter = ',',
        default_value = "*",
        allow_hyphen_values = true,
        help_heading = "Generic flags"
    )]
    pub controllers: Vec<String>,
    /// The instance prefix for the cluster: only cloud providers use it, and there is none here
    #[arg(long, value_name = "string", default_value = "kubernetes", help_heading = "Generic flags")]
    pub cluster_name: String,
    /// CIDR range for pods in the cluster. Only used with --allocate-node-cidrs
    #[arg(long, value_name = "string", help_heading = "Generic flags")]
    pub cluster_cidr: Option<String>,
    /// Whether each node is given a range of pod addresses out of --cluster-cidr
    #[arg(long, help_heading = "Generic flags")]
    pub allocate_node_cidrs: bool,
    /// If true, each controller acts as a service account of its own
    #[arg(long, help_heading = "Generic flags")]
    pub use_service_account_credentials: bool,
    /// QPS to use while talking with kubernetes apiserver
    #[arg(long, value_name = "float", default_value_t = 20.0, help_heading = "Generic flags")]
    pub kube_api_qps: f64,
    /// Burst to use while talking with kubernetes apiserver
    #[arg(long, value_name = "int", default_value_t = 30, help_heading = "Generic flags")]
    pub kube_api_burst: u32,
    /// Profiling via web interface. There is none: only false is accepted
    #[arg(long, help_heading = "Debugging flags")]
    pub profiling: bool,

    /// Gain leadership before the loops run. Enable this when running several for high availability
    #[arg(long, default_value_t = true, help_heading = "Leader election flags")]
    pub leader_elect: bool,
    /// How long other candidates wait after the last renewal that they saw
    #[arg(long, value_name = "duration", default_value = "15s", help_heading = "Leader election flags")]
    pub leader_elect_lease_duration: GoDuration,
    /// How long the leader tries to renew before it stops leading
    #[arg(long, value_name = "duration", default_value = "10s", help_heading = "Leader election flags")]
    pub leader_elect_renew_deadline: GoDuration,
    /// How long candidates wait between tries
    #[arg(long, value_name = "duration", default_value = "2s", help_heading = "Leader election flags")]
    pub leader_elect_retry_period: GoDuration,
    /// The kind of lock: leases
    #[arg(long, value_name = "string", default_value = "leases", value_parser = ["leases"], help_heading = "Leader election flags")]
    pub leader_elect_resource_lock: String,
    /// The name of the lock
    #[arg(
        long,
        value_name = "string",
        default_value = "kube-controller-manager",
        help_heading = "Leader election flags"
    )]
    pub leader_elect_resource_name: String,
    /// The namespace of the lock
    #[arg(
        long,
        value_name = "string",
        default_value = "kube-system",
        help_heading = "Leader election flags"
    )]
    pub leader_elect_resource_namespace: String,

    #[command(flatten)]
    pub serving: ServingFlags,
    #[command(flatten)]
    pub delegated: DelegatedFlags,

    /// Path to kubeconfig file with authorization and master location information
    #[arg(long, value_name = "string", help_heading = "Misc flags")]
    pub kubeconfig: Option<PathBuf>,
    /// The address of the Kubernetes API server (overrides any value in kubeconfig)
    #[arg(long, value_name = "string", help_heading = "Misc flags")]
    pub master: Option<String>,

    /// PEM-encoded certificate of the authority that signs certificates for the cluster
    #[arg(
        long,
        value_name = "string",
        requires = "cluster_signing_key_file",
        help_heading = "Csrsigning controller flags"
    )]
    pub cluster_signing_cert_file: Option<PathBuf>,
    /// PEM-encoded private key of that authority
    #[arg(
        long,
        value_name = "string",
        requires = "cluster_signing_cert_file",
        help_heading = "Csrsigning controller flags"
    )]
    pub cluster_signing_key_file: Option<PathBuf>,
    /// The longest that signed certificates are valid; requests may ask for less
    #[arg(
        long,
        value_name = "duration",
        default_value = "8760h",
        help_heading = "Csrsigning controller flags"
    )]
    pub cluster_signing_duration: GoDuration,

    /// The number of deployments that are synced at once
    #[arg(long, value_name = "int", default_value_t = 5, help_heading = "Deployment controller flags")]
    pub concurrent_deployment_syncs: usize,
    /// The number of replica sets that are synced at once
    #[arg(long, value_name = "int", default_value_t = 5, help_heading = "Replicaset controller flags")]
    pub concurrent_replicaset_syncs: usize,
    /// The number of daemon sets that are synced at once
    #[arg(long, value_name = "int", default_value_t = 2, help_heading = "Daemonset controller flags")]
    pub concurrent_daemonset_syncs: usize,
    /// The number of jobs that are synced at once
    #[arg(long, value_name = "int", default_value_t = 5, help_heading = "Job controller flags")]
    pub concurrent_job_syncs: usize,
    /// The number of cron jobs that are synced at once
    #[arg(long, value_name = "int", default_value_t = 5, help_heading = "Cronjob controller flags")]
    pub concurrent_cron_job_syncs: usize,
    /// The number of finished jobs that are looked after at once
    #[arg(
        long,
        value_name = "int",
        default_value_t = 5,
        help_heading = "Ttl-after-finished controller flags"
    )]
    pub concurrent_ttl_after_finished_syncs: usize,
    /// The number of pods whose ephemeral volumes are looked after at once
    #[arg(long, value_name = "int", default_value_t = 5, help_heading = "Ephemeralvolume controller flags")]
    pub concurrent_ephemeralvolume_syncs: usize,
    /// The number of pods and claims to devices that are synced at once
    #[arg(long, value_name = "int", default_value_t = 50, help_heading = "Resourceclaim controller flags")]
    pub concurrent_resourceclaim_syncs: usize,
    /// The number of pods that are evicted from tainted devices at once
    #[arg(
        long,
        value_name = "int",
        default_value_t = 8,
        help_heading = "Device taint eviction controller flags"
    )]
    pub concurrent_device_taint_eviction_syncs: usize,
    /// The number of horizontal pod autoscalers that are synced at once
    #[arg(
        long,
        value_name = "int",
        default_value_t = 5,
        help_heading = "Horizontalpodautoscaling controller flags"
    )]
    pub concurrent_horizontal_pod_autoscaler_syncs: usize,
    /// How often usage is looked at
    #[arg(
        long,
        value_name = "duration",
        default_value = "15s",
        help_heading = "Horizontalpodautoscaling controller flags"
    )]
    pub horizontal_pod_autoscaler_sync_period: GoDuration,
    /// How long the autoscaler looks back and does not scale down below any recommendation of that time
    #[arg(
        long,
        value_name = "duration",
        default_value = "5m0s",
        help_heading = "Horizontalpodautoscaling controller flags"
    )]
    pub horizontal_pod_autoscaler_downscale_stabilization: GoDuration,
    /// How far the ratio of actual to desired usage must be from 1 for the autoscaler to scale
    #[arg(
        long,
        value_name = "float",
        default_value_t = 0.1,
        help_heading = "Horizontalpodautoscaling controller flags"
    )]
    pub horizontal_pod_autoscaler_tolerance: f64,
    /// How long after a pod's start samples of its CPU may be skipped
    #[arg(
        long,
        value_name = "duration",
        default_value = "5m0s",
        help_heading = "Horizontalpodautoscaling controller flags"
    )]
    pub horizontal_pod_autoscaler_cpu_initialization_period: GoDuration,
    /// How long after a pod's start a change of its readiness counts as the first
    #[arg(
        long,
        value_name = "duration",
        default_value = "30s",
        help_heading = "Horizontalpodautoscaling controller flags"
    )]
    pub horizontal_pod_autoscaler_initial_readiness_delay: GoDuration,
    /// The number of resource quotas that are synced at once
    #[arg(long, value_name = "int", default_value_t = 5, help_heading = "Resourcequota controller flags")]
    pub concurrent_resource_quota_syncs: usize,
    /// How often what is used is summed up anew, at least
    #[arg(
        long,
        value_name = "duration",
        default_value = "5m0s",
        help_heading = "Resourcequota controller flags"
    )]
    pub resource_quota_sync_period: GoDuration,
    /// The number of stateful sets that are synced at once
    #[arg(long, value_name = "int", default_value_t = 5, help_heading = "Statefulset controller flags")]
    pub concurrent_statefulset_syncs: usize,
    /// The number of replication controllers that are synced at once
    #[arg(
        long,
        value_name = "int",
        default_value_t = 5,
        help_heading = "Replicationcontroller controller flags"
    )]
    pub concurrent_rc_syncs: usize,
    /// The number of services whose endpoints are synced at once
    #[arg(long, value_name = "int", default_value_t = 5, help_heading = "Endpoint controller flags")]
    pub concurrent_endpoint_syncs: usize,
    /// The number of services whose endpoint slices are synced at once
    #[arg(long, value_name = "int", default_value_t = 5, help_heading = "Endpointslice controller flags")]
    pub concurrent_service_endpoint_syncs: usize,
    /// The most endpoints in an EndpointSlice
    #[arg(long, value_name = "int", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Endpointslice controller flags")]
    pub max_endpoints_per_slice: u16,
    /// The number of endpoints objects that are mirrored at once
    #[arg(
        long,
        value_name = "int",
        default_value_t = 5,
        help_heading = "Endpointslicemirroring controller flags"
    )]
    pub mirroring_concurrent_service_endpoint_syncs: usize,
    /// The most addresses of an Endpoints subset that are mirrored
    #[arg(long, value_name = "int", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Endpointslicemirroring controller flags")]
    pub mirroring_max_endpoints_per_subset: u16,
    /// The number of namespaces that are synced at once
    #[arg(long, value_name = "int", default_value_t = 10, help_heading = "Namespace controller flags")]
    pub concurrent_namespace_syncs: usize,
    /// Whether objects are collected whose owners are gone. Must be the same as the apiserver's
    #[arg(long, default_value_t = true, help_heading = "Garbagecollector controller flags")]
    pub enable_garbage_collector: bool,
    /// The number of garbage collector workers
    #[arg(
        long,
        value_name = "int",
        default_value_t = 20,
        help_heading = "Garbagecollector controller flags"
    )]
    pub concurrent_gc_syncs: usize,

    /// How long a node may be silent before it counts as unhealthy
    #[arg(
        long,
        value_name = "duration",
        default_value = "50s",
        help_heading = "Nodelifecycle controller flags"
    )]
    pub node_monitor_grace_period: GoDuration,
    /// How long a new node may be silent before it counts as unhealthy
    #[arg(
        long,
        value_name = "duration",
        default_value = "1m0s",
        help_heading = "Nodelifecycle controller flags"
    )]
    pub node_startup_grace_period: GoDuration,
    /// How often the state of nodes is looked at, at least
    #[arg(
        long,
        value_name = "duration",
        default_value = "5s",
        help_heading = "Nodelifecycle controller flags"
    )]
    pub node_monitor_period: GoDuration,
    /// Nodes a second whose pods are evicted when the zone is healthy
    #[arg(
        long,
        value_name = "float",
        default_value_t = 0.1,
        help_heading = "Nodelifecycle controller flags"
    )]
    pub node_eviction_rate: f64,
    /// Nodes a second whose pods are evicted when the zone is unhealthy
    #[arg(
        long,
        value_name = "float",
        default_value_t = 0.01,
        help_heading = "Nodelifecycle controller flags"
    )]
    pub secondary_node_eviction_rate: f64,
    /// Nodes in a cluster above which it counts as large; a small one evicts nothing when its zone is unhealthy
    #[arg(long, value_name = "int", default_value_t = 50, help_heading = "Nodelifecycle controller flags")]
    pub large_cluster_size_threshold: usize,
    /// Fraction of nodes not ready (at least 3) from which a zone counts as unhealthy
    #[arg(
        long,
        value_name = "float",
        default_value_t = 0.55,
        help_heading = "Nodelifecycle controller flags"
    )]
    pub unhealthy_zone_threshold: f64,

    /// Size of a node's range of IPv4 addresses
    #[arg(long, value_name = "int", value_parser = clap::value_parser!(u8).range(1..=32), help_heading = "Nodeipam controller flags")]
    pub node_cidr_mask_size: Option<u8>,
    /// Size of a node's range of IPv4 addresses in a dual-stack cluster
    #[arg(long, value_name = "int", value_parser = clap::value_parser!(u8).range(1..=32), help_heading = "Nodeipam controller flags")]
    pub node_cidr_mask_size_ipv4: Option<u8>,
    /// Size of a node's range of IPv6 addresses
    #[arg(long, value_name = "int", value_parser = clap::value_parser!(u8).range(1..=128), help_heading = "Nodeipam controller flags")]
    pub node_cidr_mask_size_ipv6: Option<u8>,
    /// CIDR range for services: kept out of the nodes' ranges. Only used with --allocate-node-cidrs
    #[arg(long, value_name = "string", help_heading = "Nodeipam controller flags")]
    pub service_cluster_ip_range: Option<String>,

    /// Finished pods that are kept before the oldest are deleted. 0 or less keeps all
    #[arg(long, value_name = "int", default_value_t = 12500, help_heading = "Podgc controller flags")]
    pub terminated_pod_gc_threshold: i32,

    /// File with the cluster's authority, published to each namespace as kube-root-ca.crt
    #[arg(long, value_name = "string", help_heading = "Serviceaccount controller flags")]
    pub root_ca_file: Option<PathBuf>,
    /// The number of Secrets with tokens that are synced at once
    #[arg(long, value_name = "int", default_value_t = 5, help_heading = "Serviceaccount controller flags")]
    pub concurrent_serviceaccount_token_syncs: usize,
    /// Keep volumes attached to unhealthy nodes that use them, however long they have been unhealthy
    #[arg(long, help_heading = "Attachdetach controller flags")]
    pub disable_force_detach_on_timeout: bool,
    /// File with the key that signs the service account tokens in Secrets. Without it none are made
    #[arg(long, value_name = "string", help_heading = "Serviceaccount controller flags")]
    pub service_account_private_key_file: Option<PathBuf>,

    #[command(flatten)]
    pub logging: LoggingFlags,
}

impl Flags {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// Names the flag.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.profiling, "--profiling=true is not supported by this controller manager");
        anyhow::ensure!(
            self.leader_elect_lease_duration.0 > self.leader_elect_renew_deadline.0,
            "--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline"
        );
        anyhow::ensure!(
            !self.allocate_node_cidrs || self.cluster_cidr.is_some(),
            "--allocate-node-cidrs needs --cluster-cidr"
        );
        if let Some(path) = &self.service_account_private_key_file {
            std::fs::metadata(path).map_err(|e| {
                anyhow::anyhow!("--service-account-private-key-file: cannot read {}: {e}", path.display())
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use daemon::flags::{Parsed, try_parse_from};

    use super::*;

    fn flags(words: &str) -> Result<Flags, String> {
        let words = words.split(' ').filter(|w| !w.is_empty());
        match try_parse_from(std::iter::once("kube-controller-manager").chain(words)) {
            Ok(Parsed::Flags(flags)) => Ok(flags),
            Ok(Parsed::Version(version)) => Err(version),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn defaults_are_upstreams() {
        let f = flags("").unwrap();
        assert_eq!(f.controllers, ["*"]);
        assert!(f.leader_elect && f.enable_garbage_collector && !f.use_service_account_credentials);
        assert_eq!(f.node_monitor_grace_period.to_string(), "50s");
        assert_eq!((f.concurrent_deployment_syncs, f.concurrent_gc_syncs), (5, 20));
        assert_eq!((f.concurrent_resourceclaim_syncs, f.concurrent_device_taint_eviction_syncs), (50, 8));
        assert_eq!((f.terminated_pod_gc_threshold, f.max_endpoints_per_slice), (12500, 100));
        assert_eq!(f.cluster_signing_duration.to_string(), "8760h0m0s");
        f.check().unwrap();
    }

    #[test]
    fn a_unit_file_written_for_upstream_is_taken() {
        let f = flags(
            "--kubeconfig=/k --authentication-kubeconfig=/k --authorization-kubeconfig=/k --bind-address=127.0.0.1 \
             --client-ca-file=/ca --cluster-name=kubernetes --controllers=*,-pod-garbage-collector-controller \
             --leader-elect=true --root-ca-file=/ca --use-service-account-credentials=true --v=2",
        )
        .unwrap();
        assert_eq!(f.controllers, ["*", "-pod-garbage-collector-controller"]);
        assert!(f.use_service_account_credentials);
    }

    #[test]
    fn kubeadms_manifest_is_taken() {
        let words = "kube-controller-manager --allocate-node-cidrs=true \
             --authentication-kubeconfig=/etc/kubernetes/controller-manager.conf \
             --authorization-kubeconfig=/etc/kubernetes/controller-manager.conf --bind-address=127.0.0.1 \
             --client-ca-file=/etc/kubernetes/pki/ca.crt --cluster-cidr=10.244.0.0/16 --cluster-name=kubernetes \
             --cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt \
             --cluster-signing-key-file=/etc/kubernetes/pki/ca.key --controllers=*,bootstrapsigner,tokencleaner \
             --enable-hostpath-provisioner=false --feature-gates=SidecarContainers=true \
             --kubeconfig=/etc/kubernetes/controller-manager.conf --leader-elect=true \
             --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt \
             --root-ca-file=/etc/kubernetes/pki/ca.crt \
             --service-account-private-key-file=/etc/kubernetes/pki/sa.key --service-cluster-ip-range=10.96.0.0/12 \
             --use-service-account-credentials=true --cloud-provider= --cert-dir=/var/run/kubernetes";
        let parsed =
            daemon::flags::try_parse_beside::<Flags, _>(words.split_whitespace(), crate::fixed_flags::TABLE);
        match parsed.unwrap() {
            Parsed::Flags(flags) => assert!(flags.delegated.requestheader_client_ca_file.is_some()),
            Parsed::Version(version) => panic!("{version}"),
        }
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let refused = |words: &str, name: &str| {
            let error = flags(words).and_then(|f| f.check().map_err(|e| e.to_string())).unwrap_err();
            assert!(error.contains(name), "{error}");
        };
        refused("--concurrent-gang-syncs=5", "--concurrent-gang-syncs");
        refused("--profiling=true", "--profiling");
        refused("--allocate-node-cidrs", "--cluster-cidr");
        refused("--cluster-signing-cert-file=/x", "--cluster-signing-key-file");
        refused("--service-account-private-key-file=/does/not/exist", "--service-account-private-key-file");
        refused("--leader-elect-renew-deadline=20s", "--leader-elect-lease-duration");
    }
}
