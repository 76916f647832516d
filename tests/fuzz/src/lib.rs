//! What the fuzzers share: objects of any kind made from its schema, and what must hold for every
//! object that a decoder lets in.
//!
//! A target panics where a property does not hold; that is all it reports.

use api_types::codec::{json, protobuf, transcoder};
use api_types::field::Errors;
use api_types::kind::{Object, Row};
use api_types::schema::{StructType, Type};
use arbitrary::{Result, Unstructured};
use serde_json::{Map, Value};

/// Deeper than any kind needs; schemas may contain themselves.
const DEPTH: usize = 12;

/// A kind, by a number.
pub fn row(number: u8) -> &'static Row {
    let rows = api_types::kinds::all();
    &rows[usize::from(number) % rows.len()]
}

/// The object in `text`, if it is one of the kind.
pub fn decoded(row: &Row, text: &[u8], strict: bool) -> Option<Box<dyn Object>> {
    let mut object = (row.new)();
    let mut found = strict.then(Vec::new);
    json::read(object.as_dyn_struct_mut(), text, &mut found).ok()?;
    Some(object)
}

/// Holds a text that is transcoded against what the codecs make of it.
pub fn transcode(row: &Row, text: &[u8]) {
    let Some(message) = transcoder::message((row.schema)(), text) else { return };
    let object = decoded(row, text, false).expect("what is transcoded is read");
    assert!(
        message == protobuf::to_vec(object.as_dyn_struct()),
        "transcoded otherwise: {}",
        String::from_utf8_lossy(text)
    );
}

/// Does with an object what a server does with a new one, and holds the codecs against each other.
pub fn examine(row: &Row, mut object: Box<dyn Object>) {
    let text = json::to_vec(&*object);
    let again = decoded(row, &text, true).expect("what we write we read");
    let back = json::to_vec(&*again);
    assert!(
        text == back,
        "JSON: {} became {}",
        String::from_utf8_lossy(&text),
        String::from_utf8_lossy(&back)
    );

    transcode(row, &text);
    let message = protobuf::to_vec(object.as_dyn_struct());
    let mut again = (row.new)();
    protobuf::read(again.as_dyn_struct_mut(), &message).expect("what we write we read");
    let back = json::to_vec(&*again);
    assert!(
        text == back,
        "protobuf: {} became {}",
        String::from_utf8_lossy(&text),
        String::from_utf8_lossy(&back)
    );

    row.default(&mut *object);
    let once = json::to_vec(&*object);
    row.default(&mut *object);
    assert!(once == json::to_vec(&*object), "defaults settle at once");
    (row.prepare_for_create)(&mut *object);
    let mut errors = Errors::default();
    (row.validate)(&*object, &mut errors);
    (row.validate_create)(&*object, &mut errors);
    (row.warnings)(&*object, None);
    (row.selectable_fields)(&*object);
    (row.cells)(&*object, jiff::Timestamp::UNIX_EPOCH);
    let old = object.clone_boxed();
    (row.prepare_for_update)(&mut *object, &*old);
    (row.validate_update)(&*object, &*old, &mut errors);
    (row.prepare_for_status_update)(&mut *object, &*old);
    (row.validate_status_update)(&*object, &*old, &mut errors);
}

/// A JSON tree that fits the struct, but for a value here and there.
pub fn tree(table: &'static StructType, bytes: &mut Unstructured<'_>) -> Result<Value> {
    members(table, bytes, DEPTH)
}

fn members(table: &'static StructType, bytes: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let mut map = Map::new();
    for field in table.json_fields() {
        // Fewer fields further down, or objects would not end.
        if !bytes.is_empty() && bytes.ratio(1_u8, if depth > DEPTH - 3 { 2 } else { 4 })? {
            map.insert(field.name.to_owned(), value((field.ty)(), bytes, depth)?);
        }
    }
    Ok(Value::Object(map))
}

