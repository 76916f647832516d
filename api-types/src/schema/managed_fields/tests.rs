//! Server-side apply, on Deployment and Service: the cases of its documentation.

use super::*;
use crate::apps::v1::Deployment;
use crate::codec::json;
use crate::core::v1::{Pod, Service};
use serde_json::json;

fn at(second: i64) -> Time {
    Time(jiff::Timestamp::from_second(second).expect("a time"))
}

fn writer(manager: &str, second: i64) -> Writer<'_> {
    Writer { manager, api_version: "apps/v1", subresource: "", now: at(second), ignored: &["f:status"] }
}

fn zero<T: crate::Resource>() -> Value {
    serde_json::from_slice(&json::to_vec(&T::default())).expect("JSON")
}

fn fields(entries: &[ManagedFieldsEntry], manager: &str) -> Value {
    let entry = entries.iter().find(|e| e.manager == manager).expect(manager);
    Set::parse(entry.fields_v1.as_ref().expect("fields").as_bytes())
        .expect("a set")
        .to_json()
        .parse()
        .expect("JSON")
}

fn deployment(replicas: Option<i32>, image: &str) -> Value {
    let mut spec = json!({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}});
    if let Some(replicas) = replicas {
        spec["replicas"] = replicas.into();
    }
    json!({"metadata": {"name": "d", "labels": {"app": "x"}}, "spec": spec})
}

fn created() -> Applied {
    let config = deployment(Some(3), "1");
    apply(Deployment::schema(), &zero::<Deployment>(), false, &config, &[], &writer("ann", 1), false)
        .expect("no conflict")
}

#[test]
fn an_apply_owns_what_it_names() {
    let Applied { object, entries } = created();
    assert_eq!(object["spec"]["replicas"], 3);
    assert_eq!(
        fields(&entries, "ann"),
        json!({
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}}}}},
            },
        })
    );
    assert_eq!(entries[0].time, Some(at(1)));
}

#[test]
fn an_update_owns_what_it_changed_and_takes_it_from_others() {
    let Applied { object, entries } = created();
    let mut scaled = object.clone();
    scaled["spec"]["replicas"] = 5.into();
    let entries = update(Deployment::schema(), &object, &scaled, &entries, &writer("hpa", 2));
    assert_eq!(fields(&entries, "hpa"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(fields(&entries, "ann")["f:spec"].get("f:replicas"), None);
}

#[test]
fn a_foreign_field_is_a_conflict_unless_forced_or_equal() {
    let Applied { object, entries } = created();
    let again = |config: &Value, force: bool| {
        apply(Deployment::schema(), &object, true, config, &entries, &writer("bob", 2), force)
    };
    let refused = again(&deployment(Some(4), "1"), false).expect_err("a conflict");
    assert_eq!(refused.to_string(), "Apply failed with 1 conflict: conflict with \"ann\": .spec.replicas");

    let shared = again(&deployment(Some(3), "1"), false).expect("equal values are shared");
    assert_eq!(fields(&shared.entries, "ann"), fields(&shared.entries, "bob"));

    let forced = again(&deployment(Some(4), "1"), true).expect("forced");
    assert_eq!(forced.object["spec"]["replicas"], 4);
    assert_eq!(fields(&forced.entries, "ann")["f:spec"].get("f:replicas"), None);
}

#[test]
fn several_conflicts_are_listed_by_owner() {
    let Applied { object, entries } = created();
    let config = deployment(Some(4), "2");
    let refused = apply(Deployment::schema(), &object, true, &config, &entries, &writer("bob", 2), false);
    assert_eq!(
        refused.expect_err("conflicts").to_string(),
        "Apply failed with 2 conflicts: conflicts with \"ann\":\n- .spec.replicas\n\
         - .spec.template.spec.containers[name=\"c\"].image"
    );
}

#[test]
fn what_an_apply_no_longer_names_is_removed_unless_shared() {
    let Applied { object, entries } = created();
    let mut config = deployment(None, "1");
    config["spec"]["template"]["spec"]["containers"] = json!([{"name": "d", "image": "2"}]);
    let next = apply(Deployment::schema(), &object, true, &config, &entries, &writer("ann", 2), false)
        .expect("no conflict");
    assert_eq!(next.object["spec"].get("replicas"), None);
    assert_eq!(next.object["spec"]["template"]["spec"]["containers"], json!([{"name": "d", "image": "2"}]));

    // Shared with bob: ann lets go, the value stays.
    let shared = apply(
        Deployment::schema(),
        &object,
        true,
        &deployment(Some(3), "1"),
        &entries,
        &writer("bob", 2),
        false,
    )
    .expect("no conflict");
    let left = apply(
        Deployment::schema(),
        &shared.object,
        true,
        &deployment(None, "1"),
        &shared.entries,
        &writer("ann", 3),
        false,
    )
    .expect("no conflict");
    assert_eq!(left.object["spec"]["replicas"], 3);
}

#[test]
fn an_item_that_another_manager_has_a_part_in_stays_with_that_part() {
    let Applied { object, entries } = created();
    let mut changed = object.clone();
    changed["spec"]["template"]["spec"]["containers"][0]["tty"] = true.into();
    let entries = update(Deployment::schema(), &object, &changed, &entries, &writer("sidecar", 2));
    let mut config = deployment(Some(3), "1");
    config["spec"]["template"]["spec"]["containers"] = json!([]);
    let next = apply(Deployment::schema(), &changed, true, &config, &entries, &writer("ann", 3), false)
        .expect("no conflict");
    assert_eq!(next.object["spec"]["template"]["spec"]["containers"], json!([{"tty": true}]));
}

#[test]
fn nothing_changed_keeps_the_time() {
    let Applied { object, entries } = created();
    let again = apply(
        Deployment::schema(),
        &object,
        true,
        &deployment(Some(3), "1"),
        &entries,
        &writer("ann", 9),
        false,
    )
    .expect("no conflict");
    assert_eq!(again.object, object);
    assert_eq!(again.entries, entries);
}

#[test]
fn a_create_marks_maps_and_items_that_are_new() {
    let mut pod = zero::<Pod>();
    pod["metadata"] = json!({"name": "p", "labels": {"a": "1"}});
    pod["spec"]["containers"] = json!([{"name": "c", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]);
    let entries = update(Pod::schema(), &zero::<Pod>(), &pod, &[], &writer("kubectl-create", 1));
    assert_eq!(
        fields(&entries, "kubectl-create"),
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                ".": {},
                "f:name": {},
                "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                    {".": {}, "f:containerPort": {}, "f:protocol": {}}},
            }}},
        })
    );
}

