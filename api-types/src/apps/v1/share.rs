//! Numbers that can also be given as a percentage: how many pods may be missing, or be there beside
//! the wanted ones.

use crate::field::{Errors, Path};
use crate::meta::v1::validate::not_negative;
use crate::value::IntOrString;

/// The number of a percentage, `25%`.
pub(crate) fn percentage(value: &IntOrString) -> Option<i32> {
    let IntOrString::String(text) = value else { return None };
    let digits = text.strip_suffix('%')?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The number as it stands, whether it is a percentage or not.
pub(crate) fn bare(value: &IntOrString) -> i32 {
    percentage(value).or(value.as_int()).unwrap_or_default()
}

/// Refuses what is neither a number nor a percentage, and what is below zero.
pub(crate) fn number_or_percentage(value: &IntOrString, path: &Path, errors: &mut Errors) {
    match value {
        IntOrString::Int(n) => not_negative(*n, path, errors),
        IntOrString::String(_) if percentage(value).is_some() => {}
        IntOrString::String(_) => errors.invalid(
            path,
            value,
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
    }
}

/// Refuses percentages above the whole.
pub(crate) fn at_most_all(value: &IntOrString, path: &Path, errors: &mut Errors) {
    if percentage(value).is_some_and(|share| share > 100) {
        errors.invalid(path, value, "must not be greater than 100%");
    }
}
