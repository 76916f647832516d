//! `PodView`: the part of a pod that scheduling decides by. The informer keeps this and not the pod.
//!
//! Everything that can be computed once is computed here, when the pod arrives: requests, host
//! ports, compiled selectors. A view is shared and never changed; a new version is a new view.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::{
    Pod, PodCondition, PodConditionType, PodPhase, PreemptionPolicy, Protocol, Toleration, VolumeSource,
};
use api_types::meta::v1::ConditionStatus;
use jiff::Timestamp;

use crate::devices;
use crate::pod_affinity::PodAffinityTerms;
use crate::resources::PodRequests;
use crate::spread::SpreadConstraint;
use api_types::core::v1::node::selection::{NodeSelection, PreferredTerm};

/// A port that a pod takes of its node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// `0.0.0.0` stands for every address.
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// Whether two pods with these ports cannot share a node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |p: &Self| p.ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(self) || any(other))
    }
}

/// A claim that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimUse {
    pub name: String,
    /// Made for the pod, of a volume's template.
    pub ephemeral: bool,
}

/// An entry of a pod's resourceClaims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceClaimUse {
    pub name: String,
    pub source: ClaimSource,
}

/// The claim that an entry stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimSource {
    /// Made by somebody.
    Named(String),
    /// Made for the pod, of a template; `None` when none is needed.
    Made(Option<String>),
    /// To be made for the pod.
    Missing,
    /// The entry says it in a way that is not known.
    Unknown,
}

/// A container's requests, for resources that devices may stand behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerAsk {
    pub name: String,
    /// An init container that ends before the others start.
    pub is_short: bool,
    /// Name and whole amount, and the name's place among all that the container requests.
    pub resources: Vec<(String, i64, usize)>,
}

/// A disk that a pod names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    Gce { name: String, read_only: bool },
    Aws { id: String },
    Iscsi { iqn: String, read_only: bool },
    Rbd { monitors: Vec<String>, pool: String, image: String, read_only: bool },
}

impl Disk {
    fn of(source: &VolumeSource) -> Option<Self> {
        Some(match source {
            VolumeSource { gce_persistent_disk: Some(disk), .. } => {
                Self::Gce { name: disk.pd_name.clone(), read_only: disk.read_only }
            }
            VolumeSource { aws_elastic_block_store: Some(disk), .. } => {
                Self::Aws { id: disk.volume_id.clone() }
            }
            VolumeSource { iscsi: Some(disk), .. } => {
                Self::Iscsi { iqn: disk.iqn.clone(), read_only: disk.read_only }
            }
            VolumeSource { rbd: Some(disk), .. } => Self::Rbd {
                monitors: disk.monitors.clone(),
                pool: disk.pool.clone(),
                image: disk.image.clone(),
                read_only: disk.read_only,
            },
            _ => return None,
        })
    }

    /// Whether pods with these two cannot share a node.
    pub fn conflicts(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Gce { name: a, read_only: ra }, Self::Gce { name: b, read_only: rb })
            | (Self::Iscsi { iqn: a, read_only: ra }, Self::Iscsi { iqn: b, read_only: rb }) => {
                a == b && !(*ra && *rb)
            }
            (Self::Aws { id: a }, Self::Aws { id: b }) => a == b,
            (
                Self::Rbd { monitors, pool, image, read_only },
                Self::Rbd { monitors: others, pool: pool2, image: image2, read_only: too },
            ) => {
                let shared = monitors.iter().any(|m| others.contains(m));
                shared && pool == pool2 && image == image2 && !(*read_only && *too)
            }
            _ => false,
        }
    }
}

