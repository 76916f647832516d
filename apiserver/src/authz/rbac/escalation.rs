//! Nobody grants what they do not have: the check on writes of roles and bindings (API doc
//! "Privilege escalation prevention and bootstrapping"). The verbs `escalate` and `bind` lift it.

use super::policy::Policy;
use super::{aggregate, rules::url_matches};
use crate::authz::Authorizer;
use crate::request::{Attributes, Decision, RequestInfo, User};
use api_types::kind::{Object, Resource};
use api_types::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef};
use std::collections::BTreeSet;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Why a role or binding may not be written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EscalationError {
    /// A 403 on the object; the text goes behind `… is forbidden: `.
    #[error("{0}")]
    Forbidden(String),
    /// A 404: the binding's role is not there, so nobody can tell what it would grant.
    #[error("{kind}.rbac.authorization.k8s.io {name:?} not found")]
    RoleNotFound { kind: &'static str, name: String },
    #[error("unsupported role reference kind: {0:?}")]
    UnknownRoleKind(String),
}

/// Who writes, and how it is decided what they have.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    pub user: &'a User,
    pub info: &'a RequestInfo,
    pub policy: &'a Policy,
    pub authorizer: &'a dyn Authorizer,
}

impl Check<'_> {
    /// Checks a write of `new` over `old`; objects of other kinds pass.
    ///
    /// # Errors
    /// When it would grant more than the user has.
    pub fn write(&self, new: &dyn Object, old: Option<&dyn Object>) -> Result<(), EscalationError> {
        let any = new.as_any();
        if let Some(role) = any.downcast_ref::<ClusterRole>() {
            let old = old.and_then(|o| o.as_any().downcast_ref::<ClusterRole>());
            self.role(role, old, &role.rules)?;
            if aggregates(role) || old.is_some_and(aggregates) {
                self.aggregation(role, old)?;
            }
            Ok(())
        } else if let Some(role) = any.downcast_ref::<Role>() {
            self.role(role, old.and_then(|o| o.as_any().downcast_ref()), &role.rules)
        } else if let Some(binding) = any.downcast_ref::<ClusterRoleBinding>() {
            let old = old.and_then(|o| o.as_any().downcast_ref());
            self.binding(binding, old, &binding.role_ref, "")
        } else if let Some(binding) = any.downcast_ref::<RoleBinding>() {
            let old = old.and_then(|o| o.as_any().downcast_ref());
            self.binding(binding, old, &binding.role_ref, &binding.metadata.namespace)
        } else {
            Ok(())
        }
    }

    fn role<T: Resource + PartialEq>(
        &self,
        new: &T,
        old: Option<&T>,
        rules: &[PolicyRule],
    ) -> Result<(), EscalationError> {
        if self.is_master() || self.may_escalate() || old.is_some_and(|old| only_collector_fields(new, old)) {
            return Ok(());
        }
        self.covered(rules)
    }

    /// An aggregation rule can gather anything, so it takes everything.
    fn aggregation(&self, new: &ClusterRole, old: Option<&ClusterRole>) -> Result<(), EscalationError> {
        let all = || vec!["*".to_owned()];
        let everything = [
            PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..Default::default() },
            PolicyRule { verbs: all(), non_resource_urls: all(), ..Default::default() },
        ];
        self.role(new, old, &everything).map_err(|_| {
            EscalationError::Forbidden(
                "must have cluster-admin privileges to use the aggregationRule".to_owned(),
            )
        })
    }

    fn binding<T: Resource + PartialEq>(
        &self,
        new: &T,
        old: Option<&T>,
        role: &RoleRef,
        namespace: &str,
    ) -> Result<(), EscalationError> {
        if self.is_master()
            || old.is_some_and(|old| only_collector_fields(new, old))
            || self.may_bind(role, namespace)
        {
            return Ok(());
        }
        let rules = self.policy.rules_of_role(role, namespace).map_err(|_| match role.kind.as_str() {
            "Role" => EscalationError::RoleNotFound { kind: "roles", name: role.name.clone() },
            "ClusterRole" => EscalationError::RoleNotFound { kind: "clusterroles", name: role.name.clone() },
            other => EscalationError::UnknownRoleKind(other.to_owned()),
        })?;
        self.covered(&rules)
    }

    fn is_master(&self) -> bool {
        self.user.is_in(User::MASTERS)
    }

    fn may_escalate(&self) -> bool {
        let RequestInfo { resource, name, namespace, .. } = self.info;
        self.allowed(RequestInfo {
            is_resource: true,
            verb: "escalate".into(),
            group: GROUP.into(),
            version: "*".into(),
            resource: resource.clone(),
            name: name.clone(),
            namespace: namespace.clone(),
            ..RequestInfo::default()
        })
    }

    fn may_bind(&self, role: &RoleRef, namespace: &str) -> bool {
        let resource = match role.kind.as_str() {
            "ClusterRole" => "clusterroles",
            "Role" => "roles",
            _ => return false,
        };
        self.allowed(RequestInfo {
            is_resource: true,
            verb: "bind".into(),
            group: role.api_group.clone(),
            version: "*".into(),
            resource: resource.into(),
            name: role.name.clone(),
            namespace: namespace.into(),
            ..RequestInfo::default()
        })
    }

    fn allowed(&self, info: RequestInfo) -> bool {
        let decision = self.authorizer.authorize(Attributes { user: self.user, info: &info });
        matches!(decision, Decision::Allow(_))
    }

    fn covered(&self, wanted: &[PolicyRule]) -> Result<(), EscalationError> {
        let (held, errors) = self.policy.rules_for(self.user, &self.info.namespace);
        let missing = uncovered(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let lines: BTreeSet<String> = compacted(missing).iter().map(line).collect();
        let mut text = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            self.user.name,
            quoted(&self.user.groups),
            lines.into_iter().collect::<Vec<_>>().join("\n"),
        );
        if !errors.is_empty() {
            text.push_str(&format!("; resolution errors: [{}]", aggregate(&errors)));
        }
        Err(EscalationError::Forbidden(text))
    }
}

