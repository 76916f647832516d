//! Any text as YAML, as apply patches and manifests are.
#![no_main]

use api_types::codec::yaml;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(value) = yaml::to_value(text) else { return };
    let written = yaml::from_value(&value).expect("what was read can be written");
    assert_eq!(yaml::to_value(&written).ok(), Some(value), "{written}");
});
