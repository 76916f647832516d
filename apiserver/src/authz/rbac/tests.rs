//! RBAC: matching of rules, search for a user's rules, prevention of escalation.

use super::escalation::{Check, EscalationError};
use super::*;
use crate::request::RequestInfo;
use api_types::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

fn words(text: &str) -> Vec<String> {
    text.split(' ').filter(|w| !w.is_empty()).map(|w| if w == "core" { "" } else { w }.to_owned()).collect()
}

fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> PolicyRule {
    PolicyRule {
        verbs: words(verbs),
        api_groups: words(groups),
        resources: words(resources),
        resource_names: words(names),
        ..PolicyRule::default()
    }
}

fn urls(verbs: &str, urls: &str) -> PolicyRule {
    PolicyRule { verbs: words(verbs), non_resource_urls: words(urls), ..PolicyRule::default() }
}

/// `get core pods/log name in namespace`, or `get /path`.
fn ask(text: &str) -> RequestInfo {
    let parts: Vec<&str> = text.split(' ').collect();
    if let [verb, path] = parts[..] {
        return RequestInfo { verb: verb.into(), path: path.into(), ..RequestInfo::default() };
    }
    let (resource, subresource) = parts[2].split_once('/').unwrap_or((parts[2], ""));
    RequestInfo {
        is_resource: true,
        verb: parts[0].into(),
        group: if parts[1] == "core" { "" } else { parts[1] }.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        name: parts.get(3).filter(|n| **n != "-").copied().unwrap_or_default().into(),
        namespace: parts.get(4).copied().unwrap_or_default().into(),
        ..RequestInfo::default()
    }
}

#[test]
fn a_rule_allows_what_it_names() {
    let cases = [
        (rule("get list", "core", "pods", ""), "get core pods x ns", true),
        (rule("get list", "core", "pods", ""), "delete core pods x ns", false),
        (rule("*", "core", "pods", ""), "delete core pods x ns", true),
        (rule("get", "core", "pods", ""), "get apps pods x ns", false),
        (rule("get", "*", "pods", ""), "get apps pods x ns", true),
        (rule("get", "core", "pods", ""), "get core pods/log x ns", false),
        (rule("get", "core", "pods/log", ""), "get core pods/log x ns", true),
        (rule("get", "core", "pods/log", ""), "get core pods x ns", false),
        (rule("get", "core", "*", ""), "get core pods/log x ns", true),
        (rule("get", "*", "*/scale", ""), "get apps deployments/scale x ns", true),
        (rule("get", "*", "*/scale", ""), "get apps deployments x ns", false),
        (rule("get", "*", "*/scale", ""), "get apps deployments/downscale x ns", false),
        (rule("get", "core", "secrets", "a b"), "get core secrets b ns", true),
        (rule("get", "core", "secrets", "a b"), "get core secrets c ns", false),
        // A name cannot be checked when there is none yet.
        (rule("create", "core", "secrets", "a"), "create core secrets - ns", false),
        (urls("get", "/healthz /version*"), "get /healthz", true),
        (urls("get", "/healthz /version*"), "get /healthz/ping", false),
        (urls("get", "/healthz /version*"), "get /version/x", true),
        (urls("get", "*"), "get /anything", true),
        // A rule on resources says nothing about paths and the other way round.
        (rule("*", "*", "*", ""), "get /healthz", false),
        (urls("*", "*"), "get core pods x ns", false),
    ];
    for (rule, text, expected) in cases {
        assert_eq!(rule_allows(&ask(text), &rule), expected, "{text} by {rule:?}");
    }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: "rbac.authorization.k8s.io".into(), kind: kind.into(), name: name.into() }
}

fn subject(kind: &str, namespace: &str, name: &str) -> Subject {
    Subject { kind: kind.into(), name: name.into(), namespace: namespace.into(), ..Subject::default() }
}

fn cluster_role(policy: &Policy, name: &str, rules: Vec<PolicyRule>) {
    let mut role = ClusterRole { rules, ..ClusterRole::default() };
    role.metadata.name = name.into();
    policy.cluster_roles.put("", name, role);
}

