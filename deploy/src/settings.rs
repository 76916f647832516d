//! What makes one cluster differ from another: names, addresses, ports. Decided at the first `up`,
//! kept in cluster.json, overridden by flags at a later one where data does not depend on it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::host::namespace;
use crate::pki;

/// `up`'s flags. What is not given keeps its saved value, or the default at the first `up`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The node's name [default: this machine's host name]
    #[arg(long)]
    pub node_name: Option<String>,
    /// The node's address [default: the one that the default route uses]
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// Run the cluster in this network namespace, made when missing: for a second cluster on a machine
    #[arg(long, value_name = "NAME")]
    pub netns: Option<String>,
    /// Use consecutive ports from here instead of the usual ones
    #[arg(long, value_name = "PORT")]
    pub port_base: Option<u16>,
    /// Addresses of pods; the node takes the first /24 [default: 10.244.0.0/16]
    #[arg(long, value_name = "CIDR")]
    pub pod_cidr: Option<Ipv4Net>,
    /// Addresses of Services [default: 10.96.0.0/16]
    #[arg(long, value_name = "CIDR")]
    pub service_cidr: Option<IpNet>,
    /// [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,
    /// Where the daemons' binaries are [default: beside kubeforge]
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
    /// How many worker nodes to run beside the first, each in a network namespace of its own [default: 0]
    #[arg(long, value_name = "COUNT")]
    pub workers: Option<u8>,
    /// The store: `kvstore`, or `etcd` for the one on PATH [default: kvstore]
    #[arg(long)]
    pub store: Option<Store>,
    /// Log verbosity of all daemons [default: 2]
    #[arg(long, short = 'v')]
    pub verbosity: Option<u8>,
    /// Do not install missing Debian packages, only name them
    #[arg(long)]
    pub no_install: bool,
    /// How long to wait for the node to become Ready, in seconds
    #[arg(long, default_value_t = 180, value_name = "SECONDS")]
    pub timeout: u64,
}

impl Overrides {
    /// Whether they say how to start and nothing about what.
    fn leave_settings_alone(&self) -> bool {
        let Self { timeout, no_install, .. } = *self;
        *self == Self { timeout, no_install, ..Self::default() }
    }
}

/// Which engine keeps the cluster's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    Kvstore,
    Etcd,
}

/// A cluster's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Eight hex digits of the folder's path: tells this cluster's links, cgroups and tables from others'.
    pub id: String,
    pub node_name: String,
    pub node_ip: IpAddr,
    /// The network namespace that everything runs in; this machine's own when absent.
    #[serde(default)]
    pub netns: Option<String>,
    pub ports: Ports,
    #[serde(with = "text")]
    pub pod_cidr: Ipv4Net,
    #[serde(with = "text")]
    pub service_cidr: IpNet,
    pub cluster_domain: String,
    pub bin_dir: PathBuf,
    pub store: Store,
    pub verbosity: u8,
    /// How many worker nodes belong to the cluster; each has a folder in the cluster's ([`Settings::worker`]).
    #[serde(default)]
    pub workers: u8,
    /// Present on a worker.
    #[serde(default)]
    pub joined: Option<Joined>,
}

/// What a worker knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The cluster's folder.
    pub cluster: PathBuf,
    /// Where its apiserver is reached.
    pub apiserver: SocketAddr,
    /// Its part of the pod addresses, once the controller manager has given it one.
    #[serde(default, with = "optional_text")]
    pub pod_cidr: Option<Ipv4Net>,
}

/// The ports that a cluster listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    pub apiserver: u16,
    pub store_client: u16,
    pub store_peer: u16,
    pub store_metrics: u16,
    pub kubelet: u16,
    pub kubelet_health: u16,
    pub scheduler: u16,
    pub controller_manager: u16,
    pub proxy_metrics: u16,
    pub proxy_health: u16,
}

