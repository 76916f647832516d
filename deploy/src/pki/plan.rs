//! Which certificates a cluster has, as a table; and when an existing one will do.

use jiff::Timestamp;

use crate::settings::Settings;

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// Clients and servers of the API, kubelets included.
    Cluster,
    /// Proxies that vouch for others' requests towards aggregated API servers.
    FrontProxy,
    /// The store and its only client.
    Store,
}

impl Signer {
    pub const ALL: [Self; 3] = [Self::Cluster, Self::FrontProxy, Self::Store];

    /// `pki/NAME.{crt,key}`.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Cluster => "ca",
            Self::FrontProxy => "front-proxy-ca",
            Self::Store => "etcd/ca",
        }
    }

    pub const fn common_name(self) -> &'static str {
        match self {
            Self::Cluster => "kubernetes",
            Self::FrontProxy => "front-proxy-ca",
            Self::Store => "etcd-ca",
        }
    }
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Client,
    Server,
    /// The store's peers are each other's clients.
    Both,
}

/// One leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// `pki/NAME.{crt,key}`.
    pub file: &'static str,
    pub signer: Signer,
    /// The user's name, for clients.
    pub common_name: String,
    /// The user's group, for clients.
    pub organization: Option<&'static str>,
    pub usage: Usage,
    /// DNS names and addresses, for servers.
    pub names: Vec<String>,
}

/// What a worker has of them.
const ON_A_WORKER: [&str; 3] = ["kube-proxy", "kubelet-client", "kubelet"];

/// The leaves of a cluster with its first node, or of a worker.
pub fn leaves(s: &Settings) -> Vec<Leaf> {
    let mut all = whole(s);
    all.retain(|leaf| s.joined.is_none() || ON_A_WORKER.contains(&leaf.file));
    all
}

fn whole(s: &Settings) -> Vec<Leaf> {
    let client = |file, common_name: &str, organization| Leaf {
        file,
        signer: Signer::Cluster,
        common_name: common_name.to_owned(),
        organization,
        usage: Usage::Client,
        names: Vec::new(),
    };
    let loopback = ["localhost", "127.0.0.1", "::1"];
    let here =
        || loopback.iter().map(|s| (*s).to_owned()).chain([s.node_name.clone(), s.node_ip.to_string()]);
    let api_names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned);
    let full_name = format!("kubernetes.default.svc.{}", s.cluster_domain);
    let node_user = format!("system:node:{}", s.node_name);
    vec![
        Leaf {
            usage: Usage::Server,
            names: api_names
                .into_iter()
                .chain([full_name, s.kubernetes_service_ip().to_string()])
                .chain(here())
                .collect(),
            ..client("apiserver", "kube-apiserver", None)
        },
        client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters")),
        Leaf { signer: Signer::FrontProxy, ..client("front-proxy-client", "front-proxy-client", None) },
        Leaf {
            signer: Signer::Store,
            usage: Usage::Both,
            names: here().collect(),
            ..client("etcd/server", &s.node_name, None)
        },
        Leaf {
            signer: Signer::Store,
            usage: Usage::Both,
            names: here().collect(),
            ..client("etcd/peer", &s.node_name, None)
        },
        Leaf {
            signer: Signer::Store,
            ..client("etcd/healthcheck-client", "kube-etcd-healthcheck-client", None)
        },
        Leaf { signer: Signer::Store, ..client("apiserver-etcd-client", "kube-apiserver-etcd-client", None) },
        client("admin", "kubernetes-admin", Some("system:masters")),
        client("controller-manager", "system:kube-controller-manager", None),
        client("scheduler", "system:kube-scheduler", None),
        client("kube-proxy", "system:kube-proxy", None),
        client("kubelet-client", &node_user, Some("system:nodes")),
        Leaf {
            usage: Usage::Server,
            names: here().collect(),
            ..client("kubelet", &node_user, Some("system:nodes"))
        },
        Leaf {
            usage: Usage::Server,
            names: here().collect(),
            ..client("scheduler-server", "kube-scheduler", None)
        },
        Leaf {
            usage: Usage::Server,
            names: here().collect(),
            ..client("controller-manager-server", "kube-controller-manager", None)
        },
    ]
}

/// What an existing certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    pub common_name: String,
    pub organization: Option<String>,
    pub names: Vec<String>,
    pub not_after: Timestamp,
    /// Whether the authority that we hold signed it.
    pub signed_by_ours: bool,
}

const RENEW_BEFORE_SECONDS: i64 = 30 * 86_400;

/// Why an existing certificate must be replaced, or `None`.
pub fn stale(leaf: &Leaf, existing: &Existing, now: Timestamp) -> Option<&'static str> {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        names
    };
    if !existing.signed_by_ours {
        Some("signed by another authority")
    } else if existing.not_after.as_second() - now.as_second() < RENEW_BEFORE_SECONDS {
        Some("ends within 30 days")
    } else if existing.common_name != leaf.common_name
        || existing.organization.as_deref() != leaf.organization
    {
        Some("of another subject")
    } else if sorted(&existing.names) != sorted(&leaf.names) {
        Some("for other names")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    fn leaf(file: &str) -> Leaf {
        leaves(&settings()).into_iter().find(|l| l.file == file).unwrap()
    }

    #[test]
    fn the_apiserver_answers_to_all_its_names() {
        let names = leaf("apiserver").names;
        for name in [
            "kubernetes.default.svc.cluster.local",
            "10.96.0.1",
            "127.0.0.1",
            "192.0.2.7",
            "node1",
            "localhost",
        ] {
            assert!(names.iter().any(|n| n == name), "{name} missing in {names:?}");
        }
    }

    #[test]
    fn identities_are_those_that_rbac_and_node_authorization_know() {
        let who = |file| {
            let l = leaf(file);
            (l.common_name, l.organization)
        };
        assert_eq!(who("kubelet-client"), ("system:node:node1".into(), Some("system:nodes")));
        assert_eq!(who("admin"), ("kubernetes-admin".into(), Some("system:masters")));
        assert_eq!(who("kube-proxy"), ("system:kube-proxy".into(), None));
        assert_eq!(leaf("front-proxy-client").signer, Signer::FrontProxy);
        assert_eq!(leaf("apiserver-etcd-client").signer, Signer::Store);
    }

    #[test]
    fn stale_certificates_are_replaced_and_good_ones_kept() {
        let leaf = leaf("apiserver");
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let days = |n: i64| Timestamp::from_second(now.as_second() + n * 86_400).unwrap();
        let mut names = leaf.names.clone();
        names.reverse();
        let good = Existing {
            common_name: leaf.common_name.clone(),
            organization: None,
            names,
            not_after: days(31),
            signed_by_ours: true,
        };
        assert_eq!(stale(&leaf, &good, now), None);
        let old = Existing { not_after: days(29), ..good.clone() };
        assert_eq!(stale(&leaf, &old, now), Some("ends within 30 days"));
        let moved = Existing { names: vec!["192.0.2.8".into()], ..good.clone() };
        assert_eq!(stale(&leaf, &moved, now), Some("for other names"));
        let foreign = Existing { signed_by_ours: false, ..good };
        assert_eq!(stale(&leaf, &foreign, now), Some("signed by another authority"));
    }
}
