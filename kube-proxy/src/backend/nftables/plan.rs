//! What the table holds, given Services and endpoints. Pure.
//!
//! ```text
//! prerouting ┐                      ┌ @service-ips       ip . proto . port → service chain ─► dnat
//! output     ┴► nat: services ──────┤
//!                                   └ @service-nodeports proto . port → external chain ─► service chain
//! input, forward, output ► filter: @no-endpoint-services → reject or drop;
//!                                  other ports of a ClusterIP → reject
//! prerouting, output (before nat) ► filter: @firewall-ips → source ranges of load balancers
//! postrouting ► nat: masquerading: what is marked, and hairpins
//! ```

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use super::ruleset::{Chain, Collection, Hook, Ruleset};
use crate::state::{Endpoint, Endpoints, Family, PortName, Reachable, ServicePort, Services};

/// How to tell traffic of this node's pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LocalTraffic {
    /// Not at all: then nothing is masqueraded for coming from outside the cluster.
    #[default]
    Unknown,
    /// By source address.
    From(Vec<IpNet>),
    /// By the interface that it came in by; a trailing `*` stands for any rest.
    Interface(String),
}

impl LocalTraffic {
    /// The match for local traffic, or for all other with `not`.
    fn matching(&self, family: Family, not: bool) -> Option<String> {
        let differs = if not { "!= " } else { "" };
        match self {
            Self::Unknown => None,
            Self::From(networks) => {
                let ip = if family == Family::V4 { "ip" } else { "ip6" };
                let own: Vec<String> = networks
                    .iter()
                    .filter(|n| Family::of(n.addr()) == family)
                    .map(IpNet::to_string)
                    .collect();
                match own.as_slice() {
                    [] => None,
                    [one] => Some(format!("{ip} saddr {differs}{one}")),
                    many => Some(format!("{ip} saddr {differs}{{ {} }}", many.join(", "))),
                }
            }
            Self::Interface(name) => Some(format!("iifname {differs}{name:?}")),
        }
    }
}

/// Which of the node's addresses take NodePort traffic.
#[derive(Clone, Debug, PartialEq)]
pub enum NodePortAddresses {
    /// All but loopback.
    All,
    These(Vec<IpAddr>),
}

/// What does not come from Services and endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub node: String,
    pub zone: String,
    /// The node's address in the family.
    pub node_ip: Option<IpAddr>,
    pub node_ports: NodePortAddresses,
    pub masquerade_all: bool,
    /// Bit of the packet mark that asks for masquerading.
    pub masquerade_bit: u8,
    pub local: LocalTraffic,
}

/// Services with a policy Local and no endpoint here, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub no_local_internal: usize,
    pub no_local_external: usize,
}

/// The table for one family.
pub fn plan(
    family: Family,
    services: &Services,
    endpoints: &Endpoints,
    settings: &Settings,
) -> (Ruleset, Counts) {
    let mut planner = Planner { table: Ruleset::empty(family), settings, counts: Counts::default() };
    planner.frame();
    for (name, port) in services {
        let own = endpoints.get(name).map_or(&[][..], Vec::as_slice);
        planner.port(name, port, own);
    }
    (planner.table, planner.counts)
}

struct Planner<'a> {
    table: Ruleset,
    settings: &'a Settings,
    counts: Counts,
}

const HOOKS: &[(&str, &str, &str, &str)] = &[
    ("filter-prerouting-pre-dnat", "filter", "prerouting", "-110"),
    ("filter-output-pre-dnat", "filter", "output", "-110"),
    ("filter-input", "filter", "input", "0"),
    ("filter-forward", "filter", "forward", "0"),
    ("filter-output", "filter", "output", "0"),
    ("nat-prerouting", "nat", "prerouting", "-100"),
    ("nat-output", "nat", "output", "-100"),
    ("nat-postrouting", "nat", "postrouting", "100"),
];

/// From, condition, to.
const JUMPS: &[(&str, &str, &str)] = &[
    ("filter-input", "ct state new ", "nodeport-endpoints-check"),
    ("filter-input", "ct state new ", "service-endpoints-check"),
    ("filter-forward", "ct state new ", "service-endpoints-check"),
    ("filter-output", "ct state new ", "service-endpoints-check"),
    ("filter-prerouting-pre-dnat", "ct state new ", "firewall-check"),
    ("filter-output-pre-dnat", "ct state new ", "firewall-check"),
    ("nat-output", "", "services"),
    ("nat-prerouting", "", "services"),
    ("nat-postrouting", "", "masquerading"),
    ("filter-forward", "ct state new ", "cluster-ips-check"),
    ("filter-output", "ct state new ", "cluster-ips-check"),
];

