//! The command line, grouped as upstream's help groups it. A flag of upstream's that is not here is
//! refused by name.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser};
use daemon::flags::{GoDuration, LoggingFlags};

/// The Kubernetes API server validates and configures data for the api objects which include pods, services, and others.
/// The API Server services REST operations and provides the frontend to the cluster's shared state through which all
/// other components interact.
#[derive(Parser, Debug)]
#[command(name = "kube-apiserver")]
pub struct Flags {
    #[command(flatten)]
    pub generic: Generic,
    #[command(flatten)]
    pub etcd: Etcd,
    #[command(flatten)]
    pub serving: Serving,
    #[command(flatten)]
    pub authentication: Authentication,
    #[command(flatten)]
    pub oidc: Oidc,
    #[command(flatten)]
    pub authorization: Authorization,
    #[command(flatten)]
    pub admission: Admission,
    #[command(flatten)]
    pub audit: AuditFlags,
    #[command(flatten)]
    pub misc: Misc,
    #[command(flatten)]
    pub logging: LoggingFlags,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Generic flags")]
pub struct Generic {
    /// The IP address on which to advertise the apiserver to members of the cluster. Must be reachable by the rest of
    /// the cluster. If blank, --bind-address is used, and if that is unspecified, the address of the default interface
    #[arg(long, value_name = "ip")]
    pub advertise_address: Option<IpAddr>,
    /// The maximum number of non-mutating requests in flight at a given time. Zero for no limit
    #[arg(long, value_name = "int", default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// The maximum number of mutating requests in flight at a given time. Zero for no limit
    #[arg(long, value_name = "int", default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    /// If true, replace the max-in-flight handler with an enhanced one that queues and dispatches with priority and
    /// fairness. The two limits are then added up and shared among priority levels
    #[arg(long, default_value_t = true)]
    pub enable_priority_and_fairness: bool,
    /// To prevent HTTP/2 clients from getting stuck on a single apiserver, randomly close a connection (GOAWAY). The
    /// chance for each request, between 0 and 0.02. Single apiservers should not enable this
    #[arg(long, value_name = "float", default_value_t = 0.0)]
    pub goaway_chance: f64,
    /// The minimum number of seconds a handler must keep a request open before timing it out. Only honored by watches,
    /// which pick a random time above it
    #[arg(long, value_name = "int", default_value_t = 1800)]
    pub min_request_timeout: u64,
    /// How long a request that is no watch or connection may take
    #[arg(long, value_name = "duration", default_value = "1m0s")]
    pub request_timeout: GoDuration,
    /// Time to delay the termination, during which the server keeps serving and /readyz fails
    #[arg(long, value_name = "duration", default_value = "0s")]
    pub shutdown_delay_duration: GoDuration,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Etcd flags")]
pub struct Etcd {
    /// List of etcd servers to connect with (scheme://ip:port), comma separated
    #[arg(long, value_name = "strings", value_delimiter = ',', required = true)]
    pub etcd_servers: Vec<String>,
    /// SSL Certificate Authority file used to secure etcd communication
    #[arg(long, value_name = "file")]
    pub etcd_cafile: Option<PathBuf>,
    /// SSL certification file used to secure etcd communication
    #[arg(long, value_name = "file", requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// SSL key file used to secure etcd communication
    #[arg(long, value_name = "file", requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// The prefix to prepend to all resource paths in etcd
    #[arg(long, value_name = "string", default_value = "/registry")]
    pub etcd_prefix: String,
    /// The file containing configuration for encryption providers to be used for storing secrets in etcd. Providers of
    /// the kind kms are not supported, and the file is read once, at start
    #[arg(long, value_name = "file")]
    pub encryption_provider_config: Option<PathBuf>,
    /// The interval of compaction requests. If 0, the compaction request from apiserver is disabled
    #[arg(long, value_name = "duration", default_value = "5m0s")]
    pub etcd_compaction_interval: GoDuration,
    /// Amount of time to retain events
    #[arg(long, value_name = "duration", default_value = "1h0m0s")]
    pub event_ttl: GoDuration,
    /// The storage backend for persistence. Only etcd3 is there
    #[arg(long, value_name = "string", default_value = "etcd3", value_parser = ["etcd3"])]
    pub storage_backend: String,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Secure serving flags")]
pub struct Serving {
    /// The IP address on which to listen for the --secure-port port. An unspecified address (0.0.0.0 or ::) means all
    /// interfaces
    #[arg(long, value_name = "ip", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port on which to serve HTTPS with authentication and authorization. It cannot be switched off with 0
    #[arg(long, value_name = "int", default_value_t = 6443)]
    pub secure_port: u16,
    /// File containing the default x509 Certificate for HTTPS, followed by intermediates
    #[arg(long, value_name = "file", required = true)]
    pub tls_cert_file: PathBuf,
    /// File containing the default x509 private key matching --tls-cert-file
    #[arg(long, value_name = "file", required = true)]
    pub tls_private_key_file: PathBuf,
    /// Minimum TLS version supported: VersionTLS12 or VersionTLS13
    #[arg(long, value_name = "string", default_value = "")]
    pub tls_min_version: String,
    /// Comma-separated list of cipher suites for TLS 1.2; all secure ones when omitted
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub tls_cipher_suites: Vec<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Authentication flags")]
pub struct Authentication {
    /// Enables anonymous requests to the secure port of the API server. Requests that are not rejected by another
    /// authentication method are treated as anonymous requests, with user system:anonymous
    #[arg(long, default_value_t = true)]
    pub anonymous_auth: bool,
    /// File with Authentication Configuration to configure the JWT Token authenticator or the anonymous authenticator.
    /// Mutually exclusive with the --oidc-* flags. The file is followed
    #[arg(long, value_name = "file")]
    pub authentication_config: Option<PathBuf>,
    /// If set, any request presenting a client certificate signed by one of the authorities in the file is
    /// authenticated with an identity corresponding to the CommonName of the client certificate
    #[arg(long, value_name = "file")]
    pub client_ca_file: Option<PathBuf>,
    /// Root certificate bundle to use to verify client certificates on incoming requests before trusting usernames in
    /// headers specified by --requestheader-username-headers
    #[arg(long, value_name = "file")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// List of client certificate common names to allow to provide usernames in headers. If empty, any client
    /// certificate validated by the authorities in --requestheader-client-ca-file is allowed
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// List of request headers to inspect for usernames. X-Remote-User is common
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub requestheader_username_headers: Vec<String>,
    /// List of request headers to inspect for UIDs. X-Remote-Uid is suggested
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    /// List of request headers to inspect for groups. X-Remote-Group is suggested
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub requestheader_group_headers: Vec<String>,
    /// List of request header prefixes to inspect. X-Remote-Extra- is suggested
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// Enable to allow secrets of type 'bootstrap.kubernetes.io/token' in the 'kube-system' namespace to be used for TLS
    /// bootstrapping authentication
    #[arg(long, default_value_t = false)]
    pub enable_bootstrap_token_auth: bool,
    /// If true, validate ServiceAccount tokens exist in etcd as part of authentication. It cannot be switched off
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value = "true", value_parser = ["true", "True", "TRUE", "t", "T", "1"])]
    pub service_account_lookup: String,
    /// Identifiers of the API. The service account token authenticator will validate that tokens used against the API
    /// are bound to at least one of these audiences
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    /// Identifier of the service account token issuer; repeated for issuers that are accepted too
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub service_account_issuer: Vec<String>,
    /// File containing PEM-encoded x509 RSA or ECDSA private or public keys, used to verify ServiceAccount tokens;
    /// repeatable
    #[arg(long, value_name = "file", value_delimiter = ',')]
    pub service_account_key_file: Vec<PathBuf>,
    /// Path to the file that contains the current private key of the service account token issuer
    #[arg(long, value_name = "file")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Overrides the URI for the JSON Web Key Set in the discovery doc served at /.well-known/openid-configuration
    #[arg(long, value_name = "string")]
    pub service_account_jwks_uri: Option<String>,
    /// Turns on projected service account expiration extension during token generation, which helps safe transition
    /// from legacy token to bound service account token feature
    #[arg(long, default_value_t = true)]
    pub service_account_extend_token_expiration: bool,
    /// The maximum validity duration of a token created by the service account token issuer
    #[arg(long, value_name = "duration", default_value = "0s")]
    pub service_account_max_token_expiration: GoDuration,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Authentication flags")]
pub struct Oidc {
    /// The URL of the OpenID issuer, only HTTPS scheme will be accepted. If set, it will be used to verify the OIDC JSON
    /// Web Token (JWT)
    #[arg(long, value_name = "string")]
    pub oidc_issuer_url: Option<String>,
    /// The client ID for the OpenID Connect client, must be set if oidc-issuer-url is set
    #[arg(long, value_name = "string")]
    pub oidc_client_id: Option<String>,
    /// If set, the OpenID server's certificate will be verified by one of the authorities in the oidc-ca-file, otherwise
    /// the host's root CA set will be used
    #[arg(long, value_name = "file")]
    pub oidc_ca_file: Option<PathBuf>,
    /// The OpenID claim to use as the user name. Claims other than the default ('sub') are not guaranteed to be unique
    /// and immutable
    #[arg(long, value_name = "string", default_value = "sub")]
    pub oidc_username_claim: String,
    /// If provided, all usernames will be prefixed with this value. If not provided, username claims other than 'email'
    /// are prefixed by the issuer URL to avoid clashes. To skip any prefixing, provide the value '-'
    #[arg(long, value_name = "string")]
    pub oidc_username_prefix: Option<String>,
    /// If provided, the name of a custom OpenID Connect claim for specifying user groups: a string or array of strings
    #[arg(long, value_name = "string")]
    pub oidc_groups_claim: Option<String>,
    /// If provided, all groups will be prefixed with this value to prevent conflicts with other authentication strategies
    #[arg(long, value_name = "string")]
    pub oidc_groups_prefix: Option<String>,
    /// Comma-separated list of allowed JOSE asymmetric signing algorithms. JWTs with a supported 'alg' header: RS256,
    /// RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512
    #[arg(long, value_name = "strings", value_delimiter = ',', default_value = "RS256")]
    pub oidc_signing_algs: Vec<String>,
    /// A key=value pair that describes a required claim in the ID Token. Repeat this flag to specify multiple claims
    #[arg(long, value_name = "key=value")]
    pub oidc_required_claim: Vec<String>,
}

impl Oidc {
    /// Whether the command line names one of them.
    pub fn is_given(&self) -> bool {
        const NAMES: [&str; 9] = [
            "issuer-url",
            "client-id",
            "ca-file",
            "username-claim",
            "username-prefix",
            "groups-claim",
            "groups-prefix",
            "signing-algs",
            "required-claim",
        ];
        NAMES.iter().any(|name| daemon::flags::is_given(&format!("oidc-{name}")))
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Authorization flags")]
pub struct Authorization {
    /// Ordered list of plug-ins to do authorization on secure port: Node, RBAC, AlwaysAllow, AlwaysDeny
    #[arg(long, value_name = "strings", value_delimiter = ',', default_value = "Node,RBAC")]
    pub authorization_mode: Vec<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Admission flags")]
pub struct Admission {
    /// Admission plugins that should be enabled in addition to default enabled ones
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins that should be disabled although they are in the default enabled plugins list
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// Indicates the tolerationSeconds of the toleration for notReady:NoExecute that is added by default to every pod
    /// that does not already have such a toleration
    #[arg(long, value_name = "int", default_value_t = 300)]
    pub default_not_ready_toleration_seconds: i64,
    /// Indicates the tolerationSeconds of the toleration for unreachable:NoExecute that is added by default to every pod
    /// that does not already have such a toleration
    #[arg(long, value_name = "int", default_value_t = 300)]
    pub default_unreachable_toleration_seconds: i64,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Auditing flags")]
pub struct AuditFlags {
    /// Path to the file that defines the audit policy configuration
    #[arg(long, value_name = "file")]
    pub audit_policy_file: Option<PathBuf>,
    /// If set, all requests coming to the apiserver will be logged to this file. '-' means standard out
    #[arg(long, value_name = "file")]
    pub audit_log_path: Option<PathBuf>,
    /// The maximum number of days to retain old audit log files based on the timestamp encoded in their filename.
    /// Setting a value of 0 means old audit log files are not removed based on age
    #[arg(long, value_name = "int", default_value_t = 0)]
    pub audit_log_maxage: u64,
    /// The maximum number of old audit log files to retain. Setting a value of 0 will mean there's no restriction on
    /// the number of files
    #[arg(long, value_name = "int", default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// The maximum size in megabytes of the audit log file before it gets rotated. Setting to 0 disables rotation (not
    /// recommended)
    #[arg(long, value_name = "int", default_value_t = 0)]
    pub audit_log_maxsize: u64,
    /// Format of saved audits. "legacy" indicates 1-line text format for each event. "json" indicates structured json
    /// format
    #[arg(long, value_name = "string", default_value = "json", value_parser = ["legacy", "json"])]
    pub audit_log_format: String,
    /// Strategy for sending audit events. Blocking, the only one there is, means that an event is written before the
    /// answer goes out
    #[arg(long, value_name = "string", default_value = "blocking", value_parser = ["blocking"])]
    pub audit_log_mode: String,
    /// API group and version used for serializing audit events written to log
    #[arg(long, value_name = "string", default_value = "audit.k8s.io/v1", value_parser = ["audit.k8s.io/v1"])]
    pub audit_log_version: String,
    /// If set, the rotated log files will be compressed using gzip
    #[arg(long, default_value_t = false)]
    pub audit_log_compress: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Misc flags")]
pub struct Misc {
    /// If true, allow privileged containers
    #[arg(long, default_value_t = false)]
    pub allow_privileged: bool,
    /// A CIDR notation IP range from which to assign service cluster IPs
    #[arg(long, value_name = "string", default_value = "10.0.0.0/24")]
    pub service_cluster_ip_range: String,
    /// A port range to reserve for services with NodePort visibility
    #[arg(long, value_name = "portRange", default_value = "30000-32767")]
    pub service_node_port_range: String,
    /// Client certificate used to prove the identity of the aggregator or kube-apiserver when it must call out during a
    /// request. It is expected that this cert includes a signature from the CA in the --requestheader-client-ca-file
    #[arg(long, value_name = "file", requires = "proxy_client_key_file")]
    pub proxy_client_cert_file: Option<PathBuf>,
    /// Private key for the client certificate used to prove the identity of the aggregator or kube-apiserver when it
    /// must call out during a request
    #[arg(long, value_name = "file", requires = "proxy_client_cert_file")]
    pub proxy_client_key_file: Option<PathBuf>,
    /// Use an endpoint reconciler (lease, none): how clients find this server by the Service kubernetes. The deprecated
    /// master-count is not supported
    #[arg(long, value_name = "string", default_value = "lease", value_parser = ["lease", "none"])]
    pub endpoint_reconciler_type: String,
    /// Enables the generic garbage collector. It cannot be switched off here
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value = "true", value_parser = ["true", "True", "TRUE", "t", "T", "1"])]
    pub enable_garbage_collector: String,
    /// Enable profiling via web interface host:port/debug/pprof/. Go's profiles are not there: it can be off only
    #[arg(long, value_name = "bool", require_equals = true, default_value = "false",
        value_parser = ["false", "False", "FALSE", "f", "F", "0"])]
    pub profiling: String,
    /// Turns on aggregator routing requests to endpoints IP rather than cluster IP
    #[arg(long, default_value_t = false)]
    pub enable_aggregator_routing: bool,
    /// Path to a cert file for the certificate authority of kubelets
    #[arg(long, value_name = "file")]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Path to a client cert file for TLS towards kubelets
    #[arg(long, value_name = "file", requires = "kubelet_client_key")]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Path to a client key file for TLS towards kubelets
    #[arg(long, value_name = "file", requires = "kubelet_client_certificate")]
    pub kubelet_client_key: Option<PathBuf>,
    /// List of the preferred NodeAddressTypes to use for kubelet connections
    #[arg(
        long,
        value_name = "strings",
        value_delimiter = ',',
        default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP"
    )]
    pub kubelet_preferred_address_types: Vec<String>,
    /// Timeout for kubelet operations
    #[arg(long, value_name = "duration", default_value = "5s")]
    pub kubelet_timeout: GoDuration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::flags::Parsed;

