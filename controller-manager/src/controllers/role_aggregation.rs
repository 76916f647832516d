//! clusterrole-aggregation-controller: a cluster role with an aggregation rule has the rules of all
//! cluster roles that its selectors choose.

use api_types::codec::json;
use api_types::kind::Resource as _;
use api_types::rbac::v1::{ClusterRole, PolicyRule};
use api_types::selector::Labels;
use client::controller::{Action, Controller, Never, Plan, Target, Wake};
use client::informer::{Caches, Change};
use client::{Key, Patch};
use jiff::Timestamp;

use crate::cached::RoleObject;

/// See the module.
#[derive(Debug)]
pub struct RoleAggregation;

/// A role that aggregates, and all roles by name.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub role: ClusterRole,
    pub all: Vec<ClusterRole>,
}

impl Controller for RoleAggregation {
    const NAME: &'static str = "clusterrole-aggregation-controller";
    const QUEUE: &'static str = "ClusterRoleAggregator";
    type View = View;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        // Any role may be part of any aggregate.
        vec![Wake::on::<RoleObject>(|_: &Change<'_, RoleObject>, caches, keys| {
            let all = caches.store::<RoleObject>().all();
            keys.extend(all.into_iter().filter(|(_, r)| r.aggregation_rule.is_some()).map(|(key, _)| key));
        })]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let roles = caches.store::<RoleObject>();
        let role = roles.get(key).filter(|r| r.aggregation_rule.is_some())?.0.clone();
        // In order of names, so that the rules come in a stable order.
        let all = roles.all().into_iter().map(|(_, r)| r.0.clone()).collect();
        Some(View { role, all })
    }

    fn plan(view: &View, _: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let rules = aggregated(view);
        if rules != view.role.rules {
            let rules = serde_json::from_slice::<serde_json::Value>(&json::value_to_vec(&rules));
            let rules = rules.ok().filter(|r| !r.is_null()).unwrap_or_else(|| serde_json::json!([]));
            let object = serde_json::json!({
                "apiVersion": ClusterRole::KIND.api_version,
                "kind": ClusterRole::KIND.kind,
                "metadata": { "name": view.role.metadata.name },
                "rules": rules,
            });
            let patch = Patch::Apply { manager: Self::NAME.into(), force: true, object };
            plan.act(Action::patch(Target::of(&view.role), patch));
        }
        plan
    }
}

fn aggregated(view: &View) -> Vec<PolicyRule> {
    let selectors = view.role.aggregation_rule.iter().flat_map(|a| &a.cluster_role_selectors);
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let Ok(selector) = Labels::from_spec(Some(selector)) else { continue };
        let chosen = view.all.iter().filter(|role| {
            role.metadata.name != view.role.metadata.name && selector.matches(&role.metadata.labels)
        });
        for rule in chosen.flat_map(|role| &role.rules) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use api_types::meta::v1::LabelSelector;
    use api_types::rbac::v1::AggregationRule;
    use client::controller::Effect;

    use super::*;

    fn role(name: &str, label: &str, verbs: &[&str]) -> ClusterRole {
        let mut role = ClusterRole::default();
        role.metadata.name = name.into();
        role.metadata.labels.insert("aggregate".into(), label.into());
        let rule = |verb: &&str| PolicyRule { verbs: vec![(*verb).into()], ..Default::default() };
        role.rules = verbs.iter().map(rule).collect();
        role
    }

    fn view() -> View {
        let mut sum = role("sum", "yes", &[]);
        let mut selector = LabelSelector::default();
        selector.match_labels.insert("aggregate".into(), "yes".into());
        sum.aggregation_rule =
            Some(Box::new(AggregationRule { cluster_role_selectors: vec![selector.clone(), selector] }));
        let all = vec![
            role("a", "yes", &["get", "list"]),
            role("b", "yes", &["get"]),
            role("c", "no", &["delete"]),
            sum.clone(),
        ];
        View { role: sum, all }
    }

    #[test]
    fn chosen_rules_are_put_together_once_each() {
        let view = view();
        let plan = RoleAggregation::plan(&view, Timestamp::UNIX_EPOCH);
        let Effect::Patch { patch: Patch::Apply { object, .. }, .. } = &plan.actions()[0].effect else {
            panic!("{plan:?}")
        };
        assert_eq!(object["rules"], serde_json::json!([{"verbs": ["get"]}, {"verbs": ["list"]}]));
    }

    #[test]
    fn a_role_that_has_them_is_left_alone() {
        let mut view = view();
        view.role.rules = aggregated(&view);
        assert!(RoleAggregation::plan(&view, Timestamp::UNIX_EPOCH).is_nothing());
        view.all.clear();
        assert_eq!(RoleAggregation::plan(&view, Timestamp::UNIX_EPOCH).actions().len(), 1, "they go, too");
    }
}
