//! The daemons of a cluster as a table, in the order in which they start: what to run, with which
//! flags, what must listen before, which files they read only at their start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::layout::Layout;
use crate::settings::{Settings, Store};

/// One supervised process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<String>,
    /// A port that should be open before it starts, so that a first start has no failures in its logs.
    pub after: Option<SocketAddr>,
    /// A change in these needs a restart.
    pub inputs: Vec<PathBuf>,
}

/// The names, for messages and for commands that take one.
pub const NAMES: &[&str] = &[
    "containerd",
    "kvstore",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
];

/// What a worker runs of them.
const ON_A_WORKER: [&str; 3] = ["containerd", "kubelet", "kube-proxy"];

/// The daemons of a cluster with its first node, or of a worker.
pub fn table(layout: &Layout, s: &Settings) -> Vec<Daemon> {
    let mut all = whole(layout, s);
    all.retain(|daemon| s.joined.is_none() || ON_A_WORKER.contains(&daemon.name));
    all
}

fn whole(layout: &Layout, s: &Settings) -> Vec<Daemon> {
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let apiserver = Some(match &s.joined {
        Some(joined) => joined.apiserver,
        None => loopback(s.ports.apiserver),
    });
    let own = |name: &'static str, after, inputs: Vec<PathBuf>, args: Vec<String>| Daemon {
        name,
        program: s.bin_dir.join(name),
        args: args.into_iter().chain([format!("-v={}", s.verbosity)]).collect(),
        after,
        inputs,
    };
    vec![
        Daemon {
            name: "containerd",
            program: "containerd".into(),
            args: vec!["--config".into(), show(&layout.containerd_config())],
            after: None,
            inputs: vec![layout.containerd_config()],
        },
        store(layout, s),
        own(
            "kube-apiserver",
            Some(loopback(s.ports.store_client)),
            vec![layout.path("pki/sa.pub"), layout.cert("apiserver-etcd-client"), layout.cert("etcd/ca")],
            apiserver_args(layout, s),
        ),
        own(
            "kube-controller-manager",
            apiserver,
            vec![layout.kubeconfig("controller-manager"), layout.cert("ca"), layout.key("sa")],
            controller_manager_args(layout, s),
        ),
        own("kube-scheduler", apiserver, vec![layout.kubeconfig("scheduler")], scheduler_args(layout, s)),
        own(
            "kubelet",
            apiserver,
            vec![layout.kubeconfig("kubelet"), layout.kubelet_config(), layout.cert("ca")],
            kubelet_args(layout, s),
        ),
        own(
            "kube-proxy",
            apiserver,
            vec![layout.kubeconfig("kube-proxy"), layout.kube_proxy_config()],
            vec![flag("config", show(&layout.kube_proxy_config()))],
        ),
    ]
}

fn store(layout: &Layout, s: &Settings) -> Daemon {
    let program = match s.store {
        Store::Kvstore => s.bin_dir.join("kvstore"),
        Store::Etcd => "etcd".into(),
    };
    let client = format!("https://127.0.0.1:{}", s.ports.store_client);
    let peer = format!("https://127.0.0.1:{}", s.ports.store_peer);
    let args = vec![
        flag("name", &s.node_name),
        flag("data-dir", show(&layout.path("kvstore"))),
        flag("listen-client-urls", &client),
        flag("advertise-client-urls", &client),
        flag("listen-peer-urls", &peer),
        flag("initial-advertise-peer-urls", &peer),
        flag("initial-cluster", format!("{}={peer}", s.node_name)),
        flag("listen-metrics-urls", format!("http://127.0.0.1:{}", s.ports.store_metrics)),
        flag("cert-file", show(&layout.cert("etcd/server"))),
        flag("key-file", show(&layout.key("etcd/server"))),
        flag("client-cert-auth", "true"),
        flag("trusted-ca-file", show(&layout.cert("etcd/ca"))),
        flag("peer-cert-file", show(&layout.cert("etcd/peer"))),
        flag("peer-key-file", show(&layout.key("etcd/peer"))),
        flag("peer-client-cert-auth", "true"),
        flag("peer-trusted-ca-file", show(&layout.cert("etcd/ca"))),
    ];
    Daemon { name: "kvstore", program, args, after: None, inputs: vec![layout.cert("etcd/ca")] }
}

