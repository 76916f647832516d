//! Custom objects: pruned, defaulted, checked, written as Go would.

use super::*;
use crate::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
    CustomResourceSubresources, CustomResourceValidation, ResourceScope,
};
use crate::field::Errors;
use crate::kind::Row;
use serde_json::json;

fn row(kind: &str, schema: Json) -> &'static Row {
    let mut crd = CustomResourceDefinition::default();
    crd.spec.group = "example.com".into();
    crd.spec.names.kind = kind.into();
    crd.spec.names.plural = format!("{}s", kind.to_lowercase());
    crd.status.accepted_names = crd.spec.names.clone();
    crd.spec.scope = ResourceScope::Namespaced;
    crd.spec.versions = vec![CustomResourceDefinitionVersion {
        name: "v1".into(),
        served: true,
        storage: true,
        schema: Some(Box::new(CustomResourceValidation { open_api_v3_schema: Some((&schema).into()) })),
        subresources: Some(Box::new(CustomResourceSubresources {
            status: Some(Box::new(CustomResourceSubresourceStatus {})),
            scale: None,
        })),
        ..CustomResourceDefinitionVersion::default()
    }];
    slot(Definition::all(&crd).remove(0))
}

fn read(row: &Row, tree: Json) -> Box<dyn Object> {
    let mut object = (row.new)();
    json::read(object.as_dyn_struct_mut(), tree.to_string().as_bytes(), &mut None).expect("readable");
    object
}

fn written(object: &dyn Object) -> String {
    String::from_utf8(json::to_vec(object)).expect("UTF-8")
}

#[test]
fn unknown_fields_go_and_defaults_come() {
    let row = row(
        "Pruned",
        json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "n": {"type": "integer", "default": 3},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
            }},
        }}),
    );
    let mut object = read(
        row,
        json!({"spec": {"x": 1, "open": {"y": 1.0}, "labels": {"b": "1"}, "list": [{"a": "1", "c": 2}]}, "z": 1,
               "metadata": {"name": "a"}}),
    );
    let mut gone = (row.unknown_fields)(&mut *object);
    gone.sort();
    assert_eq!(gone, ["spec.list[0].c", "spec.x", "z"]);
    row.default(&mut *object);
    assert_eq!(
        written(&*object),
        r#"{"kind":"Pruned","apiVersion":"example.com/v1","metadata":{"name":"a"},"spec":{"labels":{"b":"1"},"list":[{"a":"1"}],"n":3,"open":{"y":1}}}"#
    );
}

/// Charts write `field: null` for what is not set.
#[test]
fn nulls_go_where_none_are_allowed() {
    let row = row(
        "Nulls",
        json!({"type": "object", "properties": {
            "spec": {"type": "object", "required": ["must"], "properties": {
                "a": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "string"}}}},
                "n": {"type": "integer", "default": 3},
                "may": {"type": "string", "nullable": true},
                "must": {"type": "string"},
            }},
        }}),
    );
    let mut object = read(
        row,
        json!({"spec": {"a": [{"b": null}], "n": null, "may": null, "must": null}, "metadata": {"name": "a"}}),
    );
    row.default(&mut *object);
    assert_eq!(
        written(&*object),
        r#"{"kind":"Nulls","apiVersion":"example.com/v1","metadata":{"name":"a"},"spec":{"a":[{}],"may":null,"n":3}}"#
    );
    let mut errors = Errors::default();
    (row.validate_create)(&*object, &mut errors);
    assert_eq!(errors.0[0].to_string(), "spec.must: Required value");
}

