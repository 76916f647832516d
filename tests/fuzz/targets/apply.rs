//! Server-side apply: two managers and an update, on objects of any kind.
//!
//! Applying the same again changes nothing; what another manager forced is seen as a conflict.
#![no_main]

use api_types::kind::Row;
use api_types::meta::v1::ManagedFieldsEntry;
use api_types::schema::managed_fields::{self, Applied, Writer};
use api_types::value::Time;
use arbitrary::Unstructured;
use ferrokube_fuzz::{decoded, row, tree};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fn writer<'a>(row: &Row, manager: &'a str) -> Writer<'a> {
    Writer {
        manager,
        api_version: row.kind.api_version,
        subresource: "",
        ignored: &[],
        now: Time::whole(jiff::Timestamp::UNIX_EPOCH),
    }
}

/// A tree that the kind's decoder takes.
fn valid(row: &Row, bytes: &[u8]) -> Option<Value> {
    let tree = tree((row.schema)(), &mut Unstructured::new(bytes)).ok()?;
    let object = decoded(row, tree.to_string().as_bytes(), true)?;
    let tree = serde_json::from_slice(&api_types::codec::json::to_vec(&*object)).ok()?;
    Some(managed_fields::without_managed_fields(tree))
}

fn apply(
    row: &Row,
    live: &Value,
    config: &Value,
    entries: &[ManagedFieldsEntry],
    manager: &str,
    force: bool,
) -> Option<Applied> {
    managed_fields::apply(row.root(), live, true, config, entries, &writer(row, manager), force).ok()
}

fuzz_target!(|input: (u8, &[u8], &[u8], &[u8])| {
    let (kind, live, first, second) = input;
    let row = row(kind);
    let (Some(live), Some(first), Some(second)) = (valid(row, live), valid(row, first), valid(row, second))
    else {
        return;
    };
    let zero = Value::Object(serde_json::Map::new());
    let entries = managed_fields::update(row.root(), &zero, &live, &[], &writer(row, "creator"));
    let Some(one) = apply(row, &live, &first, &entries, "first", true) else { return };
    let Some(again) = apply(row, &one.object, &first, &one.entries, "first", false) else {
        panic!("the same apply conflicts with itself");
    };
    assert_eq!(again.object, one.object, "the same apply changes nothing");
    let Some(two) = apply(row, &one.object, &second, &one.entries, "second", true) else { return };
    let _ = apply(row, &two.object, &first, &two.entries, "first", false);
    let _ = managed_fields::update(row.root(), &two.object, &live, &two.entries, &writer(row, "creator"));
});
