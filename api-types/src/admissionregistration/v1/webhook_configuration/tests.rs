//! Defaults and refusals of webhook configurations.

use super::*;
use crate::admissionregistration::v1::{OperationType, Rule};
use crate::kind::testing::{defaulted, refused, refused_update};

fn hook() -> MutatingWebhook {
    MutatingWebhook {
        name: "a.example.com".into(),
        client_config: WebhookClientConfig {
            service: Some(Box::new(ServiceReference {
                namespace: "ns".into(),
                name: "hook".into(),
                ..ServiceReference::default()
            })),
            ..WebhookClientConfig::default()
        },
        side_effects: Some(SideEffectClass::None),
        admission_review_versions: vec!["v1".into()],
        ..MutatingWebhook::default()
    }
}

fn rule(operations: &[&str], resources: &[&str]) -> RuleWithOperations {
    RuleWithOperations {
        operations: operations.iter().map(|one| OperationType::from(*one)).collect(),
        rule: Rule {
            api_groups: vec![String::new()],
            api_versions: vec!["v1".into()],
            resources: resources.iter().map(|one| (*one).to_owned()).collect(),
            scope: None,
        },
    }
}

fn of(hook: MutatingWebhook) -> MutatingWebhookConfiguration {
    MutatingWebhookConfiguration { webhooks: vec![hook], ..MutatingWebhookConfiguration::default() }
}

#[test]
fn defaults() {
    let mut own = hook();
    own.rules = vec![rule(&["CREATE"], &["pods"])];
    let own = defaulted(of(own)).webhooks.remove(0);
    assert_eq!(own.failure_policy, Some(FailurePolicyType::Fail));
    assert_eq!(own.match_policy, Some(MatchPolicyType::Equivalent));
    assert_eq!(own.reinvocation_policy, Some(ReinvocationPolicyType::Never));
    assert_eq!(own.timeout_seconds, Some(10));
    assert_eq!(own.namespace_selector.as_deref(), Some(&LabelSelector::default()));
    assert_eq!(own.rules[0].rule.scope.as_ref().map(|scope| scope.as_str()), Some("*"));
    assert_eq!(own.client_config.service.and_then(|service| service.port), Some(443));
}

#[test]
fn what_is_refused() {
    assert!(refused(of(hook())).is_empty());
    let mut own = hook();
    own.name = "short.name".into();
    own.client_config.url = Some("https://a".into());
    own.side_effects = Some(SideEffectClass::Some);
    own.timeout_seconds = Some(31);
    own.admission_review_versions = vec!["v2".into()];
    own.rules = vec![rule(&["CREATE", "*"], &["pods", "*"]), rule(&["X"], &["pods/*", "pods/log", "*"])];
    let first = "webhooks[0]";
    assert_eq!(
        refused(of(own)),
        [
            format!(
                "{first}.name: Invalid value: \"short.name\": should be a domain with at least three segments separated by dots"
            ),
            format!(
                "{first}.rules[0].operations: Invalid value: [\"CREATE\",\"*\"]: if '*' is present, must not specify other operations"
            ),
            format!(
                "{first}.rules[1].operations[0]: Unsupported value: \"X\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\""
            ),
            format!(
                "{first}.rules[1].resources[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must not specify pods/log"
            ),
            format!(
                "{first}.sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\""
            ),
            format!(
                "{first}.timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"
            ),
            format!("{first}.clientConfig: Required value: exactly one of url or service is required"),
            format!(
                "{first}.admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1"
            ),
        ]
    );
}

#[test]
fn names_are_unique_and_old_faults_are_kept() {
    let mut own = of(hook());
    own.webhooks.push(hook());
    let twice = "webhooks[1].name: Duplicate value: \"a.example.com\"";
    assert_eq!(refused(own.clone()), [twice]);
    assert!(refused_update(own.clone(), own.clone()).is_empty(), "it was so before");
    assert_eq!(refused_update(own, of(hook())), [twice]);
    let mut old = of(hook());
    old.webhooks[0].side_effects = Some(SideEffectClass::Unknown);
    assert!(refused_update(old.clone(), old.clone()).is_empty());
    assert_eq!(refused_update(old, of(hook())).len(), 1);
}

#[test]
fn generations_count_webhooks() {
    let mut old = of(hook());
    old.prepare_for_create();
    let mut new = old.clone();
    new.metadata.labels.insert("a".into(), "b".into());
    new.prepare_for_update(&old);
    assert_eq!(new.metadata.generation, 1);
    new.webhooks.clear();
    new.prepare_for_update(&old);
    assert_eq!(new.metadata.generation, 2);
}
