//! The server as its clients see it: real processes, TLS, plain requests.

mod churn;
mod connections;
mod devices;
mod expressions;
mod fan;
mod harness;
mod issuers;
mod pages;
mod requests;
mod webhooks;
mod workloads;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use harness::{As, Cluster};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"k": "v"}})
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).expect("a resourceVersion")
}

#[tokio::test]
async fn an_object_lives_and_dies() {
    let Some(cluster) = Cluster::start().await else { return };
    let made = cluster.post(MAPS, config_map("a")).await;
    assert_eq!(made.code, 201);
    let again = cluster.post(MAPS, config_map("a")).await;
    assert_eq!(
        (again.code, again.json()["message"].as_str()),
        (409, Some("configmaps \"a\" already exists"))
    );

    let path = format!("{MAPS}/a");
    let mut object = made.json();
    object["data"]["k"] = json!("w");
    let put = |object: &Value| object.to_string();
    let updated = cluster.send(As::Admin, "PUT", &path, "application/json", &put(&object)).await;
    assert_eq!(updated.code, 200);
    assert!(revision(&updated.json()) > revision(&made.json()));
    let stale = cluster.send(As::Admin, "PUT", &path, "application/json", &put(&object)).await;
    assert_eq!((stale.code, stale.json()["reason"].as_str()), (409, Some("Conflict")));

    let patch = r#"{"data":{"k":null,"x":"y"}}"#;
    let patched = cluster.send(As::Admin, "PATCH", &path, "application/merge-patch+json", patch).await;
    assert_eq!(patched.json()["data"], json!({"x": "y"}));

    let deleted = cluster.send(As::Admin, "DELETE", &path, "", "").await;
    assert_eq!((deleted.code, deleted.json()["status"].as_str()), (200, Some("Success")));
    assert_eq!(cluster.get(&path).await.code, 404);
}

/// The store may have members that are away: no request meets one.
#[tokio::test]
async fn members_of_the_store_that_are_away_are_passed_over() {
    let away = |_: &std::path::Path| {
        vec!["--etcd-servers=http://127.0.0.1:1".to_owned(), "--etcd-servers=http://127.0.0.1:2".to_owned()]
    };
    let Some(cluster) = Cluster::start_with(away).await else { return };
    for n in 0..30 {
        let name = format!("m{n}");
        assert_eq!(cluster.post(MAPS, config_map(&name)).await.code, 201);
        assert_eq!(cluster.get(&format!("{MAPS}/{name}")).await.code, 200);
    }
    assert_eq!(cluster.get(MAPS).await.json()["items"].as_array().map(Vec::len), Some(30));
}

#[tokio::test]
async fn what_is_too_large_for_the_store_is_said_in_its_words() {
    let Some(cluster) = Cluster::start().await else { return };
    let lease = json!({"metadata": {"name": "l", "managedFields": []},
        "spec": {"holderIdentity": "x".repeat(1_700_000)}});
    let answer = cluster.post("/apis/coordination.k8s.io/v1/namespaces/default/leases", lease).await.json();
    let wanted = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "etcdserver: request is too large", "code": 500});
    assert_eq!(answer, wanted);
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let Some(cluster) = Cluster::start().await else { return };
    for (who, name) in [(As::Nobody, "system:anonymous"), (As::User("eve"), "eve")] {
        let answer = cluster.send(who, "GET", MAPS, "", "").await;
        let text = format!(
            "configmaps is forbidden: User \"{name}\" cannot list resource \"configmaps\" in API group \"\" in the \
             namespace \"default\""
        );
        assert_eq!((answer.code, answer.json()["message"].as_str()), (403, Some(text.as_str())));
    }
}

