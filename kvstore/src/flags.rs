//! The command line: etcd's names. `environment` says where flags come from besides.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use daemon::flags::{Feature, FeatureGates, GoDuration, Stage};
use daemon::tls::MinVersion;

use crate::auth::password;
use crate::bootstrap::InitialCluster;

/// A key-value store that speaks etcd's v3 API.
#[derive(Parser, Clone, Debug)]
#[command(name = "kvstore")]
pub struct Flags {
    /// Human-readable name for this member
    #[arg(long, default_value = "default", help_heading = "Member")]
    pub name: String,
    /// Path to the data directory; ${name}.etcd when not given
    #[arg(long, default_value = "", help_heading = "Member")]
    pub data_dir: String,
    /// Path to a directory of its own for the log
    #[arg(long, default_value = "", help_heading = "Member")]
    pub wal_dir: String,
    /// Number of log entries after which a snapshot is written, once they also weigh half of the state
    #[arg(long, default_value_t = 10_000, help_heading = "Member")]
    pub snapshot_count: u64,
    /// Time (in milliseconds) between heartbeats to other members
    #[arg(long, default_value_t = 100, help_heading = "Member")]
    pub heartbeat_interval: u64,
    /// Time (in milliseconds) without a leader after which an election begins
    #[arg(long, default_value_t = 1000, help_heading = "Member")]
    pub election_timeout: u64,
    /// Keep a member that returns from standing for election before it has asked whether it would be elected
    #[arg(
        long,
        default_value = "true",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = daemon::flags::parse_bool,
        action = clap::ArgAction::Set,
        help_heading = "Member"
    )]
    pub pre_vote: bool,
    /// Number of log entries that are kept after a snapshot for members that lag behind
    #[arg(
        long,
        alias = "experimental-snapshot-catchup-entries",
        default_value_t = 5000,
        help_heading = "Member"
    )]
    pub snapshot_catchup_entries: u64,
    /// URLs to listen on for peers
    #[arg(long, default_value = DEFAULT_PEER_URL, help_heading = "Member")]
    pub listen_peer_urls: String,
    /// URLs to listen on for clients
    #[arg(long, default_value = "http://localhost:2379", help_heading = "Member")]
    pub listen_client_urls: String,
    /// URLs to listen on for clients that speak plain HTTP (/health, /version, /metrics); the client URLs then
    /// serve gRPC alone
    #[arg(long, default_value = "", help_heading = "Member")]
    pub listen_client_http_urls: String,
    /// Most snapshot files that are kept (0 is unlimited); kvstore never keeps more than the latest
    #[arg(long, default_value_t = 5, help_heading = "Member")]
    pub max_snapshots: u32,
    /// Most log files that are kept beside those still needed (0 is unlimited); kvstore keeps none
    #[arg(long, default_value_t = 5, help_heading = "Member")]
    pub max_wals: u32,
    /// Most streams that a client may have open on one connection
    #[arg(long, default_value_t = u32::MAX, help_heading = "Member")]
    pub max_concurrent_streams: u32,
    /// Bytes of data above which writes that grow are refused and NOSPACE is raised; 0 means 2 GiB, less
    /// than 0 no quota
    #[arg(long, default_value_t = 0, help_heading = "Member")]
    pub quota_backend_bytes: i64,
    /// Most operations in a transaction
    #[arg(long, default_value_t = 128, help_heading = "Member")]
    pub max_txn_ops: usize,
    /// Largest request in bytes
    #[arg(long, default_value_t = 1_572_864, help_heading = "Member")]
    pub max_request_bytes: usize,

    /// This member's peer URLs, as told to the others
    #[arg(long, default_value = "http://localhost:2380", help_heading = "Clustering")]
    pub initial_advertise_peer_urls: String,
    /// Members at bootstrap, as name=URL; this member alone when not given
    #[arg(long, default_value = "", help_heading = "Clustering")]
    pub initial_cluster: String,
    /// Whether the cluster is being made (new) or exists (existing)
    #[arg(long, default_value = "new", value_parser = ["new", "existing"], help_heading = "Clustering")]
    pub initial_cluster_state: String,
    /// Token that keeps clusters apart
    #[arg(long, default_value = "etcd-cluster", help_heading = "Clustering")]
    pub initial_cluster_token: String,
    /// Refuse changes of the members that would endanger the quorum
    #[arg(
        long,
        default_value = "true",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = daemon::flags::parse_bool,
        action = clap::ArgAction::Set,
        help_heading = "Clustering"
    )]
    pub strict_reconfig_check: bool,
    /// Most learners at a time
    #[arg(long, alias = "experimental-max-learners", default_value_t = 1, help_heading = "Clustering")]
    pub max_learners: usize,
    /// This member's client URLs, as told to clients
    #[arg(long, default_value = "http://localhost:2379", help_heading = "Clustering")]
    pub advertise_client_urls: String,
    /// What auto-compaction-retention means: a time (periodic) or a number of revisions (revision)
    #[arg(
        long,
        default_value = "periodic",
        value_parser = ["periodic", "revision"],
        help_heading = "Clustering"
    )]
    pub auto_compaction_mode: String,
    /// History that is kept: a duration or a number of hours, or a number of revisions; 0 keeps all
    #[arg(long, default_value = "0", help_heading = "Clustering")]
    pub auto_compaction_retention: String,

    /// Certificate for clients
    #[arg(long, default_value = "", help_heading = "Security")]
    pub cert_file: String,
    /// Key of the certificate for clients
    #[arg(long, default_value = "", help_heading = "Security")]
    pub key_file: String,
    /// Require client certificates
    #[arg(long, help_heading = "Security")]
    pub client_cert_auth: bool,
    /// Authorities of client certificates
    #[arg(long, default_value = "", help_heading = "Security")]
    pub trusted_ca_file: String,
    /// Certificate for peers
    #[arg(long, default_value = "", help_heading = "Security")]
    pub peer_cert_file: String,
    /// Key of the certificate for peers
    #[arg(long, default_value = "", help_heading = "Security")]
    pub peer_key_file: String,
    /// Require peers' certificates
    #[arg(long, help_heading = "Security")]
    pub peer_client_cert_auth: bool,
    /// Authorities of peers' certificates
    #[arg(long, default_value = "", help_heading = "Security")]
    pub peer_trusted_ca_file: String,
    /// Certificate that is shown to peers, where it is another than --peer-cert-file
    #[arg(long, default_value = "", help_heading = "Security")]
    pub peer_client_cert_file: String,
    /// Key of the certificate that is shown to peers
    #[arg(long, default_value = "", help_heading = "Security")]
    pub peer_client_key_file: String,
    /// Common names that peers' certificates may have; any when none is given
    #[arg(long, value_delimiter = ',', help_heading = "Security")]
    pub peer_cert_allowed_cn: Vec<String>,
    /// Cipher suites of TLS 1.2 between clients and server and between peers, as Go names them
    #[arg(long, value_delimiter = ',', help_heading = "Security")]
    pub cipher_suites: Vec<String>,
    /// Lowest version of TLS
    #[arg(long, default_value = "TLS1.2", value_parser = ["", "TLS1.2", "TLS1.3"], help_heading = "Security")]
    pub tls_min_version: String,
    /// Highest version of TLS
    #[arg(long, default_value = "", value_parser = ["", "TLS1.3"], help_heading = "Security")]
    pub tls_max_version: String,

    /// How users get tokens: simple, or jwt with its options (jwt,sign-method=RS256,priv-key=FILE,ttl=10m)
    #[arg(long, default_value = "simple", help_heading = "Auth")]
    pub auth_token: String,
    /// Time (in seconds) after which an unused simple token ends
    #[arg(long, default_value_t = 300, help_heading = "Auth")]
    pub auth_token_ttl: u64,
    /// Cost of hashing passwords, from 4 to 31
    #[arg(long, default_value_t = 10, help_heading = "Auth")]
    pub bcrypt_cost: u32,

    /// URLs that serve /metrics and /health without TLS client certificates; beside the client URLs
    #[arg(long, default_value = "", help_heading = "Profiling and Monitoring")]
    pub listen_metrics_urls: String,
    /// Detail of the metrics: with extensive, how long each call took as well
    #[arg(
        long,
        default_value = "basic",
        value_parser = ["basic", "extensive"],
        help_heading = "Profiling and Monitoring"
    )]
    pub metrics: String,
    /// How often watchers that asked for it are told of progress
    #[arg(
        long,
        alias = "experimental-watch-progress-notify-interval",
        default_value = "10m",
        help_heading = "Features"
    )]
    pub watch_progress_notify_interval: GoDuration,
    /// Features to switch on or off: InitialCorruptCheck=true|false
    #[arg(long, default_value = "", help_heading = "Features")]
    pub feature_gates: String,
    /// Compare this member's keys with its peers' before it serves; the feature gate InitialCorruptCheck
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = daemon::flags::parse_bool,
        help_heading = "Features"
    )]
    pub experimental_initial_corrupt_check: Option<bool>,

    /// Level of log lines
    #[arg(
        long,
        default_value = "info",
        value_parser = ["debug", "info", "warn", "error", "panic", "fatal"],
        help_heading = "Logging"
    )]
    pub log_level: String,
    /// Same as --log-level=debug
    #[arg(long, help_heading = "Logging")]
    pub debug: bool,
    /// Form of log lines
    #[arg(long, default_value = "text", help_heading = "Logging")]
    pub logging_format: daemon::logging::Format,
    /// Form of log lines, as etcd names them; wins over --logging-format
    #[arg(long, value_parser = ["json", "console"], help_heading = "Logging")]
    pub log_format: Option<String>,
    /// The only logger there is
    #[arg(long, default_value = "zap", value_parser = ["zap"], help_heading = "Logging")]
    pub logger: String,
}