#[test]
fn list_keys_take_their_default() {
    let config = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let who = Writer { api_version: "v1", ..writer("ann", 1) };
    let applied =
        apply(Service::schema(), &zero::<Service>(), false, &config, &[], &who, false).expect("no conflict");
    let live = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}});
    let next =
        apply(Service::schema(), &live, true, &config, &applied.entries, &who, false).expect("no conflict");
    assert_eq!(next.object["spec"]["ports"], live["spec"]["ports"]);
}

#[test]
fn an_object_without_owners_is_owned_by_what_came_before() {
    let live = deployment(Some(1), "1");
    let ann = writer("ann", 1);
    let before = before_first_apply(Deployment::schema(), &zero::<Deployment>(), &live, &ann);
    assert_eq!(
        fields(&before, "before-first-apply")["f:metadata"],
        json!({"f:labels": {".": {}, "f:app": {}}}),
        "what was there is owned as after a write"
    );
    let refused = apply(Deployment::schema(), &live, true, &deployment(Some(2), "1"), &before, &ann, false);
    assert_eq!(
        refused.expect_err("a conflict").to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn many_updaters_are_joined() {
    let mut live = json!({"metadata": {"labels": {}}});
    let mut entries = Vec::new();
    for i in 0..13 {
        let mut next = live.clone();
        next["metadata"]["labels"][format!("l{i}")] = "x".into();
        let name = format!("m{i}");
        entries = update(Pod::schema(), &live, &next, &entries, &writer(&name, i));
        live = next;
    }
    assert_eq!(entries.len(), 10);
    assert!(entries.iter().any(|e| e.manager == "ancient-changes"));
}

#[test]
fn only_who_changed_something_gets_a_time() {
    let Applied { object, entries } = created();
    let time = |entries: &[ManagedFieldsEntry], manager: &str| {
        entries.iter().find(|e| e.manager == manager).expect(manager).time
    };
    let mut scaled = object.clone();
    scaled["spec"]["replicas"] = 5.into();
    let taken = update(Deployment::schema(), &object, &scaled, &entries, &writer("hpa", 2));
    assert_eq!((time(&taken, "ann"), time(&taken, "hpa")), (Some(at(1)), Some(at(2))));
    let mut again = scaled.clone();
    again["spec"]["replicas"] = 6.into();
    let taken = update(Deployment::schema(), &scaled, &again, &taken, &writer("hpa", 3));
    assert_eq!(time(&taken, "hpa"), Some(at(3)), "a new value of an own field");

    let config = deployment(Some(3), "1");
    let same = apply(Deployment::schema(), &object, true, &config, &entries, &writer("bob", 4), false);
    let same = same.expect("no conflict").entries;
    assert_eq!((time(&same, "ann"), time(&same, "bob")), (Some(at(1)), None));
}

#[test]
fn what_a_path_does_not_write_is_no_conflict() {
    let Applied { object, entries } = created();
    let mut live = object.clone();
    live["status"] = json!({"replicas": 3});
    let status = Writer { subresource: "status", ignored: &["f:spec"], ..writer("controller", 2) };
    let entries = update(Deployment::schema(), &object, &live, &entries, &status);
    let mut config = deployment(Some(3), "1");
    config["status"] = json!({"replicas": 0});
    let applied = apply(Deployment::schema(), &live, true, &config, &entries, &writer("ann", 3), false);
    let entries = applied.expect("no conflict").entries;
    assert_eq!(fields(&entries, "controller"), json!({"f:status": {"f:replicas": {}}}));
}

/// What two managers have in one list stays in upstream's order.
#[test]
fn items_of_several_managers_keep_their_places() {
    let containers = |names: &[&str]| {
        let list: Vec<Value> = names.iter().map(|name| json!({"name": name, "image": "i"})).collect();
        json!({"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": list}}}})
    };
    let applied = |live: &[&str], config: &[&str]| -> Vec<String> {
        let (root, live) = (Deployment::schema(), containers(live));
        let entries = update(root, &zero::<Deployment>(), &live, &[], &writer("other", 1));
        let found = apply(root, &live, true, &containers(config), &entries, &writer("ann", 2), true);
        let object = found.expect("forced").object;
        let list = object["spec"]["template"]["spec"]["containers"].as_array().expect("a list").clone();
        list.iter().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(applied(&["a"], &["b"]), ["a", "b"]);
    assert_eq!(applied(&["a", "c"], &["b", "c"]), ["a", "b", "c"]);
    assert_eq!(applied(&["a", "b"], &["b", "a"]), ["b", "a"]);
    assert_eq!(applied(&["a", "x", "b", "y"], &["b", "n", "a"]), ["x", "b", "y", "n", "a"]);
    assert_eq!(applied(&["x", "a", "y", "b"], &["n", "a", "b", "m"]), ["x", "n", "a", "y", "b", "m"]);
}