/// PUT and apply may create; that takes the right to create, not only the right to change.
#[tokio::test]
async fn who_may_update_may_not_thereby_create() {
    let Some(cluster) = Cluster::start().await else { return };
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
    let rules = json!([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update", "patch"]}]);
    let role = json!({"metadata": {"name": "updater"}, "rules": rules});
    assert_eq!(cluster.post(&format!("{RBAC}/clusterroles"), role).await.code, 201);
    let binding = json!({"metadata": {"name": "updater"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "updater"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}]});
    assert_eq!(cluster.post(&format!("{RBAC}/clusterrolebindings"), binding).await.code, 201);
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let lease = json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "l"}})
        .to_string();
    let apply = format!("{path}?fieldManager=eve");
    for (method, path, ty) in
        [("PUT", path, "application/json"), ("PATCH", apply.as_str(), "application/apply-patch+yaml")]
    {
        // Until the binding has reached the authorizer even the update is refused, in other words.
        let mut answer = cluster.send(As::User("eve"), method, path, ty, &lease).await;
        while answer.json()["message"].as_str().is_some_and(|m| !m.contains("cannot create"))
            && answer.code == 403
        {
            answer = cluster.send(As::User("eve"), method, path, ty, &lease).await;
        }
        let status = answer.json();
        assert_eq!(answer.code, 403, "{method}: {status}");
        assert!(status["message"].as_str().is_some_and(|m| m.contains("cannot create resource")), "{status}");
        assert_eq!(cluster.get("/apis/coordination.k8s.io/v1/namespaces/default/leases/l").await.code, 404);
    }
    let made = cluster.send(As::Admin, "PUT", path, "application/json", &lease).await;
    assert_eq!(made.code, 201);
    let lease = made.json().to_string();
    assert_eq!(cluster.send(As::User("eve"), "PUT", path, "application/json", &lease).await.code, 200);
}

#[tokio::test]
async fn garbage_gets_upstreams_status() {
    let Some(cluster) = Cluster::start().await else { return };
    let json = "application/json";
    let large = " ".repeat(4 * 1024 * 1024);
    let named = r#"{"metadata":{"name":"Not_A_Name"}}"#;
    let unknown = r#"{"metadata":{"name":"a"},"nope":1}"#;
    let strict = format!("{MAPS}?fieldValidation=Strict");
    for (method, path, ty, body, code, reason, message) in [
        ("POST", MAPS, json, "{", 400, "BadRequest", "json parse error"),
        ("POST", MAPS, json, r#"{"data":{"k":1}}"#, 400, "BadRequest", "cannot unmarshal number"),
        (
            "POST",
            MAPS,
            json,
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
            400,
            "BadRequest",
            "cannot be handled as a ConfigMap",
        ),
        ("POST", MAPS, "text/plain", "x", 415, "UnsupportedMediaType", "accepted media types include"),
        ("POST", MAPS, json, &large, 413, "RequestEntityTooLarge", "limit is 3145728"),
        ("POST", MAPS, json, named, 422, "Invalid", "a lowercase RFC 1123 subdomain"),
        ("POST", &strict, json, unknown, 400, "BadRequest", "strict decoding error: unknown field \"nope\""),
        (
            "PATCH",
            &format!("{MAPS}/a"),
            json,
            "{}",
            415,
            "UnsupportedMediaType",
            "415: Unsupported Media Type",
        ),
        (
            "GET",
            &format!("{MAPS}?labelSelector=a%20b"),
            "",
            "",
            400,
            "BadRequest",
            "unable to parse requirement",
        ),
        ("GET", &format!("{MAPS}?limit=x"), "", "", 400, "BadRequest", "strconv.ParseInt"),
        (
            "GET",
            &format!("{MAPS}?resourceVersion=99999999"),
            "",
            "",
            504,
            "Timeout",
            "Too large resource version",
        ),
        ("GET", "/api/v1/nopes", "", "", 404, "NotFound", "could not find the requested resource"),
        ("DELETE", "/api/v1", "", "", 405, "MethodNotAllowed", "does not allow this method"),
    ] {
        let answer = cluster.send(As::Admin, method, path, ty, body).await;
        let status = answer.json();
        let found = (answer.code, status["reason"].as_str().unwrap_or_default());
        assert_eq!(found, (code, reason), "{method} {path}: {status}");
        assert!(status["message"].as_str().is_some_and(|m| m.contains(message)), "{method} {path}: {status}");
    }
    let warned = cluster.send(As::Admin, "POST", MAPS, json, unknown).await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"nope\\\"\"");
}

