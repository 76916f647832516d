//! The command line of kube-proxy. As with upstream, most flags count only without `--config`.

use std::path::PathBuf;

use clap::Parser;
use daemon::flags::{GoDuration, LoggingFlags};

use crate::config::{ConfigError, ProxyConfig};

/// The Kubernetes network proxy runs on each node and forwards what is addressed to Services to
/// their endpoints, with nftables.
#[derive(Parser, Debug)]
#[command(name = "kube-proxy")]
pub struct Flags {
    /// The path to the configuration file
    #[arg(long, value_name = "string")]
    pub config: Option<PathBuf>,
    /// If true cleanup nftables rules and exit
    #[arg(long)]
    pub cleanup: bool,
    /// Path to kubeconfig file with authorization information. Ignored if a config file is given
    #[arg(long, value_name = "string")]
    pub kubeconfig: Option<String>,
    /// The address of the Kubernetes API server (overrides any value in kubeconfig)
    #[arg(long, value_name = "string")]
    pub master: Option<String>,
    /// If non-empty, the name of the Node that kube-proxy is running on. If unset, the host's name
    #[arg(long, value_name = "string")]
    pub hostname_override: Option<String>,
    /// Overrides kube-proxy's idea of what its node's primary IP is. Ignored if a config file is given
    #[arg(long, value_name = "ip")]
    pub bind_address: Option<String>,
    /// The IP address and port for the health check server; port 0 disables it. Ignored if a config file is given
    #[arg(long, value_name = "ipport")]
    pub healthz_bind_address: Option<String>,
    /// The IP address and port for the metrics server; port 0 disables it. Ignored if a config file is given
    #[arg(long, value_name = "ipport")]
    pub metrics_bind_address: Option<String>,
    /// If true kube-proxy will treat failure to bind to a port as fatal. Ignored if a config file is given
    #[arg(long)]
    pub bind_address_hard_fail: bool,
    /// Which proxy mode to use: 'nftables' (the default; iptables and ipvs are not supported). Ignored if a config file is given
    #[arg(long, value_name = "ProxyMode")]
    pub proxy_mode: Option<String>,
    /// SNAT all traffic sent via Service cluster IPs. Ignored if a config file is given
    #[arg(long)]
    pub masquerade_all: bool,
    /// Mode to use to detect local traffic: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix. Ignored if a config file is given
    #[arg(long, value_name = "LocalMode")]
    pub detect_local_mode: Option<String>,
    /// A bridge interface name, for --detect-local-mode=BridgeInterface. Ignored if a config file is given
    #[arg(long, value_name = "string")]
    pub pod_bridge_interface: Option<String>,
    /// An interface name prefix, for --detect-local-mode=InterfaceNamePrefix. Ignored if a config file is given
    #[arg(long, value_name = "string")]
    pub pod_interface_name_prefix: Option<String>,
    /// The CIDR range of the pods in the cluster, two for dual stack. Ignored if a config file is given
    #[arg(long, value_name = "string")]
    pub cluster_cidr: Option<String>,
    /// CIDR ranges of the node's addresses that take NodePort traffic; 'primary' (the default) for its primary ones. Ignored if a config file is given
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub nodeport_addresses: Vec<String>,
    /// The oom-score-adj value for the kube-proxy process, within [-1000, 1000]. Ignored if a config file is given
    #[arg(long, value_name = "int32")]
    pub oom_score_adj: Option<i32>,
    /// Maximum number of NAT connections to track per CPU core (0 to leave the limit as-is). Ignored if a config file is given
    #[arg(long, value_name = "int32")]
    pub conntrack_max_per_core: Option<u32>,
    /// Minimum number of conntrack entries to allocate. Ignored if a config file is given
    #[arg(long, value_name = "int32")]
    pub conntrack_min: Option<u32>,
    /// Idle timeout for established TCP connections (0 to leave as-is). Ignored if a config file is given
    #[arg(long, value_name = "duration")]
    pub conntrack_tcp_timeout_established: Option<GoDuration>,
    /// NAT timeout for TCP connections in the CLOSE_WAIT state. Ignored if a config file is given
    #[arg(long, value_name = "duration")]
    pub conntrack_tcp_timeout_close_wait: Option<GoDuration>,
    /// Enable liberal mode for tracking TCP packets. Ignored if a config file is given
    #[arg(long)]
    pub conntrack_tcp_be_liberal: bool,
    /// Idle timeout for UNREPLIED UDP connections (0 to leave as-is). Ignored if a config file is given
    #[arg(long, value_name = "duration")]
    pub conntrack_udp_timeout: Option<GoDuration>,
    /// Idle timeout for ASSURED UDP connections (0 to leave as-is). Ignored if a config file is given
    #[arg(long, value_name = "duration")]
    pub conntrack_udp_timeout_stream: Option<GoDuration>,
    /// QPS to use while talking with kubernetes apiserver. Ignored if a config file is given
    #[arg(long, value_name = "float32")]
    pub kube_api_qps: Option<f32>,
    /// Burst to use while talking with kubernetes apiserver. Ignored if a config file is given
    #[arg(long, value_name = "int32")]
    pub kube_api_burst: Option<i32>,
    /// Profiling via web interface. There is none: only false is accepted
    #[arg(long)]
    pub profiling: bool,

