//! Who we are and where: user, host name, default address, our own folder.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context as _, ensure};

use crate::settings::HostFacts;

/// Refuses to go on without root's rights.
pub fn require_root() -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "containers, mounts and packet filters need root: run this with sudo or as root"
    );
    Ok(())
}

pub fn facts() -> anyhow::Result<HostFacts> {
    let own = std::env::current_exe().context("cannot find our own binary")?;
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(HostFacts { name, default_ip: default_ip(), own_dir: own.parent().unwrap_or(&own).to_owned() })
}

/// The address that the kernel would send from to the outside. Connecting a datagram socket sends nothing.
fn default_ip() -> Option<IpAddr> {
    let probe = |local: &str, remote: &str| {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(remote.parse::<SocketAddr>().ok()?).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
    };
    // Documentation addresses: routed by the default route, owned by nobody.
    probe("0.0.0.0:0", "203.0.113.1:9").or_else(|| probe("[::]:0", "[2001:db8::1]:9"))
}
