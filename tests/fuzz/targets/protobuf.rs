//! Any bytes as protobuf of any kind, bare and in their envelope.
#![no_main]

use api_types::codec::protobuf;
use ferrokube_fuzz::{examine, row};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, message) = input;
    let mut object = (row(kind).new)();
    if protobuf::read(object.as_dyn_struct_mut(), message).is_ok() {
        examine(row(kind), object);
    }
    if let Ok(envelope) = protobuf::open_envelope(message) {
        let mut object = (row(kind).new)();
        let _ = protobuf::read(object.as_dyn_struct_mut(), envelope.raw);
    }
});
