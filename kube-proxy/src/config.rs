//! KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1): the file behind `--config`. What this proxy does not support is refused by name, never ignored. Sections of the
//! modes iptables, ipvs and winkernel may stand in the file as long as the mode is another, as with
//! upstream. Fields that nobody knows are told and left out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use daemon::config_file::{self, ConfigFileError, Expected, Lenient};
use daemon::flags::GoDuration;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::backend::nftables::plan::LocalTraffic;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] ConfigFileError),
    #[error("{0} is not supported by this kube-proxy")]
    Unsupported(String),
    #[error("{0}")]
    Invalid(String),
}

/// The file's content; flags replace it when there is no file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ProxyConfig {
    pub feature_gates: BTreeMap<String, bool>,
    pub client_connection: ClientConnection,
    logging: Logging,
    pub hostname_override: String,
    pub bind_address: String,
    pub healthz_bind_address: String,
    pub metrics_bind_address: String,
    pub bind_address_hard_fail: bool,
    pub enable_profiling: bool,
    pub show_hidden_metrics_for_version: String,
    pub mode: String,
    iptables: Value,
    ipvs: Value,
    pub nftables: Nftables,
    winkernel: Value,
    pub detect_local_mode: String,
    pub detect_local: DetectLocal,
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: String,
    #[serde(deserialize_with = "nullable")]
    pub node_port_addresses: Vec<String>,
    pub oom_score_adj: Option<i32>,
    pub conntrack: Conntrack,
    /// COMPAT: caches that follow the apiserver need no refresh; any value is right.
    #[allow(dead_code, reason = "decoded for its syntax; see above")]
    config_sync_period: GoDuration,
    port_range: String,
    /// COMPAT: only means something on Windows.
    #[allow(dead_code, reason = "decoded for its syntax; see above")]
    windows_run_as_service: bool,
    /// What a strict reader says of the file.
    #[serde(skip)]
    pub strict_error: Option<String>,
}

/// Upstream's own files write `null` for empty lists.
fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            feature_gates: BTreeMap::new(),
            client_connection: ClientConnection::default(),
            logging: Logging::default(),
            hostname_override: String::new(),
            bind_address: "0.0.0.0".into(),
            healthz_bind_address: String::new(),
            metrics_bind_address: String::new(),
            bind_address_hard_fail: false,
            enable_profiling: false,
            show_hidden_metrics_for_version: String::new(),
            mode: String::new(),
            iptables: Value::Null,
            ipvs: Value::Null,
            nftables: Nftables::default(),
            winkernel: Value::Null,
            detect_local_mode: String::new(),
            detect_local: DetectLocal::default(),
            cluster_cidr: String::new(),
            node_port_addresses: Vec::new(),
            oom_score_adj: Some(-999),
            conntrack: Conntrack::default(),
            config_sync_period: GoDuration::from_secs(15 * 60),
            port_range: String::new(),
            windows_run_as_service: false,
            strict_error: None,
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
            content_type: String::new(),
            qps: 5.0,
            burst: 10,
        }
    }
}

/// `format` and `verbosity` have flags that mean the same; the rest is not there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Logging {
    format: String,
    verbosity: u8,
    flush_frequency: Value,
    options: Value,
    vmodule: Value,
}

/// The nftables mode.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Nftables {
    pub masquerade_bit: Option<u8>,
    pub masquerade_all: bool,
    pub sync_period: GoDuration,
    pub min_sync_period: GoDuration,
}

impl Default for Nftables {
    fn default() -> Self {
        Self {
            masquerade_bit: None,
            masquerade_all: false,
            sync_period: GoDuration::from_secs(30),
            min_sync_period: GoDuration::from_secs(1),
        }
    }
}

/// What local traffic is told by.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct DetectLocal {
    pub bridge_interface: String,
    pub interface_name_prefix: String,
}

/// Limits of the kernel's connection table; `None` leaves a value as it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Conntrack {
    pub max_per_core: Option<u32>,
    pub min: Option<u32>,
    pub tcp_established_timeout: Option<GoDuration>,
    pub tcp_close_wait_timeout: Option<GoDuration>,
    pub tcp_be_liberal: bool,
    pub udp_timeout: GoDuration,
    pub udp_stream_timeout: GoDuration,
}

