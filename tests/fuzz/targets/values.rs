//! Quantities, times and durations as texts.
#![no_main]

use api_types::value::{Duration, MicroTime, Quantity, Time};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(quantity) = Quantity::parse(text) {
        let again = Quantity::parse(&quantity.to_string()).expect("what we write we read");
        // A fraction of a binary unit is written rounded away from zero, and without a suffix where it is no multiple of
        // one: read again it counts in thousands. Both are as upstream has them.
        assert_eq!(again.value(), quantity.value());
        let settled = Quantity::parse(&again.to_string()).expect("what we write we read");
        assert_eq!((settled, settled.to_string()), (again, again.to_string()));
        let _ = (quantity.value(), quantity.milli_value(), quantity.as_f64(), quantity.is_whole());
    }
    if let Ok(time) = text.parse::<Time>() {
        assert_eq!(time.to_string().parse::<Time>().ok(), Some(time));
    }
    if let Ok(time) = text.parse::<MicroTime>() {
        assert_eq!(time.to_string().parse::<MicroTime>().ok(), Some(time));
    }
    if let Some(duration) = Duration::parse(text) {
        assert_eq!(Duration::parse(&duration.to_string()), Some(duration), "{duration}");
    }
});
