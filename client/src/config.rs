//! What a client needs to know to reach an apiserver: where it is, whom to trust, who we are, how
//! fast we may ask. Made from a kubeconfig (`kubeconfig.rs`), from a pod's mounts, or by hand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::tls::Pem;

use crate::token::TokenSource;

/// Why a configuration cannot be used. Display names the file and the field.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read kubeconfig {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("kubeconfig {path}: {message}")]
    Parse { path: PathBuf, message: String },
    #[error("kubeconfig {path}: {what} {name:?} does not exist")]
    Missing { path: PathBuf, what: &'static str, name: String },
    #[error("kubeconfig {path}: {field} is not supported")]
    Unsupported { path: PathBuf, field: &'static str },
    #[error("kubeconfig {path}: {field}: {source}")]
    Base64 { path: PathBuf, field: &'static str, source: base64::DecodeError },
    #[error("server {server:?} is no https or http URL")]
    Server { server: String },
    #[error(
        "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"
    )]
    NotInCluster,
    #[error("cannot set up TLS")]
    Tls(#[from] daemon::tls::TlsError),
}

/// How to reach an apiserver and as whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// `https://host:port`, optionally with a path prefix.
    pub server: String,
    /// Name to verify the server's certificate against, instead of the URL's host.
    pub tls_server_name: Option<String>,
    /// Authorities that may vouch for the server; the system's when absent.
    pub ca: Option<Pem>,
    pub insecure_skip_tls_verify: bool,
    /// Client certificate and key: both or neither.
    pub cert: Option<Pem>,
    pub key: Option<Pem>,
    pub token: TokenSource,
    /// User to act as, by `Impersonate-User`.
    pub impersonate_user: Option<String>,
    /// Namespace of the kubeconfig's context.
    pub namespace: String,
    pub user_agent: String,
    /// Requests a second on average; 0 means no limit.
    pub qps: f64,
    /// Requests that may come at once.
    pub burst: u32,
    /// How long a request other than a watch may take.
    pub timeout: Duration,
}

impl Config {
    /// A server with no credentials, upstream's default limits (50 a second, bursts of 100).
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            tls_server_name: None,
            ca: None,
            insecure_skip_tls_verify: false,
            cert: None,
            key: None,
            token: TokenSource::None,
            impersonate_user: None,
            namespace: "default".to_owned(),
            user_agent: daemon::version::user_agent("ferrokube", None),
            qps: 50.0,
            burst: 100,
            timeout: Duration::from_secs(34),
        }
    }

    /// From a kubeconfig file's current context.
    ///
    /// # Errors
    /// When the file is missing, malformed, names what is not there, or asks for what is not supported.
    pub fn from_kubeconfig(path: &Path) -> Result<Self, ConfigError> {
        crate::kubeconfig::load(path)
    }

    /// From a pod's service account mount and environment.
    ///
    /// # Errors
    /// [`ConfigError::NotInCluster`] outside of a pod.
    pub fn in_cluster() -> Result<Self, ConfigError> {
        const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
        let variable = |name| std::env::var(name).ok().filter(|v: &String| !v.is_empty());
        let (Some(host), Some(port)) =
            (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"))
        else {
            return Err(ConfigError::NotInCluster);
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let folder = Path::new(FOLDER);
        Ok(Self {
            ca: Some(Pem::File(folder.join("ca.crt"))),
            token: TokenSource::file(folder.join("token")),
            namespace: std::fs::read_to_string(folder.join("namespace")).unwrap_or_else(|_| "default".into()),
            ..Self::new(format!("https://{host}:{port}"))
        })
    }

    /// The component and purpose that the User-Agent names.
    #[must_use]
    pub fn with_agent(mut self, component: &str, purpose: Option<&str>) -> Self {
        self.user_agent = daemon::version::user_agent(component, purpose);
        self
    }

    /// `--kube-api-qps` and `--kube-api-burst`.
    #[must_use]
    pub fn with_limits(mut self, qps: f64, burst: u32) -> Self {
        self.qps = qps;
        self.burst = burst;
        self
    }

    /// The same server, as whoever holds this token and no longer by certificate.
    #[must_use]
    pub fn with_token(mut self, token: TokenSource) -> Self {
        self.cert = None;
        self.key = None;
        self.token = token;
        self
    }
}
