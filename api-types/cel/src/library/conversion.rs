//! Conversions between types.

use super::super::cost::Cost;
use super::super::error::EvalError;
use super::super::value::{Text, Value};
use super::time::{parse_duration, show_duration};
use super::{Given, Regexes, Row};
use std::sync::Arc;

pub const TABLE: &[Row] = &[
    ("dyn", &["(A) dyn"], |_, a| Ok(a[0].clone()), Cost::One),
    (
        "type",
        &["(A) type(A)"],
        |_, a| {
            Ok(Value::Type(match &a[0] {
                Value::Made(made) => Text::Shared(made.name.clone()),
                other => Text::Borrowed(other.type_name()),
            }))
        },
        Cost::One,
    ),
    (
        "int",
        &["(int) int", "(uint) int", "(double) int", "(string) int", "(timestamp) int", "(duration) int"],
        int,
        Cost::One,
    ),
    ("uint", &["(uint) uint", "(int) uint", "(double) uint", "(string) uint"], uint, Cost::One),
    ("double", &["(double) double", "(int) double", "(uint) double", "(string) double"], double, Cost::One),
    ("bool", &["(bool) bool", "(string) bool"], boolean, Cost::One),
    (
        "string",
        &[
            "(string) string",
            "(bool) string",
            "(int) string",
            "(uint) string",
            "(double) string",
            "(bytes) string",
            "(timestamp) string",
            "(duration) string",
            "(IP) string",
            "(CIDR) string",
        ],
        string,
        Cost::Scan,
    ),
    ("bytes", &["(bytes) bytes", "(string) bytes"], bytes, Cost::Scan),
    ("duration", &["(duration) duration", "(string) duration", "(int) duration"], duration, Cost::One),
    ("timestamp", &["(timestamp) timestamp", "(string) timestamp", "(int) timestamp"], timestamp, Cost::One),
];

fn wrong<'a>(from: &Value<'a>, to: &str) -> Given<'a> {
    match from {
        Value::String(_) => Err(EvalError::failed(format!("type conversion error from 'string' to '{to}'"))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn range<'a>() -> Given<'a> {
    Err(EvalError::failed("integer overflow"))
}

fn int<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    match &args[0] {
        Value::Int(n) => Ok(Value::Int(*n)),
        Value::Uint(n) => i64::try_from(*n).map_or_else(|_| range(), |n| Ok(Value::Int(n))),
        Value::Double(f) if f.is_finite() && f.abs() < 9_223_372_036_854_775_807.0 => {
            Ok(Value::Int(*f as i64))
        }
        Value::Double(_) => range(),
        Value::String(text) => text.parse().map_or_else(|_| wrong(&args[0], "int"), |n| Ok(Value::Int(n))),
        Value::Timestamp(at) => Ok(Value::Int(at.as_second())),
        Value::Duration(d) => i64::try_from(d.as_nanos()).map_or_else(|_| range(), |n| Ok(Value::Int(n))),
        other => wrong(other, "int"),
    }
}

fn uint<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let range = || Err(EvalError::failed("unsigned integer overflow"));
    match &args[0] {
        Value::Uint(n) => Ok(Value::Uint(*n)),
        Value::Int(n) => u64::try_from(*n).map_or_else(|_| range(), |n| Ok(Value::Uint(n))),
        Value::Double(f) if *f >= 0.0 && *f < 18_446_744_073_709_551_615.0 => Ok(Value::Uint(*f as u64)),
        Value::Double(_) => range(),
        Value::String(text) => text.parse().map_or_else(|_| wrong(&args[0], "uint"), |n| Ok(Value::Uint(n))),
        other => wrong(other, "uint"),
    }
}

fn double<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    match &args[0] {
        Value::Double(f) => Ok(Value::Double(*f)),
        Value::Int(n) => Ok(Value::Double(*n as f64)),
        Value::Uint(n) => Ok(Value::Double(*n as f64)),
        Value::String(text) => {
            text.parse().map_or_else(|_| wrong(&args[0], "double"), |n| Ok(Value::Double(n)))
        }
        other => wrong(other, "double"),
    }
}

fn boolean<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    match &args[0] {
        Value::Bool(b) => Ok(Value::Bool(*b)),
        Value::String(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => wrong(&args[0], "bool"),
        },
        other => wrong(other, "bool"),
    }
}

/// A number as Go's `%g` prints it.
pub fn show_double(f: f64) -> String {
    if f.is_nan() {
        return "NaN".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let size = f.abs();
    if f == 0.0 || (1e-4..1e21).contains(&size) {
        return f.to_string();
    }
    let text = format!("{f:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let n: i32 = exponent.parse().unwrap_or_default();
            let sign = if n < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", n.abs())
        }
        None => text,
    }
}

fn string<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let text = match &args[0] {
        Value::String(text) => return Ok(Value::String(text.clone())),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(f) => show_double(*f),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return Err(EvalError::failed("invalid UTF-8 in bytes, cannot convert to string")),
        },
        Value::Timestamp(at) => at.to_string(),
        Value::Duration(d) => show_duration(*d),
        Value::Ip(ip) => ip.to_string(),
        Value::Cidr(cidr) => cidr.to_string(),
        _ => return Err(EvalError::NoSuchOverload),
    };
    Ok(Value::text(text))
}

fn bytes<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    match &args[0] {
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        Value::String(text) => Ok(Value::Bytes(Arc::from(text.as_bytes()))),
        other => wrong(other, "bytes"),
    }
}

fn duration<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    match &args[0] {
        Value::Duration(d) => Ok(Value::Duration(*d)),
        Value::Int(n) => Ok(Value::Duration(jiff::SignedDuration::from_nanos(*n))),
        Value::String(text) => parse_duration(text)
            .map_or_else(|| wrong(&args[0], "google.protobuf.Duration"), |d| Ok(Value::Duration(d))),
        other => wrong(other, "google.protobuf.Duration"),
    }
}

fn timestamp<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    match &args[0] {
        Value::Timestamp(at) => Ok(Value::Timestamp(*at)),
        Value::Int(n) => jiff::Timestamp::from_second(*n)
            .map(Value::Timestamp)
            .map_err(|_| EvalError::failed("timestamp overflow")),
        Value::String(text) => text
            .parse()
            .map_or_else(|_| wrong(&args[0], "google.protobuf.Timestamp"), |at| Ok(Value::Timestamp(at))),
        other => wrong(other, "google.protobuf.Timestamp"),
    }
}
