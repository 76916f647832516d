//! Timestamps and durations.

use super::super::cost::Cost;
use super::super::error::EvalError;
use super::super::value::Value;
use super::{Given, Row};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

const OF_TIMESTAMP: &[&str] = &["timestamp.() int", "timestamp.(string) int"];
const OF_BOTH: &[&str] = &["timestamp.() int", "timestamp.(string) int", "duration.() int"];

pub const TABLE: &[Row] = &[
    ("getFullYear", OF_TIMESTAMP, |_, a| part(a, |t| i64::from(t.year())), Cost::One),
    ("getMonth", OF_TIMESTAMP, |_, a| part(a, |t| i64::from(t.month()) - 1), Cost::One),
    ("getDate", OF_TIMESTAMP, |_, a| part(a, |t| i64::from(t.day())), Cost::One),
    ("getDayOfMonth", OF_TIMESTAMP, |_, a| part(a, |t| i64::from(t.day()) - 1), Cost::One),
    ("getDayOfYear", OF_TIMESTAMP, |_, a| part(a, |t| i64::from(t.day_of_year()) - 1), Cost::One),
    (
        "getDayOfWeek",
        OF_TIMESTAMP,
        |_, a| part(a, |t| i64::from(t.weekday().to_sunday_zero_offset())),
        Cost::One,
    ),
    ("getHours", OF_BOTH, |_, a| either(a, |t| i64::from(t.hour()), |d| d.as_secs() / 3600), Cost::One),
    ("getMinutes", OF_BOTH, |_, a| either(a, |t| i64::from(t.minute()), |d| d.as_secs() / 60), Cost::One),
    ("getSeconds", OF_BOTH, |_, a| either(a, |t| i64::from(t.second()), |d| d.as_secs()), Cost::One),
    (
        "getMilliseconds",
        OF_BOTH,
        |_, a| either(a, |t| i64::from(t.millisecond()), |d| d.as_millis() as i64),
        Cost::One,
    ),
];

fn zoned(at: Timestamp, zone: Option<&Value<'_>>) -> Result<Zoned, EvalError> {
    let zone = match zone {
        None => TimeZone::UTC,
        Some(Value::String(name)) => {
            named_zone(name).ok_or_else(|| EvalError::failed(format!("unknown time zone {}", &**name)))?
        }
        Some(_) => return Err(EvalError::NoSuchOverload),
    };
    Ok(at.to_zoned(zone))
}

/// `Europe/Berlin`, `UTC`, or `+HH:MM`.
fn named_zone(name: &str) -> Option<TimeZone> {
    if let Some((hours, minutes)) = name.split_once(':') {
        let negative = hours.starts_with('-');
        let hours: i32 = hours.trim_start_matches(['+', '-']).parse().ok()?;
        let minutes: i32 = minutes.parse().ok()?;
        let seconds = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?;
        let offset = Offset::from_seconds(if negative { -seconds } else { seconds }).ok()?;
        return Some(offset.to_time_zone());
    }
    TimeZone::get(name).ok()
}

fn part<'a>(args: &[Value<'a>], of: fn(&Zoned) -> i64) -> Given<'a> {
    match &args[0] {
        Value::Timestamp(at) => Ok(Value::Int(of(&zoned(*at, args.get(1))?))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn either<'a>(
    args: &[Value<'a>],
    of: fn(&Zoned) -> i64,
    of_duration: fn(SignedDuration) -> i64,
) -> Given<'a> {
    match &args[0] {
        Value::Duration(d) => Ok(Value::Int(of_duration(*d))),
        _ => part(args, of),
    }
}

/// A duration as Go reads it: `1h30m`, `-1.5s`, `100ms`; `None` for what is none.
pub fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    const UNITS: [(&str, i128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let unit = UNITS.iter().find(|(name, _)| {
            tail.strip_prefix(name).is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_alphabetic()))
        });
        let (name, scale) = unit?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 || whole.len() > 18 {
            return None;
        }
        let value: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(value.checked_mul(*scale)?)?;
        if !fraction.is_empty() {
            let part: i128 = fraction.parse().ok()?;
            nanos = nanos.checked_add(part.checked_mul(*scale)? / 10_i128.pow(fraction.len() as u32))?;
        }
        rest = &tail[name.len()..];
    }
    let nanos = i64::try_from(if negative { -nanos } else { nanos }).ok()?;
    Some(SignedDuration::from_nanos(nanos))
}

/// A duration in seconds, as `string(d)` gives it.
pub fn show_duration(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let (sign, size) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let text = format!("{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}
