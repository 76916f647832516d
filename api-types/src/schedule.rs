//! Schedules as CronJobs have them: five fields, `@daily` and its siblings, `@every 1h30m`.
//!
//! The semantics are those of the standard parser of robfig/cron v3, which upstream reads schedules
//! with, error texts included: a day must match both day fields if one of them is `*`, and else either;
//! Sunday is 0 only; hours that a change of clocks skips are skipped, and repeated ones repeat.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The time zone that the text itself names (`TZ=Europe/Berlin 0 3 * * *`).
    pub zone: Option<String>,
    times: Times,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Times {
    Fields {
        minute: Field,
        hour: Field,
        day: Field,
        month: Field,
        weekday: Field,
    },
    /// Seconds between two times.
    Every(i64),
}

/// Which values match, as bits, and whether the field is a plain `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bits: u64,
    any: bool,
}

/// What a field may hold.
struct Bounds {
    min: u32,
    max: u32,
    /// Names of values, the first standing for `min`.
    names: &'static [&'static str],
}

const MINUTE: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOUR: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAY: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTH: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Bounds = Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// How far ahead a time is looked for.
const YEARS_AHEAD: i64 = 5;

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSchedule(String);

fn bad<T>(message: impl Into<String>) -> Result<T, BadSchedule> {
    Err(BadSchedule(message.into()))
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// Worded as upstream's parser words them.
    pub fn parse(text: &str) -> Result<Self, BadSchedule> {
        if text.is_empty() {
            return bad("empty spec string");
        }
        let zoned = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ="));
        let (zone, text) = match zoned {
            None => (None, text),
            Some(rest) => match rest.split_once(' ') {
                Some((zone, rest)) => (Some(zone.to_owned()), rest.trim()),
                None => return bad(format!("provided bad location {rest}: no schedule follows it")),
            },
        };
        let times = if text.starts_with('@') { named(text)? } else { fields(text)? };
        Ok(Self { zone, times })
    }

    /// The first time after `after`, on the clocks of `zone`. `None`: within five years there is none.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match &self.times {
            Times::Every(seconds) => Timestamp::from_second(after.as_second() + seconds).ok(),
            Times::Fields { minute, hour, day, month, weekday } => {
                let limit = after.to_zoned(zone.clone()).checked_add(YEARS_AHEAD.years()).ok()?.timestamp();
                let mut at = Timestamp::from_second(after.as_second() + 1).ok()?;
                while at <= limit {
                    let local = at.to_zoned(zone.clone());
                    let is_day = match day.any || weekday.any {
                        true => day.has(local.day()) && weekday.has(local.weekday().to_sunday_zero_offset()),
                        false => day.has(local.day()) || weekday.has(local.weekday().to_sunday_zero_offset()),
                    };
                    let second = i64::from(local.second());
                    let into_hour = i64::from(local.minute()) * 60 + second;
                    at = if !month.has(local.month()) {
                        let first = local.date().first_of_month().checked_add(1.month()).ok()?;
                        first.to_zoned(zone.clone()).ok()?.timestamp()
                    } else if !is_day {
                        local.date().tomorrow().ok()?.to_zoned(zone.clone()).ok()?.timestamp()
                    } else if !hour.has(local.hour()) {
                        Timestamp::from_second(at.as_second() - into_hour + 3600).ok()?
                    } else if second != 0 || !minute.has(local.minute()) {
                        Timestamp::from_second(at.as_second() - second + 60).ok()?
                    } else {
                        return Some(at);
                    };
                }
                None
            }
        }
    }
}

impl Field {
    fn has(self, value: i8) -> bool {
        self.bits & (1 << value) != 0
    }
}

fn named(text: &str) -> Result<Times, BadSchedule> {
    let standing_for = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(span) = text.strip_prefix("@every ") else {
                return bad(format!("unrecognized descriptor: {text}"));
            };
            return match crate::value::Duration::parse(span) {
                Some(span) => Ok(Times::Every((span.0 / 1_000_000_000).max(1))),
                None => bad(format!("failed to parse duration {text}: time: invalid duration {span:?}")),
            };
        }
    };
    fields(standing_for)
}

fn fields(text: &str) -> Result<Times, BadSchedule> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        return bad(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    };
    Ok(Times::Fields {
        minute: field(minute, &MINUTE)?,
        hour: field(hour, &HOUR)?,
        day: field(day, &DAY)?,
        month: field(month, &MONTH)?,
        weekday: field(weekday, &WEEKDAY)?,
    })
}

/// Alternatives, separated by commas.
fn field(text: &str, bounds: &Bounds) -> Result<Field, BadSchedule> {
    let mut whole = Field { bits: 0, any: false };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let part = range(part, bounds)?;
        whole = Field { bits: whole.bits | part.bits, any: whole.any || part.any };
    }
    Ok(whole)
}