impl Ports {
    /// Upstream's.
    pub const USUAL: Self = Self {
        apiserver: 6443,
        store_client: 2379,
        store_peer: 2380,
        store_metrics: 2381,
        kubelet: 10250,
        kubelet_health: 10248,
        scheduler: 10259,
        controller_manager: 10257,
        proxy_metrics: 10249,
        proxy_health: 10256,
    };

    /// Ten ports from `base`.
    pub fn from_base(base: u16) -> anyhow::Result<Self> {
        ensure!((1024..=65_526).contains(&base), "--port-base={base}: must be between 1024 and 65526");
        Ok(Self {
            apiserver: base,
            store_client: base + 1,
            store_peer: base + 2,
            store_metrics: base + 3,
            kubelet: base + 4,
            kubelet_health: base + 5,
            scheduler: base + 6,
            controller_manager: base + 7,
            proxy_metrics: base + 8,
            proxy_health: base + 9,
        })
    }

    /// Each port with the daemon that listens on it.
    pub fn all(&self) -> [(u16, &'static str); 10] {
        [
            (self.apiserver, "kube-apiserver"),
            (self.store_client, "kvstore"),
            (self.store_peer, "kvstore"),
            (self.store_metrics, "kvstore"),
            (self.kubelet, "kubelet"),
            (self.kubelet_health, "kubelet"),
            (self.scheduler, "kube-scheduler"),
            (self.controller_manager, "kube-controller-manager"),
            (self.proxy_metrics, "kube-proxy"),
            (self.proxy_health, "kube-proxy"),
        ]
    }
}

impl Settings {
    /// Reads what an earlier `up` saved.
    pub fn load(file: &Path) -> anyhow::Result<Option<Self>> {
        match std::fs::read(file) {
            Ok(bytes) => Ok(Some(
                serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", file.display()))?,
            )),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// The id of the cluster in `dir`.
    pub fn id_of(dir: &Path) -> String {
        hex::encode(&Sha256::digest(dir.as_os_str().as_encoded_bytes())[..4])
    }

    /// The settings of a new cluster in `dir`.
    pub fn new(dir: &Path, overrides: &Overrides, host: &HostFacts) -> anyhow::Result<Self> {
        let id = Self::id_of(dir);
        let address = match &overrides.netns {
            Some(_) => Some(namespace::Ends::of(&id)?.node.into()),
            None => host.default_ip,
        };
        let node_ip = match overrides.node_ip.or(address) {
            Some(ip) => ip,
            None => {
                bail!("this machine has no default route to tell its address by: give one with --node-ip")
            }
        };
        let settings = Self {
            id,
            netns: overrides.netns.clone(),
            node_name: overrides.node_name.clone().unwrap_or_else(|| host.name.to_lowercase()),
            node_ip,
            ports: overrides.port_base.map_or(Ok(Ports::USUAL), Ports::from_base)?,
            pod_cidr: overrides.pod_cidr.unwrap_or(Ipv4Net::new_assert([10, 244, 0, 0].into(), 16)),
            service_cidr: overrides.service_cidr.unwrap_or(IpNet::new_assert([10, 96, 0, 0].into(), 16)),
            cluster_domain: overrides.cluster_domain.clone().unwrap_or_else(|| "cluster.local".into()),
            bin_dir: overrides.bin_dir.clone().unwrap_or_else(|| host.own_dir.clone()),
            store: overrides.store.unwrap_or(Store::Kvstore),
            verbosity: overrides.verbosity.unwrap_or(2),
            workers: overrides.workers.unwrap_or(0),
            joined: None,
        };
        settings.check()?;
        Ok(settings)
    }

    /// Saved settings with a later `up`'s flags. Refuses what the cluster's data depends on.
    pub fn overridden(mut self, overrides: &Overrides, host: &HostFacts) -> anyhow::Result<Self> {
        fn fixed<T: PartialEq + std::fmt::Display>(
            flag: &str,
            saved: &T,
            given: Option<&T>,
        ) -> anyhow::Result<()> {
            match given {
                Some(given) if given != saved => {
                    bail!(
                        "{flag}={given}: this cluster was made with {saved}; `kubeforge cluster purge` starts over"
                    )
                }
                _ => Ok(()),
            }
        }
        if let Some(joined) = &self.joined {
            ensure!(
                overrides.leave_settings_alone(),
                "a worker has its cluster's settings: give flags to `kubeforge cluster up --dir {}`",
                joined.cluster.display()
            );
            return Ok(self);
        }
        fixed("--node-name", &self.node_name, overrides.node_name.as_ref())?;
        fixed("--pod-cidr", &self.pod_cidr, overrides.pod_cidr.as_ref())?;
        fixed("--service-cidr", &self.service_cidr, overrides.service_cidr.as_ref())?;
        fixed("--cluster-domain", &self.cluster_domain, overrides.cluster_domain.as_ref())?;
        if overrides.store.is_some_and(|s| s != self.store) {
            bail!(
                "--store: this cluster's data is in the other engine; `kubeforge cluster purge` starts over"
            );
        }
        if overrides.netns.is_some() && overrides.netns != self.netns {
            bail!(
                "--netns: this cluster was made for another network namespace; `kubeforge cluster purge` starts over"
            );
        }
        // The machine's address may change between boots, the cluster moves along.
        let address = host.default_ip.filter(|_| self.netns.is_none());
        self.node_ip = overrides.node_ip.or(address).unwrap_or(self.node_ip);
        if let Some(base) = overrides.port_base {
            self.ports = Ports::from_base(base)?;
        }
        self.bin_dir = overrides.bin_dir.clone().unwrap_or_else(|| host.own_dir.clone());
        self.verbosity = overrides.verbosity.unwrap_or(self.verbosity);
        self.workers = overrides.workers.unwrap_or(self.workers);
        self.check()?;
        Ok(self)
    }

    /// The settings of a worker whose folder is `dir`: the cluster's, but for what a node has of its own.
    /// `saved` are its settings of an earlier start.
    pub fn worker(
        &self,
        cluster: &Path,
        dir: &Path,
        number: u8,
        saved: Option<&Self>,
    ) -> anyhow::Result<Self> {
        let id = Self::id_of(dir);
        let base = self.netns.clone().unwrap_or_else(|| format!("kubeforge-{}", self.id));
        let pod_cidr = saved.and_then(|s| s.joined.as_ref()).and_then(|j| j.pod_cidr);
        let joined = Joined { cluster: cluster.to_owned(), apiserver: self.apiserver(), pod_cidr };
        let settings = Self {
            node_name: self.worker_name(number),
            node_ip: namespace::Ends::of(&id)?.node.into(),
            netns: Some(format!("{base}-worker-{number}")),
            workers: 0,
            joined: Some(joined),
            id,
            ..self.clone()
        };
        settings.check()?;
        Ok(settings)
    }

    /// What the node of a worker is called.
    pub fn worker_name(&self, number: u8) -> String {
        format!("{}-worker-{number}", self.node_name)
    }

    /// Writes what [`Settings::load`] reads.
    pub fn save(&self, file: &Path) -> anyhow::Result<()> {
        pki::write(file, format!("{:#}\n", serde_json::to_value(self)?).as_bytes(), 0o644)
    }

    fn check(&self) -> anyhow::Result<()> {
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        for (flag, name) in [("--node-name", &self.node_name), ("--cluster-domain", &self.cluster_domain)] {
            ensure!(
                name.len() <= 253 && name.split('.').all(label),
                "{flag}={name}: not a DNS name in lower case"
            );
        }
        self.netns.as_deref().map_or(Ok(()), namespace::check_name)?;
        ensure!(
            !self.node_ip.is_loopback() && !self.node_ip.is_unspecified(),
            "--node-ip={}: pods cannot reach it",
            self.node_ip
        );
        ensure!(self.pod_cidr.prefix_len() <= 24, "--pod-cidr={}: a /24 or larger is needed", self.pod_cidr);
        let service_bits = self.service_cidr.max_prefix_len() - self.service_cidr.prefix_len();
        ensure!(
            (8..=20).contains(&service_bits),
            "--service-cidr={}: 8 to 20 host bits are needed",
            self.service_cidr
        );
        let pods = IpNet::V4(self.pod_cidr);
        ensure!(
            !pods.contains(&self.service_cidr) && !self.service_cidr.contains(&pods),
            "--pod-cidr={pods} and --service-cidr={} overlap",
            self.service_cidr
        );
        for (flag, net) in [("--pod-cidr", pods), ("--service-cidr", self.service_cidr)] {
            ensure!(
                !net.contains(&self.node_ip),
                "{flag}={net} contains the node's own address {}",
                self.node_ip
            );
        }
        Ok(())
    }

    /// The address of the Service `kubernetes`: the first of the range.
    pub fn kubernetes_service_ip(&self) -> IpAddr {
        self.service_ip(1)
    }

    /// Where cluster DNS answers: the tenth of the range, as kubeadm has it.
    pub fn dns_ip(&self) -> IpAddr {
        self.service_ip(10)
    }

    fn service_ip(&self, offset: u8) -> IpAddr {
        match self.service_cidr {
            IpNet::V4(net) => IpAddr::V4((u32::from(net.network()) + u32::from(offset)).into()),
            IpNet::V6(net) => IpAddr::V6((u128::from(net.network()) + u128::from(offset)).into()),
        }
    }

    /// The node's part of the pod addresses: the first node has the first /24; a worker's is `None`
    /// until it is known.
    pub fn node_pod_cidr(&self) -> Option<Ipv4Net> {
        match &self.joined {
            Some(joined) => joined.pod_cidr,
            None => Some(Ipv4Net::new_assert(self.pod_cidr.network(), 24)),
        }
    }

    /// The bridge that pods hang on. Interface names have at most 15 characters.
    pub fn bridge(&self) -> String {
        format!("pods-{}", self.id)
    }

    /// The nftables table of the node's own rules (traffic of pods that leaves the node).
    pub fn nft_table(&self) -> String {
        format!("kubeforge-{}", self.id)
    }

    /// Below it the kubelet makes `kubepods`.
    pub fn cgroup_root(&self) -> String {
        format!("/kubeforge-{}", self.id)
    }

    /// Where clients of this machine reach the apiserver.
    pub fn apiserver(&self) -> SocketAddr {
        match &self.joined {
            Some(joined) => joined.apiserver,
            None => SocketAddr::new(self.node_ip, self.ports.apiserver),
        }
    }
}

/// What the machine says about itself.
#[derive(Clone, Debug)]
pub struct HostFacts {
    pub name: String,
    /// The source address of the default route.
    pub default_ip: Option<IpAddr>,
    /// The folder of our own binary.
    pub own_dir: PathBuf,
}

/// serde by way of Display and FromStr.
pub mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }
    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// [`text`] of what may be absent.
mod optional_text {
    use ipnet::Ipv4Net;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub fn serialize<S: Serializer>(value: &Option<Ipv4Net>, s: S) -> Result<S::Ok, S::Error> {
        value.map(|net| net.to_string()).serialize(s)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Ipv4Net>, D::Error> {
        let text = Option::<String>::deserialize(d)?;
        text.map(|t| t.parse().map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn host() -> HostFacts {
        HostFacts {
            name: "Node1".into(),
            default_ip: Some([192, 0, 2, 7].into()),
            own_dir: "/opt/bin".into(),
        }
    }

    pub fn settings() -> Settings {
        Settings::new(Path::new("/srv/c"), &Overrides::default(), &host()).unwrap()
    }

    #[test]
    fn defaults_are_the_usual_ones() {
        let s = settings();
        assert_eq!(s.node_name, "node1");
        assert_eq!((s.kubernetes_service_ip(), s.dns_ip()), ([10, 96, 0, 1].into(), [10, 96, 0, 10].into()));
        assert_eq!(s.node_pod_cidr().map(|net| net.to_string()).as_deref(), Some("10.244.0.0/24"));
        assert_eq!(s.apiserver().to_string(), "192.0.2.7:6443");
        assert!(s.bridge().len() <= 15);
        assert_ne!(s.id, Settings::new(Path::new("/srv/d"), &Overrides::default(), &host()).unwrap().id);
    }

    #[test]
    fn settings_survive_the_file() {
        let json = serde_json::to_vec(&settings()).unwrap();
        assert_eq!(serde_json::from_slice::<Settings>(&json).unwrap(), settings());
    }

    #[test]
    fn a_worker_has_a_network_of_its_own_and_keeps_its_pods_addresses() {
        let (main, dir) = (settings(), Path::new("/srv/c/worker-1"));
        let mut worker = main.worker(Path::new("/srv/c"), dir, 1, None).unwrap();
        assert_eq!(worker.node_name, "node1-worker-1");
        assert_eq!(worker.apiserver(), main.apiserver());
        assert_eq!(worker.netns, Some(format!("kubeforge-{}-worker-1", main.id)));
        assert_ne!((&worker.id, worker.node_ip), (&main.id, main.node_ip));
        assert_eq!(worker.node_pod_cidr(), None);
        worker.joined.as_mut().unwrap().pod_cidr = Some("10.244.1.0/24".parse().unwrap());
        let saved = serde_json::from_slice(&serde_json::to_vec(&worker).unwrap()).unwrap();
        assert_eq!(main.worker(Path::new("/srv/c"), dir, 1, Some(&saved)).unwrap(), worker);
    }

    #[test]
    fn there_are_as_many_workers_as_were_last_asked_for() {
        let two = Settings { workers: 2, ..settings() };
        let given = |workers| Overrides { workers, ..Default::default() };
        assert_eq!(two.clone().overridden(&given(Some(1)), &host()).unwrap().workers, 1);
        assert_eq!(two.overridden(&given(None), &host()).unwrap().workers, 2);
    }

    #[test]
    fn data_bound_settings_cannot_be_changed_later() {
        let given = Overrides { service_cidr: Some("10.97.0.0/16".parse().unwrap()), ..Default::default() };
        let error = settings().overridden(&given, &host()).unwrap_err().to_string();
        assert!(
            error.starts_with("--service-cidr=10.97.0.0/16: this cluster was made with 10.96.0.0/16"),
            "{error}"
        );
        let given = Overrides { port_base: Some(20_000), verbosity: Some(6), ..Default::default() };
        let changed = settings().overridden(&given, &host()).unwrap();
        assert_eq!(
            (changed.ports.apiserver, changed.ports.proxy_health, changed.verbosity),
            (20_000, 20_009, 6)
        );
    }

    #[test]
    fn unusable_settings_are_refused_by_their_flag() {
        let refused = |o: Overrides| Settings::new(Path::new("/c"), &o, &host()).unwrap_err().to_string();
        assert!(
            refused(Overrides { node_name: Some("a_b".into()), ..Default::default() })
                .starts_with("--node-name=a_b")
        );
        assert!(
            refused(Overrides { node_ip: Some([127, 0, 0, 1].into()), ..Default::default() })
                .starts_with("--node-ip=")
        );
        assert!(
            refused(Overrides { pod_cidr: Some("10.96.0.0/14".parse().unwrap()), ..Default::default() })
                .contains("overlap")
        );
        assert!(
            refused(Overrides { pod_cidr: Some("192.0.2.0/24".parse().unwrap()), ..Default::default() })
                .contains("own address")
        );
        assert!(
            refused(Overrides { port_base: Some(80), ..Default::default() }).starts_with("--port-base=80")
        );
        let lost = HostFacts { default_ip: None, ..host() };
        assert!(
            Settings::new(Path::new("/c"), &Overrides::default(), &lost)
                .unwrap_err()
                .to_string()
                .contains("--node-ip")
        );
    }
}
