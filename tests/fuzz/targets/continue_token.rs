//! The token of a paged list, which clients send back.
#![no_main]

#[path = "../../../apiserver/src/storage/continue_token.rs"]
mod continue_token;

use continue_token::Continue;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, i64, String)| {
    let (text, revision, start) = input;
    if let Ok(token) = Continue::decode(text) {
        assert_eq!(Continue::decode(&token.encode()), Ok(token.clone()));
        assert!(!token.start.split('/').any(|step| step == ".."), "{token:?}");
    }
    let token = Continue { revision, start };
    if let Ok(again) = Continue::decode(&token.encode()) {
        assert_eq!(again, token);
    }
});
