//! Role and ClusterRole: what may be done.

use crate::field::{Errors, Path};
use crate::kind::{Kind, NameRule, Strategy, resource};
use crate::meta::v1::{LabelSelector, ObjectMeta};
use crate::selector;
use crate::value::Value;
use api_types_derive::Api;

/// Permissions within a namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.rbac.v1")]
pub struct Role {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What is allowed.
    #[api(2, always, list = atomic)]
    pub rules: Vec<PolicyRule>,
}

/// Permissions in the whole cluster, or for use in any namespace.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.rbac.v1")]
pub struct ClusterRole {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What is allowed.
    #[api(2, always, list = atomic)]
    pub rules: Vec<PolicyRule>,
    /// Other ClusterRoles whose rules make up this one's.
    #[api(3)]
    pub aggregation_rule: Option<Box<AggregationRule>>,
}

/// Which ClusterRoles are put together.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.rbac.v1")]
pub struct AggregationRule {
    /// Labels of those; one match is enough.
    #[api(1, list = atomic)]
    pub cluster_role_selectors: Vec<LabelSelector>,
}

/// One permission, on resources or on other paths.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.rbac.v1")]
pub struct PolicyRule {
    /// Allowed verbs; * stands for all.
    #[api(1, required, list = atomic)]
    pub verbs: Vec<String>,
    /// Groups of the resources; empty string for the core group, * for all.
    #[api(2, list = atomic)]
    pub api_groups: Vec<String>,
    /// Resources and subresources; * stands for all.
    #[api(3, list = atomic)]
    pub resources: Vec<String>,
    /// Names of objects; empty stands for every name.
    #[api(4, list = atomic)]
    pub resource_names: Vec<String>,
    /// Paths that are no resources; only in ClusterRoles.
    #[api(5, name = "nonResourceURLs", list = atomic)]
    pub non_resource_urls: Vec<String>,
}

resource!(
    ClusterRole,
    Kind::cluster_wide("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", "clusterrole")
);

impl Strategy for ClusterRole {
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const CREATE_ON_UPDATE: bool = true;

    fn validate(&self, errors: &mut Errors) {
        rules(&self.rules, false, errors);
        let Some(aggregation) = &self.aggregation_rule else { return };
        let path = Path::new("aggregationRule").child("clusterRoleSelectors");
        if aggregation.cluster_role_selectors.is_empty() {
            let text = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.required(&path, text);
        }
        for (place, spec) in aggregation.cluster_role_selectors.iter().enumerate() {
            selector::validate(spec, &path.index(place), errors);
        }
    }
}

resource!(Role, Kind::namespaced("rbac.authorization.k8s.io/v1", "Role", "roles", "role"));

impl Strategy for Role {
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const CREATE_ON_UPDATE: bool = true;

    fn validate(&self, errors: &mut Errors) {
        rules(&self.rules, true, errors);
    }
}

/// A rule speaks either of resources or of URLs; of URLs only outside of namespaces.
fn rules(rules: &[PolicyRule], namespaced: bool, errors: &mut Errors) {
    for (place, rule) in rules.iter().enumerate() {
        let path = Path::new("rules").index(place);
        if rule.verbs.is_empty() {
            errors.required(&path.child("verbs"), "verbs must contain at least one value");
        }
        if !rule.non_resource_urls.is_empty() {
            let (path, urls) = (path.child("nonResourceURLs"), &rule.non_resource_urls as &dyn Value);
            if namespaced {
                errors.invalid(&path, urls, "namespaced rules cannot apply to non-resource URLs");
            }
            if !rule.api_groups.is_empty() || !rule.resources.is_empty() || !rule.resource_names.is_empty() {
                let text = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(&path, urls, text);
            }
            continue;
        }
        if rule.api_groups.is_empty() {
            let text = "resource rules must supply at least one api group";
            errors.required(&path.child("apiGroups"), text);
        }
        if rule.resources.is_empty() {
            let text = "resource rules must supply at least one resource";
            errors.required(&path.child("resources"), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::refused;

    #[test]
    fn rules_speak_of_resources_or_urls() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let good = PolicyRule {
            verbs: texts(&["get"]),
            api_groups: texts(&[""]),
            resources: texts(&["pods"]),
            ..Default::default()
        };
        let urls = PolicyRule {
            verbs: texts(&["get"]),
            non_resource_urls: texts(&["/healthz"]),
            ..Default::default()
        };
        let role = |rules: &[PolicyRule]| Role { rules: rules.to_vec(), ..Role::default() };
        assert!(refused(role(std::slice::from_ref(&good))).is_empty());
        assert_eq!(
            refused(role(&[PolicyRule::default(), urls.clone()])),
            [
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
                r#"rules[1].nonResourceURLs: Invalid value: ["/healthz"]: namespaced rules cannot apply to non-resource URLs"#,
            ]
        );
        assert!(refused(ClusterRole { rules: vec![good, urls], ..ClusterRole::default() }).is_empty());
    }
}
