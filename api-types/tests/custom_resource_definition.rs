//! A CustomResourceDefinition with every sort of field a schema has, as kube-apiserver 1.36 answered it
//! in JSON and in protobuf (`fixtures/custom_resource_definition.*`), and schemas that nest too deeply.

use api_types::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use api_types::codec::{json, protobuf};
use serde_json::Value as Json;

const AS_JSON: &str = include_str!("fixtures/custom_resource_definition.json");
const AS_PROTOBUF: &[u8] = include_bytes!("fixtures/custom_resource_definition.pb");

fn tree(definition: &CustomResourceDefinition) -> Json {
    serde_json::from_slice(&json::to_vec(definition)).expect("JSON")
}

fn expected() -> Json {
    serde_json::from_str(AS_JSON).expect("JSON")
}

#[test]
fn json_survives() {
    let (read, strict) =
        json::from_slice_strict::<CustomResourceDefinition>(AS_JSON.as_bytes()).expect("readable");
    assert_eq!(strict, []);
    assert_eq!(tree(&read), expected());
}

#[test]
fn protobuf_reads_as_json_does() {
    let envelope = protobuf::open_envelope(AS_PROTOBUF).expect("an envelope");
    let read: CustomResourceDefinition = protobuf::from_slice(envelope.raw).expect("readable");
    assert_eq!(tree(&read), expected());
    let again: CustomResourceDefinition =
        protobuf::from_slice(&protobuf::to_vec(&read)).expect("what we wrote");
    assert_eq!(tree(&again), expected());
    assert_eq!(again, json::from_slice(AS_JSON.as_bytes()).expect("readable"));
}

#[test]
fn values_of_two_forms() {
    for text in [
        r#"{"items":{"type":"string"}}"#,
        r#"{"items":[{"type":"string"},{"minimum":0.5}]}"#,
        r#"{"additionalProperties":false}"#,
        r#"{"additionalProperties":{}}"#,
        r#"{"dependencies":{"a":["b","c"],"d":{"type":"object"}},"additionalItems":true}"#,
    ] {
        let schema: JSONSchemaProps = json::from_slice(text.as_bytes()).expect(text);
        let sent: JSONSchemaProps = protobuf::from_slice(&protobuf::to_vec(&schema)).expect(text);
        assert_eq!(String::from_utf8_lossy(&json::value_to_vec(&sent)), text);
    }
    let wrong = json::from_slice::<JSONSchemaProps>(br#"{"additionalProperties":1}"#);
    assert_eq!(wrong.expect_err("neither").to_string(), "boolean or JSON schema expected");
}

#[test]
fn nesting_ends() {
    let nested = |levels: usize| format!("{}{{}}{}", r#"{"not":"#.repeat(levels), "}".repeat(levels));
    let schema: JSONSchemaProps = json::from_slice(nested(50).as_bytes()).expect("not too deep");
    assert!(schema.tree().is_some());
    let too_deep = json::from_slice::<JSONSchemaProps>(nested(5_000).as_bytes());
    assert_eq!(too_deep.expect_err("too deep").to_string(), "exceeded max depth");

    let mut message = Vec::new();
    for _ in 0..5_000 {
        let mut out = protobuf::Writer::with_capacity(message.len() + 16);
        out.bytes_field(28, &message);
        message = out.into_vec();
    }
    let too_deep = protobuf::from_slice::<JSONSchemaProps>(&message);
    assert_eq!(too_deep.expect_err("too deep").to_string(), "exceeded max depth");
}
