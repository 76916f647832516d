//! Which claims a pod uses, whether it may, and what of them is for one container.

use std::collections::{BTreeMap, BTreeSet};

use api_types::core::v1::{Container, Pod, PodResourceClaim};
use api_types::resource::v1::ResourceClaim;

/// COMPAT: upstream's words; they end up in events.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The controller has yet to make it.
    #[error("pod {0:?}: ResourceClaim not created yet")]
    NotMade(String),
    /// Neither a claim nor a template.
    #[error("pod {0:?}, spec.resourceClaim {1:?}: none of the supported fields are set")]
    Unsupported(String, String),
    /// It is somebody else's.
    #[error("ResourceClaim {claim} was not created for Pod {pod} (Pod is not owner)")]
    NotOwned { claim: String, pod: String },
    /// No scheduler has given it to the pod.
    #[error("pod {0} ({1}) is not allowed to use ResourceClaim {2} ({3})")]
    NotReserved(String, String, String, String),
    /// It has no devices.
    #[error("ResourceClaim {0}: not allocated")]
    NotAllocated(String),
}

/// A claim that a pod names.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// Of the ResourceClaim.
    pub name: String,
    /// It was made for the pod and has to be its own.
    pub own: bool,
}

fn shown(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace, pod.metadata.name)
}

/// The claim behind an entry of a pod's `resourceClaims`; none if it needs none.
///
/// # Errors
/// When it is not made yet.
pub fn named(pod: &Pod, entry: &PodResourceClaim) -> Result<Option<Named>, Refusal> {
    if let Some(name) = &entry.resource_claim_name {
        return Ok(Some(Named { name: name.clone(), own: false }));
    }
    if entry.resource_claim_template_name.is_none() {
        return Err(Refusal::Unsupported(shown(pod), entry.name.clone()));
    }
    let status = pod.status.resource_claim_statuses.iter().find(|status| status.name == entry.name);
    let status = status.ok_or_else(|| Refusal::NotMade(shown(pod)))?;
    Ok(status.resource_claim_name.clone().map(|name| Named { name, own: true }))
}

/// All claims of a pod, the one behind its extended resources last.
///
/// # Errors
/// When one is not made yet.
pub fn all_named(pod: &Pod) -> Result<Vec<Named>, Refusal> {
    let mut all = Vec::new();
    for entry in &pod.spec.resource_claims {
        all.extend(named(pod, entry)?);
    }
    let extended = pod.status.extended_resource_claim_status.as_ref();
    all.extend(extended.map(|status| Named { name: status.resource_claim_name.clone(), own: false }));
    Ok(all)
}

/// The drivers of a claim that the pod may use.
///
/// # Errors
/// When it may not.
pub fn drivers(pod: &Pod, named: &Named, claim: &ResourceClaim) -> Result<BTreeSet<String>, Refusal> {
    let (meta, of) = (&pod.metadata, &claim.metadata);
    let owner = of.owner_references.iter().find(|owner| owner.controller == Some(true));
    if named.own && owner.is_none_or(|owner| owner.uid != meta.uid) {
        let claim = format!("{}/{}", of.namespace, of.name);
        return Err(Refusal::NotOwned { claim, pod: shown(pod) });
    }
    if !claim.status.reserved_for.iter().any(|user| user.uid == meta.uid) {
        let (name, uid) = (meta.name.clone(), meta.uid.clone());
        return Err(Refusal::NotReserved(name, uid, named.name.clone(), of.uid.clone()));
    }
    let allocation =
        claim.status.allocation.as_ref().ok_or_else(|| Refusal::NotAllocated(of.name.clone()))?;
    Ok(allocation.devices.results.iter().map(|result| result.driver.clone()).collect())
}

/// COMPAT: what may be an extended resource of a driver: not one of Kubernetes' own but by their class.
fn is_extended(name: &str) -> bool {
    const BY_CLASS: &str = "deviceclass.resource.kubernetes.io/";
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    name.starts_with(BY_CLASS) || (!native && !name.starts_with("requests."))
}

/// Claims that a container uses, and which of their requests; the empty one stands for all.
///
/// # Errors
/// When one is not made yet.
pub fn of_container(pod: &Pod, container: &Container) -> Result<BTreeMap<String, Vec<String>>, Refusal> {
    let mut used: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in &pod.spec.resource_claims {
        let wants = container.resources.claims.iter().filter(|claim| claim.name == entry.name);
        let requests: Vec<String> = wants.map(|claim| claim.request.clone()).collect();
        if requests.is_empty() {
            continue;
        }
        if let Some(named) = named(pod, entry)? {
            used.entry(named.name).or_default().extend(requests);
        }
    }
    if let Some(status) = &pod.status.extended_resource_claim_status {
        let asks = |name: &str| {
            is_extended(name)
                && container.resources.requests.get(name).is_some_and(|amount| !amount.is_zero())
        };
        let mappings = status.request_mappings.iter();
        let own = mappings.filter(|one| one.container_name == container.name && asks(&one.resource_name));
        let requests: Vec<String> = own.map(|one| one.request_name.clone()).collect();
        if !requests.is_empty() {
            used.entry(status.resource_claim_name.clone()).or_default().extend(requests);
        }
    }
    Ok(used)
}

