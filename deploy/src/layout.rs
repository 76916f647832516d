//! Where everything of a cluster lies: one folder, laid out inside as /etc/kubernetes is by kubeadm
//! (`pki/`, `*.conf`), with state, logs and sockets beside it.
//!
//! ```text
//! DIR/cluster.json              settings           DIR/containerd/{config.toml,root}
//!     pki/{ca,…}.{crt,key}      certificates       DIR/cni/net.d/10-pods.conflist
//!     admin.conf, kubelet.conf  kubeconfigs        DIR/kubelet/{config.yaml,root}
//!     run/                      sockets, pids      DIR/kube-proxy/config.yaml
//!     logs/NAME.log             one per daemon     DIR/kvstore/       the cluster's data
//!     images/                   archives made here  DIR/worker-N/      a worker node, laid out as DIR
//! ```

use std::path::{Path, PathBuf};

/// A cluster's folder. Paths only; nothing here touches the disk.
#[derive(Clone, Debug)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// `dir` must be absolute.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.join(relative)
    }
    pub fn settings(&self) -> PathBuf {
        self.path("cluster.json")
    }
    /// `pki/NAME.crt`; a name may have a folder (`etcd/ca`).
    pub fn cert(&self, name: &str) -> PathBuf {
        self.path(&format!("pki/{name}.crt"))
    }
    pub fn key(&self, name: &str) -> PathBuf {
        self.path(&format!("pki/{name}.key"))
    }
    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.conf"))
    }
    /// The folder of the worker of this number, from 1; laid out as this one.
    pub fn worker(&self, number: u8) -> Self {
        Self::new(self.path(&format!("worker-{number}")))
    }
    pub fn cni_config(&self) -> PathBuf {
        self.cni_conf_dir().join("10-pods.conflist")
    }
    pub fn log(&self, daemon: &str) -> PathBuf {
        self.path(&format!("logs/{daemon}.log"))
    }
    pub fn pid_file(&self, daemon: &str) -> PathBuf {
        self.path(&format!("run/{daemon}.pid"))
    }
    /// There while a daemon's end was asked for, and is no failure of its own.
    pub fn asked_to_end(&self, daemon: &str) -> PathBuf {
        self.path(&format!("run/{daemon}.asked"))
    }
    pub fn lock(&self) -> PathBuf {
        self.path("run/supervisor.lock")
    }
    pub fn status(&self) -> PathBuf {
        self.path("run/status.json")
    }
    pub fn containerd_config(&self) -> PathBuf {
        self.path("containerd/config.toml")
    }
    pub fn containerd_socket(&self) -> PathBuf {
        self.path("run/containerd.sock")
    }
    pub fn cni_conf_dir(&self) -> PathBuf {
        self.path("cni/net.d")
    }
    pub fn kubelet_config(&self) -> PathBuf {
        self.path("kubelet/config.yaml")
    }
    pub fn kube_proxy_config(&self) -> PathBuf {
        self.path("kube-proxy/config.yaml")
    }

    /// The folders that must exist before anything runs.
    pub fn folders(&self) -> Vec<PathBuf> {
        [
            "pki/etcd",
            "run",
            "logs",
            "containerd/root",
            "cni/net.d",
            "cni/ipam",
            "kubelet/root",
            "kube-proxy",
            "kvstore",
            "images",
        ]
        .iter()
        .map(|f| self.path(f))
        .collect()
    }
}
