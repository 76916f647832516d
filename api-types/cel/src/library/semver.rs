//! Semantic versions: `semver("1.2.3")`, and with a second argument `true` leniently: `v1.02`.

use super::super::cost::Cost;
use super::super::error::EvalError;
use super::super::value::Value;
use super::{Given, Row};
use std::cmp::Ordering;
use std::sync::Arc;

/// A version after semver.org 2.0.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<String>,
}

pub const TABLE: &[Row] = &[
    (
        "semver",
        &["(string) Semver", "(string,bool) Semver"],
        |_, a| parsed(a).map(|v| Value::Semver(Arc::new(v))),
        Cost::Scan,
    ),
    (
        "isSemver",
        &["(string) bool", "(string,bool) bool"],
        |_, a| match &a[0] {
            Value::String(_) => Ok(Value::Bool(parsed(a).is_ok())),
            _ => Err(EvalError::NoSuchOverload),
        },
        Cost::Scan,
    ),
    ("major", &["Semver.() int"], |_, a| number(&a[0], 0), Cost::One),
    ("minor", &["Semver.() int"], |_, a| number(&a[0], 1), Cost::One),
    ("patch", &["Semver.() int"], |_, a| number(&a[0], 2), Cost::One),
];

fn number<'a>(value: &Value<'a>, place: usize) -> Given<'a> {
    match value {
        Value::Semver(version) => Ok(Value::Int(version.numbers[place] as i64)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn parsed(args: &[Value<'_>]) -> Result<Semver, EvalError> {
    let Value::String(text) = &args[0] else { return Err(EvalError::NoSuchOverload) };
    let lenient = matches!(args.get(1), Some(Value::Bool(true)));
    Semver::parse(text, lenient).ok_or_else(|| EvalError::failed("No Major.Minor.Patch elements found"))
}

impl Semver {
    /// Reads a version; `lenient` allows a `v`, leading zeros, and missing minor and patch numbers.
    pub fn parse(text: &str, lenient: bool) -> Option<Self> {
        let text = if lenient { text.trim().trim_start_matches('v') } else { text };
        let (rest, build) = text.split_once('+').map_or((text, None), |(a, b)| (a, Some(b)));
        let (core, pre) = rest.split_once('-').map_or((rest, None), |(a, b)| (a, Some(b)));
        let mut numbers = [0; 3];
        let parts: Vec<&str> = core.split('.').collect();
        if parts.len() > 3 || (parts.len() < 3 && !lenient) {
            return None;
        }
        for (place, part) in parts.iter().enumerate() {
            let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if !plain || (!lenient && part.len() > 1 && part.starts_with('0')) {
                return None;
            }
            numbers[place] = part.parse().ok()?;
        }
        let word =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let pre: Vec<String> = pre.map(|pre| pre.split('.').map(str::to_owned).collect()).unwrap_or_default();
        let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let sound = pre
            .iter()
            .all(|part| word(part) && !(is_number(part) && part.len() > 1 && part.starts_with('0')));
        let built = build.is_none_or(|build| build.split('.').all(word));
        (sound && built).then_some(Self { numbers, pre })
    }

    /// How two versions are ordered; what comes before a version is less than it.
    pub fn order(&self, other: &Self) -> Ordering {
        let order = self.numbers.cmp(&other.numbers);
        if order != Ordering::Equal {
            return order;
        }
        match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) => {}
        }
        for (a, b) in self.pre.iter().zip(&other.pre) {
            let order = match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        self.pre.len().cmp(&other.pre.len())
    }
}