/// Names of the claims that a container uses, for those that ask which devices it has; those that are
/// not made yet are left out.
pub fn claims_of_container(pod: &Pod, container: &Container) -> Vec<String> {
    let wants =
        |entry: &&PodResourceClaim| container.resources.claims.iter().any(|claim| claim.name == entry.name);
    let entries = pod.spec.resource_claims.iter().filter(wants);
    let mut names: Vec<String> =
        entries.filter_map(|entry| named(pod, entry).ok().flatten()).map(|named| named.name).collect();
    let extended = pod.status.extended_resource_claim_status.as_ref();
    let extended = extended.filter(|status| {
        status.request_mappings.iter().any(|mapping| mapping.container_name == container.name)
    });
    names.extend(extended.map(|status| status.resource_claim_name.clone()));
    names
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{
        ContainerExtendedResourceRequest, PodExtendedResourceClaimStatus, PodResourceClaimStatus,
        ResourceClaim as Wanted,
    };
    use api_types::meta::v1::OwnerReference;
    use api_types::resource::v1::{
        AllocationResult, DeviceRequestAllocationResult, ResourceClaimConsumerReference,
    };

    use super::*;

    fn pod() -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = "web".into();
        pod.metadata.namespace = "ns".into();
        pod.metadata.uid = "uid".into();
        pod.spec.resource_claims = vec![
            PodResourceClaim {
                name: "own".into(),
                resource_claim_template_name: Some("t".into()),
                ..Default::default()
            },
            PodResourceClaim {
                name: "shared".into(),
                resource_claim_name: Some("c".into()),
                ..Default::default()
            },
        ];
        pod
    }

    #[test]
    fn claims_are_found_by_what_the_pods_status_says() {
        let mut pod = pod();
        assert_eq!(
            all_named(&pod).unwrap_err().to_string(),
            r#"pod "ns/web": ResourceClaim not created yet"#
        );
        let status = |claim: Option<&str>| PodResourceClaimStatus {
            name: "own".into(),
            resource_claim_name: claim.map(str::to_owned),
        };
        pod.status.resource_claim_statuses = vec![status(None)];
        let names = |pod: &Pod| -> Vec<(String, bool)> {
            all_named(pod).unwrap().into_iter().map(|named| (named.name, named.own)).collect()
        };
        assert_eq!(names(&pod), [("c".to_owned(), false)]);
        pod.status.resource_claim_statuses = vec![status(Some("web-own-x"))];
        let extended =
            PodExtendedResourceClaimStatus { resource_claim_name: "e".into(), ..Default::default() };
        pod.status.extended_resource_claim_status = Some(Box::new(extended));
        let all = [("web-own-x".to_owned(), true), ("c".to_owned(), false), ("e".to_owned(), false)];
        assert_eq!(names(&pod), all);
    }

    #[test]
    fn a_claim_has_to_be_allocated_and_reserved_and_the_pods_own() {
        let mut claim = ResourceClaim::default();
        claim.metadata.name = "c".into();
        claim.metadata.namespace = "ns".into();
        claim.metadata.uid = "claim-uid".into();
        let (own, shared) = (Named { name: "c".into(), own: true }, Named { name: "c".into(), own: false });
        let refused =
            |named: &Named, claim: &ResourceClaim| drivers(&pod(), named, claim).unwrap_err().to_string();
        assert_eq!(
            refused(&own, &claim),
            "ResourceClaim ns/c was not created for Pod ns/web (Pod is not owner)"
        );
        assert_eq!(
            refused(&shared, &claim),
            "pod web (uid) is not allowed to use ResourceClaim c (claim-uid)"
        );
        claim.status.reserved_for =
            vec![ResourceClaimConsumerReference { uid: "uid".into(), ..Default::default() }];
        assert_eq!(refused(&shared, &claim), "ResourceClaim c: not allocated");
        let mut allocation = AllocationResult::default();
        for driver in ["b", "a", "b"] {
            let result = DeviceRequestAllocationResult { driver: driver.into(), ..Default::default() };
            allocation.devices.results.push(result);
        }
        claim.status.allocation = Some(Box::new(allocation));
        claim.metadata.owner_references =
            vec![OwnerReference { uid: "uid".into(), controller: Some(true), ..Default::default() }];
        assert_eq!(drivers(&pod(), &own, &claim).unwrap(), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn a_container_gets_what_it_asks_for() {
        let mut pod = pod();
        pod.spec.resource_claims.remove(0);
        let mut container = Container { name: "c1".into(), ..Default::default() };
        assert!(of_container(&pod, &container).unwrap().is_empty());
        container.resources.claims = vec![Wanted { name: "shared".into(), request: "one".into() }];
        container.resources.requests.insert("example.com/gpu".into(), "1".parse().unwrap());
        let mapping = |container: &str, resource: &str, request: &str| ContainerExtendedResourceRequest {
            container_name: container.into(),
            resource_name: resource.into(),
            request_name: request.into(),
        };
        let status = PodExtendedResourceClaimStatus {
            resource_claim_name: "e".into(),
            request_mappings: vec![
                mapping("c1", "example.com/gpu", "r0"),
                mapping("c1", "example.com/other", "r1"),
                mapping("c2", "example.com/gpu", "r2"),
            ],
        };
        pod.status.extended_resource_claim_status = Some(Box::new(status));
        let expected =
            [("c".to_owned(), vec!["one".to_owned()]), ("e".to_owned(), vec!["r0".to_owned()])].into();
        assert_eq!(of_container(&pod, &container).unwrap(), expected);
        assert_eq!(claims_of_container(&pod, &container), ["c", "e"]);
    }

    #[test]
    fn extended_resources_are_told_apart() {
        let check = |name: &str, expected: bool| assert_eq!(is_extended(name), expected, "{name}");
        check("example.com/gpu", true);
        check("deviceclass.resource.kubernetes.io/gpu", true);
        check("cpu", false);
        check("kubernetes.io/batch", false);
        check("requests.example.com/gpu", false);
    }
}
