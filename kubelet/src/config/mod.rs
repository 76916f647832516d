//! KubeletConfiguration (kubelet.config.k8s.io/v1beta1): the fields that this kubelet acts on, with
//! upstream's names and defaults.
//!
//! A field of upstream's that has no effect here is accepted only with a value that asks for nothing
//! (its default, or a zero value, as kubeadm writes them); anything else is refused by name, so that
//! no setting is silently ignored ([`inert`]). Fields that upstream does not know are told and left out. Values are checked
//! ([`check`]) once files and flags have been put together; what follows from them is in [`derived`].

mod check;
mod derived;
mod drop_ins;
mod inert;
mod logging;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use daemon::config_file::{self, ConfigFileError, Expected, Lenient};
use daemon::flags::GoDuration;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::placement::settings::ReservedMemory;
use crate::shutdown::plan::Period;
pub use drop_ins::DropInError;
pub use logging::Logging;

const EXPECTED: Expected =
    Expected { kind: "KubeletConfiguration", api_versions: &["kubelet.config.k8s.io/v1beta1"] };

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be used at all.
    #[error(transparent)]
    File(#[from] ConfigFileError),
    /// A folder of further files cannot be used.
    #[error("failed to merge kubelet configs: {0}")]
    DropIn(#[from] DropInError),
    /// A field that is known and not supported.
    #[error("KubeletConfiguration: {0} is not supported by this kubelet")]
    Unsupported(String),
    /// A field with a bad value.
    #[error("invalid KubeletConfiguration: {0}")]
    Invalid(String),
}

/// A duration as the file writes it; `0s` counts as absent.
fn duration<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(input)?;
    let parse = |text: String| text.parse::<GoDuration>().map_err(serde::de::Error::custom);
    Ok(text.map(parse).transpose()?.map(|duration| duration.0).filter(|duration| !duration.is_zero()))
}

/// `authentication` and `authorization` say `enabled: …` about each of their parts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Anonymous {
    /// Requests without credentials are `system:anonymous`.
    pub enabled: Option<bool>,
}

/// Bearer tokens are reviewed by the API server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TokenWebhook {
    /// On by default.
    pub enabled: Option<bool>,
    /// How long a review's answer holds; 2 minutes by default.
    #[serde(rename = "cacheTTL", deserialize_with = "duration")]
    pub cache_ttl: Option<Duration>,
}

/// Client certificates.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct X509 {
    /// PEM file of the authorities that sign client certificates.
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: String,
}

/// Who a request is from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Authentication {
    /// Requests without credentials.
    pub anonymous: Anonymous,
    /// Bearer tokens.
    pub webhook: TokenWebhook,
    /// Client certificates.
    pub x509: X509,
}

/// How long answers of the API server hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccessWebhook {
    /// 5 minutes by default.
    #[serde(rename = "cacheAuthorizedTTL", deserialize_with = "duration")]
    pub authorized: Option<Duration>,
    /// 30 seconds by default.
    #[serde(rename = "cacheUnauthorizedTTL", deserialize_with = "duration")]
    pub unauthorized: Option<Duration>,
}

/// What a request may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Authorization {
    /// `Webhook` (the default) or `AlwaysAllow`.
    pub mode: String,
    /// The webhook's answers.
    pub webhook: AccessWebhook,
}

/// A taint to register with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// NoSchedule, PreferNoSchedule or NoExecute.
    pub effect: String,
}

/// Pods with users of their own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserNamespaceSettings {
    /// Ids of each pod; 65536 by default.
    #[serde(rename = "idsPerPod")]
    pub ids_per_pod: Option<i64>,
}

/// The node's swap.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MemorySwap {
    /// `NoSwap` (the default) or `LimitedSwap`.
    pub swap_behavior: String,
}

/// Containers that end again and again.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CrashLoopSettings {
    /// They wait no longer than this; five minutes by default.
    #[serde(deserialize_with = "duration")]
    pub max_container_restart_period: Option<Duration>,
}

