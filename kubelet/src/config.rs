//! KubeletConfiguration (kubelet.config.k8s.io/v1beta1): the fields that this kubelet acts on, with
//! upstream's names and defaults.
//!
//! A field of upstream's that has no effect here is accepted only with a value that asks for nothing
//! (its default, or a zero value, as kubeadm writes them); anything else is refused by name, so that
//! no setting is silently ignored. Fields that upstream does not know are refused as well.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use daemon::config_file::{self, ConfigFileError, Expected};
use daemon::flags::GoDuration;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::eviction::thresholds::{self, Threshold};
use crate::image_gc;
use crate::images::Pulls;
use crate::images::access::Policy;
use crate::placement::settings::{self as placement, ReservedMemory};
use crate::shutdown::plan::{self as shutdown_plan, Period};
use crate::sources::manifest_url::Place;
use crate::sysctls;
use crate::user_namespaces::ranges::UNIT;

const EXPECTED: Expected =
    Expected { kind: "KubeletConfiguration", api_versions: &["kubelet.config.k8s.io/v1beta1"] };

/// Fields without effect, with the values that they may have beside the zero value.
const INERT: &[(&str, &[&str])] = &[
    ("configMapAndSecretChangeDetectionStrategy", &["\"Watch\""]),
    ("containerLogMaxWorkers", &["1"]),
    ("containerLogMonitorInterval", &["\"10s\""]),
    ("contentType", &["\"application/vnd.kubernetes.protobuf\"", "\"application/json\""]),
    ("cpuCFSQuotaPeriod", &["\"100ms\""]),
    ("enableContentionProfiling", &[]),
    ("enableControllerAttachDetach", &["true"]),
    ("enableDebugFlagsHandler", &["true"]),
    ("enableDebuggingHandlers", &["true"]),
    ("enableProfilingHandler", &["true"]),
    ("enableServer", &["true"]),
    ("enforceNodeAllocatable", &["[\"pods\"]"]),
    ("eventBurst", &["100"]),
    ("eventRecordQPS", &["50"]),
    ("failCgroupV1", &["true"]),
    ("hairpinMode", &["\"promiscuous-bridge\""]),
    ("iptablesDropBit", &["15"]),
    ("iptablesMasqueradeBit", &["14"]),
    ("kernelMemcgNotification", &[]),
    ("kubeAPIBurst", &["100"]),
    ("kubeAPIQPS", &["50"]),
    ("kubeReservedCgroup", &[]),
    ("kubeletCgroups", &[]),
    ("localStorageCapacityIsolation", &["true"]),
    ("logging", &[]),
    ("makeIPTablesUtilChains", &["true"]),
    ("maxOpenFiles", &["1000000"]),
    ("memoryReservationPolicy", &["\"None\""]),
    ("memorySwap", &[]),
    ("memoryThrottlingFactor", &["0.9"]),
    ("oomScoreAdj", &["-999"]),
    ("podsPerCore", &[]),
    ("protectKernelDefaults", &[]),
    ("qosReserved", &[]),
    ("runOnce", &[]),
    ("showHiddenMetricsForVersion", &[]),
    ("singleProcessOOMKill", &[]),
    ("streamingConnectionIdleTimeout", &["\"4h0m0s\"", "\"4h\""]),
    ("syncFrequency", &["\"1m0s\"", "\"1m\""]),
    ("systemCgroups", &[]),
    ("systemReservedCgroup", &[]),
    ("tlsCurvePreferences", &[]),
    ("tracing", &[]),
    ("volumePluginDir", &["\"/usr/libexec/kubernetes/kubelet-plugins/volume/exec/\""]),
];

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be used at all.
    #[error(transparent)]
    File(#[from] ConfigFileError),
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
        }
    }
}

