//! Flags that stand for a field of the configuration file and win over it. Upstream calls them
//! deprecated; unit files and `KUBELET_EXTRA_ARGS` are full of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use daemon::flags::{GoDuration, KeyValues};

use crate::config::KubeletConfiguration;
use crate::placement::settings::ReservedMemory;

/// `memory.available<100Mi,nodefs.available<10%`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thresholds(BTreeMap<String, String>);

/// A part without `<`; worded as upstream's map flags word it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed pair, expect string<string")]
pub struct ThresholdsError;

impl FromStr for Thresholds {
    type Err = ThresholdsError;

    fn from_str(text: &str) -> Result<Self, ThresholdsError> {
        let pairs = text.split(',').filter(|part| !part.trim().is_empty()).map(|part| {
            let (signal, value) = part.split_once('<').ok_or(ThresholdsError)?;
            Ok((signal.trim().to_owned(), value.trim().to_owned()))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }
}

/// `0:memory=1Gi,hugepages-2Mi=2Gi`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservation(ReservedMemory);

/// It is not of that form; worded as upstream's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the reserved memory has incorrect format, expected numaNodeID:type=quantity[,type=quantity...], got {0}"
)]
pub struct ReservationError(String);

impl FromStr for Reservation {
    type Err = ReservationError;

    fn from_str(text: &str) -> Result<Self, ReservationError> {
        let bad = || ReservationError(text.to_owned());
        let (node, limits) = text.split_once(':').ok_or_else(bad)?;
        let pair = |part: &str| {
            let (kind, amount) = part.split_once('=').ok_or_else(bad)?;
            Ok((kind.trim().to_owned(), amount.trim().to_owned()))
        };
        Ok(Self(ReservedMemory {
            numa_node: node.trim().parse().map_err(|_| bad())?,
            limits: limits.split(',').map(pair).collect::<Result<_, _>>()?,
        }))
    }
}