impl Default for Conntrack {
    fn default() -> Self {
        Self {
            max_per_core: Some(32 * 1024),
            min: Some(128 * 1024),
            tcp_established_timeout: Some(GoDuration::from_secs(24 * 3600)),
            tcp_close_wait_timeout: Some(GoDuration::from_secs(3600)),
            tcp_be_liberal: false,
            udp_timeout: GoDuration::default(),
            udp_stream_timeout: GoDuration::default(),
        }
    }
}

/// How local traffic is told, as far as it is known before our node is.
#[derive(Clone, Debug, PartialEq)]
pub enum LocalMode {
    Known(LocalTraffic),
    /// By the node's own pod CIDRs.
    NodeCidr,
}

impl ProxyConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every variant of [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let expected =
            Expected { kind: "KubeProxyConfiguration", api_versions: &["kubeproxy.config.k8s.io/v1alpha1"] };
        Self::of(config_file::load_leniently(path, expected)?, path)
    }

    /// COMPAT: what is there twice or not known is told, and the proxy goes on without it.
    fn of(file: Lenient, path: &Path) -> Result<Self, ConfigError> {
        let (config, unknown) = config_file::read_known::<Self>(Value::Object(file.fields))
            .map_err(|error| ConfigFileError::Field { path: path.into(), message: error.to_string() })?;
        let strict_error = Lenient::strict_error(&[file.findings, unknown].concat());
        let config = Self { strict_error, ..config };
        config.check()?;
        Ok(config)
    }

    /// # Errors
    /// For what is not supported, and what makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        let unsupported = |what: &str| Err(ConfigError::Unsupported(what.to_owned()));
        match self.mode.as_str() {
            // COMPAT: upstream's default on Linux is iptables; here it is nftables.
            "" | "nftables" => {}
            mode @ ("iptables" | "ipvs") => {
                return Err(ConfigError::Invalid(format!(
                    "proxy mode {mode:?} is not supported by this kube-proxy: use \"nftables\""
                )));
            }
            mode => {
                return Err(ConfigError::Invalid(format!(
                    "KubeProxyConfiguration.Mode: Invalid value: {mode:?}: must be iptables, ipvs, nftables or blank (blank means the best-available proxy [currently nftables])"
                )));
            }
        }
        daemon::flags::all_held_to_defaults(&self.feature_gates)
            .map_err(|error| ConfigError::Invalid(error.to_string()))?;
        if self.enable_profiling {
            return unsupported("enableProfiling: true");
        }
        if !self.show_hidden_metrics_for_version.is_empty() {
            return unsupported("showHiddenMetricsForVersion");
        }
        if !self.port_range.is_empty() {
            return unsupported("portRange");
        }
        let logging = &self.logging;
        for (name, value) in [("options", &logging.options), ("vmodule", &logging.vmodule)] {
            let empty = value.as_array().is_some_and(Vec::is_empty);
            if !(value.is_null() || empty) {
                return Err(ConfigError::Unsupported(format!("logging.{name}")));
            }
        }
        if !matches!(logging.format.as_str(), "" | "text") {
            return unsupported("logging.format in the file: use --logging-format");
        }
        if logging.verbosity > 0 {
            return unsupported("logging.verbosity in the file: use -v");
        }
        for (name, value) in [
            ("contentType", &self.client_connection.content_type),
            ("acceptContentTypes", &self.client_connection.accept_content_types),
        ] {
            if !matches!(value.as_str(), "" | "application/json" | "application/vnd.kubernetes.protobuf") {
                return Err(ConfigError::Unsupported(format!("clientConnection.{name}: {value:?}")));
            }
        }
        if self.nftables.masquerade_bit.is_some_and(|bit| bit > 31) {
            return Err(ConfigError::Invalid(
                "KubeProxyConfiguration.NFTables.MasqueradeBit: must be within the range [0, 31]".into(),
            ));
        }
        if self.nftables.min_sync_period > self.nftables.sync_period {
            return Err(ConfigError::Invalid(
                "KubeProxyConfiguration.NFTables.MinSyncPeriod: must be less than or equal to SyncPeriod"
                    .into(),
            ));
        }
        self.local_mode()?;
        self.node_ports()?;
        self.healthz_address()?;
        self.metrics_address()?;
        Ok(())
    }

    /// The node's address by `bindAddress`, when it names one.
    pub fn bind_ip(&self) -> Option<IpAddr> {
        self.bind_address.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified())
    }

    /// Which of the node's addresses take NodePort traffic; `None`: its primary ones.
    ///
    /// # Errors
    /// For what is no network.
    pub fn node_ports(&self) -> Result<Option<Vec<IpNet>>, ConfigError> {
        if self.node_port_addresses.is_empty() || self.node_port_addresses == ["primary"] {
            return Ok(None);
        }
        let network = |text: &String| {
            text.parse().map_err(|_| {
                ConfigError::Invalid(format!(
                    "KubeProxyConfiguration.NodePortAddresses: Invalid value: {text:?}: must be a valid CIDR"
                ))
            })
        };
        self.node_port_addresses.iter().map(network).collect::<Result<_, _>>().map(Some)
    }

    /// How traffic of this node's pods is told.
    ///
    /// # Errors
    /// For unknown modes, and modes that lack what they need.
    pub fn local_mode(&self) -> Result<LocalMode, ConfigError> {
        let invalid = |message: &str| Err(ConfigError::Invalid(message.to_owned()));
        let detect = &self.detect_local;
        Ok(match self.detect_local_mode.as_str() {
            "" | "ClusterCIDR" if self.cluster_cidr.is_empty() => LocalMode::Known(LocalTraffic::Unknown),
            "" | "ClusterCIDR" => {
                let networks: Result<Vec<IpNet>, _> =
                    self.cluster_cidr.split(',').map(|c| c.trim().parse()).collect();
                match networks {
                    Ok(networks) => LocalMode::Known(LocalTraffic::From(networks)),
                    Err(_) => {
                        return Err(ConfigError::Invalid(format!(
                            "KubeProxyConfiguration.ClusterCIDR: Invalid value: {:?}: must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)",
                            self.cluster_cidr
                        )));
                    }
                }
            }
            "NodeCIDR" => LocalMode::NodeCidr,
            "BridgeInterface" if detect.bridge_interface.is_empty() => {
                return invalid(
                    "KubeProxyConfiguration.DetectLocal.BridgeInterface: cannot be empty when DetectLocalMode is BridgeInterface",
                );
            }
            "BridgeInterface" => LocalMode::Known(LocalTraffic::Interface(detect.bridge_interface.clone())),
            "InterfaceNamePrefix" if detect.interface_name_prefix.is_empty() => {
                return invalid(
                    "KubeProxyConfiguration.DetectLocal.InterfacePrefix: cannot be empty when DetectLocalMode is InterfaceNamePrefix",
                );
            }
            "InterfaceNamePrefix" => {
                LocalMode::Known(LocalTraffic::Interface(format!("{}*", detect.interface_name_prefix)))
            }
            other => {
                return Err(ConfigError::Invalid(format!(
                    "KubeProxyConfiguration.DetectLocalMode: Unsupported value: {other:?}: supported values: \"BridgeInterface\", \"ClusterCIDR\", \"InterfaceNamePrefix\", \"NodeCIDR\""
                )));
            }
        })
    }

    /// Where /healthz is served; `None`: nowhere.
    ///
    /// # Errors
    /// For what is no address.
    pub fn healthz_address(&self) -> Result<Option<SocketAddr>, ConfigError> {
        let any = if self.bind_ip().is_some_and(|ip| ip.is_ipv6()) { "[::]" } else { "0.0.0.0" };
        address("HealthzBindAddress", &self.healthz_bind_address, any, 10256)
    }

    /// Where /metrics is served; `None`: nowhere.
    ///
    /// # Errors
    /// For what is no address.
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>, ConfigError> {
        let local = if self.bind_ip().is_some_and(|ip| ip.is_ipv6()) { "[::1]" } else { "127.0.0.1" };
        address("MetricsBindAddress", &self.metrics_bind_address, local, 10249)
    }
}