fn aggregates(role: &ClusterRole) -> bool {
    role.aggregation_rule.as_ref().is_some_and(|rule| !rule.cluster_role_selectors.is_empty())
}

/// Whether an update changes nothing but what the garbage collector needs to change.
fn only_collector_fields<T: Resource + PartialEq>(new: &T, old: &T) -> bool {
    let mut copy = new.clone();
    let (meta, old_meta) = (copy.metadata_mut(), old.metadata());
    meta.owner_references.clone_from(&old_meta.owner_references);
    meta.finalizers.clone_from(&old_meta.finalizers);
    meta.managed_fields.clone_from(&old_meta.managed_fields);
    copy == *old
}

/// The parts of `wanted`, one verb, resource and name each, that no rule in `held` covers.
pub fn uncovered(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    wanted.iter().flat_map(parts).filter(|part| !held.iter().any(|rule| covers(rule, part))).collect()
}

fn parts(rule: &PolicyRule) -> Vec<PolicyRule> {
    let one = |text: &String| vec![text.clone()];
    let mut parts = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let part = PolicyRule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: one(verb),
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    parts.push(part);
                } else {
                    parts.extend(
                        rule.resource_names
                            .iter()
                            .map(|name| PolicyRule { resource_names: one(name), ..part.clone() }),
                    );
                }
            }
        }
    }
    for url in &rule.non_resource_urls {
        for verb in &rule.verbs {
            parts.push(PolicyRule { non_resource_urls: one(url), verbs: one(verb), ..PolicyRule::default() });
        }
    }
    parts
}

/// Whether `held` covers `part`, which has at most one of each.
fn covers(held: &PolicyRule, part: &PolicyRule) -> bool {
    let all_in = |held: &[String], part: &[String]| part.iter().all(|p| held.contains(p));
    let star_or = |held: &[String], part: &[String]| held.iter().any(|h| h == "*") || all_in(held, part);
    let resources = held.resources.iter().any(|h| h == "*")
        || part.resources.iter().all(|p| {
            held.resources.contains(p)
                || p.split_once('/').is_some_and(|(_, sub)| held.resources.contains(&format!("*/{sub}")))
        });
    let names = held.resource_names.is_empty()
        || (!part.resource_names.is_empty() && all_in(&held.resource_names, &part.resource_names));
    star_or(&held.verbs, &part.verbs)
        && star_or(&held.api_groups, &part.api_groups)
        && resources
        && names
        && part.non_resource_urls.iter().all(|p| held.non_resource_urls.iter().any(|h| url_matches(h, p)))
}

/// Puts parts that differ in their verb only back together, for a shorter message.
fn compacted(parts: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut rules: Vec<PolicyRule> = Vec::new();
    for part in parts {
        let same = rules.iter_mut().find(|rule| {
            part.non_resource_urls.is_empty()
                && rule.non_resource_urls.is_empty()
                && rule.api_groups == part.api_groups
                && rule.resources == part.resources
                && rule.resource_names == part.resource_names
        });
        match same {
            Some(rule) => rule.verbs.extend(part.verbs),
            None => rules.push(part),
        }
    }
    rules
}

/// `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}`
fn line(rule: &PolicyRule) -> String {
    let fields = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let shown: Vec<String> = fields
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(name, values)| format!("{name}:{}", quoted(values)))
        .collect();
    format!("{{{}}}", shown.join(", "))
}

/// A list as Go's `%q` prints it: `["a" "b"]`.
fn quoted(values: &[String]) -> String {
    let quoted: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
    format!("[{}]", quoted.join(" "))
}
