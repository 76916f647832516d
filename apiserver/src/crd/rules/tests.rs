//! Rules of custom kinds: what is said of rules that are wrong, and of objects that break them.

use super::write;
use api_types::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, CustomResourceValidation, ResourceScope,
};
use api_types::custom::{Custom, Definition, Structural};
use api_types::field::{Errors, Path};
use serde_json::{Value as Json, json};
use std::sync::Arc;

fn written(schema: &Json) -> Vec<String> {
    let mut errors = Errors::default();
    write::of_schema(&Structural::read(schema), &Path::new("S"), &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

fn spec(properties: Json, rules: Json) -> Json {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": properties, "x-kubernetes-validations": rules}}})
}

fn definition(schema: &Json) -> Arc<Definition> {
    let mut crd = CustomResourceDefinition::default();
    crd.metadata.name = "foos.example.com".into();
    crd.spec.group = "example.com".into();
    crd.spec.names.plural = "foos".into();
    crd.spec.names.kind = "Foo".into();
    crd.spec.scope = ResourceScope::Namespaced;
    crd.spec.versions = vec![CustomResourceDefinitionVersion {
        name: "v1".into(),
        served: true,
        storage: true,
        schema: Some(Box::new(CustomResourceValidation { open_api_v3_schema: Some(schema.into()) })),
        ..CustomResourceDefinitionVersion::default()
    }];
    Arc::new(Definition::all(&crd).remove(0))
}

fn custom(definition: &Arc<Definition>, content: Json) -> Custom {
    let mut own = Custom::new(definition.clone());
    own.metadata.name = "one".into();
    own.content = content.as_object().expect("an object").clone();
    own
}

/// Errors, then warnings.
fn enforced(schema: &Json, new: Json, old: Option<Json>) -> (Vec<String>, Vec<String>) {
    let definition = definition(schema);
    let old = old.map(|old| custom(&definition, old));
    let mut errors = Errors::default();
    let old = old.as_ref().map(|old| old as &dyn api_types::kind::Object);
    let warnings = super::check(&custom(&definition, new), old, &mut errors);
    (errors.0.iter().map(ToString::to_string).collect(), warnings)
}

fn errors(schema: &Json, new: Json, old: Option<Json>) -> Vec<String> {
    enforced(schema, new, old).0
}

#[test]
fn rules_that_do_not_compile() {
    let integers = || json!({"x": {"type": "integer"}});
    let one = |rule: &str| written(&spec(integers(), json!([{"rule": rule}])));
    assert_eq!(one("self.x > 0"), Vec::<String>::new());
    assert_eq!(
        one("self.z == 100"),
        [concat!(
            r#"S.properties[spec].x-kubernetes-validations[0].rule: Invalid value: "#,
            r#"{"Rule":"self.z == 100","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: "#,
            "compilation failed: ERROR: <input>:1:5: undefined field 'z'\n | self.z == 100\n | ....^"
        )]
    );
    assert!(one("self = 42")[0].contains("compilation failed: ERROR: <input>:1:6: Syntax error: "));
    assert!(one("self.x")[0].ends_with("cel expression must evaluate to a bool"));
    assert_eq!(
        one(" "),
        ["S.properties[spec].x-kubernetes-validations[0].rule: Required value: rule is not specified"]
    );
    let found = written(&spec(
        integers(),
        json!([{"rule": "self.x > 0", "messageExpression": "self.x", "reason": "Bad", "fieldPath": ".y"}]),
    ));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains(r#"reason: Unsupported value: "Bad": supported values: "FieldValueDuplicate""#)
    );
    assert!(found[1].ends_with(r#"fieldPath: Invalid value: ".y": must be a valid path"#));
    let found = written(&spec(integers(), json!([{"rule": "self.x > 0", "optionalOldSelf": true}])));
    assert!(
        found[0]
            .ends_with("optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule")
    );
}

#[test]
fn costs_are_estimated() {
    let strings = json!({"a": {"type": "array", "items": {"type": "string"}}});
    let rules = json!([{"rule": "self.a.all(x, self.a.all(y, x == y))"}]);
    let found = written(&spec(strings, rules.clone()));
    assert!(found[0].contains(
        "estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule"
    ));
    let strings =
        json!({"a": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10}}});
    assert_eq!(written(&spec(strings, rules)), Vec::<String>::new());
    let map = json!({"m": {"type": "object", "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 4096}}});
    let keys =
        json!([{"rule": "self.m.all(key, key.split('/')[0].size() < 253 && key.matches('^[a-z]*$'))"}]);
    assert_eq!(written(&spec(map, keys)), Vec::<String>::new(), "keys of maps count as empty");
    let lists = json!({"a": {"type": "array", "items": {"type": "array", "items":
        {"type": "string", "maxLength": 500000}, "x-kubernetes-validations": [
            {"rule": "self.all(s, s == 'string constant')"}]}}});
    assert!(written(&spec(lists, json!([])))[0].contains("exceeds budget"));
}

#[test]
fn old_values_must_be_found_again() {
    let list = |kind: &str| {
        json!({"type": "object", "properties": {"l": {"type": "array", "maxItems": 9, "x-kubernetes-list-type": kind,
            "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "required": ["k"], "properties": {
                "k": {"type": "string"}, "v": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v"}]}}}})
    };
    assert!(written(&list("atomic"))[0].ends_with(
        "oldSelf cannot be used on the uncorrelatable portion of the schema within S.properties[l]"
    ));
    let map = list("map");
    assert_eq!(written(&map), Vec::<String>::new());
    let old = json!({"l": [{"k": "a", "v": 1}, {"k": "b", "v": 5}]});
    let new = json!({"l": [{"k": "b", "v": 4}, {"k": "a", "v": 1}, {"k": "c", "v": 0}]});
    assert_eq!(errors(&map, new, Some(old)), [r#"l[0]: Invalid value: failed rule: self.v >= oldSelf.v"#]);
}

#[test]
fn objects_that_break_rules() {
    let schema = spec(
        json!({"min": {"type": "integer"}, "max": {"type": "integer"}, "size": {"x-kubernetes-int-or-string": true},
            "at": {"type": "string", "format": "date-time"}, "a-b": {"type": "string",
                "x-kubernetes-validations": [{"rule": "self != 'no'", "message": "must not be no"}]}}),
        json!([
            {"rule": "self.min <= self.max", "messageExpression": "'%d is more than %d'.format([self.min, self.max])",
                "fieldPath": ".min", "reason": "FieldValueForbidden"},
            {"rule": "!has(self.size) || type(self.size) != int || self.size > 3"},
            {"rule": "!has(self.at) || self.at.getFullYear() > 2000", "message": " too early "},
            {"rule": "!has(self.a__dash__b) || self.a__dash__b.size() < 9"}
        ]),
    );
    assert_eq!(written(&schema), Vec::<String>::new());
    let of = |spec: Json| errors(&schema, json!({"spec": spec}), None);
    assert_eq!(
        of(json!({"min": 1, "max": 2, "size": "x", "at": "2020-01-01T00:00:00Z"})),
        Vec::<String>::new()
    );
    assert_eq!(
        of(json!({"min": 3, "max": 2, "size": 1, "at": "1999-01-01T00:00:00Z", "a-b": "no"})),
        [
            "spec.min: Forbidden: 3 is more than 2",
            "spec: Invalid value: failed rule: !has(self.size) || type(self.size) != int || self.size > 3",
            "spec: Invalid value: too early",
            r#"spec.a-b: Invalid value: "no": must not be no"#
        ]
    );
    assert_eq!(
        of(json!({"max": 2})),
        [r#"spec: Invalid value: "object": no such key: min evaluating rule: self.min <= self.max"#]
    );
}

#[test]
fn what_an_update_keeps_may_break_rules() {
    let schema = spec(
        json!({"x": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]},
            "y": {"type": "integer", "x-kubernetes-validations": [
                {"rule": "oldSelf.hasValue() || self == 1", "optionalOldSelf": true}]}}),
        json!([]),
    );
    let (errors, warnings) =
        enforced(&schema, json!({"spec": {"x": 0, "y": 7}}), Some(json!({"spec": {"x": 0, "y": 1}})));
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(warnings, ["spec.x: Invalid value: 0: failed rule: self > 0"]);
    let (errors, _) = enforced(&schema, json!({"spec": {"x": -1}}), Some(json!({"spec": {"x": 0}})));
    assert_eq!(errors, ["spec.x: Invalid value: -1: failed rule: self > 0"]);
    let (errors, _) = enforced(&schema, json!({"spec": {"y": 2}}), None);
    assert_eq!(errors, ["spec.y: Invalid value: 2: failed rule: oldSelf.hasValue() || self == 1"]);
}

#[test]
fn calls_that_cost_too_much_stop() {
    let schema = spec(
        json!({"a": {"type": "array", "items": {"type": "integer"}}}),
        json!([{"rule": "self.a.all(x, self.a.all(y, y == x))"}, {"rule": "false"}]),
    );
    let found = errors(&schema, json!({"spec": {"a": vec![1; 725]}}), None);
    assert_eq!(
        found,
        [concat!(
            r#"spec: Invalid value: "object": 'operation cancelled: actual cost limit exceeded': "#,
            "no further validation rules will be run due to call cost exceeds limit for rule: ",
            "self.a.all(x, self.a.all(y, y == x))"
        )]
    );
}

#[test]
fn the_root_has_names() {
    let schema = json!({"type": "object", "x-kubernetes-validations": [
        {"rule": "self.metadata.name.startsWith('x') && self.kind == 'Foo'"}]});
    assert_eq!(written(&schema), Vec::<String>::new());
    assert_eq!(
        errors(&schema, json!({}), None),
        ["<nil>: Invalid value: failed rule: self.metadata.name.startsWith('x') && self.kind == 'Foo'"]
    );
}

/// As Istio's ServiceEntry asks it.
#[test]
fn what_is_chosen_between_two_lists_is_cheap() {
    let list = json!({"type": "array", "maxItems": 256, "items": {"type": "string", "maxLength": 64}});
    let rule =
        r#"(has(self.l) ? self.l : []).exists(k, k.contains("/")) || (has(self.l) ? self.l : []).size() < 3"#;
    assert_eq!(written(&spec(json!({"l": list}), json!([{"rule": rule}]))), Vec::<String>::new());
}

#[test]
fn defaults_are_held_against_the_rules() {
    use super::enforce;
    let check = |properties: Json, rules: Json, expected: &[&str]| {
        let mut errors = Errors::default();
        enforce::defaults(&Structural::read(&spec(properties, rules)), &Path::new("S"), &mut errors);
        let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    };
    let field = |default: Json, rule: Json| json!({"n": {"type": "integer", "default": default, "x-kubernetes-validations": [rule]}});
    let small = json!({"rule": "self < 5", "message": "too large"});
    check(field(json!(3), small.clone()), json!([]), &[]);
    check(
        field(json!(7), small),
        json!([]),
        &["S.properties[spec].properties[n].default: Invalid value: 7: too large"],
    );
    // What is there from now on was not there before.
    let optional =
        json!({"rule": "oldSelf.hasValue()", "optionalOldSelf": true, "message": "must have been there"});
    check(
        field(json!(3), optional),
        json!([]),
        &["S.properties[spec].properties[n].default: Invalid value: 3: must have been there"],
    );
    // Rules of what is around a default are none of its.
    check(json!({"n": {"type": "integer", "default": 7}}), json!([{"rule": "self.n < 5"}]), &[]);
}
