//! node-ipam-controller: gives each node its ranges of pod addresses out of the cluster's.
//!
//! A range is taken as soon as it is decided on, before any cache shows it, so that two nodes never
//! get the same; there is one worker.

mod plan;
mod ranges;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use client::Key;
use client::controller::{Controller, Failure, Hands, Plan, Wake};
use client::informer::Caches;
use ipnet::IpNet;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::cached::NodeFacts;
use crate::flags::Flags;
pub use plan::{Assign, View};
use ranges::Ranges;

/// See the module. Its keys are nodes.
#[derive(Debug)]
pub struct NodeIpam {
    /// One a family.
    ranges: Vec<Ranges>,
    /// What was given away and may not be in the cache yet.
    given: Mutex<HashMap<String, Vec<IpNet>>>,
}

impl NodeIpam {
    /// # Errors
    /// Names the flag that cannot be used.
    pub fn new(flags: &Flags) -> anyhow::Result<Self> {
        let parse = |flag: &str, text: &str| -> anyhow::Result<Vec<IpNet>> {
            let nets = text.split(',').map(|net| net.trim().parse::<IpNet>());
            nets.collect::<Result<_, _>>().with_context(|| format!("{flag}={text}: not a list of CIDRs"))
        };
        let cluster = parse("--cluster-cidr", flags.cluster_cidr.as_deref().unwrap_or_default())?;
        let services = match &flags.service_cluster_ip_range {
            Some(text) => parse("--service-cluster-ip-range", text)?,
            None => Vec::new(),
        };
        anyhow::ensure!(
            cluster.len() <= 2
                && (cluster.len() < 2 || cluster[0].addr().is_ipv4() != cluster[1].addr().is_ipv4()),
            "--cluster-cidr: one range, or one of each family"
        );
        let ranges = cluster.into_iter().map(|net| {
            let (flag, size) = match (net.addr().is_ipv4(), flags.node_cidr_mask_size) {
                (true, Some(size)) => ("--node-cidr-mask-size", size),
                (true, None) => ("--node-cidr-mask-size-ipv4", flags.node_cidr_mask_size_ipv4.unwrap_or(24)),
                (false, _) => ("--node-cidr-mask-size-ipv6", flags.node_cidr_mask_size_ipv6.unwrap_or(64)),
            };
            Ranges::new(net, size, &services).with_context(|| format!("{flag}={size}"))
        });
        Ok(Self { ranges: ranges.collect::<anyhow::Result<_>>()?, given: Mutex::default() })
    }
}

impl Controller for NodeIpam {
    const NAME: &'static str = "node-ipam-controller";
    const QUEUE: &'static str = "cidrallocator_node";
    type View = View;
    type Own = Assign;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![Wake::itself::<NodeFacts>()]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let nodes = caches.store::<NodeFacts>();
        let mut given = self.given.lock();
        let Some(node) = nodes.get(key) else {
            given.remove(&*key.name);
            return None;
        };
        if !node.pod_cidrs.is_empty() {
            given.remove(&*key.name);
            return None;
        }
        let known = nodes.all().into_iter().flat_map(|(_, node)| node.pod_cidrs.clone());
        let mut used: Vec<IpNet> = known.filter_map(|cidr| cidr.parse().ok()).collect();
        used.extend(given.iter().filter(|(name, _)| **name != *key.name).flat_map(|(_, nets)| nets.clone()));
        Some(View { key: key.clone(), uid: node.uid.clone(), ranges: self.ranges.clone(), used })
    }

    fn plan(view: &View, _: Timestamp) -> Plan<Assign> {
        plan::plan(view)
    }

    async fn perform(&self, assign: Assign, hands: &Hands) -> Result<Option<Duration>, Failure> {
        self.given.lock().insert(assign.key.name.to_string(), assign.nets.clone());
        let failures = hands.all(plan::write(&assign)).await.failures;
        failures.into_iter().next().map_or(Ok(None), Err)
    }
}
