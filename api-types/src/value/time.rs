//! Points in time and durations as Kubernetes writes them.
//!
//! `Time` keeps whole seconds, `MicroTime` microseconds; protobuf has both as
//! `Timestamp { seconds = 1, nanos = 2 }`, where an empty message stands for "no time".

use super::{Typed, Value};
use crate::codec::json::{self, Token};
use crate::codec::protobuf::{self, Wire};
use crate::schema::Type;
use jiff::{RoundMode, Timestamp, Unit};
use std::fmt;

macro_rules! time {
    ($(#[$doc:meta])* $name:ident, $unit:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Timestamp);

        impl From<Timestamp> for $name {
            fn from(at: Timestamp) -> Self {
                Self(at)
            }
        }

        impl Typed for $name {
            fn type_of() -> &'static Type {
                &Type::$name
            }
        }

        impl Value for $name {
            fn is_absent(&self) -> bool {
                false
            }
            fn reset(&mut self) {
                *self = Self::default();
            }
            fn write_json(&self, out: &mut json::Writer) {
                out.string(&self.to_string());
            }
            fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
                match input.token()? {
                    Token::Null => Ok(()),
                    Token::String(text) => {
                        *self = text.parse().map_err(|_| input.custom(parse_text(&text)))?;
                        Ok(())
                    }
                    other => Err(input.mismatch(&other, "string")),
                }
            }
            fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
                let end = out.mark();
                let nanos = self.nanos();
                out.varint_field(2, i64::from(nanos) as u64);
                out.varint_field(1, self.0.as_second() as u64);
                out.close_message(number, end);
            }
            fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
                let (mut seconds, mut nanos) = (0, 0);
                let mut fields = protobuf::Reader::new(wire.bytes()?);
                while let Some((number, wire)) = fields.next()? {
                    match number {
                        1 => seconds = wire.varint()? as i64,
                        2 => nanos = wire.varint()? as i32,
                        _ => {}
                    }
                }
                self.0 = Timestamp::new(seconds, nanos)
                    .map_err(|_| protobuf::Error::Value("time out of range"))?;
                Ok(())
            }
            fn absent_if_empty() -> bool {
                true
            }
        }

        impl std::str::FromStr for $name {
            type Err = NotRfc3339;
            fn from_str(text: &str) -> Result<Self, NotRfc3339> {
                let at = rfc3339(text).ok_or(NotRfc3339)?;
                let kept = jiff::TimestampRound::new().smallest(Unit::$unit).mode(RoundMode::Floor);
                at.round(kept).map(Self).map_err(|_| NotRfc3339)
            }
        }
    };
}

/// The text of a time is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time as RFC 3339 writes it")]
pub struct NotRfc3339;

/// The instant of `2006-01-02T15:04:05[.9…](Z|±07:00)`; no other of ISO 8601's forms.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let fits = |shape: &[u8], text: &[u8]| {
        shape.len() == text.len()
            && shape.iter().zip(text).all(|(s, t)| if *s == b'0' { t.is_ascii_digit() } else { s == t })
    };
    let (moment, rest) = text.as_bytes().split_at_checked(19)?;
    let zone = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            fraction.get(digits..).filter(|_| digits > 0)?
        }
        None => rest,
    };
    let known = [&b"Z"[..], b"+00:00", b"-00:00"].iter().any(|shape| fits(shape, zone));
    (fits(b"0000-00-00T00:00:00", moment) && known).then(|| text.parse().ok()).flatten()
}

fn parse_text(text: &str) -> String {
    format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\"")
}

time! {
    /// A point in time, shown in whole seconds (`metav1.Time`).
    Time, Second
}
time! {
    /// A point in time, shown in microseconds (`metav1.MicroTime`).
    MicroTime, Microsecond
}

