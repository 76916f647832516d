//! The command line of cluster-dns.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use daemon::flags::{GoDuration, LoggingFlags};

/// Answers DNS queries for the cluster's Services and pods, and passes all others on.
///
/// The names are those of the Kubernetes DNS-Based Service Discovery specification, version 1.1.0.
#[derive(Parser, Debug)]
#[command(name = "cluster-dns")]
pub struct Flags {
    /// Path to a kubeconfig; without one, the service account of the pod
    #[arg(long, value_name = "string")]
    pub kubeconfig: Option<PathBuf>,
    /// The cluster's domain
    #[arg(long, value_name = "string", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Where to answer, over UDP and TCP
    #[arg(long, value_name = "ipport", default_value = "[::]:53")]
    pub listen_address: SocketAddr,
    /// Where /metrics, /healthz, /livez and /readyz are served, over HTTP
    #[arg(long, value_name = "ipport", default_value = "[::]:9153")]
    pub metrics_bind_address: SocketAddr,
    /// For how long a client may keep an answer about the cluster
    #[arg(long, value_name = "duration", default_value = "30s")]
    pub ttl: GoDuration,
    /// Name servers for all other names; without any, those of /etc/resolv.conf
    #[arg(long, value_name = "ips", value_delimiter = ',')]
    pub upstream: Vec<IpAddr>,

    #[command(flatten)]
    pub logging: LoggingFlags,
}
