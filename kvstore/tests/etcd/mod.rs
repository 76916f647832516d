//! A real etcd beside kvstore, where it is installed.

#![allow(dead_code, clippy::unwrap_used, reason = "shared by test binaries that each use a part")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

pub struct Etcd {
    process: Child,
    pub endpoint: String,
}

impl Etcd {
    /// Says so when there is none.
    pub fn installed() -> bool {
        let found = ["etcd", "etcdctl"].iter().all(|name| {
            Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        });
        if !found {
            eprintln!("skipped: etcd and etcdctl are not installed");
        }
        found
    }

    pub fn start(data: &Path, flags: &[&str]) -> Option<Self> {
        if !Self::installed() {
            return None;
        }
        let peers = format!("http://127.0.0.1:{}", port());
        let cluster = format!("default={peers}");
        Some(Self::run(data, &[&["--initial-cluster", &cluster], flags].concat(), &peers))
    }

    /// Several that are one cluster: m1, m2 …
    pub fn start_cluster(folder: &Path, size: usize) -> Option<Vec<Self>> {
        if !Self::installed() {
            return None;
        }
        let members = (1..=size).map(|n| (format!("m{n}"), format!("http://127.0.0.1:{}", port())));
        let members: Vec<_> = members.collect();
        let cluster: Vec<_> = members.iter().map(|(name, peers)| format!("{name}={peers}")).collect();
        let cluster = cluster.join(",");
        let start = |(name, peers): &(String, String)| {
            Self::run(&folder.join(name), &["--name", name, "--initial-cluster", &cluster], peers)
        };
        Some(members.iter().map(start).collect())
    }

    /// A member of a new cluster, made by etcdctl from a snapshot.
    pub fn restore(saved: &Path, data: &Path) -> Self {
        let peers = format!("http://127.0.0.1:{}", port());
        let cluster = format!("default={peers}");
        let members = ["--initial-cluster", &cluster, "--initial-advertise-peer-urls", &peers];
        let done = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["snapshot", "restore"])
            .arg(saved)
            .arg("--data-dir")
            .arg(data)
            .args(members)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self::run(data, &["--initial-cluster", &cluster], &peers)
    }

    fn run(data: &Path, flags: &[&str], peers: &str) -> Self {
        let endpoint = format!("127.0.0.1:{}", port());
        let clients = format!("http://{endpoint}");
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(data)
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers])
            .args(["--unsafe-no-fsync", "--bcrypt-cost", "4"])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let etcd = Self { process, endpoint };
        while std::net::TcpStream::connect(&etcd.endpoint).is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        etcd
    }

    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.endpoint)).unwrap().connect_lazy()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