/// The configuration. Units are in the names' documentation upstream; durations are real ones here.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the names are KubeletConfiguration's, documented there")]
pub struct KubeletConfiguration {
    pub address: String,
    pub port: u16,
    pub read_only_port: u16,
    pub healthz_port: Option<u16>,
    pub healthz_bind_address: String,
    pub tls_cert_file: String,
    pub tls_private_key_file: String,
    pub tls_min_version: String,
    pub tls_cipher_suites: Vec<String>,
    pub authentication: Authentication,
    pub authorization: Authorization,
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Vec<String>,
    pub cluster_domain: String,
    pub resolv_conf: Option<String>,
    pub cgroup_driver: String,
    pub cgroup_root: String,
    #[serde(rename = "cgroupsPerQOS")]
    pub cgroups_per_qos: Option<bool>,
    pub container_runtime_endpoint: String,
    pub image_service_endpoint: String,
    #[serde(deserialize_with = "duration")]
    pub runtime_request_timeout: Option<Duration>,
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    pub pod_logs_dir: String,
    pub pod_pids_limit: Option<i64>,
    pub max_pods: i32,
    pub pods_per_core: i32,
    #[serde(rename = "cpuCFSQuota")]
    pub cpu_cfs_quota: Option<bool>,
    pub fail_swap_on: Option<bool>,
    pub seccomp_default: Option<bool>,
    pub serialize_image_pulls: Option<bool>,
    pub max_parallel_image_pulls: Option<i32>,
    #[serde(rename = "registryPullQPS")]
    pub registry_pull_qps: Option<i32>,
    pub registry_burst: i32,
    pub image_pull_credentials_verification_policy: String,
    pub preloaded_images_verification_allowlist: Vec<String>,
    pub register_node: Option<bool>,
    pub rotate_certificates: Option<bool>,
    #[serde(rename = "serverTLSBootstrap")]
    pub server_tls_bootstrap: Option<bool>,
    pub static_pod_path: String,
    #[serde(rename = "staticPodURL")]
    pub static_pod_url: String,
    #[serde(rename = "staticPodURLHeader")]
    pub static_pod_url_header: BTreeMap<String, Vec<String>>,
    #[serde(deserialize_with = "duration")]
    pub http_check_frequency: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    pub file_check_frequency: Option<Duration>,
    pub register_with_taints: Vec<Taint>,
    #[serde(rename = "providerID")]
    pub provider_id: String,
    #[serde(deserialize_with = "duration")]
    pub node_status_update_frequency: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    pub node_status_report_frequency: Option<Duration>,
    pub node_status_max_images: Option<i32>,
    pub node_lease_duration_seconds: i32,
    pub eviction_hard: Option<BTreeMap<String, String>>,
    pub eviction_soft: BTreeMap<String, String>,
    pub eviction_soft_grace_period: BTreeMap<String, String>,
    pub eviction_minimum_reclaim: BTreeMap<String, String>,
    pub eviction_max_pod_grace_period: i32,
    #[serde(deserialize_with = "duration")]
    pub eviction_pressure_transition_period: Option<Duration>,
    pub merge_default_eviction_settings: Option<bool>,
    /// Upstream's gates; each may be named with its default.
    pub feature_gates: BTreeMap<String, bool>,
    #[serde(deserialize_with = "duration")]
    pub volume_stats_agg_period: Option<Duration>,
    pub enable_system_log_handler: Option<bool>,
    pub enable_system_log_query: Option<bool>,
    pub system_reserved: BTreeMap<String, String>,
    pub kube_reserved: BTreeMap<String, String>,
    #[serde(rename = "reservedSystemCPUs")]
    pub reserved_system_cpus: String,
    pub cpu_manager_policy: String,
    pub cpu_manager_policy_options: BTreeMap<String, String>,
    #[serde(deserialize_with = "duration")]
    pub cpu_manager_reconcile_period: Option<Duration>,
    pub memory_manager_policy: String,
    pub reserved_memory: Vec<ReservedMemory>,
    pub topology_manager_policy: String,
    pub topology_manager_policy_options: BTreeMap<String, String>,
    pub topology_manager_scope: String,
    pub container_log_max_size: String,
    pub container_log_max_files: Option<i32>,
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: Option<u8>,
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: Option<u8>,
    #[serde(rename = "imageMinimumGCAge", deserialize_with = "duration")]
    pub image_minimum_gc_age: Option<Duration>,
    #[serde(rename = "imageMaximumGCAge", deserialize_with = "duration")]
    pub image_maximum_gc_age: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    pub shutdown_grace_period: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    pub shutdown_grace_period_critical_pods: Option<Duration>,
    pub shutdown_grace_period_by_pod_priority: Vec<Period>,
    pub user_namespaces: UserNamespaceSettings,
    pub allowed_unsafe_sysctls: Vec<String>,
    pub crash_loop_back_off: CrashLoopSettings,
    pub protect_kernel_defaults: bool,
    #[serde(rename = "kubeAPIQPS")]
    pub kube_api_qps: Option<i32>,
    #[serde(rename = "kubeAPIBurst")]
    pub kube_api_burst: Option<i32>,
    #[serde(rename = "eventRecordQPS")]
    pub event_record_qps: Option<i32>,
    pub event_burst: Option<i32>,
    pub max_open_files: Option<i64>,
    #[serde(deserialize_with = "duration")]
    pub sync_frequency: Option<Duration>,
    pub enable_server: Option<bool>,
    pub enable_debugging_handlers: Option<bool>,
    pub enable_debug_flags_handler: Option<bool>,
    /// There are no profiles in Go's format: what is asked for is told, and not there.
    pub enable_profiling_handler: Option<bool>,
    #[serde(rename = "failCgroupV1")]
    pub fail_cgroup_v1: Option<bool>,
    pub oom_score_adj: Option<i32>,
    pub enforce_node_allocatable: Option<Vec<String>>,
    pub kube_reserved_cgroup: String,
    pub system_reserved_cgroup: String,
    pub kubelet_cgroups: String,
    pub system_cgroups: String,
    #[serde(rename = "makeIPTablesUtilChains")]
    pub make_iptables_util_chains: Option<bool>,
    pub logging: Logging,
    pub memory_swap: MemorySwap,
    #[serde(rename = "singleProcessOOMKill")]
    pub single_process_oom_kill: Option<bool>,
    /// Fields that there is nothing to set by, as they were given.
    #[serde(skip)]
    pub inert: Map<String, Value>,
    /// What a strict reader says of the file.
    #[serde(skip)]
    pub strict_error: Option<String>,
}

