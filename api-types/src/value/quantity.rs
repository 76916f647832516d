//! `Quantity`: an amount of a resource, `250m`, `1Gi`, `2e3`.
//!
//! The amount is exact, in billionths; the suffix family of the text is kept, and output is
//! canonical: no fraction, the largest suffix that loses nothing (API doc "Quantity").
//! Amounts beyond 2^63-1 whole units are capped and fractions below a billionth are rounded up,
//! as upstream does.

use super::{Typed, Value};
use crate::codec::json::{self, Token};
use crate::codec::protobuf::{self, Wire};
use crate::schema::Type;
use std::fmt;
use std::str::FromStr;

/// The family of suffixes that a quantity is written with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `m`, none, `k`, `M`, `G` …: powers of 1000.
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, `Gi` …: powers of 1024.
    BinarySi,
    /// `e3`, `E6` …
    DecimalExponent,
}

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse quantity's suffix")]
    Suffix,
    #[error("unable to parse numeric part of quantity")]
    Number,
}

const NANO: i128 = 1_000_000_000;
const MAX: i128 = (i64::MAX as i128) * NANO;

/// An exact amount of a resource.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// `units` whole units.
    pub fn from_units(units: i64, format: Format) -> Self {
        Self { nanos: i128::from(units) * NANO, format }
    }

    /// `milli` thousandths of a unit, in decimal notation.
    pub fn from_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// Whole units, rounded up (upstream's `Value()`).
    pub fn value(&self) -> i64 {
        clamp(div_up(self.nanos, NANO))
    }

    /// Thousandths, rounded up (upstream's `MilliValue()`).
    pub fn milli_value(&self) -> i64 {
        clamp(div_up(self.nanos, NANO / 1000))
    }

    /// The amount in units, as near as a double gets.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number of units.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether the text, told at a glance, is the one that this amount is written as. It may be one that is not
    /// known here.
    pub(crate) fn is_canonical(text: &[u8]) -> bool {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, suffix) = text.split_at(digits);
        if digits == 0 || number[0] == b'0' {
            return text == b"0";
        }
        match suffix {
            b"" | b"n" | b"u" | b"m" => digits <= 15 && !number.ends_with(b"000"),
            b"k" | b"M" | b"G" => digits <= 9 && !number.ends_with(b"000"),
            b"Ki" | b"Mi" | b"Gi" => {
                digits <= 9 && number.iter().fold(0, |n, digit| n * 10 + u32::from(digit - b'0')) % 1024 != 0
            }
            _ => false,
        }
    }

    /// Parses the text of a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let sign_end = usize::from(text.starts_with(['+', '-']));
        let number_end = text[sign_end..]
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .map_or(text.len(), |at| at + sign_end);
        let (number, suffix) = (&text[sign_end..number_end], &text[number_end..]);
        if number.is_empty() || number == "." || number.matches('.').count() > 1 {
            return Err(QuantityError::Format);
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let (base, exponent, format) = suffix_of(suffix)?;
        let mut nanos = scale(whole, fraction, base, exponent).min(MAX);
        if text.starts_with('-') {
            nanos = -nanos;
        }
        Ok(Self { nanos, format })
    }
}

/// `whole.fraction * base^exponent`, in billionths, rounded up, saturating.
fn scale(whole: &str, fraction: &str, base: i128, exponent: i32) -> i128 {
    let mut mantissa: i128 = 0;
    let mut dropped = false;
    // 27 digits hold everything that is neither capped nor rounded; the rest only rounds up.
    let mut places: i32 = 0;
    for (i, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
        let in_fraction = i >= whole.len();
        match mantissa.checked_mul(10).and_then(|m| m.checked_add(i128::from(digit - b'0'))) {
            Some(next) if next < 10i128.pow(30) => {
                mantissa = next;
                places += i32::from(in_fraction);
            }
            _ if in_fraction => dropped |= digit != b'0',
            _ => return MAX,
        }
    }
    let (up, down) = if base == 10 {
        let power = exponent + 9 - places;
        (if power > 0 { pow10(power) } else { Some(1) }, if power < 0 { pow10(-power) } else { Some(1) })
    } else {
        let up = 1024i128.checked_pow(exponent.unsigned_abs()).and_then(|p| p.checked_mul(NANO));
        (up, pow10(places))
    };
    if mantissa == 0 {
        return i128::from(dropped);
    }
    let Some(up) = up else { return MAX };
    let Some(down) = down else { return 1 };
    match mantissa.checked_mul(up) {
        Some(product) => div_up(product, down) + i128::from(dropped && product % down == 0),
        // Beyond 128 bits: divide first; what is lost lies below the cap's precision.
        None => (mantissa / down).saturating_mul(up),
    }
}

fn pow10(power: i32) -> Option<i128> {
    10i128.checked_pow(power.unsigned_abs())
}

