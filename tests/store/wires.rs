//! Where members listen: on loopback, or each in a network namespace of its own on a bridge, where they
//! can be kept from hearing each other. Namespaces, links and rules go when this is dropped.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};

/// Addresses of one member.
#[derive(Clone, Debug)]
pub struct Place {
    pub client: String,
    pub peer: String,
    /// The network namespace that its process runs in.
    pub namespace: Option<String>,
}

/// Places on loopback, on ports that are free now.
pub fn on_loopback(members: usize) -> Result<Vec<Place>> {
    let free = || anyhow::Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port());
    let url = |port| format!("http://{}:{port}", Ipv4Addr::LOCALHOST);
    (0..members).map(|_| Ok(Place { client: url(free()?), peer: url(free()?), namespace: None })).collect()
}

/// A bridge with a namespace for each member.
pub struct Wires {
    /// Names of links are short: at most 15 letters.
    id: u32,
    members: usize,
}

impl Wires {
    /// `None` (which is said) without the right to make them.
    pub fn laid(members: usize) -> Result<Option<Self>> {
        static LAID: AtomicU32 = AtomicU32::new(0);
        let id = (std::process::id() * 4 + LAID.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let wires = Self { id, members };
        let bridge = wires.bridge();
        if let Err(error) = ip(&["link", "add", &bridge, "type", "bridge"]) {
            eprintln!("skipped: a network cannot be made: {error}");
            return Ok(None);
        }
        ip(&["address", "add", &format!("{}/24", wires.address(253)), "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for n in 0..members {
            let (namespace, link) = (wires.namespace(n), format!("st{id}v{n}"));
            ip(&["netns", "add", &namespace])?;
            ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
            ip(&["link", "set", &link, "master", &bridge, "up"])?;
            let address = format!("{}/24", wires.address(n));
            wires.inside(n, &["ip", "address", "add", &address, "dev", "eth0"])?;
            wires.inside(n, &["ip", "link", "set", "eth0", "up"])?;
            wires.inside(n, &["ip", "link", "set", "lo", "up"])?;
        }
        Ok(Some(wires))
    }

    pub fn places(&self) -> Vec<Place> {
        let place = |n: usize| {
            let address = self.address(n);
            Place {
                client: format!("http://{address}:2379"),
                peer: format!("http://{address}:2380"),
                namespace: Some(self.namespace(n)),
            }
        };
        (0..self.members).map(place).collect()
    }

    /// Members of `side` and the others do not hear each other any more.
    pub fn part(&self, side: &[usize]) -> Result<()> {
        let others: Vec<usize> = (0..self.members).filter(|n| !side.contains(n)).collect();
        for n in side {
            let drops = |way: &str| -> String {
                others.iter().map(|other| format!("ip {way} {} drop\n", self.address(*other))).collect()
            };
            let (from, to) = (drops("saddr"), drops("daddr"));
            let rules = format!(
                "table inet parted {{\n\
                 chain incoming {{\n type filter hook input priority 0;\n {from} }}\n\
                 chain outgoing {{\n type filter hook output priority 0;\n {to} }}\n\
                 }}\n"
            );
            self.inside(*n, &["nft", &rules])?;
        }
        Ok(())
    }

    pub fn heal(&self) {
        for n in 0..self.members {
            // Not there where nothing was cut.
            self.inside(n, &["nft", "delete table inet parted"]).ok();
        }
    }

    fn inside(&self, n: usize, words: &[&str]) -> Result<()> {
        let namespace = format!("--net=/run/netns/{}", self.namespace(n));
        run(Command::new("nsenter").arg(namespace).args(words))
    }

    fn bridge(&self) -> String {
        format!("st{}br", self.id)
    }

    fn namespace(&self, n: usize) -> String {
        format!("store-test-{}-m{n}", self.id)
    }

    fn address(&self, n: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, (self.id % 250) as u8, n as u8 + 1)
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        // As far as they were made. A link goes with the namespace that its other end is in.
        for n in 0..self.members {
            ip(&["netns", "delete", &self.namespace(n)]).ok();
        }
        ip(&["link", "delete", &self.bridge()]).ok();
    }
}

fn ip(words: &[&str]) -> Result<()> {
    run(Command::new("ip").args(words))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