fn value(ty: &'static Type, bytes: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    if depth == 0 || bytes.ratio(1_u8, 64_u8)? {
        return Ok(bytes.choose(&[Value::Null, 0.into(), "".into(), Value::Bool(true)])?.clone());
    }
    Ok(match ty {
        Type::Bool => bytes.arbitrary::<bool>()?.into(),
        Type::Int32 => number(bytes, i64::from(i32::MIN), i64::from(i32::MAX))?,
        Type::Int64 => number(bytes, i64::MIN, i64::MAX)?,
        Type::Double => f64::from(bytes.arbitrary::<i16>()?).into(),
        Type::Enum(_, known) if !known.is_empty() && bytes.ratio(7_u8, 8_u8)? => {
            (*bytes.choose(known)?).into()
        }
        Type::String | Type::Enum(..) => text(bytes)?.into(),
        Type::Bytes => (*bytes.choose(&["", "AA==", "YWJj", "not base64"])?).into(),
        Type::Time => (*bytes.choose(&["2026-01-02T03:04:05Z", "1970-01-01T00:00:00+02:00", "soon"])?).into(),
        Type::MicroTime => (*bytes.choose(&["2026-01-02T03:04:05.000006Z", "later"])?).into(),
        Type::Duration => (*bytes.choose(&["1m0s", "-5ms", "1h", "x"])?).into(),
        Type::Quantity => quantity(bytes)?,
        Type::IntOrString => match bytes.arbitrary::<bool>()? {
            true => number(bytes, i64::from(i32::MIN), i64::from(i32::MAX))?,
            false => (*bytes.choose(&["50%", "http", "", "-1%", "99999999999%"])?).into(),
        },
        Type::RawExtension | Type::FieldsV1 | Type::Named(..) => {
            let shapes = [r#"{}"#, r#"{"a":{"b":[1,null]}}"#, r#"{"type":"object"}"#, r#"{"f:a":{}}"#, "true"];
            serde_json::from_str(bytes.choose(&shapes)?).unwrap_or_default()
        }
        Type::StringList => vec![text(bytes)?].into(),
        Type::Struct(table) => members(table(), bytes, depth - 1)?,
        Type::List(item) => {
            let mut items = Vec::new();
            for _ in 0..bytes.int_in_range(0..=3)? {
                items.push(value(item(), bytes, depth - 1)?);
            }
            items.into()
        }
        Type::Map(item) => {
            let mut map = Map::new();
            for _ in 0..bytes.int_in_range(0..=3)? {
                map.insert(text(bytes)?, value(item(), bytes, depth - 1)?);
            }
            map.into()
        }
    })
}

fn number(bytes: &mut Unstructured<'_>, least: i64, most: i64) -> Result<Value> {
    Ok(match bytes.int_in_range(0..=3)? {
        0 => (*bytes.choose(&[least, most, 0, -1])?).into(),
        1 => bytes.int_in_range(least..=most)?.into(),
        _ => bytes.int_in_range(0..=100)?.into(),
    })
}

fn quantity(bytes: &mut Unstructured<'_>) -> Result<Value> {
    let usual =
        ["0", "1", "100m", "1Gi", "1e3", "-1", "1.5", "9223372036854775807", "0.000000001", "1E", "x"];
    Ok((*bytes.choose(&usual)?).into())
}

fn text(bytes: &mut Unstructured<'_>) -> Result<String> {
    let usual = [
        "",
        "a",
        "web",
        "a.b/c",
        "kubernetes.io/x",
        "10.0.0.1",
        "::1",
        "10.0.0.0/8",
        "0",
        "*",
        "/",
        "..",
        "/var/lib",
        "é",
        "a b",
        "http",
        "TCP",
        "Always",
        "In",
        "Exists",
        "metadata.name",
        "default",
        "A_B",
        "-a",
    ];
    Ok(match bytes.ratio(7_u8, 8_u8)? {
        true => (*bytes.choose(&usual)?).to_owned(),
        false => bytes.arbitrary::<&str>()?.chars().take(70).collect(),
    })
}
