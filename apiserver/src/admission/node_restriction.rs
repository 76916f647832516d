//! NodeRestriction: what the Node authorizer cannot tell from the path alone. A kubelet writes its own
//! node and the pods bound to it, gives itself no labels or taints that steer pods, and asks for
//! tokens only for its pods (API doc "NodeRestriction").

use super::certificate_subject_restriction::Subject;
use super::{Context, Operation, Plugin, Refusal, Request};
use crate::authz::node::node_of;
use crate::request::{Attributes, Decision, RequestInfo};
use crate::status::{ApiError, Qualified};
use crate::views::{PodReferences, PodView};
use api_types::authentication::v1::TokenRequest;
use api_types::certificates::v1::CertificateSigningRequest;
use api_types::core::v1::{Node, PersistentVolumeClaim, Pod};
use api_types::resource::v1::ResourceSlice;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// Labels of kubernetes.io and k8s.io that a kubelet may set on its node.
const KUBELET_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
const KUBELET_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
const KUBELET_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";

pub struct NodeRestriction;

/// Refusals of this plugin are texts; all become a 403 on the object.
type Checked = Result<(), Why>;

enum Why {
    Forbidden(String),
    /// Might be seen once the views have caught up.
    Missing(ApiError),
}

fn forbidden(why: impl Into<String>) -> Checked {
    Err(Why::Forbidden(why.into()))
}

impl Plugin for NodeRestriction {
    fn handles(&self, operation: Operation) -> bool {
        operation.is_write()
    }

    fn admit(&self, request: &mut Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        let Some(node) = node_of(request.user) else { return Ok(()) };
        let checked = if node.is_empty() {
            forbidden(format!("could not determine node from user {:?}", request.user.name))
        } else {
            check(node, request, context)
        };
        checked.map_err(|why| match why {
            Why::Forbidden(why) => Refusal::Final(request.forbidden(why)),
            Why::Missing(error) => Refusal::missing(error),
        })
    }
}

fn check(node: &str, request: &Request<'_>, context: Context<'_>) -> Checked {
    match (request.kind.group, request.kind.resource) {
        ("", "pods") => match request.subresource {
            "" => pod(node, request, context),
            "status" => pod_status(node, request),
            "eviction" => eviction(node, request, context),
            other => forbidden(format!(
                "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
            )),
        },
        ("", "nodes") => own_node(node, request),
        ("", "serviceaccounts") => token(request, context, node),
        ("", "persistentvolumeclaims") if request.subresource == "status" => claim_status(node, request),
        ("storage.k8s.io", "csinodes") => csi_node(node, request),
        ("resource.k8s.io", "resourceslices") => slice(node, request),
        ("coordination.k8s.io", "leases") => lease(node, request),
        ("certificates.k8s.io", "certificatesigningrequests") => signing_request(node, request),
        _ => Ok(()),
    }
}

/// The name that is written to; creations have it in the object.
fn target<'a>(request: &'a Request<'_>) -> &'a str {
    match request.object.get() {
        Some(object) if request.name.is_empty() => &object.meta().name,
        _ => request.name,
    }
}

fn live_pod(request: &Request<'_>, context: Context<'_>, name: &str) -> Result<Arc<PodView>, Why> {
    context.views.pods.get(request.namespace, name).ok_or_else(|| {
        Why::Missing(ApiError::NotFound { of: Qualified::new("", "pods"), name: name.to_owned() })
    })
}

