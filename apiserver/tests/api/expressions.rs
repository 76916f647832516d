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
        "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
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
    // A version is refused, after policies were asked.
    for (data, code) in [(&two, 403), (&json!({"a": "1"}), 400)] {
        let mut stale = map("stale", data);
        stale["metadata"]["resourceVersion"] = "5".into();
        assert_eq!(cluster.post(MAPS, stale).await.code, code);
    }
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

#[tokio::test]
async fn who_writes_policies_may_read_their_parameters() {
    const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    const ROLE_BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let Some(cluster) = Cluster::start().await else { return };
    let role = |name: &str, group: &str, resources: &[&str], verb: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
            "rules": [{"apiGroups": [group], "resources": resources, "verbs": [verb]}]})
    };
    let given = |name: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}]})
    };
    let both = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
    let writer = role("writer", "admissionregistration.k8s.io", &both, "*");
    for (path, object) in [(ROLES, writer), (ROLE_BINDINGS, given("writer"))] {
        assert_eq!(cluster.post(path, object).await.code, 201);
    }
    let as_eve = async |path: &str, object: Value| {
        let json = "application/json";
        for _ in 0..100 {
            let answer = cluster.send(As::User("eve"), "POST", path, json, &object.to_string()).await;
            // Rights take a moment to be known.
            if answer.code != 403 {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("eve may not write")
    };
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [{"expression": "true"}]});
    let refused = as_eve(POLICIES, policy(&spec)).await;
    assert_eq!(refused.code, 422, "{}", refused.json());
    let cause = refused.json()["details"]["causes"][0].clone();
    assert_eq!(
        (&cause["field"], &cause["reason"]),
        (&json!("spec.paramKind"), &json!("FieldValueForbidden"))
    );
    let message = cause["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("Forbidden: user &{eve "), "{message}");
    assert!(
        message.ends_with(
            r#"must have "get" permission on all objects of the referenced paramKind (kind=ConfigMap, apiVersion=v1)"#
        ),
        "{message}"
    );

    assert_eq!(cluster.post(POLICIES, policy(&spec)).await.code, 201);
    let bound = json!({"validationActions": ["Deny"],
        "paramRef": {"name": "p", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    let refused = as_eve(BINDINGS, binding("eves", &bound)).await;
    assert_eq!(refused.code, 422, "{}", refused.json());
    assert_eq!(refused.json()["details"]["causes"][0]["field"], "spec.paramRef");

    let reader = role("reader", "", &["configmaps"], "get");
    assert_eq!(cluster.post(ROLES, reader).await.code, 201);
    assert_eq!(cluster.post(ROLE_BINDINGS, given("reader")).await.code, 201);
    for _ in 0..100 {
        if as_eve(BINDINGS, binding("eves", &bound)).await.code == 201 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("a binding by someone who may read its parameter");
}

#[tokio::test]
async fn what_policies_note_is_in_the_audit_log() {
    const POLICY: &str = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";
    let started = Cluster::start_with(|folder| {
        let policy = folder.join("policy.yaml");
        std::fs::write(&policy, POLICY).expect("the policy is written");
        vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", folder.join("audit.log").display()),
        ]
    });
    let Some(cluster) = started.await else { return };
    let spec = json!({
        "validations": [
            {"expression": "true"},
            {"expression": "request.options.fieldManager != 'it'", "message": "not it"},
            {"expression": "!has(object.data)", "message": "no data"}
        ],
        "auditAnnotations": [
            {"key": "manager", "valueExpression": "'by ' + request.options.fieldManager"},
            {"key": "none", "valueExpression": "null"}
        ]
    });
    assert_eq!(cluster.post(POLICIES, policy(&spec)).await.code, 201);
    let started = Instant::now();
    loop {
        let status = cluster.get(&format!("{POLICIES}/maps.example.com")).await.json()["status"].clone();
        if status["observedGeneration"] == 1 {
            assert_eq!(status["typeChecking"], json!({}));
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let bound = json!({"validationActions": ["Warn", "Audit"]});
    assert_eq!(cluster.post(BINDINGS, binding("one", &bound)).await.code, 201);
    let path = format!("{MAPS}?fieldManager=it");
    let mut noted = Value::Null;
    for n in 0..300 {
        let id = format!("note-{n}");
        let object = map(&format!("m-{n}"), &json!({"a": "1"})).to_string();
        let made = cluster.send_with("POST", &path, ("audit-id", &id), &object).await;
        assert_eq!(made.code, 201, "{}", made.json());
        let log = cluster.read("audit.log");
        let events = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let mut events = events.filter(|event| event["auditID"] == id.as_str());
        let event = events.next_back().expect("it is in the log");
        if event["annotations"]["maps.example.com/manager"].is_string() {
            let warnings: Vec<_> =
                made.headers.get_all("warning").iter().filter_map(|w| w.to_str().ok()).collect();
            assert!(warnings[0].ends_with("'maps.example.com' with binding 'one': not it\""), "{warnings:?}");
            noted = event["annotations"].clone();
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(noted["maps.example.com/manager"], "by it");
    assert_eq!(noted["maps.example.com/none"], Value::Null);
    let failure = noted["validation.policy.admission.k8s.io/validation_failure"].as_str();
    assert_eq!(
        failure,
        Some(
            r#"[{"message":"not it","policy":"maps.example.com","binding":"one","expressionIndex":1,"validationActions":["Warn","Audit"]}]"#
        ),
        "the first one stays: {noted}"
    );
    let metrics = cluster.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = r#"apiserver_validating_admission_policy_check_total{enforcement_action="audit",error_type="invalid_error",policy="maps.example.com",policy_binding="one"} 2"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn what_an_apply_names_has_to_be_of_its_type() {
    let Some(cluster) = Cluster::start().await else { return };
    assert_eq!(cluster.post(CRDS, definition(&json!([{"rule": "true"}]))).await.code, 201);
    until(&cluster, FOOS, &foo(5), 201).await;
    let apply = |spec: Value| {
        let mut own = foo(1);
        own["metadata"]["namespace"] = "default".into();
        own["spec"] = spec;
        let path = format!("{FOOS}/one?fieldManager=me&force=true");
        let cluster = &cluster;
        async move {
            let ty = "application/apply-patch+yaml";
            let answer = cluster.send(As::Admin, "PATCH", &path, ty, &own.to_string()).await;
            (answer.code, answer.json())
        }
    };
    let begin = "failed to create typed patch object (default/one; example.com/v1, Kind=Foo): ";
    for (spec, why) in [
        (json!({"n": "x"}), ".spec.n: expected numeric (int or float), got string"),
        (json!([1]), ".spec: expected map, got &{[1]}"),
        (json!({"n": 1, "z": 2}), ".spec.z: field not declared in schema"),
    ] {
        let (code, refused) = apply(spec).await;
        assert_eq!((code, &refused["message"]), (500, &json!(format!("{begin}{why}"))), "{refused}");
        assert_eq!(refused["reason"], Value::Null);
    }
    assert_eq!(apply(json!({"n": 6})).await.0, 200);
    // It has a rule, and its group an APIService.
    let text = String::from_utf8_lossy(&cluster.get("/metrics").await.body).into_owned();
    assert!(text.contains("apiserver_cel_evaluation_duration_seconds_count"), "{text}");
    assert!(text.contains("apiserver_cel_compilation_duration_seconds_count"), "{text}");
    let started = Instant::now();
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    let own = loop {
        let own = cluster.get(&format!("{services}/v1.example.com")).await;
        if own.code == 200 {
            break own.json();
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{}", own.json());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(own["status"]["conditions"][0]["reason"], "Local");
    assert_eq!(own["metadata"]["labels"], json!({"kube-aggregator.kubernetes.io/automanaged": "true"}));
    cluster.send(As::Admin, "DELETE", &format!("{CRDS}/foos.example.com"), "", "").await;
    while cluster.get(&format!("{services}/v1.example.com")).await.code != 404 {
        assert!(started.elapsed() < Duration::from_secs(60), "the APIService stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

const CHANGES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const CHANGE_BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";

#[tokio::test]
async fn policies_change_what_is_written() {
    let Some(cluster) = Cluster::start().await else { return };
    let rules = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["CREATE"], "resources": ["configmaps"]}]});
    let policy = |name: &str, spec: &Value| {
        let mut spec = spec.clone();
        spec["matchConstraints"] = rules.clone();
        json!({"metadata": {"name": name}, "spec": spec})
    };
    let apply = |expression: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    let patch = |expression: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    let wrong = policy("wrong", &json!({"reinvocationPolicy": "Never", "mutations": [apply("1 + 1")]}));
    let refused = cluster.post(CHANGES, wrong).await;
    assert_eq!(refused.code, 422);
    let cause = &refused.json()["details"]["causes"][0];
    assert_eq!(cause["field"], "spec.mutations[0].applyConfiguration.expression");
    assert!(
        cause["message"].as_str().is_some_and(|text| text.ends_with("must evaluate to Object but got int")),
        "{cause}"
    );

    let first = policy(
        "first.example.com",
        &json!({
            "reinvocationPolicy": "IfNeeded",
            "matchConditions": [{"name": "not-bare", "expression": "object.metadata.name != 'bare'"}],
            "variables": [{"name": "count", "expression": "has(object.data) ? object.data.size() : 0"}],
            "mutations": [
                apply("Object{metadata: Object.metadata{annotations: {'count': string(variables.count)}}}"),
                patch("[JSONPatch{op: 'test', path: '/metadata/name', value: 'nobody'}, JSONPatch{op: 'remove', path: '/data'}]"),
            ]
        }),
    );
    let second = policy(
        "second.example.com",
        &json!({
            "reinvocationPolicy": "Never",
            "mutations": [patch(
                "[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('by.me'), value: 'x' + request.operation}]"
            )]
        }),
    );
    for own in [first, second] {
        let name = own["metadata"]["name"].clone();
        let made = cluster.post(CHANGES, own).await;
        assert_eq!(made.code, 201, "{}", made.json());
        let bound = json!({"metadata": {"name": name}, "spec": {"policyName": name}});
        let made = cluster.post(CHANGE_BINDINGS, bound).await;
        assert_eq!(made.code, 201, "{}", made.json());
    }
    let path = format!("{MAPS}?dryRun=All");
    let started = Instant::now();
    let changed = loop {
        let made = cluster.post(&path, map("a", &json!({"k": "v"}))).await.json();
        if made["data"]["by.me"] == "xCREATE" && made["metadata"]["annotations"]["count"].is_string() {
            break made;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{made}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    // The first saw what the second did, since it asks for that.
    assert_eq!(changed["metadata"]["annotations"], json!({"count": "2"}));
    assert_eq!(changed["data"], json!({"k": "v", "by.me": "xCREATE"}));
    let bare = cluster.post(&path, map("bare", &json!({"k": "v"}))).await.json();
    assert_eq!(bare["metadata"]["annotations"], Value::Null);

    // What cannot be done is refused, or passed over.
    let refused = cluster.post(&path, json!({"metadata": {"name": "b"}})).await;
    assert_eq!(refused.code, 403);
    let refused = refused.json();
    assert_eq!(refused["reason"], "Invalid");
    assert!(
        refused["message"].as_str().is_some_and(|text| text.starts_with(
            "policy 'second.example.com' with binding 'second.example.com' denied request: JSON Patch: "
        )),
        "{refused}"
    );
    let ignore = json!({"spec": {"failurePolicy": "Ignore", "mutations": [
        apply("Object{spec: Object.spec{}}"), apply("Object{data: Object.wrong{}}")]}});
    let second = format!("{CHANGES}/second.example.com");
    let merge = "application/merge-patch+json";
    let patched = cluster.send(As::Admin, "PATCH", &second, merge, &ignore.to_string()).await;
    assert_eq!(patched.code, 200, "{}", patched.json());
    until(&cluster, &path, &json!({"metadata": {"name": "b"}}), 201).await;
    let fail = json!({"spec": {"failurePolicy": "Fail"}}).to_string();
    assert_eq!(cluster.send(As::Admin, "PATCH", &second, merge, &fail).await.code, 200);
    let refused = until(&cluster, &path, &json!({"metadata": {"name": "b"}}), 403).await;
    let causes = refused["details"]["causes"].as_array().expect("causes");
    assert!(
        causes[0]["message"].as_str().is_some_and(|text| text.ends_with(
            "error applying patch: failed to convert patch object to typed object: .spec: field not declared in schema"
        )),
        "{refused}"
    );
    assert!(
        causes[1]["message"].as_str().is_some_and(|text| text.ends_with(
            r#"type mismatch: unexpected type name "Object.wrong", expected "Object.data", which matches field name path from root Object type"#
        )),
        "{refused}"
    );
    let text = String::from_utf8_lossy(&cluster.get("/metrics").await.body).into_owned();
    let line = r#"apiserver_mutating_admission_policy_check_total{error_type="no_error",policy="first.example.com",policy_binding="first.example.com"}"#;
    assert!(text.contains(line), "{text}");
}
