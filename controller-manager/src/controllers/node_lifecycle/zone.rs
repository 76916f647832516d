//! Zones: how many of a zone's nodes are dark decides how fast pods leave them.

use std::collections::BTreeMap;
use std::time::Duration;

use api_types::core::v1::well_known::label;
use api_types::core::v1::{ConditionStatus, NodeConditionType};

use super::Limits;
use crate::cached::NodeFacts;

/// Region and zone of a node as one name; empty where it says neither.
pub fn name(labels: &BTreeMap<String, String>) -> String {
    let text = |key: &str| labels.get(key).map_or("", String::as_str);
    let (region, zone) = (text(label::REGION), text(label::ZONE));
    if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    ready: usize,
    dark: usize,
}

/// All zones with their nodes counted.
#[derive(Debug)]
pub struct Zones {
    counts: BTreeMap<String, Count>,
    limits: Limits,
}

impl Zones {
    pub fn of<'a>(nodes: impl Iterator<Item = &'a NodeFacts>, limits: &Limits) -> Self {
        let mut counts = BTreeMap::<String, Count>::new();
        for node in nodes {
            let count = counts.entry(name(&node.labels)).or_default();
            let ready = node.conditions.iter().find(|c| c.type_ == NodeConditionType::Ready);
            match ready.map(|c| &c.status) {
                Some(ConditionStatus::True) => count.ready += 1,
                Some(_) => count.dark += 1,
                None => {}
            }
        }
        Self { counts, limits: *limits }
    }

    /// Whether not one node of any zone is ready.
    pub fn all_dark(&self) -> bool {
        self.counts.values().all(|count| count.ready == 0 && count.dark > 0)
    }

    /// The time between two nodes of the zone that lose their pods; `None`: none loses them.
    pub fn evicting(&self, zone: &str) -> Option<Duration> {
        let Count { ready, dark } = self.counts.get(zone).copied().unwrap_or_default();
        let share = dark as f64 / (ready + dark).max(1) as f64;
        let partly_dark = ready > 0 && dark > 2 && share >= self.limits.unhealthy_zone;
        let rate = match partly_dark {
            false => self.limits.rate,
            true if ready + dark > self.limits.large_cluster => self.limits.secondary_rate,
            true => 0.0,
        };
        (rate > 0.0).then(|| Duration::from_secs_f64(1.0 / rate))
    }
}