pub const DEFAULT_PEER_URL: &str = "http://localhost:2380";

/// What is wrong with flags.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    #[error("--{0} is a flag of etcd that kvstore does not support")]
    Unsupported(String),
    #[error("--{flag}={value} is not supported: kvstore does what {same} asks for")]
    Only { flag: String, value: String, same: String },
    #[error(
        "conflicting environment variable \"{0}\" is shadowed by corresponding command-line flag (either \
         unset environment variable or disable flag)"
    )]
    Shadowed(String),
    #[error("--{flag}: {reason}")]
    Invalid { flag: &'static str, reason: String },
}

/// etcd's feature gates. Only one of them changes what kvstore does.
const FEATURES: &[Feature] = &[
    fixed("CompactHashCheck", Stage::Alpha, false),
    Feature { name: INITIAL_CORRUPT_CHECK, stage: Stage::Alpha, default: false, locked: false },
    fixed("LeaseCheckpoint", Stage::Alpha, false),
    fixed("LeaseCheckpointPersist", Stage::Alpha, false),
    fixed("SetMemberLocalAddr", Stage::Alpha, false),
    fixed("StopGRPCServiceOnDefrag", Stage::Alpha, false),
    fixed("TxnModeWriteWithSharedBuffer", Stage::Beta, true),
];
const INITIAL_CORRUPT_CHECK: &str = "InitialCorruptCheck";