impl KubeletConfiguration {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::from_fields(config_file::load(path, EXPECTED)?)
    }

    fn from_fields(mut fields: serde_json::Map<String, Value>) -> Result<Self, ConfigError> {
        for (name, accepted) in INERT {
            let Some(value) = fields.shift_remove(*name) else { continue };
            if !asks_nothing(&value) && !accepted.contains(&value.to_string().as_str()) {
                return Err(ConfigError::Unsupported(format!("{name}: {value}")));
            }
        }
        // COMPAT: null and empty text stand for the default, as in Go.
        fields.retain(|_, value| !value.is_null() && value != "");
        let config: Self = serde_json::from_value(Value::Object(fields))
            .map_err(|error| ConfigError::Invalid(error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// Refuses values that nothing can be done with.
    pub fn check(&self) -> Result<(), ConfigError> {
        let unsupported = |text: String| Err(ConfigError::Unsupported(text));
        daemon::flags::all_held_to_defaults(&self.feature_gates)
            .map_err(|error| ConfigError::Invalid(error.to_string()))?;
        match self.cgroup_driver.as_str() {
            "cgroupfs" | "systemd" => {}
            other => {
                return Err(ConfigError::Invalid(format!(
                    "unsupported CgroupDriver specified cgroupDriver: {other:?}, allowed values: cgroupfs or systemd"
                )));
            }
        }
        if self.cgroups_per_qos == Some(false) {
            return unsupported("cgroupsPerQOS: false".into());
        }
        if !self.image_service_endpoint.is_empty()
            && self.image_service_endpoint != self.container_runtime_endpoint
        {
            return unsupported("imageServiceEndpoint other than containerRuntimeEndpoint".into());
        }
        if !matches!(self.authorization.mode.as_str(), "" | "Webhook" | "AlwaysAllow") {
            return Err(ConfigError::Invalid(format!(
                "authorization.mode: {:?}, allowed values: Webhook or AlwaysAllow",
                self.authorization.mode
            )));
        }
        self.thresholds()?;
        self.shutdown_periods()?;
        self.manifest_place()?;
        self.ids_per_pod()?;
        self.image_policy()?;
        self.longest_crash_wait()?;
        sysctls::check_patterns(&self.allowed_unsafe_sysctls).map_err(ConfigError::Invalid)?;
        self.pulls()?;
        self.placement().check().map_err(ConfigError::Invalid)?;
        if self.enable_system_log_query == Some(true) && self.enable_system_log_handler == Some(false) {
            return Err(ConfigError::Invalid(
                "enableSystemLogHandler is required for enableSystemLogQuery".into(),
            ));
        }
        if self.read_only_port != 0 && self.read_only_port == self.port {
            return Err(ConfigError::Invalid("readOnlyPort and port must differ".into()));
        }
        api_types::Quantity::parse(&self.container_log_max_size)
            .map_err(|error| ConfigError::Invalid(format!("containerLogMaxSize: {error}")))?;
        let images = self.image_limits();
        if images.high > 100 || images.low >= images.high {
            return Err(ConfigError::Invalid(
                "imageGCLowThresholdPercent must be below imageGCHighThresholdPercent, and both at most 100"
                    .into(),
            ));
        }
        if self.container_log_max_files.is_some_and(|files| files < 2) {
            return Err(ConfigError::Invalid("containerLogMaxFiles: must be greater than 1".into()));
        }
        Ok(())
    }

    /// When pods are evicted.
    pub fn thresholds(&self) -> Result<Vec<Threshold>, ConfigError> {
        let settings = thresholds::Settings {
            hard: self.eviction_hard.as_ref(),
            merge_defaults: self.merge_default_eviction_settings == Some(true),
            soft: self.eviction_soft.clone(),
            grace: self.eviction_soft_grace_period.clone(),
            reclaim: self.eviction_minimum_reclaim.clone(),
        };
        thresholds::parse(&settings).map_err(ConfigError::Invalid)
    }

    /// The server of static pods.
    pub fn manifest_place(&self) -> Result<Option<Place>, ConfigError> {
        if self.static_pod_url.is_empty() {
            return Ok(None);
        }
        let place = Place::new(&self.static_pod_url, &self.static_pod_url_header);
        place.map(Some).map_err(ConfigError::Invalid)
    }

    /// Which images that are there pods may use.
    pub fn image_policy(&self) -> Result<Policy, ConfigError> {
        let policy = &self.image_pull_credentials_verification_policy;
        Policy::parse(policy, &self.preloaded_images_verification_allowlist).map_err(ConfigError::Invalid)
    }

    /// Images are pulled one after the other.
    pub fn pulls_in_turn(&self) -> bool {
        self.serialize_image_pulls.unwrap_or(self.max_parallel_image_pulls.is_none_or(|most| most < 2))
    }

    /// How long a container that ends again and again waits at most.
    pub fn longest_crash_wait(&self) -> Result<Duration, ConfigError> {
        let longest =
            self.crash_loop_back_off.max_container_restart_period.unwrap_or(Duration::from_secs(300));
        if (1000..=300_000).contains(&longest.as_millis()) {
            return Ok(longest);
        }
        Err(ConfigError::Invalid(format!(
            "CrashLoopBackOff.MaxContainerRestartPeriod (got: {} seconds) must be set between 1s and 300s",
            longest.as_secs_f64()
        )))
    }

    /// How images are pulled.
    pub fn pulls(&self) -> Result<Pulls, ConfigError> {
        let refused = |why: String| Err(ConfigError::Invalid(why));
        let most = self.max_parallel_image_pulls;
        if let Some(most) = most.filter(|most| *most < 1) {
            return refused(format!("maxParallelImagePulls {most} must be a positive number"));
        }
        if self.pulls_in_turn() && most.is_some_and(|most| most > 1) {
            return refused(
                "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is \
                 set to false"
                    .into(),
            );
        }
        let rate = self.registry_pull_qps.unwrap_or(5);
        let Ok(per_second) = u32::try_from(rate) else {
            return refused(format!("registryPullQPS (--registry-qps) {rate} must not be a negative number"));
        };
        let Ok(burst) = u32::try_from(self.registry_burst) else {
            let burst = self.registry_burst;
            return refused(format!(
                "registryBurst (--registry-burst) {burst} must not be a negative number"
            ));
        };
        let at_once = if self.pulls_in_turn() { Some(1) } else { most.and_then(|most| most.try_into().ok()) };
        // COMPAT: none at once stands for the default.
        Ok(Pulls { at_once, per_second, burst: if burst == 0 { 10 } else { burst } })
    }

    /// How many users a pod with users of its own has.
    pub fn ids_per_pod(&self) -> Result<u32, ConfigError> {
        let Some(ids) = self.user_namespaces.ids_per_pod else { return Ok(UNIT) };
        let refused = |why: String| Err(ConfigError::Invalid(format!("userNamespaces.idsPerPod must {why}")));
        if ids < i64::from(UNIT) {
            return refused(format!("not be less than {UNIT}"));
        }
        if ids % i64::from(UNIT) != 0 {
            return refused(format!("be a multiple of {UNIT}"));
        }
        u32::try_from(ids).or_else(|_| refused(format!("not be more than {}", u32::MAX)))
    }

    /// Which CPUs and memory containers may have to themselves.
    pub fn placement(&self) -> placement::Settings {
        placement::Settings {
            cpu_policy: self.cpu_manager_policy.clone(),
            cpu_options: self.cpu_manager_policy_options.clone(),
            memory_policy: self.memory_manager_policy.clone(),
            reserved_memory: self.reserved_memory.clone(),
            reserved_cpus: self.reserved_system_cpus.clone(),
            topology_policy: self.topology_manager_policy.clone(),
            topology_options: self.topology_manager_policy_options.clone(),
            topology_scope: self.topology_manager_scope.clone(),
        }
    }

    /// How long pods have when the machine goes down, lowest priority first.
    pub fn shutdown_periods(&self) -> Result<Vec<Period>, ConfigError> {
        let settings = shutdown_plan::Settings {
            whole: self.shutdown_grace_period.unwrap_or_default(),
            critical: self.shutdown_grace_period_critical_pods.unwrap_or_default(),
            by_priority: &self.shutdown_grace_period_by_pod_priority,
        };
        shutdown_plan::periods(&settings).map_err(ConfigError::Invalid)
    }

    /// How long the node's pressure conditions stay after their last cause.
    pub fn pressure_transition(&self) -> Duration {
        self.eviction_pressure_transition_period.unwrap_or(Duration::from_secs(300))
    }

    /// How often the files of pods with limits are counted.
    pub fn volume_stats_period(&self) -> Duration {
        self.volume_stats_agg_period.unwrap_or(Duration::from_secs(60))
    }

    /// When images are removed.
    pub fn image_limits(&self) -> image_gc::Limits {
        let seconds = |age: Option<Duration>, default: i64| {
            age.map_or(default, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
        };
        image_gc::Limits {
            high: self.image_gc_high_threshold_percent.unwrap_or(85).into(),
            low: self.image_gc_low_threshold_percent.unwrap_or(80).into(),
            min_age: seconds(self.image_minimum_gc_age, 120),
            max_age: seconds(self.image_maximum_gc_age, 0),
        }
    }

    /// The node's resolver file; an empty path reads none.
    pub fn resolver(&self) -> &str {
        self.resolv_conf.as_deref().unwrap_or("/etc/resolv.conf")
    }
}

/// Zero values: what Go leaves in a field that nobody set.
fn asks_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => matches!(text.as_str(), "" | "0" | "0s"),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(asks_nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<KubeletConfiguration, String> {
        let text = format!("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{body}");
        let fields =
            config_file::parse(&text, Path::new("kubelet.yaml"), EXPECTED).map_err(|e| e.to_string())?;
        KubeletConfiguration::from_fields(fields).map_err(|e| e.to_string())
    }

    #[test]
    fn what_kubeadm_writes_is_accepted() {
        let config = parse(
            "authentication: {anonymous: {enabled: false}, webhook: {cacheTTL: 0s, enabled: true}, \
             x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}\n\
             authorization: {mode: Webhook, webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}}\n\
             cgroupDriver: cgroupfs\nclusterDNS: [10.96.0.10]\nclusterDomain: cluster.local\n\
             containerRuntimeEndpoint: \"\"\ncpuManagerReconcilePeriod: 0s\ncrashLoopBackOff: {}\n\
             healthzPort: 10248\nimageMinimumGCAge: 0s\nlogging: {flushFrequency: 0, options: {json: \
             {infoBufferSize: \"0\"}}, verbosity: 0}\nmemorySwap: {}\nnodeStatusReportFrequency: 0s\n\
             shutdownGracePeriod: 0s\nstaticPodPath: /etc/kubernetes/manifests\nrotateCertificates: true\nsyncFrequency: 0s\n",
        )
        .unwrap();
        assert_eq!(config.cluster_dns, ["10.96.0.10"]);
        assert_eq!(config.port, 10250);
        assert_eq!(config.node_status_report_frequency, None);
        assert_eq!(config.container_runtime_endpoint, "unix:///run/containerd/containerd.sock");
    }

    #[test]
    fn images_are_pulled_at_once_when_it_is_said_how_many() {
        let check = |body: &str, expected: (Option<usize>, u32, u32)| {
            let pulls = parse(body).unwrap().pulls().unwrap();
            assert_eq!((pulls.at_once, pulls.per_second, pulls.burst), expected);
        };
        check("port: 1\n", (Some(1), 5, 10));
        check("maxParallelImagePulls: 3\n", (Some(3), 5, 10));
        check("maxParallelImagePulls: 1\n", (Some(1), 5, 10));
        check("serializeImagePulls: false\nregistryPullQPS: 0\nregistryBurst: 2\n", (None, 0, 2));
    }

    #[test]
    fn what_would_be_ignored_is_refused_by_name() {
        let check = |body: &str, expected: &str| assert_eq!(parse(body).unwrap_err(), expected);
        check(
            "memoryThrottlingFactor: 0.5\n",
            "KubeletConfiguration: memoryThrottlingFactor: 0.5 is not supported by this kubelet",
        );
        check(
            "staticPodURL: ftp://x/\n",
            "invalid KubeletConfiguration: staticPodURL: \"ftp://x/\": only http and https are supported by this kubelet",
        );
        check(
            "evictionSoft: {memory.available: 5%}\n",
            "invalid KubeletConfiguration: grace period must be specified for the soft eviction threshold \
             memory.available",
        );
        check(
            "enableSystemLogHandler: false\nenableSystemLogQuery: true\n",
            "invalid KubeletConfiguration: enableSystemLogHandler is required for enableSystemLogQuery",
        );
        check(
            "topologyManagerPolicy: some\n",
            "invalid KubeletConfiguration: topologyManagerPolicy (--topology-manager-policy) \"some\" must be one of: [\"none\" \"best-effort\" \"restricted\" \"single-numa-node\"]",
        );
        check(
            "reservedMemory: [{numaNode: 0, limits: {cpu: 1}}]\n",
            "invalid KubeletConfiguration: the limit type \"cpu\" for NUMA node 0 is not supported, only [memory hugepages-<HugePageSize>] is accepted",
        );
        check(
            "userNamespaces: {idsPerPod: 65537}\n",
            "invalid KubeletConfiguration: userNamespaces.idsPerPod must be a multiple of 65536",
        );
        check(
            "imagePullCredentialsVerificationPolicy: AlwaysVerify\npreloadedImagesVerificationAllowlist: [a]\n",
            "invalid KubeletConfiguration: can't set `preloadedImagesVerificationAllowlist` if \
             `imagePullCredentialsVertificationPolicy` is not \"NeverVerifyAllowlistedImages\"",
        );
        check(
            "crashLoopBackOff: {maxContainerRestartPeriod: 301s}\n",
            "invalid KubeletConfiguration: CrashLoopBackOff.MaxContainerRestartPeriod (got: 301 seconds) must be set \
             between 1s and 300s",
        );
        check(
            "serializeImagePulls: true\nmaxParallelImagePulls: 2\n",
            "invalid KubeletConfiguration: maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls \
             (--serialize-image-pulls) is set to false",
        );
        assert!(parse("nonsense: 1\n").unwrap_err().contains("unknown field `nonsense`"));
        assert!(parse("evictionHard: {memory.available: \"0%\"}\n").is_ok());
    }
}