#[tokio::test]
async fn a_creation_race_has_one_winner() {
    let Some(cluster) = Cluster::start().await else { return };
    let cluster = Arc::new(cluster);
    let racers = (0..16).map(|_| {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.post(MAPS, config_map("same")).await.code })
    });
    let mut codes = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        codes.push(racer.await.expect("an answer"));
    }
    codes.sort_unstable();
    assert_eq!(codes[0], 201);
    assert!(codes[1..].iter().all(|code| *code == 409), "{codes:?}");
}

/// Writers race while a watcher reads, reconnecting in the middle: every change is seen once, in
/// order, and replaying the events gives what a list shows.
#[tokio::test]
async fn a_watcher_misses_nothing_and_sees_nothing_twice() {
    const WRITERS: usize = 4;
    const OBJECTS: usize = 12;
    let Some(cluster) = Cluster::start().await else { return };
    let cluster = Arc::new(cluster);
    let mut from = revision(&cluster.get(MAPS).await.json());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let cluster = cluster.clone();
            tokio::spawn(async move {
                for n in 0..OBJECTS {
                    let name = format!("w{writer}-{n}");
                    assert_eq!(cluster.post(MAPS, config_map(&name)).await.code, 201);
                    let path = format!("{MAPS}/{name}");
                    let patch = r#"{"data":{"k":"2"}}"#;
                    let ty = "application/merge-patch+json";
                    assert_eq!(cluster.send(As::Admin, "PATCH", &path, ty, patch).await.code, 200);
                    if n % 2 == 0 {
                        assert_eq!(cluster.send(As::Admin, "DELETE", &path, "", "").await.code, 200);
                    }
                }
            })
        })
        .collect();
    let total = WRITERS * OBJECTS * 2 + WRITERS * OBJECTS / 2;
    let mut events: Vec<Value> = Vec::new();
    for part in [total / 3, total] {
        let wanted = part - events.len();
        let path =
            format!("{MAPS}?watch=1&resourceVersion={from}&fieldSelector=metadata.name!%3Dkube-root-ca.crt");
        let seen = cluster.watch(&path, |seen| seen.len() >= wanted).await;
        from = revision(&seen.last().expect("events")["object"]);
        events.extend(seen);
    }
    for writer in writers {
        writer.await.expect("the writer finishes");
    }
    let revisions: Vec<u64> = events.iter().map(|e| revision(&e["object"])).collect();
    assert!(revisions.windows(2).all(|pair| pair[0] < pair[1]), "out of order or twice: {revisions:?}");
    assert_eq!(events.len(), total);
    let mut replayed = BTreeMap::new();
    for event in &events {
        let name = event["object"]["metadata"]["name"].as_str().expect("a name").to_owned();
        if event["type"] == "DELETED" {
            replayed.remove(&name);
        } else {
            replayed.insert(name, revision(&event["object"]));
        }
    }
    let list = cluster.get(MAPS).await.json();
    let listed: BTreeMap<String, u64> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|o| (o["metadata"]["name"].as_str().expect("a name").to_owned(), revision(o)))
        .filter(|(name, _)| name.starts_with('w'))
        .collect();
    assert_eq!(replayed, listed);
}