/// `*`, `3`, `3-5`, each with an optional `/step`.
fn range(text: &str, bounds: &Bounds) -> Result<Field, BadSchedule> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let any = matches!(ends[0], "*" | "?");
    let (start, mut end) = match ends.as_slice() {
        _ if any => (bounds.min, bounds.max),
        [one] => (value(one, bounds)?, value(one, bounds)?),
        [low, high] => (value(low, bounds)?, value(high, bounds)?),
        _ => return bad(format!("too many hyphens: {text}")),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            if ends.len() == 1 {
                end = bounds.max;
            }
            step
        }
        _ => return bad(format!("too many slashes: {text}")),
    };
    if start < bounds.min {
        return bad(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.min));
    }
    if end > bounds.max {
        return bad(format!("end of range ({end}) above maximum ({}): {text}", bounds.max));
    }
    if start > end {
        return bad(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return bad(format!("step of range should be a positive number: {text}"));
    }
    let bits = (start..=end).step_by(step as usize).fold(0, |bits, value| bits | 1 << value);
    Ok(Field { bits, any: any && step == 1 })
}

fn value(text: &str, bounds: &Bounds) -> Result<u32, BadSchedule> {
    let place = bounds.names.iter().position(|name| name.eq_ignore_ascii_case(text));
    match place.and_then(|place| u32::try_from(place).ok()) {
        Some(place) => Ok(bounds.min + place),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, BadSchedule> {
    match text.parse::<i32>() {
        Ok(number) => {
            u32::try_from(number).or_else(|_| bad(format!("negative number ({number}) not allowed: {text}")))
        }
        Err(_) => {
            bad(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: &str, zone: &str, after: &str, expected: &[&str]) {
        let (schedule, zone) = (Schedule::parse(schedule).unwrap(), TimeZone::get(zone).unwrap());
        let mut at: Timestamp = after.parse().unwrap();
        for expected in expected {
            at = schedule.next(at, &zone).unwrap();
            assert_eq!(at.to_string(), *expected);
        }
    }

    #[test]
    fn times_follow_each_other() {
        check(
            "*/15 * * * *",
            "UTC",
            "2026-01-01T00:07:30Z",
            &["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"],
        );
        check("0 3 * * *", "UTC", "2026-01-01T03:00:00Z", &["2026-01-02T03:00:00Z"]);
        check("30 4 1,15 * *", "UTC", "2026-01-20T00:00:00Z", &["2026-02-01T04:30:00Z"]);
        check("0 0 29 feb *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
        check("@monthly", "UTC", "2026-12-05T00:00:00Z", &["2027-01-01T00:00:00Z"]);
        check("@every 90s", "UTC", "2026-01-01T00:00:07Z", &["2026-01-01T00:01:37Z"]);
    }

    #[test]
    fn days_match_both_fields_or_either() {
        // 2026-01-02 is a Friday.
        check(
            "0 0 * * FRI",
            "UTC",
            "2026-01-01T00:00:00Z",
            &["2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z"],
        );
        check("0 0 5 * 5", "UTC", "2026-01-01T00:00:00Z", &["2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z"]);
        check(
            "0 0 */10 * 5",
            "UTC",
            "2026-01-03T00:00:00Z",
            &["2026-01-09T00:00:00Z", "2026-01-11T00:00:00Z"],
        );
    }

    #[test]
    fn clocks_change() {
        let berlin = "Europe/Berlin";
        check("30 2 * * *", berlin, "2026-03-28T12:00:00Z", &["2026-03-30T00:30:00Z"]);
        check(
            "30 2 * * *",
            berlin,
            "2026-10-24T12:00:00Z",
            &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"],
        );
        check("0 9 * * *", berlin, "2026-06-01T08:00:00Z", &["2026-06-02T07:00:00Z"]);
        check("0 9 * * *", "Asia/Kolkata", "2026-06-01T08:00:00Z", &["2026-06-02T03:30:00Z"]);
    }

    #[test]
    fn a_time_that_never_comes() {
        let never = Schedule::parse("0 0 31 2 *").unwrap();
        assert_eq!(never.next("2026-01-01T00:00:00Z".parse().unwrap(), &TimeZone::UTC), None);
    }

    #[test]
    fn a_zone_may_stand_in_front() {
        let schedule = Schedule::parse("TZ=Europe/Berlin 0 3 * * *").unwrap();
        assert_eq!(schedule.zone.as_deref(), Some("Europe/Berlin"));
    }

    #[test]
    fn what_is_refused() {
        let refused = |text: &str, expected: &str| {
            assert_eq!(Schedule::parse(text).unwrap_err().to_string(), expected);
        };
        refused("", "empty spec string");
        refused("1 2 3 4", "expected exactly 5 fields, found 4: [1 2 3 4]");
        refused("60 * * * *", "end of range (60) above maximum (59): 60");
        refused("* * 0 * *", "beginning of range (0) below minimum (1): 0");
        refused("5-2 * * * *", "beginning of range (5) beyond end of range (2): 5-2");
        refused("1-2-3 * * * *", "too many hyphens: 1-2-3");
        refused("*/1/2 * * * *", "too many slashes: */1/2");
        refused("*/0 * * * *", "step of range should be a positive number: */0");
        refused("x * * * *", r#"failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax"#);
        refused("* * * * 7", "end of range (7) above maximum (6): 7");
        refused("@fortnightly", "unrecognized descriptor: @fortnightly");
    }
}
