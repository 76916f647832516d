//! Columns of nodes.

use super::*;
use crate::columns::or;
use crate::core::v1::ConditionStatus;
use crate::kind::Column;
use std::collections::BTreeSet;

pub(super) const COLUMNS: &[Column<Node>] = &[
    Column::name(),
    Column::text("Status", "Whether the node is ready and takes pods.", |node: &Node, _| status(node).into()),
    Column::text("Roles", "Roles that the node's labels give it.", |node: &Node, _| {
        or(&roles(node), "<none>").into()
    }),
    Column::age(),
    Column::text("Version", "Version of the node's kubelet.", |node: &Node, _| {
        node.status.node_info.kubelet_version.as_str().into()
    }),
    Column::text("Internal-IP", "Address inside the cluster.", |node: &Node, _| {
        address(node, NodeAddressType::InternalIP).into()
    })
    .wide(),
    Column::text("External-IP", "Address for the outside.", |node: &Node, _| {
        address(node, NodeAddressType::ExternalIP).into()
    })
    .wide(),
    Column::text("OS-Image", "Operating system of the node.", |node: &Node, _| {
        or(&node.status.node_info.os_image, "<unknown>").into()
    })
    .wide(),
    Column::text("Kernel-Version", "Kernel of the node.", |node: &Node, _| {
        kernel(&node.status.node_info).into()
    })
    .wide(),
    Column::text("Container-Runtime", "Container runtime of the node.", |node: &Node, _| {
        or(&node.status.node_info.container_runtime_version, "<unknown>").into()
    })
    .wide(),
];

fn status(node: &Node) -> String {
    // The last condition of the type counts.
    let ready = node.status.conditions.iter().rfind(|c| c.type_ == NodeConditionType::Ready);
    let mut status = match ready.map(|c| &c.status) {
        Some(ConditionStatus::True) => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node.spec.unschedulable {
        status.push_str(",SchedulingDisabled");
    }
    status
}

/// From `node-role.kubernetes.io/ROLE` and `kubernetes.io/role=ROLE`.
fn roles(node: &Node) -> String {
    let role = |(key, value): (&String, &String)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None => (key == "kubernetes.io/role").then(|| value.clone()),
    };
    let roles: BTreeSet<String> =
        node.metadata.labels.iter().filter_map(role).filter(|role| !role.is_empty()).collect();
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn address(node: &Node, type_: NodeAddressType) -> &str {
    node.status.addresses.iter().find(|a| a.type_ == type_).map_or("<none>", |a| &a.address)
}

fn kernel(info: &NodeSystemInfo) -> String {
    let version = or(&info.kernel_version, "<unknown>");
    match info.architecture.as_str() {
        "" => version.to_owned(),
        architecture => format!("{version} ({architecture})"),
    }
}
