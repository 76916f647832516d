//! Workload kinds where they need the server: quotas under concurrent writers, evictions under budgets,
//! one autoscaler in two versions, scales.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::{Answer, As, Cluster};

const CORE: &str = "/api/v1/namespaces/default";

impl Cluster {
    async fn write(&self, method: &str, path: &str, object: &Value) -> Answer {
        self.send(As::Admin, method, path, "application/json", &object.to_string()).await
    }

    async fn merge(&self, path: &str, patch: Value) -> Answer {
        self.send(As::Admin, "PATCH", path, "application/merge-patch+json", &patch.to_string()).await
    }
}

fn message(answer: &Answer) -> String {
    answer.json()["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_quota_is_never_exceeded() {
    let Some(cluster) = Cluster::start().await else { return };
    let cluster = Arc::new(cluster);
    let quotas = format!("{CORE}/resourcequotas");
    let hard = json!({"count/configmaps": "5"});
    let quota = json!({"metadata": {"name": "caps"}, "spec": {"hard": hard}});
    assert_eq!(cluster.post(&quotas, quota).await.code, 201);
    let counted = json!({"status": {"hard": hard, "used": {"count/configmaps": "0"}}});
    assert_eq!(cluster.merge(&format!("{quotas}/caps/status"), counted).await.code, 200);

    // Whoever writes before the quota is in the cache is not counted, as upstream.
    let cached = format!("{quotas}?resourceVersion=0");
    while cluster.get(&cached).await.json()["items"][0]["status"]["used"].is_null() {}

    let maps = format!("{CORE}/configmaps");
    let writers: Vec<_> = (0..24)
        .map(|i| {
            let (cluster, maps) = (cluster.clone(), maps.clone());
            tokio::spawn(
                async move { cluster.post(&maps, json!({"metadata": {"name": format!("m{i}")}})).await },
            )
        })
        .collect();
    let mut made = 0;
    for writer in writers {
        let answer = writer.await.expect("a writer");
        if answer.code == 201 {
            made += 1;
            continue;
        }
        assert_eq!(answer.code, 403, "{}", message(&answer));
        assert!(
            message(&answer).ends_with(
                "is forbidden: exceeded quota: caps, requested: count/configmaps=1, used: count/configmaps=5, limited: count/configmaps=5"
            ),
            "{}",
            message(&answer)
        );
    }
    assert_eq!(made, 5);
    let quota = cluster.get(&format!("{quotas}/caps")).await.json();
    assert_eq!(quota["status"]["used"], json!({"count/configmaps": "5"}));
    let tried = cluster.post(&format!("{CORE}/secrets?dryRun=All"), json!({"metadata": {"name": "s"}})).await;
    assert_eq!(tried.code, 201, "nothing caps secrets");
}

async fn running_pod(cluster: &Cluster, name: &str) {
    let pods = format!("{CORE}/pods");
    let pod = json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "nodeName": "n",
            "containers": [{"name": "main", "image": "nginx:1"}],
        },
    });
    let made = cluster.post(&pods, pod).await;
    assert_eq!(made.code, 201, "{}", message(&made));
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    assert_eq!(cluster.merge(&format!("{pods}/{name}/status"), status).await.code, 200);
}

#[tokio::test]
async fn a_budget_bounds_evictions() {
    let Some(cluster) = Cluster::start().await else { return };
    let account = json!({"metadata": {"name": "default"}});
    let made = cluster.post(&format!("{CORE}/serviceaccounts"), account).await;
    assert!(matches!(made.code, 201 | 409));
    running_pod(&cluster, "a").await;
    running_pod(&cluster, "b").await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    assert_eq!(cluster.post(budgets, json!({"metadata": {"name": "web"}, "spec": spec})).await.code, 201);

    let eviction =
        |name: &str| json!({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": name}});
    let evict =
        async |name: &str| cluster.post(&format!("{CORE}/pods/{name}/eviction"), eviction(name)).await;
    let early = evict("a").await;
    assert_eq!(early.code, 429, "the budget has not been looked at");
    assert_eq!(
        early.json()["details"]["causes"],
        json!([{"reason": "DisruptionBudget", "message": "The disruption budget web is still being processed by the server."}])
    );

    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2,
        "desiredHealthy": 1, "expectedPods": 2}});
    assert_eq!(cluster.merge(&format!("{budgets}/web/status"), status).await.code, 200);
    let tried = cluster.post(&format!("{CORE}/pods/a/eviction?dryRun=All"), eviction("a")).await;
    assert_eq!(tried.code, 201, "{}", message(&tried));
    let gone = evict("a").await;
    assert_eq!(gone.code, 201, "{}", message(&gone));
    let budget = cluster.get(&format!("{budgets}/web")).await.json();
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["a"].is_string(), "{budget}");
    assert_eq!(budget["status"]["conditions"][0]["reason"], "InsufficientPods");
    let refused = evict("b").await;
    assert_eq!(
        (refused.code, message(&refused)),
        (429, "Cannot evict pod as it would violate the pod's disruption budget.".into())
    );

    let second = json!({"metadata": {"name": "other"}, "spec": {"maxUnavailable": 1, "selector": {}}});
    assert_eq!(cluster.post(budgets, second).await.code, 201);
    let answer = evict("b").await;
    assert_eq!((answer.code, answer.json()["code"].as_i64()), (201, Some(500)));
}

