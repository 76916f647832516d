//! Transcoding against the codecs, on objects of all kinds made from their schemas.

use api_types::codec::{json, protobuf, transcoder};
use api_types::kind::{Object, Row};
use api_types::schema::{StructType, Type};
use proptest::prelude::*;
use serde_json::{Map, Value};

/// Schemas may contain themselves.
const DEPTH: usize = 10;

/// Kinds with schemas, or with maps in which nulls stand.
const LEFT: &[&str] = &[
    "CustomResourceDefinition",
    "PodDisruptionBudget",
    "CertificateSigningRequest",
    "TokenReview",
    "SelfSubjectReview",
    "SubjectAccessReview",
    "LocalSubjectAccessReview",
];

/// Makes an object's tree by bytes, one a decision; without them all decisions are zero.
struct Tree<'a>(std::slice::Iter<'a, u8>);

impl Tree<'_> {
    fn below(&mut self, sides: usize) -> usize {
        self.0.next().map_or(0, |byte| usize::from(*byte) % sides)
    }

    fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }

    fn members(&mut self, table: &'static StructType, depth: usize) -> Value {
        let mut map = Map::new();
        for field in table.json_fields() {
            if self.below(if depth > DEPTH - 3 { 3 } else { 6 }) == 1 {
                map.insert(field.name.to_owned(), self.value((field.ty)(), depth));
            }
        }
        if self.below(16) == 1
            && let Some(name) = map.keys().next().cloned()
            && let Some(value) = map.shift_remove(&name)
        {
            // The first comes last.
            map.insert(name, value);
        }
        map.into()
    }

    fn value(&mut self, ty: &'static Type, depth: usize) -> Value {
        if depth == 0 || self.below(50) == 1 {
            return self.one_of(&[Value::Null, 0.into(), "".into(), true.into(), Value::Array(Vec::new())]);
        }
        match ty {
            Type::Bool => (self.below(2) == 1).into(),
            Type::Int32 => self.one_of(&[0, 1, -1, 127, 128, 300, i32::MIN, i32::MAX]).into(),
            Type::Int64 => {
                self.one_of(&[0, 1, -1, 127, 128, i64::MIN, i64::MAX, 999_999_999_999_999_999]).into()
            }
            Type::Double => self.one_of(&[0.0, 1.0, -2.5, 1e300]).into(),
            Type::Enum(_, known) if !known.is_empty() && self.below(8) > 0 => self.one_of(known).into(),
            Type::String | Type::Enum(..) => self.text().into(),
            Type::Bytes => self.one_of(&["", "AA==", "YWJj", "AA=", "YW\nJj"]).into(),
            Type::Time => self
                .one_of(&[
                    "2026-01-02T03:04:05Z",
                    "1970-01-01T00:00:00+00:00",
                    "1960-02-29T00:00:00Z",
                    "soon",
                ])
                .into(),
            Type::MicroTime => self.one_of(&["2026-01-02T03:04:05.000006Z", "1960-01-02T03:04:05.5Z"]).into(),
            Type::Duration => self.one_of(&["1m0s", "-5ms", "0s", "1.5h"]).into(),
            Type::Quantity => {
                let texts = ["0", "1", "100m", "128Mi", "1000m", "1.5", "2048Ki", "1e3", "-1", "5000", "+1"];
                if self.below(8) == 1 { 3.into() } else { self.one_of(&texts).into() }
            }
            Type::IntOrString => match self.below(2) {
                0 => self.one_of(&[0, 80, -1, i32::MAX]).into(),
                _ => self.one_of(&["50%", "http", ""]).into(),
            },
            Type::RawExtension | Type::FieldsV1 | Type::Named(..) => {
                let shapes = [
                    "{}",
                    r#"{"a":{"b":[1,null]}}"#,
                    r#"{"f:a":{".":{}}}"#,
                    r#"["\u2028 "]"#,
                    "true",
                    "-0.5",
                ];
                serde_json::from_str(self.one_of(&shapes)).expect("JSON")
            }
            Type::StringList => (0..self.below(3)).map(|_| self.text()).collect::<Vec<_>>().into(),
            Type::Struct(table) => self.members(table(), depth - 1),
            Type::List(item) => {
                (0..self.below(4)).map(|_| self.value(item(), depth - 1)).collect::<Vec<_>>().into()
            }
            Type::Map(item) => {
                let map: Map<_, _> =
                    (0..self.below(4)).map(|_| (self.key(), self.value(item(), depth - 1))).collect();
                map.into()
            }
        }
    }

    /// A map's key: none that is written with escapes.
    fn key(&mut self) -> String {
        self.one_of(&["a", "", "b", "kubernetes.io/x", "é", "😀", "name"]).to_owned()
    }

    fn text(&mut self) -> String {
        let texts = ["a", "", "b", "kubernetes.io/x", "é", "😀", "a\"b\\", "<\u{2028}>", "\n\u{1}", "name"];
        if self.below(20) == 1 { "x".repeat(self.below(256) * 2) } else { self.one_of(&texts).to_owned() }
    }
}

