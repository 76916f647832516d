//! Any bytes as JSON of any kind.
#![no_main]

use ferrokube_fuzz::{decoded, examine, row, transcode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (kind, strict, text) = input;
    transcode(row(kind), text);
    if let Some(object) = decoded(row(kind), text, strict) {
        examine(row(kind), object);
    }
});
