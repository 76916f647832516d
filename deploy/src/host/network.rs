//! The node's own packet rule and links: pods reach the outside under the node's address.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::settings::Settings;

/// The table with the masquerading rule. Services' rules are kube-proxy's and in tables of its own.
fn rules(settings: &Settings) -> String {
    let (table, pods) = (settings.nft_table(), settings.node_pod_cidr());
    format!(
        "table ip {table} {{}}
delete table ip {table}
table ip {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {pods} ip daddr != {{ {pods}, 224.0.0.0/4 }} masquerade
  }}
}}
"
    )
}

pub fn ensure_rules(settings: &Settings) -> anyhow::Result<()> {
    nft(&rules(settings)).context("cannot set the node's nftables rule")
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
        let rules = rules(&settings());
        assert!(
            rules.contains("ip saddr 10.244.0.0/24 ip daddr != { 10.244.0.0/24, 224.0.0.0/4 } masquerade"),
            "{rules}"
        );
        assert_eq!(rules.matches(&settings().nft_table()).count(), 3);
    }
}
