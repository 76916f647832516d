//! The command line: upstream's flags as far as this kubelet acts on them. Others are refused by clap,
//! by name. Flags win over the configuration file.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use daemon::flags::{GoDuration, KeyValues, LoggingFlags};
use daemon::logging::Format;

use crate::config::{ConfigError, KubeletConfiguration, Taint};
use crate::node_flags::{Headers, NodeFlags};
use crate::setting_flags::SettingFlags;

/// The kubelet is the primary "node agent" that runs on each node. It registers the node with the apiserver, runs the pods bound to it by means of a container runtime, and reports their state
#[derive(Parser, Clone, Debug)]
#[command(name = "kubelet", next_help_heading = "Kubelet flags")]
pub struct Flags {
    /// The kubelet will load its initial configuration from this file; omit it to use the default values
    #[arg(long, value_name = "string")]
    pub config: Option<PathBuf>,
    /// Path to a directory to specify drop-ins, allows the user to optionally specify additional configs to overwrite what is provided by default and in the --config flag
    #[arg(long, value_name = "string")]
    pub config_dir: Option<String>,
    /// Path to a kubeconfig file, specifying how to connect to the API server
    #[arg(long, value_name = "string")]
    pub kubeconfig: Option<PathBuf>,
    /// Path to a kubeconfig file that will be used to get a client certificate for the kubelet; the result is written to --kubeconfig
    #[arg(long, value_name = "string", requires = "kubeconfig")]
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Renew the kubelet's client certificate before it expires
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    pub rotate_certificates: Option<bool>,
    /// Have the cluster issue the kubelet's serving certificate, and renew it before it expires. Someone must approve the requests
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    pub rotate_server_certificates: Option<bool>,
    /// The directory where the TLS certs are located, for certificates that the kubelet makes itself or asks for
    #[arg(long, value_name = "string", default_value = "/var/lib/kubelet/pki")]
    pub cert_dir: PathBuf,
    /// If non-empty, will use this string as identification instead of the actual hostname
    #[arg(long, value_name = "string", default_value = "")]
    pub hostname_override: String,
    /// IP address (or comma-separated dual-stack IP addresses) of the node. If unset, the kubelet will use the node's default IPv4 address, if any, or its default IPv6 address if it has no IPv4 addresses. You can pass '::' to make it prefer the default IPv6 address rather than the default IPv4 address. If cloud-provider is set to external, this flag will help to bootstrap the node with the corresponding IP
    #[arg(long, value_name = "string", default_value = "")]
    pub node_ip: String,
    /// The provider for cloud services. Set to empty string for running with no cloud provider. Set to 'external' for running with an external cloud provider
    #[arg(long, value_name = "string", default_value = "")]
    pub cloud_provider: String,
    /// Labels to add when registering the node in the cluster, as key=value pairs separated by ','
    #[arg(long, value_name = "mapStringString", default_value = "")]
    pub node_labels: KeyValues,
    /// Directory path for managing kubelet files (volume mounts, etc)
    #[arg(long, value_name = "string", default_value = "/var/lib/kubelet")]
    pub root_dir: PathBuf,
    /// The endpoint of the container runtime service (unix socket)
    #[arg(long, value_name = "string")]
    pub container_runtime_endpoint: Option<String>,
    /// Register the node with the apiserver
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    pub register_node: Option<bool>,
    /// Register the node with the given list of taints (comma separated <key>=<value>:<effect>)
    #[arg(long, value_name = "[]v1.Taint", value_delimiter = ',')]
    pub register_with_taints: Vec<String>,
    /// The IP address for the kubelet to serve on
    #[arg(long, value_name = "ip")]
    pub address: Option<IpAddr>,
    /// The port for the kubelet to serve on
    #[arg(long, value_name = "int32")]
    pub port: Option<u16>,
    /// The port of the localhost healthz endpoint (set to 0 to disable)
    #[arg(long, value_name = "int32")]
    pub healthz_port: Option<u16>,
    /// Driver that the kubelet uses to manipulate cgroups on the host: 'cgroupfs'
    #[arg(long, value_name = "string")]
    pub cgroup_driver: Option<String>,
    /// Optional root cgroup to use for pods
    #[arg(long, value_name = "string")]
    pub cgroup_root: Option<String>,
    /// Comma-separated list of DNS server IP addresses for pods
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub cluster_dns: Vec<String>,
    /// Domain for this cluster
    #[arg(long, value_name = "string")]
    pub cluster_domain: Option<String>,
    /// Resolver configuration file used as the basis for the container DNS resolution configuration
    #[arg(long, value_name = "string")]
    pub resolv_conf: Option<String>,
    /// Number of Pods that can run on this kubelet
    #[arg(long, value_name = "int32")]
    pub max_pods: Option<i32>,
    /// The CIDR to use for pod IP addresses, when the node has none from the cluster
    #[arg(long, value_name = "string")]
    pub pod_cidr: Option<String>,
    /// Path to the directory containing static pod files to run, or the path to a single static pod file. Files starting with dots will be ignored
    #[arg(long, value_name = "string")]
    pub pod_manifest_path: Option<String>,
    /// URL for accessing additional Pod specifications to run
    #[arg(long, value_name = "string")]
    pub manifest_url: Option<String>,
    /// Comma-separated list of HTTP headers to use when accessing the url provided to --manifest-url. Multiple headers with the same name will be added in the same order provided. This flag can be repeatedly invoked. For example: --manifest-url-header 'a:hello,b:again,c:world' --manifest-url-header 'b:beautiful'
    #[arg(long, value_name = "colonSeparatedMultimapStringString")]
    pub manifest_url_header: Vec<Headers>,
    /// Duration between checking http for new data
    #[arg(long, value_name = "duration")]
    pub http_check_frequency: Option<GoDuration>,
    /// Duration between checking config files for new data
    #[arg(long, value_name = "duration")]
    pub file_check_frequency: Option<GoDuration>,
    /// Prevent the kubelet from starting on the host using cgroup v1
    #[arg(long = "fail-cgroupv1", value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    pub fail_cgroup_v1: Option<bool>,
    /// Makes the kubelet fail to start if swap is enabled on the node
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = daemon::flags::parse_bool)]
    pub fail_swap_on: Option<bool>,
    /// File containing the x509 certificate used for serving HTTPS
    #[arg(long, value_name = "string", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<String>,
    /// File containing the private key that matches --tls-cert-file
    #[arg(long, value_name = "string", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<String>,
    /// Path to a credential provider plugin config file (JSON/YAML/YML) or a directory of such files (merged in lexicographical order; non-recursive search)
    #[arg(long, value_name = "string", default_value = "")]
    pub image_credential_provider_config: String,
    /// The path to the directory where credential provider plugin binaries are located
    #[arg(long, value_name = "string", default_value = "")]
    pub image_credential_provider_bin_dir: String,
    /// Requests with a client certificate signed by one of the authorities in this file are authenticated by it
    #[arg(long, value_name = "string")]
    pub client_ca_file: Option<String>,
    /// Fields of the configuration file
    #[command(flatten)]
    pub settings: SettingFlags,
    /// Fields about the node and the kubelet's own process
    #[command(flatten)]
    pub node: NodeFlags,
    /// Verbosity and format of the log
    #[command(flatten)]
    pub logging: LoggingFlags,
}

