//! A network namespace for a whole cluster (`--netns`), for a second one on a machine: ports,
//! Services' rules and pod addresses of clusters in one namespace would collide. A veth pair leads
//! in; this machine reaches the cluster at its node's address. Only the network differs: files,
//! processes and cgroups are the machine's.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use rustix::mount::{UnmountFlags, unmount};

/// The addresses of a cluster's two ends: out of 198.18.0.0/15, which is for such uses (RFC 2544), a
/// /30 by the cluster's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub outside: Ipv4Addr,
    pub node: Ipv4Addr,
}

impl Ends {
    /// `id` as in the settings: eight hex digits.
    pub fn of(id: &str) -> anyhow::Result<Self> {
        let number = u32::from_str_radix(id, 16).context("the cluster's id is hexadecimal")?;
        let net = u32::from(Ipv4Addr::new(198, 18, 0, 0)) | (number & 0x1_fffc);
        Ok(Self { outside: (net | 1).into(), node: (net | 2).into() })
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(name)
}

/// Whether this process is in the namespace.
pub fn inside(name: &str) -> bool {
    let inode = |p: PathBuf| std::fs::metadata(p).map(|m| m.ino()).ok();
    inode("/proc/self/ns/net".into()).is_some_and(|own| Some(own) == inode(path(name)))
}

/// Whether the name leads to a namespace. A file alone may be left of one.
pub fn exists(name: &str) -> bool {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
    rustix::fs::statfs(path(name)).is_ok_and(|s| s.f_type as i64 == NSFS_MAGIC)
}

/// Makes the namespace and the way into it, unless they are there.
pub fn ensure(name: &str, id: &str) -> anyhow::Result<()> {
    let ends = Ends::of(id)?;
    if !exists(name) {
        // Err means that nothing is left over.
        let _ = std::fs::remove_file(path(name));
        ip(&["netns", "add", name])?;
    }
    let outer = format!("kf-{id}");
    if ip(&["link", "show", "dev", &outer]).is_ok() {
        return Ok(());
    }
    ip(&["link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", name])?;
    ip(&["address", "add", &format!("{}/30", ends.outside), "dev", &outer])?;
    ip(&["link", "set", &outer, "up"])?;
    ip(&["-n", name, "address", "add", &format!("{}/30", ends.node), "dev", "eth0"])?;
    ip(&["-n", name, "link", "set", "eth0", "up"])?;
    ip(&["-n", name, "link", "set", "lo", "up"])?;
    ip(&["-n", name, "route", "add", "default", "via", &ends.outside.to_string()])
}

/// Runs this same command again inside. Returns only when that cannot be done.
pub fn enter(name: &str) -> anyhow::Result<()> {
    let error = Command::new("nsenter")
        .arg(format!("--net={}", path(name).display()))
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error).context("cannot run nsenter")
}

/// Removes the namespace, and with it both ends of the way in. From the inside the name goes at
/// once, the namespace with its last process.
pub fn remove(name: &str) -> anyhow::Result<()> {
    if !path(name).exists() {
        return Ok(());
    }
    if inside(name) && ip(&["link", "show", "dev", "eth0"]).is_ok() {
        // Taking our end away takes the other one too.
        ip(&["link", "delete", "eth0"])?;
    }
    // Not `ip netns delete`, which unmounts once: where mounts are shared there may be two.
    while unmount(path(name), UnmountFlags::DETACH).is_ok() {}
    std::fs::remove_file(path(name)).with_context(|| format!("cannot remove {}", path(name).display()))
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(args).output().context("cannot run ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Refuses names that `ip netns` or a path would take for something else.
pub fn check_name(name: &str) -> anyhow::Result<()> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    ensure!(
        (1..=60).contains(&name.len()) && name.bytes().all(fine),
        "--netns={name}: letters, digits, - and _ only"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_in_the_range_and_in_one_net() {
        for id in ["00000000", "ffffffff", "12345678"] {
            let ends = Ends::of(id).unwrap();
            let (outside, node) = (u32::from(ends.outside), u32::from(ends.node));
            assert_eq!(ends.node.octets()[0], 198);
            assert!([18, 19].contains(&ends.node.octets()[1]), "{ends:?}");
            assert_eq!((outside & !3, outside & 3, node & 3), (node & !3, 1, 2));
        }
    }
}
