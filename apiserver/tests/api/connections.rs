//! What admission sees, refuses and changes of exec, attach, port-forward and proxies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{Answer, As, Cluster};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Refuses with what it was asked, or names another container.
fn webhook(path: &str, review: &Value) -> Value {
    let asked = &review["request"];
    let mut response = json!({"uid": asked["uid"], "allowed": true});
    if path == "/change" {
        let patch = json!([{"op": "add", "path": "/container", "value": "of-the-webhook"}]);
        response["patch"] = json!(STANDARD.encode(patch.to_string()));
        response["patchType"] = json!("JSONPatch");
    } else {
        response["allowed"] = json!(false);
        response["status"] = json!({"code": 403, "reason": "Forbidden", "message": asked.to_string()});
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
}

async fn pod(cluster: &Cluster) {
    let container = |name: &str| json!({"name": name, "image": "i"});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container("a"), container("b")]}});
    let account = json!({"metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", account).await;
    let made = cluster.post(PODS, pod).await;
    assert_eq!(made.code, 201, "{}", String::from_utf8_lossy(&made.body));
}

/// Connects until the answer is as wanted: a configuration takes effect in a moment.
async fn until(cluster: &Cluster, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..600 {
        last = connect(cluster, path).await.json();
        if wanted(&last) {
            return last;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the configuration takes no effect: {last}");
}

async fn connect(cluster: &Cluster, path: &str) -> Answer {
    cluster.send(As::Admin, "POST", path, "", "").await
}

fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap_or_default()
}

async fn configure(cluster: &Cluster, sort: &str, port: u16, path: &str, resources: &[&str]) {
    let hooks = json!([{
        "name": "hook.example.com",
        "clientConfig": {"url": format!("https://127.0.0.1:{port}{path}"), "caBundle": cluster.ca_bundle()},
        "rules": [{"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": resources}],
        "sideEffects": "None", "admissionReviewVersions": ["v1"]
    }]);
    let object = json!({"metadata": {"name": "of-connections"}, "webhooks": hooks});
    let made = cluster.post(&format!("{GROUP}/{sort}webhookconfigurations"), object).await;
    assert_eq!(made.code, 201, "{}", String::from_utf8_lossy(&made.body));
}

#[tokio::test]
async fn webhooks_see_connections_and_refuse_them() {
    let Some(cluster) = Cluster::start().await else { return };
    pod(&cluster).await;
    let port = cluster.serve_posts(|path, _, review| webhook(path, &review)).await;
    let all = ["pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy", "nodes/proxy"];
    configure(&cluster, "validating", port, "/refuse", &all).await;

    let exec = format!("{PODS}/p/exec?stdin=1&stdout=true&container=a&command=sh&command=-c");
    let said = "admission webhook \"hook.example.com\" denied the request: ";
    let refused = until(&cluster, &exec, |answer| message(answer).starts_with(said)).await;
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(403), &json!("Forbidden")));
    let asked = |refused: &Value| -> Value {
        let text = message(refused).strip_prefix(said).expect("the webhook's words");
        serde_json::from_str(text).expect("a question")
    };
    let question = asked(&refused);
    let kind = json!({"group": "", "version": "v1", "kind": "PodExecOptions"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    assert_eq!((&question["kind"], &question["requestKind"]), (&kind, &kind));
    assert_eq!((&question["resource"], &question["requestResource"]), (&resource, &resource));
    assert_eq!((&question["subResource"], &question["requestSubResource"]), (&json!("exec"), &json!("exec")));
    assert_eq!((&question["name"], &question["namespace"]), (&json!("p"), &json!("default")));
    assert_eq!((&question["operation"], &question["dryRun"]), (&json!("CONNECT"), &json!(false)));
    assert_eq!((&question["oldObject"], &question["options"]), (&Value::Null, &Value::Null));
    let options = json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "stdout": true,
        "container": "a", "command": ["sh", "-c"]});
    assert_eq!(question["object"], options);

    let cases = [
        (format!("{PODS}/p/attach?stdout=1"), json!({"kind": "PodAttachOptions", "stdout": true})),
        (format!("{PODS}/p/portforward?ports=80"), json!({"kind": "PodPortForwardOptions", "ports": [80]})),
        (format!("{PODS}/http:p:80/proxy/x/y"), json!({"kind": "PodProxyOptions", "path": "/x/y"})),
        (
            "/api/v1/namespaces/default/services/s/proxy/".into(),
            json!({"kind": "ServiceProxyOptions", "path": "/"}),
        ),
        ("/api/v1/nodes/n:10250/proxy".into(), json!({"kind": "NodeProxyOptions"})),
    ];
    for (path, mut options) in cases {
        options["apiVersion"] = json!("v1");
        let question = asked(&connect(&cluster, &path).await.json());
        assert_eq!(question["object"], options, "{path}");
        assert_eq!(question["kind"]["kind"], options["kind"]);
    }
    let tried = connect(&cluster, &format!("{exec}&dryRun=All")).await.json();
    assert_eq!((&tried["code"], message(&tried)), (&json!(400), "dryRun is not supported"));
}