/// What scheduling decides by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodView {
    pub namespace: Arc<str>,
    pub name: String,
    pub uid: Arc<str>,
    pub resource_version: String,
    pub generation: i64,
    pub labels: BTreeMap<String, String>,
    pub created: Timestamp,
    pub deleting: bool,
    /// Succeeded or Failed: it uses nothing any more.
    pub finished: bool,

    pub node_name: Arc<str>,
    pub nominated_node: Arc<str>,
    pub scheduler_name: Arc<str>,
    pub priority: i32,
    pub may_preempt: bool,
    pub start_time: Option<Timestamp>,
    /// Being deleted because this or another scheduler preempted it.
    pub terminating_by_preemption: bool,
    /// The condition PodScheduled as last seen.
    pub scheduled: Option<Box<PodCondition>>,

    pub requests: PodRequests,
    pub ports: Vec<HostPort>,
    pub tolerations: Vec<Toleration>,
    pub gates: Vec<String>,
    /// nodeSelector and required node affinity; `None` when there is neither.
    pub selection: Option<Box<NodeSelection>>,
    pub preferred_nodes: Vec<PreferredTerm>,
    pub affinity: Option<Box<PodAffinityTerms>>,
    pub spread: Vec<SpreadConstraint>,
    /// Images, with tag, of init containers, containers and image volumes.
    pub images: Vec<String>,
    pub containers: usize,
    /// Claims for storage.
    pub volume_claims: Vec<ClaimUse>,
    /// Disks that the pod names itself, which only so many can share.
    pub disks: Vec<Disk>,
    /// Claims for devices.
    pub device_claims: Vec<DeviceClaimUse>,
    /// All containers, init containers first, if one of them asks for such a resource.
    pub extended: Vec<ContainerAsk>,
}

impl PodView {
    pub fn of(pod: &Pod) -> Self {
        let (meta, spec, status) = (&pod.metadata, &pod.spec, &pod.status);
        let condition = |wanted: PodConditionType| status.conditions.iter().find(|c| c.type_ == wanted);
        let deleting = meta.deletion_timestamp.is_some();
        let affinity = spec.affinity.as_deref();
        Self {
            namespace: meta.namespace.as_str().into(),
            name: meta.name.clone(),
            uid: meta.uid.as_str().into(),
            resource_version: meta.resource_version.clone(),
            generation: meta.generation,
            labels: meta.labels.clone(),
            created: meta.creation_timestamp.map(|t| t.0).unwrap_or_default(),
            deleting,
            finished: matches!(status.phase, PodPhase::Succeeded | PodPhase::Failed),
            node_name: spec.node_name.as_str().into(),
            nominated_node: status.nominated_node_name.as_str().into(),
            scheduler_name: spec.scheduler_name.as_str().into(),
            priority: spec.priority.unwrap_or(0),
            may_preempt: spec.preemption_policy != Some(PreemptionPolicy::Never),
            start_time: status.start_time.map(|t| t.0),
            terminating_by_preemption: deleting
                && condition(PodConditionType::DisruptionTarget).is_some_and(|c| {
                    c.status == ConditionStatus::True && c.reason == "PreemptionByScheduler"
                }),
            scheduled: condition(PodConditionType::PodScheduled).cloned().map(Box::new),
            requests: PodRequests::of(spec),
            ports: host_ports(pod),
            tolerations: spec.tolerations.clone(),
            gates: spec.scheduling_gates.iter().map(|g| g.name.clone()).collect(),
            selection: NodeSelection::of(spec).map(Box::new),
            preferred_nodes: PreferredTerm::all(affinity.and_then(|a| a.node_affinity.as_deref())),
            affinity: PodAffinityTerms::of(pod).map(Box::new),
            spread: SpreadConstraint::all(pod),
            images: images(pod),
            containers: spec.containers.len() + spec.init_containers.len(),
            volume_claims: volume_claims(pod),
            disks: pod.spec.volumes.iter().filter_map(|v| Disk::of(&v.source)).collect(),
            device_claims: device_claims(pod),
            extended: extended(pod),
        }
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its place in the server's history.
    pub fn revision(&self) -> u64 {
        self.resource_version.parse().unwrap_or(0)
    }

    /// `namespace/name` of a claim in the pod's namespace.
    pub fn claim_key(&self, claim: &str) -> String {
        format!("{}/{claim}", self.namespace)
    }

    pub fn is_assigned(&self) -> bool {
        !self.node_name.is_empty()
    }

    /// Whether the other version asks for something else. What schedulers and kubelets report of a
    /// pod, our own conditions among it, is no reason to try it again.
    pub fn asks_otherwise(&self, other: &Self) -> bool {
        let request = |pod: &Self| Self {
            resource_version: String::new(),
            generation: 0,
            scheduled: None,
            nominated_node: Arc::default(),
            start_time: None,
            terminating_by_preemption: false,
            ..pod.clone()
        };
        request(self) != request(other)
    }

    /// Whether preemption takes `other` before this one: higher priority first, then the longer running.
    pub fn more_important_than(&self, other: &Self) -> bool {
        let started = |p: &Self| p.start_time.unwrap_or(Timestamp::MAX);
        (other.priority, started(self)) < (self.priority, started(other))
    }
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let sidecars = pod
        .spec
        .init_containers
        .iter()
        .filter(|c| c.restart_policy.as_ref().is_some_and(|p| p.as_str() == "Always"));
    pod.spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| &c.ports)
        .filter(|p| p.host_port > 0)
        .map(|p| HostPort {
            ip: if p.host_ip.is_empty() { "0.0.0.0".into() } else { p.host_ip.clone() },
            protocol: if p.protocol.is_unset() { Protocol::Tcp } else { p.protocol.clone() }.to_string(),
            port: p.host_port,
        })
        .collect()
}