fn refused(row: &Row, tree: Json, old: Option<Json>) -> Vec<String> {
    let object = read(row, tree);
    let mut errors = Errors::default();
    match old {
        Some(old) => (row.validate_update)(&*object, &*read(row, old), &mut errors),
        None => (row.validate_create)(&*object, &mut errors),
    }
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn values_are_checked_in_upstreams_words() {
    let row = row(
        "Checked",
        json!({"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object", "required": ["a"], "properties": {
            "a": {"type": "string", "minLength": 2, "pattern": "^x"},
            "n": {"type": "integer", "minimum": 1, "maximum": 9},
            "e": {"type": "string", "enum": ["b", "c"]},
            "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}, "maxItems": 3},
            "o": {"type": "object", "properties": {"p": {"type": "string"}, "q": {"type": "string"}},
                  "oneOf": [{"required": ["p"]}, {"required": ["q"]}]},
        }}}}),
    );
    assert_eq!(refused(row, json!({}), None), ["spec: Required value"]);
    assert_eq!(
        refused(row, json!({"spec": {"a": 1, "n": 0, "e": "d", "s": ["a", "a"], "o": {}}}), None),
        [
            r#"spec.a: Invalid value: "integer": spec.a in body must be of type string: "integer""#,
            r#"spec.e: Unsupported value: "d": supported values: "b", "c""#,
            r#"spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1"#,
            "spec.o.p: Required value",
            r#"<nil>: Invalid value: "": "spec.o" must validate one and only one schema (oneOf). Found none valid"#,
            r#"spec.s[1]: Duplicate value: "a""#,
        ]
    );
    assert_eq!(
        refused(row, json!({"spec": {"a": "y", "s": ["1", "2", "3", "4"]}}), None),
        [
            r#"spec.a: Invalid value: "y": spec.a in body should be at least 2 chars long"#,
            r#"spec.a: Invalid value: "y": spec.a in body should match '^x'"#,
            "spec.s: Too many: 4: must have at most 3 items",
        ]
    );
}

#[test]
fn what_does_not_change_may_stay() {
    let row = row(
        "Kept",
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "string", "maxLength": 1}, "b": {"type": "string"}}}}}),
    );
    let old = json!({"spec": {"a": "long", "b": "1"}});
    assert!(refused(row, json!({"spec": {"a": "long", "b": "2"}}), Some(old.clone())).is_empty());
    assert_eq!(
        refused(row, json!({"spec": {"a": "longer"}}), Some(old)),
        ["spec.a: Too long: may not be more than 1 byte"]
    );
}