fn suffix_of(suffix: &str) -> Result<(i128, i32, Format), QuantityError> {
    use Format::{BinarySi, DecimalExponent, DecimalSi};
    Ok(match suffix {
        "" => (10, 0, DecimalSi),
        "n" => (10, -9, DecimalSi),
        "u" => (10, -6, DecimalSi),
        "m" => (10, -3, DecimalSi),
        "k" => (10, 3, DecimalSi),
        "M" => (10, 6, DecimalSi),
        "G" => (10, 9, DecimalSi),
        "T" => (10, 12, DecimalSi),
        "P" => (10, 15, DecimalSi),
        "E" => (10, 18, DecimalSi),
        "Ki" => (1024, 1, BinarySi),
        "Mi" => (1024, 2, BinarySi),
        "Gi" => (1024, 3, BinarySi),
        "Ti" => (1024, 4, BinarySi),
        "Pi" => (1024, 5, BinarySi),
        "Ei" => (1024, 6, BinarySi),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or_else(|| unknown_suffix(suffix))?;
            let exponent = exponent.parse().map_err(|_| unknown_suffix(suffix))?;
            (10, exponent, DecimalExponent)
        }
    })
}

fn unknown_suffix(suffix: &str) -> QuantityError {
    let allowed = |c: char| c.is_ascii_digit() || "eEinumkKMGTP+-".contains(c);
    if suffix.chars().all(allowed) { QuantityError::Suffix } else { QuantityError::Format }
}

fn div_up(amount: i128, unit: i128) -> i128 {
    let quotient = amount / unit;
    // Away from zero, as upstream rounds.
    if amount % unit == 0 { quotient } else { quotient + amount.signum() }
}

fn clamp(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi && self.nanos.abs() >= 1024 * NANO {
            let mut units = div_up(self.nanos, NANO);
            let mut power = 0;
            while units % 1024 == 0 && power + 1 < BINARY.len() {
                units /= 1024;
                power += 1;
            }
            return write!(f, "{units}{}", BINARY[power]);
        }
        let (mut amount, mut power) = (self.nanos, 0);
        while amount % 1000 == 0 && power + 1 < DECIMAL.len() {
            amount /= 1000;
            power += 1;
        }
        if self.format == Format::DecimalExponent {
            let exponent = power as i32 * 3 - 9;
            return if exponent == 0 { write!(f, "{amount}") } else { write!(f, "{amount}e{exponent}") };
        }
        write!(f, "{amount}{}", DECIMAL[power])
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

// Two quantities are equal when their amounts are, whatever their suffixes.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}
impl std::hash::Hash for Quantity {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

impl std::ops::AddAssign for Quantity {
    /// Adds; an empty amount takes the other's notation.
    fn add_assign(&mut self, other: Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = (self.nanos + other.nanos).clamp(-MAX, MAX);
    }
}
impl std::ops::SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = (self.nanos - other.nanos).clamp(-MAX, MAX);
    }
}

impl Typed for Quantity {
    fn type_of() -> &'static Type {
        &Type::Quantity
    }
}

impl Value for Quantity {
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
        *self = match input.token()? {
            Token::Null => Self::default(),
            Token::String(text) => Self::parse(&text).map_err(|e| input.custom(e.to_string()))?,
            Token::Number(text) => Self::parse(text).map_err(|e| input.custom(e.to_string()))?,
            other => return Err(input.mismatch(&other, "resource.Quantity")),
        };
        Ok(())
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        let end = out.mark();
        out.bytes_field(1, self.to_string().as_bytes());
        out.close_message(number, end);
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        let mut fields = protobuf::Reader::new(wire.bytes()?);
        while let Some((number, wire)) = fields.next()? {
            if number == 1 {
                *self = Self::parse(wire.text()?).map_err(|_| protobuf::Error::Value("not a quantity"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, canonical: &str) {
        assert_eq!(Quantity::parse(given).expect(given).to_string(), canonical, "{given}");
    }

    #[test]
    fn output_is_canonical() {
        check("0", "0");
        check("1000m", "1");
        check("0.5", "500m");
        check("1.5Gi", "1536Mi");
        check("1024Ki", "1Mi");
        check("1023", "1023");
        check("0.5Ki", "512");
        check("1e3", "1e3");
        check("12e6", "12e6");
        check("1500k", "1500k");
        check("100M", "100M");
        check("0.0000000001", "1n");
        check("-100m", "-100m");
        check("9999999999999999999999", "9223372036854775807");
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for bad in ["", ".", "1.2.3", "1Q", "m", "1 Gi", "--1", "1e", "1ki"] {
            assert!(Quantity::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_round_up() {
        let half: Quantity = "1500m".parse().expect("a quantity");
        assert_eq!((half.value(), half.milli_value()), (2, 1500));
    }
}
