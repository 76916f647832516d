//! The default Roles and RoleBindings of kube-system and kube-public.

use super::table::{BindingRow, EVENTS, READ, RoleRow, bind, on, role};

const LEADER: &str = "get list watch create update";

pub(super) static SYSTEM_ROLES: &[RoleRow] = &[
    role(
        "extension-apiserver-authentication-reader",
        &[on(READ, "core", "configmaps").named("extension-apiserver-authentication")],
    ),
    role(
        "system::leader-locking-kube-controller-manager",
        &[on(LEADER, "coordination.k8s.io", "leases"), on(LEADER, "coordination.k8s.io", "leasecandidates")],
    ),
    role(
        "system::leader-locking-kube-scheduler",
        &[on(LEADER, "coordination.k8s.io", "leases"), on(LEADER, "coordination.k8s.io", "leasecandidates")],
    ),
    role("system:controller:bootstrap-signer", &[on(READ, "core", "secrets")]),
    role("system:controller:cloud-provider", &[on("get list watch create", "core", "configmaps")]),
    role("system:controller:token-cleaner", &[on("get list watch delete", "core", "secrets"), EVENTS]),
];

pub(super) static SYSTEM_BINDINGS: &[BindingRow] = &[
    bind("extension-apiserver-authentication-reader")
        .called("system::extension-apiserver-authentication-reader")
        .users("system:kube-controller-manager system:kube-scheduler"),
    bind("system::leader-locking-kube-controller-manager")
        .users("system:kube-controller-manager")
        .service_accounts("kube-system/kube-controller-manager kube-system/leader-election-controller"),
    bind("system::leader-locking-kube-scheduler")
        .users("system:kube-scheduler")
        .service_accounts("kube-system/kube-scheduler"),
    bind("system:controller:bootstrap-signer").service_accounts("kube-system/bootstrap-signer"),
    bind("system:controller:cloud-provider").service_accounts("kube-system/cloud-provider"),
    bind("system:controller:token-cleaner").service_accounts("kube-system/token-cleaner"),
];

pub(super) static PUBLIC_ROLES: &[RoleRow] = &[role(
    "system:controller:bootstrap-signer",
    &[on(READ, "core", "configmaps"), on("update", "core", "configmaps").named("cluster-info"), EVENTS],
)];

pub(super) static PUBLIC_BINDINGS: &[BindingRow] =
    &[bind("system:controller:bootstrap-signer").service_accounts("kube-system/bootstrap-signer")];
