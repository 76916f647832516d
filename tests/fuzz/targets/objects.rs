//! Objects made from their schema, so that defaults and validation see more than empty ones.
#![no_main]

use arbitrary::Unstructured;
use ferrokube_fuzz::{decoded, examine, row, transcode, tree};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    let row = row(kind);
    let Ok(tree) = tree((row.schema)(), &mut Unstructured::new(bytes)) else { return };
    let text = tree.to_string();
    transcode(row, text.as_bytes());
    if let Some(object) = decoded(row, text.as_bytes(), true) {
        examine(row, object);
    }
});