impl Default for KubeletConfiguration {
    fn default() -> Self {
        Self {
            address: "0.0.0.0".into(),
            port: 10250,
            read_only_port: 0,
            healthz_port: None,
            healthz_bind_address: "127.0.0.1".into(),
            tls_cert_file: String::new(),
            tls_private_key_file: String::new(),
            tls_min_version: String::new(),
            tls_cipher_suites: Vec::new(),
            authentication: Authentication::default(),
            authorization: Authorization::default(),
            cluster_dns: Vec::new(),
            cluster_domain: String::new(),
            resolv_conf: None,
            cgroup_driver: "cgroupfs".into(),
            cgroup_root: String::new(),
            cgroups_per_qos: None,
            container_runtime_endpoint: "unix:///run/containerd/containerd.sock".into(),
            image_service_endpoint: String::new(),
            runtime_request_timeout: None,
            pod_cidr: String::new(),
            pod_logs_dir: "/var/log/pods".into(),
            pod_pids_limit: None,
            max_pods: 110,
            pods_per_core: 0,
            cpu_cfs_quota: None,
            fail_swap_on: None,
            seccomp_default: None,
            serialize_image_pulls: None,
            max_parallel_image_pulls: None,
            registry_pull_qps: None,
            registry_burst: 0,
            image_pull_credentials_verification_policy: String::new(),
            preloaded_images_verification_allowlist: Vec::new(),
            register_node: None,
            rotate_certificates: None,
            server_tls_bootstrap: None,
            static_pod_path: String::new(),
            static_pod_url: String::new(),
            static_pod_url_header: BTreeMap::new(),
            http_check_frequency: None,
            file_check_frequency: None,
            register_with_taints: Vec::new(),
            provider_id: String::new(),
            node_status_update_frequency: None,
            node_status_report_frequency: None,
            node_status_max_images: None,
            node_lease_duration_seconds: 40,
            eviction_hard: None,
            eviction_soft: BTreeMap::new(),
            eviction_soft_grace_period: BTreeMap::new(),
            eviction_minimum_reclaim: BTreeMap::new(),
            eviction_max_pod_grace_period: 0,
            eviction_pressure_transition_period: None,
            merge_default_eviction_settings: None,
            feature_gates: BTreeMap::new(),
            volume_stats_agg_period: None,
            enable_system_log_handler: None,
            enable_system_log_query: None,
            system_reserved: BTreeMap::new(),
            kube_reserved: BTreeMap::new(),
            reserved_system_cpus: String::new(),
            cpu_manager_policy: String::new(),
            cpu_manager_policy_options: BTreeMap::new(),
            cpu_manager_reconcile_period: None,
            memory_manager_policy: String::new(),
            reserved_memory: Vec::new(),
            topology_manager_policy: String::new(),
            topology_manager_policy_options: BTreeMap::new(),
            topology_manager_scope: String::new(),
            container_log_max_size: "10Mi".into(),
            container_log_max_files: None,
            image_gc_high_threshold_percent: None,
            image_gc_low_threshold_percent: None,
            image_minimum_gc_age: None,
            image_maximum_gc_age: None,
            shutdown_grace_period: None,
            shutdown_grace_period_critical_pods: None,
            shutdown_grace_period_by_pod_priority: Vec::new(),
            user_namespaces: UserNamespaceSettings::default(),
            allowed_unsafe_sysctls: Vec::new(),
            crash_loop_back_off: CrashLoopSettings::default(),
            protect_kernel_defaults: false,
            kube_api_qps: None,
            kube_api_burst: None,
            event_record_qps: None,
            event_burst: None,
            max_open_files: None,
            sync_frequency: None,
            enable_server: None,
            enable_debugging_handlers: None,
            enable_debug_flags_handler: None,
            enable_profiling_handler: None,
            fail_cgroup_v1: None,
            oom_score_adj: None,
            enforce_node_allocatable: None,
            kube_reserved_cgroup: String::new(),
            system_reserved_cgroup: String::new(),
            kubelet_cgroups: String::new(),
            system_cgroups: String::new(),
            make_iptables_util_chains: None,
            logging: Logging::default(),
            memory_swap: MemorySwap::default(),
            single_process_oom_kill: None,
            inert: Map::new(),
            strict_error: None,
        }
    }
}

