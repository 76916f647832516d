//! The flags by which a daemon leaves to the apiserver who asks for its pages and what they may read:
//! `--authentication-*`, `--authorization-*`, `--requestheader-*`, `--client-ca-file`. kubeadm's manifests of
//! kube-controller-manager and kube-scheduler give several of them.

use std::path::PathBuf;

use clap::Args;

use crate::flags::GoDuration;

/// Flatten into the flags of a daemon whose pages the apiserver guards.
#[derive(Args, Clone, Debug)]
pub struct DelegatedFlags {
    /// kubeconfig file with enough rights to create tokenreviews.authentication.k8s.io. If empty, the daemon's own is used
    #[arg(long, value_name = "string", help_heading = "Authentication flags")]
    pub authentication_kubeconfig: Option<PathBuf>,
    /// If false, the authentication-kubeconfig is used to look up the cluster's client authority
    #[arg(long, help_heading = "Authentication flags")]
    pub authentication_skip_lookup: bool,
    /// Whether requests count as anonymous when the cluster's authority cannot be looked up. They always do: nothing waits for it
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::flags::parse_bool, help_heading = "Authentication flags")]
    pub authentication_tolerate_lookup_failure: Option<bool>,
    /// How long answers about tokens are kept
    #[arg(long, value_name = "duration", default_value = "10s", help_heading = "Authentication flags")]
    pub authentication_token_webhook_cache_ttl: GoDuration,
    /// If set, requests with a client certificate signed by one of the authorities in this file are authenticated by it
    #[arg(long, value_name = "string", help_heading = "Authentication flags")]
    pub client_ca_file: Option<PathBuf>,
    /// Authorities of the client certificates of proxies, whose headers name the user
    #[arg(long, value_name = "string", help_heading = "Authentication flags")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of the proxies' certificates; any of those authorities when empty
    #[arg(long, value_name = "strings", value_delimiter = ',', help_heading = "Authentication flags")]
    pub requestheader_allowed_names: Vec<String>,
    /// Request headers that name the user
    #[arg(
        long,
        value_name = "strings",
        value_delimiter = ',',
        default_value = "x-remote-user",
        help_heading = "Authentication flags"
    )]
    pub requestheader_username_headers: Vec<String>,
    /// Request headers with the user's uid
    #[arg(long, value_name = "strings", value_delimiter = ',', help_heading = "Authentication flags")]
    pub requestheader_uid_headers: Vec<String>,
    /// Request headers with the user's groups
    #[arg(
        long,
        value_name = "strings",
        value_delimiter = ',',
        default_value = "x-remote-group",
        help_heading = "Authentication flags"
    )]
    pub requestheader_group_headers: Vec<String>,
    /// How request headers begin that say more about the user
    #[arg(
        long,
        value_name = "strings",
        value_delimiter = ',',
        default_value = "x-remote-extra-",
        help_heading = "Authentication flags"
    )]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// kubeconfig file with enough rights to create subjectaccessreviews.authorization.k8s.io. If empty, the daemon's own is used
    #[arg(long, value_name = "string", help_heading = "Authorization flags")]
    pub authorization_kubeconfig: Option<PathBuf>,
    /// Paths that everyone may read; a path that ends with * stands for all that begin with it
    #[arg(
        long,
        value_name = "strings",
        value_delimiter = ',',
        default_value = "/healthz,/readyz,/livez",
        help_heading = "Authorization flags"
    )]
    pub authorization_always_allow_paths: Vec<String>,
    /// How long it is kept that a user may do something
    #[arg(long, value_name = "duration", default_value = "10s", help_heading = "Authorization flags")]
    pub authorization_webhook_cache_authorized_ttl: GoDuration,
    /// How long it is kept that a user may not do something
    #[arg(long, value_name = "duration", default_value = "10s", help_heading = "Authorization flags")]
    pub authorization_webhook_cache_unauthorized_ttl: GoDuration,
}

impl DelegatedFlags {
    /// Whether everyone may read this path.
    pub fn always_allows(&self, path: &str) -> bool {
        let asked = path.trim_start_matches('/');
        self.authorization_always_allow_paths.iter().any(|allowed| {
            let allowed = allowed.trim_start_matches('/');
            match allowed.strip_suffix('*') {
                Some(start) => asked.starts_with(start),
                None => asked == allowed,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        delegated: DelegatedFlags,
    }

    fn flags(words: &str) -> DelegatedFlags {
        match crate::flags::try_parse_from::<Flags, _>(words.split(' ')).unwrap() {
            crate::flags::Parsed::Flags(flags) => flags.delegated,
            crate::flags::Parsed::Version(version) => panic!("{version}"),
        }
    }

    #[test]
    fn paths_that_everyone_may_read() {
        let by_default = flags("t");
        assert!(by_default.always_allows("/healthz") && !by_default.always_allows("/metrics"));
        let more = flags("t --authorization-always-allow-paths=/metrics,/debug/*");
        assert!(more.always_allows("/metrics") && more.always_allows("/debug/pprof"));
        assert!(!more.always_allows("/metrics/slis") && !more.always_allows("/readyz"));
    }

    #[test]
    fn what_kubeadm_gives_is_taken() {
        let given = flags(
            "t --requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt --client-ca-file=/ca \
             --authentication-kubeconfig=/k --authorization-kubeconfig=/k",
        );
        assert_eq!(given.requestheader_username_headers, ["x-remote-user"]);
        assert!(given.requestheader_client_ca_file.is_some());
    }
}
