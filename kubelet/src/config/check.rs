//! What a configuration may say, worded as upstream's validation. All that is wrong is told at once.

use super::{ConfigError, KubeletConfiguration};
use crate::{swap, sysctls};

/// What `enforceNodeAllocatable` may name beside `none`.
const LEVELS: [&str; 5] = [
    "pods",
    "system-reserved",
    "system-reserved-compressible",
    "kube-reserved",
    "kube-reserved-compressible",
];

impl KubeletConfiguration {
    /// Refuses values that nothing can be done with.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_supported()?;
        let mut errors: Vec<String> = Vec::new();
        self.check_numbers(&mut errors);
        self.check_names(&mut errors);
        self.check_enforcement(&mut errors);
        errors.extend(self.logging.errors());
        errors.extend(swap::check(&self.memory_swap.swap_behavior).err());
        errors.extend(sysctls::check_patterns(&self.allowed_unsafe_sysctls).err());
        errors.extend(self.placement().check().err());
        let checks = [
            self.thresholds().err(),
            self.shutdown_periods().err(),
            self.manifest_place().err(),
            self.ids_per_pod().err(),
            self.image_policy().err(),
            self.longest_crash_wait().err(),
            self.pulls().err(),
        ];
        for error in checks.into_iter().flatten() {
            match error {
                ConfigError::Invalid(text) => errors.push(text),
                other => return Err(other),
            }
        }
        match errors.as_slice() {
            [] => Ok(()),
            [one] => Err(ConfigError::Invalid(one.clone())),
            several => Err(ConfigError::Invalid(format!("[{}]", several.join(", ")))),
        }
    }

    /// Refuses what cannot be on this machine.
    pub fn check_machine(&self, cgroups_v2: bool) -> Result<(), ConfigError> {
        if self.fail_cgroup_v1 != Some(false) && !cgroups_v2 {
            let text = "kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported and \
                        will be removed in a future release";
            return Err(ConfigError::Invalid(text.into()));
        }
        Ok(())
    }

    /// What upstream has and this kubelet has not.
    fn check_supported(&self) -> Result<(), ConfigError> {
        daemon::flags::all_held_to_defaults(&self.feature_gates)
            .map_err(|error| ConfigError::Invalid(error.to_string()))?;
        if self.cgroups_per_qos == Some(false) {
            return Err(ConfigError::Unsupported("cgroupsPerQOS: false".into()));
        }
        if !self.image_service_endpoint.is_empty()
            && self.image_service_endpoint != self.container_runtime_endpoint
        {
            let text = "imageServiceEndpoint other than containerRuntimeEndpoint";
            return Err(ConfigError::Unsupported(text.into()));
        }
        Ok(())
    }

    fn check_numbers(&self, errors: &mut Vec<String>) {
        let not_negative = [
            ("eventBurst (--event-burst)", self.event_burst.map(i64::from)),
            ("eventRecordQPS (--event-qps)", self.event_record_qps.map(i64::from)),
            ("kubeAPIBurst (--kube-api-burst)", self.kube_api_burst.map(i64::from)),
            ("kubeAPIQPS (--kube-api-qps)", self.kube_api_qps.map(i64::from)),
            ("maxOpenFiles (--max-open-files)", self.max_open_files),
            ("maxPods (--max-pods)", Some(self.max_pods.into())),
            ("podsPerCore (--pods-per-core)", Some(self.pods_per_core.into())),
        ];
        for (name, value) in not_negative {
            if let Some(value) = value.filter(|value| *value < 0) {
                errors.push(format!("{name} {value} must not be a negative number"));
            }
        }
        let score = self.oom_score();
        if !(-1000..=1000).contains(&score) {
            errors.push(format!(
                "oomScoreAdj (--oom-score-adj) {score} must be between -1000 and 1000, inclusive"
            ));
        }
        if let Some(most) = self.node_status_max_images.filter(|most| *most < -1) {
            errors
                .push(format!("nodeStatusMaxImages (--node-status-max-images) {most} must be -1 or greater"));
        }
        if self.node_lease_duration_seconds <= 0 {
            errors.push("nodeLeaseDurationSeconds must be greater than 0".into());
        }
        if self.read_only_port != 0 && self.read_only_port == self.port {
            errors.push("readOnlyPort and port must differ".into());
        }
        self.check_images(errors);
        if let Err(error) = api_types::Quantity::parse(&self.container_log_max_size) {
            errors.push(format!("containerLogMaxSize: {error}"));
        }
        if self.container_log_max_files.is_some_and(|files| files < 2) {
            errors.push("containerLogMaxFiles must be greater than 1".into());
        }
    }

    fn check_images(&self, errors: &mut Vec<String>) {
        use daemon::flags::GoDuration;
        let images = self.image_limits();
        let (high, low) = (images.high, images.low);
        for (name, percent) in [
            ("imageGCHighThresholdPercent (--image-gc-high-threshold)", high),
            ("imageGCLowThresholdPercent (--image-gc-low-threshold)", low),
        ] {
            if percent > 100 {
                errors.push(format!("{name} {percent} must be between 0 and 100, inclusive"));
            }
        }
        if low >= high {
            errors.push(format!(
                "imageGCLowThresholdPercent (--image-gc-low-threshold) {low} must be less than \
                 imageGCHighThresholdPercent (--image-gc-high-threshold) {high}"
            ));
        }
        let least = self.image_minimum_gc_age.unwrap_or(std::time::Duration::from_secs(120));
        if let Some(most) = self.image_maximum_gc_age.filter(|most| !most.is_zero() && *most <= least) {
            let (most, least) = (GoDuration(most), GoDuration(least));
            errors.push(format!("imageMaximumGCAge {most} must be greater than imageMinimumGCAge {least}"));
        }
    }

    fn check_names(&self, errors: &mut Vec<String>) {
        if !matches!(self.cgroup_driver.as_str(), "cgroupfs" | "systemd") {
            errors.push(format!(
                "unsupported CgroupDriver specified cgroupDriver: {:?}, allowed values: cgroupfs or systemd",
                self.cgroup_driver
            ));
        }
        if !matches!(self.authorization.mode.as_str(), "" | "Webhook" | "AlwaysAllow") {
            errors.push(format!(
                "authorization.mode: {:?}, allowed values: Webhook or AlwaysAllow",
                self.authorization.mode
            ));
        }
        if self.enable_system_log_query == Some(true) && self.enable_system_log_handler == Some(false) {
            errors.push("enableSystemLogHandler is required for enableSystemLogQuery".into());
        }
        if !self.system_cgroups.is_empty() && self.cgroup_root.is_empty() {
            errors.push(
                "systemCgroups (--system-cgroups) was specified and cgroupRoot (--cgroup-root) was not specified"
                    .into(),
            );
        }
        let names_groups = !self.system_reserved_cgroup.is_empty() || !self.kube_reserved_cgroup.is_empty();
        if names_groups && !self.reserved_system_cpus.is_empty() {
            errors.push(
                "can't use reservedSystemCPUs (--reserved-cpus) with systemReservedCgroup (--system-reserved-cgroup) \
                 or kubeReservedCgroup (--kube-reserved-cgroup)"
                    .into(),
            );
        }
    }

    fn check_enforcement(&self, errors: &mut Vec<String>) {
        const FIELD: &str = "enforceNodeAllocatable (--enforce-node-allocatable)";
        let levels: &[String] = self.enforce_node_allocatable.as_deref().unwrap_or_default();
        for kind in ["system-reserved", "kube-reserved"] {
            let part = format!("{kind}-compressible");
            if self.enforces(kind) && self.enforces(&part) {
                errors.push(format!("both {kind:?} and {part:?} cannot be specified together in {FIELD}"));
            }
        }
        for (at, level) in levels.iter().enumerate() {
            if levels[..at].contains(level) {
                errors.push(format!("duplicated enforcements {level:?} in {FIELD}"));
            } else if level == "none" {
                if levels.len() > 1 {
                    errors.push(format!(
                        "{FIELD} may not contain additional enforcements when \"none\" is specified"
                    ));
                }
            } else if !LEVELS.contains(&level.as_str()) {
                let known: Vec<String> = LEVELS.iter().map(|level| format!("{level:?}")).collect();
                errors.push(format!(
                    "option {level:?} specified for {FIELD}. Valid options are {} or \"none\"",
                    known.join(", ")
                ));
            }
            for (kind, group, named) in [
                (
                    "system-reserved",
                    &self.system_reserved_cgroup,
                    "systemReservedCgroup (--system-reserved-cgroup)",
                ),
                ("kube-reserved", &self.kube_reserved_cgroup, "kubeReservedCgroup (--kube-reserved-cgroup)"),
            ] {
                let names = level == kind || *level == format!("{kind}-compressible");
                if names && !levels[..at].contains(level) && group.is_empty() {
                    errors.push(format!(
                        "{named} must be specified when {kind:?} or \"{kind}-compressible\" included in {FIELD}"
                    ));
                }
            }
        }
    }
}