#[tokio::test]
async fn one_autoscaler_in_two_versions() {
    let Some(cluster) = Cluster::start().await else { return };
    let path =
        |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let old = json!({"metadata": {"name": "web"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3,
        "targetCPUUtilizationPercentage": 50}});
    let made = cluster.post(&path("v1"), old).await;
    assert_eq!(made.code, 201, "{}", message(&made));
    let new = cluster.get(&format!("{}/web", path("v2"))).await.json();
    assert_eq!(new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    let behavior = json!({"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}}});
    let changed = cluster.merge(&format!("{}/web", path("v2")), behavior).await;
    assert_eq!(changed.code, 200, "{}", message(&changed));
    let mut seen = cluster.get(&format!("{}/web", path("v1"))).await.json();
    assert!(
        seen["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/behavior"].is_string(),
        "{seen}"
    );
    seen["spec"]["maxReplicas"] = json!(5);
    let written = cluster.write("PUT", &format!("{}/web", path("v1")), &seen).await;
    assert_eq!(written.code, 200, "{}", message(&written));
    let new = cluster.get(&format!("{}/web", path("v2"))).await.json();
    assert_eq!(new["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"], 60);
    assert_eq!(new["spec"]["maxReplicas"], 5);
}

#[tokio::test]
async fn scales_of_all_sorts() {
    let Some(cluster) = Cluster::start().await else { return };
    let template = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "nginx:1"}]}});
    let selector = json!({"matchLabels": {"app": "web"}});
    for (path, spec) in [
        (format!("{CORE}/replicationcontrollers"), json!({"template": template})),
        (
            "/apis/apps/v1/namespaces/default/statefulsets".to_owned(),
            json!({"template": template, "selector": selector, "serviceName": "web"}),
        ),
    ] {
        let made = cluster.post(&path, json!({"metadata": {"name": "web"}, "spec": spec})).await;
        assert_eq!(made.code, 201, "{}", message(&made));
        let scaled =
            cluster.merge(&format!("{path}/web/scale"), json!({"spec": {"replicas": 4}})).await.json();
        assert_eq!(scaled["kind"], "Scale", "{scaled}");
        assert_eq!(scaled["status"]["selector"], "app=web");
        assert_eq!(cluster.get(&format!("{path}/web")).await.json()["spec"]["replicas"], 4);
        // As Ansible does it: with the workload's kind.
        let kind = made.json()["kind"].clone();
        let patch = json!({"apiVersion": "autoscaling/v1", "kind": kind, "spec": {"replicas": 2}});
        let (scale, strategic) = (format!("{path}/web/scale"), "application/strategic-merge-patch+json");
        let scaled = cluster.send(As::Admin, "PATCH", &scale, strategic, &patch.to_string()).await;
        assert_eq!(scaled.json()["kind"], "Scale", "{}", message(&scaled));
        assert_eq!(cluster.get(&format!("{path}/web")).await.json()["spec"]["replicas"], 2);
        let merged = cluster.merge(&scale, patch).await;
        assert_eq!(merged.code, 422, "a merge patch is read as the object it makes: {}", message(&merged));
    }
}

