//! CustomResourceDefinition: what is refused.

use super::*;
use crate::kind::testing::{defaulted, refused, refused_update};
use serde_json::{Value as Json, json};

fn crd(schema: Json) -> CustomResourceDefinition {
    let mut own = CustomResourceDefinition::default();
    own.metadata.name = "foos.example.com".into();
    own.spec.group = "example.com".into();
    own.spec.names.plural = "foos".into();
    own.spec.names.kind = "Foo".into();
    own.spec.scope = ResourceScope::Namespaced;
    own.spec.versions = vec![CustomResourceDefinitionVersion {
        name: "v1".into(),
        served: true,
        storage: true,
        schema: Some(Box::new(CustomResourceValidation { open_api_v3_schema: Some((&schema).into()) })),
        ..CustomResourceDefinitionVersion::default()
    }];
    own
}

fn of_schema(schema: Json) -> Vec<String> {
    let found = refused(crd(schema));
    found.into_iter().map(|text| text.replace("spec.validation.openAPIV3Schema", "S")).collect()
}

#[test]
fn names_are_filled_in_and_checked() {
    let own = defaulted(crd(json!({"type": "object"})));
    assert_eq!((own.spec.names.singular.as_str(), own.spec.names.list_kind.as_str()), ("foo", "FooList"));
    assert_eq!(own.status.stored_versions, ["v1"]);
    assert!(refused(own.clone()).is_empty());
    let mut other = own;
    other.metadata.name = "bars.example.com".into();
    assert_eq!(
        refused(other),
        [r#"metadata.name: Invalid value: "bars.example.com": must be spec.names.plural+"."+spec.group"#]
    );
}

#[test]
fn schemas_are_structural() {
    assert_eq!(of_schema(json!({})), ["S.type: Required value: must not be empty at the root"]);
    assert_eq!(
        of_schema(json!({"type": "object", "properties": {"a": {"type": "array"}}})),
        ["S.properties[a].items: Required value: must be specified"]
    );
    assert_eq!(
        of_schema(json!({"type": "object", "anyOf": [{"type": "object"}]})),
        ["S.anyOf[0].type: Forbidden: must be empty to be structural"]
    );
    assert_eq!(
        of_schema(json!({"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}]}}})),
        Vec::<String>::new()
    );
    // As VolumeSnapshots have it.
    assert_eq!(
        of_schema(json!({"type": "object", "properties": {
            "a": {"type": "string", "pattern": "^[0-9]+$", "x-kubernetes-int-or-string": true}}})),
        Vec::<String>::new()
    );
    assert_eq!(
        of_schema(json!({"type": "object", "properties": {"l": {"type": "array",
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}}}}}})),
        [
            "S.properties[l].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
        ]
    );
    assert_eq!(
        of_schema(json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}})),
        [r#"S.properties[a].default: Invalid value: "string":  in body must be of type integer: "string""#]
    );
}

#[test]
fn one_version_is_stored() {
    let mut own = crd(json!({"type": "object"}));
    own.spec.versions[0].storage = false;
    let found = refused(own);
    assert!(
        found.iter().any(|text| text.ends_with("must have exactly one version marked as storage version")),
        "{found:?}"
    );
}

#[test]
fn the_storage_version_is_among_the_stored() {
    let mut none = crd(json!({"type": "object"}));
    none.spec.versions[0].storage = false;
    let text = "status.storedVersions: Invalid value: null: must have at least one stored version";
    assert_eq!(refused(none.clone())[1], text);
    none.spec.versions.clear();
    assert_eq!(refused(none)[1], text);
    let mut two = crd(json!({"type": "object"}));
    let second = CustomResourceDefinitionVersion { name: "v2".into(), ..two.spec.versions[0].clone() };
    two.spec.versions.push(second);
    assert_eq!(
        refused(two)[1],
        r#"status.storedVersions: Invalid value: ["v1"]: must have the storage version v2"#
    );
}

