//! Objects made from their schema, so that defaults and validation see more than empty ones.
#![no_main]

use arbitrary::Unstructured;
use ferrokube_fuzz::{decoded, examine, row, tree};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    let row = row(kind);
    let Ok(tree) = tree((row.schema)(), &mut Unstructured::new(bytes)) else { return };
    if let Some(object) = decoded(row, tree.to_string().as_bytes(), true) {
        examine(row, object);
    }
});
