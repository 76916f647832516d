//! What a kubelet may and may not do, by the pods on its node.

use super::*;
use crate::bootstrap::node_rules;
use crate::views::{PersistentVolumeView, PodReferences, ResourceSliceView, VolumeAttachmentView};
use std::collections::BTreeSet;

fn views() -> Arc<Views> {
    let views = Arc::new(Views::default());
    let set = |name: &str| BTreeSet::from([name.to_owned()]);
    let references = PodReferences {
        secrets: set("password"),
        config_maps: set("settings"),
        claims: set("disk"),
        ..PodReferences::default()
    };
    let pod =
        PodView { node_name: "n1".into(), service_account: "robot".into(), references, ..PodView::default() };
    views.pods.put("web", "pod", pod.clone());
    for (name, claim) in [("bound", "disk"), ("strange", "other")] {
        let claim = Some(("web".to_owned(), claim.to_owned()));
        let secrets = vec![("vault".to_owned(), format!("for-{name}"))];
        views.persistent_volumes.put("", name, PersistentVolumeView { claim, secrets });
    }
    for (name, node) in [("here", "n1"), ("there", "n2")] {
        views.volume_attachments.put("", name, VolumeAttachmentView { node: node.into() });
        views.resource_slices.put("", name, ResourceSliceView { node: node.into() });
    }
    views.pods.put("kube-system", "mirror", PodView { is_mirror: true, ..pod });
    views
}

