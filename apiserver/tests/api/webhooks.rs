//! Webhooks of admission and of conversion, with a webhook server of the test's own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{As, Cluster};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1";

/// What the test's webhook does, by path: refuse what is marked, mark, count, break the protocol.
fn webhook(path: &str, review: &Value) -> Value {
    let asked = &review["request"];
    let mut response = json!({"uid": asked["uid"], "allowed": true});
    let patch = |operations: Value| (STANDARD.encode(operations.to_string()), "JSONPatch");
    match path {
        "/deny" => {
            let of = if asked["operation"] == "DELETE" { &asked["oldObject"] } else { &asked["object"] };
            if of["data"]["evil"] == "yes" {
                response["allowed"] = json!(false);
                response["status"] =
                    json!({"message": "the data is evil", "code": 403, "reason": "Forbidden"});
            }
            response["warnings"] = json!(["looked at"]);
        }
        "/mark" | "/again" => {
            let name = path.trim_start_matches('/');
            let seen = asked["object"]["data"].as_object().map_or(0, |data| data.len());
            let (patch, ty) =
                patch(json!([{"op": "add", "path": format!("/data/{name}"), "value": seen.to_string()}]));
            (response["patch"], response["patchType"]) = (json!(patch), json!(ty));
        }
        "/options" => {
            response["allowed"] = json!(false);
            response["status"] = json!({"message": asked["options"].to_string()});
        }
        "/silent" => return json!({}),
        _ => {}
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
}

struct Hooks {
    cluster: Cluster,
    port: u16,
}

impl Hooks {
    async fn start() -> Option<Self> {
        let cluster = Cluster::start().await?;
        let port = cluster.serve_posts(|path, _, review| webhook(path, &review)).await;
        Some(Self { cluster, port })
    }

    fn hook(&self, path: &str, more: Value) -> Value {
        let mut own = json!({
            "name": format!("{}.example.com", path.trim_start_matches('/')),
            "clientConfig": {
                "url": format!("https://127.0.0.1:{}{path}", self.port), "caBundle": self.cluster.ca_bundle()
            },
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "sideEffects": "None", "admissionReviewVersions": ["v1"]
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            own[key] = value.clone();
        }
        own
    }

    /// Puts webhooks into effect and waits until a marked write shows it.
    async fn configure(&self, sort: &str, name: &str, hooks: Vec<Value>) {
        let object = json!({"metadata": {"name": name}, "webhooks": hooks});
        let made = self.cluster.post(&format!("{HOOKS}/{sort}webhookconfigurations"), object).await;
        assert_eq!(made.code, 201, "{}", String::from_utf8_lossy(&made.body));
    }

    async fn create(&self, name: &str, data: Value) -> (u16, Value) {
        let answer = self.cluster.post(MAPS, json!({"metadata": {"name": name}, "data": data})).await;
        (answer.code, answer.json())
    }

    /// Writes until it comes out as wanted: a configuration takes effect in a moment.
    async fn until(&self, data: &Value, wanted: impl Fn(u16, &Value) -> bool) -> (u16, Value) {
        for n in 0..600 {
            let (code, answer) = self.create(&format!("until-{n}-{}", fastrand_name()), data.clone()).await;
            if wanted(code, &answer) {
                return (code, answer);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the configuration takes no effect");
    }
}

fn fastrand_name() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_validating_webhook_refuses_and_warns() {
    let Some(own) = Hooks::start().await else { return };
    let (_, kept) = own.create("kept", json!({"evil": "yes"})).await;
    own.configure("validating", "deny", vec![own.hook("/deny", json!({}))]).await;
    let (code, refused) = own.until(&json!({"evil": "yes"}), |code, _| code != 201).await;
    assert_eq!(code, 403);
    assert_eq!(
        message(&refused),
        "admission webhook \"deny.example.com\" denied the request: the data is evil"
    );
    assert_eq!(refused["reason"], "Forbidden");

    let passed = own.cluster.post(MAPS, json!({"metadata": {"name": "good"}})).await;
    assert_eq!(passed.code, 201);
    assert_eq!(passed.headers["warning"], "299 - \"looked at\"");

    let path = format!("{MAPS}/{}", kept["metadata"]["name"].as_str().expect("a name"));
    let deleted = own.cluster.send(As::Admin, "DELETE", &path, "", "").await;
    assert_eq!(deleted.code, 403, "deletions show the old object");
    let merge = "application/merge-patch+json";
    let patched = own
        .cluster
        .send(As::Admin, "PATCH", &format!("{MAPS}/good"), merge, r#"{"data":{"evil":"yes"}}"#)
        .await;
    assert_eq!(patched.code, 403);
    let all = own.cluster.send(As::Admin, "DELETE", MAPS, "", "").await;
    assert_eq!(all.code, 403, "each object of a collection is asked about");

    // Nobody is locked out by the configuration itself.
    let path = format!("{HOOKS}/validatingwebhookconfigurations/deny");
    assert_eq!(own.cluster.send(As::Admin, "DELETE", &path, "", "").await.code, 200);
    own.until(&json!({"evil": "yes"}), |code, _| code == 201).await;
}

#[tokio::test]
async fn mutating_webhooks_see_what_others_changed() {
    let Some(own) = Hooks::start().await else { return };
    own.configure(
        "mutating",
        "marks",
        vec![own.hook("/again", json!({"reinvocationPolicy": "IfNeeded"})), own.hook("/mark", json!({}))],
    )
    .await;
    let (_, made) = own.until(&json!({"k": "v"}), |_, object| object["data"]["mark"].is_string()).await;
    // First of one, then of two; the first once more, of three.
    assert_eq!(made["data"], json!({"again": "3", "k": "v", "mark": "2"}));
    let dry = own
        .cluster
        .post(&format!("{MAPS}?dryRun=All"), json!({"metadata": {"name": "dry"}, "data": {"k": "v"}}))
        .await;
    assert_eq!(dry.json()["data"]["mark"], "2");
}

#[tokio::test]
async fn a_webhook_that_cannot_be_asked_fails_or_is_ignored() {
    let Some(own) = Hooks::start().await else { return };
    let nobody = json!({"url": "https://127.0.0.1:1/x"});
    own.configure("validating", "gone", vec![own.hook("/gone", json!({"clientConfig": nobody}))]).await;
    let (code, failed) = own.until(&json!({}), |code, _| code != 201).await;
    assert_eq!(code, 500);
    assert_eq!(
        message(&failed),
        "Internal error occurred: failed calling webhook \"gone.example.com\": failed to call webhook: Post \
         \"https://127.0.0.1:1/x?timeout=10s\": dial tcp 127.0.0.1:1: connect: connection refused"
    );
    let path = format!("{HOOKS}/validatingwebhookconfigurations/gone");
    let ignore = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    let patched =
        own.cluster.send(As::Admin, "PATCH", &path, "application/json-patch+json", &ignore.to_string()).await;
    assert_eq!(patched.code, 200);
    own.until(&json!({}), |code, _| code == 201).await;

    // An answer that is none, and a certificate of somebody else's.
    own.configure("validating", "silent", vec![own.hook("/silent", json!({}))]).await;
    let (_, failed) = own.until(&json!({}), |code, _| code != 201).await;
    assert_eq!(
        message(&failed),
        "Internal error occurred: failed calling webhook \"silent.example.com\": received invalid webhook \
         response: webhook response was absent"
    );
    let untrusted = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
    let path = format!("{HOOKS}/validatingwebhookconfigurations/silent");
    own.cluster.send(As::Admin, "PATCH", &path, "application/json-patch+json", &untrusted.to_string()).await;
    own.until(&json!({}), |_, answer| {
        message(answer)
            .ends_with("tls: failed to verify certificate: x509: certificate signed by unknown authority")
    })
    .await;
}

#[tokio::test]
async fn options_travel_with_the_question() {
    let Some(own) = Hooks::start().await else { return };
    own.configure("validating", "options", vec![own.hook("/options", json!({}))]).await;
    own.until(&json!({}), |code, _| code != 201).await;
    let path = format!("{MAPS}?fieldManager=me&dryRun=All");
    let asked = own.cluster.post(&path, json!({"metadata": {"name": "a"}})).await.json();
    let by = "admission webhook \"options.example.com\" denied the request: ";
    let options: Value = serde_json::from_str(message(&asked).trim_start_matches(by)).expect("options");
    assert_eq!(
        options,
        json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"], "fieldManager": "me"})
    );
}

#[tokio::test]
async fn match_conditions_keep_requests_from_a_webhook() {
    let Some(own) = Hooks::start().await else { return };
    let conditions =
        |expression: &str| json!({"matchConditions": [{"name": "not-skip-me", "expression": expression}]});
    let bad = json!({"metadata": {"name": "bad"}, "webhooks": [own.hook("/deny", conditions("... [] bad"))]});
    let refused = own.cluster.post(&format!("{HOOKS}/validatingwebhookconfigurations"), bad).await;
    assert_eq!(refused.code, 422);
    let text = refused.json();
    assert!(
        message(&text).contains(
            "webhooks[0].matchConditions[0].expression: Invalid value: \"... [] bad\": compilation failed"
        ),
        "{text}"
    );
    let expression = "object == null || !object.metadata.name.startsWith('skip-me')";
    own.configure("validating", "deny", vec![own.hook("/deny", conditions(expression))]).await;
    own.until(&json!({"evil": "yes"}), |code, _| code == 403).await;
    assert_eq!(own.create("skip-me", json!({"evil": "yes"})).await.0, 201);
    assert_eq!(own.create("ask-me", json!({"evil": "yes"})).await.0, 403);
}

#[tokio::test]
async fn policies_are_asked_before_webhooks() {
    let Some(own) = Hooks::start().await else { return };
    own.configure("validating", "deny", vec![own.hook("/deny", json!({}))]).await;
    own.until(&json!({"evil": "yes"}), |code, _| code == 403).await;
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["configmaps"]}]);
    let policy = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": "!('evil' in object.data)", "message": "evil is named"}]}});
    assert_eq!(own.cluster.post(&format!("{HOOKS}/validatingadmissionpolicies"), policy).await.code, 201);
    let binding =
        json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    assert_eq!(
        own.cluster.post(&format!("{HOOKS}/validatingadmissionpolicybindings"), binding).await.code,
        201
    );
    let (_, refused) = own.until(&json!({"evil": "yes"}), |code, _| code != 403).await;
    assert!(
        message(&refused)
            .ends_with("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: evil is named"),
        "{refused}"
    );
}

#[tokio::test]
async fn webhooks_of_one_server_share_connections_that_are_kept() {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    let Some(cluster) = Cluster::start().await else { return };
    // Which paths came on which connection.
    let seen: Arc<Mutex<BTreeMap<u32, Vec<String>>>> = Arc::default();
    let noted = seen.clone();
    let port = cluster
        .serve_posts(move |path, headers, review| {
            let connection: u32 = headers["x-connection"].to_str().expect("text").parse().expect("a number");
            noted.lock().expect("no panic").entry(connection).or_default().push(path.to_owned());
            webhook(path, &review)
        })
        .await;
    let own = Hooks { cluster, port };
    own.configure("validating", "look", vec![own.hook("/look", json!({}))]).await;
    own.configure("mutating", "mark", vec![own.hook("/mark", json!({}))]).await;
    own.until(&json!({"k": "v"}), |_, object| object["data"]["mark"].is_string()).await;
    let now = || seen.lock().expect("no panic").clone();
    while !now().values().flatten().any(|path| path == "/look") {
        own.create(&format!("look-{}", fastrand_name()), json!({"k": "v"})).await;
    }
    for n in 0..10 {
        assert_eq!(own.create(&format!("kept-{n}"), json!({"k": "v"})).await.0, 201);
    }
    // One write after the other needs one connection, whatever the path.
    let connections = now();
    assert_eq!(connections.len(), 1, "{connections:?}");
    assert!(connections[&1].len() >= 21, "{connections:?}");

    // Another bundle is another trust: what was set up under the old one is not used for it.
    let path = format!("{HOOKS}/mutatingwebhookconfigurations/mark");
    let bundle = format!("{}\n# renewed\n", {
        let text = STANDARD.decode(own.cluster.ca_bundle()).expect("base64");
        String::from_utf8(text).expect("PEM")
    });
    let renewed = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle",
        "value": STANDARD.encode(bundle)}]);
    let patched = own
        .cluster
        .send(As::Admin, "PATCH", &path, "application/json-patch+json", &renewed.to_string())
        .await;
    assert_eq!(patched.code, 200, "{}", patched.json());
    own.until(&json!({"k": "v"}), |_, _| now().len() > 1).await;
    let connections = now();
    assert_eq!(connections.len(), 2, "{connections:?}");
    assert!(connections[&2].iter().all(|path| path == "/mark"), "{connections:?}");
}

