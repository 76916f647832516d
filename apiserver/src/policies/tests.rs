//! Policies: which requests they are about.

use super::matching::{Asked, choose};
use api_types::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, OperationType, Rule, RuleWithOperations,
};
use api_types::apps::v1::Deployment;
use api_types::kind::Resource;
use std::collections::BTreeMap;

fn rule(group: &str, resource: &str) -> NamedRuleWithOperations {
    let rule = Rule {
        api_groups: vec![group.into()],
        api_versions: vec!["*".into()],
        resources: vec![resource.into()],
        scope: None,
    };
    NamedRuleWithOperations {
        resource_names: Vec::new(),
        rule: RuleWithOperations { operations: vec![OperationType::Create], rule },
    }
}

#[test]
fn rules_names_and_selectors_decide() {
    let labels: BTreeMap<String, String> = [("env".to_owned(), "test".to_owned())].into();
    let asked = Asked {
        operation: OperationType::Create,
        kind: Deployment::facts(),
        subresource: "",
        namespace: "n",
        name: "one",
        namespace_labels: Some(&labels),
        labels: [Some(&labels), None],
        equivalents: &[],
    };
    let is = |resources: &MatchResources| choose(resources, &asked).expect("nothing is in doubt").is_some();
    let mut own =
        MatchResources { resource_rules: vec![rule("apps", "deployments")], ..MatchResources::default() };
    assert!(is(&own));
    own.resource_rules[0].resource_names = vec!["two".into()];
    assert!(!is(&own));
    own.resource_rules[0].resource_names.push("one".into());
    assert!(is(&own));
    own.exclude_resource_rules = vec![rule("*", "*")];
    assert!(!is(&own));
    own.exclude_resource_rules = vec![rule("*", "*/scale")];
    assert!(is(&own));
    let mut selector = api_types::meta::v1::LabelSelector::default();
    selector.match_labels.insert("env".into(), "prod".into());
    own.namespace_selector = Some(Box::new(selector));
    assert!(!is(&own));
}
