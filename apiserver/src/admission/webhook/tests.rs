//! Who is asked about what, and what answers mean.

use std::collections::BTreeMap;

use api_types::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, OperationType, ReinvocationPolicyType, Rule,
    RuleWithOperations, ScopeType,
};
use api_types::core::v1::ConfigMap;
use api_types::kind::{Row, Strategy};
use api_types::kinds;
use api_types::meta::v1::{LabelSelector, Status, StatusReason};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::hook::{Hook, Hooks};
use super::plan::{self, Asked, Doubt, Rounds, Seen};
use super::review::{self, Bad};
use crate::admission::{Operation, Payload, Request};
use crate::request::{RequestInfo, User};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn rule(operations: &[&str], group: &str, version: &str, resource: &str) -> RuleWithOperations {
    RuleWithOperations {
        operations: operations.iter().map(|one| OperationType::from(*one)).collect(),
        rule: Rule {
            api_groups: vec![group.into()],
            api_versions: vec![version.into()],
            resources: vec![resource.into()],
            scope: None,
        },
    }
}

fn hook(change: impl FnOnce(&mut MutatingWebhook)) -> Hook {
    let mut own = MutatingWebhook { name: "a.b.c".into(), ..MutatingWebhook::default() };
    change(&mut own);
    let mut configuration = MutatingWebhookConfiguration { webhooks: vec![own], ..Default::default() };
    configuration.metadata.name = "conf".into();
    configuration.set_defaults();
    Hooks::from(configuration).0.remove(0)
}

fn row(group: &str, version: &str, resource: &str) -> &'static Row {
    kinds::by_resource(group, version, resource).expect("a kind")
}

fn asked(row: &'static Row, namespace: &'static str) -> Asked<'static> {
    Asked {
        operation: OperationType::Create,
        kind: row.kind,
        subresource: "",
        namespace,
        equivalents: &[],
        namespace_labels: None,
        labels: [None, None],
    }
}

fn is_asked(hook: &Hook, asked: &Asked<'_>) -> bool {
    plan::choose(hook, asked).expect("no doubt").is_some()
}

#[test]
fn rules_name_operations_groups_versions_and_resources() {
    let pods = asked(row("", "v1", "pods"), "ns");
    let check = |operations: &[&str], group: &str, version: &str, resource: &str, expected: bool| {
        let own = hook(|own| own.rules = vec![rule(operations, group, version, resource)]);
        assert_eq!(is_asked(&own, &pods), expected, "{operations:?} {group} {version} {resource}");
    };
    check(&["CREATE"], "", "v1", "pods", true);
    check(&["*"], "*", "*", "*", true);
    check(&["*"], "*", "*", "*/*", true);
    check(&["CREATE"], "", "v1", "pods/*", true);
    check(&["UPDATE", "DELETE"], "", "v1", "pods", false);
    check(&["CREATE"], "apps", "v1", "pods", false);
    check(&["CREATE"], "", "v2", "pods", false);
    check(&["CREATE"], "", "v1", "pods/exec", false);
    let exec = Asked { subresource: "exec", ..asked(row("", "v1", "pods"), "ns") };
    let of = |resource: &str| hook(|own| own.rules = vec![rule(&["*"], "", "v1", resource)]);
    assert!(is_asked(&of("pods/exec"), &exec) && is_asked(&of("*/*"), &exec));
    assert!(!is_asked(&of("pods"), &exec) && !is_asked(&of("*"), &exec));
}

#[test]
fn scopes() {
    let of = |scope: &str| {
        hook(|own| {
            let mut rule = rule(&["*"], "*", "*", "*");
            rule.rule.scope = Some(ScopeType::from(scope));
            own.rules = vec![rule];
        })
    };
    let pods = asked(row("", "v1", "pods"), "ns");
    // A namespace itself is outside of namespaces, although its name is the request's namespace.
    let namespaces = asked(row("", "v1", "namespaces"), "ns");
    let nodes = asked(row("", "v1", "nodes"), "");
    for (scope, expected) in [("Namespaced", [true, false, false]), ("Cluster", [false, true, true])] {
        let found = [&pods, &namespaces, &nodes].map(|asked| is_asked(&of(scope), asked));
        assert_eq!(found, expected, "{scope}");
    }
}

