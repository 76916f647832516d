//! Claims to devices where they need the server: who may write which part of their status, and quotas of
//! what device classes stand for.

use serde_json::{Value, json};

use crate::harness::{Answer, As, Cluster};

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn message(answer: &Answer) -> String {
    answer.json()["message"].as_str().unwrap_or_default().to_owned()
}

fn claim(name: &str, class: &str, count: u32) -> Value {
    let exactly = json!({"deviceClassName": class, "count": count});
    json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}})
}

/// Lets eve do something more.
async fn allow(cluster: &Cluster, name: &str, verbs: &[&str], resource: &str) {
    let rules = json!([{"apiGroups": ["resource.k8s.io"], "resources": [resource], "verbs": verbs}]);
    let role = json!({"metadata": {"name": name}, "rules": rules});
    assert_eq!(cluster.post(&format!("{RBAC}/clusterroles"), role).await.code, 201);
    let binding = json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}]});
    assert_eq!(cluster.post(&format!("{RBAC}/clusterrolebindings"), binding).await.code, 201);
}

async fn patch(cluster: &Cluster, status: Value) -> Answer {
    let (path, ty) = (format!("{CLAIMS}/a/status"), "application/merge-patch+json");
    cluster.send(As::User("eve"), "PATCH", &path, ty, &json!({"status": status}).to_string()).await
}

/// The same once more until rights that were given are known.
async fn until(cluster: &Cluster, status: Value, code: u16) -> Answer {
    for _ in 0..600 {
        let answer = patch(cluster, status.clone()).await;
        if answer.code == code {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("never {code}");
}

#[tokio::test]
async fn parts_of_a_claims_status_have_rights_of_their_own() {
    let Some(cluster) = Cluster::start().await else { return };
    assert_eq!(cluster.post(CLAIMS, claim("a", "gpus", 1)).await.code, 201);
    allow(&cluster, "status", &["get", "update", "patch"], "resourceclaims/status").await;
    let result = json!({"request": "r", "driver": "gpu.example.com", "pool": "p", "device": "d"});
    let allocation = json!({"allocation": {"devices": {"results": [result]}}});
    let refused = until(&cluster, allocation.clone(), 422).await;
    assert_eq!(
        message(&refused),
        "ResourceClaim.resource.k8s.io \"a\" is invalid: status.allocation: Forbidden: changing status.allocation or \
         status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"patch\" permission: \
         resourceclaims.resource.k8s.io is forbidden: User \"eve\" cannot patch resource \"resourceclaims/binding\" \
         in API group \"resource.k8s.io\" at the cluster scope"
    );
    allow(&cluster, "binding", &["patch"], "resourceclaims/binding").await;
    until(&cluster, allocation, 200).await;

    let device = json!({"driver": "gpu.example.com", "pool": "p", "device": "d", "data": {"k": "v"}});
    let devices = json!({"devices": [device]});
    let refused = patch(&cluster, devices.clone()).await;
    assert_eq!(
        (refused.code, message(&refused)),
        (
            422,
            "ResourceClaim.resource.k8s.io \"a\" is invalid: status.devices: Forbidden: changing status.devices \
             requires resource=\"resourceclaims/driver\", verb=\"[arbitrary-node:patch]\" permission: \
             resourceclaims.resource.k8s.io \"gpu.example.com\" is forbidden: User \"eve\" cannot \
             arbitrary-node:patch resource \"resourceclaims/driver\" in API group \"resource.k8s.io\" in the \
             namespace \"default\""
                .to_owned()
        )
    );
    allow(&cluster, "driver", &["arbitrary-node:patch"], "resourceclaims/driver").await;
    until(&cluster, devices, 200).await;
    // What is not changed needs no right.
    let same = cluster.send(As::Admin, "GET", &format!("{CLAIMS}/a"), "", "").await.json();
    let path = format!("{CLAIMS}/a/status");
    let kept = cluster.send(As::User("eve"), "PUT", &path, "application/json", &same.to_string()).await;
    assert_eq!(kept.code, 200, "{}", message(&kept));
}

#[tokio::test]
async fn quotas_count_devices_by_extended_resources() {
    let Some(cluster) = Cluster::start().await else { return };
    let class = json!({"metadata": {"name": "gpus"}, "spec": {"extendedResourceName": "example.com/gpu"}});
    assert_eq!(cluster.post("/apis/resource.k8s.io/v1/deviceclasses", class).await.code, 201);
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let (named, own) = ("requests.example.com/gpu", "requests.deviceclass.resource.kubernetes.io/gpus");
    let hard = json!({named: "3", own: "9", "gpus.deviceclass.resource.k8s.io/devices": "9"});
    let quota = json!({"metadata": {"name": "caps"}, "spec": {"hard": hard}});
    let made = cluster.post(quotas, quota).await;
    assert_eq!(made.code, 201, "{}", message(&made));
    let none = json!({named: "0", own: "0", "gpus.deviceclass.resource.k8s.io/devices": "0"});
    let status = json!({"status": {"hard": hard, "used": none}}).to_string();
    let path = format!("{quotas}/caps/status");
    let counted = cluster.send(As::Admin, "PATCH", &path, "application/merge-patch+json", &status).await;
    assert_eq!(counted.code, 200, "{}", message(&counted));
    let cached = format!("{quotas}?resourceVersion=0");
    while cluster.get(&cached).await.json()["items"][0]["status"]["used"].is_null() {}
    while cluster.get("/apis/resource.k8s.io/v1/deviceclasses/gpus?resourceVersion=0").await.code != 200 {}

    let first = cluster.post(CLAIMS, claim("a", "gpus", 2)).await;
    assert_eq!(first.code, 201, "{}", message(&first));
    let used = cluster.get(&format!("{quotas}/caps")).await.json()["status"]["used"].clone();
    assert_eq!(used, json!({named: "2", own: "2", "gpus.deviceclass.resource.k8s.io/devices": "2"}));
    let second = cluster.post(CLAIMS, claim("b", "gpus", 2)).await;
    assert_eq!(
        (second.code, message(&second)),
        (
            403,
            format!(
                "resourceclaims.resource.k8s.io \"b\" is forbidden: exceeded quota: caps, requested: {named}=2, used: \
                 {named}=2, limited: {named}=3"
            )
        )
    );

    // The claim for a pod's own extended resources is counted with the pod.
    let account = json!({"metadata": {"name": "default"}});
    assert_eq!(cluster.post("/api/v1/namespaces/default/serviceaccounts", account).await.code, 201);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "i", "resources": {"limits": {"example.com/gpu": "1"}}}]}});
    let pod = cluster.post("/api/v1/namespaces/default/pods", pod).await;
    assert_eq!(pod.code, 201, "{}", message(&pod));
    while cluster.get("/api/v1/namespaces/default/pods/p?resourceVersion=0").await.code != 200 {}
    let mut made_for = claim("made-for-p", "gpus", 1);
    made_for["metadata"]["annotations"] = json!({"resource.kubernetes.io/extended-resource-claim": "true"});
    made_for["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p",
        "uid": pod.json()["metadata"]["uid"], "controller": true}]);
    let third = cluster.post(CLAIMS, made_for).await;
    assert_eq!(third.code, 201, "{}", message(&third));
    let used = cluster.get(&format!("{quotas}/caps")).await.json()["status"]["used"].clone();
    assert_eq!(used, json!({named: "3", own: "3", "gpus.deviceclass.resource.k8s.io/devices": "3"}));
}
