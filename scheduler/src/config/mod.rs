//! KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): the file behind `--config`, read
//! strictly, and the profiles that it makes. What this scheduler does not support is refused by name.

pub mod args;
mod extenders;
mod plugin_sets;
#[cfg(test)]
mod tests;

use std::path::Path;

use client::Client;
use client::informer::Caches;
use daemon::config_file::{self, ConfigFileError, Expected};
use daemon::flags::GoDuration;
use serde::Deserialize;
use serde_json::Value;

use crate::extender::Extenders;
use crate::profile::Profile;
use args::PluginArgs;
use extenders::ExtenderFile;
use plugin_sets::Plugins;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] ConfigFileError),
    #[error("pluginConfig of {plugin}: {message}")]
    Args { plugin: String, message: String },
    #[error("profiles[{profile}]: plugin {plugin:?} is not supported by this scheduler")]
    UnknownPlugin { profile: usize, plugin: String },
    #[error("profiles[{profile}]: plugin {plugin:?} does not extend {point}")]
    NotAtPoint { profile: usize, plugin: String, point: &'static str },
    #[error("profiles[{profile}]: plugins.{point} is not supported by this scheduler")]
    Point { profile: usize, point: String },
    #[error("{0} is not supported by this scheduler")]
    Unsupported(&'static str),
    #[error("{0}")]
    Invalid(String),
}

/// The file's content; flags override parts of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct SchedulerConfig {
    /// COMPAT: upstream's degree of parallelism. Nodes are filtered on one thread here, so that any
    /// positive number means the same.
    parallelism: i32,
    pub leader_election: LeaderElection,
    pub client_connection: ClientConnection,
    pub enable_profiling: Option<bool>,
    pub enable_contention_profiling: Option<bool>,
    pub percentage_of_nodes_to_score: i32,
    pub pod_initial_backoff_seconds: i64,
    pub pod_max_backoff_seconds: i64,
    profiles: Vec<ProfileFile>,
    extenders: Vec<ExtenderFile>,
    delay_cache_until_active: bool,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            parallelism: 16,
            leader_election: LeaderElection::default(),
            client_connection: ClientConnection::default(),
            enable_profiling: None,
            enable_contention_profiling: None,
            percentage_of_nodes_to_score: 0,
            pod_initial_backoff_seconds: 1,
            pod_max_backoff_seconds: 10,
            profiles: Vec::new(),
            extenders: Vec::new(),
            delay_cache_until_active: false,
        }
    }
}

/// Who of several schedulers works.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct LeaderElection {
    pub leader_elect: bool,
    pub lease_duration: GoDuration,
    pub renew_deadline: GoDuration,
    pub retry_period: GoDuration,
    pub resource_lock: String,
    pub resource_name: String,
    pub resource_namespace: String,
}

impl Default for LeaderElection {
    fn default() -> Self {
        Self {
            leader_elect: true,
            lease_duration: GoDuration::from_secs(15),
            renew_deadline: GoDuration::from_secs(10),
            retry_period: GoDuration::from_secs(2),
            resource_lock: "leases".into(),
            resource_name: "kube-scheduler".into(),
            resource_namespace: "kube-system".into(),
        }
    }
}

/// How to reach the apiserver.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ClientConnection {
    pub kubeconfig: String,
    pub accept_content_types: String,
    pub content_type: String,
    pub qps: f32,
    pub burst: i32,
}

