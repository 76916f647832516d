//! Rules in CEL as clients meet them: those of custom kinds and those of admission policies.

use crate::harness::{As, Cluster};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FOOS: &str = "/apis/example.com/v1/namespaces/default/foos";
const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn definition(rules: &Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"n": {"type": "integer"}},
                        "x-kubernetes-validations": rules},
                    "status": {"type": "object", "properties": {"n": {"type": "integer",
                        "x-kubernetes-validations": [{"rule": "self < 10", "message": "too many"}]}}}}}}}]}})
}

fn foo(n: i64) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "one"}, "spec": {"n": n}})
}

/// Asks until the answer has a code; kinds and policies come into force shortly after they are written.
async fn until(cluster: &Cluster, path: &str, object: &Value, code: u16) -> Value {
    let started = Instant::now();
    loop {
        let answer = cluster.post(path, object.clone()).await;
        if answer.code == code {
            return answer.json();
        }
        assert!(started.elapsed() < Duration::from_secs(30), "still {}: {}", answer.code, answer.json());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn custom_kinds_have_rules() {
    let Some(cluster) = Cluster::start().await else { return };
    let refused = cluster.post(CRDS, definition(&json!([{"rule": "self.z == 1"}]))).await;
    assert_eq!(refused.code, 422);
    let cause = &refused.json()["details"]["causes"][0];
    assert_eq!(
        cause["field"],
        "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    );
    assert!(cause["message"].as_str().is_some_and(|text| text.contains("undefined field 'z'")), "{cause}");

    let rules =
        json!([{"rule": "self.n > 0"}, {"rule": "self.n >= oldSelf.n", "message": "must not shrink"}]);
    assert_eq!(cluster.post(CRDS, definition(&rules)).await.code, 201);
    let made = until(&cluster, FOOS, &foo(5), 201).await;
    let refused = cluster.post(FOOS, {
        let mut other = foo(0);
        other["metadata"]["name"] = "two".into();
        other
    });
    let refused = refused.await.json();
    assert_eq!(
        refused["message"],
        r#"Foo.example.com "two" is invalid: spec: Invalid value: failed rule: self.n > 0"#
    );
    let path = format!("{FOOS}/one");
    let patch = |n: i64| json!({"spec": {"n": n}}).to_string();
    let merge = "application/merge-patch+json";
    let shrunk = cluster.send(As::Admin, "PATCH", &path, merge, &patch(4)).await;
    assert_eq!(
        shrunk.json()["message"],
        r#"Foo.example.com "one" is invalid: spec: Invalid value: must not shrink"#
    );
    assert_eq!(cluster.send(As::Admin, "PATCH", &path, merge, &patch(6)).await.code, 200);
    let status = json!({"status": {"n": 11}}).to_string();
    let refused = cluster.send(As::Admin, "PATCH", &format!("{path}/status"), merge, &status).await;
    assert_eq!(
        refused.json()["message"],
        r#"Foo.example.com "one" is invalid: status.n: Invalid value: 11: too many"#
    );
    assert_eq!(made["spec"]["n"], 5);
}

fn policy(spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["matchConstraints"] = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]});
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "maps.example.com"}, "spec": spec})
}

fn binding(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["policyName"] = "maps.example.com".into();
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": spec})
}

fn map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

#[tokio::test]
async fn policies_deny_where_they_are_bound() {
    let Some(cluster) = Cluster::start().await else { return };
    let wrong = policy(&json!({"validations": [{"expression": "object.x + "}]}));
    let refused = cluster.post(POLICIES, wrong).await.json();
    assert_eq!(refused["details"]["causes"][0]["field"], "spec.validations[0].expression");

    let spec = json!({
    "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
    "matchConditions": [{"name": "not-params", "expression": "!object.metadata.name.startsWith('params')"}],
    "variables": [{"name": "size", "expression": "has(object.data) ? object.data.size() : 0"}],
    "validations": [
        {"expression": "variables.size <= int(params.data.most)", "reason": "Forbidden",
            "messageExpression": "'%d entries, %s allowed'.format([variables.size, params.data.most])"},
        {"expression": "request.userInfo.username != 'eve'", "message": "not eve"},
        {"expression": "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()"}
    ]});
    let made = cluster.post(POLICIES, policy(&spec)).await;
    assert_eq!(made.code, 201, "{}", made.json());
    assert_eq!(made.json()["spec"]["failurePolicy"], "Fail");
    assert_eq!(cluster.post(MAPS, map("params-1", &json!({"most": "1"}))).await.code, 201);
    let bound = json!({"validationActions": ["Deny"],
        "paramRef": {"name": "params-1", "parameterNotFoundAction": "Deny"}});
    let made = cluster.post(BINDINGS, binding("one", &bound)).await;
    assert_eq!(made.code, 201, "{}", made.json());

    let two = json!({"a": "1", "b": "2"});
    let denied = until(&cluster, &format!("{MAPS}?dryRun=All"), &map("big", &two), 403).await;
    assert_eq!(
        denied["message"],
        "configmaps \"big\" is forbidden: ValidatingAdmissionPolicy 'maps.example.com' with binding 'one' denied request: 2 entries, 1 allowed"
    );
    assert_eq!(denied["reason"], "Forbidden");
    assert_eq!(cluster.post(MAPS, map("small", &json!({"a": "1"}))).await.code, 201);
    // A condition that does not match leaves it alone.
    assert_eq!(cluster.post(MAPS, map("params-2", &two)).await.code, 201);

    // Without the parameter the binding says no.
    let gone = cluster.send(As::Admin, "DELETE", &format!("{MAPS}/params-1"), "", "").await;
    assert_eq!(gone.code, 200);
    let denied = until(&cluster, &format!("{MAPS}?dryRun=All"), &map("x", &json!({"a": "1"})), 422).await;
    assert_eq!(
        denied["message"],
        "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'maps.example.com' with binding 'one' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    let unbound = cluster.send(As::Admin, "DELETE", &format!("{BINDINGS}/one"), "", "").await;
    assert_eq!(unbound.code, 200);
    until(&cluster, MAPS, &map("y", &two), 201).await;
}
