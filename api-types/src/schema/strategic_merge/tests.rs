//! Strategic merge patches, on Deployment and Service.

use super::*;
use crate::apps::v1::Deployment;
use crate::core::v1::{Pod, Service};
use serde_json::json;

fn check(table: &'static StructType, original: Value, patch: Value, expected: Value) {
    assert_eq!(apply(table, original, patch).expect("applicable"), expected);
}

fn containers(list: Value) -> Value {
    json!({"spec": {"containers": list}})
}

#[test]
fn lists_with_a_merge_key_merge_by_it() {
    check(
        Pod::schema(),
        containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}])),
        containers(json!([{"name": "b", "image": "2", "tty": null}, {"name": "c"}])),
        containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c"}])),
    );
}

#[test]
fn a_new_item_comes_first() {
    check(
        Pod::schema(),
        containers(json!([{"name": "a"}, {"name": "b"}])),
        containers(json!([{"name": "c"}])),
        containers(json!([{"name": "c"}, {"name": "a"}, {"name": "b"}])),
    );
    check(
        Pod::schema(),
        json!({"metadata": {"finalizers": ["a", "b"]}}),
        json!({"metadata": {"finalizers": ["c"]}}),
        json!({"metadata": {"finalizers": ["c", "a", "b"]}}),
    );
}

#[test]
fn items_are_deleted_and_lists_replaced_by_directive() {
    let original = containers(json!([{"name": "a"}, {"name": "b"}]));
    check(
        Pod::schema(),
        original.clone(),
        containers(json!([{"name": "a", "$patch": "delete"}])),
        containers(json!([{"name": "b"}])),
    );
    check(
        Pod::schema(),
        original,
        containers(json!([{"$patch": "replace"}, {"name": "c"}])),
        containers(json!([{"name": "c"}])),
    );
}

#[test]
fn the_order_of_a_list_follows_the_patch() {
    check(
        Pod::schema(),
        containers(json!([{"name": "a"}, {"name": "x"}, {"name": "b"}])),
        json!({"spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
            "containers": [{"name": "c"}],
        }}),
        containers(json!([{"name": "c"}, {"name": "x"}, {"name": "b"}, {"name": "a"}])),
    );
    // The list itself need not change.
    check(
        Pod::schema(),
        containers(json!([{"name": "a"}, {"name": "x"}, {"name": "b"}])),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
        containers(json!([{"name": "x"}, {"name": "b"}, {"name": "a"}])),
    );
}

#[test]
fn retain_keys_drops_the_other_members_of_a_union() {
    check(
        Deployment::schema(),
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        json!({"spec": {"strategy": {"type": "Recreate"}}}),
    );
}

#[test]
fn sets_of_primitives_grow_and_shrink() {
    let original = json!({"metadata": {"finalizers": ["a", "b"]}});
    check(
        Pod::schema(),
        original.clone(),
        json!({"metadata": {"finalizers": ["b", "c"]}}),
        json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
    );
    check(
        Pod::schema(),
        original,
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
        json!({"metadata": {"finalizers": ["b"]}}),
    );
}

#[test]
fn maps_merge_and_null_deletes() {
    check(
        Service::schema(),
        json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"selector": {"x": "y"}}}),
        json!({"metadata": {"labels": {"a": null, "c": "3"}}, "spec": {"selector": {"$patch": "replace", "z": "1"}}}),
        json!({"metadata": {"labels": {"b": "2", "c": "3"}}, "spec": {"selector": {"z": "1"}}}),
    );
}

#[test]
fn service_ports_merge_by_port() {
    check(
        Service::schema(),
        json!({"spec": {"ports": [{"port": 80, "targetPort": 1}, {"port": 81}]}}),
        json!({"spec": {"ports": [{"port": 80, "targetPort": 2}]}}),
        json!({"spec": {"ports": [{"port": 80, "targetPort": 2}, {"port": 81}]}}),
    );
}

#[test]
fn what_cannot_be_merged_is_refused() {
    let refused = |patch: Value| apply(Pod::schema(), json!({}), patch).expect_err("refused").to_string();
    assert_eq!(refused(json!({"$patch": "burn"})), "bad patch type: burn");
    assert_eq!(
        refused(containers(json!([{"image": "1"}]))),
        "map: {\"image\":\"1\"} does not contain declared merge key: name"
    );
}
