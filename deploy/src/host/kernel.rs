//! What the kernel must allow: shared mounts, forwarding, cgroups of the cluster's own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rustix::mount::{MountPropagationFlags, mount_change};

const CAP_SYS_RESOURCE: u32 = 24;
const OVERLAYFS_MAGIC: i64 = 0x794c_7630;

/// Whether this process may lower a process's oom_score_adj.
pub fn may_lower_oom_score() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|c| c >> CAP_SYS_RESOURCE & 1 == 1)
}

/// containerd's snapshotter for a folder: overlayfs cannot lie on overlayfs.
pub fn snapshotter(dir: &Path) -> anyhow::Result<&'static str> {
    let file_system = rustix::fs::statfs(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
    let magic = file_system.f_type as i64;
    Ok(if magic == OVERLAYFS_MAGIC { "native" } else { "overlayfs" })
}

/// Makes `/` a shared mount, for pods with mountPropagation. Returns whether it was not.
pub fn ensure_shared_root() -> anyhow::Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    // mountinfo: field 5 is the mount point, optional fields follow the sixth.
    let root = mounts.lines().rfind(|l| l.split(' ').nth(4) == Some("/")).context("no mount at /")?;
    if root.split(" - ").next().is_some_and(|fields| fields.contains(" shared:")) {
        return Ok(false);
    }
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)
        .context("cannot make / a shared mount (mount --make-rshared /)")?;
    Ok(true)
}

/// Kernel settings that pods need; each with the reason.
const SYSCTLS: &[(&str, &str, bool)] = &[
    // Packets from and to pods are forwarded.
    ("net/ipv4/ip_forward", "1", true),
    // Bridged packets between pods pass the Services' rules. Absent without br_netfilter.
    ("net/bridge/bridge-nf-call-iptables", "1", false),
    ("net/bridge/bridge-nf-call-ip6tables", "1", false),
];

/// Sets them. Returns what was changed.
pub fn ensure_sysctls() -> anyhow::Result<Vec<&'static str>> {
    let mut changed = Vec::new();
    for (name, value, required) in SYSCTLS {
        let file = Path::new("/proc/sys").join(name);
        match fs::read_to_string(&file) {
            Ok(old) if old.trim() == *value => {}
            Ok(_) => {
                fs::write(&file, value).with_context(|| format!("cannot set {name}={value}"))?;
                changed.push(*name);
            }
            Err(_) => ensure!(!required, "the kernel has no setting {name}"),
        }
    }
    Ok(changed)
}

/// The mounted cgroup hierarchies: one per controller on version 1, one on version 2.
fn hierarchies() -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    if base.join("cgroup.controllers").exists() {
        return vec![base.to_owned()];
    }
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Makes the cluster's cgroup in every hierarchy; the kubelet owns what is below.
pub fn ensure_cgroups(root: &str) -> anyhow::Result<()> {
    let hierarchies = hierarchies();
    ensure!(!hierarchies.is_empty(), "no cgroup file system is mounted on /sys/fs/cgroup");
    for hierarchy in hierarchies {
        let dir = hierarchy.join(root.trim_start_matches('/'));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        if hierarchy.ends_with("cpuset") {
            inherit_cpuset(&hierarchy, &dir)?;
        }
        if hierarchy.join("cgroup.subtree_control").exists() && hierarchy == Path::new("/sys/fs/cgroup") {
            let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
            let all: Vec<String> = controllers.split_whitespace().map(|c| format!("+{c}")).collect();
            fs::write(dir.join("cgroup.subtree_control"), all.join(" "))
                .with_context(|| format!("cannot delegate controllers to {}", dir.display()))?;
        }
    }
    Ok(())
}

/// A version 1 cpuset starts empty and takes no process until it has CPUs and memory nodes.
fn inherit_cpuset(parent: &Path, dir: &Path) -> anyhow::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = fs::read_to_string(dir.join(file)).unwrap_or_default();
        if own.trim().is_empty() {
            let inherited = fs::read_to_string(parent.join(file))?;
            fs::write(dir.join(file), inherited.trim()).with_context(|| format!("cannot set {file}"))?;
        }
    }
    Ok(())
}

/// Removes the cluster's cgroups, deepest first. A cgroup that still has processes stays.
pub fn remove_cgroups(root: &str) {
    fn remove(dir: &Path) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                remove(&entry.path());
            }
        }
        let _ = fs::remove_dir(dir);
    }
    for hierarchy in hierarchies() {
        remove(&hierarchy.join(root.trim_start_matches('/')));
    }
}
