//! What a cluster has from its first second: the default policy, the two system PriorityClasses and
//! the system namespaces (API doc "Default roles and role bindings").
//!
//! The rows stand in `cluster`, `controllers` and `namespaced`; `plan` compares them with what is
//! there; `run` writes. It runs at every start, so that a new version's rules reach old clusters.
//! Aggregated roles (admin, edit, view) get their rules here too, so that they work before a
//! controller manager runs; later changes of their parts are its clusterrole-aggregation controller's.

mod cluster;
mod controllers;
mod namespaced;
pub mod plan;
mod run;
mod table;
#[cfg(test)]
mod tests;

pub use run::{
    Existing, Objects, ObjectsError, ensure_namespaces, ensure_policy, ensure_priority_classes,
    ensure_token_tracking,
};

use api_types::core::v1::{Namespace, PreemptionPolicy};
use api_types::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use api_types::scheduling::v1::PriorityClass;

/// Namespaces that always exist.
pub const SYSTEM_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "default"];

/// The whole default policy.
pub struct Policy {
    pub cluster_roles: Vec<ClusterRole>,
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
    pub roles: Vec<Role>,
    pub role_bindings: Vec<RoleBinding>,
}

/// The policy as the rows have it; aggregated roles have no rules yet.
pub fn policy() -> Policy {
    let controllers = controllers::CONTROLLERS;
    let namespaced = [
        ("kube-system", namespaced::SYSTEM_ROLES, namespaced::SYSTEM_BINDINGS),
        ("kube-public", namespaced::PUBLIC_ROLES, namespaced::PUBLIC_BINDINGS),
    ];
    Policy {
        cluster_roles: cluster::ROLES
            .iter()
            .map(|row| row.cluster_role(""))
            .chain(controllers.iter().map(|row| row.cluster_role(controllers::PREFIX)))
            .collect(),
        cluster_role_bindings: cluster::BINDINGS
            .iter()
            .map(table::BindingRow::cluster_role_binding)
            .chain(controllers.iter().map(|row| row.controller_binding(controllers::PREFIX)))
            .collect(),
        roles: namespaced.iter().flat_map(|(ns, rows, _)| rows.iter().map(|row| row.role(ns))).collect(),
        role_bindings: namespaced
            .iter()
            .flat_map(|(ns, _, rows)| rows.iter().map(|row| row.role_binding(ns)))
            .collect(),
    }
}

/// What every kubelet may do, as far as paths tell: the rules of the ClusterRole system:node.
pub fn node_rules() -> Vec<PolicyRule> {
    let row = cluster::ROLES
        .iter()
        .map(|row| row.cluster_role(""))
        .find(|role| role.metadata.name == "system:node");
    row.expect("the table has system:node").rules
}

/// system-node-critical and system-cluster-critical.
pub fn priority_classes() -> Vec<PriorityClass> {
    let class = |name: &str, value: i32, description: &str| {
        let mut class = PriorityClass {
            value,
            description: description.to_owned(),
            preemption_policy: Some(PreemptionPolicy::PreemptLowerPriority),
            ..PriorityClass::default()
        };
        class.metadata.name = name.to_owned();
        class
    };
    vec![
        class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ]
}

/// A system namespace.
pub fn namespace(name: &str) -> Namespace {
    let mut namespace = Namespace::default();
    namespace.metadata.name = name.to_owned();
    namespace
}
