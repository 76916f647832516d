//! Operators.

use super::super::cost::Cost;
use super::super::error::EvalError;
use super::super::value::{Key, Text, Value, same_item};
use super::{Given, Regexes, Row};
use std::cmp::Ordering;
use std::sync::Arc;

const ORDERED: &[&str] = &[
    "(bool,bool) bool",
    "(int,int) bool",
    "(int,uint) bool",
    "(int,double) bool",
    "(uint,uint) bool",
    "(uint,int) bool",
    "(uint,double) bool",
    "(double,double) bool",
    "(double,int) bool",
    "(double,uint) bool",
    "(string,string) bool",
    "(bytes,bytes) bool",
    "(timestamp,timestamp) bool",
    "(duration,duration) bool",
];

pub const TABLE: &[Row] = &[
    // The first six are evaluated by the evaluator itself; here are their types.
    ("_&&_", &["(bool,bool) bool"], unused, Cost::Free),
    ("_||_", &["(bool,bool) bool"], unused, Cost::Free),
    ("_?_:_", &["(bool,A,A) A"], unused, Cost::Free),
    ("@not_strictly_false", &["(bool) bool"], unused, Cost::One),
    (
        "_[_]",
        &[
            "(list(A),int) A",
            "(map(A,B),A) B",
            "(optional(list(A)),int) optional(A)",
            "(optional(map(A,B)),A) optional(B)",
        ],
        unused,
        Cost::One,
    ),
    (
        "_[?_]",
        &[
            "(list(A),int) optional(A)",
            "(map(A,B),A) optional(B)",
            "(optional(list(A)),int) optional(A)",
            "(optional(map(A,B)),A) optional(B)",
        ],
        unused,
        Cost::One,
    ),
    ("cel.@mapInsert", &["(map(A,B),A,B) map(A,B)", "(map(A,B),map(A,B)) map(A,B)"], unused, Cost::One),
    ("!_", &["(bool) bool"], not, Cost::One),
    ("_==_", &["(A,A) bool"], |_, a| Ok(Value::Bool(a[0].equals(&a[1]))), Cost::Compare),
    ("_!=_", &["(A,A) bool"], |_, a| Ok(Value::Bool(!a[0].equals(&a[1]))), Cost::Compare),
    ("_<_", ORDERED, |_, a| ordered(a, |o| o == Ordering::Less), Cost::Compare),
    ("_<=_", ORDERED, |_, a| ordered(a, |o| o != Ordering::Greater), Cost::Compare),
    ("_>_", ORDERED, |_, a| ordered(a, |o| o == Ordering::Greater), Cost::Compare),
    ("_>=_", ORDERED, |_, a| ordered(a, |o| o != Ordering::Less), Cost::Compare),
    ("@in", &["(A,list(A)) bool", "(A,map(A,B)) bool"], is_in, Cost::InList),
    (
        "_+_",
        &[
            "(int,int) int",
            "(uint,uint) uint",
            "(double,double) double",
            "(string,string) string",
            "(bytes,bytes) bytes",
            "(list(A),list(A)) list(A)",
            "(duration,duration) duration",
            "(timestamp,duration) timestamp",
            "(duration,timestamp) timestamp",
        ],
        add,
        Cost::Concat,
    ),
    (
        "_-_",
        &[
            "(int,int) int",
            "(uint,uint) uint",
            "(double,double) double",
            "(duration,duration) duration",
            "(timestamp,duration) timestamp",
            "(timestamp,timestamp) duration",
        ],
        subtract,
        Cost::One,
    ),
    ("_*_", &["(int,int) int", "(uint,uint) uint", "(double,double) double"], multiply, Cost::One),
    ("_/_", &["(int,int) int", "(uint,uint) uint", "(double,double) double"], divide, Cost::One),
    ("_%_", &["(int,int) int", "(uint,uint) uint"], remainder, Cost::One),
    ("-_", &["(int) int", "(double) double"], negate, Cost::One),
    (
        "size",
        &[
            "(string) int",
            "(bytes) int",
            "(list(A)) int",
            "(map(A,B)) int",
            "string.() int",
            "bytes.() int",
            "list(A).() int",
            "map(A,B).() int",
        ],
        size,
        Cost::One,
    ),
];

fn unused<'a>(_: &mut Regexes, _: &[Value<'a>]) -> Given<'a> {
    Err(EvalError::NoSuchOverload)
}

fn not<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    match args[0] {
        Value::Bool(b) => Ok(Value::Bool(!b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn ordered<'a>(args: &[Value<'a>], holds: fn(Ordering) -> bool) -> Given<'a> {
    match args[0].order(&args[1])? {
        Some(order) => Ok(Value::Bool(holds(order))),
        None => Err(EvalError::NoSuchOverload),
    }
}

