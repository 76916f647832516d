//! Extended resources that devices back (KEP-5004): a pod asks for `example.com/gpu: 2` as ever, a class says that it
//! stands for it, and on nodes without a device plugin for it the pod gets a claim of its own.
//!
//! The claim is one for the whole pod. What it asks for depends on the node, so that it exists in memory only until the
//! pod is bound; the pod's status then says which container has which of its requests. Pure.

use std::collections::{BTreeMap, BTreeSet};

use api_types::core::v1::ContainerExtendedResourceRequest;
use api_types::meta::v1::OwnerReference;
use api_types::resource::v1::{DeviceAllocationMode, DeviceRequest, ExactDeviceRequest, ResourceClaim};

use crate::devices::{self, Devices};
use crate::node::NodeView;
use crate::pod::{ContainerAsk, PodView};

/// The name of the claim in memory; no claim can have it.
pub const IN_MEMORY: &str = "<extended-resources>";
const ANNOTATION: &str = "resource.kubernetes.io/extended-resource-claim";

/// What a pod asks for that devices may back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// Amounts by resource, of those that can be devices at all.
    amounts: BTreeMap<String, i64>,
    /// The classes of those that have one.
    classes: BTreeMap<String, String>,
}

/// Resources of the pod that have a class: NodeResourcesFit leaves them to this plugin on nodes that have none of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delegated(pub BTreeSet<String>);

/// The claim for one node, and which container uses what of it.
#[derive(Clone, Debug, PartialEq)]
pub struct OnNode {
    pub claim: ResourceClaim,
    pub mappings: Vec<ContainerExtendedResourceRequest>,
}

/// What devices have to back of what a pod asks for; `None` when no class stands for any of it.
pub fn wishes(pod: &PodView, devices: &Devices) -> Option<Wishes> {
    let scalar = pod.requests.needed.scalar.iter();
    let amounts: BTreeMap<String, i64> = scalar
        .filter(|(name, amount)| **amount != 0 && devices::can_back(name))
        .map(|(name, amount)| (name.clone(), *amount))
        .collect();
    let class = |name: &String| Some((name.clone(), devices.class_of(name)?.metadata.name.clone()));
    let classes: BTreeMap<String, String> = amounts.keys().filter_map(class).collect();
    (!classes.is_empty()).then_some(Wishes { amounts, classes })
}

impl Wishes {
    pub fn delegated(&self) -> Delegated {
        Delegated(self.classes.keys().cloned().collect())
    }

    /// What `claim` asks for on the node; `None` when the node's device plugins have it all.
    ///
    /// # Errors
    /// In upstream's words, when the node can have it neither way.
    pub fn on(
        &self,
        claim: &ResourceClaim,
        pod: &PodView,
        node: &NodeView,
    ) -> Result<Option<OnNode>, &'static str> {
        let mut backed = BTreeMap::new();
        for name in self.amounts.keys() {
            let class = self.classes.get(name);
            match (class, node.allocatable.scalar.get(name).copied()) {
                (Some(class), None | Some(0)) => drop(backed.insert(name.as_str(), class.as_str())),
                (None, None) => return Err("cannot fit resource"),
                _ => {}
            }
        }
        if backed.is_empty() {
            return Ok(None);
        }
        let (requests, mappings) = requests(&pod.extended, &backed);
        let mut claim = claim.clone();
        claim.spec.devices.requests = requests;
        Ok(Some(OnNode { claim, mappings }))
    }
}

/// The pod's claim: as it is left from an attempt that failed, or in memory.
pub fn claim(pod: &PodView, devices: &Devices, uid: String) -> ResourceClaim {
    let is_own = |claim: &&std::sync::Arc<devices::Claim>| {
        claim.metadata.annotations.get(ANNOTATION).is_some_and(|value| value == "true")
            && claim.metadata.owner_references.iter().any(|owner| {
                owner.name == pod.name && owner.controller == Some(true) && *owner.uid == *pod.uid
            })
    };
    if let Some(left) = devices.claims().find(is_own) {
        return left.0.clone();
    }
    let mut claim = ResourceClaim::default();
    claim.metadata.namespace = pod.namespace.to_string();
    claim.metadata.name = IN_MEMORY.into();
    // By which what it gets is kept until it has one of its own.
    claim.metadata.uid = uid;
    claim.metadata.generate_name = format!("{}-extended-resources-", pod.name);
    claim.metadata.owner_references.push(OwnerReference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        name: pod.name.clone(),
        uid: pod.uid.to_string(),
        controller: Some(true),
        ..OwnerReference::default()
    });
    claim.metadata.annotations.insert(ANNOTATION.into(), "true".into());
    claim
}

/// Whether the claim is not at the apiserver yet.
pub fn is_in_memory(claim: &ResourceClaim) -> bool {
    claim.metadata.name == IN_MEMORY
}

