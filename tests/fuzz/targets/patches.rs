//! JSON, merge and strategic merge patches onto objects of any kind.
#![no_main]

use api_types::schema::strategic_merge;
use arbitrary::Unstructured;
use ferrokube_fuzz::{decoded, examine, row, tree};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8], &[u8], &str)| {
    let (kind, bytes, patch, operations) = input;
    let row = row(kind);
    let Ok(tree_of) = tree((row.schema)(), &mut Unstructured::new(bytes)) else { return };
    // As a server has it: read and written once.
    let Some(object) = decoded(row, tree_of.to_string().as_bytes(), true) else { return };
    let present: serde_json::Value =
        serde_json::from_slice(&api_types::codec::json::to_vec(&*object)).expect("JSON");

    let operations: Option<json_patch::Patch> = serde_json::from_str(operations).ok();
    if let Some(operations) = operations {
        let mut tree = present.clone();
        let before = tree.clone();
        match json_patch::patch(&mut tree, &operations) {
            Ok(()) => drop(decoded(row, tree.to_string().as_bytes(), false)),
            Err(_) => assert_eq!(tree, before, "a patch that does not fit changes nothing"),
        }
    }
    let Ok(patch) = tree((row.schema)(), &mut Unstructured::new(patch)) else { return };
    let mut merged = present.clone();
    json_patch::merge(&mut merged, &patch);
    let _ = decoded(row, merged.to_string().as_bytes(), false);
    if let Ok(merged) = strategic_merge::apply((row.schema)(), present, patch)
        && let Some(object) = decoded(row, merged.to_string().as_bytes(), false)
    {
        examine(row, object);
    }
});
