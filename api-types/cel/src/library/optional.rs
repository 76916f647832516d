//! Optional values.

use super::super::cost::Cost;
use super::super::error::EvalError;
use super::super::value::Value;
use super::{Given, Row};

pub const TABLE: &[Row] = &[
    ("optional.of", &["(A) optional(A)"], |_, a| Ok(Value::some(a[0].clone())), Cost::One),
    ("optional.none", &["() optional(A)"], |_, _| Ok(Value::NONE), Cost::One),
    (
        "optional.ofNonZeroValue",
        &["(A) optional(A)"],
        |_, a| Ok(if is_zero(&a[0]) { Value::NONE } else { Value::some(a[0].clone()) }),
        Cost::One,
    ),
    (
        "hasValue",
        &["optional(A).() bool"],
        |_, a| match &a[0] {
            Value::Optional(inner) => Ok(Value::Bool(inner.is_some())),
            _ => Err(EvalError::NoSuchOverload),
        },
        Cost::One,
    ),
    // `value` of a format's answer is that of an optional.
    (
        "value",
        &["optional(A).() A"],
        |_, a| match &a[0] {
            Value::Optional(Some(inner)) => Ok((**inner).clone()),
            Value::Optional(None) => Err(EvalError::failed("optional.none() dereference")),
            _ => Err(EvalError::NoSuchOverload),
        },
        Cost::One,
    ),
    (
        "orValue",
        &["optional(A).(A) A"],
        |_, a| match &a[0] {
            Value::Optional(Some(inner)) => Ok((**inner).clone()),
            Value::Optional(None) => Ok(a[1].clone()),
            _ => Err(EvalError::NoSuchOverload),
        },
        Cost::One,
    ),
    (
        "or",
        &["optional(A).(optional(A)) optional(A)"],
        |_, a| match &a[0] {
            Value::Optional(Some(_)) => Ok(a[0].clone()),
            Value::Optional(None) => Ok(a[1].clone()),
            _ => Err(EvalError::NoSuchOverload),
        },
        Cost::One,
    ),
    ("optional.unwrap", &["(list(optional(A))) list(A)"], |_, a| unwrap(&a[0]), Cost::ScanList),
    ("unwrapOpt", &["list(optional(A)).() list(A)"], |_, a| unwrap(&a[0]), Cost::ScanList),
];

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(b) => !b,
        Value::Int(n) => *n == 0,
        Value::Uint(n) => *n == 0,
        Value::Double(f) => *f == 0.0,
        Value::Duration(d) => d.is_zero(),
        other => other.size() == Some(0),
    }
}

fn unwrap<'a>(list: &Value<'a>) -> Given<'a> {
    let items = list.elements().ok_or(EvalError::NoSuchOverload)?;
    let there = items.into_iter().filter_map(|item| match item {
        Value::Optional(Some(inner)) => Some((*inner).clone()),
        _ => None,
    });
    Ok(Value::list(there.collect()))
}