fn apiserver_args(layout: &Layout, s: &Settings) -> Vec<String> {
    vec![
        flag("advertise-address", s.node_ip),
        flag("allow-privileged", "true"),
        flag("authorization-mode", "Node,RBAC"),
        flag("bind-address", "0.0.0.0"),
        flag("client-ca-file", show(&layout.cert("ca"))),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("etcd-cafile", show(&layout.cert("etcd/ca"))),
        flag("etcd-certfile", show(&layout.cert("apiserver-etcd-client"))),
        flag("etcd-keyfile", show(&layout.key("apiserver-etcd-client"))),
        flag("etcd-servers", format!("https://127.0.0.1:{}", s.ports.store_client)),
        flag("kubelet-certificate-authority", show(&layout.cert("ca"))),
        flag("kubelet-client-certificate", show(&layout.cert("apiserver-kubelet-client"))),
        flag("kubelet-client-key", show(&layout.key("apiserver-kubelet-client"))),
        flag("kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname"),
        flag("proxy-client-cert-file", show(&layout.cert("front-proxy-client"))),
        flag("proxy-client-key-file", show(&layout.key("front-proxy-client"))),
        flag("requestheader-allowed-names", "front-proxy-client"),
        flag("requestheader-client-ca-file", show(&layout.cert("front-proxy-ca"))),
        flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        flag("requestheader-group-headers", "X-Remote-Group"),
        flag("requestheader-username-headers", "X-Remote-User"),
        flag("secure-port", s.ports.apiserver),
        flag("service-account-issuer", format!("https://kubernetes.default.svc.{}", s.cluster_domain)),
        flag("service-account-key-file", show(&layout.path("pki/sa.pub"))),
        flag("service-account-signing-key-file", show(&layout.key("sa"))),
        flag("service-cluster-ip-range", s.service_cidr),
        flag("tls-cert-file", show(&layout.cert("apiserver"))),
        flag("tls-private-key-file", show(&layout.key("apiserver"))),
    ]
}

fn controller_manager_args(layout: &Layout, s: &Settings) -> Vec<String> {
    let kubeconfig = show(&layout.kubeconfig("controller-manager"));
    vec![
        flag("allocate-node-cidrs", "true"),
        flag("authentication-kubeconfig", &kubeconfig),
        flag("authorization-kubeconfig", &kubeconfig),
        flag("bind-address", "127.0.0.1"),
        flag("client-ca-file", show(&layout.cert("ca"))),
        flag("cluster-cidr", s.pod_cidr),
        flag("cluster-name", "kubernetes"),
        flag("cluster-signing-cert-file", show(&layout.cert("ca"))),
        flag("cluster-signing-key-file", show(&layout.key("ca"))),
        flag("controllers", "*"),
        flag("kubeconfig", &kubeconfig),
        flag("leader-elect", "true"),
        flag("root-ca-file", show(&layout.cert("ca"))),
        flag("secure-port", s.ports.controller_manager),
        flag("service-account-private-key-file", show(&layout.key("sa"))),
        flag("tls-cert-file", show(&layout.cert("controller-manager-server"))),
        flag("tls-private-key-file", show(&layout.key("controller-manager-server"))),
        flag("use-service-account-credentials", "true"),
    ]
}

fn scheduler_args(layout: &Layout, s: &Settings) -> Vec<String> {
    let kubeconfig = show(&layout.kubeconfig("scheduler"));
    vec![
        flag("authentication-kubeconfig", &kubeconfig),
        flag("authorization-kubeconfig", &kubeconfig),
        flag("bind-address", "127.0.0.1"),
        flag("client-ca-file", show(&layout.cert("ca"))),
        flag("kubeconfig", &kubeconfig),
        flag("leader-elect", "true"),
        flag("secure-port", s.ports.scheduler),
        flag("tls-cert-file", show(&layout.cert("scheduler-server"))),
        flag("tls-private-key-file", show(&layout.key("scheduler-server"))),
    ]
}

fn kubelet_args(layout: &Layout, s: &Settings) -> Vec<String> {
    vec![
        flag("config", show(&layout.kubelet_config())),
        flag("kubeconfig", show(&layout.kubeconfig("kubelet"))),
        flag("hostname-override", &s.node_name),
        flag("node-ip", s.node_ip),
        flag("root-dir", show(&layout.path("kubelet/root"))),
    ]
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    fn all() -> Vec<Daemon> {
        table(&Layout::new("/srv/c".into()), &settings())
    }

    #[test]
    fn the_table_is_complete_and_in_the_order_of_the_names() {
        assert_eq!(all().iter().map(|d| d.name).collect::<Vec<_>>(), NAMES);
    }

    #[test]
    fn every_file_of_a_flag_is_one_that_we_make() {
        let layout = Layout::new("/srv/c".into());
        let leaves = crate::pki::plan::leaves(&settings());
        let signers = crate::pki::plan::Signer::ALL.map(crate::pki::plan::Signer::file);
        let known = |path: &str| {
            let made =
                |stem: &str| leaves.iter().any(|l| l.file == stem) || signers.contains(&stem) || stem == "sa";
            let relative = path.strip_prefix("/srv/c/").unwrap_or_default();
            match relative.strip_prefix("pki/") {
                Some(file) => made(file.rsplit_once('.').unwrap().0),
                None => {
                    relative.ends_with(".conf")
                        || relative.ends_with(".yaml")
                        || relative.ends_with(".toml")
                        || layout.folders().iter().any(|f| f.to_str() == Some(path))
                }
            }
        };
        for daemon in all() {
            for value in daemon.args.iter().map(|a| a.rsplit_once('=').map_or(a.as_str(), |(_, v)| v)) {
                if value.starts_with('/') {
                    assert!(known(value), "{}: {value}", daemon.name);
                }
            }
        }
    }

    #[test]
    fn security_is_on() {
        let args = |name: &str| all().into_iter().find(|d| d.name == name).unwrap().args;
        assert!(args("kube-apiserver").contains(&"--authorization-mode=Node,RBAC".to_owned()));
        assert!(args("kvstore").contains(&"--client-cert-auth=true".to_owned()));
        assert!(
            args("kube-controller-manager").contains(&"--use-service-account-credentials=true".to_owned())
        );
    }
}