fn selector(pairs: &[(&str, &str)]) -> Option<Box<LabelSelector>> {
    Some(Box::new(LabelSelector { match_labels: labels(pairs), ..LabelSelector::default() }))
}

#[test]
fn selectors_read_namespaces_and_objects() {
    let all = || vec![rule(&["*"], "*", "*", "*")];
    let in_prod = hook(|own| (own.rules, own.namespace_selector) = (all(), selector(&[("env", "prod")])));
    let (prod, test) = (labels(&[("env", "prod")]), labels(&[("env", "test")]));
    let pods = |of| Asked { namespace_labels: of, ..asked(row("", "v1", "pods"), "ns") };
    assert!(is_asked(&in_prod, &pods(Some(&prod))));
    assert!(!is_asked(&in_prod, &pods(Some(&test))));
    assert_eq!(plan::choose(&in_prod, &pods(None)).map(|_| ()), Err(Doubt::NoNamespace));
    assert!(is_asked(&in_prod, &asked(row("", "v1", "nodes"), "")), "never exempt outside of namespaces");
    let other = hook(|own| {
        own.rules = vec![rule(&["*"], "apps", "v1", "*")];
        own.namespace_selector = selector(&[("env", "prod")]);
    });
    assert!(!is_asked(&other, &pods(None)), "whom the rules do not name is not in doubt");

    let marked = hook(|own| (own.rules, own.object_selector) = (all(), selector(&[("a", "b")])));
    let (with, without) = (labels(&[("a", "b")]), labels(&[]));
    let change = |new, old| Asked { labels: [new, old], ..asked(row("", "v1", "pods"), "ns") };
    assert!(is_asked(&marked, &change(Some(&with), None)));
    assert!(is_asked(&marked, &change(Some(&without), Some(&with))), "the old object counts, too");
    assert!(!is_asked(&marked, &change(Some(&without), Some(&without))));
    assert!(!is_asked(&marked, &change(None, None)));
}

