//! Label and field selectors, as they come in queries.
#![no_main]

use std::collections::BTreeMap;

use api_types::selector::{Fields, Labels};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str)| {
    let (text, key, value) = input;
    let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    if let Ok(selector) = Labels::parse(text) {
        assert!(!selector.is_everything() || selector.matches(&labels));
        let again = Labels::parse(&selector.to_string());
        assert_eq!(again.map(|again| again.matches(&labels)), Ok(selector.matches(&labels)), "{selector}");
    }
    if let Ok(selector) = Fields::parse(text) {
        let matches = selector.matches_by(|_| value);
        assert!(!selector.is_everything() || matches);
    }
});
