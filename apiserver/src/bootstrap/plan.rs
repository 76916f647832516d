//! What has to be written to bring a default object in line with what is there.
//!
//! Pure. Reconciliation only adds: rules, subjects, labels and annotations that an administrator
//! put on a default object stay, and `autoupdate: "false"` keeps the object as it is.

use super::table::AUTO_UPDATE;
use crate::authz::rbac::escalation::uncovered;
use api_types::meta::v1::ObjectMeta;
use api_types::rbac::v1::{AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use api_types::selector;
use std::collections::BTreeMap;

/// What to do about one default object.
#[derive(Debug, PartialEq)]
pub enum Step<T> {
    Keep,
    Create(T),
    Update(T),
    /// The role of a binding cannot be changed: delete the old one, create this.
    Recreate(T),
}

/// A kind of default object.
pub trait DefaultObject: Sized + Clone + PartialEq {
    /// What to do, given what is there.
    fn plan(wanted: Self, existing: Option<&Self>) -> Step<Self>;
}

impl DefaultObject for ClusterRole {
    fn plan(wanted: Self, existing: Option<&Self>) -> Step<Self> {
        let Some(existing) = existing else { return Step::Create(wanted) };
        let mut merged = existing.clone();
        merge_meta(&mut merged.metadata, &wanted.metadata);
        merged.rules.extend(uncovered(&existing.rules, &wanted.rules));
        match (wanted.aggregation_rule, &mut merged.aggregation_rule) {
            (None, aggregation) => *aggregation = None,
            (Some(wanted), Some(aggregation)) => {
                for selector in wanted.cluster_role_selectors {
                    if !aggregation.cluster_role_selectors.contains(&selector) {
                        aggregation.cluster_role_selectors.push(selector);
                    }
                }
            }
            (wanted @ Some(_), none) => *none = wanted,
        }
        step(existing, merged, &existing.metadata)
    }
}

impl DefaultObject for Role {
    fn plan(wanted: Self, existing: Option<&Self>) -> Step<Self> {
        let Some(existing) = existing else { return Step::Create(wanted) };
        let mut merged = existing.clone();
        merge_meta(&mut merged.metadata, &wanted.metadata);
        merged.rules.extend(uncovered(&existing.rules, &wanted.rules));
        step(existing, merged, &existing.metadata)
    }
}

impl DefaultObject for ClusterRoleBinding {
    fn plan(wanted: Self, existing: Option<&Self>) -> Step<Self> {
        let Some(existing) = existing else { return Step::Create(wanted) };
        if existing.role_ref != wanted.role_ref {
            return recreate(wanted, &existing.metadata);
        }
        let mut merged = existing.clone();
        merge_meta(&mut merged.metadata, &wanted.metadata);
        let missing = wanted.subjects.into_iter().filter(|s| !existing.subjects.contains(s));
        merged.subjects.extend(missing);
        step(existing, merged, &existing.metadata)
    }
}

impl DefaultObject for RoleBinding {
    fn plan(wanted: Self, existing: Option<&Self>) -> Step<Self> {
        let Some(existing) = existing else { return Step::Create(wanted) };
        if existing.role_ref != wanted.role_ref {
            return recreate(wanted, &existing.metadata);
        }
        let mut merged = existing.clone();
        merge_meta(&mut merged.metadata, &wanted.metadata);
        let missing = wanted.subjects.into_iter().filter(|s| !existing.subjects.contains(s));
        merged.subjects.extend(missing);
        step(existing, merged, &existing.metadata)
    }
}

fn is_protected(existing: &ObjectMeta) -> bool {
    existing.annotations.get(AUTO_UPDATE).is_some_and(|value| value == "false")
}

fn recreate<T>(wanted: T, existing: &ObjectMeta) -> Step<T> {
    if is_protected(existing) { Step::Keep } else { Step::Recreate(wanted) }
}

fn step<T: PartialEq>(existing: &T, merged: T, meta: &ObjectMeta) -> Step<T> {
    if is_protected(meta) || merged == *existing { Step::Keep } else { Step::Update(merged) }
}

/// What is there wins over what is wanted.
fn merge_meta(merged: &mut ObjectMeta, wanted: &ObjectMeta) {
    let merge = |into: &mut BTreeMap<String, String>, from: &BTreeMap<String, String>| {
        for (key, value) in from {
            into.entry(key.clone()).or_insert_with(|| value.clone());
        }
    };
    merge(&mut merged.labels, &wanted.labels);
    merge(&mut merged.annotations, &wanted.annotations);
}

/// The rules that an aggregated role should have, given all ClusterRoles in order of names;
/// `None` when it has them.
pub fn aggregated(role: &ClusterRole, all: &[ClusterRole]) -> Option<Vec<PolicyRule>> {
    let AggregationRule { cluster_role_selectors } = role.aggregation_rule.as_deref()?;
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in cluster_role_selectors {
        let Ok(selector) = selector::Labels::from_spec(Some(selector)) else { continue };
        for part in all.iter().filter(|part| part.metadata.name != role.metadata.name) {
            if selector.matches(&part.metadata.labels) {
                for rule in &part.rules {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
    }
    (rules != role.rules).then_some(rules)
}
