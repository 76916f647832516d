//! The Node authorizer: a kubelet sees what the pods bound to its node need, and no more
//! (API doc "Using Node Authorization").
//!
//! What belongs to a node is read from the pods' views: a secret is related to it if a pod on it
//! refers to it, or a volume whose claim the pod uses; an attachment if it is for the node. Pods of a
//! kubelet's own (mirror pods) give it no rights. Everything else follows the rules of the ClusterRole
//! system:node.

#[cfg(test)]
mod tests;

use super::rbac::rule_allows;
use super::{Authorizer, Rules};
use crate::request::{Attributes, Decision, RequestInfo, User};
use crate::views::{PersistentVolumeView, PodView, Views};
use api_types::rbac::v1::PolicyRule;
use api_types::selector::Fields;
use std::ops::ControlFlow;
use std::sync::Arc;

const NODES: &str = "system:nodes";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The node that a user is; `None` for all who are no nodes.
pub fn node_of(user: &User) -> Option<&str> {
    user.name.strip_prefix("system:node:").filter(|_| user.is_in(NODES))
}

/// The authorizer for mode Node.
pub struct NodeAuthorizer {
    views: Arc<Views>,
    /// Those of the ClusterRole system:node.
    rules: Vec<PolicyRule>,
}

impl NodeAuthorizer {
    pub fn new(views: Arc<Views>, rules: Vec<PolicyRule>) -> Self {
        Self { views, rules }
    }

    fn decide(&self, node: &str, info: &RequestInfo) -> Result<(), String> {
        if info.is_resource {
            match (info.group.as_str(), info.resource.as_str()) {
                ("", "secrets") => {
                    let of_pod = self.read(node, info, |pod| pod.references.secrets.contains(&info.name));
                    return of_pod.or_else(|reason| match self.is_for_volume(node, info) {
                        true => Ok(()),
                        false => Err(reason),
                    });
                }
                ("", "configmaps") => {
                    return self.read(node, info, |pod| pod.references.config_maps.contains(&info.name));
                }
                ("", "persistentvolumeclaims") => return self.claim(node, info),
                ("", "serviceaccounts") => return self.service_account(node, info),
                ("", "nodes") => return own_node(node, info),
                ("", "pods") => return self.pod(node, info),
                ("coordination.k8s.io", "leases") => return lease(node, info),
                ("storage.k8s.io", "csinodes") => return csi_node(node, info),
                ("resource.k8s.io", "resourceclaims") => {
                    return get_only(info).and_then(|()| {
                        self.related(node, info, |p| p.references.resource_claims.contains(&info.name))
                    });
                }
                ("", "persistentvolumes") => return get_only(info).and_then(|()| self.volume(node, info)),
                ("storage.k8s.io", "volumeattachments") => {
                    return get_only(info).and_then(|()| self.attachment(node, info));
                }
                ("resource.k8s.io", "resourceslices") => return self.slice(node, info),
                ("certificates.k8s.io", "podcertificaterequests") => return Err(String::new()),
                _ => {}
            }
        }
        if self.rules.iter().any(|rule| rule_allows(info, rule)) { Ok(()) } else { Err(String::new()) }
    }

    /// Whether a pod on the node, in the request's namespace, needs the object.
    fn related(
        &self,
        node: &str,
        info: &RequestInfo,
        needs: impl Fn(&PodView) -> bool,
    ) -> Result<(), String> {
        if info.name.is_empty() {
            return Err("No Object name found".to_owned());
        }
        let found = self.views.pods.any_on_node(node, &info.namespace, |pod| !pod.is_mirror && needs(pod));
        if found { Ok(()) } else { Err(unrelated(node)) }
    }

    fn read(&self, node: &str, info: &RequestInfo, needs: impl Fn(&PodView) -> bool) -> Result<(), String> {
        if !matches!(info.verb.as_str(), "get" | "list" | "watch") {
            return Err("can only read resources of this type".to_owned());
        }
        if !info.subresource.is_empty() {
            return Err("cannot read subresource".to_owned());
        }
        if info.namespace.is_empty() {
            return Err("can only read namespaced object of this type".to_owned());
        }
        self.related(node, info, needs)
    }

    fn claim(&self, node: &str, info: &RequestInfo) -> Result<(), String> {
        if info.subresource == "status" {
            if !matches!(info.verb.as_str(), "update" | "patch") {
                return Err("can only get/update/patch this type".to_owned());
            }
        } else {
            get_only(info)?;
        }
        self.related(node, info, |pod| pod.references.claims.contains(&info.name))
    }

    /// A volume belongs to the nodes of the pods that use its claim.
    fn volume(&self, node: &str, info: &RequestInfo) -> Result<(), String> {
        if info.name.is_empty() {
            return Err("No Object name found".to_owned());
        }
        let volume = self.views.persistent_volumes.get("", &info.name);
        if volume.is_some_and(|volume| self.is_used(node, &volume)) { Ok(()) } else { Err(unrelated(node)) }
    }

    /// A pod on the node uses the volume's claim.
    fn is_used(&self, node: &str, volume: &PersistentVolumeView) -> bool {
        volume.claim.as_ref().is_some_and(|(namespace, claim)| {
            let needs = |pod: &PodView| !pod.is_mirror && pod.references.claims.contains(claim);
            self.views.pods.any_on_node(node, namespace, needs)
        })
    }