/// Fields with paths, which are relative to the file's own folder.
const PATHS: &[&[&str]] = &[
    &["staticPodPath"],
    &["authentication", "x509", "clientCAFile"],
    &["tlsCertFile"],
    &["tlsPrivateKeyFile"],
    &["resolvConf"],
    &["podLogsDir"],
];

impl KubeletConfiguration {
    /// The fields that there is nothing to set by, with upstream's defaults.
    pub fn inert_shown(&self) -> Map<String, Value> {
        inert::shown(&self.inert)
    }

    /// Reads a file, and the folder of files that change it. The values are not checked yet.
    pub fn load(file: Option<&Path>, folder: Option<&Path>) -> Result<Self, ConfigError> {
        let given = match file {
            Some(path) => {
                let mut given = config_file::load_leniently(path, EXPECTED)?;
                make_absolute(&mut given.fields, path)?;
                given
            }
            None => Lenient { fields: legacy(), findings: Vec::new() },
        };
        let Some(folder) = folder else { return Self::from_file(given) };
        let mut fields = given.fields.clone();
        let strict_error = Self::from_file(given)?.strict_error;
        drop_ins::merge(&mut fields, folder)?;
        // COMPAT: nothing is said of fields of the folder's files that nobody knows.
        Ok(Self { strict_error, ..Self::from_fields(fields)?.0 })
    }

    /// What a file says. COMPAT: what is there twice or not known is told, and the kubelet goes on without it.
    fn from_file(file: Lenient) -> Result<Self, ConfigError> {
        let (config, unknown) = Self::from_fields(file.fields)?;
        let strict_error = Lenient::strict_error(&[file.findings, unknown].concat());
        Ok(Self { strict_error, ..config })
    }

    fn from_fields(mut fields: Map<String, Value>) -> Result<(Self, Vec<String>), ConfigError> {
        let inert = inert::take_out(&mut fields)?;
        // COMPAT: null and empty text stand for the default, as in Go.
        fields.retain(|_, value| !value.is_null() && value != "");
        let (config, unknown) = config_file::read_known::<Self>(Value::Object(fields))
            .map_err(|error| ConfigError::Invalid(error.to_string()))?;
        Ok((Self { inert, ..config }, unknown))
    }
}

/// COMPAT: what upstream's flags have been since before there was a file: without one, anybody may do anything.
fn legacy() -> Map<String, Value> {
    let fields = serde_json::json!({
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "readOnlyPort": 10255,
        // The default thresholds are those of files.
        "evictionHard": {},
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn make_absolute(fields: &mut Map<String, Value>, file: &Path) -> Result<(), ConfigError> {
    let file = std::path::absolute(file)
        .map_err(|source| ConfigFileError::Read { path: file.to_owned(), source })?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    for path in PATHS {
        let Some((first, rest)) = path.split_first() else { continue };
        let mut value = fields.get_mut(*first);
        for name in rest {
            value = value.and_then(|value| value.get_mut(*name));
        }
        if let Some(Value::String(text)) = value
            && !text.is_empty()
        {
            *text = folder.join(&*text).to_string_lossy().into_owned();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
