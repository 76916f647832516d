//! Flags that stand for fields of the configuration file about the node and the kubelet's own process, as
//! `setting_flags.rs` has the others.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::Args;
use daemon::flags::GoDuration;

use crate::config::KubeletConfiguration;

/// `a:hello,b:again`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

/// A part without `:`; worded as upstream's flag words it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed pair, expect string:string")]
pub struct HeadersError;

impl FromStr for Headers {
    type Err = HeadersError;

    fn from_str(text: &str) -> Result<Self, HeadersError> {
        let pairs = text.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once(':').ok_or(HeadersError)?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }
}

impl Headers {
    /// All that several flags name; values of one name in their order.
    pub fn together(all: &[Self]) -> BTreeMap<String, Vec<String>> {
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in all.iter().flat_map(|one| &one.0) {
            headers.entry(name.clone()).or_default().push(value.clone());
        }
        headers
    }
}

/// The flags; units and meanings are those of the fields.
#[derive(Args, Clone, Debug, Default)]
pub struct NodeFlags {
    /// Default kubelet behaviour for kernel tuning. If set, kubelet errors if any of kernel tunables is different than kubelet defaults
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    protect_kernel_defaults: Option<bool>,
    /// QPS to use while talking with kubernetes API server
    #[arg(long, value_name = "int32", allow_negative_numbers = true)]
    kube_api_qps: Option<i32>,
    /// Burst to use while talking with kubernetes API server
    #[arg(long, value_name = "int32", allow_negative_numbers = true)]
    kube_api_burst: Option<i32>,
    /// QPS to limit event creations
    #[arg(long, value_name = "int32", allow_negative_numbers = true)]
    event_qps: Option<i32>,
    /// Maximum size of a bursty event records, temporarily allows event records to burst to this number, while still not exceeding event-qps
    #[arg(long, value_name = "int32", allow_negative_numbers = true)]
    event_burst: Option<i32>,
    /// Number of Pods per core that can run on this kubelet. The total number of pods on this kubelet cannot exceed max-pods, so max-pods will be used if this calculation results in a larger number of pods allowed on the kubelet. A value of 0 disables this limit
    #[arg(long, value_name = "int32", allow_negative_numbers = true)]
    pods_per_core: Option<i32>,
    /// The maximum number of images to report in node.status.images. If -1 is specified, no cap will be applied
    #[arg(long, value_name = "int32", allow_negative_numbers = true)]
    node_status_max_images: Option<i32>,
    /// Minimum age for an unused image before it is garbage collected. Examples: '300ms', '10s' or '2h45m'
    #[arg(long, value_name = "duration")]
    minimum_image_ttl_duration: Option<GoDuration>,
    /// Number of files that can be opened by kubelet process
    #[arg(long, value_name = "int", allow_negative_numbers = true)]
    max_open_files: Option<i64>,
    /// Max period between synchronizing running containers and config
    #[arg(long, value_name = "duration")]
    sync_frequency: Option<GoDuration>,
    /// How often the disk usage of all pods and volumes is calculated and cached
    #[arg(long, value_name = "duration")]
    volume_stats_agg_period: Option<GoDuration>,
    /// Enable the kubelet's server
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    enable_server: Option<bool>,
    /// Enables server endpoints for log collection and local running of containers and commands
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    enable_debugging_handlers: Option<bool>,
    /// The duration to cache responses from the webhook token authenticator
    #[arg(long, value_name = "duration")]
    authentication_token_webhook_cache_ttl: Option<GoDuration>,
    /// The duration to cache 'authorized' responses from the webhook authorizer
    #[arg(long, value_name = "duration")]
    authorization_webhook_cache_authorized_ttl: Option<GoDuration>,
    /// The duration to cache 'unauthorized' responses from the webhook authorizer
    #[arg(long, value_name = "duration")]
    authorization_webhook_cache_unauthorized_ttl: Option<GoDuration>,
    /// The oom-score-adj value for kubelet process. Values must be within the range [-1000, 1000]
    #[arg(long, value_name = "int32", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,
    /// A comma separated list of levels of node allocatable enforcement to be enforced by kubelet: 'none', 'pods', 'system-reserved', 'system-reserved-compressible', 'kube-reserved' and 'kube-reserved-compressible'
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    enforce_node_allocatable: Option<Vec<String>>,
    /// Absolute name of the top level cgroup that is used to manage kubernetes components for which compute resources were reserved via --kube-reserved
    #[arg(long, value_name = "string")]
    kube_reserved_cgroup: Option<String>,
    /// Absolute name of the top level cgroup that is used to manage non-kubernetes components for which compute resources were reserved via --system-reserved
    #[arg(long, value_name = "string")]
    system_reserved_cgroup: Option<String>,
    /// Optional absolute name of cgroups to create and run the kubelet in
    #[arg(long, value_name = "string")]
    kubelet_cgroups: Option<String>,
    /// Optional absolute name of cgroups in which to place all non-kernel processes that are not already inside a cgroup under '/'. Rolling back the flag requires a reboot
    #[arg(long, value_name = "string")]
    system_cgroups: Option<String>,
    /// Absolute name of the cgroup that the runtime is in, for its statistics
    #[arg(long, value_name = "string", default_value = "")]
    pub runtime_cgroups: String,
    /// If true, kubelet will ensure iptables utility rules are present on host
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    make_iptables_util_chains: Option<bool>,
}

