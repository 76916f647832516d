//! /configz: the settings in effect with upstream's names, defaults and order; what says nothing is left out.

use std::sync::Arc;
use std::time::Duration;

use daemon::flags::GoDuration;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{Body, typed};
use crate::config::KubeletConfiguration;
use crate::eviction::thresholds::DEFAULT_HARD;
use crate::kubelet::Kubelet;

/// The settings as JSON.
pub fn configz(kubelet: &Arc<Kubelet>) -> Response<Body> {
    let body = json!({"kubeletconfig": settings(&kubelet.config)});
    typed(StatusCode::OK, "application/json", body.to_string())
}

fn or<'a>(value: &'a str, default: &'a str) -> &'a str {
    if value.is_empty() { default } else { value }
}

fn lasts(given: Option<Duration>, default: u64) -> String {
    GoDuration(given.unwrap_or(Duration::from_secs(default))).to_string()
}

/// COMPAT: what Go leaves out where a field is empty; `false` and `0` that stand for a choice are put in elsewhere.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// All fields.
fn settings(config: &KubeletConfiguration) -> Value {
    let mut all = Map::new();
    for part in [serving(config), node(config), pods(config), system(config)] {
        if let Value::Object(fields) = part {
            all.extend(fields.into_iter().filter(|(_, value)| !is_empty(value)));
        }
    }
    all.extend(config.inert_shown());
    if let Some(single) = config.single_process_oom_kill {
        all.insert("singleProcessOOMKill".into(), single.into());
    }
    // COMPAT: shown although it is empty.
    let behavior = &config.memory_swap.swap_behavior;
    let swap = if behavior.is_empty() { json!({}) } else { json!({"swapBehavior": behavior}) };
    all.insert("memorySwap".into(), swap);
    Value::Object(all)
}

fn serving(config: &KubeletConfiguration) -> Value {
    let (who, what) = (&config.authentication, &config.authorization);
    let tokens = &who.webhook;
    json!({
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "enableServer": config.enable_server != Some(false),
        "staticPodPath": config.static_pod_path,
        "podLogsDir": config.pod_logs_dir,
        "syncFrequency": lasts(config.sync_frequency, 60),
        "fileCheckFrequency": lasts(config.file_check_frequency, 20),
        "httpCheckFrequency": lasts(config.http_check_frequency, 20),
        "staticPodURL": config.static_pod_url,
        "staticPodURLHeader": config.static_pod_url_header,
        "address": config.address,
        "port": config.port,
        "readOnlyPort": (config.read_only_port != 0).then_some(config.read_only_port),
        "tlsCertFile": config.tls_cert_file,
        "tlsPrivateKeyFile": config.tls_private_key_file,
        "tlsCipherSuites": config.tls_cipher_suites,
        "tlsMinVersion": config.tls_min_version,
        "rotateCertificates": config.rotate_certificates.filter(|on| *on),
        "serverTLSBootstrap": config.server_tls_bootstrap.filter(|on| *on),
        "authentication": {
            "x509": match who.x509.client_ca_file.as_str() {
                "" => json!({}),
                file => json!({"clientCAFile": file}),
            },
            "webhook": {
                "enabled": tokens.enabled != Some(false),
                "cacheTTL": lasts(tokens.cache_ttl, 120),
            },
            "anonymous": {"enabled": who.anonymous.enabled == Some(true)},
        },
        "authorization": {
            "mode": or(&what.mode, "Webhook"),
            "webhook": {
                "cacheAuthorizedTTL": lasts(what.webhook.authorized, 300),
                "cacheUnauthorizedTTL": lasts(what.webhook.unauthorized, 30),
            },
        },
        "enableDebuggingHandlers": config.enable_debugging_handlers != Some(false),
        "enableDebugFlagsHandler": config.enable_debug_flags_handler != Some(false),
        // In effect: see the field.
        "enableProfilingHandler": false,
        "failCgroupV1": config.fail_cgroup_v1 != Some(false),
        "healthzPort": config.healthz_port.unwrap_or(10248),
        "healthzBindAddress": config.healthz_bind_address,
        "enableSystemLogHandler": config.enable_system_log_handler != Some(false),
        "enableSystemLogQuery": config.enable_system_log_query == Some(true),
    })
}

