//! Facts about the node that do not change while the kubelet runs, from /proc, /sys and /etc.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;

use crate::placement::cpu_set::CpuSet;

/// What the node is.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Bytes of memory.
    pub memory: i64,
    /// CPUs.
    pub cpus: i64,
    /// `/etc/machine-id`
    pub machine_id: String,
    /// DMI's, or the machine id.
    pub system_uuid: String,
    /// Of this boot.
    pub boot_id: String,
    /// `uname -r`
    pub kernel: String,
    /// PRETTY_NAME of os-release.
    pub os_image: String,
    /// Bytes of swap.
    pub swap: i64,
    /// Sizes of huge pages, as `2Mi`, with their number.
    pub huge_pages: Vec<(String, i64, i64)>,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn meminfo(text: &str, name: &str) -> i64 {
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse::<i64>().ok()
        })
        .unwrap_or_default()
        * 1024
}

impl Machine {
    /// Looks at the node.
    pub fn look() -> Self {
        let memory = read("/proc/meminfo");
        let machine_id = [read("/etc/machine-id"), read("/var/lib/dbus/machine-id")]
            .into_iter()
            .find(|id| !id.is_empty())
            .unwrap_or_default();
        let uuid = read("/sys/class/dmi/id/product_uuid");
        Self {
            memory: meminfo(&memory, "MemTotal"),
            swap: meminfo(&memory, "SwapTotal"),
            cpus: cpus(&read("/sys/devices/system/cpu/online")),
            system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid.to_lowercase() },
            machine_id,
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            kernel: read("/proc/sys/kernel/osrelease"),
            os_image: os_image(&read("/etc/os-release")),
            huge_pages: huge_pages(Path::new("/sys/kernel/mm/hugepages")),
        }
    }
}

/// All that are there, also where this process may use some of them only.
fn cpus(online: &str) -> i64 {
    let all = online.parse::<CpuSet>().map_or(0, |all| all.len());
    let own = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if all > 0 { all as i64 } else { own() as i64 }
}

fn os_image(release: &str) -> String {
    release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(|| "Linux".to_owned(), |name| name.trim_matches(['"', '\'']).to_owned())
}

fn huge_pages(dir: &Path) -> Vec<(String, i64, i64)> {
    let mut sizes = Vec::new();
    for path in crate::volume::actual::entries(dir).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(kilobytes) =
            name.strip_prefix("hugepages-").and_then(|name| name.strip_suffix("kB")?.parse::<i64>().ok())
        else {
            continue;
        };
        let count = std::fs::read_to_string(path.join("nr_hugepages"))
            .ok()
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or_default();
        let label = if kilobytes % (1 << 20) == 0 {
            format!("{}Gi", kilobytes >> 20)
        } else {
            format!("{}Mi", kilobytes >> 10)
        };
        sizes.push((label, kilobytes << 10, count));
    }
    sizes
}

/// The host's name, as nodes are named: lower case.
pub fn hostname() -> String {
    nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().trim().to_lowercase())
        .unwrap_or_else(|_| "localhost".into())
}

/// The address of the interface that has the default route (no packet is sent to find it), or else the
/// first that is not a loopback; of version 4, where there is one, or of version 6.
pub fn default_address(v6_first: bool) -> Option<IpAddr> {
    let towards = |bind: &str, target: &str| {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(target).ok()?;
        socket
            .local_addr()
            .ok()
            .map(|address| address.ip())
            .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
    };
    let v4 = || towards("0.0.0.0:0", "192.0.2.1:9");
    let v6 = || towards("[::]:0", "[2001:db8::1]:9");
    let routed = if v6_first { v6().or_else(v4) } else { v4().or_else(v6) };
    routed.or_else(|| {
        let all: Vec<IpAddr> = addresses().into_iter().filter(is_global).collect();
        all.iter().find(|ip| ip.is_ipv6() == v6_first).or(all.first()).copied()
    })
}

fn is_global(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_multicast() || link_local)
}

/// The addresses of all interfaces.
pub fn addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_formats_of_proc_and_etc() {
        assert_eq!(cpus("0-3,8"), 5);
        assert!(cpus("") > 0);
        assert_eq!(meminfo("MemTotal:       16 kB\nMemFree: 1 kB\n", "MemTotal"), 16384);
        assert_eq!(
            os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
    }
}