#[tokio::test]
async fn pages_are_of_one_revision() {
    let Some(cluster) = Cluster::start().await else { return };
    for n in 0..10 {
        cluster.post(MAPS, config_map(&format!("p{n}"))).await;
    }
    let path = format!("{MAPS}?limit=3");
    let (mut names, mut next, mut at) = (Vec::new(), String::new(), None);
    loop {
        let page = cluster.get(&format!("{path}&continue={next}")).await.json();
        assert_eq!(*at.get_or_insert(revision(&page)), revision(&page));
        let items = page["items"].as_array().expect("items");
        names.extend(items.iter().filter_map(|o| o["metadata"]["name"].as_str()).map(str::to_owned));
        // What happens between pages is not on them.
        cluster.post(MAPS, config_map(&format!("p{}x", names.len()))).await;
        cluster.send(As::Admin, "DELETE", &format!("{MAPS}/p9"), "", "").await;
        match page["metadata"]["continue"].as_str() {
            Some(token) => next = token.to_owned(),
            None => break,
        }
    }
    let expected: Vec<String> = (0..10).map(|n| format!("p{n}")).collect();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let Some(cluster) = Cluster::start().await else { return };
    for name in ["a", "b"] {
        cluster.post(MAPS, config_map(name)).await;
    }
    let path = format!(
        "{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let is_end = |e: &Value| e["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true";
    let events = cluster.watch(&path, |seen| seen.last().is_some_and(is_end)).await;
    let types: Vec<&str> = events.iter().filter_map(|e| e["type"].as_str()).collect();
    assert_eq!(types, ["ADDED", "ADDED", "BOOKMARK"]);
    let newest = events[..2].iter().map(|e| revision(&e["object"])).max().expect("two");
    assert!(revision(&events[2]["object"]) >= newest);
}

#[tokio::test]
async fn services_share_neither_addresses_nor_ports() {
    let Some(cluster) = Cluster::start().await else { return };
    let cluster = Arc::new(cluster);
    let service = |n: usize| {
        json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": format!("s{n}")},
               "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80}]}})
    };
    const PATH: &str = "/api/v1/namespaces/default/services";
    let makers: Vec<_> = (0..12)
        .map(|n| {
            let (cluster, service) = (cluster.clone(), service(n));
            tokio::spawn(async move { cluster.post(PATH, service).await.json() })
        })
        .collect();
    let (mut ips, mut ports) = (HashSet::new(), HashSet::new());
    let mut last = Value::Null;
    for maker in makers {
        last = maker.await.expect("a service");
        ips.insert(last["spec"]["clusterIP"].to_string());
        ports.insert(last["spec"]["ports"][0]["nodePort"].to_string());
    }
    assert_eq!((ips.len(), ports.len()), (12, 12));
    // A deleted Service gives both back: another can ask for them by name.
    let name = last["metadata"]["name"].as_str().expect("a name");
    assert_eq!(cluster.send(As::Admin, "DELETE", &format!("{PATH}/{name}"), "", "").await.code, 200);
    let mut heir = service(99);
    heir["spec"]["clusterIP"] = last["spec"]["clusterIP"].clone();
    heir["spec"]["ports"][0]["nodePort"] = last["spec"]["ports"][0]["nodePort"].clone();
    assert_eq!(cluster.post(PATH, heir).await.code, 201);
}

#[tokio::test]
async fn what_the_server_serves_is_discoverable() {
    let Some(cluster) = Cluster::start().await else { return };
    let core = cluster.get("/api/v1").await.json();
    assert_eq!((core["kind"].as_str(), core["groupVersion"].as_str()), (Some("APIResourceList"), Some("v1")));
    let documents = cluster.get("/openapi/v3").await.json();
    let url =
        documents["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a document").to_owned();
    let document = cluster.get(&url).await.json();
    assert!(document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    for path in ["/version", "/healthz", "/livez?verbose", "/readyz/etcd", "/metrics", "/openapi/v2"] {
        assert_eq!(cluster.get(path).await.code, 200, "{path}");
    }
}

#[tokio::test]
async fn openapi_comes_in_gnostics_protobuf_too() {
    let Some(cluster) = Cluster::start().await else { return };
    for asked in [
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf, application/json;q=0.5",
    ] {
        let answer = cluster.send_with("GET", "/openapi/v2", ("accept", asked), "").await;
        assert_eq!(answer.code, 200);
        assert_eq!(
            answer.headers["content-type"],
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        );
        // Field 1, `swagger`.
        assert!(answer.body.starts_with(b"\x0a\x032.0"));
        let etag = answer.headers["etag"].to_str().expect("text").to_owned();
        let again = cluster.send_with("GET", "/openapi/v2", ("if-none-match", &etag), "").await;
        assert_eq!(again.code, 304);
    }
    assert_eq!(cluster.send_with("GET", "/openapi/v2", ("accept", "text/html"), "").await.code, 406);
}

#[tokio::test]
async fn events_are_selected_by_the_names_of_their_group() {
    let Some(cluster) = Cluster::start().await else { return };
    const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = json!({"metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
        "reportingController": "c", "reportingInstance": "i", "action": "Do", "reason": "Why",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}});
    let made = cluster.post(EVENTS, event).await;
    assert_eq!(made.code, 201, "{}", made.json());
    for (path, selector, found) in [
        (EVENTS, "reportingController=c", 1),
        (EVENTS, "regarding.name=p,regarding.kind=Pod", 1),
        (EVENTS, "regarding.name=q", 0),
        ("/api/v1/namespaces/default/events", "reportingComponent=c,involvedObject.name=p,source=c", 1),
    ] {
        let list = cluster.get(&format!("{path}?fieldSelector={selector}")).await.json();
        assert_eq!(list["items"].as_array().expect("items").len(), found, "{selector}");
    }
    assert_eq!(cluster.get(&format!("{EVENTS}?fieldSelector=involvedObject.name=p")).await.code, 400);
}

#[tokio::test]
async fn reviews_have_no_table() {
    let Some(cluster) = Cluster::start().await else { return };
    let review = json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}).to_string();
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    assert_eq!(cluster.send_with("POST", path, table, &review).await.code, 406);
    assert_eq!(cluster.send_with("GET", MAPS, table, "").await.json()["kind"], "Table");
}