#[test]
fn other_versions_match_where_that_is_wanted() {
    let equivalents = [row("autoscaling", "v1", "horizontalpodautoscalers")];
    let v2 = Asked {
        equivalents: &equivalents,
        ..asked(row("autoscaling", "v2", "horizontalpodautoscalers"), "ns")
    };
    let of = |policy: &str| {
        hook(|own| {
            own.rules = vec![rule(&["*"], "autoscaling", "v1", "*")];
            own.match_policy = Some(policy.into());
        })
    };
    assert!(!is_asked(&of("Exact"), &v2));
    match plan::choose(&of("Equivalent"), &v2) {
        Ok(Some(Seen::As(row))) => assert_eq!(row.kind.version, "v1"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn later_changes_are_seen_by_those_who_care() {
    let named = |name: &str, policy: ReinvocationPolicyType| {
        hook(|own| (own.name, own.reinvocation_policy) = (name.into(), Some(policy)))
    };
    let (first, second) = (
        named("a.first.x", ReinvocationPolicyType::IfNeeded),
        named("b.second.x", ReinvocationPolicyType::IfNeeded),
    );
    let never = named("c.never.x", ReinvocationPolicyType::Never);
    let mut rounds = Rounds::default();
    rounds.begin(Some(b"0"));
    let asked = |rounds: &mut Rounds, hook: &Hook, changed| rounds.asked(&hook.uid, hook.reinvoked, changed);
    asked(&mut rounds, &first, true);
    asked(&mut rounds, &second, true);
    asked(&mut rounds, &never, false);
    rounds.end(Some(b"2".to_vec()));
    assert!(rounds.changed);
    rounds.second = true;
    rounds.begin(Some(b"2"));
    assert!(rounds.asks(&first.uid), "the second has changed the object since");
    assert!(!rounds.asks(&second.uid) && !rounds.asks(&never.uid));

    let mut rounds = Rounds::default();
    rounds.begin(Some(b"0"));
    asked(&mut rounds, &second, true);
    rounds.end(Some(b"1".to_vec()));
    rounds.second = true;
    rounds.begin(Some(b"1+plugins"));
    assert!(rounds.asks(&second.uid), "plugins have changed the object since");
}

fn question(object: &mut ConfigMap) -> serde_json::Value {
    let user = User { name: "jane".into(), groups: vec!["g".into()], ..User::default() };
    let info = RequestInfo::default();
    let request = Request {
        operation: Operation::Create,
        kind: row("", "v1", "configmaps").kind,
        subresource: "",
        namespace: "ns",
        name: "a",
        user: &user,
        info: &info,
        object: Payload::Open(object),
        old: None,
        dry_run: true,
        deletion: None,
        call: None,
        warnings: Vec::new(),
    };
    let shown = request.object.get().map(api_types::codec::json::to_vec);
    let text = review::question("v1", "U", &request, Seen::AsIs, shown, None);
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn questions_are_upstreams() {
    let mut object = ConfigMap::default();
    object.metadata.name = "a".into();
    let kind = serde_json::json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let resource = serde_json::json!({"group": "", "version": "v1", "resource": "configmaps"});
    assert_eq!(
        question(&mut object),
        serde_json::json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
            "uid": "U", "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "name": "a", "namespace": "ns", "operation": "CREATE",
            "userInfo": {"username": "jane", "groups": ["g"]},
            "object": {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}},
            "oldObject": null, "dryRun": true,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"]}
        }})
    );
}

fn answer(version: &str, mutating: bool, response: &str) -> Result<review::Response, Bad> {
    let body = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/{version}","response":{response}}}"#
    );
    review::response(version, "U", mutating, body.as_bytes())
}

#[test]
fn answers_are_verified() {
    let patch = STANDARD.encode("[]");
    let invalid = |mutating: bool, response: &str| match answer("v1", mutating, response) {
        Err(Bad::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(answer("v1", false, r#"{"uid":"U","allowed":true}"#).expect("an answer").allowed);
    assert_eq!(invalid(true, "null"), "webhook response was absent");
    assert_eq!(invalid(true, r#"{"uid":"x"}"#), "expected response.uid=\"U\", got \"x\"");
    assert_eq!(
        invalid(true, &format!(r#"{{"uid":"U","allowed":true,"patch":"{patch}"}}"#)),
        "webhook returned response.patch but not response.patchType"
    );
    assert_eq!(
        invalid(false, r#"{"uid":"U","allowed":true,"patchType":"JSONPatch"}"#),
        "validating webhook may not return response.patchType"
    );
    let bare = review::response("v1", "U", true, br#"{"response":{"uid":"U","allowed":true}}"#);
    assert_eq!(
        bare,
        Err(Bad::Invalid(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=".into()
        ))
    );
    let old = answer("v1beta1", true, &format!(r#"{{"allowed":true,"patch":"{patch}"}}"#));
    assert_eq!(old.expect("v1beta1 does not verify").patch, b"[]");
}

#[test]
fn refusals_name_the_webhook() {
    let message = |said: Option<Status>| {
        let status = review::denied("a.b.c", said);
        (status.code, status.message)
    };
    let by = "admission webhook \"a.b.c\" denied the request";
    assert_eq!(message(None), (400, format!("{by} without explanation")));
    let said = Status { message: "no".into(), code: 403, ..Status::default() };
    assert_eq!(message(Some(said)), (403, format!("{by}: no")));
    let said = Status { reason: StatusReason::Forbidden, code: 200, ..Status::default() };
    assert_eq!(message(Some(said)), (400, format!("{by}: Forbidden")));
}