const fn fixed(name: &'static str, stage: Stage, default: bool) -> Feature {
    Feature { name, stage, default, locked: true }
}

/// Default of `--quota-backend-bytes`, as etcd's.
const DEFAULT_QUOTA: u64 = 2 << 30;

/// A URL to listen on or to advertise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub secure: bool,
    /// Host and port.
    pub authority: String,
}

impl Url {
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<_> = self.authority.to_socket_addrs()?.collect();
        // "localhost" is two addresses of one machine: one is enough, as for etcd.
        addresses.sort_by_key(SocketAddr::is_ipv6);
        addresses.truncate(1);
        Ok(addresses)
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }
}

/// Parses a comma-separated list of URLs.
pub fn urls(flag: &'static str, text: &str) -> Result<Vec<Url>, FlagError> {
    let invalid = |reason: String| FlagError::Invalid { flag, reason };
    let mut urls = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (secure, rest) = if let Some(rest) = part.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = part.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err(invalid(format!("URL scheme must be http or https: {part}")));
        };
        let authority = rest.trim_end_matches('/');
        if authority.contains('/') {
            return Err(invalid(format!("URL must not contain a path: {part}")));
        }
        let port = authority.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            return Err(invalid(format!("URL address does not have the form \"host:port\": {part}")));
        }
        urls.push(Url { secure, authority: authority.to_owned() });
    }
    Ok(urls)
}

