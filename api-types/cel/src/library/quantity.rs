//! Quantities: `quantity("1Gi")`.

use super::super::cost::Cost;
use super::super::error::EvalError;
use super::super::value::Value;
use super::Row;
use api_types::Quantity;
use std::cmp::Ordering;

pub const TABLE: &[Row] = &[
    (
        "quantity",
        &["(string) Quantity"],
        |_, a| match &a[0] {
            Value::String(text) => Quantity::parse(text)
                .map(Value::Quantity)
                .map_err(|error| EvalError::failed(error.to_string())),
            _ => Err(EvalError::NoSuchOverload),
        },
        Cost::Scan,
    ),
    (
        "isQuantity",
        &["(string) bool"],
        |_, a| match &a[0] {
            Value::String(text) => Ok(Value::Bool(Quantity::parse(text).is_ok())),
            _ => Err(EvalError::NoSuchOverload),
        },
        Cost::Scan,
    ),
    (
        "sign",
        &["Quantity.() int"],
        |_, a| {
            let q = own(&a[0])?;
            Ok(Value::Int(if q.is_zero() {
                0
            } else if q.is_negative() {
                -1
            } else {
                1
            }))
        },
        Cost::One,
    ),
    ("isInteger", &["Quantity.() bool"], |_, a| Ok(Value::Bool(own(&a[0])?.is_whole())), Cost::One),
    (
        "asInteger",
        &["Quantity.() int"],
        |_, a| {
            let q = own(&a[0])?;
            if q.is_whole() {
                Ok(Value::Int(q.value()))
            } else {
                Err(EvalError::failed("cannot convert value to integer"))
            }
        },
        Cost::One,
    ),
    (
        "asApproximateFloat",
        &["Quantity.() double"],
        |_, a| Ok(Value::Double(own(&a[0])?.as_f64())),
        Cost::One,
    ),
    (
        "isGreaterThan",
        &["Quantity.(Quantity) bool", "Semver.(Semver) bool"],
        |_, a| Ok(Value::Bool(compare(a)? == Ordering::Greater)),
        Cost::One,
    ),
    (
        "isLessThan",
        &["Quantity.(Quantity) bool", "Semver.(Semver) bool"],
        |_, a| Ok(Value::Bool(compare(a)? == Ordering::Less)),
        Cost::One,
    ),
    (
        "compareTo",
        &["Quantity.(Quantity) int", "Semver.(Semver) int"],
        |_, a| Ok(Value::Int(compare(a)? as i64)),
        Cost::One,
    ),
    (
        "add",
        &["Quantity.(Quantity) Quantity", "Quantity.(int) Quantity"],
        |_, a| {
            let mut q = own(&a[0])?;
            q += other(&a[1])?;
            Ok(Value::Quantity(q))
        },
        Cost::One,
    ),
    (
        "sub",
        &["Quantity.(Quantity) Quantity", "Quantity.(int) Quantity"],
        |_, a| {
            let mut q = own(&a[0])?;
            q -= other(&a[1])?;
            Ok(Value::Quantity(q))
        },
        Cost::One,
    ),
];

fn own(value: &Value<'_>) -> Result<Quantity, EvalError> {
    match value {
        Value::Quantity(q) => Ok(*q),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn other(value: &Value<'_>) -> Result<Quantity, EvalError> {
    match value {
        Value::Int(n) => {
            Quantity::parse(&n.to_string()).map_err(|error| EvalError::failed(error.to_string()))
        }
        value => own(value),
    }
}

fn compare(args: &[Value<'_>]) -> Result<Ordering, EvalError> {
    match (&args[0], &args[1]) {
        (Value::Quantity(a), Value::Quantity(b)) => Ok(a.cmp(b)),
        (Value::Semver(a), Value::Semver(b)) => Ok(a.order(b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}
