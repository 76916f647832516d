//! How the default policy is written down: rows of words, turned into objects when they are needed.
//!
//! In a row `core` stands for the core API group, and `verbs`, `groups`, `resources`, `names` and
//! `urls` are words with blanks between.

use api_types::meta::v1::{LabelSelector, ObjectMeta};
use api_types::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

pub(super) const GROUP: &str = "rbac.authorization.k8s.io";
/// Whether the server may bring a default object back in line at its start; `false` keeps it off.
pub(super) const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

pub(super) const READ: &str = "get list watch";
pub(super) const WRITE: &str = "create update patch delete deletecollection";
pub(super) const READ_WRITE: &str = "get list watch create update patch delete deletecollection";
pub(super) const EVENTS: Grant = on("create update patch", "core events.k8s.io", "events");

/// A rule.
pub(super) struct Grant {
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
    urls: &'static str,
}

pub(super) const fn on(verbs: &'static str, groups: &'static str, resources: &'static str) -> Grant {
    Grant { verbs, groups, resources, names: "", urls: "" }
}

pub(super) const fn paths(verbs: &'static str, urls: &'static str) -> Grant {
    Grant { verbs, groups: "", resources: "", names: "", urls }
}

impl Grant {
    /// Limits the rule to objects of these names.
    pub(super) const fn named(mut self, names: &'static str) -> Self {
        self.names = names;
        self
    }

    fn rule(&self) -> PolicyRule {
        let mut rule = PolicyRule {
            verbs: words(self.verbs),
            api_groups: words(self.groups),
            resources: words(self.resources),
            resource_names: words(self.names),
            non_resource_urls: words(self.urls),
        };
        // COMPAT: upstream's defaults list their verbs sorted.
        rule.verbs.sort();
        rule
    }
}

/// A Role or ClusterRole.
pub(super) struct RoleRow {
    name: &'static str,
    grants: &'static [Grant],
    /// The role's rules are those of the roles that are part of this one.
    aggregates: &'static str,
    part_of: &'static str,
}

pub(super) const fn role(name: &'static str, grants: &'static [Grant]) -> RoleRow {
    RoleRow { name, grants, aggregates: "", part_of: "" }
}

/// A ClusterRole made up of all that are `part_of(what)`.
pub(super) const fn aggregate(name: &'static str, what: &'static str) -> RoleRow {
    RoleRow { name, grants: &[], aggregates: what, part_of: "" }
}

impl RoleRow {
    pub(super) const fn part_of(mut self, role: &'static str) -> Self {
        self.part_of = role;
        self
    }

    fn rules(&self) -> Vec<PolicyRule> {
        self.grants.iter().map(Grant::rule).collect()
    }

    /// `prefix` goes before the name.
    pub(super) fn cluster_role(&self, prefix: &str) -> ClusterRole {
        let mut metadata = default_meta(&format!("{prefix}{}", self.name), "");
        if !self.part_of.is_empty() {
            metadata.labels.insert(aggregation_label(self.part_of), "true".to_owned());
        }
        let aggregation_rule = (!self.aggregates.is_empty()).then(|| {
            let match_labels = [(aggregation_label(self.aggregates), "true".to_owned())].into();
            let selector = LabelSelector { match_labels, ..LabelSelector::default() };
            Box::new(AggregationRule { cluster_role_selectors: vec![selector] })
        });
        ClusterRole { metadata, rules: self.rules(), aggregation_rule }
    }

    pub(super) fn role(&self, namespace: &str) -> Role {
        Role { metadata: default_meta(self.name, namespace), rules: self.rules() }
    }

    /// The binding of a controller's role to the service account of the same name.
    pub(super) fn controller_binding(&self, prefix: &str) -> ClusterRoleBinding {
        let name = format!("{prefix}{}", self.name);
        ClusterRoleBinding {
            metadata: default_meta(&name, ""),
            subjects: vec![service_account("kube-system", self.name)],
            role_ref: role_ref("ClusterRole", &name),
        }
    }
}

/// A RoleBinding or ClusterRoleBinding.
pub(super) struct BindingRow {
    name: &'static str,
    role: &'static str,
    users: &'static str,
    groups: &'static str,
    /// `NAMESPACE/NAME` each.
    service_accounts: &'static str,
}

/// A binding of the same name as its role.
pub(super) const fn bind(role: &'static str) -> BindingRow {
    BindingRow { name: role, role, users: "", groups: "", service_accounts: "" }
}

impl BindingRow {
    pub(super) const fn called(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    pub(super) const fn users(mut self, users: &'static str) -> Self {
        self.users = users;
        self
    }

    pub(super) const fn groups(mut self, groups: &'static str) -> Self {
        self.groups = groups;
        self
    }

    pub(super) const fn service_accounts(mut self, accounts: &'static str) -> Self {
        self.service_accounts = accounts;
        self
    }

    pub(super) fn cluster_role_binding(&self) -> ClusterRoleBinding {
        ClusterRoleBinding {
            metadata: default_meta(self.name, ""),
            subjects: self.subjects(),
            role_ref: role_ref("ClusterRole", self.role),
        }
    }

    pub(super) fn role_binding(&self, namespace: &str) -> RoleBinding {
        RoleBinding {
            metadata: default_meta(self.name, namespace),
            subjects: self.subjects(),
            role_ref: role_ref("Role", self.role),
        }
    }

    fn subjects(&self) -> Vec<Subject> {
        let named = |kind: &'static str| {
            move |name: String| Subject {
                kind: kind.to_owned(),
                api_group: GROUP.to_owned(),
                name,
                namespace: String::new(),
            }
        };
        let accounts = words(self.service_accounts);
        let accounts = accounts.iter().map(|account| {
            let (namespace, name) = account.split_once('/').expect("rows name accounts as NAMESPACE/NAME");
            service_account(namespace, name)
        });
        words(self.users)
            .into_iter()
            .map(named("User"))
            .chain(words(self.groups).into_iter().map(named("Group")))
            .chain(accounts)
            .collect()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(|word| if word == "core" { "" } else { word }.to_owned()).collect()
}

fn aggregation_label(role: &str) -> String {
    format!("{GROUP}/aggregate-to-{role}")
}

fn default_meta(name: &str, namespace: &str) -> ObjectMeta {
    ObjectMeta {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        labels: [("kubernetes.io/bootstrapping".to_owned(), "rbac-defaults".to_owned())].into(),
        annotations: [(AUTO_UPDATE.to_owned(), "true".to_owned())].into(),
        ..ObjectMeta::default()
    }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: GROUP.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
}

fn service_account(namespace: &str, name: &str) -> Subject {
    Subject {
        kind: "ServiceAccount".to_owned(),
        api_group: String::new(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
    }
}