fn read(row: &Row, text: &[u8]) -> Option<Box<dyn Object>> {
    let mut object = (row.new)();
    json::read(object.as_dyn_struct_mut(), text, &mut None).ok()?;
    Some(object)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_transcoded_is_what_the_codecs_write(kind: u8, bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let rows = api_types::kinds::all();
        let row = &rows[usize::from(kind) % rows.len()];
        let tree = Tree(bytes.iter()).members((row.schema)(), DEPTH);
        let text = tree.to_string();
        let message = transcoder::message((row.schema)(), text.as_bytes());
        let Some(object) = read(row, text.as_bytes()) else {
            prop_assert_eq!(message, None);
            return Ok(());
        };
        let typed = protobuf::to_vec(object.as_dyn_struct());
        prop_assert!(message.is_none_or(|message| message == typed), "{}", text);

        // As the server writes it, nothing is left to the codecs but schemas, and maps with nulls in them.
        let text = json::to_vec(&*object);
        let message = transcoder::message((row.schema)(), &text);
        if message.is_none() && LEFT.contains(&row.kind.kind) {
            return Ok(());
        }
        prop_assert!(message == Some(typed), "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn what_is_made_by_a_template_is_what_the_codecs_write(kind: u8, bytes in prop::collection::vec(any::<u8>(), 0..600), seed: u64) {
        let rows = api_types::kinds::all();
        let row = &rows[usize::from(kind) % rows.len()];
        let tree = Tree(bytes.iter()).members((row.schema)(), DEPTH);
        let Some(object) = read(row, tree.to_string().as_bytes()) else { return Ok(()) };
        let own = json::to_vec(&*object);
        let Some(template) = transcoder::Template::of((row.schema)(), &own) else { return Ok(()) };
        prop_assert_eq!(template.message(&own, &own), Some(protobuf::to_vec(object.as_dyn_struct())));
        let mut other = serde_json::from_slice(&own).expect("JSON");
        change(&mut other, &mut { seed });
        let text = other.to_string();
        if let Some(message) = template.message(&own, text.as_bytes()) {
            let object = read(row, text.as_bytes());
            prop_assert!(object.is_some_and(|object| protobuf::to_vec(object.as_dyn_struct()) == message), "{}", text);
        }
    }
}

/// Writes other texts in the place of some, and now and then takes something away.
fn change(tree: &mut Value, seed: &mut u64) {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let dice = *seed >> 33;
    match tree {
        Value::String(text) if dice.is_multiple_of(3) => {
            *text = match dice / 3 % 7 {
                0 => "2027-10-11T12:13:14Z".to_owned(),
                1 => "5".to_owned(),
                2 => "y".repeat(dice as usize / 21 % 300),
                3 => format!("{text}x"),
                4 => "a\"b".to_owned(),
                5 => "é".to_owned(),
                _ => text.chars().rev().collect(),
            };
        }
        Value::Object(members) => {
            if dice.is_multiple_of(40) {
                let name = members.keys().next().cloned().unwrap_or_default();
                members.shift_remove(&name);
            }
            members.values_mut().for_each(|value| change(value, seed));
        }
        Value::Array(items) => {
            if dice.is_multiple_of(40) {
                items.pop();
            }
            items.iter_mut().for_each(|item| change(item, seed));
        }
        Value::Bool(is) if dice.is_multiple_of(40) => *is = !*is,
        _ => {}
    }
}