/// The flags; units and meanings are those of the fields.
#[derive(Args, Clone, Debug, Default)]
pub struct SettingFlags {
    /// Unique identifier for identifying the node in a machine database, i.e cloudprovider
    #[arg(long, value_name = "string")]
    provider_id: Option<String>,
    /// The read-only port for the kubelet to serve on with no authentication/authorization (set to 0 to disable)
    #[arg(long, value_name = "int32")]
    read_only_port: Option<u16>,
    /// The IP address for the healthz server to serve on
    #[arg(long, value_name = "ip")]
    healthz_bind_address: Option<IpAddr>,
    /// Enables anonymous requests to the kubelet server
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    anonymous_auth: Option<bool>,
    /// Use the TokenReview API to determine authentication for bearer tokens
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    authentication_token_webhook: Option<bool>,
    /// Authorization mode for the kubelet server. Valid options are AlwaysAllow or Webhook
    #[arg(long, value_name = "string")]
    authorization_mode: Option<String>,
    /// Comma-separated list of cipher suites for the server
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    tls_cipher_suites: Vec<String>,
    /// Minimum TLS version supported
    #[arg(long, value_name = "string")]
    tls_min_version: Option<String>,
    /// How often the kubelet computes the node's status
    #[arg(long, value_name = "duration")]
    node_status_update_frequency: Option<GoDuration>,
    /// Timeout of all runtime requests except long running ones: pull, logs, exec and attach
    #[arg(long, value_name = "duration")]
    runtime_request_timeout: Option<GoDuration>,
    /// The maximum number of processes per pod
    #[arg(long, value_name = "int")]
    pod_max_pids: Option<i64>,
    /// Enable CPU CFS quota enforcement for containers that specify CPU limits
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    cpu_cfs_quota: Option<bool>,
    /// Enable the use of `RuntimeDefault` as the default seccomp profile for all workloads
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    seccomp_default: Option<bool>,
    /// Pull images one at a time
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    serialize_image_pulls: Option<bool>,
    /// Comma-separated whitelist of unsafe sysctls or unsafe sysctl patterns (ending in `*`). Use these at your own risk
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    allowed_unsafe_sysctls: Vec<String>,
    /// If > 0, limit registry pull QPS to this value. If 0, unlimited
    #[arg(long, value_name = "int32")]
    registry_qps: Option<i32>,
    /// Maximum size of a bursty pulls, temporarily allows pulls to burst to this number, while still not exceeding registry-qps
    #[arg(long, value_name = "int32")]
    registry_burst: Option<i32>,
    /// The maximum size (e.g. 10Mi) of a container log file before it is rotated
    #[arg(long, value_name = "string")]
    container_log_max_size: Option<String>,
    /// The maximum number of container log files that can be present for a container
    #[arg(long, value_name = "int32")]
    container_log_max_files: Option<i32>,
    /// The percent of disk usage after which image garbage collection is always run
    #[arg(long, value_name = "int32")]
    image_gc_high_threshold: Option<u8>,
    /// The percent of disk usage before which image garbage collection is never run
    #[arg(long, value_name = "int32")]
    image_gc_low_threshold: Option<u8>,
    /// A set of eviction thresholds (e.g. memory.available<1Gi) that if met would trigger a pod eviction
    #[arg(long, value_name = "mapStringString")]
    eviction_hard: Option<Thresholds>,
    /// A set of eviction thresholds (e.g. memory.available<1.5Gi) that if met over a corresponding grace period would trigger a pod eviction
    #[arg(long, value_name = "mapStringString")]
    eviction_soft: Option<Thresholds>,
    /// How long each soft threshold must hold before it triggers a pod eviction (e.g. memory.available=1m30s)
    #[arg(long, value_name = "mapStringString")]
    eviction_soft_grace_period: Option<KeyValues>,
    /// How much of a resource an eviction frees at least (e.g. imagefs.available=2Gi)
    #[arg(long, value_name = "mapStringString")]
    eviction_minimum_reclaim: Option<KeyValues>,
    /// The longest grace period of pods that are evicted for a soft threshold, in seconds
    #[arg(long, value_name = "int32")]
    eviction_max_pod_grace_period: Option<i32>,
    /// How long the kubelet waits before a condition of pressure ends
    #[arg(long, value_name = "duration")]
    eviction_pressure_transition_period: Option<GoDuration>,
    /// Resources reserved for non-kubernetes components (e.g. cpu=200m,memory=500Mi)
    #[arg(long, value_name = "mapStringString")]
    system_reserved: Option<KeyValues>,
    /// Resources reserved for kubernetes system components (e.g. cpu=200m,memory=500Mi)
    #[arg(long, value_name = "mapStringString")]
    kube_reserved: Option<KeyValues>,
    /// CPUs that are kept for the system and Kubernetes' own daemons, such as `0-1`; instead of reserved amounts of cpu
    #[arg(long, value_name = "string")]
    reserved_cpus: Option<String>,
    /// CPU Manager policy to use. Possible values: "none", "static"
    #[arg(long, value_name = "string")]
    cpu_manager_policy: Option<String>,
    /// A set of key=value CPU Manager policy options to use, to fine tune their behaviour
    #[arg(long, value_name = "mapStringString")]
    cpu_manager_policy_options: Option<KeyValues>,
    /// CPU Manager reconciliation period. Examples: "10s", or "1m"
    #[arg(long, value_name = "duration")]
    cpu_manager_reconcile_period: Option<GoDuration>,
    /// Memory Manager policy to use. Possible values: "None", "Static"
    #[arg(long, value_name = "string")]
    memory_manager_policy: Option<String>,
    /// Memory reservations of NUMA nodes, such as 0:memory=1Gi,hugepages-2Mi=2Gi;1:memory=2Gi
    #[arg(long, value_name = "reserved-memory", value_delimiter = ';')]
    reserved_memory: Vec<Reservation>,
    /// Topology Manager policy to use. Possible values: "none", "best-effort", "restricted", "single-numa-node"
    #[arg(long, value_name = "string")]
    topology_manager_policy: Option<String>,
    /// A set of key=value Topology Manager policy options to use, to fine tune their behaviour
    #[arg(long, value_name = "mapStringString")]
    topology_manager_policy_options: Option<KeyValues>,
    /// Scope to which topology hints are applied. Possible values: "container", "pod"
    #[arg(long, value_name = "string")]
    topology_manager_scope: Option<String>,
}