fn size<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    match &args[0] {
        Value::Ip(_) | Value::Cidr(_) => Err(EvalError::NoSuchOverload),
        other => other.size().map(|n| Value::Int(n as i64)).ok_or(EvalError::NoSuchOverload),
    }
}

fn is_in<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let (what, place) = (&args[0], &args[1]);
    match place {
        Value::Map(_) | Value::Domains(_) | Value::Fields(..) => {
            Ok(Value::Bool(Key::of(what).is_some_and(|key| place.has(&key))))
        }
        _ => {
            let items = place.elements().ok_or(EvalError::NoSuchOverload)?;
            Ok(Value::Bool(items.iter().any(|item| item.equals(what))))
        }
    }
}

fn overflow<'a>() -> Given<'a> {
    Err(EvalError::failed("integer overflow"))
}

fn whole<'a>(n: Option<i64>) -> Given<'a> {
    n.map_or_else(overflow, |n| Ok(Value::Int(n)))
}

fn unsigned<'a>(n: Option<u64>) -> Given<'a> {
    n.map_or_else(|| Err(EvalError::failed("unsigned integer overflow")), |n| Ok(Value::Uint(n)))
}

fn add<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    use Value::{Bytes, Double, Duration, Int, String, Timestamp, Uint};
    let past = || EvalError::failed("timestamp overflow");
    match (&args[0], &args[1]) {
        (Int(a), Int(b)) => whole(a.checked_add(*b)),
        (Uint(a), Uint(b)) => unsigned(a.checked_add(*b)),
        (Double(a), Double(b)) => Ok(Double(a + b)),
        (String(a), String(b)) => Ok(String(Text::Shared(format!("{}{}", &**a, &**b).into()))),
        (Bytes(a), Bytes(b)) => Ok(Bytes([&**a, &**b].concat().into())),
        (Duration(a), Duration(b)) => {
            a.checked_add(*b).map(Duration).ok_or_else(|| EvalError::failed("integer overflow"))
        }
        (Timestamp(a), Duration(b)) | (Duration(b), Timestamp(a)) => {
            a.checked_add(*b).map(Timestamp).map_err(|_| past())
        }
        (a, b) => concat(a, b),
    }
}

/// Lists one after another. Of lists that are sets or maps, those of the right that the left has too take
/// the place of the left's.
fn concat<'a>(a: &Value<'a>, b: &Value<'a>) -> Given<'a> {
    let (Some(mut all), Some(more)) = (a.elements(), b.elements()) else {
        return Err(EvalError::NoSuchOverload);
    };
    match a.list_keys() {
        None => all.extend(more),
        Some(keys) => {
            for item in more {
                match all.iter_mut().find(|own| same_item(own, &item, keys)) {
                    Some(own) => *own = item,
                    None => all.push(item),
                }
            }
        }
    }
    Ok(Value::List(Arc::new(all)))
}

fn subtract<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    use Value::{Double, Duration, Int, Timestamp, Uint};
    match (&args[0], &args[1]) {
        (Int(a), Int(b)) => whole(a.checked_sub(*b)),
        (Uint(a), Uint(b)) => unsigned(a.checked_sub(*b)),
        (Double(a), Double(b)) => Ok(Double(a - b)),
        (Duration(a), Duration(b)) => {
            a.checked_sub(*b).map(Duration).ok_or_else(|| EvalError::failed("integer overflow"))
        }
        (Timestamp(a), Duration(b)) => {
            a.checked_sub(*b).map(Timestamp).map_err(|_| EvalError::failed("timestamp overflow"))
        }
        (Timestamp(a), Timestamp(b)) => Ok(Duration(a.duration_since(*b))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn multiply<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => whole(a.checked_mul(*b)),
        (Value::Uint(a), Value::Uint(b)) => unsigned(a.checked_mul(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn divide<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let by_zero = || Err(EvalError::failed("division by zero"));
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => by_zero(),
        (Value::Int(a), Value::Int(b)) => whole(a.checked_div(*b)),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a / b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn remainder<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let by_zero = || Err(EvalError::failed("modulus by zero"));
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => by_zero(),
        (Value::Int(a), Value::Int(b)) => whole(a.checked_rem(*b)),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a % b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn negate<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    match &args[0] {
        Value::Int(n) => whole(n.checked_neg()),
        Value::Double(f) => Ok(Value::Double(-f)),
        _ => Err(EvalError::NoSuchOverload),
    }
}