fn cluster_binding(policy: &Policy, role: &str, subjects: Vec<Subject>) {
    let mut binding =
        ClusterRoleBinding { subjects, role_ref: role_ref("ClusterRole", role), ..Default::default() };
    binding.metadata.name = role.into();
    policy.cluster_role_bindings.put("", role, binding);
}

fn binding(policy: &Policy, namespace: &str, name: &str, role: RoleRef, subjects: Vec<Subject>) {
    let mut binding = RoleBinding { subjects, role_ref: role, ..RoleBinding::default() };
    binding.metadata.name = name.into();
    binding.metadata.namespace = namespace.into();
    policy.role_bindings.put(namespace, name, binding);
}

fn user(name: &str, groups: &str) -> User {
    User { name: name.into(), groups: words(groups), ..User::default() }
}

fn policy() -> Arc<Policy> {
    let policy = Policy::default();
    cluster_role(&policy, "viewer", vec![rule("get list", "core", "pods", "")]);
    cluster_role(&policy, "editor", vec![rule("get list update delete", "core", "pods", "")]);
    cluster_binding(&policy, "viewer", vec![subject("User", "", "carol"), subject("Group", "", "readers")]);
    cluster_binding(&policy, "gone", vec![subject("User", "", "dave")]);
    binding(
        &policy,
        "web",
        "edit",
        role_ref("ClusterRole", "editor"),
        vec![
            subject("ServiceAccount", "", "robot"),
            subject("ServiceAccount", "ci", "deployer"),
            subject("User", "", "erin"),
        ],
    );
    let mut own = Role { rules: vec![rule("get", "core", "secrets", "only")], ..Role::default() };
    own.metadata.name = "one-secret".into();
    policy.roles.put("web", "one-secret", own);
    binding(&policy, "web", "secret", role_ref("Role", "one-secret"), vec![subject("User", "", "carol")]);
    Arc::new(policy)
}

