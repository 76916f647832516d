//! Pods: what controllers decide by.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use api_types::core::v1::pod::demand::{PodResources, of_running};
use api_types::core::v1::{
    ConditionStatus, NodeSelectorOperator, Pod, PodCondition, PodConditionType, PodPhase, PodResourceClaim,
    PodSpec, Toleration, Volume,
};
use api_types::kind::Resource as _;
use client::Key;
use client::informer::{Index, Projection};
use jiff::Timestamp;

use super::Owner;
use super::job_pod::JobFacts;

/// A pod's facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodFacts {
    pub uid: Box<str>,
    pub labels: BTreeMap<String, String>,
    pub created: Timestamp,
    /// When it is to be gone, grace included.
    pub deleting: Option<Timestamp>,
    pub owner: Option<Owner>,
    /// Empty until it is scheduled.
    pub node: Box<str>,
    /// The only node that it may be scheduled to, of a pod that waits for that.
    pub intended: Option<Box<str>>,
    pub phase: PodPhase,
    /// Since when it is ready.
    pub ready: Option<Timestamp>,
    pub ips: Vec<Box<str>>,
    /// Of all containers, for named target ports.
    pub ports: Vec<NamedPort>,
    pub hostname: Box<str>,
    pub subdomain: Box<str>,
    /// Most restarts of any container.
    pub restarts: i32,
    /// `controller.kubernetes.io/pod-deletion-cost`.
    pub deletion_cost: i32,
    pub tolerations: Vec<Toleration>,
    /// Its claims to volumes.
    pub claims: Box<[Claim]>,
    /// Disks that stand in the pod itself and are to be attached.
    pub disks: Box<[Disk]>,
    /// Its claims to devices, of a pod that has any.
    pub devices: Option<Box<DeviceClaims>>,
    /// Why it is being disrupted, as its condition `DisruptionTarget` says.
    pub disruption: Option<Box<Disruption>>,
    /// What a Job goes by, of a pod that a Job has or counts.
    pub job: Option<Box<JobFacts>>,
    /// Whether the kubelet's conditions say that the pod is ready although it is not, as after a
    /// node was lost: these need the condition set to false.
    pub ready_condition: bool,
    /// A digest of what quotas go by beside the phase and may change: whether the pod has a deadline, what its
    /// containers ask for and hold. Two that are equal by chance cost no more than a sum that comes late.
    pub counted: u64,
}

/// A claim that a pod mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The pod's volume.
    pub volume: Box<str>,
    /// The PersistentVolumeClaim.
    pub name: Box<str>,
    /// Made for the pod and of its own lifetime.
    pub ephemeral: bool,
}

/// A volume of a pod that is a disk to be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The pod's volume.
    pub volume: Box<str>,
    /// Its name in the status of nodes.
    pub name: Box<str>,
}

/// A pod's claims to devices (KEP-4381).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClaims {
    pub entries: Box<[DeviceClaim]>,
    /// The ResourceClaim behind its extended resources (KEP-5004).
    pub extended: Option<Box<str>>,
}

/// An entry of a pod's `resourceClaims`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceClaim {
    pub name: Box<str>,
    /// The template that its ResourceClaim is made from; none for one that the user makes.
    pub template: Option<Box<str>>,
    pub claim: MadeClaim,
}

/// What stands for an entry of a pod's `resourceClaims`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MadeClaim {
    /// The pod's status does not say yet.
    Unknown,
    /// The pod's status says that it needs none.
    None,
    /// A ResourceClaim of this name.
    Named(Box<str>),
}

impl DeviceClaims {
    fn of(pod: &Pod) -> Option<Box<Self>> {
        let extended = pod.status.extended_resource_claim_status.as_ref();
        if pod.spec.resource_claims.is_empty() && extended.is_none() {
            return None;
        }
        let entry = |entry: &PodResourceClaim| {
            let statuses = &pod.status.resource_claim_statuses;
            let claim = match (&entry.resource_claim_name, statuses.iter().find(|s| s.name == entry.name)) {
                (Some(name), _) => MadeClaim::Named(name.as_str().into()),
                (None, None) => MadeClaim::Unknown,
                (None, Some(status)) => match &status.resource_claim_name {
                    None => MadeClaim::None,
                    Some(name) => MadeClaim::Named(name.as_str().into()),
                },
            };
            let template = match entry.resource_claim_name {
                Some(_) => None,
                None => entry.resource_claim_template_name.as_deref().map(Into::into),
            };
            DeviceClaim { name: entry.name.as_str().into(), template, claim }
        };
        Some(Box::new(Self {
            entries: pod.spec.resource_claims.iter().map(entry).collect(),
            extended: extended.map(|status| status.resource_claim_name.as_str().into()),
        }))
    }

