//! The loop: waits for changes, plans both families' tables, applies them, then tells health checks
//! and cleans the connection table. At most one sync in each `minSyncPeriod`; the first change after
//! a quiet time is synced at once. Errors are retried; a table that somebody flushed is made anew.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use daemon::clock::SharedClock;
use daemon::logging::error_chain;
use daemon::shutdown::Shutdown;
use ipnet::IpNet;

use crate::backend::nftables::apply::{Applied, STALE_FOR, Table};
use crate::backend::nftables::plan::{self, LocalTraffic, NodePortAddresses, Settings};
use crate::changes::{Changes, Collected, NodeView};
use crate::config::LocalMode;
use crate::conntrack::{self, UdpTargets};
use crate::health::{Health, ServiceChecks, checked};
use crate::metrics::metrics;
use crate::state::Family;

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Fixed {
    pub node: String,
    /// The node's address, when configured.
    pub bind_ip: Option<IpAddr>,
    /// `None`: the node's primary addresses.
    pub node_ports: Option<Vec<IpNet>>,
    pub local: LocalMode,
    pub masquerade_all: bool,
    pub masquerade_bit: u8,
    pub sync_period: Duration,
    pub min_sync_period: Duration,
}

impl Fixed {
    /// The settings for a family, given our node and the addresses of this machine. Pure.
    fn settings(&self, family: Family, node: Option<&NodeView>, own: &[IpAddr]) -> Settings {
        let addresses = node.map_or(&[][..], |n| n.addresses.as_slice());
        let candidates = self.bind_ip.iter().chain(addresses);
        let node_ip = candidates.copied().find(|ip| Family::of(*ip) == family);
        let node_ports = match &self.node_ports {
            None => NodePortAddresses::These(node_ip.into_iter().collect()),
            Some(networks) => {
                let mut networks = networks.iter().filter(|n| Family::of(n.addr()) == family).peekable();
                // COMPAT: networks of the other family only leave this one unrestricted.
                if networks.peek().is_none() || networks.clone().any(|n| n.prefix_len() == 0) {
                    NodePortAddresses::All
                } else {
                    let networks: Vec<_> = networks.collect();
                    let inside = |ip: &IpAddr| networks.iter().any(|n| n.contains(ip));
                    NodePortAddresses::These(own.iter().copied().filter(inside).collect())
                }
            }
        };
        let local = match &self.local {
            LocalMode::Known(local) => local.clone(),
            LocalMode::NodeCidr => LocalTraffic::From(node.map(|n| n.pod_cidrs.clone()).unwrap_or_default()),
        };
        Settings {
            node: self.node.clone(),
            zone: node.map(|n| n.zone.clone()).unwrap_or_default(),
            node_ip,
            node_ports,
            masquerade_all: self.masquerade_all,
            masquerade_bit: self.masquerade_bit,
            local,
        }
    }
}

/// The proxy at work.
pub struct Proxy {
    fixed: Fixed,
    changes: Arc<Changes>,
    health: Arc<Health>,
    clock: SharedClock,
    /// One for each family that the kernel supports.
    tables: BTreeMap<Family, (Table, UdpTargets)>,
    checks: ServiceChecks,
}

impl Proxy {
    /// Forwards in the given families.
    pub fn new(
        fixed: Fixed,
        families: Vec<Family>,
        changes: Arc<Changes>,
        health: Arc<Health>,
        clock: SharedClock,
    ) -> Self {
        let tables = families.into_iter().map(|f| (f, (Table::new(f), UdpTargets::default()))).collect();
        Self { fixed, changes, health, clock, tables, checks: ServiceChecks::default() }
    }

    /// Syncs until shutdown. The caches have been filled once.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut again = true;
        loop {
            if again {
                let started = self.clock.monotonic();
                let ok = self.sync(&shutdown).await;
                again = !ok;
                let pause = if ok {
                    self.fixed.min_sync_period
                } else {
                    self.fixed.min_sync_period.max(Duration::from_secs(1))
                };
                let rest = pause.saturating_sub(self.clock.monotonic() - started);
                if shutdown.unless(self.clock.sleep(rest)).await.is_none() {
                    return;
                }
                continue;
            }
            // Chains wait to be deleted: look again soon, even if nothing happens.
            let stale = self.tables.values().any(|(t, _)| t.has_stale());
            let pause = if stale { STALE_FOR } else { self.fixed.sync_period };
            tokio::select! {
                () = shutdown.wait() => return,
                () = self.changes.changed() => again = true,
                () = self.clock.sleep(pause) => again = stale || !self.all_there().await,
            }
        }
    }

    async fn all_there(&mut self) -> bool {
        let mut all = true;
        for (table, _) in self.tables.values_mut() {
            if !table.check().await {
                tracing::warn!("The table kube-proxy is gone; making it anew");
                all = false;
            }
        }
        all
    }

    /// One sync of both families. False when something failed.
    async fn sync(&mut self, shutdown: &Shutdown) -> bool {
        let Collected { families, node, triggers } = self.changes.collect(&self.fixed.node);
        let own = if self.fixed.node_ports.is_some() { machine_addresses() } else { Vec::new() };
        let mut all_ok = true;
        for (family, services, endpoints) in &families {
            let (family, started) = (*family, self.clock.monotonic());
            let Some((table, targets)) = self.tables.get_mut(&family) else { continue };
            let settings = self.fixed.settings(family, node.as_deref(), &own);
            let (desired, counts) = plan::plan(family, services, endpoints, &settings);
            let applied = table.apply(desired, started).await;
            let label = [family.as_str()];
            let seconds = (self.clock.monotonic() - started).as_secs_f64();
            metrics().sync.with_label_values(&label).observe(seconds);
            let applied = match applied {
                Ok(applied) => applied,
                Err(error) => {
                    metrics().sync_failures.with_label_values(&label).inc();
                    let error = error_chain(&error);
                    tracing::error!(family = family.as_str(), error, "nftables sync failed");
                    all_ok = false;
                    continue;
                }
            };
            match applied {
                Applied::Full => metrics().full_sync.with_label_values(&label).observe(seconds),
                Applied::Partial => metrics().partial_sync.with_label_values(&label).observe(seconds),
                Applied::Nothing => {}
            }
            tracing::debug!(
                family = family.as_str(),
                services = services.len(),
                seconds,
                applied = format!("{applied:?}"),
                "SyncProxyRules complete"
            );
            for (_, at) in triggers.iter().filter(|(of, _)| *of == family) {
                let seconds = self.clock.now().duration_since(*at).as_secs_f64();
                metrics().network_programming.with_label_values(&label).observe(seconds);
            }
            metrics().last_sync.with_label_values(&label).set(self.clock.now().as_second() as f64);
            for (policy, count) in
                [("internal", counts.no_local_internal), ("external", counts.no_local_external)]
            {
                let gauge = metrics().no_local_endpoints.with_label_values(&[policy, family.as_str()]);
                gauge.set(count as i64);
            }
            self.health.updated(family);
            let now_served = UdpTargets::of(services, endpoints);
            if *targets != now_served {
                clean_conntrack(&self.clock, family, &now_served).await;
                *targets = now_served;
            }
        }
        if all_ok {
            self.checks.update(checked(&families), &self.health, shutdown).await;
        } else {
            self.changes.put_back();
        }
        all_ok
    }
}