#[test]
fn what_schemas_may_not_say() {
    let property = |schema: Json| {
        let found = of_schema(json!({"type": "object", "properties": {"x": schema}}));
        found.into_iter().map(|text| text.replace("S.properties[x].", "")).collect::<Vec<_>>()
    };
    for (schema, expected) in [
        (json!({"type": "object", "additionalProperties": false}), &[][..]),
        (json!({"type": "object", "oneOf": [{"properties": {"c": {"minLength": 1}}}]}), &[]),
        (
            json!({"type": "object", "default": {"a": 1}}),
            &[r#"default: Invalid value: {"a":1}: must not have unknown fields"#],
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true,
                "x-kubernetes-preserve-unknown-fields": true, "default": {"kind": "Foo"}}),
            &["default.apiVersion: Required value"],
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true,
                "properties": {"kind": {"type": "string", "default": ""}}}),
            &[
                r#"properties[kind].default: Invalid value: "": must result in valid metadata: kind: Invalid value: "": must not be empty"#,
            ],
        ),
        (
            json!({"type": "array", "items": {"type": "integer"}, "default": ["x"]}),
            &[r#"default.[0]: Invalid value: "string": [0] in body must be of type integer: "string""#],
        ),
        (json!({"$ref": "#/definitions/a"}), &["$ref: Forbidden: $ref is not supported"]),
        (
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
            &["x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"],
        ),
        (
            json!({"type": "array", "items": [{"type": "string"}]}),
            &["items: Forbidden: items must be a schema object and not an array"],
        ),
        (
            json!({"type": "null"}),
            &[
                r#"type: Unsupported value: "null": supported values: "array", "boolean", "integer", "number", "object", "string""#,
                "type: Forbidden: type cannot be set to null, use nullable as an alternative",
            ],
        ),
        (
            json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"}),
            &[
                "items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
            ],
        ),
        (
            json!({"type": "array", "items": {"type": "string", "nullable": true}, "x-kubernetes-list-type": "set"}),
            &["items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set"],
        ),
        (
            json!({"type": "string", "x-kubernetes-map-type": "atomic"}),
            &[r#"type: Invalid value: "string": must be object if x-kubernetes-map-type is specified"#],
        ),
    ] {
        assert_eq!(property(schema.clone()), expected, "{schema}");
    }
    let root = |more: Json| {
        let mut schema = json!({"type": "object"});
        more.as_object().into_iter().flatten().for_each(|(name, value)| schema[name] = value.clone());
        of_schema(schema)
    };
    assert_eq!(
        root(json!({"nullable": true})),
        ["S.nullable: Forbidden: nullable cannot be true at the root"]
    );
    assert_eq!(
        root(json!({"$schema": "x"})),
        [r#"S: Invalid value: "": OpenAPIV3Schema 'schema' is not supported"#]
    );
    assert_eq!(
        root(json!({"properties": {"kind": {"type": "string", "default": "a"}}})),
        ["S.properties[kind].default: Forbidden: must not be set in top-level kind"]
    );
    assert_eq!(
        root(json!({"properties": {"metadata": {"type": "object", "required": ["name"]}}})),
        [
            "S.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"
        ]
    );
}

#[test]
fn with_a_status_the_root_says_little() {
    let with_status = |schema: Json| {
        let mut own = crd(schema);
        own.spec.versions[0].subresources = Some(Box::new(CustomResourceSubresources {
            status: Some(Default::default()),
            ..CustomResourceSubresources::default()
        }));
        refused(own)
    };
    assert!(with_status(json!({"type": "object", "required": ["spec"]})).is_empty());
    let found = with_status(json!({"type": "object", "minProperties": 1}));
    assert!(found[0].contains("fields are allowed at the root of the schema"), "{found:?}");
}

#[test]
fn selectable_fields_are_fields_of_the_schema() {
    let with = |paths: &[&str]| {
        let mut own = crd(json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "string"}, "m": {"type": "object", "additionalProperties": {"type": "string"}}}}}}));
        own.spec.versions[0].selectable_fields =
            paths.iter().map(|path| SelectableField { json_path: (*path).into() }).collect();
        let found = refused(own).into_iter();
        found
            .filter_map(|text| Some(text.split_once("is an invalid path: ")?.1.to_owned()))
            .collect::<Vec<_>>()
    };
    assert!(with(&[".spec.a", ".spec.m.x"]).is_empty());
    assert_eq!(
        with(&["spec.a", ".spec.", ".spec[a]", ".metadata.name"]),
        [
            "expected [ or . but got: spec",
            "unexpected end of JSON path",
            "array notation is not allowed",
            "does not refer to a valid field"
        ]
    );
}