fn pod(node: &str, request: &Request<'_>, context: Context<'_>) -> Checked {
    match request.operation {
        Operation::Create => mirror_pod(node, request, context),
        Operation::Delete => {
            let bound = match request.old::<Pod>() {
                Some(old) => old.spec.node_name == node,
                None => live_pod(request, context, request.name)?.node_name == node,
            };
            if bound {
                return Ok(());
            }
            forbidden(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        _ => forbidden(format!(
            "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
        )),
    }
}

fn mirror_pod(node: &str, request: &Request<'_>, context: Context<'_>) -> Checked {
    let Some(pod) = request.object::<Pod>() else { return Ok(()) };
    if !pod.metadata.annotations.contains_key(MIRROR) {
        return forbidden(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if pod.spec.node_name != node {
        return forbidden(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owner = match pod.metadata.owner_references.as_slice() {
        [] => {
            return forbidden(format!(
                "node {node:?} can only create pods with an owner reference set to itself"
            ));
        }
        [owner] => owner,
        _ => {
            return forbidden(format!(
                "node {node:?} can only create pods with a single owner reference set to itself"
            ));
        }
    };
    if owner.api_version != "v1" || owner.kind != "Node" || owner.name != node {
        return forbidden(format!(
            "node {node:?} can only create pods with an owner reference set to itself"
        ));
    }
    if owner.controller != Some(true) {
        return forbidden(format!(
            "node {node:?} can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner.block_owner_deletion == Some(true) {
        return forbidden(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let Some(live) = context.views.nodes.get("", node) else {
        let of = Qualified::new("", "nodes");
        return Err(Why::Missing(ApiError::NotFound { of, name: node.to_owned() }));
    };
    if owner.uid != live.life.uid {
        let (expected, got) = (&owner.uid, &live.life.uid);
        return forbidden(format!("node {node} UID mismatch: expected {expected} got {got}"));
    }
    match api_reference(pod) {
        Some(what) => forbidden(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}

/// What a pod refers to in the API, which a pod of a kubelet's own must not.
fn api_reference(pod: &Pod) -> Option<&'static str> {
    let references = PodReferences::of(&pod.spec, &pod.metadata.name);
    if !pod.spec.service_account_name.is_empty() {
        return Some("serviceaccounts");
    }
    if !references.secrets.is_empty() {
        return Some("secrets");
    }
    if !references.config_maps.is_empty() {
        return Some("configmaps");
    }
    if !pod.spec.resource_claims.is_empty() {
        return Some("resourceclaims");
    }
    pod.spec.volumes.iter().map(|volume| &volume.source).find_map(|source| {
        if source.csi.is_some() {
            Some("csidrivers (via CSI volumes)")
        } else if source.glusterfs.is_some() {
            Some("endpoints (via glusterFS volumes)")
        } else if source.persistent_volume_claim.is_some() {
            Some("persistentvolumeclaims")
        } else if source.ephemeral.is_some() {
            Some("persistentvolumeclaims (via ephemeral volumes)")
        } else {
            source.projected.iter().flat_map(|projected| &projected.sources).find_map(|projection| {
                if projection.service_account_token.is_some() {
                    Some("serviceaccounts (via projected volumes)")
                } else if projection.cluster_trust_bundle.is_some() {
                    Some("clustertrustbundles")
                } else if projection.pod_certificate.is_some() {
                    Some("podcertificates")
                } else {
                    None
                }
            })
        }
    })
}

fn pod_status(node: &str, request: &Request<'_>) -> Checked {
    let (Some(old), Some(new)) = (request.old::<Pod>(), request.object::<Pod>()) else { return Ok(()) };
    if old.spec.node_name != node {
        return forbidden(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if old.metadata.labels != new.metadata.labels {
        return forbidden(format!("node {node:?} cannot update labels through pod status"));
    }
    if old.status.resource_claim_statuses != new.status.resource_claim_statuses {
        return forbidden(format!("node {node:?} cannot update resource claim statues"));
    }
    if old.status.extended_resource_claim_status != new.status.extended_resource_claim_status {
        return forbidden(format!("node {node:?} cannot update extended resource claim status"));
    }
    Ok(())
}

fn eviction(node: &str, request: &Request<'_>, context: Context<'_>) -> Checked {
    let name = target(request);
    if name.is_empty() {
        return forbidden("could not determine pod from request data");
    }
    if live_pod(request, context, name)?.node_name == node {
        return Ok(());
    }
    forbidden(format!("node {node} can only evict pods with spec.nodeName set to itself"))
}

fn own_node(node: &str, request: &Request<'_>) -> Checked {
    let name = target(request);
    if name != node {
        return forbidden(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let Some(new) = request.object::<Node>() else { return Ok(()) };
    let Some(old) = request.old::<Node>() else {
        if new.spec.config_source.is_some() {
            return forbidden(format!(
                "node {node:?} is not allowed to create pods with a non-nil configSource"
            ));
        }
        let labels = forbidden_labels(&new.metadata.labels, &BTreeMap::new());
        if labels.is_empty() {
            return Ok(());
        }
        return forbidden(format!(
            "node {node:?} is not allowed to set the following labels: {}",
            labels.join(", ")
        ));
    };
    if new.spec.config_source.is_some() && new.spec.config_source != old.spec.config_source {
        return forbidden(format!(
            "node {node:?} is not allowed to update configSource to a new non-nil configSource"
        ));
    }
    if new.spec.taints != old.spec.taints {
        return forbidden(format!("node {node:?} is not allowed to modify taints"));
    }
    if new.metadata.owner_references != old.metadata.owner_references {
        return forbidden(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    let labels = forbidden_labels(&new.metadata.labels, &old.metadata.labels);
    if labels.is_empty() {
        return Ok(());
    }
    forbidden(format!("is not allowed to modify labels: {}", labels.join(", ")))
}

/// The changed labels that a kubelet may not change, sorted.
fn forbidden_labels(new: &BTreeMap<String, String>, old: &BTreeMap<String, String>) -> Vec<String> {
    let keys: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    keys.into_iter()
        .filter(|key| new.get(*key) != old.get(*key))
        .filter(|key| {
            let domain = key.split_once('/').map_or("", |(domain, _)| domain);
            within(domain, RESTRICTED)
                || ((within(domain, "kubernetes.io") || within(domain, "k8s.io"))
                    && !KUBELET_LABELS.contains(&key.as_str())
                    && !KUBELET_DOMAINS.iter().any(|allowed| within(domain, allowed)))
        })
        .cloned()
        .collect()
}

/// Whether `domain` is `parent` or below it.
fn within(domain: &str, parent: &str) -> bool {
    domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn token(request: &Request<'_>, context: Context<'_>, node: &str) -> Checked {
    if request.operation != Operation::Create || request.subresource != "token" {
        return Ok(());
    }
    let Some(asked) = request.object::<TokenRequest>() else { return Ok(()) };
    let bound = asked.spec.bound_object_ref.as_ref();
    let Some(bound) = bound.filter(|b| b.api_version == "v1" && b.kind == "Pod" && !b.name.is_empty()) else {
        return forbidden("node requested token not bound to a pod");
    };
    if bound.uid.is_empty() {
        return forbidden("node requested token with a pod binding without a uid");
    }
    let pod = live_pod(request, context, &bound.name)?;
    if bound.uid != pod.life.uid {
        return forbidden(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have \
             been deleted and then recreated",
            bound.uid
        ));
    }
    if pod.node_name != node {
        return forbidden("node requested token bound to a pod scheduled on a different node");
    }
    audience(request, context, asked, &pod)
}

/// A node asks only for the audiences that its pod's volumes name (KEP-4412).
fn audience(request: &Request<'_>, context: Context<'_>, asked: &TokenRequest, pod: &PodView) -> Checked {
    let audience = match asked.spec.audiences.as_slice() {
        [] => "",
        [one] => one,
        _ => return forbidden("node may only request 0 or 1 audiences"),
    };
    if pod.references.token_audiences.contains(audience) {
        return Ok(());
    }
    let info = RequestInfo {
        is_resource: true,
        verb: "request-serviceaccounts-token-audience".to_owned(),
        version: "v1".to_owned(),
        resource: audience.to_owned(),
        name: request.name.to_owned(),
        namespace: request.namespace.to_owned(),
        ..RequestInfo::default()
    };
    let attributes = Attributes { user: request.user, info: &info };
    if matches!(context.authorizer.authorize(attributes), Decision::Allow(_)) {
        return Ok(());
    }
    forbidden(format!(
        "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        request.user.name
    ))
}

fn lease(node: &str, request: &Request<'_>) -> Checked {
    if request.namespace != LEASE_NAMESPACE {
        return forbidden(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    if target(request) == node {
        return Ok(());
    }
    forbidden("can only access node lease with the same name as the requesting node")
}

fn csi_node(node: &str, request: &Request<'_>) -> Checked {
    if target(request) == node {
        return Ok(());
    }
    forbidden("can only access CSINode with the same name as the requesting node")
}

/// What is created and deleted has to be of the node; which ones it may change, the authorizer knows.
fn slice(node: &str, request: &Request<'_>) -> Checked {
    let (slice, word) = match request.operation {
        Operation::Create => (request.object::<ResourceSlice>(), "create"),
        Operation::Delete => (request.old::<ResourceSlice>(), "delete"),
        _ => return Ok(()),
    };
    if slice.is_none_or(|slice| slice.spec.node_name.as_deref() == Some(node)) {
        return Ok(());
    }
    forbidden(format!("can only {word} ResourceSlice with the same NodeName as the requesting node"))
}

/// A kubelet says how large a claim's volume has become, and nothing else of it.
fn claim_status(node: &str, request: &Request<'_>) -> Checked {
    if request.operation != Operation::Update {
        return forbidden(format!("unexpected operation {:?}", request.operation.word()));
    }
    let claims = (request.old::<PersistentVolumeClaim>(), request.object::<PersistentVolumeClaim>());
    let (Some(old), Some(new)) = claims else { return Ok(()) };
    let rest = |claim: &PersistentVolumeClaim| {
        let mut claim = claim.clone();
        claim.metadata.resource_version.clear();
        claim.metadata.managed_fields.clear();
        claim.status.capacity.clear();
        claim.status.conditions.clear();
        claim.status.allocated_resources.clear();
        claim.status.allocated_resource_statuses.clear();
        claim
    };
    let (old, new) = (rest(old), rest(new));
    let parts = [
        ("metadata", old.metadata != new.metadata),
        ("spec", old.spec != new.spec),
        ("status", old.status != new.status),
    ];
    let changed: Vec<&str> = parts.iter().filter(|(_, differs)| *differs).map(|(part, _)| *part).collect();
    if changed.is_empty() {
        return Ok(());
    }
    forbidden(format!(
        "node {node:?} is not allowed to update fields other than status.quantity and status.conditions: {}",
        changed.join(", ")
    ))
}

fn signing_request(node: &str, request: &Request<'_>) -> Checked {
    if request.operation != Operation::Create {
        return Ok(());
    }
    let Some(csr) = request.object::<CertificateSigningRequest>() else { return Ok(()) };
    if ![SERVING_SIGNER, KUBELET_SIGNER].contains(&csr.spec.signer_name.as_str()) {
        return Ok(());
    }
    match Subject::read(&csr.spec.request) {
        Err(why) => forbidden(format!("unable to parse csr: {why}")),
        Ok(subject) if subject.common_name == format!("system:node:{node}") => Ok(()),
        Ok(_) => forbidden(format!("can only create a node CSR with CN=system:node:{node}")),
    }
}
