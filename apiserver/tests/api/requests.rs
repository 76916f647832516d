//! Requests as clients in other languages send them: paths that nothing answers, options, patches and
//! applies that do not fit, in upstream's words.

use serde_json::{Value, json};

use crate::harness::{Answer, As, Cluster};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const APPLY: &str = "application/apply-patch+yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";

impl Cluster {
    async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(As::Admin, method, path, "", "").await
    }

    async fn patched(&self, path: &str, media_type: &str, patch: &Value) -> Answer {
        self.send(As::Admin, "PATCH", path, media_type, &patch.to_string()).await
    }
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.code, answer.json()["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn paths_that_nothing_answers() {
    let Some(cluster) = Cluster::start().await else { return };
    for path in ["/foo", "/apis/foo.example", "/apis/foo.example/v1/things", "/healthz/foo"] {
        let answer = cluster.ask("GET", path).await;
        assert_eq!((answer.code, &*answer.body), (404, &b"404 page not found\n"[..]), "{path}");
    }
    for path in ["/apis/apps/v1/foos", "/apis/apps/v9", "/api/v2/pods"] {
        let unknown = cluster.ask("GET", path).await;
        assert_eq!(
            told(&unknown),
            (404, "the server could not find the requested resource".into()),
            "{path}"
        );
    }
    for path in ["/api", "/version", MAPS] {
        assert_eq!(cluster.ask("HEAD", path).await.code, 405, "{path}");
    }
    // What is behind a proxy answers for itself; without a path the way leads to its root.
    assert_eq!(cluster.ask("HEAD", &format!("{PODS}/none/proxy")).await.code, 301);
    assert_eq!(cluster.ask("HEAD", &format!("{PODS}/none/proxy/")).await.code, 404);
    assert_eq!(cluster.ask("HEAD", &format!("{PODS}/none/log")).await.code, 405);
    // One namespace after the other, or none.
    assert_eq!(cluster.ask("DELETE", "/api/v1/configmaps").await.code, 405);
    assert_eq!(cluster.ask("DELETE", MAPS).await.code, 200);
}

#[tokio::test]
async fn options_that_do_not_fit() {
    let Some(cluster) = Cluster::start().await else { return };
    let create = async |query: &str| {
        told(&cluster.post(&format!("{MAPS}?{query}"), json!({"metadata": {"name": "a"}})).await)
    };
    let invalid = |why: &str| (422, format!("CreateOptions.meta.k8s.io \"\" is invalid: {why}"));
    assert_eq!(
        create(&format!("fieldManager={}", "x".repeat(129))).await,
        invalid("fieldManager: Too long: may not be more than 128 bytes")
    );
    assert_eq!(
        create("dryRun=Foo").await,
        invalid("dryRun: Unsupported value: [\"Foo\"]: supported values: \"All\"")
    );
    let list = async |query: &str| told(&cluster.ask("GET", &format!("{MAPS}?{query}")).await);
    assert_eq!(
        list("timeoutSeconds=x").await,
        (400, "strconv.ParseInt: parsing \"x\": invalid syntax".into())
    );
    assert_eq!(
        list("continue=$").await,
        (
            400,
            "invalid continue token: continue key is not valid: illegal base64 data at input byte 0".into()
        )
    );
    assert_eq!(
        list("resourceVersion=x").await.1,
        "invalid resource version: resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax"
    );
}

#[tokio::test]
async fn logs_that_cannot_be() {
    let Some(cluster) = Cluster::start().await else { return };
    let pods = "/api/v1/namespaces/default/pods";
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(cluster.post(accounts, json!({"metadata": {"name": "default"}})).await.code, 201);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(cluster.post(pods, pod).await.code, 201);
    for (query, why) in [
        ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
        ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
        (
            "sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z",
            "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
    ] {
        let answer = cluster.ask("GET", &format!("{pods}/p/log?{query}")).await;
        assert_eq!(told(&answer), (422, format!("PodLogOptions \"p\" is invalid: {why}")));
    }
}

#[tokio::test]
async fn an_apply_that_changes_nothing_writes_nothing() {
    let Some(cluster) = Cluster::start().await else { return };
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    // Kept as `cpu: 1`: what is applied is not what is there, and means it.
    let limits = json!({"limits": {"cpu": "1000m"}});
    let template = json!({"metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": limits}]}});
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "a"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}});
    for (path, config) in
        [(format!("{MAPS}/a"), map), ("/apis/apps/v1/namespaces/default/replicasets/a".to_owned(), set)]
    {
        let path = format!("{path}?fieldManager=me");
        let first = cluster.patched(&path, APPLY, &config).await;
        assert_eq!(first.code, 201, "{:?}", told(&first));
        // Records have whole seconds.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        let second = cluster.patched(&path, APPLY, &config).await;
        assert_eq!(first.json()["metadata"], second.json()["metadata"]);
    }
}