#[test]
fn a_stored_version_stays() {
    let old = defaulted(crd(json!({"type": "object"})));
    let mut new = old.clone();
    new.spec.versions[0].name = "v2".into();
    crate::kind::Strategy::prepare_for_update(&mut new, &old);
    assert!(
        refused_update(new, old)[0].starts_with(
            r#"status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version"#
        )
    );
}

#[test]
fn groups_of_kubernetes_need_approval() {
    let mut own = crd(json!({"type": "object"}));
    own.metadata.name = "foos.example.k8s.io".into();
    own.spec.group = "example.k8s.io".into();
    assert!(
        refused(own.clone())[0]
            .starts_with("metadata.annotations[api-approved.kubernetes.io]: Required value")
    );
    own.metadata.annotations.insert("api-approved.kubernetes.io".into(), "https://example.com".into());
    assert!(refused(own).is_empty());
}

#[test]
fn what_versions_have_alike_stands_outside_of_them() {
    let mut own = crd(json!({}));
    let text = "type: Required value: must not be empty at the root";
    assert_eq!(refused(own.clone()), [format!("spec.validation.openAPIV3Schema.{text}")]);
    let mut other = own.spec.versions[0].clone();
    (other.name, other.storage) = ("v2".into(), false);
    other.schema = Some(Box::new(CustomResourceValidation {
        open_api_v3_schema: Some((&json!({"type": "object"})).into()),
    }));
    own.spec.versions.push(other);
    assert_eq!(refused(own), [format!("spec.versions[0].schema.openAPIV3Schema.{text}")]);
}

#[test]
fn formats_that_are_none_are_warned_of_once() {
    use crate::kind::Strategy;
    let with = |format: &str| {
        crd(json!({"type": "object", "properties": {
            "a": {"type": "array", "format": "cidr", "items": {"type": "string", "format": format}}}}))
    };
    let (first, second) = (with("colour"), with("date-time"));
    let warned = ["unrecognized format \"cidr\"", "unrecognized format \"colour\""];
    let mut found = first.warnings(None);
    found.sort();
    assert_eq!(found, warned);
    assert_eq!(second.warnings(None), warned[..1]);
    assert_eq!(first.warnings(Some(&second)), warned[1..]);
}

/// Definitions with mistakes below `items` are in use; upstream's decoder does not see them there.
#[test]
fn unknown_fields_of_items_are_not_told_of() {
    let text = |schema: Json| {
        let version =
            json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
        json!({"spec": {"versions": [version]}}).to_string()
    };
    let found = |schema: Json| {
        let (mut own, mut found) = (CustomResourceDefinition::default(), Some(Vec::new()));
        crate::codec::json::read(&mut own, text(schema).as_bytes(), &mut found).expect("readable");
        found.expect("asked for").iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let properties = json!({"a": {"x": 1}});
    assert_eq!(
        found(json!({"properties": properties})),
        [r#"unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.x""#]
    );
    assert_eq!(found(json!({"items": {"properties": properties}})), Vec::<String>::new());
    assert_eq!(found(json!({"additionalProperties": {"properties": properties}})), Vec::<String>::new());
}
