//! The policy's rules, case by case.

use super::policy::{Level, Policy, Wrong};
use super::record::Stage;
use crate::request::{RequestInfo, User};

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: ["RequestReceived"]
omitManagedFields: true
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: ["watch"]
  resources: [{group: "", resources: ["endpoints", "services"]}]
- level: None
  userGroups: ["system:authenticated"]
  nonResourceURLs: ["/healthz*", "/version"]
- level: Request
  resources: [{group: "", resources: ["configmaps"], resourceNames: ["one"]}]
  namespaces: ["kube-system"]
  omitManagedFields: false
- level: Metadata
  resources: [{group: "", resources: ["secrets", "pods/*", "*/scale"]}]
- level: RequestResponse
  resources: [{group: "*"}]
  omitStages: ["ResponseStarted"]
- level: Metadata
"#;

fn user(name: &str) -> User {
    User { name: name.into(), groups: vec!["system:authenticated".into()], ..User::default() }
}

fn resource(verb: &str, resource: &str, name: &str) -> RequestInfo {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    RequestInfo {
        is_resource: true,
        verb: verb.into(),
        version: "v1".into(),
        namespace: "kube-system".into(),
        resource: resource.into(),
        subresource: subresource.into(),
        name: name.into(),
        ..RequestInfo::default()
    }
}

#[test]
fn the_first_rule_that_matches_counts() {
    let policy = Policy::parse(POLICY).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let check = |name: &str, info: &RequestInfo, level: Level| {
        assert_eq!(policy.of(&user(name), info).level, level, "{name} {info:?}");
    };
    check("system:kube-proxy", &resource("watch", "services", ""), Level::None);
    check("system:kube-proxy", &resource("list", "services", ""), Level::RequestResponse);
    check("jane", &resource("get", "configmaps", "one"), Level::Request);
    check("jane", &resource("get", "configmaps", "two"), Level::RequestResponse);
    check("jane", &resource("get", "secrets", "s"), Level::Metadata);
    check("jane", &resource("create", "pods/exec", "p"), Level::Metadata);
    // COMPAT: pods/* means the pods themselves too.
    check("jane", &resource("get", "pods", "p"), Level::Metadata);
    check("jane", &resource("update", "replicationcontrollers/scale", "r"), Level::Metadata);
    let path = |path: &str| RequestInfo { path: path.into(), verb: "get".into(), ..RequestInfo::default() };
    check("jane", &path("/healthz/etcd"), Level::None);
    check("jane", &path("/versions"), Level::Metadata);
}

#[test]
fn stages_and_managed_fields_are_left_out_as_the_rule_or_the_policy_says() {
    let policy = Policy::parse(POLICY).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let wanted = policy.of(&user("jane"), &resource("list", "nodes", ""));
    assert_eq!(wanted.omitted, [Stage::RequestReceived, Stage::ResponseStarted]);
    assert!(wanted.without_managed_fields);
    assert!(!policy.of(&user("jane"), &resource("get", "configmaps", "one")).without_managed_fields);
}

#[test]
fn what_is_refused() {
    let check = |text: &str, expected: Wrong| assert_eq!(Policy::parse(text).err(), Some(expected));
    let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
    check(&format!("{head}rules: []"), Wrong::Invalid("loaded illegal policy with 0 rules".into()));
    check(
        &format!("{head}rules: [{{level: Metadata, nonResourceURLs: [\"a*b\"]}}]"),
        Wrong::Invalid(
            "[rules[0].nonResourceURLs[0]: Invalid value: \"a*b\": non-resource URL rules must begin with a '/' \
             character, rules[0].nonResourceURLs[0]: Invalid value: \"a*b\": non-resource URL wildcards '*' must be \
             the final character of the rule]"
                .into(),
        ),
    );
    check(
        "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]",
        Wrong::Invalid("unknown group version field audit.k8s.io/v1beta1, Kind=Policy in policy".into()),
    );
    assert!(matches!(Policy::parse(&format!("{head}rules: [{{level: All}}]")), Err(Wrong::Decode(_))));
    assert!(matches!(
        Policy::parse(&format!("{head}rules: [{{level: None, users_: []}}]")),
        Err(Wrong::Decode(_))
    ));
}
