//! /configz: the settings in effect, under upstream's names.

use std::sync::Arc;
use std::time::Duration;

use daemon::flags::GoDuration;
use http::{Response, StatusCode};
use serde_json::json;

use super::{Body, typed};
use crate::kubelet::Kubelet;

fn or<'a>(value: &'a str, default: &'a str) -> &'a str {
    if value.is_empty() { default } else { value }
}

/// The settings as JSON.
pub fn configz(kubelet: &Arc<Kubelet>) -> Response<Body> {
    let config = &kubelet.config;
    let mut body = json!({"kubeletconfig": {
        "address": config.address,
        "port": config.port,
        "readOnlyPort": config.read_only_port,
        "healthzPort": config.healthz_port.unwrap_or(10248),
        "healthzBindAddress": config.healthz_bind_address,
        "tlsCertFile": config.tls_cert_file,
        "tlsPrivateKeyFile": config.tls_private_key_file,
        "authentication": {
            "anonymous": {"enabled": config.authentication.anonymous.enabled == Some(true)},
            "webhook": {"enabled": config.authentication.webhook.enabled != Some(false)},
            "x509": {"clientCAFile": config.authentication.x509.client_ca_file},
        },
        "authorization": {
            "mode": if config.authorization.mode.is_empty() { "Webhook" } else { &config.authorization.mode },
        },
        "clusterDNS": config.cluster_dns,
        "clusterDomain": config.cluster_domain,
        "resolvConf": config.resolver(),
        "cgroupDriver": config.cgroup_driver,
        "cgroupRoot": config.cgroup_root,
        "cgroupsPerQOS": true,
        "containerRuntimeEndpoint": config.container_runtime_endpoint,
        "podCIDR": config.pod_cidr,
        "podLogsDir": config.pod_logs_dir,
        "podPidsLimit": config.pod_pids_limit.unwrap_or(-1),
        "maxPods": config.max_pods,
        "cpuCFSQuota": config.cpu_cfs_quota != Some(false),
        "shutdownGracePeriod": GoDuration(config.shutdown_grace_period.unwrap_or_default()).to_string(),
        "shutdownGracePeriodCriticalPods":
            GoDuration(config.shutdown_grace_period_critical_pods.unwrap_or_default()).to_string(),
        "failSwapOn": config.fail_swap_on.unwrap_or(true),
        "seccompDefault": config.seccomp_default == Some(true),
        "serializeImagePulls": config.pulls_in_turn(),
        "registerNode": config.register_node != Some(false),
        "nodeLeaseDurationSeconds": config.node_lease_duration_seconds,
        "systemReserved": config.system_reserved,
        "kubeReserved": config.kube_reserved,
        "reservedSystemCPUs": config.reserved_system_cpus,
        "cpuManagerPolicy": config.placement().cpu_name(),
        "cpuManagerPolicyOptions": config.cpu_manager_policy_options,
        "cpuManagerReconcilePeriod":
            GoDuration(config.cpu_manager_reconcile_period.unwrap_or(Duration::from_secs(10))).to_string(),
        "memoryManagerPolicy": config.placement().memory_name(),
        "topologyManagerPolicy": or(&config.topology_manager_policy, "none"),
        "topologyManagerPolicyOptions": config.topology_manager_policy_options,
        "topologyManagerScope": or(&config.topology_manager_scope, "container"),
        "containerLogMaxSize": config.container_log_max_size,
        "containerLogMaxFiles": config.container_log_max_files.unwrap_or(5),
    }});
    // More than one `json!` can hold.
    let policy = &config.image_pull_credentials_verification_policy;
    let settings = &mut body["kubeletconfig"];
    settings["imagePullCredentialsVerificationPolicy"] = json!(or(policy, "NeverVerifyPreloadedImages"));
    if !config.preloaded_images_verification_allowlist.is_empty() {
        settings["preloadedImagesVerificationAllowlist"] =
            json!(config.preloaded_images_verification_allowlist);
    }
    if let Some(most) = config.max_parallel_image_pulls {
        settings["maxParallelImagePulls"] = json!(most);
    }
    if !config.allowed_unsafe_sysctls.is_empty() {
        settings["allowedUnsafeSysctls"] = json!(config.allowed_unsafe_sysctls);
    }
    if let Ok(longest) = config.longest_crash_wait() {
        settings["crashLoopBackOff"] = json!({"maxContainerRestartPeriod": GoDuration(longest).to_string()});
    }
    if let Ok(pulls) = config.pulls() {
        settings["registryPullQPS"] = json!(pulls.per_second);
        settings["registryBurst"] = json!(pulls.burst);
    }
    body["kubeletconfig"]["userNamespaces"] = json!({"idsPerPod": config.ids_per_pod().unwrap_or_default()});
    typed(StatusCode::OK, "application/json", body.to_string())
}