    /// The request reads one secret that a volume needs which a pod on the node uses.
    fn is_for_volume(&self, node: &str, info: &RequestInfo) -> bool {
        let reads = matches!(info.verb.as_str(), "get" | "list" | "watch") && info.subresource.is_empty();
        if !reads || info.namespace.is_empty() || info.name.is_empty() {
            return false;
        }
        let visit = |volume: &Arc<PersistentVolumeView>| {
            let needs = volume
                .secrets
                .iter()
                .any(|(namespace, name)| *namespace == info.namespace && *name == info.name);
            match needs && self.is_used(node, volume) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        self.views.persistent_volumes.visit("", visit).is_break()
    }

    /// An attachment belongs to the node that the volume is attached to.
    fn attachment(&self, node: &str, info: &RequestInfo) -> Result<(), String> {
        if info.name.is_empty() {
            return Err("No Object name found".to_owned());
        }
        let attachment = self.views.volume_attachments.get("", &info.name);
        let ours = attachment.is_some_and(|attachment| attachment.node == node);
        if ours { Ok(()) } else { Err(unrelated(node)) }
    }

    /// A slice belongs to the one node that reaches its devices.
    fn slice(&self, node: &str, info: &RequestInfo) -> Result<(), String> {
        if !info.subresource.is_empty() {
            return Err("cannot authorize ResourceSlice subresources".to_owned());
        }
        match info.verb.as_str() {
            // For which node, NodeRestriction knows.
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" if info.name.is_empty() => {
                Err("No Object name found".to_owned())
            }
            "get" | "update" | "patch" | "delete" => {
                let slice = self.views.resource_slices.get("", &info.name);
                if slice.is_some_and(|slice| slice.node == node) { Ok(()) } else { Err(unrelated(node)) }
            }
            "list" | "watch" | "deletecollection" => {
                let selector = Fields::parse(&info.field_selector).ok();
                if selector.as_ref().and_then(|s| s.exact("spec.nodeName")) == Some(node) {
                    return Ok(());
                }
                Err("can only list/watch/deletecollection resourceslices with nodeName field selector".to_owned())
            }
            _ => Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, \
                      patch, delete, deletecollection"
                .to_owned()),
        }
    }

    fn service_account(&self, node: &str, info: &RequestInfo) -> Result<(), String> {
        let of_pod = |pod: &PodView| pod.service_account == info.name;
        if info.verb == "get" && info.subresource.is_empty() {
            return self.read(node, info, of_pod);
        }
        if info.verb != "create" || info.name.is_empty() {
            return Err("can only create tokens for individual service accounts".to_owned());
        }
        if info.subresource != "token" {
            return Err("can only create token subresource of serviceaccount".to_owned());
        }
        self.related(node, info, of_pod)
    }

    fn pod(&self, node: &str, info: &RequestInfo) -> Result<(), String> {
        // A pod of the kubelet's own is related to its node, though it gives no rights.
        let bound = || match self.views.pods.get(&info.namespace, &info.name) {
            Some(pod) if pod.node_name == node => Ok(()),
            _ => Err(unrelated(node)),
        };
        match (info.subresource.as_str(), info.verb.as_str()) {
            ("", "get") if info.name.is_empty() => Err("No Object name found".to_owned()),
            ("", "get") => bound(),
            ("", "list" | "watch") => {
                let selector = Fields::parse(&info.field_selector).ok();
                if selector.as_ref().and_then(|s| s.exact("spec.nodeName")) == Some(node) {
                    return Ok(());
                }
                if !info.name.is_empty() {
                    return bound();
                }
                Err("can only list/watch pods with spec.nodeName field selector".to_owned())
            }
            // Which ones, NodeRestriction knows.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }
}

impl Authorizer for NodeAuthorizer {
    fn authorize(&self, attributes: Attributes<'_>) -> Decision {
        let user = attributes.user;
        let Some(node) = node_of(user) else { return Decision::NoOpinion(String::new()) };
        if node.is_empty() {
            return Decision::NoOpinion(format!("unknown node for user {:?}", user.name));
        }
        match self.decide(node, attributes.info) {
            Ok(()) => Decision::Allow(String::new()),
            Err(reason) => Decision::NoOpinion(reason),
        }
    }

    fn rules_for(&self, user: &User, _: &str) -> Rules {
        if node_of(user).is_none() {
            return Rules::default();
        }
        let errors = vec!["node authorizer does not support user rule resolution".to_owned()];
        Rules { incomplete: true, errors, ..Rules::default() }
    }
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

fn get_only(info: &RequestInfo) -> Result<(), String> {
    if info.verb != "get" {
        return Err("can only get individual resources of this type".to_owned());
    }
    if !info.subresource.is_empty() {
        return Err("cannot get subresource".to_owned());
    }
    Ok(())
}

fn own_node(node: &str, info: &RequestInfo) -> Result<(), String> {
    match (info.subresource.as_str(), info.verb.as_str()) {
        // Which one, NodeRestriction knows.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match info.name.as_str() {
            name if name == node => Ok(()),
            "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
            other => Err(format!("node '{node}' cannot read '{other}', only its own Node object")),
        },
        _ => Err(String::new()),
    }
}

fn lease(node: &str, info: &RequestInfo) -> Result<(), String> {
    if !matches!(info.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a node lease".to_owned());
    }
    if info.namespace != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    if info.verb != "create" && info.name != node {
        return Err("can only access node lease with the same name as the requesting node".to_owned());
    }
    Ok(())
}

fn csi_node(node: &str, info: &RequestInfo) -> Result<(), String> {
    if !matches!(info.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a CSINode".to_owned());
    }
    if !info.subresource.is_empty() {
        return Err("cannot authorize CSINode subresources".to_owned());
    }
    if info.verb != "create" && info.name != node {
        return Err("can only access CSINode with the same name as the requesting node".to_owned());
    }
    Ok(())
}