impl Time {
    /// The seconds since 1970 of a time as it is written here, `2006-01-02T15:04:05Z`; `None` for every other
    /// text, also for some that are times.
    pub(crate) fn seconds_of(text: &[u8]) -> Option<i64> {
        let text: &[u8; 20] = text.try_into().ok()?;
        let number = |from: usize, digits: usize| {
            text[from..from + digits]
                .iter()
                .try_fold(0_i64, |n, digit| digit.is_ascii_digit().then(|| n * 10 + i64::from(digit - b'0')))
        };
        let signs = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')];
        if signs.iter().any(|(at, sign)| text[*at] != *sign) {
            return None;
        }
        let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        // Of February's end, and of times' own, those who know calendars are asked.
        let days = match month {
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        let is_plain = (1..=9998).contains(&year)
            && (1..=days).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        if !is_plain {
            return None;
        }
        // Years that begin in March end with the day that not all of them have.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        let days = year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468;
        Some(((days * 24 + hour) * 60 + minute) * 60 + second)
    }

    /// The given instant without its fraction of a second: what comes back from the wire.
    pub fn whole(at: Timestamp) -> Self {
        Self(Timestamp::from_second(at.as_second()).expect("a whole second of a valid time is valid"))
    }
    fn nanos(&self) -> i32 {
        0
    }
}

impl MicroTime {
    fn nanos(&self) -> i32 {
        self.0.subsec_nanosecond() / 1000 * 1000
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

impl fmt::Display for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%dT%H:%M:%S.%6fZ"))
    }
}

/// A span of time in Go's notation, `1h15m30s` (`metav1.Duration`); nanoseconds inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Duration(pub i64);

impl Duration {
    const UNITS: [(&'static str, i64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];

    /// Parses Go's notation; `None` where `time.ParseDuration` fails.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Some(Self(0));
        }
        if rest.is_empty() {
            return None;
        }
        let mut total = 0f64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let amount: f64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
            let (_, scale) = Self::UNITS.iter().find(|(unit, _)| *unit == &rest[..end])?;
            total += amount * *scale as f64;
            rest = &rest[end..];
        }
        if total > i64::MAX as f64 {
            return None;
        }
        let nanos = total.round() as i64;
        Some(Self(if negative { -nanos } else { nanos }))
    }

    /// The span as the standard library has it; negative spans are zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let fraction = |amount: u64, unit: u64| {
            let text = format!("{:0width$}", amount % unit, width = unit.ilog10() as usize);
            let text = text.trim_end_matches('0');
            if text.is_empty() { (amount / unit).to_string() } else { format!("{}.{text}", amount / unit) }
        };
        match nanos {
            0..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", fraction(nanos, 1_000)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", fraction(nanos, 1_000_000)),
            _ => {
                let minutes = nanos / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write!(f, "{}s", fraction(nanos % 60_000_000_000, 1_000_000_000))
            }
        }
    }
}

impl Typed for Duration {
    fn type_of() -> &'static Type {
        &Type::Duration
    }
}

impl Value for Duration {
    fn is_absent(&self) -> bool {
        self.0 == 0
    }
    fn reset(&mut self) {
        self.0 = 0;
    }
    fn write_json(&self, out: &mut json::Writer) {
        out.string(&self.to_string());
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        match input.token()? {
            Token::Null => Ok(()),
            Token::String(text) => {
                *self = Self::parse(&text)
                    .ok_or_else(|| input.custom(format!("time: invalid duration {text:?}")))?;
                Ok(())
            }
            other => Err(input.mismatch(&other, "string")),
        }
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        let end = out.mark();
        out.varint_field(1, self.0 as u64);
        out.close_message(number, end);
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        let mut fields = protobuf::Reader::new(wire.bytes()?);
        while let Some((number, wire)) = fields.next()? {
            if number == 1 {
                self.0 = wire.varint()? as i64;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_as_go_does() {
        for text in ["0s", "1ns", "1.5µs", "20ms", "1.001s", "1m0s", "1h0m0s", "1h15m30.918s", "-5s"] {
            assert_eq!(Duration::parse(text).expect(text).to_string(), text);
        }
        assert_eq!(Duration::parse("90m").expect("minutes").to_string(), "1h30m0s");
        for bad in ["", "5", "s", "1x", "1.2.3s"] {
            assert_eq!(Duration::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_are_read_as_rfc_3339_alone() {
        let read = |text: &str| text.parse::<Time>().map(|time| time.to_string()).ok();
        for text in ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.9Z", "2026-01-02T05:04:05+02:00"] {
            assert_eq!(read(text).as_deref(), Some("2026-01-02T03:04:05Z"), "{text}");
        }
        let bad = [
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05+02",
            "20260102T030405Z",
            "2026-13-02T03:04:05Z",
            "-001111-11-10T00:05:05-07",
        ];
        for text in bad {
            assert_eq!(read(text), None, "{text}");
        }
        let micro: MicroTime = "2026-01-02T03:04:05.1234567Z".parse().expect("a time");
        assert_eq!(micro.to_string(), "2026-01-02T03:04:05.123456Z");
        assert_eq!(micro.0.subsec_nanosecond(), 123_456_000);
    }

    #[test]
    fn times_show_their_own_precision() {
        let at: Timestamp = "2026-01-02T03:04:05.678901234Z".parse().expect("a time");
        assert_eq!(Time(at).to_string(), "2026-01-02T03:04:05Z");
        assert_eq!(MicroTime(at).to_string(), "2026-01-02T03:04:05.678901Z");
    }
}