#[tokio::test]
async fn scales_of_custom_kinds_obey_the_schema() {
    let Some(cluster) = Cluster::start().await else { return };
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"count": {"type": "integer", "maximum": 5}}},
        "status": {"type": "object", "properties": {"count": {"type": "integer"}}}}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
        "subresources": {"scale": {"specReplicasPath": ".spec.count", "statusReplicasPath": ".status.count"}}});
    let definition = json!({"metadata": {"name": "herds.example.com"}, "spec": {"group": "example.com",
        "scope": "Namespaced", "names": {"plural": "herds", "kind": "Herd"}, "versions": [version]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(cluster.post(definitions, definition).await.code, 201);
    let herds = "/apis/example.com/v1/namespaces/default/herds";
    let herd = json!({"apiVersion": "example.com/v1", "kind": "Herd", "metadata": {"name": "h"},
        "spec": {"count": 1}});
    let mut made = cluster.post(herds, herd.clone()).await;
    while made.code == 404 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        made = cluster.post(herds, herd.clone()).await;
    }
    assert_eq!(made.code, 201, "{}", message(&made));
    let scale = async |count: i32| {
        cluster.merge(&format!("{herds}/h/scale"), json!({"spec": {"replicas": count}})).await
    };
    assert_eq!(scale(5).await.code, 200);
    let refused = scale(6).await;
    assert_eq!(
        (refused.code, message(&refused).as_str()),
        (
            422,
            "Herd.example.com \"h\" is invalid: spec.count: Invalid value: 6: spec.count in body should be less than or equal to 5"
        )
    );
    let refused = message(&scale(-1).await);
    assert!(
        refused.ends_with(".spec.count: Invalid value: -1: should be a non-negative integer"),
        "{refused}"
    );
    assert_eq!(cluster.get(&format!("{herds}/h")).await.json()["spec"]["count"], 5);
}

#[tokio::test]
async fn a_job_s_pods_stay_by_default() {
    let Some(cluster) = Cluster::start().await else { return };
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let template =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "perl:1"}]}});
    let made = cluster.post(jobs, json!({"metadata": {"name": "pi"}, "spec": {"template": template}})).await;
    assert_eq!(made.code, 201, "{}", message(&made));
    let job = made.json();
    let uid = &job["metadata"]["uid"];
    assert_eq!(&job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], uid);
    let deleted = cluster.send(As::Admin, "DELETE", &format!("{jobs}/pi"), "", "").await;
    let warning = deleted.headers.get("warning").and_then(|v| v.to_str().ok()).unwrap_or_default();
    assert!(warning.contains("child pods are preserved by default when jobs are deleted"), "{warning}");
    let dying = cluster.get(&format!("{jobs}/pi")).await.json();
    assert_eq!(dying["metadata"]["finalizers"], json!(["orphan"]));
}

#[tokio::test]
async fn who_owns_the_count_is_settled_on_the_scale() {
    let Some(cluster) = Cluster::start().await else { return };
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let pods =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": pods});
    let made = json!({"metadata": {"name": "web"}, "spec": spec});
    assert_eq!(cluster.post(&format!("{path}?fieldManager=maker"), made).await.code, 201);
    let apply = async |count: i32, options: &str| {
        let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"},
            "spec": {"replicas": count}});
        let path = format!("{path}/web/scale?fieldManager=applier{options}");
        cluster.send(As::Admin, "PATCH", &path, "application/apply-patch+yaml", &scale.to_string()).await
    };
    // Manager, operation, version, subresource, whether it owns the count, and whether it has a time.
    let owners = async || -> Vec<String> {
        let web = cluster.get(&format!("{path}/web")).await.json();
        let entries = web["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let shown = |entry: &Value| {
            let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
            let counts = entry["fieldsV1"]["f:spec"]["f:replicas"].is_object();
            let timed = entry["time"].is_string();
            let [manager, operation, version, below] =
                ["manager", "operation", "apiVersion", "subresource"].map(text);
            format!("{manager} {operation} {version} {below} {counts} {timed}")
        };
        entries.iter().map(shown).collect()
    };
    let patch = json!({"spec": {"replicas": 2}});
    assert_eq!(cluster.merge(&format!("{path}/web/scale?fieldManager=scaler"), patch).await.code, 200);
    assert_eq!(
        owners().await,
        ["scaler Update apps/v1 scale true false", "maker Update apps/v1 - false true"]
    );

    let refused = apply(3, "").await;
    let conflict = "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using \
                    autoscaling/v1: .spec.replicas";
    assert_eq!((refused.code, message(&refused).as_str()), (409, conflict));
    let forced = apply(3, "&force=true").await;
    assert_eq!((forced.code, &forced.json()["spec"]["replicas"]), (200, &json!(3)));
    let applied = ["applier Apply apps/v1 scale true false", "maker Update apps/v1 - false true"];
    assert_eq!(owners().await, applied);
    assert_eq!(apply(4, "").await.json()["spec"]["replicas"], 4);
    assert_eq!(owners().await, applied);

    let unknown = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"nope": 1}});
    let scale = format!("{path}/web/scale?fieldManager=applier");
    let odd =
        cluster.send(As::Admin, "PATCH", &scale, "application/apply-patch+yaml", &unknown.to_string()).await;
    assert!(message(&odd).ends_with(".spec.nope: field not declared in schema"), "{}", message(&odd));
    let other = cluster.merge(&scale, json!({"metadata": {"uid": "x"}})).await;
    assert!(message(&other).starts_with("Operation cannot be fulfilled on deployments/scale.apps \"web\": "));
}