const FLOWS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

#[tokio::test]
async fn requests_fall_to_the_flow_schemas_that_mean_them() {
    let Some(cluster) = Cluster::start().await else { return };
    let uid = async |kind: &str, name: &str| {
        let object = cluster.get(&format!("{FLOWS}/{kind}/{name}")).await.json();
        object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
    };
    // The objects are written and read back in the background.
    let told = async |who: As<'_>| {
        let answer = cluster.send(who, "GET", MAPS, "", "").await;
        ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"]
            .map(|name| answer.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned())
    };
    while told(As::Admin).await[0].is_empty() {}
    for (who, schema, level) in
        [(As::Admin, "exempt", "exempt"), (As::User("eve"), "global-default", "global-default")]
    {
        let expected = [uid("flowschemas", schema).await, uid("prioritylevelconfigurations", level).await];
        assert!(!expected[0].is_empty());
        // Also on a refusal.
        assert_eq!(told(who).await, expected);
    }
    let text = String::from_utf8(cluster.get("/metrics").await.body.to_vec()).expect("text");
    assert!(text.contains(
        "apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"global-default\",priority_level=\"global-default\"}"
    ));

    // A user's schema, asked before the others, whose level comes later.
    let schema = json!({"metadata": {"name": "eves"}, "spec": {"matchingPrecedence": 5,
        "priorityLevelConfiguration": {"name": "eves"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "eve"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}});
    assert_eq!(cluster.post(&format!("{FLOWS}/flowschemas"), schema).await.code, 201);
    let dangling = async || {
        let schema = cluster.get(&format!("{FLOWS}/flowschemas/eves")).await.json();
        let conditions = schema["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.first().map(|c| c["status"].as_str().unwrap_or_default().to_owned())
    };
    while dangling().await.as_deref() != Some("True") {}
    let level = json!({"metadata": {"name": "eves"}, "spec": {"type": "Limited",
        "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}});
    assert_eq!(cluster.post(&format!("{FLOWS}/prioritylevelconfigurations"), level).await.code, 201);
    while dangling().await.as_deref() != Some("False") {}
    let expected = [uid("flowschemas", "eves").await, uid("prioritylevelconfigurations", "eves").await];
    while told(As::User("eve")).await != expected {}
}

#[tokio::test]
async fn what_is_mandatory_cannot_be_changed() {
    let Some(cluster) = Cluster::start().await else { return };
    let path = format!("{FLOWS}/flowschemas/catch-all");
    let patch = r#"{"spec":{"matchingPrecedence":9}}"#;
    let refused = cluster.send(As::Admin, "PATCH", &path, "application/merge-patch+json", patch).await;
    let message = refused.json()["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(refused.code, 422);
    assert!(message.ends_with("spec of 'catch-all' must equal the fixed value"), "{message}");
}

const AUDIT_POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  userGroups: ["system:masters"]
  resources: [{group: "", resources: ["secrets"]}]
- level: RequestResponse
  omitManagedFields: true
  resources: [{group: "", resources: ["configmaps"]}]
- level: None
"#;

#[tokio::test]
async fn the_audit_log_tells_who_did_what_as_the_policy_wants_it() {
    let started = Cluster::start_with(|folder| {
        let policy = folder.join("policy.yaml");
        std::fs::write(&policy, AUDIT_POLICY).expect("a file");
        let log = folder.join("audit.log");
        vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", log.display()),
        ]
    });
    let Some(cluster) = started.await else { return };
    let id = ("audit-id", "my-own-id");
    let made = cluster.send_with("POST", MAPS, id, &config_map("audited").to_string()).await;
    assert_eq!((made.code, made.headers["audit-id"].to_str().ok()), (201, Some("my-own-id")));
    cluster.send(As::User("eve"), "GET", &format!("{MAPS}/audited"), "", "").await;
    cluster.send(As::Nobody, "GET", "/version", "", "").await;
    let watched = cluster.watch(&format!("{MAPS}?watch=1&timeoutSeconds=1"), |_| false).await;
    assert!(!watched.is_empty());

    let events: Vec<Value> =
        cluster.read("audit.log").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    // The server's own writes are not requests.
    let of = |id: &str| events.iter().filter(|e| e["auditID"] == id).collect::<Vec<_>>();
    let [received, complete] = of("my-own-id")[..] else { panic!("{events:#?}") };
    assert_eq!((&received["stage"], &received["responseStatus"]), (&json!("RequestReceived"), &Value::Null));
    assert_eq!(complete["stage"], "ResponseComplete");
    assert_eq!(complete["level"], "RequestResponse");
    assert_eq!(complete["verb"], "create");
    assert_eq!(complete["requestURI"], MAPS);
    assert_eq!(complete["user"]["username"], "admin");
    assert_eq!(complete["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(
        complete["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "name": "audited", "apiVersion": "v1"})
    );
    assert_eq!(complete["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(complete["requestObject"]["data"], json!({"k": "v"}));
    assert!(complete["responseObject"]["metadata"]["uid"].is_string());
    assert!(complete["responseObject"]["metadata"]["managedFields"].is_null());
    assert_eq!(complete["annotations"]["authorization.k8s.io/decision"], "allow");

    let eves: Vec<&Value> = events.iter().filter(|e| e["user"]["username"] == "eve").collect();
    assert_eq!(eves.len(), 2);
    assert_eq!(eves[1]["responseStatus"]["reason"], "Forbidden");
    assert_eq!(eves[1]["responseStatus"]["code"], 403);
    assert_eq!(eves[1]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert!(!events.iter().any(|e| e["requestURI"] == "/version"));
    let stages: Vec<&Value> = events.iter().filter(|e| e["verb"] == "watch").map(|e| &e["stage"]).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
}

#[tokio::test]
async fn a_client_can_give_a_request_less_time() {
    let Some(cluster) = Cluster::start().await else { return };
    let answer = cluster.get(&format!("{MAPS}?timeout=1ns")).await;
    assert_eq!((answer.code, answer.json()["reason"].as_str()), (504, Some("Timeout")));
    let answer = cluster.get(&format!("{MAPS}?timeout=soon")).await;
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!(answer.code, 400);
    assert!(
        message.starts_with("invalid timeout specified in the request URL - time: invalid duration"),
        "{message}"
    );
}

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

#[tokio::test]
async fn a_group_of_another_server_is_served_as_if_it_were_ours() {
    let Some(cluster) = Cluster::start().await else { return };
    let port = cluster
        .serve(|path, headers| {
            if path == "/apis/wardle.example.com/v1alpha1" {
                return json!({"kind": "APIResourceList", "apiVersion": "v1",
                    "groupVersion": "wardle.example.com/v1alpha1",
                    "resources": [{"name": "flunders", "singularName": "flunder", "namespaced": true,
                        "kind": "Flunder", "verbs": ["get", "list"]}]});
            }
            let text = |name: &str| {
                let all = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
                all.map(str::to_owned).collect::<Vec<_>>()
            };
            json!({"kind": "Flunder", "path": path, "user": text("x-remote-user"), "groups": text("x-remote-group"),
                "secret": text("authorization")})
        })
        .await;
    let service = json!({"metadata": {"name": "sample"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    assert_eq!(cluster.post("/api/v1/namespaces/default/services", service).await.code, 201);
    let registered = json!({"metadata": {"name": "v1alpha1.wardle.example.com"}, "spec": {
        "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
        "insecureSkipTLSVerify": true,
        "service": {"namespace": "default", "name": "sample", "port": port}}});
    assert_eq!(cluster.post(SERVICES, registered).await.code, 201);
    let path = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders/f";
    let mut answer = cluster.get(path).await;
    while answer.code != 200 {
        answer = cluster.get(path).await;
    }
    let shown = answer.json();
    assert_eq!(shown["path"], path);
    assert_eq!(shown["user"], json!(["admin"]));
    assert_eq!(shown["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!(shown["secret"], json!([]));

    let own = async || cluster.get(&format!("{SERVICES}/v1alpha1.wardle.example.com")).await.json();
    while own().await["status"]["conditions"][0]["reason"] != "Passed" {}
    let groups = cluster.get("/apis").await.json();
    let names: Vec<&str> =
        groups["groups"].as_array().expect("groups").iter().filter_map(|g| g["name"].as_str()).collect();
    assert!(names.contains(&"apps") && names.contains(&"wardle.example.com"), "{names:?}");
    let aggregated = ("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let all = cluster.send_with("GET", "/apis", aggregated, "").await.json();
    let wardle = all["items"]
        .as_array()
        .expect("items")
        .iter()
        .find(|g| g["metadata"]["name"] == "wardle.example.com");
    let wardle = wardle.expect("the group");
    assert_eq!(wardle["versions"][0]["resources"][0]["resource"], "flunders");
    assert_eq!(wardle["versions"][0]["freshness"], "Current");

    // Who may not is refused before anything is passed on.
    assert_eq!(cluster.send(As::User("eve"), "GET", path, "", "").await.code, 403);
    assert_eq!(
        cluster
            .send(As::Admin, "DELETE", &format!("{SERVICES}/v1alpha1.wardle.example.com"), "", "")
            .await
            .code,
        200
    );
    while cluster.get(path).await.code != 404 {}
}

#[tokio::test]
async fn the_servers_own_groups_are_registered_and_extension_servers_told_whom_to_believe() {
    let Some(cluster) = Cluster::start().await else { return };
    let path = format!("{SERVICES}/v1.apps");
    let mut local = cluster.get(&path).await;
    while local.code != 200 {
        local = cluster.get(&path).await;
    }
    let local = local.json();
    assert_eq!(local["status"]["conditions"][0]["reason"], "Local");
    assert_eq!(local["spec"]["groupPriorityMinimum"], 17800);
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let mut map = cluster.get(path).await;
    while map.code != 200 {
        map = cluster.get(path).await;
    }
    assert!(
        map.json()["data"]["client-ca-file"].as_str().is_some_and(|text| text.contains("BEGIN CERTIFICATE"))
    );
}

#[tokio::test]
async fn secrets_are_sealed_in_the_store() {
    let started = Cluster::start_with(|folder| {
        let file = folder.join("encryption.yaml");
        let text = "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: \
                    [secrets]\n  providers:\n  - secretbox: {keys: [{name: k, secret: \
                    MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}\n  - identity: {}\n";
        std::fs::write(&file, text).expect("a file");
        vec![format!("--encryption-provider-config={}", file.display())]
    });
    let Some(cluster) = started.await else { return };
    const PATH: &str = "/api/v1/namespaces/default/secrets";
    // Of letters only, so that base64 and the cipher cannot hide it by chance of encoding.
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "correct-horse-battery"}});
    assert_eq!(cluster.post(PATH, secret).await.code, 201);
    let events = cluster.watch(&format!("{PATH}?watch=1&timeoutSeconds=5"), |seen| !seen.is_empty()).await;
    assert_eq!(events[0]["object"]["data"]["password"], "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5");
    let patch = r#"{"metadata":{"labels":{"a":"b"}}}"#;
    let patched =
        cluster.send(As::Admin, "PATCH", &format!("{PATH}/s"), "application/merge-patch+json", patch).await;
    assert_eq!(
        (patched.code, &patched.json()["data"]["password"]),
        (200, &json!("Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"))
    );
    assert!(!cluster.store_holds(b"Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"));
    assert!(cluster.store_holds(b"k8s:enc:secretbox:v1:k:"));
}
