//! Leaving nothing behind: containers, mounts, links, rules, cgroups of a cluster whose daemons have
//! stopped. Containers end as after a power cut, but for a chance to react to SIGTERM; at the next
//! start containerd and the kubelet find them gone and clean up their records.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustix::mount::{UnmountFlags, unmount};

use crate::cluster::Cluster;
use crate::host::processes::{self, Identity};
use crate::host::{cni, kernel, network};

/// How long containers may take to end on SIGTERM.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where runc and the shims keep state, whatever containerd's own folders are.
const RUNC_STATE: &str = "/run/containerd/runc/k8s.io";

/// Ends the containers of this cluster's containerd. Returns how many processes that were.
pub fn end_containers(cluster: &Cluster) -> usize {
    let socket = cluster.layout.containerd_socket();
    let shims: Vec<Identity> = processes::all()
        .filter(|pid| is_shim_of(&processes::command_line(*pid), &socket))
        .filter_map(Identity::of)
        .collect();
    let children = processes::children();
    let mut contained = Vec::new();
    for shim in &shims {
        descendants(shim.pid, &children, &mut contained);
    }
    let contained: Vec<Identity> = contained.into_iter().filter_map(Identity::of).collect();
    for process in &contained {
        process.signal(Signal::SIGTERM);
    }
    let asked = Instant::now();
    while contained.iter().any(|p| p.alive() && !is_pause(p.pid)) && asked.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    for process in contained.iter().chain(&shims) {
        process.signal(Signal::SIGKILL);
    }
    while contained.iter().chain(&shims).any(|p| p.alive()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    contained.len()
}

fn is_shim_of(command_line: &[String], socket: &Path) -> bool {
    command_line.first().is_some_and(|p| p.ends_with("containerd-shim-runc-v2"))
        && command_line.windows(2).any(|w| w[0] == "-address" && Path::new(&w[1]) == socket)
}

fn is_pause(pid: i32) -> bool {
    processes::command_line(pid).first().is_some_and(|p| p == "/pause")
}

fn descendants(pid: i32, children: &HashMap<i32, Vec<i32>>, into: &mut Vec<i32>) {
    for child in children.get(&pid).into_iter().flatten() {
        into.push(*child);
        descendants(*child, children, into);
    }
}

/// Removes what containers leave in the kernel. Returns what could not be removed.
pub fn clean_host(cluster: &Cluster) -> Vec<String> {
    let mut left = Vec::new();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The last mounted first.
    for mount in mounts_below(&mounts, cluster.layout.dir()).iter().rev() {
        if let Err(error) = unmount(mount, UnmountFlags::DETACH) {
            left.push(format!("mount {}: {error}", mount.display()));
        }
    }
    left.extend(cni::detach_all(&cluster.settings.bridge()));
    left.extend(network::remove(&cluster.settings));
    kernel::remove_cgroups(&cluster.settings.cgroup_root());
    left
}

/// Mount points below `dir`, in the order in which they were mounted.
fn mounts_below(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    let points =
        mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(|p| PathBuf::from(unescaped(p)));
    points.filter(|p| p.starts_with(dir) && p != dir).collect()
}

/// mountinfo writes blanks and the like as three octal digits after a backslash.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// Forgets what runc and the shims know about this cluster's containers; for `purge`, after which
/// nobody else will.
pub fn forget_containers(cluster: &Cluster) {
    let tasks = cluster.layout.path("run/containerd/io.containerd.runtime.v2.task/k8s.io");
    for task in std::fs::read_dir(tasks).into_iter().flatten().flatten() {
        let _ = std::fs::remove_dir_all(Path::new(RUNC_STATE).join(task.file_name()));
        if let Ok(address) = std::fs::read_to_string(task.path().join("address")) {
            let _ = std::fs::remove_file(address.trim().trim_start_matches("unix://"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shims_of_this_containerd_count() {
        let line = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let socket = Path::new("/srv/c/run/containerd.sock");
        let ours = line(
            "/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id x -address /srv/c/run/containerd.sock",
        );
        let others = line(
            "/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id x -address /run/containerd/containerd.sock",
        );
        assert!(is_shim_of(&ours, socket));
        assert!(!is_shim_of(&others, socket));
        assert!(!is_shim_of(
            &line("grep containerd-shim-runc-v2 -address /srv/c/run/containerd.sock"),
            socket
        ));
    }

    #[test]
    fn mounts_below_a_folder_are_found_in_order() {
        let info = "1 0 8:1 / / rw - ext4 /dev/sda rw\n\
                    2 1 0:5 / /srv/c/run/a rw shared:1 - tmpfs x rw\n\
                    3 1 0:5 / /srv/cc/x rw - tmpfs x rw\n\
                    4 2 0:5 / /srv/c/run/a/b\\040c rw - tmpfs x rw\n";
        let found = mounts_below(info, Path::new("/srv/c"));
        assert_eq!(found, [PathBuf::from("/srv/c/run/a"), PathBuf::from("/srv/c/run/a/b c")]);
    }
}