fn address(field: &str, text: &str, default: &str, port: u16) -> Result<Option<SocketAddr>, ConfigError> {
    let text = if text.is_empty() { default } else { text };
    let bare = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let address = match bare {
        Ok(ip) => SocketAddr::new(ip, port),
        Err(_) => text.parse().map_err(|_| {
            ConfigError::Invalid(format!(
                "KubeProxyConfiguration.{field}: Invalid value: {text:?}: must be IP:port"
            ))
        })?,
    };
    Ok((address.port() != 0).then_some(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(body: &str) -> Result<ProxyConfig, String> {
        let text =
            format!("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n{body}");
        let expected =
            Expected { kind: "KubeProxyConfiguration", api_versions: &["kubeproxy.config.k8s.io/v1alpha1"] };
        let path = Path::new("c.yaml");
        let file = config_file::parse_leniently(&text, path, expected).map_err(|e| e.to_string())?;
        ProxyConfig::of(file, path).map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_as_kubeadm_writes_it_is_taken() {
        let config = config(
            "bindAddress: 0.0.0.0\nbindAddressHardFail: false\nclientConnection:\n  acceptContentTypes: \"\"\n  burst: 0\n  contentType: \"\"\n  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\n  qps: 0\nclusterCIDR: 10.244.0.0/16\nconfigSyncPeriod: 0s\nconntrack:\n  maxPerCore: null\n  min: null\n  tcpBeLiberal: false\n  tcpCloseWaitTimeout: null\n  tcpEstablishedTimeout: null\n  udpStreamTimeout: 0s\n  udpTimeout: 0s\ndetectLocal:\n  bridgeInterface: \"\"\n  interfaceNamePrefix: \"\"\ndetectLocalMode: \"\"\nenableProfiling: false\nhealthzBindAddress: \"\"\nhostnameOverride: \"\"\niptables:\n  localhostNodePorts: null\n  masqueradeAll: false\n  masqueradeBit: null\n  minSyncPeriod: 0s\n  syncPeriod: 0s\nipvs:\n  excludeCIDRs: null\n  scheduler: \"\"\nlogging:\n  flushFrequency: 0\n  verbosity: 0\nmetricsBindAddress: \"\"\nmode: nftables\nnftables:\n  masqueradeAll: false\n  masqueradeBit: null\n  minSyncPeriod: 0s\n  syncPeriod: 0s\nnodePortAddresses: null\noomScoreAdj: null\nportRange: \"\"\nshowHiddenMetricsForVersion: \"\"\nwinkernel:\n  enableDSR: false\n",
        )
        .unwrap();
        assert_eq!(config.healthz_address().unwrap().unwrap().to_string(), "0.0.0.0:10256");
        assert_eq!(config.metrics_address().unwrap().unwrap().to_string(), "127.0.0.1:10249");
        let cluster = LocalTraffic::From(vec!["10.244.0.0/16".parse().unwrap()]);
        assert_eq!(config.local_mode().unwrap(), LocalMode::Known(cluster));
    }

    #[test]
    fn fields_that_nobody_knows_are_told() {
        let config =
            config("clusterCidr: 10.0.0.0/8\nmode: iptables\nmode: nftables\nconntrack: {most: 1}\n")
                .unwrap();
        assert_eq!(
            config.strict_error.as_deref(),
            Some(
                "strict decoding error: yaml: unmarshal errors:\n  line 5: key \"mode\" already set in map, unknown \
                 field \"clusterCidr\", unknown field \"conntrack.most\""
            )
        );
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (body, part) in [
            ("mode: iptables", "proxy mode \"iptables\""),
            ("mode: ipvs", "proxy mode \"ipvs\""),
            ("mode: userspace", "must be iptables, ipvs, nftables or blank"),
            ("enableProfiling: true", "enableProfiling: true is not supported"),
            ("featureGates: {Some: true}", "unrecognized feature gate: Some"),
            ("detectLocalMode: Guess", "Unsupported value: \"Guess\""),
            ("detectLocalMode: BridgeInterface", "BridgeInterface: cannot be empty"),
            ("nodePortAddresses: [localhost]", "must be a valid CIDR"),
            ("metricsBindAddress: nowhere", "must be IP:port"),
        ] {
            let error = config(body).expect_err(body);
            assert!(error.contains(part), "{body}: {error}");
        }
    }
}