/// `hostPort` of v1 is `host` and `port` in v2.
fn conversion(review: &Value) -> Value {
    let asked = &review["request"];
    let wanted = asked["desiredAPIVersion"].as_str().unwrap_or_default();
    let convert = |object: &Value| {
        let mut new = object.clone();
        new["apiVersion"] = json!(wanted);
        if let Some(both) = object["hostPort"].as_str() {
            let (host, port) = both.split_once(':').unwrap_or((both, ""));
            (new["host"], new["port"]) = (json!(host), json!(port));
            new.as_object_mut().map(|own| own.remove("hostPort"));
        } else if let (Some(host), Some(port)) = (object["host"].as_str(), object["port"].as_str()) {
            new["hostPort"] = json!(format!("{host}:{port}"));
            new.as_object_mut().map(|own| (own.remove("host"), own.remove("port")));
        }
        new
    };
    let objects: Vec<Value> = asked["objects"].as_array().into_iter().flatten().map(convert).collect();
    json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": {
        "uid": asked["uid"], "result": {"status": "Success"}, "convertedObjects": objects}})
}

#[tokio::test]
async fn a_webhook_converts_custom_resources() {
    let Some(cluster) = Cluster::start().await else { return };
    let port = cluster.serve_posts(|_, _, review| conversion(&review)).await;
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
        "versions": [version("v1", true), version("v2", false)],
        "conversion": {"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://127.0.0.1:{port}/convert"), "caBundle": cluster.ca_bundle()}
        }}
    }});
    let made = cluster.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
    assert_eq!(made.code, 201, "{}", String::from_utf8_lossy(&made.body));
    let things = |version: &str| format!("/apis/example.com/{version}/namespaces/default/things");
    let thing = |name: &str| {
        json!({"kind": "Thing", "apiVersion": "example.com/v1", "metadata": {"name": name},
        "hostPort": "localhost:8080"})
    };
    let mut first = cluster.post(&things("v1"), thing("a")).await;
    while first.code == 404 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        first = cluster.post(&things("v1"), thing("a")).await;
    }
    assert_eq!(first.code, 201);
    let seen = cluster.get(&format!("{}/a", things("v2"))).await.json();
    assert_eq!(
        (&seen["apiVersion"], &seen["host"], &seen["port"]),
        (&json!("example.com/v2"), &json!("localhost"), &json!("8080"))
    );
    assert_eq!(seen["metadata"]["uid"], first.json()["metadata"]["uid"]);

    // From now on v2 is stored; what was there stays what it was.
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.example.com";
    let swap = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]);
    let swapped =
        cluster.send(As::Admin, "PATCH", path, "application/json-patch+json", &swap.to_string()).await;
    assert_eq!(swapped.json()["status"]["storedVersions"], json!(["v1", "v2"]));
    let mut second = cluster.post(&things("v1"), thing("b")).await;
    while second.code != 201 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        second = cluster.post(&things("v1"), thing("b")).await;
    }
    assert_eq!(second.json()["hostPort"], "localhost:8080");
    for (version, field) in [("v1", "hostPort"), ("v2", "port")] {
        let list = cluster.get(&things(version)).await.json();
        let items = list["items"].as_array().expect("items");
        assert_eq!(items.len(), 2, "{version}");
        for item in items {
            assert!(item[field].is_string(), "{version}: {item}");
            assert!(item["apiVersion"].as_str().is_some_and(|group| group.ends_with(version)), "{item}");
        }
        let events = cluster
            .watch(&format!("{}?watch=true&resourceVersion=0&timeoutSeconds=5", things(version)), |events| {
                events.len() >= 2
            })
            .await;
        assert!(events.iter().all(|event| event["object"][field].is_string()), "{version}: {events:?}");
    }
    // Without its webhook, what needs it says so, and what does not is served.
    let gone = json!([{"op": "replace", "path": "/spec/conversion/webhook/clientConfig/url",
        "value": "https://127.0.0.1:1/x"}]);
    cluster.send(As::Admin, "PATCH", path, "application/json-patch+json", &gone.to_string()).await;
    let path = format!("{}/a", things("v2"));
    let mut failed = cluster.get(&path).await;
    while failed.code == 200 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        failed = cluster.get(&path).await;
    }
    assert_eq!(
        (failed.code, failed.json()["message"].as_str()),
        (
            500,
            Some(
                "conversion webhook for example.com/v1, Kind=Thing failed: Post \
            \"https://127.0.0.1:1/x?timeout=30s\": dial tcp 127.0.0.1:1: connect: connection refused"
            )
        )
    );
    assert_eq!(cluster.get(&format!("{}/a", things("v1"))).await.code, 200);
}