#[test]
fn bindings_reach_their_subjects() {
    let allow = |reason: &str| Decision::Allow(format!("RBAC: allowed by {reason}"));
    let none = || Decision::NoOpinion(String::new());
    let edit = r#"RoleBinding "edit/web" of ClusterRole "editor" to ServiceAccount"#;
    let cases = [
        (
            user("carol", ""),
            "get core pods x web",
            allow(r#"ClusterRoleBinding "viewer" of ClusterRole "viewer" to User "carol""#),
        ),
        (
            user("x", "readers"),
            "list core pods",
            allow(r#"ClusterRoleBinding "viewer" of ClusterRole "viewer" to Group "readers""#),
        ),
        (user("x", "writers"), "list core pods", none()),
        (user("carol", ""), "delete core pods x web", none()),
        (
            user("system:serviceaccount:web:robot", ""),
            "delete core pods x web",
            allow(&format!(r#"{edit} "robot/web""#)),
        ),
        (
            user("system:serviceaccount:ci:deployer", ""),
            "delete core pods x web",
            allow(&format!(r#"{edit} "deployer/ci""#)),
        ),
        (user("system:serviceaccount:ci:robot", ""), "delete core pods x web", none()),
        (user("system:serviceaccount:web:robot", ""), "delete core pods x other", none()),
        (
            user("carol", ""),
            "get core secrets only web",
            allow(r#"RoleBinding "secret/web" of Role "one-secret" to User "carol""#),
        ),
        (user("carol", ""), "get core secrets other web", none()),
        (
            user("dave", ""),
            "get core pods x web",
            Decision::NoOpinion(r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#.into()),
        ),
    ];
    let rbac = Rbac::new(policy());
    for (user, text, expected) in cases {
        let decision = rbac.authorize(Attributes { user: &user, info: &ask(text) });
        assert_eq!(decision, expected, "{} {text}", user.name);
    }
}

#[test]
fn rules_are_listed() {
    let rules = Rbac::new(policy()).rules_for(&user("carol", ""), "web");
    assert_eq!(rules.resource.len(), 2);
    assert_eq!(rules.resource[1].resource_names, ["only"]);
    let rules = Rbac::new(policy()).rules_for(&user("dave", ""), "web");
    assert_eq!(rules.errors, [r#"clusterrole.rbac.authorization.k8s.io "gone" not found"#]);
}

/// What becomes of a write by `who` under [`policy`] plus `extra` rules of their own.
fn write(
    who: &str,
    extra: Vec<PolicyRule>,
    info: &str,
    new: &dyn api_types::Object,
    old: Option<&dyn api_types::Object>,
) -> Result<(), EscalationError> {
    let policy = policy();
    cluster_role(&policy, "extra", extra);
    cluster_binding(&policy, "extra", vec![subject("User", "", who)]);
    let user = user(who, if who == "root" { "system:masters" } else { "staff" });
    let authorizer = Rbac::new(policy.clone());
    Check { user: &user, info: &ask(info), policy: &policy, authorizer: &authorizer }.write(new, old)
}

#[test]
fn nobody_grants_what_they_do_not_have() {
    let mut wants = ClusterRole::default();
    wants.metadata.name = "wants".into();
    wants.rules = vec![rule("get list delete", "core", "pods secrets", ""), urls("get", "/metrics")];
    let info = "create rbac.authorization.k8s.io clusterroles wants";
    let refused = write("carol", vec![], info, &wants, None).expect_err("too much");
    let text = concat!(
        "user \"carol\" (groups=[\"staff\"]) is attempting to grant RBAC permissions not currently held:\n",
        "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}\n",
        "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\" \"delete\"]}\n",
        "{NonResourceURLs:[\"/metrics\"], Verbs:[\"get\"]}",
    );
    assert_eq!(refused, EscalationError::Forbidden(text.into()));

    assert_eq!(write("root", vec![], info, &wants, None), Ok(()));
    let held = vec![rule("*", "*", "*", ""), urls("*", "/metrics")];
    assert_eq!(write("carol", held, info, &wants, None), Ok(()));
    let escalate = vec![rule("escalate", "rbac.authorization.k8s.io", "clusterroles", "wants")];
    assert_eq!(write("carol", escalate, info, &wants, None), Ok(()));
    // Taking off a finalizer grants nothing.
    let mut old = wants.clone();
    old.metadata.finalizers = vec!["foregroundDeletion".into()];
    assert_eq!(write("carol", vec![], info, &wants, Some(&old)), Ok(()));
}

#[test]
fn aggregation_takes_everything() {
    let everything = AggregationRule { cluster_role_selectors: vec![Default::default()] };
    let role = ClusterRole { aggregation_rule: Some(Box::new(everything)), ..ClusterRole::default() };
    let info = "create rbac.authorization.k8s.io clusterroles all";
    let text = "must have cluster-admin privileges to use the aggregationRule";
    let some = vec![rule("get list create", "*", "*", "")];
    let all = vec![rule("*", "*", "*", ""), urls("*", "*")];
    assert_eq!(write("carol", some, info, &role, None), Err(EscalationError::Forbidden(text.into())));
    assert_eq!(write("carol", all, info, &role, None), Ok(()));
}

#[test]
fn bindings_are_checked_by_the_rules_of_their_role() {
    let mut new = RoleBinding { role_ref: role_ref("ClusterRole", "editor"), ..Default::default() };
    new.metadata.namespace = "web".into();
    let info = "create rbac.authorization.k8s.io rolebindings - web";
    assert!(matches!(write("carol", vec![], info, &new, None), Err(EscalationError::Forbidden(_))));
    assert_eq!(write("erin", vec![], info, &new, None), Ok(()));
    let bind = vec![rule("bind", "rbac.authorization.k8s.io", "clusterroles", "editor")];
    assert_eq!(write("carol", bind, info, &new, None), Ok(()));

    new.role_ref = role_ref("Role", "missing");
    let missing = EscalationError::RoleNotFound { kind: "roles", name: "missing".into() };
    assert_eq!(write("carol", vec![], info, &new, None), Err(missing));
}