#[test]
fn only_items_of_maps_are_known_again() {
    let text = json!({"type": "string", "maxLength": 1});
    let item = json!({"type": "object", "properties": {"k": {"type": "string"}, "v": text}});
    let row = row(
        "KeptItems",
        json!({"type": "object", "properties": {
            "atomic": {"type": "array", "items": text},
            "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
            "map": {"type": "array", "items": item, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"]}}}),
    );
    let old = json!({"atomic": ["long"], "set": ["long"], "map": [{"k": "a", "v": "long"}]});
    assert!(refused(row, old.clone(), Some(old.clone())).is_empty());
    let new = json!({"atomic": ["long", "x"], "set": ["long", "x"],
        "map": [{"k": "b", "v": "x"}, {"k": "a", "v": "long"}]});
    let longer = "Too long: may not be more than 1 byte";
    assert_eq!(refused(row, new, Some(old)), [format!("atomic[0]: {longer}"), format!("set[0]: {longer}")]);
}

#[test]
fn the_status_has_a_path_of_its_own() {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    let row = row("Split", schema);
    let old = read(row, json!({"spec": {"a": 1}, "status": {"b": 1}}));
    let mut new = read(row, json!({"spec": {"a": 2}, "status": {"b": 2}}));
    (row.prepare_for_update)(&mut *new, &*old);
    assert!(written(&*new).ends_with(r#""spec":{"a":2},"status":{"b":1}}"#));
    assert_eq!(new.meta().generation, 1);
    let mut new = read(row, json!({"spec": {"a": 2}, "status": {"b": 2}}));
    (row.prepare_for_status_update)(&mut *new, &*old);
    assert!(written(&*new).ends_with(r#""spec":{"a":1},"status":{"b":2}}"#));
}

#[test]
fn rows_are_made_once_and_follow_their_definition() {
    let first = row("Same", json!({"type": "object"}));
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let second = row("Same", open);
    assert!(std::ptr::eq(first, second));
    assert!(first.custom.expect("a custom row").definition().schema.preserve_unknown);
}

#[test]
fn numbers_are_held_against_their_formats() {
    let number = |type_: &str, format: &str| json!({"type": type_, "format": format});
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "i32": number("integer", "int32"), "i64": number("integer", "int64"), "plain": {"type": "integer"},
        "odd": number("integer", "uint32"), "float": number("number", "float"), "double": number("number", "double"),
        "unknown": number("number", "int32"), "date": number("string", "date"),
        "limit": {"type": "integer", "format": "int32", "maximum": 5e9},
        "half": {"type": "number", "minimum": 1.5, "maximum": 2.5, "multipleOf": 0.5}}}}});
    let row = row("Number", schema);
    let check = |field: &str, value: &str, expected: &[&str]| {
        let tree: Json = serde_json::from_str(&format!(r#"{{"spec":{{"{field}":{value}}}}}"#)).expect("JSON");
        let found = refused(row, tree, None);
        assert_eq!(found, expected, "{field} {value}");
    };
    let checked = |what: &str, of: &str, field: &str| {
        format!("<nil>: Invalid value: \"\": {what} value must be of type {of} in spec.{field}")
    };
    let no = |field: &str, type_: &str, found: &str| {
        format!(
            "spec.{field}: Invalid value: \"{found}\": spec.{field} in body must be of type {type_}: \"{found}\""
        )
    };
    let (int32, int64) = ("integer with format int32", "integer with format int64");
    let default = "integer (default format)";
    for value in ["1", "1.0", "2147483647", "-2147483648"] {
        check("i32", value, &[]);
    }
    check("i32", "2147483648", &[&checked("Checked", int32, "i32")]);
    check("i32", "1.5", &[&no("i32", "int32", "float64"), &checked("Checked", int32, "i32")]);
    check("i32", "true", &[&no("i32", "int32", "")]);
    check("i32", "\"x\"", &[&no("i32", "integer", "string")]);
    check("i64", "9223372036854775807", &[]);
    let large = [&no("i64", "int64", "float64") as &str, &checked("Checked", int64, "i64")];
    check("i64", "9223372036854775808", &large);
    check("plain", "1.5", &[&no("plain", "integer", "number"), &checked("Checked", default, "plain")]);
    check("odd", "1.5", &[&no("odd", "integer", "number"), &checked("Checked", default, "odd")]);
    check("odd", "-1", &[]);
    check("float", "3.5e38", &[&checked("Checked", "number with format float", "float")]);
    check("double", "3.5e38", &[]);
    check("unknown", "3000000000", &[]);
    check("date", "5", &[&no("date", "date", "int64")]);
    check("limit", "1", &[&checked("Maximum boundary", int32, "limit")]);
    let body = |field: &str, value: &str, words: &str| {
        format!("spec.{field}: Invalid value: {value}: spec.{field} in body should be {words}")
    };
    check(
        "limit",
        "9223372036854775807",
        &[
            &checked("Checked", int32, "limit"),
            &checked("Maximum boundary", int32, "limit"),
            &body("limit", "9.223372036854776e+18", "less than or equal to 5e+09"),
        ],
    );
    check(
        "half",
        "2.75",
        &[&body("half", "2.75", "a multiple of 0.5"), &body("half", "2.75", "less than or equal to 2.5")],
    );
    check("half", "1.5", &[]);
}

#[test]
fn apply_follows_the_schema() {
    use crate::schema::managed_fields::{Writer, apply, update};
    use crate::value::Time;
    let row = row(
        "Applied",
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}},
            "plain": {"type": "array", "items": {"type": "string"}}}}}}),
    );
    let writer = |manager| Writer {
        manager,
        api_version: "example.com/v1",
        subresource: "",
        now: Time(jiff::Timestamp::UNIX_EPOCH),
        ignored: &["f:status"],
    };
    let live = json!({"spec": {"ports": [{"name": "a", "port": 1}], "plain": ["x"]}});
    let entries = update(row.root(), &json!({}), &live, &[], &writer("one"));
    let text =
        String::from_utf8_lossy(entries[0].fields_v1.as_ref().expect("fields").as_bytes()).into_owned();
    assert_eq!(
        text,
        r#"{"f:spec":{".":{},"f:plain":{},"f:ports":{".":{},"k:{\"name\":\"a\"}":{".":{},"f:name":{},"f:port":{}}}}}"#
    );
    let config = json!({"spec": {"ports": [{"name": "b", "port": 2}]}});
    let applied =
        apply(row.root(), &live, true, &config, &entries, &writer("two"), false).expect("no conflict");
    assert_eq!(applied.object["spec"]["ports"], json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]));
    let config = json!({"spec": {"ports": [{"name": "a", "port": 9}]}});
    assert!(apply(row.root(), &live, true, &config, &entries, &writer("two"), false).is_err());
}