fn node(config: &KubeletConfiguration) -> Value {
    let report = config.node_status_update_frequency.map_or(300, |every| every.as_secs());
    let taints: Vec<Value> = config
        .register_with_taints
        .iter()
        .map(|taint| {
            let fields = [("key", &taint.key), ("value", &taint.value), ("effect", &taint.effect)];
            let fields = fields.into_iter().filter(|(_, text)| !text.is_empty());
            Value::Object(fields.map(|(name, text)| (name.to_owned(), json!(text))).collect())
        })
        .collect();
    json!({
        "eventRecordQPS": config.event_record_qps.unwrap_or(50),
        "eventBurst": config.event_burst.unwrap_or(100),
        "kubeAPIQPS": config.kube_api_qps.unwrap_or(50),
        "kubeAPIBurst": config.kube_api_burst.unwrap_or(100),
        "oomScoreAdj": config.oom_score(),
        "maxOpenFiles": config.open_files(),
        "clusterDomain": config.cluster_domain,
        "clusterDNS": config.cluster_dns,
        "nodeStatusUpdateFrequency": lasts(config.node_status_update_frequency, 10),
        "nodeStatusReportFrequency": lasts(config.node_status_report_frequency, report),
        "nodeLeaseDurationSeconds": config.node_lease_duration_seconds,
        "nodeStatusMaxImages": config.node_status_max_images.unwrap_or(50),
        "registerNode": config.register_node != Some(false),
        "registerWithTaints": taints,
        "providerID": config.provider_id,
        "podCIDR": config.pod_cidr,
        "resolvConf": config.resolver(),
        "featureGates": config.feature_gates,
        "containerRuntimeEndpoint": config.container_runtime_endpoint,
        "imageServiceEndpoint": config.image_service_endpoint,
        "runtimeRequestTimeout": lasts(config.runtime_request_timeout, 120),
        "shutdownGracePeriod": lasts(config.shutdown_grace_period, 0),
        "shutdownGracePeriodCriticalPods": lasts(config.shutdown_grace_period_critical_pods, 0),
        "protectKernelDefaults": config.protect_kernel_defaults.then_some(true),
        "makeIPTablesUtilChains": config.make_iptables_util_chains != Some(false),
        "logging": {
            "format": or(&config.logging.format, "text"),
            "flushFrequency": "5s",
            "verbosity": config.logging.verbosity,
            "options": {"text": {"infoBufferSize": "0"}, "json": {"infoBufferSize": "0"}},
        },
    })
}

fn pods(config: &KubeletConfiguration) -> Value {
    let images = config.image_limits();
    let pulls = config.pulls().ok();
    let hard = match &config.eviction_hard {
        Some(given) => json!(given),
        None => DEFAULT_HARD.map(|(signal, value)| (signal.to_owned(), json!(value))).into_iter().collect(),
    };
    json!({
        "maxPods": config.max_pods,
        "podsPerCore": (config.pods_per_core != 0).then_some(config.pods_per_core),
        "podPidsLimit": config.pod_pids_limit.filter(|most| *most >= 0).unwrap_or(-1),
        "cpuCFSQuota": config.cpu_cfs_quota != Some(false),
        "seccompDefault": config.seccomp_default == Some(true),
        "failSwapOn": config.fail_swap_on.unwrap_or(true),
        "registryPullQPS": pulls.map(|pulls| pulls.per_second),
        "registryBurst": pulls.map(|pulls| pulls.burst),
        "serializeImagePulls": config.pulls_in_turn(),
        "maxParallelImagePulls": config.max_parallel_image_pulls,
        "imagePullCredentialsVerificationPolicy":
            or(&config.image_pull_credentials_verification_policy, "NeverVerifyPreloadedImages"),
        "preloadedImagesVerificationAllowlist": config.preloaded_images_verification_allowlist,
        "imageMinimumGCAge": lasts(config.image_minimum_gc_age, 120),
        "imageMaximumGCAge": lasts(config.image_maximum_gc_age, 0),
        "imageGCHighThresholdPercent": images.high,
        "imageGCLowThresholdPercent": images.low,
        "evictionHard": hard,
        "evictionSoft": config.eviction_soft,
        "evictionSoftGracePeriod": config.eviction_soft_grace_period,
        "evictionMinimumReclaim": config.eviction_minimum_reclaim,
        "evictionPressureTransitionPeriod": lasts(config.eviction_pressure_transition_period, 300),
        "evictionMaxPodGracePeriod":
            (config.eviction_max_pod_grace_period != 0).then_some(config.eviction_max_pod_grace_period),
        "mergeDefaultEvictionSettings": config.merge_default_eviction_settings == Some(true),
        "volumeStatsAggPeriod": lasts(config.volume_stats_agg_period, 60),
        "allowedUnsafeSysctls": config.allowed_unsafe_sysctls,
        "containerLogMaxSize": config.container_log_max_size,
        "containerLogMaxFiles": config.container_log_max_files.unwrap_or(5),
        "crashLoopBackOff": config
            .longest_crash_wait()
            .ok()
            .map(|longest| json!({"maxContainerRestartPeriod": GoDuration(longest).to_string()})),
        "userNamespaces": config.user_namespaces.ids_per_pod.map(|ids| json!({"idsPerPod": ids})),
    })
}