/// The requests that back the resources, and which container has which: one for each container, but init containers
/// use what the containers after them have, and share what they need beyond that.
fn requests(
    containers: &[ContainerAsk],
    backed: &BTreeMap<&str, &str>,
) -> (Vec<DeviceRequest>, Vec<ContainerExtendedResourceRequest>) {
    let (mut all, mut mappings) = (Vec::new(), Vec::new());
    for (resource, class) in backed {
        let lasting: Vec<Option<DeviceRequest>> = containers
            .iter()
            .enumerate()
            .map(|(place, own)| if own.is_short { None } else { own.request(place, resource, class, 0) })
            .collect();
        for (own, request) in containers.iter().zip(&lasting) {
            mappings.extend(request.iter().map(|request| own.mapping(resource, &request.name)));
        }
        let mut shared: Option<DeviceRequest> = None;
        let mut short = Vec::new();
        for (place, own) in containers.iter().enumerate().filter(|(_, own)| own.is_short) {
            let Some((count, _)) = own.asked(resource) else { continue };
            let mut sum = 0;
            for request in lasting[place..].iter().flatten() {
                sum += amount(request);
                short.push((false, own.mapping(resource, &request.name)));
                if sum >= count {
                    break;
                }
            }
            let Some(request) = own.request(place, resource, class, sum) else { continue };
            short.push((true, own.mapping(resource, &request.name)));
            if shared.as_ref().is_none_or(|largest| amount(largest) < amount(&request)) {
                shared = Some(request);
            }
        }
        let largest = shared.as_ref().map(|request| request.name.clone());
        mappings.extend(short.into_iter().map(|(is_own, mut mapping)| {
            if let (true, Some(largest)) = (is_own, &largest) {
                mapping.request_name.clone_from(largest);
            }
            mapping
        }));
        all.extend(shared);
        all.extend(lasting.into_iter().flatten());
    }
    all.sort_by(|a: &DeviceRequest, b| a.name.cmp(&b.name));
    (all, mappings)
}

fn amount(request: &DeviceRequest) -> i64 {
    request.exactly.as_ref().map_or(0, |exactly| exactly.count)
}

impl ContainerAsk {
    /// How much it asks for, and the resource's place among all that it asks for.
    fn asked(&self, resource: &str) -> Option<(i64, usize)> {
        let (_, count, place) = self.resources.iter().find(|(name, ..)| name == resource)?;
        (*count != 0).then_some((*count, *place))
    }

    fn request(&self, place: usize, resource: &str, class: &str, has: i64) -> Option<DeviceRequest> {
        let (count, rank) = self.asked(resource).filter(|(count, _)| *count > has)?;
        let exactly = ExactDeviceRequest {
            device_class_name: class.to_owned(),
            allocation_mode: DeviceAllocationMode::ExactCount,
            count: count - has,
            ..ExactDeviceRequest::default()
        };
        let name = format!("container-{place}-request-{rank}");
        Some(DeviceRequest { name, exactly: Some(Box::new(exactly)), ..DeviceRequest::default() })
    }

    fn mapping(&self, resource: &str, request: &str) -> ContainerExtendedResourceRequest {
        ContainerExtendedResourceRequest {
            container_name: self.name.clone(),
            resource_name: resource.to_owned(),
            request_name: request.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, is_short: bool, count: i64) -> ContainerAsk {
        let resources = vec![("example.com/gpu".to_owned(), count, 1)];
        ContainerAsk { name: name.into(), is_short, resources }
    }

    /// `REQUEST:COUNT` of all requests, and `CONTAINER>REQUEST` of all mappings.
    fn asked(containers: &[ContainerAsk]) -> (String, String) {
        let (all, mappings) = requests(containers, &BTreeMap::from([("example.com/gpu", "gpu")]));
        let short = |name: &str| name.replace("container-", "").replace("-request-", "/");
        let all: Vec<String> = all.iter().map(|r| format!("{}:{}", short(&r.name), amount(r))).collect();
        let mappings = mappings.iter().map(|m| format!("{}>{}", m.container_name, short(&m.request_name)));
        (all.join(" "), mappings.collect::<Vec<_>>().join(" "))
    }

    #[track_caller]
    fn check(containers: &[ContainerAsk], requests: &str, mappings: &str) {
        assert_eq!(asked(containers), (requests.to_owned(), mappings.to_owned()));
    }

    #[test]
    fn each_container_has_its_own() {
        check(&[container("a", false, 2), container("b", false, 1)], "0/1:2 1/1:1", "a>0/1 b>1/1");
        check(&[container("a", false, 0), container("b", false, 1)], "1/1:1", "b>1/1");
    }

    #[test]
    fn init_containers_use_what_comes_later() {
        check(&[container("i", true, 1), container("a", false, 2)], "1/1:2", "a>1/1 i>1/1");
        check(&[container("i", true, 3), container("a", false, 2)], "0/1:1 1/1:2", "a>1/1 i>1/1 i>0/1");
        let two = [container("i", true, 3), container("j", true, 5), container("a", false, 2)];
        check(&two, "1/1:3 2/1:2", "a>2/1 i>2/1 i>1/1 j>2/1 j>1/1");
        // A sidecar lasts: what it has before an init container the latter cannot use.
        let sidecar = [container("s", false, 1), container("i", true, 1)];
        check(&sidecar, "0/1:1 1/1:1", "s>0/1 i>1/1");
    }
}
