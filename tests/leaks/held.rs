//! What a node holds on account of its pods, read from the node itself: the kubelet's directories, the
//! mount table, control groups, the runtime's containers and leased addresses. Network namespaces are
//! left out: containerd 1.6 forgets one that it was making when it was killed, and no one else can tell whose it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ferrokube_tests::Cluster;
use serde_json::Value;

/// Everything, by the uid of the pod that it is for where that can be told.
#[derive(Debug, Default)]
pub struct Held {
    /// Directories of pods.
    pub dirs: BTreeSet<String>,
    /// Mounts below them.
    pub mounts: BTreeSet<String>,
    /// Control groups.
    pub cgroups: BTreeSet<String>,
    /// Directories of logs.
    pub logs: BTreeSet<String>,
    /// Sandboxes by pod; one that restarted keeps the one of its last dead container.
    pub sandboxes: BTreeMap<String, usize>,
    /// Containers by pod.
    pub containers: BTreeMap<String, usize>,
    /// Links to logs that are no more.
    pub dangling: Vec<String>,
    /// Leased addresses.
    pub addresses: BTreeSet<String>,
}

/// What a pod of the API needs.
#[derive(Debug)]
pub struct Need {
    uid: String,
    addresses: Vec<String>,
}

/// The pods that the API has.
pub fn needs(cluster: &Cluster) -> Result<Vec<Need>> {
    let text = cluster.kubectl(&["get", "pods", "-A", "-o", "json"]).succeeds()?;
    let list: Value = serde_json::from_str(&text)?;
    let pods = list["items"].as_array().context("no items")?;
    Ok(pods
        .iter()
        .map(|pod| Need {
            uid: pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            addresses: pod["status"]["podIPs"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|one| one["ip"].as_str().map(str::to_owned))
                .collect(),
        })
        .collect())
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Names of directories below `dir` that are `podUID`.
fn pod_groups(dir: &Path, found: &mut BTreeSet<String>) {
    for name in names(dir) {
        match name.strip_prefix("pod").filter(|uid| uid.len() >= 32) {
            Some(uid) => drop(found.insert(uid.to_owned())),
            None if dir.join(&name).is_dir() => pod_groups(&dir.join(name), found),
            None => {}
        }
    }
}

/// The value of a line `key: value` of the kubelet's configuration.
fn setting(text: &str, key: &str) -> Result<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    line.map(str::to_owned).with_context(|| format!("the kubelet's configuration does not say {key}"))
}

impl Held {
    /// Looks at the node of a cluster that kubeforge made.
    pub fn look(cluster: &Cluster) -> Result<Self> {
        let dir = cluster.dir();
        let config = std::fs::read_to_string(dir.join("kubelet/config.yaml"))?;
        let mut held = Self::default();
        let pods = dir.join("kubelet/root/pods");
        held.dirs.extend(names(&pods));
        for line in std::fs::read_to_string("/proc/self/mountinfo")?.lines() {
            let point = line.split(' ').nth(4).unwrap_or_default();
            if let Ok(below) = Path::new(point).strip_prefix(&pods) {
                held.mounts.extend(below.iter().next().map(|uid| uid.to_string_lossy().into_owned()));
            }
        }
        let root = setting(&config, "cgroupRoot")?;
        // Version 2 has one hierarchy, at the top; version 1 has a folder for each.
        let (top, root) = (Path::new("/sys/fs/cgroup"), root.trim_start_matches('/').to_owned());
        pod_groups(&top.join(&root), &mut held.cgroups);
        for hierarchy in names(top) {
            pod_groups(&top.join(hierarchy).join(&root), &mut held.cgroups);
        }
        let logs = setting(&config, "podLogsDir")?;
        held.logs.extend(
            names(Path::new(&logs)).iter().filter_map(|name| Some(name.rsplit_once('_')?.1.to_owned())),
        );
        let links = dir.join("kubelet/containers");
        held.dangling.extend(names(&links).into_iter().filter(|name| !links.join(name).exists()));
        for network in names(&dir.join("cni/ipam")) {
            let leases = names(&dir.join("cni/ipam").join(network));
            held.addresses.extend(
                leases
                    .into_iter()
                    .filter(|name| name.contains(['.', ':']))
                    .filter(|name| !name.starts_with("last_")),
            );
        }
        held.ask_runtime(&dir.join("run/containerd.sock"))?;
        Ok(held)
    }

    fn ask_runtime(&mut self, socket: &Path) -> Result<()> {
        let ctr = |args: &[&str]| -> Result<String> {
            let output =
                Command::new("ctr").arg("-a").arg(socket).args(["-n", "k8s.io"]).args(args).output()?;
            ensure!(output.status.success(), "ctr {args:?}: {}", String::from_utf8_lossy(&output.stderr));
            Ok(String::from_utf8(output.stdout)?)
        };
        for id in ctr(&["containers", "ls", "-q"])?.lines() {
            // Removed in between: as if it had not been listed.
            let Ok(info) = ctr(&["containers", "info", id]) else { continue };
            let info: Value = serde_json::from_str(&info)?;
            let label = |name: &str| info["Labels"][name].as_str().unwrap_or_default().to_owned();
            let sandbox = label("io.cri-containerd.kind") == "sandbox";
            let counts = if sandbox { &mut self.sandboxes } else { &mut self.containers };
            *counts.entry(label("io.kubernetes.pod.uid")).or_default() += 1;
        }
        Ok(())
    }

    /// What no pod needs, one line each.
    pub fn surplus(&self, needs: &[Need]) -> Vec<String> {
        let uids: BTreeSet<&str> = needs.iter().map(|need| need.uid.as_str()).collect();
        let mut lines = Vec::new();
        let sets = [
            ("directory", &self.dirs),
            ("mount", &self.mounts),
            ("control group", &self.cgroups),
            ("logs", &self.logs),
        ];
        for (what, held) in sets {
            let extra = held.iter().filter(|uid| !uids.contains(uid.as_str()));
            lines.extend(extra.map(|uid| format!("{what} of pod {uid}")));
        }
        for (what, held) in [("sandbox", &self.sandboxes), ("container", &self.containers)] {
            let extra = held.keys().filter(|uid| !uids.contains(uid.as_str()));
            lines.extend(extra.map(|uid| format!("{what} of pod {uid}")));
        }
        lines.extend(self.dangling.iter().map(|link| format!("link {link} to a log that is gone")));
        let told: BTreeSet<&str> =
            needs.iter().flat_map(|need| &need.addresses).map(String::as_str).collect();
        let leased = self.addresses.iter().filter(|address| !told.contains(address.as_str()));
        lines.extend(leased.map(|address| format!("address {address}")));
        lines
    }
}
