//! The node's own packet rules, routes and links: pods reach the outside under the node's address,
//! and each other, on whichever node, under their own.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use ipnet::Ipv4Net;

use crate::settings::Settings;

/// The table with the masquerading rule. Services' rules are kube-proxy's and in tables of its own.
fn rules(settings: &Settings, own: Ipv4Net) -> String {
    let (table, pods) = (settings.nft_table(), settings.pod_cidr);
    // Nobody beyond the first node knows the addresses of its workers.
    let workers = match settings.workers {
        0 => "",
        _ => "\n    ip saddr 198.18.0.0/15 ip daddr != { 198.18.0.0/15, 224.0.0.0/4 } masquerade",
    };
    format!(
        "table ip {table} {{}}
delete table ip {table}
table ip {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {own} ip daddr != {{ {pods}, 224.0.0.0/4 }} masquerade{workers}
  }}
}}
"
    )
}

/// Sets the rules, once it is known which pods are the node's.
pub fn ensure_rules(settings: &Settings) -> anyhow::Result<()> {
    let Some(own) = settings.node_pod_cidr() else { return Ok(()) };
    nft(&rules(settings, own)).context("cannot set the node's nftables rule")
}

/// Leads to a worker's pods. To be called where the worker's outer end is.
pub fn route_to_pods(worker: &Settings) -> anyhow::Result<()> {
    let Some(pods) = worker.node_pod_cidr() else { return Ok(()) };
    let (pods, node) = (pods.to_string(), worker.node_ip.to_string());
    let output = Command::new("ip").args(["route", "replace", &pods, "via", &node]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot route {pods} to {}: {}", worker.node_name, said.trim());
    Ok(())
}

fn nft(script: &str) -> anyhow::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run nft")?;
    child.stdin.take().expect("stdin is piped").write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// kube-proxy's tables in this network namespace; it leaves them when it stops, as upstream's does.
const PROXY_TABLES: &[(&str, &str)] = &[("ip", "kube-proxy"), ("ip6", "kube-proxy")];

pub fn has_proxy_tables() -> bool {
    Command::new("nft")
        .args(["list", "tables"])
        .output()
        .is_ok_and(|o| String::from_utf8_lossy(&o.stdout).lines().any(|l| l.ends_with(" kube-proxy")))
}

/// Removes all that the cluster put into the network namespace. Returns what could not be removed.
pub fn remove(settings: &Settings) -> Vec<String> {
    let mut left = Vec::new();
    let own = settings.nft_table();
    for (family, table) in PROXY_TABLES.iter().copied().chain([("ip", own.as_str())]) {
        // Adding it first makes deleting safe to repeat.
        if let Err(error) = nft(&format!("table {family} {table} {{}}\ndelete table {family} {table}\n")) {
            left.push(format!("nftables table {family} {table}: {error:#}"));
        }
    }
    let bridge = settings.bridge();
    // Not by /sys/class/net: in another network namespace that still shows the first one's links.
    let ip_link = |verb: &str| {
        let output = Command::new("ip").args(["link", verb, "dev", &bridge]).output();
        output.is_ok_and(|o| o.status.success())
    };
    if ip_link("show") && !ip_link("delete") {
        left.push(format!("link {bridge}"));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    #[test]
    fn only_traffic_that_leaves_the_pods_is_masqueraded() {
        let own = "10.244.1.0/24".parse().unwrap();
        let alone = rules(&settings(), own);
        assert!(
            alone.contains("ip saddr 10.244.1.0/24 ip daddr != { 10.244.0.0/16, 224.0.0.0/4 } masquerade"),
            "{alone}"
        );
        assert_eq!(alone.matches(&settings().nft_table()).count(), 3);
        assert!(!alone.contains("198.18"), "{alone}");
        assert!(rules(&Settings { workers: 1, ..settings() }, own).contains("ip saddr 198.18.0.0/15 "));
    }
}