impl NodeFlags {
    /// Writes what was given over the configuration; the caller checks the result.
    pub fn apply(&self, config: &mut KubeletConfiguration) {
        fn prefer<T: Clone>(field: &mut Option<T>, flag: &Option<T>) {
            if flag.is_some() {
                field.clone_from(flag);
            }
        }
        fn set<T: Clone>(field: &mut T, flag: &Option<T>) {
            if let Some(value) = flag {
                field.clone_from(value);
            }
        }
        let duration = |flag: &Option<GoDuration>| flag.as_ref().map(|given| given.0);
        set(&mut config.protect_kernel_defaults, &self.protect_kernel_defaults);
        prefer(&mut config.kube_api_qps, &self.kube_api_qps);
        prefer(&mut config.kube_api_burst, &self.kube_api_burst);
        prefer(&mut config.event_record_qps, &self.event_qps);
        prefer(&mut config.event_burst, &self.event_burst);
        set(&mut config.pods_per_core, &self.pods_per_core);
        prefer(&mut config.node_status_max_images, &self.node_status_max_images);
        prefer(&mut config.image_minimum_gc_age, &duration(&self.minimum_image_ttl_duration));
        prefer(&mut config.max_open_files, &self.max_open_files);
        prefer(&mut config.sync_frequency, &duration(&self.sync_frequency));
        prefer(&mut config.volume_stats_agg_period, &duration(&self.volume_stats_agg_period));
        prefer(&mut config.enable_server, &self.enable_server);
        prefer(&mut config.enable_debugging_handlers, &self.enable_debugging_handlers);
        let (tokens, rights) = (&mut config.authentication.webhook, &mut config.authorization.webhook);
        prefer(&mut tokens.cache_ttl, &duration(&self.authentication_token_webhook_cache_ttl));
        prefer(&mut rights.authorized, &duration(&self.authorization_webhook_cache_authorized_ttl));
        prefer(&mut rights.unauthorized, &duration(&self.authorization_webhook_cache_unauthorized_ttl));
        prefer(&mut config.oom_score_adj, &self.oom_score_adj);
        prefer(&mut config.enforce_node_allocatable, &self.enforce_node_allocatable);
        set(&mut config.kube_reserved_cgroup, &self.kube_reserved_cgroup);
        set(&mut config.system_reserved_cgroup, &self.system_reserved_cgroup);
        set(&mut config.kubelet_cgroups, &self.kubelet_cgroups);
        set(&mut config.system_cgroups, &self.system_cgroups);
        prefer(&mut config.make_iptables_util_chains, &self.make_iptables_util_chains);
    }
}

#[cfg(test)]
mod tests {
    use crate::flags::configured as parse;

    /// As hardening guides and kubespray's environment file have them.
    #[test]
    fn hardened_command_lines() {
        let config = parse(
            "--protect-kernel-defaults --event-qps=0 --event-burst=20 --kube-api-qps=20 --kube-api-burst=30 \
             --pods-per-core=10 --node-status-max-images=-1 --minimum-image-ttl-duration=5m --max-open-files=65536 \
             --sync-frequency=30s --enable-debugging-handlers=false --oom-score-adj=-500 \
             --authentication-token-webhook-cache-ttl=30s --enforce-node-allocatable=pods,kube-reserved \
             --kube-reserved-cgroup=/kube.slice --kubelet-cgroups=/kubelet.slice --runtime-cgroups=/system.slice \
             --make-iptables-util-chains=false --manifest-url-header=a:b,c:d --manifest-url-header=a:e",
        )
        .unwrap();
        assert!(config.protect_kernel_defaults);
        let (api, events) = (config.api_rate(), config.event_rate());
        assert_eq!((api.per_second, api.burst, events.per_second, events.burst), (20.0, 30, 5.0, 20));
        assert_eq!((config.pods_of(4), config.pods_of(100)), (40, 110));
        assert_eq!(config.node_status_max_images, Some(-1));
        assert_eq!(config.image_limits().min_age, 300);
        assert_eq!((config.open_files(), config.oom_score()), (65_536, -500));
        assert!(config.enforces("kube-reserved") && !config.enforces("system-reserved"));
        assert_eq!(config.static_pod_url_header["a"], ["b", "e"]);
    }

    #[test]
    fn refusals() {
        let check = |line: &str, expected: &str| {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("--event-qps=-1", "eventRecordQPS (--event-qps) -1 must not be a negative number");
        check(
            "--node-status-max-images=-2",
            "nodeStatusMaxImages (--node-status-max-images) -2 must be -1 or greater",
        );
        check("--manifest-url-header=a", "malformed pair, expect string:string");
        check("--enforce-node-allocatable=some", "option \"some\" specified for enforceNodeAllocatable");
    }
}