#[tokio::test]
async fn what_admission_changes_is_what_is_connected_to() {
    let Some(cluster) = Cluster::start().await else { return };
    pod(&cluster).await;
    let exec = format!("{PODS}/p/exec?stdout=1&command=ls");
    let before = connect(&cluster, &exec).await.json();
    assert!(message(&before).starts_with("a container name must be specified for pod p"), "{before}");

    let rules = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["CONNECT"], "resources": ["pods/attach"]}]});
    let patch = "[JSONPatch{op: \"add\", path: \"/container\", value: \"of-the-policy\"}]";
    let policy = json!({"metadata": {"name": "change"}, "spec": {
        "reinvocationPolicy": "Never", "matchConstraints": rules,
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}]}});
    let made = cluster.post(&format!("{GROUP}/mutatingadmissionpolicies"), policy).await;
    assert_eq!(made.code, 201, "{}", String::from_utf8_lossy(&made.body));
    let binding = json!({"metadata": {"name": "change"}, "spec": {"policyName": "change"}});
    let made = cluster.post(&format!("{GROUP}/mutatingadmissionpolicybindings"), binding).await;
    assert_eq!(made.code, 201, "{}", String::from_utf8_lossy(&made.body));
    let attach = format!("{PODS}/p/attach?stdout=1");
    until(&cluster, &attach, |answer| message(answer) == "container of-the-policy is not valid for pod p")
        .await;

    let port = cluster.serve_posts(|path, _, review| webhook(path, &review)).await;
    configure(&cluster, "mutating", port, "/change", &["pods/exec"]).await;
    until(&cluster, &exec, |answer| message(answer) == "container of-the-webhook is not valid for pod p")
        .await;
}

#[tokio::test]
async fn policies_refuse_connections() {
    let Some(cluster) = Cluster::start().await else { return };
    pod(&cluster).await;
    let rules = json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["CONNECT"], "resources": ["pods/exec"]}]});
    let policy = json!({"metadata": {"name": "no-terminals"}, "spec": {"matchConstraints": rules, "validations": [
        {"expression": "!has(object.tty) || !object.tty || request.name != 'p'", "message": "no terminals"}]}});
    let made = cluster.post(&format!("{GROUP}/validatingadmissionpolicies"), policy).await;
    assert_eq!(made.code, 201, "{}", String::from_utf8_lossy(&made.body));
    let spec = json!({"policyName": "no-terminals", "validationActions": ["Deny"]});
    let binding = json!({"metadata": {"name": "no-terminals"}, "spec": spec});
    let made = cluster.post(&format!("{GROUP}/validatingadmissionpolicybindings"), binding).await;
    assert_eq!(made.code, 201, "{}", String::from_utf8_lossy(&made.body));
    let exec = format!("{PODS}/p/exec?stdout=1&command=ls&container=a");
    let refused =
        until(&cluster, &format!("{exec}&tty=1"), |answer| message(answer).contains("no terminals")).await;
    assert_eq!(
        message(&refused),
        "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'no-terminals' with binding 'no-terminals' denied \
         request: no terminals"
    );
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(422), &json!("Invalid")));
    let passed = connect(&cluster, &exec).await.json();
    assert_eq!(message(&passed), "pod p does not have a host assigned");
}
