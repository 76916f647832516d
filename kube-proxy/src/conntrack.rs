//! UDP has no end of a connection: flows that the kernel still sends to an endpoint that is gone
//! would go there for ever while the client keeps sending. After a change such entries are deleted
//! from the connection table, with the tool `conntrack`. What to delete is decided by pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use tokio::process::Command;

use crate::state::{Endpoints, Family, Services};

/// Where UDP traffic of Services is addressed, and the endpoints that serve it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UdpTargets {
    addresses: BTreeMap<SocketAddr, BTreeSet<SocketAddr>>,
    node_ports: BTreeMap<u16, BTreeSet<SocketAddr>>,
}

impl UdpTargets {
    /// Policies and hints do not matter: a flow that was sent somewhere stays there while that serves.
    pub fn of(services: &Services, endpoints: &Endpoints) -> Self {
        let mut all = Self::default();
        for (name, port) in services.iter().filter(|(name, _)| name.protocol == "udp") {
            let own = endpoints.get(name).into_iter().flatten();
            let serving: BTreeSet<_> = own.filter(|e| e.serving).map(|e| e.socket()).collect();
            // Without any endpoint there is nowhere better to send a flow.
            if serving.is_empty() {
                continue;
            }
            let number = |port: i32| u16::try_from(port).unwrap_or(0);
            let addresses =
                std::iter::once(&port.cluster_ip).chain(&port.external_ips).chain(&port.load_balancer_ips);
            for address in addresses {
                all.addresses.insert(SocketAddr::new(*address, number(port.port)), serving.clone());
            }
            if port.node_port != 0 {
                all.node_ports.insert(number(port.node_port), serving);
            }
        }
        all
    }

    fn is_stale(&self, flow: &Flow) -> bool {
        let elsewhere = |serving: &BTreeSet<SocketAddr>| !serving.contains(&flow.answers_from);
        self.addresses.get(&flow.to).is_some_and(elsewhere)
            || self.node_ports.get(&flow.to.port()).is_some_and(elsewhere)
    }
}

/// A UDP flow in the connection table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Flow {
    from: SocketAddr,
    to: SocketAddr,
    /// The endpoint: the source of packets of the other direction.
    answers_from: SocketAddr,
}

impl Flow {
    /// `udp 17 29 src=… dst=… sport=… dport=… [UNREPLIED] src=… dst=… sport=… dport=… …`
    fn parse(line: &str) -> Option<Self> {
        let values = |name: &str| -> Vec<&str> {
            let prefix = format!("{name}=");
            line.split_whitespace().filter_map(|word| word.strip_prefix(prefix.as_str())).collect()
        };
        let address = |name: &str, at: usize| values(name).get(at)?.parse::<IpAddr>().ok();
        let port = |name: &str, at: usize| values(name).get(at)?.parse::<u16>().ok();
        Some(Self {
            from: SocketAddr::new(address("src", 0)?, port("sport", 0)?),
            to: SocketAddr::new(address("dst", 0)?, port("dport", 0)?),
            answers_from: SocketAddr::new(address("src", 1)?, port("sport", 1)?),
        })
    }
}

/// Why the table could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    #[error("cannot run conntrack (is the package conntrack installed?)")]
    Run(#[source] std::io::Error),
    #[error("conntrack failed: {}", .0.trim())]
    Failed(String),
}

/// Deletes the UDP flows that go where nobody serves any more, and says how many there were.
///
/// # Errors
/// When the tool is missing or fails.
pub async fn clean(family: Family, targets: &UdpTargets) -> Result<usize, ConntrackError> {
    let family = if family == Family::V4 { "ipv4" } else { "ipv6" };
    let listed = conntrack(&["-L", "-f", family, "-p", "udp"]).await?;
    let mut deleted = 0;
    for flow in listed.lines().filter_map(Flow::parse).filter(|f| targets.is_stale(f)) {
        let (source, sport) = (flow.from.ip().to_string(), flow.from.port().to_string());
        let (destination, dport) = (flow.to.ip().to_string(), flow.to.port().to_string());
        let arguments = [
            "-D",
            "-f",
            family,
            "-p",
            "udp",
            "-s",
            &source,
            "-d",
            &destination,
            "--sport",
            &sport,
            "--dport",
            &dport,
        ];
        match conntrack(&arguments).await {
            Ok(_) => deleted += 1,
            // It ended by itself meanwhile.
            Err(ConntrackError::Failed(message)) if message.contains("0 flow entries") => {}
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}

async fn conntrack(arguments: &[&str]) -> Result<String, ConntrackError> {
    let output = Command::new("conntrack")
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(ConntrackError::Run)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(ConntrackError::Failed(String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{add_endpoints, service_ports};
    use crate::testing::{Ep, service, slice};

    fn targets(endpoints: &[Ep]) -> UdpTargets {
        let dns =
            service("dns", "10.0.0.10").port("", 53, 30053).edit(|s| s.spec.ports[0].protocol = "UDP".into());
        let mut slice = slice("dns", 5353, endpoints);
        slice.ports[0].protocol = Some("UDP".into());
        let mut all = Endpoints::new();
        add_endpoints(&mut all, &slice, Family::V4, "here");
        UdpTargets::of(&service_ports(&dns.build(), Family::V4).into_iter().collect(), &all)
    }

    fn check(line: &str, endpoints: &[Ep], expected: bool) {
        let flow = Flow::parse(line).unwrap();
        assert_eq!(targets(endpoints).is_stale(&flow), expected, "{line}");
    }

    const FLOW: &str = "udp      17 25 src=10.244.0.5 dst=10.0.0.10 sport=43210 dport=53 src=10.244.0.9 dst=10.244.0.5 sport=5353 dport=43210 [ASSURED] mark=0 use=1";

    #[test]
    fn flows_to_endpoints_that_are_gone_are_stale() {
        check(FLOW, &[Ep::at("10.244.0.9")], false);
        check(FLOW, &[Ep::at("10.244.0.9").leaving()], false);
        check(FLOW, &[Ep::at("10.244.0.8")], true);
        check(FLOW, &[], false);
        check(&FLOW.replace("dst=10.0.0.10", "dst=10.0.0.11"), &[Ep::at("10.244.0.8")], false);
        let node_port = "udp 17 25 src=192.0.2.7 dst=192.0.2.1 sport=1 dport=30053 [UNREPLIED] src=10.244.0.9 dst=192.0.2.7 sport=5353 dport=1";
        check(node_port, &[Ep::at("10.244.0.8")], true);
    }

    #[test]
    fn lines_without_ports_are_no_flows() {
        assert_eq!(Flow::parse("icmp 1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1"), None);
    }
}