    /// Names of the ResourceClaims that are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(DeviceClaim::made).chain(self.extended.as_deref())
    }
}

impl DeviceClaim {
    /// Name of its ResourceClaim, if there is one.
    pub fn made(&self) -> Option<&str> {
        match &self.claim {
            MadeClaim::Named(name) => Some(name),
            MadeClaim::Unknown | MadeClaim::None => None,
        }
    }
}

/// A pod's condition `DisruptionTarget`.
#[derive(Clone, Debug, PartialEq)]
pub struct Disruption {
    pub holds: bool,
    pub reason: Box<str>,
    pub since: Option<Timestamp>,
}

/// A container's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    pub name: Box<str>,
    pub protocol: Box<str>,
    pub port: i32,
}

impl PodFacts {
    /// Runs or will run: neither finished nor being deleted.
    pub fn is_active(&self) -> bool {
        !self.is_finished() && self.deleting.is_none()
    }

    pub fn is_finished(&self) -> bool {
        matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// Runs nothing and never will: finished, or deleted before it had a node.
    pub fn is_done(&self) -> bool {
        self.is_finished() || (self.deleting.is_some() && self.node.is_empty())
    }

    /// Ready for at least this many seconds.
    pub fn is_available(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        self.ready.is_some_and(|since| {
            min_ready_seconds == 0 || since.as_second() + i64::from(min_ready_seconds) <= now.as_second()
        })
    }
}

/// The node that a pod names by its affinity, as DaemonSets' pods do until they are scheduled.
fn intended(spec: &PodSpec) -> Option<Box<str>> {
    if !spec.node_name.is_empty() {
        return None;
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let names = terms.iter().flat_map(|term| &term.match_fields);
    let mut names =
        names.filter(|field| field.key == "metadata.name" && field.operator == NodeSelectorOperator::In);
    match names.next()?.values.as_slice() {
        [name] => Some(name.as_str().into()),
        _ => None,
    }
}

fn claims(pod: &str, volumes: &[Volume]) -> Box<[Claim]> {
    let claim = |volume: &Volume| {
        let (name, ephemeral) = match (&volume.source.persistent_volume_claim, &volume.source.ephemeral) {
            (Some(claim), _) => (claim.claim_name.as_str().into(), false),
            (None, Some(_)) => (format!("{pod}-{}", volume.name).into(), true),
            (None, None) => return None,
        };
        Some(Claim { volume: volume.name.as_str().into(), name, ephemeral })
    };
    volumes.iter().filter_map(claim).collect()
}

fn disks(volumes: &[Volume]) -> Box<[Disk]> {
    let disk = |volume: &Volume| {
        let name = crate::controllers::volume::attach::disk_of(&volume.source)?;
        Some(Disk { volume: volume.name.as_str().into(), name: name.into() })
    };
    volumes.iter().filter_map(disk).collect()
}

fn disruption(conditions: &[PodCondition]) -> Option<Box<Disruption>> {
    let condition = conditions.iter().find(|c| c.type_ == PodConditionType::DisruptionTarget)?;
    Some(Box::new(Disruption {
        holds: condition.status == ConditionStatus::True,
        reason: condition.reason.as_str().into(),
        since: condition.last_transition_time.map(|t| t.0),
    }))
}

fn counted(pod: &Pod) -> u64 {
    let mut digest = DefaultHasher::new();
    pod.spec.active_deadline_seconds.is_some().hash(&mut digest);
    for side in [PodResources::Requests, PodResources::Limits] {
        for (name, amount) in of_running(pod, side) {
            (name, amount.to_string()).hash(&mut digest);
        }
        side.hash(&mut digest);
    }
    digest.finish()
}

impl Projection for PodFacts {
    type Source = Pod;

    fn project(pod: Pod) -> Option<Self> {
        let ready = pod.status.conditions.iter().find(|c| c.type_ == PodConditionType::Ready);
        let ready = ready.filter(|c| c.status == ConditionStatus::True);
        let meta = pod.metadata();
        let ips = if pod.status.pod_ips.is_empty() && !pod.status.pod_ip.is_empty() {
            vec![pod.status.pod_ip.as_str().into()]
        } else {
            pod.status.pod_ips.iter().map(|p| p.ip.as_str().into()).collect()
        };
        let sidecars = pod
            .spec
            .init_containers
            .iter()
            .filter(|c| c.restart_policy.as_ref().is_some_and(|p| *p == "Always"));
        let ports = pod
            .spec
            .containers
            .iter()
            .chain(sidecars)
            .flat_map(|c| &c.ports)
            .filter(|p| !p.name.is_empty())
            .map(|p| NamedPort {
                name: p.name.as_str().into(),
                protocol: p.protocol.as_str().into(),
                port: p.container_port,
            })
            .collect();
        let statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
        Some(Self {
            uid: meta.uid.as_str().into(),
            created: meta.creation_timestamp.map(|t| t.0).unwrap_or_default(),
            deleting: meta.deletion_timestamp.map(|t| t.0),
            owner: Owner::of(meta),
            ready: ready.map(|c| c.last_transition_time.map(|t| t.0).unwrap_or_default()),
            ready_condition: ready.is_some(),
            ips,
            ports,
            restarts: statuses.map(|s| s.restart_count).max().unwrap_or(0),
            deletion_cost: meta
                .annotations
                .get("controller.kubernetes.io/pod-deletion-cost")
                .and_then(|c| c.parse().ok())
                .unwrap_or(0),
            node: pod.spec.node_name.as_str().into(),
            hostname: pod.spec.hostname.as_str().into(),
            subdomain: pod.spec.subdomain.as_str().into(),
            phase: pod.status.phase.clone(),
            job: JobFacts::of(&pod),
            disruption: disruption(&pod.status.conditions),
            claims: claims(&pod.metadata.name, &pod.spec.volumes),
            disks: disks(&pod.spec.volumes),
            devices: DeviceClaims::of(&pod),
            intended: intended(&pod.spec),
            counted: counted(&pod),
            labels: pod.metadata.labels,
            tolerations: pod.spec.tolerations,
        })
    }

    fn indexes() -> &'static [Index<Self>] {
        const {
            &[
                Index {
                    name: "owner",
                    values: |_: &Key, pod: &Self, out| {
                        out.extend(pod.owner.as_ref().map(|o| o.uid.to_string()));
                    },
                },
                Index {
                    name: "orphans",
                    values: |key: &Key, pod: &Self, out| {
                        if pod.owner.is_none() {
                            out.push(key.namespace.to_string());
                        }
                    },
                },
                Index {
                    name: "claim",
                    values: |key: &Key, pod: &Self, out| {
                        out.extend(
                            pod.claims.iter().map(|claim| format!("{}/{}", key.namespace, claim.name)),
                        );
                    },
                },
                Index {
                    name: "resource claim",
                    values: |key: &Key, pod: &Self, out| {
                        let names = pod.devices.iter().flat_map(|devices| devices.names());
                        out.extend(names.map(|name| format!("{}/{name}", key.namespace)));
                    },
                },
                Index {
                    name: "claim template",
                    values: |key: &Key, pod: &Self, out| {
                        let entries = pod.devices.iter().flat_map(|devices| &devices.entries);
                        let templates = entries.filter_map(|entry| entry.template.as_deref());
                        out.extend(templates.map(|name| format!("{}/{name}", key.namespace)));
                    },
                },
                Index {
                    name: "node",
                    values: |_: &Key, pod: &Self, out| {
                        if !pod.node.is_empty() {
                            out.push(pod.node.to_string());
                        }
                    },
                },
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod that was given a deadline, or other resources, is in other quotas or counts otherwise.
    #[test]
    fn what_quotas_count_by_is_told_apart() {
        let mut pod = Pod::default();
        pod.spec.containers.push(Default::default());
        let digest = |pod: &Pod| PodFacts::project(pod.clone()).unwrap().counted;
        let before = digest(&pod);
        pod.metadata.labels.insert("a".into(), "b".into());
        assert_eq!(digest(&pod), before);
        pod.spec.active_deadline_seconds = Some(3600);
        let with_deadline = digest(&pod);
        assert_ne!(with_deadline, before);
        let half = "500m".parse().unwrap();
        pod.spec.containers[0].resources.requests.insert("cpu".into(), half);
        let asking = digest(&pod);
        assert_ne!(asking, with_deadline);
        pod.spec.containers[0].resources.limits.insert("cpu".into(), half);
        assert_ne!(digest(&pod), asking);
    }
}