impl Default for ClientConnection {
    fn default() -> Self {
        Self {
            kubeconfig: String::new(),
            accept_content_types: String::new(),
            content_type: "application/vnd.kubernetes.protobuf".into(),
            qps: 50.0,
            burst: 100,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct ProfileFile {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<i32>,
    plugins: Plugins,
    plugin_config: Vec<PluginConfig>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginConfig {
    name: String,
    #[serde(default)]
    args: Value,
}

impl SchedulerConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every variant of [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let expected = Expected {
            kind: "KubeSchedulerConfiguration",
            api_versions: &["kubescheduler.config.k8s.io/v1"],
        };
        let config: Self = config_file::load(path, expected)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let invalid = |message: &str| Err(ConfigError::Invalid(message.into()));
        if self.delay_cache_until_active {
            return Err(ConfigError::Unsupported("delayCacheUntilActive: true"));
        }
        if self.enable_profiling == Some(true) {
            return Err(ConfigError::Unsupported("enableProfiling: true"));
        }
        if self.enable_contention_profiling == Some(true) {
            return Err(ConfigError::Unsupported("enableContentionProfiling: true"));
        }
        if self.leader_election.resource_lock != "leases" {
            return invalid(
                "leaderElection.resourceLock: Invalid value: resourceLock value must be \"leases\"",
            );
        }
        if self.parallelism <= 0 {
            return invalid("parallelism: Invalid value: should be an integer value greater than zero");
        }
        if !(0..=100).contains(&self.percentage_of_nodes_to_score) {
            return invalid("percentageOfNodesToScore: Invalid value: not in valid range [0-100]");
        }
        if self.pod_initial_backoff_seconds <= 0 {
            return invalid("podInitialBackoffSeconds: Invalid value: must be greater than 0");
        }
        if self.pod_max_backoff_seconds < self.pod_initial_backoff_seconds {
            return invalid(
                "podMaxBackoffSeconds: Invalid value: must be greater than or equal to PodInitialBackoffSeconds",
            );
        }
        extenders::check(&self.extenders)?;
        self.profiles().map(drop)
    }

    /// The extenders, in the order in which they are asked. `client` and `caches` are the apiserver's.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn extenders(&self, client: &Client, caches: &Caches) -> Result<Extenders, ConfigError> {
        extenders::make(&self.extenders, client, caches)
    }

    /// The profiles, each with its plugins made.
    ///
    /// # Errors
    /// For plugins and arguments that are not supported, and profiles without a name of their own.
    pub fn profiles(&self) -> Result<Vec<Profile>, ConfigError> {
        let only = [ProfileFile::default()];
        let files = if self.profiles.is_empty() { &only[..] } else { &self.profiles };
        let mut profiles: Vec<Profile> = Vec::new();
        for (at, file) in files.iter().enumerate() {
            let name = match &file.scheduler_name {
                Some(name) => name.as_str(),
                None if files.len() == 1 => "default-scheduler",
                None => "",
            };
            if name.is_empty() {
                return Err(ConfigError::Invalid(format!("profiles[{at}].schedulerName: Required value")));
            }
            if profiles.iter().any(|p| &*p.name == name) {
                return Err(ConfigError::Invalid(format!(
                    "profiles[{at}].schedulerName: Duplicate value: {name:?}"
                )));
            }
            if file.percentage_of_nodes_to_score.is_some_and(|p| !(0..=100).contains(&p)) {
                return Err(ConfigError::Invalid(format!(
                    "profiles[{at}].percentageOfNodesToScore: Invalid value: not in valid range [0-100]"
                )));
            }
            let mut plugin_args = PluginArgs::default();
            for config in &file.plugin_config {
                plugin_args.set(&config.name, config.args.clone())?;
            }
            let ignored = extenders::ignored_resources(&self.extenders);
            if !ignored.is_empty() {
                // COMPAT: in place of what pluginConfig says.
                plugin_args.fit.ignored = ignored;
            }
            let mut profile = file.plugins.profile(at, &plugin_args)?;
            profile.name = name.into();
            profile.percentage = file.percentage_of_nodes_to_score;
            profiles.push(profile);
        }
        let sorts = profiles.iter().map(|p| p.queue_sort.as_ref().map(|s| s.name()));
        if sorts.collect::<std::collections::BTreeSet<_>>().len() > 1 {
            return Err(ConfigError::Invalid("profiles: must have the same queue sort plugin".into()));
        }
        Ok(profiles)
    }
}