impl Planner<'_> {
    fn mark(&self) -> String {
        format!("{:#08x}", 1u32 << self.settings.masquerade_bit)
    }

    fn masquerade_rule(&self) -> String {
        format!("mark set mark or {}", self.mark())
    }

    fn collection(&mut self, name: &str, kind: String, comment: &str) {
        let collection = Collection { kind, comment: comment.into(), ..Collection::default() };
        self.table.collections.insert(name.into(), collection);
    }

    /// All that is there without any Service.
    fn frame(&mut self) {
        for (name, kind, hook, priority) in HOOKS {
            let hook = Hook { kind, hook, priority };
            self.table.chains.insert((*name).into(), Chain { hook: Some(hook), rules: Vec::new() });
        }
        for (from, condition, to) in JUMPS {
            self.table.chain(to);
            self.table.rule(from, format!("{condition}jump {to}"));
        }
        let addr = self.table.addr_type();
        let target = format!("{addr} . inet_proto . inet_service : verdict");
        let port = "inet_proto . inet_service : verdict".to_owned();
        self.collection("cluster-ips", addr.into(), "Active ClusterIPs");
        self.collection("service-ips", target.clone(), "ClusterIP, ExternalIP and LoadBalancer IP traffic");
        self.collection("service-nodeports", port.clone(), "NodePort traffic");
        self.collection(
            "no-endpoint-services",
            target.clone(),
            "vmap to drop or reject packets to services with no endpoints",
        );
        self.collection(
            "no-endpoint-nodeports",
            port,
            "vmap to drop or reject packets to service nodeports with no endpoints",
        );
        self.collection("firewall-ips", target, "destinations that are subject to LoadBalancerSourceRanges");
        self.collection(
            "hairpin-connections",
            format!("{addr} . {addr} . inet_proto . inet_service"),
            "service hairpin connections",
        );
        self.masquerading();
        self.checks();
        self.dispatch();
    }

    fn masquerading(&mut self) {
        let (ip, mark) = (self.table.ip(), self.mark());
        self.table.rule(
            "masquerading",
            format!("mark and {mark} != 0 mark set mark xor {mark} masquerade fully-random"),
        );
        self.table.rule(
            "masquerading",
            format!(
                "ct status dnat {ip} saddr . {ip} daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random"
            ),
        );
    }

    fn checks(&mut self) {
        let ip = self.table.ip();
        self.table.rule(
            "cluster-ips-check",
            format!(
                "{ip} daddr @cluster-ips reject comment \"Reject traffic to invalid ports of ClusterIPs\""
            ),
        );
        self.table.rule("reject-chain", "reject");
        let target = format!("{ip} daddr . meta l4proto . th dport vmap");
        self.table.rule("service-endpoints-check", format!("{target} @no-endpoint-services"));
        self.table.rule("firewall-check", format!("{target} @firewall-ips"));
    }

    fn dispatch(&mut self) {
        let (ip, family) = (self.table.ip(), self.table.family);
        let not_loopback = match family {
            Family::V4 => "ip daddr != 127.0.0.0/8",
            Family::V6 => "ip6 daddr != ::1",
        };
        let masquerade = self.masquerade_rule();
        if self.settings.masquerade_all {
            let rule =
                format!("{ip} daddr @cluster-ips {masquerade} comment \"masquerade all clusterIP traffic\"");
            self.table.rule("services", rule);
        } else if let Some(outside) = self.settings.local.matching(family, true) {
            let comment = "masquerade clusterIP traffic from outside cluster";
            let rule = format!("{ip} daddr @cluster-ips {outside} {masquerade} comment \"{comment}\"");
            self.table.rule("services", rule);
        }
        self.table.rule("services", format!("{ip} daddr . meta l4proto . th dport vmap @service-ips"));
        let (to_node, to_node_checked) = match &self.settings.node_ports {
            NodePortAddresses::All => {
                (format!("fib daddr type local {not_loopback}"), not_loopback.to_owned())
            }
            NodePortAddresses::These(addresses) => {
                let addr = self.table.addr_type();
                self.collection("nodeport-ips", addr.into(), "IPs that accept NodePort traffic");
                for address in addresses.iter().filter(|a| Family::of(**a) == family && !a.is_loopback()) {
                    self.table.member("nodeport-ips", address.to_string());
                }
                let to_node = format!("{ip} daddr @nodeport-ips");
                (to_node.clone(), to_node)
            }
        };
        self.table.rule("services", format!("{to_node} meta l4proto . th dport vmap @service-nodeports"));
        self.table.rule(
            "nodeport-endpoints-check",
            format!("{to_node_checked} meta l4proto . th dport vmap @no-endpoint-nodeports"),
        );
    }

    /// Everything for one port of a Service.
    fn port(&mut self, name: &PortName, port: &ServicePort, endpoints: &[Endpoint]) {
        let reachable = Reachable::of(port, endpoints, &self.settings.node, &self.settings.zone);
        let base = chain_base(name);
        let (cluster, local, external) =
            (format!("service-{base}"), format!("local-{base}"), format!("external-{base}"));
        let internal_ok = reachable.anywhere && (!port.internal_local || !reachable.local.is_empty());
        let external_ok = reachable.anywhere && (!port.external_local || !reachable.local.is_empty());
        if reachable.anywhere {
            self.counts.no_local_internal += usize::from(!internal_ok);
            self.counts.no_local_external += usize::from(!external_ok && port.is_external());
        }
        // Nobody serves: tell the client. Somebody does elsewhere: the policy says to drop.
        let refusal = if reachable.anywhere { "drop" } else { "goto reject-chain" };

        for endpoint in reachable.all().into_iter().filter(|e| e.is_local) {
            let address = endpoint.address;
            let key = format!("{address} . {address} . {} . {}", name.protocol, endpoint.port);
            self.table.member("hairpin-connections", key);
        }
        self.table.member("cluster-ips", port.cluster_ip.to_string());
        let internal_target = if port.internal_local { &local } else { &cluster };
        self.target(
            name,
            port,
            port.cluster_ip,
            internal_ok.then_some(internal_target),
            !internal_ok,
            refusal,
        );
        for address in port.external_ips.iter().chain(&port.load_balancer_ips) {
            let target = reachable.anywhere.then_some(&external);
            self.target(name, port, *address, target, !external_ok, refusal);
        }
        if port.node_port != 0 {
            let key = format!("{} . {}", name.protocol, port.node_port);
            if reachable.anywhere {
                self.table.entry("service-nodeports", key.clone(), &format!("goto {external}"));
            }
            if !external_ok {
                self.table.commented_entry("no-endpoint-nodeports", key, refusal, &name.to_string());
            }
        }
        if reachable.anywhere && port.is_external() {
            let policy = if port.external_local { &local } else { &cluster };
            self.external_chain(port, &external, &cluster, external_ok.then_some(policy));
        }
        self.firewall(name, port, &format!("firewall-{base}"));
        if port.uses_cluster_endpoints() {
            self.balance(name, port, &cluster, &reachable.cluster);
        }
        if port.uses_local_endpoints() {
            self.balance(name, port, &local, &reachable.local);
        }
        if let Some(seconds) = port.affinity_seconds {
            for endpoint in reachable.all() {
                self.affine(name, endpoint, seconds);
            }
        }
    }

    fn target(
        &mut self,
        name: &PortName,
        port: &ServicePort,
        address: IpAddr,
        chain: Option<&String>,
        refused: bool,
        refusal: &str,
    ) {
        let key = format!("{address} . {} . {}", name.protocol, port.port);
        if let Some(chain) = chain {
            self.table.entry("service-ips", key.clone(), &format!("goto {chain}"));
        }
        if refused {
            self.table.commented_entry("no-endpoint-services", key, refusal, &name.to_string());
        }
    }

    fn external_chain(&mut self, port: &ServicePort, external: &str, cluster: &str, policy: Option<&String>) {
        let masquerade = self.masquerade_rule();
        self.table.chain(external);
        if port.external_local {
            // Pods, and the node itself, are not "external": they use any endpoint, as if their
            // packets had gone out to the load balancer and come back.
            if let Some(own) = self.settings.local.matching(self.table.family, false) {
                self.table
                    .rule(external, format!("{own} goto {cluster} comment \"short-circuit pod traffic\""));
            }
            self.table.rule(
                external,
                format!("fib saddr type local {masquerade} comment \"masquerade local traffic\""),
            );
            self.table.rule(
                external,
                format!("fib saddr type local goto {cluster} comment \"short-circuit local traffic\""),
            );
        } else {
            self.table.rule(external, format!("{masquerade} comment \"masquerade\""));
        }
        if let Some(policy) = policy {
            self.table.rule(external, format!("goto {policy}"));
        }
    }

    fn firewall(&mut self, name: &PortName, port: &ServicePort, chain: &str) {
        if port.source_ranges.is_empty() || port.load_balancer_ips.is_empty() {
            return;
        }
        let mut sources: Vec<String> = port.source_ranges.iter().map(IpNet::to_string).collect();
        let from_here = self
            .settings
            .node_ip
            .is_some_and(|ip| port.source_ranges.iter().any(|range| range.contains(&ip)));
        for address in &port.load_balancer_ips {
            if from_here {
                // The node reaches the load balancer's address from that address.
                sources.push(address.to_string());
            }
            let key = format!("{address} . {} . {}", name.protocol, port.port);
            self.table.entry("firewall-ips", key, &format!("goto {chain}"));
        }
        let ip = self.table.ip();
        self.table.rule(chain, format!("{ip} saddr != {{ {} }} drop", sources.join(", ")));
    }

    /// Spreads traffic evenly; clients with affinity go where they went before.
    fn balance(&mut self, name: &PortName, port: &ServicePort, chain: &str, endpoints: &[&Endpoint]) {
        if endpoints.is_empty() {
            return;
        }
        let (ip, count) = (self.table.ip(), endpoints.len());
        if port.affinity_seconds.is_none() {
            let list = joined(endpoints, |e| format!("{} . {}", e.address, e.port));
            let rule = format!(
                "meta l4proto {} dnat {ip} addr . port to numgen random mod {count} map {{ {list} }}",
                name.protocol
            );
            self.table.rule(chain, rule);
            return;
        }
        for endpoint in endpoints {
            let base = endpoint_base(name, endpoint);
            self.table.rule(chain, format!("{ip} saddr @affinity-{base} goto endpoint-{base}"));
        }
        let list = joined(endpoints, |e| format!("goto endpoint-{}", endpoint_base(name, e)));
        self.table.rule(chain, format!("numgen random mod {count} vmap {{ {list} }}"));
    }

    fn affine(&mut self, name: &PortName, endpoint: &Endpoint, seconds: i32) {
        let (ip, base) = (self.table.ip(), endpoint_base(name, endpoint));
        let set = Collection {
            kind: self.table.addr_type().into(),
            options: format!("flags dynamic,timeout ; timeout {seconds}s ;"),
            ..Collection::default()
        };
        self.table.collections.insert(format!("affinity-{base}"), set);
        let chain = format!("endpoint-{base}");
        self.table.rule(&chain, format!("update @affinity-{base} {{ {ip} saddr }}"));
        self.table.rule(&chain, format!("meta l4proto {} dnat to {}", name.protocol, endpoint.socket()));
    }
}

fn joined(endpoints: &[&Endpoint], show: impl Fn(&Endpoint) -> String) -> String {
    let mut text = String::new();
    for (at, endpoint) in endpoints.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{at} : {}", show(endpoint));
    }
    text
}

fn chain_base(name: &PortName) -> String {
    hashed(&format!("{}/{}/{}/{}", name.namespace, name.service, name.protocol, name.port))
}

fn endpoint_base(name: &PortName, endpoint: &Endpoint) -> String {
    // Colons may not be in a chain's name.
    let address = endpoint.address.to_string().replace(':', ".");
    hashed(&format!(
        "{}/{}/{}/{}__{address}/{}",
        name.namespace, name.service, name.protocol, name.port, endpoint.port
    ))
}

/// The name after eight characters that are its own, and short enough for the kernel.
fn hashed(name: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const LONGEST: usize = 240;
    let digest = Sha256::digest(name.as_bytes());
    let bits = digest[..5].iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut text: String =
        (0..8).rev().map(|at| char::from(ALPHABET[(bits >> (at * 5)) as usize & 31])).collect();
    text.push('-');
    text.push_str(name);
    if text.len() > LONGEST {
        text.truncate(LONGEST - 3);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests;