/// When history is cut without being asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    Off,
    /// History older than this goes.
    Periodic(Duration),
    /// More revisions than this go.
    Revision(i64),
}

impl Flags {
    pub fn log_form(&self) -> daemon::logging::Format {
        match self.log_format.as_deref() {
            Some("json") => daemon::logging::Format::Json,
            Some(_) => daemon::logging::Format::Text,
            None => self.logging_format,
        }
    }

    /// Whether to hold the keys against the peers' before serving.
    pub fn initial_corrupt_check(&self) -> Result<bool, FlagError> {
        let mut gates = FeatureGates::new(FEATURES);
        let invalid = |reason: String| FlagError::Invalid { flag: "feature-gates", reason };
        gates.set(&self.feature_gates).map_err(|error| invalid(error.to_string()))?;
        // COMPAT: the flag and the gate exclude each other.
        match self.experimental_initial_corrupt_check {
            Some(_) if self.feature_gates.contains(INITIAL_CORRUPT_CHECK) => Err(invalid(
                "cannot specify both flags: --experimental-initial-corrupt-check and \
                 --feature-gates=InitialCorruptCheck at the same time, please just use the latter"
                    .to_owned(),
            )),
            Some(wanted) => Ok(wanted),
            None => Ok(gates.enabled(INITIAL_CORRUPT_CHECK)),
        }
    }

    pub fn min_tls(&self) -> MinVersion {
        if self.tls_min_version == "TLS1.3" { MinVersion::Tls13 } else { MinVersion::Tls12 }
    }

    pub fn data_dir(&self) -> PathBuf {
        if self.data_dir.is_empty() {
            format!("{}.etcd", self.name).into()
        } else {
            self.data_dir.clone().into()
        }
    }

    /// Bytes; `None` for no quota.
    pub fn quota(&self) -> Option<u64> {
        match self.quota_backend_bytes {
            0 => Some(DEFAULT_QUOTA),
            bytes => u64::try_from(bytes).ok(),
        }
    }

    /// Shortest lease in seconds: one and a half election timeouts, rounded up.
    pub fn min_lease_ttl(&self) -> i64 {
        let ticks = self.election_timeout / self.heartbeat_interval.max(1);
        let milliseconds = 3 * ticks / 2 * self.heartbeat_interval;
        i64::try_from(milliseconds.div_ceil(1000)).unwrap_or(i64::MAX)
    }

    /// COMPAT: a cost that bcrypt does not know gives way to the default.
    pub fn bcrypt_cost(&self) -> u32 {
        if password::COSTS.contains(&self.bcrypt_cost) {
            return self.bcrypt_cost;
        }
        tracing::warn!(
            given = self.bcrypt_cost,
            used = password::DEFAULT_COST,
            "--bcrypt-cost is out of range (4 to 31)"
        );
        password::DEFAULT_COST
    }

    pub fn auto_compaction(&self) -> Result<AutoCompaction, FlagError> {
        let text = self.auto_compaction_retention.as_str();
        let invalid = |reason: String| FlagError::Invalid { flag: "auto-compaction-retention", reason };
        let number = text.parse::<i64>();
        match (self.auto_compaction_mode.as_str(), number) {
            (_, Ok(0)) => Ok(AutoCompaction::Off),
            (_, Ok(negative @ ..0)) => Err(invalid(format!("{negative} is negative"))),
            ("revision", Ok(revisions)) => Ok(AutoCompaction::Revision(revisions)),
            ("revision", Err(error)) => Err(invalid(error.to_string())),
            // COMPAT: a bare number is hours.
            (_, Ok(hours)) => Ok(AutoCompaction::Periodic(Duration::from_secs(3600 * hours as u64))),
            (_, Err(_)) => match text.parse::<GoDuration>() {
                Ok(GoDuration(Duration::ZERO)) => Ok(AutoCompaction::Off),
                Ok(GoDuration(time)) => Ok(AutoCompaction::Periodic(time)),
                Err(error) => Err(invalid(error.to_string())),
            },
        }
    }