#[test]
fn objects_within_objects_are_checked() {
    let row = row(
        "Nesting",
        json!({"type": "object", "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}},
            "held": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true}}}),
    );
    let check = |name: &str, held: Json| {
        let mut object = read(row, json!({"metadata": {"name": name}, "held": held}));
        let unknown = (row.unknown_fields)(&mut *object);
        let mut errors = Errors::default();
        (row.validate_create)(&*object, &mut errors);
        (unknown, errors.0.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let well = json!({"kind": "K", "apiVersion": "v1", "metadata": {"name": "n", "nope": 1}, "spec": 1});
    assert_eq!(check("abc", well.clone()), (vec!["held.metadata.nope".to_owned()], vec![]));
    assert_eq!(check("abcd", well).1, ["metadata.name: Too long: may not be more than 3 bytes"]);
    assert_eq!(
        check("abc", json!({"apiVersion": "a/b/c", "metadata": {"name": "a/b"}})).1,
        [
            r#"held.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#,
            "held.kind: Required value",
            r#"held.metadata.name: Invalid value: "a/b": may not contain '/'"#
        ]
    );
}

#[test]
fn objects_within_objects_have_metadata_as_all_have() {
    use crate::schema::managed_fields::{Writer, listed, mismatches, update};
    use crate::value::Time;
    let row = row(
        "Holding",
        json!({"type": "object", "properties": {
            "list": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "held": {"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true}}}),
    );
    let held = json!({"held": {"kind": "K", "apiVersion": "v1", "spec": {"a": [1]},
        "metadata": {"name": "n", "labels": {"a": "b"}, "finalizers": ["x"]}}});
    let writer = Writer {
        manager: "one",
        api_version: "example.com/v1",
        subresource: "",
        now: Time(jiff::Timestamp::UNIX_EPOCH),
        ignored: &[],
    };
    let fields = |old: &Json, new: &Json| -> String {
        let entries = update(row.root(), old, new, &[], &writer);
        let fields = entries.first().and_then(|entry| entry.fields_v1.as_ref());
        fields.map(|own| String::from_utf8_lossy(own.as_bytes()).into_owned()).unwrap_or_default()
    };
    assert_eq!(
        fields(&json!({}), &held),
        r#"{"f:held":{".":{},"f:apiVersion":{},"f:kind":{},"f:metadata":{".":{},"f:finalizers":{".":{},"v:\"x\"":{}},"f:labels":{".":{},"f:a":{}},"f:name":{}},"f:spec":{".":{},"f:a":{}}}}"#
    );
    let wrong = json!({"held": {"metadata": {"nope": 1}}});
    assert_eq!(listed(&mismatches(row.root(), &wrong)), ".held.metadata.nope: field not declared in schema");
    // Null and empty are not the same.
    assert_eq!(fields(&json!({"list": null}), &json!({"list": []})), r#"{"f:list":{}}"#);
    assert_eq!(fields(&json!({"list": []}), &json!({"list": []})), "");
}

#[test]
fn duplicates_are_told_at_any_depth() {
    let row = row("Twice", json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    let text = r#"{"metadata":{"name":"a"},"spec":{"a":1,"a":2,"list":[{"b":1},{"b":1,"c":{"d":1,"d":2}}]},"z":1,"z":2}"#;
    let mut object = (row.new)();
    let mut found = Some(Vec::new());
    json::read(object.as_dyn_struct_mut(), text.as_bytes(), &mut found).expect("readable");
    let found: Vec<String> = found.expect("asked for").iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [r#"duplicate field "spec.a""#, r#"duplicate field "spec.list[1].c.d""#, r#"duplicate field "z""#]
    );
    let deep = format!(r#"{{"spec":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let refused = json::read((row.new)().as_dyn_struct_mut(), deep.as_bytes(), &mut Some(Vec::new()));
    assert!(refused.is_err());
}

#[test]
fn deprecated_versions_say_what_to_use_instead() {
    let version = |name: &str, deprecated: bool| CustomResourceDefinitionVersion {
        name: name.into(),
        served: true,
        storage: name == "v1",
        deprecated,
        ..CustomResourceDefinitionVersion::default()
    };
    let said = |versions: &[(&str, bool)]| -> Vec<String> {
        let mut crd = CustomResourceDefinition::default();
        crd.spec.group = "example.com".into();
        crd.spec.names.kind = "Old".into();
        crd.spec.names.plural = "olds".into();
        crd.spec.versions = versions.iter().map(|(name, deprecated)| version(name, *deprecated)).collect();
        super::Definition::all(&crd).iter().filter_map(|own| own.deprecation.clone()).collect()
    };
    let old = "example.com/v1beta1 Old is deprecated";
    assert_eq!(
        said(&[("v1beta1", true), ("v1", false), ("v2", false)]),
        [format!("{old}; use example.com/v2 Old")]
    );
    assert_eq!(said(&[("v1beta1", true), ("v1alpha1", false)]), [old]);
}
