//! What follows from the fields: settings of the kubelet's parts, with upstream's defaults and refusals.

use std::time::Duration;

use super::{ConfigError, KubeletConfiguration};
use crate::eviction::thresholds::{self, Threshold};
use crate::image_gc;
use crate::images::Pulls;
use crate::images::access::Policy;
use crate::placement::settings as placement;
use crate::shutdown::plan::{self as shutdown_plan, Period};
use crate::sources::manifest_url::Place;
use crate::user_namespaces::ranges::UNIT;

/// What is sent to the API in a second and at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// In a second.
    pub per_second: f64,
    /// At once.
    pub burst: u32,
}

impl Rate {
    /// COMPAT: nothing stands for client-go's own defaults, not for no limit.
    fn of(per_second: i32, burst: i32) -> Self {
        Self {
            per_second: if per_second == 0 { 5.0 } else { per_second.into() },
            burst: u32::try_from(burst).ok().filter(|burst| *burst > 0).unwrap_or(10),
        }
    }
}

impl KubeletConfiguration {
    /// When pods are evicted.
    pub fn thresholds(&self) -> Result<Vec<Threshold>, ConfigError> {
        let settings = thresholds::Settings {
            hard: self.eviction_hard.as_ref(),
            merge_defaults: self.merge_default_eviction_settings == Some(true),
            unguarded: !self.enforces("pods"),
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

    /// Requests to the API.
    pub fn api_rate(&self) -> Rate {
        Rate::of(self.kube_api_qps.unwrap_or(50), self.kube_api_burst.unwrap_or(100))
    }

    /// Events.
    pub fn event_rate(&self) -> Rate {
        Rate::of(self.event_record_qps.unwrap_or(50), self.event_burst.unwrap_or(100))
    }

    /// Whether this of `enforceNodeAllocatable` is asked for.
    pub fn enforces(&self, level: &str) -> bool {
        match &self.enforce_node_allocatable {
            None => level == "pods",
            Some(levels) => levels.iter().any(|one| one == level),
        }
    }

    /// How many pods a node with so many CPUs takes.
    pub fn pods_of(&self, cpus: i64) -> i32 {
        match self.pods_per_core {
            0 => self.max_pods,
            each => i32::try_from(cpus * i64::from(each)).map_or(self.max_pods, |all| all.min(self.max_pods)),
        }
    }

    /// The kernel's adjustment of the kubelet's own OOM score: among the last that it shall kill.
    pub fn oom_score(&self) -> i32 {
        self.oom_score_adj.unwrap_or(-999)
    }

    /// How many files the kubelet may have open.
    pub fn open_files(&self) -> u64 {
        self.max_open_files.and_then(|most| u64::try_from(most).ok()).unwrap_or(1_000_000)
    }
}