#[test]
fn of_items_that_cannot_be_told_apart_the_item_alone_is_owned() {
    let port = |name: &str| json!({"containerPort": 80, "protocol": "TCP", "name": name});
    let with = |ports: Value| json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "ports": ports}]}});
    let owned = |entries: &[ManagedFieldsEntry]| {
        fields(entries, "ann")["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"]["f:ports"].clone()
    };
    let twice = with(json!([port("a"), port("b")]));
    let made = update(Pod::schema(), &zero::<Pod>(), &twice, &[], &writer("ann", 1));
    let id = r#"k:{"containerPort":80,"protocol":"TCP"}"#;
    assert_eq!(owned(&made), json!({".": {}, id: {}}));
    let same = update(Pod::schema(), &twice, &twice, &made, &writer("bob", 2));
    assert_eq!(same, made);
    let once = with(json!([port("a")]));
    let changed = update(Pod::schema(), &twice, &once, &made, &writer("ann", 3));
    assert_eq!(owned(&changed)[id], json!({".": {}, "f:containerPort": {}, "f:name": {}, "f:protocol": {}}));
}

#[test]
fn elements_are_written_as_go_writes_them() {
    let made = |value: &str| {
        let pod = json!({"metadata": {"name": "p", "finalizers": [value]}});
        update(Pod::schema(), &zero::<Pod>(), &pod, &[], &writer("ann", 1))
    };
    let text =
        String::from_utf8_lossy(made("a<b&c")[0].fields_v1.as_ref().expect("fields").as_bytes()).into_owned();
    assert!(text.contains(r#"v:\"a\\u003cb\\u0026c\""#), "{text}");
    let plain = Set::parse(br#"{"f:metadata":{"f:finalizers":{"v:\"a<b\"":{}}}}"#).expect("a set");
    assert_eq!(
        plain,
        Set::parse(br#"{"f:metadata":{"f:finalizers":{"v:\"a\\u003cb\"":{}}}}"#).expect("a set")
    );
}

#[test]
fn a_field_goes_with_the_last_of_what_was_owned_in_it() {
    let with = |strategy: Value| {
        let mut config = deployment(Some(1), "1");
        config["spec"]["strategy"] = strategy;
        config
    };
    let zero = zero::<Deployment>();
    let config = with(json!({"rollingUpdate": {"maxSurge": 1}}));
    let made = apply(Deployment::schema(), &zero, false, &config, &[], &writer("ann", 1), false)
        .expect("no conflict");
    let mut live = made.object;
    live["spec"]["strategy"]["type"] = "RollingUpdate".into();
    let plain = deployment(Some(1), "1");
    let applied = apply(Deployment::schema(), &live, true, &plain, &made.entries, &writer("ann", 2), false);
    let applied = applied.expect("no conflict");
    assert_eq!(applied.object["spec"].get("strategy"), None);
    assert_eq!(applied.object["metadata"]["name"], "d");
}

#[test]
fn a_null_takes_away_nothing_of_others() {
    let Applied { mut object, entries } = created();
    object["metadata"]["annotations"] = json!({"a": "b"});
    let entries = update(Deployment::schema(), &created().object, &object, &entries, &writer("bob", 2));
    let mut config = deployment(Some(3), "1");
    config["metadata"]["annotations"] = Value::Null;
    let applied = apply(Deployment::schema(), &object, true, &config, &entries, &writer("ann", 3), false);
    assert_eq!(applied.expect("no conflict").object["metadata"]["annotations"], json!({"a": "b"}));
}