#[test]
fn a_kubelet_sees_what_its_pods_need() {
    let node = NodeAuthorizer::new(views(), node_rules());
    let unrelated = "no relationship found between node 'n1' and this object";
    // verb group resource name namespace; the last column is the reason of a refusal.
    let cases = [
        ("get core secrets password web", Ok(())),
        ("watch core secrets password web", Ok(())),
        ("get core secrets other web", Err(unrelated)),
        ("get core secrets password other", Err(unrelated)),
        ("get core secrets password kube-system", Err(unrelated)),
        ("get core secrets for-bound vault", Ok(())),
        ("get core secrets for-bound web", Err(unrelated)),
        ("get core secrets for-strange vault", Err(unrelated)),
        ("delete core secrets for-bound vault", Err("can only read resources of this type")),
        ("get storage.k8s.io volumeattachments here", Ok(())),
        ("get storage.k8s.io volumeattachments there", Err(unrelated)),
        ("get storage.k8s.io volumeattachments none", Err(unrelated)),
        ("list storage.k8s.io volumeattachments", Err("can only get individual resources of this type")),
        ("create resource.k8s.io resourceslices", Ok(())),
        ("get resource.k8s.io resourceslices here", Ok(())),
        ("delete resource.k8s.io resourceslices here", Ok(())),
        ("update resource.k8s.io resourceslices there", Err(unrelated)),
        ("patch resource.k8s.io resourceslices none", Err(unrelated)),
        (
            "deletecollection resource.k8s.io resourceslices",
            Err("can only list/watch/deletecollection resourceslices with nodeName field selector"),
        ),
        ("list core secrets - web", Err("No Object name found")),
        ("list core secrets", Err("can only read namespaced object of this type")),
        ("delete core secrets password web", Err("can only read resources of this type")),
        ("get core configmaps settings web", Ok(())),
        ("get core configmaps kube-root-ca.crt web", Err(unrelated)),
        ("get core persistentvolumeclaims disk web", Ok(())),
        ("get core persistentvolumes bound", Ok(())),
        ("get core persistentvolumes strange", Err(unrelated)),
        ("get core persistentvolumes none", Err(unrelated)),
        ("list core persistentvolumes bound", Err("can only get individual resources of this type")),
        ("patch core persistentvolumeclaims/status disk web", Ok(())),
        ("create core serviceaccounts/token robot web", Ok(())),
        ("create core serviceaccounts/token default web", Err(unrelated)),
        ("get core serviceaccounts robot web", Ok(())),
        ("create core serviceaccounts - web", Err("can only create tokens for individual service accounts")),
        ("get core nodes n1", Ok(())),
        ("get core nodes n2", Err("node 'n1' cannot read 'n2', only its own Node object")),
        ("list core nodes", Err("node 'n1' cannot read all nodes, only its own Node object")),
        ("create core nodes", Ok(())),
        ("patch core nodes/status n1", Ok(())),
        ("delete core nodes n1", Err("")),
        ("get core pods pod web", Ok(())),
        ("get core pods mirror kube-system", Ok(())),
        ("get core pods other web", Err(unrelated)),
        ("list core pods", Err("can only list/watch pods with spec.nodeName field selector")),
        ("create core pods - web", Ok(())),
        ("patch core pods/status pod web", Ok(())),
        ("create core pods/eviction pod web", Ok(())),
        ("create core pods/exec pod web", Err("")),
        ("get coordination.k8s.io leases n1 kube-node-lease", Ok(())),
        (
            "get coordination.k8s.io leases n2 kube-node-lease",
            Err("can only access node lease with the same name as the requesting node"),
        ),
        (
            "get coordination.k8s.io leases n1 default",
            Err(r#"can only access leases in the "kube-node-lease" system namespace"#),
        ),
        (
            "list coordination.k8s.io leases - kube-node-lease",
            Err("can only get, create, update, patch, or delete a node lease"),
        ),
        ("get storage.k8s.io csinodes n1", Ok(())),
        // By the rules of system:node.
        ("create core events - web", Ok(())),
        ("create authentication.k8s.io tokenreviews", Ok(())),
        ("watch core services", Ok(())),
        ("create certificates.k8s.io certificatesigningrequests", Ok(())),
        ("create apps deployments - web", Err("")),
    ];
    let groups = vec![NODES.to_owned(), User::AUTHENTICATED.to_owned()];
    let user = User { name: "system:node:n1".into(), groups, ..User::default() };
    for (text, expected) in cases {
        let parts: Vec<&str> = text.split(' ').collect();
        let (resource, subresource) = parts[2].split_once('/').unwrap_or((parts[2], ""));
        let part =
            |place: usize| parts.get(place).filter(|p| **p != "-").copied().unwrap_or_default().to_owned();
        let info = RequestInfo {
            is_resource: true,
            verb: part(0),
            group: if parts[1] == "core" { String::new() } else { part(1) },
            resource: resource.into(),
            subresource: subresource.into(),
            name: part(3),
            namespace: part(4),
            ..RequestInfo::default()
        };
        let expected = match expected {
            Ok(()) => Decision::Allow(String::new()),
            Err(reason) => Decision::NoOpinion(reason.to_owned()),
        };
        assert_eq!(node.authorize(Attributes { user: &user, info: &info }), expected, "{text}");
    }
}

#[test]
fn pods_are_listed_and_slices_deleted_by_node() {
    let node = NodeAuthorizer::new(views(), node_rules());
    let user = User { name: "system:node:n1".into(), groups: vec![NODES.into()], ..User::default() };
    for (selector, allowed) in [
        ("spec.nodeName=n1", true),
        ("status.phase!=Failed,spec.nodeName=n1", true),
        ("spec.nodeName=n2", false),
        ("spec.nodeName!=n1", false),
    ] {
        for (verb, group, resource) in
            [("watch", "", "pods"), ("deletecollection", "resource.k8s.io", "resourceslices")]
        {
            let info = RequestInfo {
                is_resource: true,
                verb: verb.into(),
                group: group.into(),
                resource: resource.into(),
                field_selector: selector.into(),
                ..RequestInfo::default()
            };
            let decision = node.authorize(Attributes { user: &user, info: &info });
            assert_eq!(matches!(decision, Decision::Allow(_)), allowed, "{resource} {selector}");
        }
    }
}

#[test]
fn only_members_of_the_nodes_group_are_nodes() {
    let user =
        |name: &str, group: &str| User { name: name.into(), groups: vec![group.into()], ..User::default() };
    assert_eq!(node_of(&user("system:node:n1", NODES)), Some("n1"));
    assert_eq!(node_of(&user("system:node:n1", "staff")), None);
    assert_eq!(node_of(&user("n1", NODES)), None);
    assert_eq!(node_of(&user("system:node:", NODES)), Some(""));
}