impl Flags {
    /// The folder of files that change the configuration.
    fn folder(&self) -> Option<&Path> {
        self.config_dir.as_deref().filter(|folder| !folder.is_empty()).map(Path::new)
    }

    /// How lines are written: as the command line says, or else the configuration.
    pub fn logging(&self, config: Option<&KubeletConfiguration>) -> LoggingFlags {
        let Some(config) = config else { return self.logging.clone() };
        let format = if config.logging.format == "json" { Format::Json } else { Format::Text };
        LoggingFlags { verbosity: config.logging.verbosity, format }
    }

    /// The configuration file's content with the flags over it.
    pub fn configuration(&self) -> Result<KubeletConfiguration, ConfigError> {
        let mut config = KubeletConfiguration::load(self.config.as_deref(), self.folder())?;
        let set = |field: &mut String, flag: &Option<String>| {
            if let Some(value) = flag {
                field.clone_from(value);
            }
        };
        set(&mut config.container_runtime_endpoint, &self.container_runtime_endpoint);
        set(&mut config.cgroup_driver, &self.cgroup_driver);
        set(&mut config.cgroup_root, &self.cgroup_root);
        set(&mut config.cluster_domain, &self.cluster_domain);
        set(&mut config.pod_cidr, &self.pod_cidr);
        set(&mut config.static_pod_path, &self.pod_manifest_path);
        set(&mut config.static_pod_url, &self.manifest_url);
        if !self.manifest_url_header.is_empty() {
            config.static_pod_url_header = Headers::together(&self.manifest_url_header);
        }
        if let Some(every) = &self.http_check_frequency {
            config.http_check_frequency = Some(every.0).filter(|every| !every.is_zero());
        }
        if let Some(every) = &self.file_check_frequency {
            config.file_check_frequency = Some(every.0).filter(|every| !every.is_zero());
        }
        set(&mut config.tls_cert_file, &self.tls_cert_file);
        set(&mut config.tls_private_key_file, &self.tls_private_key_file);
        set(&mut config.authentication.x509.client_ca_file, &self.client_ca_file);
        if let Some(address) = self.address {
            config.address = address.to_string();
        }
        config.port = self.port.unwrap_or(config.port);
        config.healthz_port = self.healthz_port.or(config.healthz_port);
        config.resolv_conf = self.resolv_conf.clone().or(config.resolv_conf);
        config.max_pods = self.max_pods.unwrap_or(config.max_pods);
        config.fail_cgroup_v1 = self.fail_cgroup_v1.or(config.fail_cgroup_v1);
        config.fail_swap_on = self.fail_swap_on.or(config.fail_swap_on);
        config.rotate_certificates = self.rotate_certificates.or(config.rotate_certificates);
        config.server_tls_bootstrap = self.rotate_server_certificates.or(config.server_tls_bootstrap);
        config.register_node = self.register_node.or(config.register_node);
        if !self.cluster_dns.is_empty() {
            config.cluster_dns.clone_from(&self.cluster_dns);
        }
        self.settings.apply(&mut config);
        self.node.apply(&mut config);
        if daemon::flags::is_given("v") {
            config.logging.verbosity = self.logging.verbosity;
        }
        if daemon::flags::is_given("logging-format") {
            let json = self.logging.format == Format::Json;
            config.logging.format = if json { "json".into() } else { "text".into() };
        }
        for text in &self.register_with_taints {
            config.register_with_taints.push(taint(text)?);
        }
        config.check()?;
        Ok(config)
    }
}

/// The configuration that follows from a command line, for tests.
///
/// # Errors
/// What is wrong with it, in words.
#[cfg(test)]
pub fn configured(line: &str) -> Result<KubeletConfiguration, String> {
    let arguments = std::iter::once("kubelet").chain(line.split_whitespace());
    let flags = Flags::try_parse_from(arguments).map_err(|error| error.to_string())?;
    flags.configuration().map_err(|error| error.to_string())
}

/// `key=value:effect` or `key:effect`.
fn taint(text: &str) -> Result<Taint, ConfigError> {
    let bad = || ConfigError::Invalid(format!("invalid taint spec: {text}"));
    let (rest, effect) = text.rsplit_once(':').ok_or_else(bad)?;
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    if key.is_empty() || !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return Err(bad());
    }
    Ok(Taint { key: key.into(), value: value.into(), effect: effect.into() })
}