    fn parse(words: &str) -> Result<Flags, String> {
        match daemon::flags::try_parse_from::<Flags, _>(words.split_whitespace()) {
            Ok(Parsed::Flags(flags)) => Ok(flags),
            Ok(Parsed::Version(text)) => Err(text),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What `kubeadm init` of 1.36 writes into its manifest, with a store of its own.
    const KUBEADM: &str = "kube-apiserver --advertise-address=192.0.2.1 --allow-privileged=true \
        --authorization-mode=Node,RBAC --client-ca-file=/etc/kubernetes/pki/ca.crt \
        --enable-admission-plugins=NodeRestriction --enable-bootstrap-token-auth=true \
        --etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt --etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt \
        --etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key --etcd-servers=https://127.0.0.1:2379 \
        --kubelet-client-certificate=/etc/kubernetes/pki/apiserver-kubelet-client.crt \
        --kubelet-client-key=/etc/kubernetes/pki/apiserver-kubelet-client.key \
        --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname \
        --proxy-client-cert-file=/etc/kubernetes/pki/front-proxy-client.crt \
        --proxy-client-key-file=/etc/kubernetes/pki/front-proxy-client.key \
        --requestheader-allowed-names=front-proxy-client \
        --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt \
        --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
        --requestheader-username-headers=X-Remote-User --secure-port=6443 \
        --service-account-issuer=https://kubernetes.default.svc.cluster.local \
        --service-account-key-file=/etc/kubernetes/pki/sa.pub \
        --service-account-signing-key-file=/etc/kubernetes/pki/sa.key --service-cluster-ip-range=10.96.0.0/12 \
        --tls-cert-file=/etc/kubernetes/pki/apiserver.crt --tls-private-key-file=/etc/kubernetes/pki/apiserver.key";

    #[test]
    fn kubeadms_manifest_is_taken() {
        let flags = parse(KUBEADM).expect("kubeadm's flags");
        assert!(flags.authentication.enable_bootstrap_token_auth && flags.misc.allow_privileged);
    }

    #[test]
    fn what_kubespray_adds_is_taken_at_what_holds_here() {
        let more = "--endpoint-reconciler-type=lease --profiling=False --service-account-lookup=True \
                    --default-not-ready-toleration-seconds=30 --default-unreachable-toleration-seconds=30 \
                    --event-ttl=1h0m0s --request-timeout=1m0s --service-node-port-range=30000-32767 \
                    --storage-backend=etcd3 --anonymous-auth=True --enable-aggregator-routing=False";
        let flags = parse(&format!("{KUBEADM} {more}")).expect("kubespray's flags");
        assert_eq!(flags.admission.default_not_ready_toleration_seconds, 30);
        for refused in
            ["--profiling=true", "--service-account-lookup=false", "--endpoint-reconciler-type=master-count"]
        {
            assert!(parse(&format!("{KUBEADM} {refused}")).is_err(), "{refused}");
        }
    }
}