async fn clean_conntrack(clock: &SharedClock, family: Family, targets: &UdpTargets) {
    let started = clock.monotonic();
    match conntrack::clean(family, targets).await {
        Ok(deleted) => {
            let label = [family.as_str()];
            metrics().conntrack_deleted.with_label_values(&label).inc_by(deleted as u64);
            let seconds = (clock.monotonic() - started).as_secs_f64();
            metrics().conntrack.with_label_values(&label).observe(seconds);
        }
        Err(error) => {
            let error = error_chain(&error);
            tracing::error!(family = family.as_str(), error, "Failed to clean stale UDP connections");
        }
    }
}

/// Addresses of all interfaces, as the kernel's tables below /proc show them.
fn machine_addresses() -> Vec<IpAddr> {
    let v4 = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let v6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut all = local_v4(&v4);
    all.extend(local_v6(&v6));
    all.sort();
    all.dedup();
    all
}

/// fib_trie: a leaf `|-- 192.0.2.1` followed by `/32 host LOCAL`.
fn local_v4(trie: &str) -> Vec<IpAddr> {
    let mut leaf: Option<IpAddr> = None;
    let mut all = Vec::new();
    for line in trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            leaf = address.trim().parse().ok();
        } else if line.contains("/32 host LOCAL") {
            all.extend(leaf);
        }
    }
    all
}

/// if_inet6: 32 hexadecimal digits, then other columns.
fn local_v6(table: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let bits = u128::from_str_radix(line.split_whitespace().next()?, 16).ok()?;
        Some(IpAddr::V6(bits.into()))
    };
    table.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(node_ports: Option<&[&str]>) -> Fixed {
        Fixed {
            node: "here".into(),
            bind_ip: None,
            node_ports: node_ports.map(|list| list.iter().map(|n| n.parse().unwrap()).collect()),
            local: LocalMode::NodeCidr,
            masquerade_all: false,
            masquerade_bit: 14,
            sync_period: Duration::from_secs(30),
            min_sync_period: Duration::from_secs(1),
        }
    }

    fn node() -> NodeView {
        NodeView {
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
            ..NodeView::default()
        }
    }

    #[test]
    fn node_ports_are_on_the_primary_address_unless_told_otherwise() {
        let own: Vec<IpAddr> = ["192.0.2.1", "10.0.0.5", "127.0.0.1"].map(|a| a.parse().unwrap()).into();
        let check = |node_ports: Option<&[&str]>, family, expected: Option<&[&str]>| {
            let got = fixed(node_ports).settings(family, Some(&node()), &own).node_ports;
            let expected = match expected {
                None => NodePortAddresses::All,
                Some(list) => NodePortAddresses::These(list.iter().map(|a| a.parse().unwrap()).collect()),
            };
            assert_eq!(got, expected);
        };
        check(None, Family::V4, Some(&["192.0.2.1"]));
        check(None, Family::V6, Some(&["2001:db8::1"]));
        check(Some(&["10.0.0.0/8"]), Family::V4, Some(&["10.0.0.5"]));
        check(Some(&["10.0.0.0/8"]), Family::V6, None);
        check(Some(&["0.0.0.0/0"]), Family::V4, None);
    }

    #[test]
    fn the_nodes_pod_networks_tell_local_traffic() {
        let settings = fixed(None).settings(Family::V4, Some(&node()), &[]);
        assert_eq!(settings.local, LocalTraffic::From(vec!["10.244.1.0/24".parse().unwrap()]));
    }

    #[test]
    fn addresses_are_read_from_the_kernels_tables() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 192.0.2.7\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        assert_eq!(local_v4(trie), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        let table = "20010db8000000000000000000000001 02 40 00 80     eth0\n";
        assert_eq!(local_v6(table), ["2001:db8::1".parse::<IpAddr>().unwrap()]);
    }
}