    #[command(flatten)]
    pub logging: LoggingFlags,
}

impl Flags {
    /// The configuration: the file, or the defaults with the flags. --hostname-override holds always.
    ///
    /// # Errors
    /// When the file cannot be used, or something is asked for that there is not.
    pub fn config(&self) -> Result<ProxyConfig, ConfigError> {
        let mut config = match &self.config {
            Some(path) => ProxyConfig::load(path)?,
            None => self.without_file()?,
        };
        set(&mut config.hostname_override, &self.hostname_override);
        Ok(config)
    }

    fn without_file(&self) -> Result<ProxyConfig, ConfigError> {
        let mut config = ProxyConfig::default();
        set(&mut config.client_connection.kubeconfig, &self.kubeconfig);
        set(&mut config.client_connection.qps, &self.kube_api_qps);
        set(&mut config.client_connection.burst, &self.kube_api_burst);
        set(&mut config.bind_address, &self.bind_address);
        set(&mut config.healthz_bind_address, &self.healthz_bind_address);
        set(&mut config.metrics_bind_address, &self.metrics_bind_address);
        set(&mut config.mode, &self.proxy_mode);
        set(&mut config.detect_local_mode, &self.detect_local_mode);
        set(&mut config.detect_local.bridge_interface, &self.pod_bridge_interface);
        set(&mut config.detect_local.interface_name_prefix, &self.pod_interface_name_prefix);
        set(&mut config.cluster_cidr, &self.cluster_cidr);
        config.node_port_addresses.clone_from(&self.nodeport_addresses);
        config.bind_address_hard_fail = self.bind_address_hard_fail;
        config.nftables.masquerade_all = self.masquerade_all;
        config.enable_profiling = self.profiling;
        let conntrack = &mut config.conntrack;
        conntrack.tcp_be_liberal = self.conntrack_tcp_be_liberal;
        set(&mut conntrack.udp_timeout, &self.conntrack_udp_timeout);
        set(&mut conntrack.udp_stream_timeout, &self.conntrack_udp_timeout_stream);
        conntrack.max_per_core = self.conntrack_max_per_core.or(conntrack.max_per_core);
        conntrack.min = self.conntrack_min.or(conntrack.min);
        conntrack.tcp_established_timeout =
            self.conntrack_tcp_timeout_established.or(conntrack.tcp_established_timeout);
        conntrack.tcp_close_wait_timeout =
            self.conntrack_tcp_timeout_close_wait.or(conntrack.tcp_close_wait_timeout);
        config.oom_score_adj = self.oom_score_adj.or(config.oom_score_adj);
        config.check()?;
        Ok(config)
    }
}

fn set<T: Clone>(slot: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        *slot = value.clone();
    }
}