    /// What is checked before anything is opened.
    pub fn check(&self) -> Result<(), FlagError> {
        let invalid = |flag, reason: &str| Err(FlagError::Invalid { flag, reason: reason.to_owned() });
        let cluster = InitialCluster::of(self)?;
        if self.initial_cluster_state == "existing" && cluster.is_alone() {
            return invalid(
                "initial-cluster-state",
                "an existing cluster needs --initial-cluster to name its members",
            );
        }
        if self.heartbeat_interval == 0 || self.election_timeout == 0 {
            return invalid("heartbeat-interval", "must be greater than 0, and so must --election-timeout");
        }
        // COMPAT: etcd's bounds.
        if self.election_timeout < 5 * self.heartbeat_interval {
            return invalid("election-timeout", "should be at least 5 times --heartbeat-interval");
        }
        if self.election_timeout > 50_000 {
            return invalid("election-timeout", "is too long, and should be set less than 50000ms");
        }
        if self.peer_cert_file.is_empty() != self.peer_key_file.is_empty() {
            return invalid("peer-cert-file", "needs --peer-key-file, and --peer-key-file needs it");
        }
        if self.peer_client_cert_auth && self.peer_trusted_ca_file.is_empty() {
            return invalid("peer-client-cert-auth", "needs --peer-trusted-ca-file");
        }
        if self.cert_file.is_empty() != self.key_file.is_empty() {
            return invalid("cert-file", "needs --key-file, and --key-file needs it");
        }
        if self.client_cert_auth && self.trusted_ca_file.is_empty() {
            return invalid("client-cert-auth", "needs --trusted-ca-file");
        }
        let clients = urls("listen-client-urls", &self.listen_client_urls)?;
        if clients.is_empty() {
            return invalid("listen-client-urls", "names no URL");
        }
        if clients.iter().any(|url| url.secure) && self.cert_file.is_empty() {
            return invalid("listen-client-urls", "an https URL needs --cert-file and --key-file");
        }
        let peers = urls("listen-peer-urls", &self.listen_peer_urls)?;
        if peers.is_empty() {
            return invalid("listen-peer-urls", "names no URL");
        }
        if peers.iter().any(|url| url.secure) && self.peer_cert_file.is_empty() {
            return invalid("listen-peer-urls", "an https URL needs --peer-cert-file and --peer-key-file");
        }
        urls("advertise-client-urls", &self.advertise_client_urls)?;
        if urls("listen-metrics-urls", &self.listen_metrics_urls)?.iter().any(|url| url.secure)
            && self.cert_file.is_empty()
        {
            return invalid("listen-metrics-urls", "an https URL needs --cert-file and --key-file");
        }
        if urls("listen-client-http-urls", &self.listen_client_http_urls)?.iter().any(|url| url.secure)
            && self.cert_file.is_empty()
        {
            return invalid("listen-client-http-urls", "an https URL needs --cert-file and --key-file");
        }
        if self.peer_client_cert_file.is_empty() != self.peer_client_key_file.is_empty() {
            return invalid("peer-client-cert-file", "needs --peer-client-key-file, which needs it");
        }
        if !self.peer_cert_allowed_cn.is_empty() && self.peer_trusted_ca_file.is_empty() {
            return invalid("peer-cert-allowed-cn", "needs --peer-trusted-ca-file");
        }
        // COMPAT: in etcd's words.
        if self.tls_min_version == "TLS1.3" && !self.cipher_suites.is_empty() {
            return invalid(
                "cipher-suites",
                "cipher suites cannot be configured when only TLS1.3 is enabled",
            );
        }
        self.initial_corrupt_check()?;
        self.auto_compaction().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::environment;

    fn parse(line: &str, environment: &[(&str, &str)]) -> Result<Flags, String> {
        let environment: Vec<_> =
            environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let words = environment::words(line.split_whitespace().map(OsString::from), &environment);
        match daemon::flags::try_parse_from::<Flags, _>(words.map_err(|error| error.to_string())?.words) {
            Ok(daemon::flags::Parsed::Flags(flags)) => {
                flags.check().map(|()| flags).map_err(|e| e.to_string())
            }
            Ok(daemon::flags::Parsed::Version(version)) => Err(version),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn flags_come_from_the_line_and_the_environment() {
        let environment = [("ETCD_NAME", "a"), ("KVSTORE_NAME", "b"), ("ETCD_DATA_DIR", "/d")];
        let flags = parse("kvstore", &environment).unwrap();
        assert_eq!((flags.name.as_str(), flags.data_dir.as_str()), ("b", "/d"));
        assert_eq!(parse("kvstore -name c", &environment[1..]).unwrap().name, "c");
        assert_eq!(
            parse("kvstore --log-format json", &[]).unwrap().log_form(),
            daemon::logging::Format::Json
        );
        assert_eq!(
            parse("kvstore --heartbeat-interval 300 --election-timeout 3000", &[]).unwrap().min_lease_ttl(),
            5
        );
        assert_eq!(parse("kvstore --bcrypt-cost 99", &[]).unwrap().bcrypt_cost(), password::DEFAULT_COST);
        assert!(parse("kvstore", &[]).unwrap().pre_vote);
        assert!(!parse("kvstore --pre-vote=false", &[]).unwrap().pre_vote);
        assert!(!parse("kvstore", &[("ETCD_STRICT_RECONFIG_CHECK", "false")]).unwrap().strict_reconfig_check);
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let refused = |line, environment: &[(&str, &str)], name: &str| {
            let error = parse(line, environment).unwrap_err();
            assert!(error.contains(name), "{error}");
        };
        refused("kvstore --discovery=x", &[], "--discovery");
        refused("kvstore --feature-gates=Nope=true", &[], "unrecognized feature gate: Nope");
        refused("kvstore --feature-gates=LeaseCheckpoint=true", &[], "LeaseCheckpoint to true");
        let both = "kvstore --experimental-initial-corrupt-check --feature-gates=InitialCorruptCheck=true";
        refused(both, &[], "cannot specify both flags");
        refused("kvstore --tls-min-version=TLS1.3 --cipher-suites=x", &[], "only TLS1.3");
        refused("kvstore", &[("ETCD_UNSAFE_NO_FSYNC", "true")], "--unsafe-no-fsync");
        refused("kvstore --no-such-flag", &[], "--no-such-flag");
        let peers = "kvstore --name a --initial-cluster a=http://h:2380,b=http://h:2381";
        refused(peers, &[], "--initial-advertise-peer-urls");
        refused("kvstore --initial-cluster-state existing", &[], "initial-cluster-state");
        refused("kvstore --election-timeout 400", &[], "at least 5 times");
        refused("kvstore --listen-peer-urls https://h:1", &[], "peer-cert-file");
        refused("kvstore --listen-client-urls https://h:1", &[], "cert-file");
        refused("kvstore --listen-client-urls ftp://h:1", &[], "ftp://h:1");
    }

    #[test]
    fn a_feature_gate_and_its_old_flag_mean_the_same() {
        let checks = |line: &str| parse(line, &[]).unwrap().initial_corrupt_check().unwrap();
        assert!(!checks("kvstore"));
        assert!(checks("kvstore --feature-gates=InitialCorruptCheck=true"));
        assert!(checks("kvstore --experimental-initial-corrupt-check"));
        assert!(!checks("kvstore --experimental-initial-corrupt-check=false"));
        let kubespray = [("ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK", "True")];
        assert!(parse("kvstore", &kubespray).unwrap().initial_corrupt_check().unwrap());
    }

    /// As `kubeadm init` writes the static pod.
    #[test]
    fn kubeadms_command_line_is_taken() {
        let line = "etcd --advertise-client-urls=https://10.0.0.1:2379 --cert-file=/pki/server.crt \
                    --client-cert-auth=true --data-dir=/var/lib/etcd --feature-gates=InitialCorruptCheck=true \
                    --initial-advertise-peer-urls=https://10.0.0.1:2380 --initial-cluster=n=https://10.0.0.1:2380 \
                    --key-file=/pki/server.key --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379 \
                    --listen-metrics-urls=http://127.0.0.1:2381 --listen-peer-urls=https://10.0.0.1:2380 --name=n \
                    --peer-cert-file=/pki/peer.crt --peer-client-cert-auth=true --peer-key-file=/pki/peer.key \
                    --peer-trusted-ca-file=/pki/ca.crt --snapshot-count=10000 --trusted-ca-file=/pki/ca.crt \
                    --watch-progress-notify-interval=5s";
        let flags = parse(line, &[]).unwrap();
        assert!(flags.initial_corrupt_check().unwrap());
        assert_eq!(flags.watch_progress_notify_interval.0, Duration::from_secs(5));
    }

    /// As kubespray fills /etc/etcd.env.
    #[test]
    fn kubesprays_environment_is_taken() {
        let environment = [
            ("ETCD_DATA_DIR", "/var/lib/etcd"),
            ("ETCD_ADVERTISE_CLIENT_URLS", "https://10.0.0.1:2379"),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", "https://10.0.0.1:2380"),
            ("ETCD_INITIAL_CLUSTER_STATE", "new"),
            ("ETCD_METRICS", "basic"),
            ("ETCD_LISTEN_CLIENT_URLS", "https://10.0.0.1:2379,https://127.0.0.1:2379"),
            ("ETCD_ELECTION_TIMEOUT", "5000"),
            ("ETCD_HEARTBEAT_INTERVAL", "250"),
            ("ETCD_INITIAL_CLUSTER_TOKEN", "k8s_etcd"),
            ("ETCD_LISTEN_PEER_URLS", "https://10.0.0.1:2380"),
            ("ETCD_NAME", "etcd1"),
            ("ETCD_PROXY", "off"),
            ("ETCD_INITIAL_CLUSTER", "etcd1=https://10.0.0.1:2380,etcd2=https://10.0.0.2:2380"),
            ("ETCD_AUTO_COMPACTION_RETENTION", "8"),
            ("ETCD_SNAPSHOT_COUNT", "100000"),
            ("ETCD_MAX_SNAPSHOTS", "5"),
            ("ETCD_MAX_WALS", "5"),
            ("ETCD_TRUSTED_CA_FILE", "/ca.pem"),
            ("ETCD_CERT_FILE", "/m.pem"),
            ("ETCD_KEY_FILE", "/m-key.pem"),
            ("ETCD_CLIENT_CERT_AUTH", "true"),
            ("ETCD_PEER_TRUSTED_CA_FILE", "/ca.pem"),
            ("ETCD_PEER_CERT_FILE", "/m.pem"),
            ("ETCD_PEER_KEY_FILE", "/m-key.pem"),
            ("ETCD_PEER_CLIENT_CERT_AUTH", "True"),
            ("ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK", "True"),
            ("ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", "5s"),
        ];
        let flags = parse("etcd", &environment).unwrap();
        assert_eq!((flags.name.as_str(), flags.election_timeout), ("etcd1", 5000));
        assert!(flags.peer_client_cert_auth && flags.initial_corrupt_check().unwrap());
    }

    #[test]
    fn retention_means_what_the_mode_says() {
        let check = |mode: &str, retention: &str, expected| {
            let line =
                format!("kvstore --auto-compaction-mode {mode} --auto-compaction-retention {retention}");
            assert_eq!(parse(&line, &[]).unwrap().auto_compaction().unwrap(), expected);
        };
        check("periodic", "0", AutoCompaction::Off);
        check("periodic", "2", AutoCompaction::Periodic(Duration::from_secs(7200)));
        check("periodic", "5m", AutoCompaction::Periodic(Duration::from_secs(300)));
        check("revision", "1000", AutoCompaction::Revision(1000));
    }
}