#[tokio::test]
async fn patches_that_do_not_fit() {
    let Some(cluster) = Cluster::start().await else { return };
    let map = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    assert_eq!(cluster.post(MAPS, map).await.code, 201);
    let path = format!("{MAPS}/a");
    // What is not there passes as null, as Go's library has it.
    let absent = json!([{"op": "test", "path": "/metadata/annotations", "value": null},
        {"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]);
    assert_eq!(cluster.patched(&path, JSON_PATCH, &absent).await.code, 200);
    assert_eq!(cluster.patched(&path, JSON_PATCH, &absent).await.code, 422);

    let rejected = (422, "the server rejected our request due to an error in our request".to_owned());
    for operations in [json!([{"op": "foo", "path": "/data"}]), json!([{"op": "remove", "path": "/data/x"}])]
    {
        assert_eq!(told(&cluster.patched(&path, JSON_PATCH, &operations).await), rejected);
    }
    let into = |found: &str, wanted: &str| {
        (400, format!("error decoding patch: json: cannot unmarshal {found} into Go value of type {wanted}"))
    };
    let patched =
        async |media_type: &str, patch: Value| told(&cluster.patched(&path, media_type, &patch).await);
    assert_eq!(patched(JSON_PATCH, json!({})).await, into("object", "[]handlers.jsonPatchOp"));
    assert_eq!(patched(MERGE, json!([])).await, into("array", "map[string]interface {}"));
    let other = patched(MERGE, json!({"kind": "Secret"})).await;
    assert!(other.0 == 422 && other.1.contains("no kind \"Secret\" is registered"), "{other:?}");
    assert_eq!(
        patched(JSON_PATCH, json!([{"op": "remove", "path": "/metadata/name"}])).await,
        (400, "the name of the object (a based on URL) was undeterminable: name must be provided".into())
    );
}

#[tokio::test]
async fn applies_that_do_not_fit() {
    let Some(cluster) = Cluster::start().await else { return };
    let apply = async |config: Value| {
        told(&cluster.patched(&format!("{MAPS}/a?fieldManager=m"), APPLY, &config).await)
    };
    let map = |more: Value| {
        let mut map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}});
        map.as_object_mut().expect("a map").extend(more.as_object().expect("more").clone());
        map
    };
    assert_eq!(
        apply(json!({"kind": "Secret", "apiVersion": "v1"})).await,
        (400, "invalid object type: /v1, Kind=Secret".into())
    );
    let untyped =
        |why: &str| (500, format!("failed to create typed patch object (/a; /v1, Kind=ConfigMap): {why}"));
    assert_eq!(apply(map(json!({"foo": 1}))).await, untyped(".foo: field not declared in schema"));
    assert_eq!(
        apply(map(json!({"data": {"a": 1}}))).await,
        untyped(".data.a: expected string, got &value.valueUnstructured{Value:1}")
    );
    assert_eq!(
        apply(map(json!({"metadata": {}}))).await,
        (400, "the name of the object (a based on URL) was undeterminable: name must be provided".into())
    );
    assert_eq!(apply(map(json!({}))).await.0, 201);
}

/// Released manifests of custom kinds carry the status that their generator left there.
#[tokio::test]
async fn a_status_in_an_applied_definition_is_passed_over() {
    let Some(cluster) = Cluster::start().await else { return };
    let names = json!({"plural": "foos", "singular": "foo", "kind": "Foo"});
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let definition = json!({
        "kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"name": "foos.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names,
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]},
        "status": {"acceptedNames": {"kind": "", "plural": ""}, "conditions": [], "storedVersions": []},
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/foos.example.com";
    let apply = async || cluster.patched(&format!("{path}?fieldManager=m"), APPLY, &definition).await;
    assert_eq!(apply().await.code, 201);
    while cluster.ask("GET", path).await.json()["status"]["acceptedNames"]["kind"] != "Foo" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let again = apply().await;
    assert_eq!(told(&again), (200, String::new()));
    assert_eq!(again.json()["status"]["acceptedNames"]["kind"], "Foo");
}

#[tokio::test]
async fn fields_without_owners_stay_so_until_an_apply() {
    let Some(cluster) = Cluster::start().await else { return };
    let made = cluster.post(MAPS, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(made.json()["metadata"]["managedFields"], Value::Null);
    let path = format!("{MAPS}/a");
    let patched = cluster.patched(&path, MERGE, &json!({"data": {"k": "v"}})).await;
    assert_eq!((patched.code, &patched.json()["metadata"]["managedFields"]), (200, &Value::Null));
    let config =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"x": "y"}});
    let applied = cluster.patched(&format!("{path}?fieldManager=m"), APPLY, &config).await.json();
    let managers: Vec<&str> = applied["metadata"]["managedFields"]
        .as_array()
        .expect("owners")
        .iter()
        .filter_map(|entry| entry["manager"].as_str())
        .collect();
    assert_eq!(managers, ["m", "before-first-apply"]);
}