#[tokio::test]
async fn fields_are_selected_as_the_version_has_them_that_is_asked() {
    let Some(cluster) = Cluster::start().await else { return };
    let port = cluster.serve_posts(|_, _, review| conversion(&review)).await;
    let version = |name: &str, storage: bool, fields: &[&str]| {
        let texts: serde_json::Map<String, Value> =
            fields.iter().map(|field| ((*field).to_owned(), json!({"type": "string"}))).collect();
        let paths: Vec<Value> = fields.iter().map(|field| json!({"jsonPath": format!(".{field}")})).collect();
        json!({"name": name, "served": true, "storage": storage, "selectableFields": paths,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": texts}}})
    };
    let definition = json!({"metadata": {"name": "picks.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "picks", "singular": "pick", "kind": "Pick"},
        "versions": [version("v1", true, &["hostPort"]), version("v2", false, &["host", "port"])],
        "conversion": {"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://127.0.0.1:{port}/convert"), "caBundle": cluster.ca_bundle()}
        }}
    }});
    let made = cluster.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
    assert_eq!(made.code, 201, "{}", String::from_utf8_lossy(&made.body));
    let picks = |version: &str| format!("/apis/example.com/{version}/namespaces/default/picks");
    for (name, host, port) in [("a", "one", "80"), ("b", "one", "8080"), ("c", "two", "80")] {
        let own = json!({"kind": "Pick", "apiVersion": "example.com/v2", "metadata": {"name": name},
            "host": host, "port": port});
        let mut made = cluster.post(&picks("v2"), own.clone()).await;
        while made.code == 404 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            made = cluster.post(&picks("v2"), own.clone()).await;
        }
        assert_eq!(made.code, 201, "{}", made.json());
    }
    let names = |objects: &Value| -> String {
        let items = objects.as_array().into_iter().flatten();
        items.filter_map(|item| item["metadata"]["name"].as_str()).collect::<Vec<_>>().join(" ")
    };
    for (version, selector, expected) in [
        ("v2", "host=one", "a b"),
        ("v2", "host=one,port=80", "a"),
        ("v2", "host!=one", "c"),
        ("v2", "metadata.name=b,host=one", "b"),
        ("v2", "metadata.name=c,host=one", ""),
        ("v1", "hostPort=one:8080", "b"),
    ] {
        let path = format!("{}?fieldSelector={selector}", picks(version));
        let list = cluster.get(&path).await.json();
        assert_eq!(names(&list["items"]), expected, "{version} {selector}: {list}");
        let page = cluster.get(&format!("{path}&limit=1")).await.json();
        assert_eq!(
            names(&page["items"]),
            expected.split(' ').next().unwrap_or_default(),
            "{version} {selector}"
        );
    }
    // A watch tells of what comes and of what leaves.
    let watched = format!("{}?fieldSelector=host%3Done&watch=true&timeoutSeconds=20", picks("v2"));
    let events = cluster.watch(&watched, |events| events.len() >= 3);
    let move_b = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let patch = json!({"host": "two"}).to_string();
        let path = format!("{}/b", picks("v2"));
        cluster.send(As::Admin, "PATCH", &path, "application/merge-patch+json", &patch).await
    };
    let (events, moved) = tokio::join!(events, move_b);
    assert_eq!(moved.code, 200, "{}", moved.json());
    let told: Vec<String> = events
        .iter()
        .map(|event| {
            format!("{} {} {}", event["type"], event["object"]["metadata"]["name"], event["object"]["host"])
        })
        .collect();
    assert_eq!(
        told,
        [r#""ADDED" "a" "one""#, r#""ADDED" "b" "one""#, r#""DELETED" "b" "one""#],
        "{events:?}"
    );
    let metrics = cluster.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in [
        r#"apiserver_conversion_webhook_request_total{failure_type="",result="success"}"#,
        r#"apiserver_crd_conversion_webhook_duration_seconds_count{crd_name="picks.example.com",from_version="v1",succeeded="true",to_version="v2"}"#,
    ] {
        assert!(text.contains(line), "{line}");
    }
}