fn system(config: &KubeletConfiguration) -> Value {
    let levels: Vec<&str> = match &config.enforce_node_allocatable {
        None => vec!["pods"],
        Some(levels) => levels.iter().map(String::as_str).collect(),
    };
    json!({
        "cgroupRoot": config.cgroup_root,
        "cgroupsPerQOS": true,
        "cgroupDriver": config.cgroup_driver,
        "kubeletCgroups": config.kubelet_cgroups,
        "systemCgroups": config.system_cgroups,
        "systemReserved": config.system_reserved,
        "kubeReserved": config.kube_reserved,
        "systemReservedCgroup": config.system_reserved_cgroup,
        "kubeReservedCgroup": config.kube_reserved_cgroup,
        "enforceNodeAllocatable": levels,
        "reservedSystemCPUs": config.reserved_system_cpus,
        "cpuManagerPolicy": config.placement().cpu_name(),
        "cpuManagerPolicyOptions": config.cpu_manager_policy_options,
        "cpuManagerReconcilePeriod": lasts(config.cpu_manager_reconcile_period, 10),
        "memoryManagerPolicy": config.placement().memory_name(),
        "reservedMemory": config
            .reserved_memory
            .iter()
            .map(|one| json!({"numaNode": one.numa_node, "limits": one.limits}))
            .collect::<Vec<Value>>(),
        "topologyManagerPolicy": or(&config.topology_manager_policy, "none"),
        "topologyManagerPolicyOptions": config.topology_manager_policy_options,
        "topologyManagerScope": or(&config.topology_manager_scope, "container"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &str) -> Value {
        let text = format!("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{body}");
        let path = std::env::temp_dir().join(format!("kubelet-configz-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, text).unwrap();
        let config = KubeletConfiguration::load(Some(&path), None).unwrap();
        let _ = std::fs::remove_file(&path);
        settings(&config)
    }

    #[test]
    fn defaults_are_told_and_what_says_nothing_is_not() {
        let all = shown("address: 0.0.0.0\n");
        let check = |name: &str, expected: Value| assert_eq!(all[name], expected, "{name}");
        check("kind", json!("KubeletConfiguration"));
        check("syncFrequency", json!("1m0s"));
        check("nodeStatusReportFrequency", json!("5m0s"));
        check("enforceNodeAllocatable", json!(["pods"]));
        check("hairpinMode", json!("promiscuous-bridge"));
        check("streamingConnectionIdleTimeout", json!("4h0m0s"));
        check("memorySwap", json!({}));
        check("enableSystemLogQuery", json!(false));
        check("imageMaximumGCAge", json!("0s"));
        for absent in ["readOnlyPort", "podCIDR", "kubeReserved", "userNamespaces", "protectKernelDefaults"] {
            assert!(all.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn and_so_is_what_was_given() {
        let all = shown(
            "streamingConnectionIdleTimeout: 5m\nhairpinMode: none\nnodeStatusUpdateFrequency: 4s\nreadOnlyPort: 1\n\
             iptablesDropBit: 0\nmemorySwap: {swapBehavior: NoSwap}\nenableProfilingHandler: false\n",
        );
        let check = |name: &str, expected: Value| assert_eq!(all[name], expected, "{name}");
        check("streamingConnectionIdleTimeout", json!("5m0s"));
        check("hairpinMode", json!("none"));
        check("nodeStatusReportFrequency", json!("4s"));
        check("readOnlyPort", json!(1));
        check("iptablesDropBit", json!(0));
        check("memorySwap", json!({"swapBehavior": "NoSwap"}));
        check("enableProfilingHandler", json!(false));
    }
}