fn images(pod: &Pod) -> Vec<String> {
    let spec = &pod.spec;
    let containers = spec.init_containers.iter().chain(&spec.containers).map(|c| c.image.as_str());
    let volumes = spec.volumes.iter().filter_map(|v| v.source.image.as_ref()).map(|i| i.reference.as_str());
    containers.chain(volumes).map(with_tag).collect()
}

/// `nginx` → `nginx:latest`: nodes report images with their tags.
pub fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') { image.to_owned() } else { format!("{image}:latest") }
}

fn volume_claims(pod: &Pod) -> Vec<ClaimUse> {
    let claim = |volume: &api_types::core::v1::Volume| match &volume.source {
        VolumeSource { persistent_volume_claim: Some(claim), .. } => {
            Some(ClaimUse { name: claim.claim_name.clone(), ephemeral: false })
        }
        VolumeSource { ephemeral: Some(_), .. } => {
            Some(ClaimUse { name: format!("{}-{}", pod.metadata.name, volume.name), ephemeral: true })
        }
        _ => None,
    };
    pod.spec.volumes.iter().filter_map(claim).collect()
}

fn device_claims(pod: &Pod) -> Vec<DeviceClaimUse> {
    let made = |name: &str| pod.status.resource_claim_statuses.iter().find(|s| s.name == name);
    let of = |entry: &api_types::core::v1::PodResourceClaim| {
        let source = match (&entry.resource_claim_name, &entry.resource_claim_template_name) {
            (Some(name), _) => ClaimSource::Named(name.clone()),
            (None, Some(_)) => made(&entry.name)
                .map_or(ClaimSource::Missing, |status| ClaimSource::Made(status.resource_claim_name.clone())),
            (None, None) => ClaimSource::Unknown,
        };
        DeviceClaimUse { name: entry.name.clone(), source }
    };
    pod.spec.resource_claims.iter().map(of).collect()
}

fn extended(pod: &Pod) -> Vec<ContainerAsk> {
    let spec = &pod.spec;
    let init = spec.init_containers.iter().map(|c| {
        let lasts = c.restart_policy.as_ref().is_some_and(|p| p.as_str() == "Always");
        (c, !lasts)
    });
    let ask = |(container, is_short): (&api_types::core::v1::Container, bool)| {
        let requests = container.resources.requests.iter().enumerate();
        let resources = requests
            .filter(|(_, (name, amount))| devices::can_back(name) && amount.is_whole())
            .map(|(place, (name, amount))| (name.clone(), amount.value(), place));
        ContainerAsk { name: container.name.clone(), is_short, resources: resources.collect() }
    };
    let all: Vec<ContainerAsk> = init.chain(spec.containers.iter().map(|c| (c, false))).map(ask).collect();
    if all.iter().all(|own| own.resources.is_empty()) { Vec::new() } else { all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_conflict_on_the_same_or_any_address() {
        let port =
            |ip: &str, protocol: &str, port| HostPort { ip: ip.into(), protocol: protocol.into(), port };
        assert!(port("0.0.0.0", "TCP", 80).conflicts(&port("10.0.0.1", "TCP", 80)));
        assert!(port("10.0.0.1", "TCP", 80).conflicts(&port("10.0.0.1", "TCP", 80)));
        assert!(!port("10.0.0.1", "TCP", 80).conflicts(&port("10.0.0.2", "TCP", 80)));
        assert!(!port("0.0.0.0", "TCP", 80).conflicts(&port("0.0.0.0", "UDP", 80)));
        assert!(!port("0.0.0.0", "TCP", 80).conflicts(&port("0.0.0.0", "TCP", 81)));
    }

    #[test]
    fn untagged_images_mean_latest() {
        assert_eq!(with_tag("nginx"), "nginx:latest");
        assert_eq!(with_tag("host:5000/nginx"), "host:5000/nginx:latest");
        assert_eq!(with_tag("host:5000/nginx:1"), "host:5000/nginx:1");
    }
}
