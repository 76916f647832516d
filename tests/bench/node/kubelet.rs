//! The running kubelet: putting another program in its place, and what a process has cost so far.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ferrokube_tests::process::{Memory, cpu, memory};
use ferrokube_tests::{Cluster, eventually};

/// The process of a daemon that kubeforge keeps.
fn pid(cluster: &Cluster, daemon: &str) -> Result<u32> {
    let file = cluster.dir().join(format!("run/{daemon}.pid"));
    let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let value: serde_json::Value = serde_json::from_slice(&text)?;
    let pid = value["pid"].as_u64().context("no pid")?;
    Ok(u32::try_from(pid)?)
}

/// What everything has cost so far.
pub struct Cost {
    pub cpu: f64,
    pub runtime_cpu: f64,
    pub requests: u64,
    pub memory: Memory,
}

/// A kubelet that runs.
pub struct Kubelet {
    pub name: String,
    pid: u32,
    runtime: u32,
}

impl Kubelet {
    pub fn cost(&self, cluster: &Cluster) -> Result<Cost> {
        let text = cluster.kubectl(&["get", "--raw", "/metrics"]).succeeds()?;
        let counted = text.lines().filter(|line| line.starts_with("apiserver_request_total"));
        let requests = counted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>();
        Ok(Cost {
            cpu: cpu(self.pid).context("the kubelet ended")?,
            runtime_cpu: cpu(self.runtime)?,
            requests: requests as u64,
            memory: memory(self.pid)?,
        })
    }

    /// Bytes.
    pub fn peak(&self) -> Result<u64> {
        Ok(memory(self.pid)?.peak)
    }
}

/// Where the cluster's kubelet is started from.
pub struct Place {
    program: PathBuf,
    kept: PathBuf,
}

impl Place {
    /// Keeps a copy of what is there.
    pub fn of(cluster: &Cluster) -> Result<Self> {
        let program = std::fs::read_link(format!("/proc/{}/exe", pid(cluster, "kubelet")?))?;
        let target =
            program.components().any(|part| part.as_os_str() == "debug" || part.as_os_str() == "release");
        ensure!(
            !target,
            "{} is what cargo built: start the cluster with --bin-dir of copies",
            program.display()
        );
        let kept = program.with_extension("kept");
        std::fs::copy(&program, &kept)?;
        Ok(Self { program, kept })
    }

    fn replace(&self, cluster: &Cluster, path: &Path) -> Result<u32> {
        let before = pid(cluster, "kubelet")?;
        let beside = self.program.with_extension("new");
        std::fs::copy(path, &beside).with_context(|| format!("copying {}", path.display()))?;
        std::fs::rename(&beside, &self.program)?;
        cluster.kubeforge("kill", &["kubelet"]).succeeds()?;
        let mut now = before;
        eventually("another kubelet runs", 60, || {
            now = pid(cluster, "kubelet").unwrap_or(before);
            Ok(now != before)
        })?;
        Ok(now)
    }

    /// Runs another program as the kubelet; the node is Ready and has heard of it when this returns.
    pub fn put(&self, cluster: &Cluster, name: &str, path: &Path) -> Result<Kubelet> {
        let started = Instant::now();
        let pid = self.replace(cluster, path)?;
        eventually("the new kubelet answers", 60, || {
            let node = cluster.node()?;
            let healthy = format!("/api/v1/nodes/{node}/proxy/healthz");
            Ok(cluster.kubectl(&["get", "--raw", &healthy]).stdout == "ok")
        })?;
        eventually("the node is Ready", 120, || {
            let path = "jsonpath={.items[0].status.conditions[?(@.type==\"Ready\")].status}";
            Ok(cluster.kubectl(&["get", "nodes", "-o", path]).stdout == "True")
        })?;
        if started.elapsed() > Duration::from_secs(120) {
            bail!("{name} took too long to start");
        }
        Ok(Kubelet { name: name.to_owned(), pid, runtime: self::pid(cluster, "containerd")? })
    }

    /// Brings back what was there.
    pub fn restore(&self, cluster: &Cluster) -> Result<()> {
        self.replace(cluster, &self.kept)?;
        std::fs::remove_file(&self.kept).context("removing the copy")
    }
}