/// kubectl's apply patches by the media types that it finds in OpenAPI.
#[tokio::test]
async fn custom_kinds_offer_no_strategic_merge() {
    let Some(cluster) = Cluster::start().await else { return };
    let definition = json!({
        "metadata": {"name": "foos.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(cluster.post(definitions, definition).await.code, 201);
    let document = "/openapi/v3/apis/example.com/v1";
    while cluster.ask("GET", document).await.code != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let paths = cluster.ask("GET", document).await.json()["paths"].clone();
    let object = &paths["/apis/example.com/v1/namespaces/{namespace}/foos/{name}"];
    let takes = |method: &str| -> Vec<String> {
        let content = object[method]["requestBody"]["content"].as_object().expect("a body");
        content.keys().cloned().collect()
    };
    assert_eq!(
        takes("patch"),
        ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"]
    );
    assert_eq!(takes("put"), ["application/json", "application/yaml"]);
}

#[tokio::test]
async fn cbor_is_refused_as_where_its_gate_is_off() {
    let Some(cluster) = Cluster::start().await else { return };
    let refused =
        cluster.send_with("POST", MAPS, ("accept", "application/cbor"), r#"{"metadata":{"name":"a"}}"#).await;
    assert_eq!(
        told(&refused),
        (
            406,
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf"
                .into()
        )
    );
    assert_eq!(cluster.ask("GET", &format!("{MAPS}/a")).await.code, 404, "it was refused before it was made");
    let chosen = cluster.send_with("GET", MAPS, ("accept", "application/cbor,application/json"), "").await;
    assert_eq!((chosen.code, &chosen.headers["content-type"]), (200, &"application/json".parse().unwrap()));
    let watched =
        cluster.send_with("GET", &format!("{MAPS}?watch=1"), ("accept", "application/cbor-seq"), "").await;
    assert_eq!(watched.code, 406);
    let body = cluster.send(As::Admin, "POST", MAPS, "application/cbor", "x").await;
    assert_eq!(body.code, 415);
    let patch =
        cluster.send(As::Admin, "PATCH", &format!("{MAPS}/a"), "application/apply-patch+cbor", "x").await;
    assert_eq!(told(&patch), (415, "415: Unsupported Media Type".into()));
}

#[tokio::test]
async fn json_patches_may_replace_what_is_not_there_and_ask_what_an_object_is() {
    let Some(cluster) = Cluster::start().await else { return };
    let made = cluster.post(MAPS, json!({"metadata": {"name": "a"}, "data": {"a": "1"}})).await;
    assert_eq!(made.code, 201);
    let path = format!("{MAPS}/a");
    let patch = json!([{"op": "test", "path": "/kind", "value": "ConfigMap"},
        {"op": "test", "path": "/apiVersion", "value": "v1"},
        {"op": "replace", "path": "/data/b", "value": "2"}]);
    let patched = cluster.patched(&path, JSON_PATCH, &patch).await;
    assert_eq!((patched.code, &patched.json()["data"]), (200, &json!({"a": "1", "b": "2"})));
    let wrong = json!([{"op": "test", "path": "/kind", "value": "Secret"}]);
    assert_eq!(cluster.patched(&path, JSON_PATCH, &wrong).await.code, 422);
}

#[tokio::test]
async fn devices_that_others_use_are_for_labelled_namespaces() {
    let Some(cluster) = Cluster::start().await else { return };
    let labels = json!({"resource.kubernetes.io/admin-access": "true"});
    let namespace = json!({"metadata": {"name": "watched", "labels": labels}});
    assert_eq!(cluster.post("/api/v1/namespaces", namespace).await.code, 201);
    let claims = |namespace: &str| format!("/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims");
    let exactly = json!({"deviceClassName": "gpus", "adminAccess": true});
    let claim = json!({"metadata": {"name": "a"}, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}});
    let refused = cluster.post(&claims("default"), claim.clone()).await;
    assert_eq!(
        told(&refused),
        (
            422,
            "ResourceClaim.resource.k8s.io \"a\" is invalid: spec.devices.requests[0].adminAccess: Forbidden: admin \
             access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing \
             namespace"
                .into()
        )
    );
    // The namespace is on its way to the cache.
    while cluster.get("/api/v1/namespaces/watched?resourceVersion=0").await.code != 200 {}
    assert_eq!(cluster.post(&claims("watched"), claim).await.code, 201);
}