impl SettingFlags {
    /// Writes what was given over the configuration; the caller checks the result.
    pub fn apply(&self, config: &mut KubeletConfiguration) {
        fn set<T: Clone>(field: &mut T, flag: Option<&T>) {
            if let Some(value) = flag {
                field.clone_from(value);
            }
        }
        fn prefer<T: Clone>(field: &mut Option<T>, flag: &Option<T>) {
            if flag.is_some() {
                field.clone_from(flag);
            }
        }
        set(&mut config.provider_id, self.provider_id.as_ref());
        set(&mut config.read_only_port, self.read_only_port.as_ref());
        set(&mut config.healthz_bind_address, self.healthz_bind_address.map(|ip| ip.to_string()).as_ref());
        prefer(&mut config.authentication.anonymous.enabled, &self.anonymous_auth);
        prefer(&mut config.authentication.webhook.enabled, &self.authentication_token_webhook);
        set(&mut config.authorization.mode, self.authorization_mode.as_ref());
        if !self.tls_cipher_suites.is_empty() {
            config.tls_cipher_suites.clone_from(&self.tls_cipher_suites);
        }
        set(&mut config.tls_min_version, self.tls_min_version.as_ref());
        let duration = |flag: &Option<GoDuration>| flag.as_ref().map(|given| given.0);
        prefer(&mut config.node_status_update_frequency, &duration(&self.node_status_update_frequency));
        prefer(&mut config.runtime_request_timeout, &duration(&self.runtime_request_timeout));
        prefer(&mut config.pod_pids_limit, &self.pod_max_pids);
        prefer(&mut config.cpu_cfs_quota, &self.cpu_cfs_quota);
        prefer(&mut config.seccomp_default, &self.seccomp_default);
        prefer(&mut config.serialize_image_pulls, &self.serialize_image_pulls);
        if !self.allowed_unsafe_sysctls.is_empty() {
            config.allowed_unsafe_sysctls.clone_from(&self.allowed_unsafe_sysctls);
        }
        prefer(&mut config.registry_pull_qps, &self.registry_qps);
        set(&mut config.registry_burst, self.registry_burst.as_ref());
        set(&mut config.container_log_max_size, self.container_log_max_size.as_ref());
        prefer(&mut config.container_log_max_files, &self.container_log_max_files);
        prefer(&mut config.image_gc_high_threshold_percent, &self.image_gc_high_threshold);
        prefer(&mut config.image_gc_low_threshold_percent, &self.image_gc_low_threshold);
        prefer(&mut config.eviction_hard, &self.eviction_hard.as_ref().map(|given| given.0.clone()));
        set(&mut config.eviction_soft, self.eviction_soft.as_ref().map(|given| &given.0));
        set(
            &mut config.eviction_soft_grace_period,
            self.eviction_soft_grace_period.as_ref().map(|given| &given.0),
        );
        set(
            &mut config.eviction_minimum_reclaim,
            self.eviction_minimum_reclaim.as_ref().map(|given| &given.0),
        );
        set(&mut config.eviction_max_pod_grace_period, self.eviction_max_pod_grace_period.as_ref());
        prefer(
            &mut config.eviction_pressure_transition_period,
            &self.eviction_pressure_transition_period.map(|given| given.0),
        );
        set(&mut config.system_reserved, self.system_reserved.as_ref().map(|given| &given.0));
        set(&mut config.kube_reserved, self.kube_reserved.as_ref().map(|given| &given.0));
        set(&mut config.reserved_system_cpus, self.reserved_cpus.as_ref());
        set(&mut config.cpu_manager_policy, self.cpu_manager_policy.as_ref());
        set(
            &mut config.cpu_manager_policy_options,
            self.cpu_manager_policy_options.as_ref().map(|given| &given.0),
        );
        prefer(&mut config.cpu_manager_reconcile_period, &duration(&self.cpu_manager_reconcile_period));
        set(&mut config.memory_manager_policy, self.memory_manager_policy.as_ref());
        if !self.reserved_memory.is_empty() {
            config.reserved_memory = self.reserved_memory.iter().map(|given| given.0.clone()).collect();
        }
        set(&mut config.topology_manager_policy, self.topology_manager_policy.as_ref());
        set(
            &mut config.topology_manager_policy_options,
            self.topology_manager_policy_options.as_ref().map(|given| &given.0),
        );
        set(&mut config.topology_manager_scope, self.topology_manager_scope.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use crate::flags::configured as parse;

    /// As kubeadm, kind and people's `/etc/default/kubelet` start a kubelet.
    #[test]
    fn command_lines_of_unit_files() {
        let config = parse(
            "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
             --kubeconfig=/etc/kubernetes/kubelet.conf \
             --container-runtime-endpoint=unix:///var/run/containerd/containerd.sock \
             --register-with-taints=node-role.kubernetes.io/control-plane:NoSchedule --node-ip=172.18.0.2 \
             --node-labels= --provider-id=kind://docker/kind/node --fail-swap-on=false --v=2 \
             --system-reserved=cpu=100m,memory=200Mi --kube-reserved=memory=100Mi \
             --eviction-hard=memory.available<100Mi,nodefs.available<10% --eviction-soft=memory.available<200Mi \
             --eviction-soft-grace-period=memory.available=1m --eviction-max-pod-grace-period=60 \
             --eviction-minimum-reclaim=nodefs.available=1Gi --eviction-pressure-transition-period=1m --image-gc-high-threshold=90 \
             --container-log-max-size=5Mi --container-log-max-files=3 --anonymous-auth=false \
             --authorization-mode=Webhook --authentication-token-webhook --read-only-port=0 \
             --rotate-certificates --rotate-server-certificates --max-pods=200 --serialize-image-pulls=false",
        )
        .unwrap();
        assert_eq!(config.provider_id, "kind://docker/kind/node");
        assert_eq!(config.system_reserved["memory"], "200Mi");
        assert_eq!(config.eviction_hard.unwrap()["nodefs.available"], "10%");
        assert_eq!(config.eviction_soft["memory.available"], "200Mi");
        assert_eq!(config.eviction_minimum_reclaim["nodefs.available"], "1Gi");
        assert_eq!(config.eviction_pressure_transition_period, Some(std::time::Duration::from_secs(60)));
        assert_eq!(config.authentication.webhook.enabled, Some(true));
        assert_eq!((config.server_tls_bootstrap, config.serialize_image_pulls), (Some(true), Some(false)));
        assert_eq!(config.container_runtime_endpoint, "unix:///var/run/containerd/containerd.sock");
        assert_eq!(config.register_with_taints[0].effect, "NoSchedule");
    }

    #[test]
    fn cpus_and_memory_of_numa_nodes() {
        let config = parse(
            "--cpu-manager-policy=static --cpu-manager-policy-options=full-pcpus-only=true --reserved-cpus=0-1 \
             --memory-manager-policy=Static --reserved-memory=0:memory=1Gi,hugepages-2Mi=2Mi;1:memory=1Gi \
             --topology-manager-policy=restricted --topology-manager-scope=pod",
        )
        .unwrap();
        assert_eq!(config.cpu_manager_policy_options["full-pcpus-only"], "true");
        assert_eq!(config.reserved_memory[1].numa_node, 1);
        assert_eq!(config.reserved_memory[0].limits["hugepages-2Mi"], "2Mi");
        assert_eq!(config.topology_manager_scope, "pod");
        assert!(parse("--reserved-memory=0").unwrap_err().contains("incorrect format"));
        assert!(parse("--topology-manager-scope=x").unwrap_err().contains("must be one of"));
        assert!(parse("--reserved-cpus=1-").unwrap_err().contains("unable to parse reservedSystemCPUs"));
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        assert!(parse("--eviction-hard=memory.available").unwrap_err().contains("malformed pair"));
        assert!(parse("--cgroup-driver=other").unwrap_err().contains("cgroupDriver"));
        assert!(parse("--authorization-mode=Open").unwrap_err().contains("authorization.mode"));
    }
}
