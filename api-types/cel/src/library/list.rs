//! Lists: Kubernetes' own functions, the lists extension, version 3, and sets.

use super::super::cost::Cost;
use super::super::error::EvalError;
use super::super::value::Value;
use super::{Given, Regexes, Row};
use std::cmp::Ordering;
use std::sync::Arc;

const COMPARABLE: &[&str] = &[
    "list(int).() bool",
    "list(uint).() bool",
    "list(double).() bool",
    "list(bool).() bool",
    "list(string).() bool",
    "list(bytes).() bool",
    "list(duration).() bool",
    "list(timestamp).() bool",
];
const LEAST: &[&str] = &[
    "list(int).() int",
    "list(uint).() uint",
    "list(double).() double",
    "list(bool).() bool",
    "list(string).() string",
    "list(bytes).() bytes",
    "list(duration).() duration",
    "list(timestamp).() timestamp",
];
const SORTED: &[&str] = &[
    "list(int).() list(int)",
    "list(uint).() list(uint)",
    "list(double).() list(double)",
    "list(bool).() list(bool)",
    "list(string).() list(string)",
    "list(bytes).() list(bytes)",
    "list(duration).() list(duration)",
    "list(timestamp).() list(timestamp)",
];
/// Longest list that `lists.range` makes.
const LONGEST_RANGE: i64 = 1_000_000;

pub const TABLE: &[Row] = &[
    ("isSorted", COMPARABLE, is_sorted, Cost::Traverse),
    (
        "sum",
        &["list(int).() int", "list(uint).() uint", "list(double).() double", "list(duration).() duration"],
        sum,
        Cost::Traverse,
    ),
    ("min", LEAST, |_, a| extreme(a, Ordering::Less, "min"), Cost::Traverse),
    ("max", LEAST, |_, a| extreme(a, Ordering::Greater, "max"), Cost::Traverse),
    ("slice", &["list(A).(int,int) list(A)"], slice, Cost::ScanList),
    ("flatten", &["list(list(A)).() list(A)", "list(dyn).(int) list(dyn)"], flatten, Cost::ScanList),
    (
        "sort",
        SORTED,
        |_, a| {
            let items = items(&a[0])?;
            sort(&items, &items)
        },
        Cost::Product,
    ),
    (
        "@sortByAssociatedKeys",
        &[
            "list(A).(list(int)) list(A)",
            "list(A).(list(uint)) list(A)",
            "list(A).(list(double)) list(A)",
            "list(A).(list(bool)) list(A)",
            "list(A).(list(string)) list(A)",
            "list(A).(list(bytes)) list(A)",
            "list(A).(list(duration)) list(A)",
            "list(A).(list(timestamp)) list(A)",
        ],
        |_, a| sort(&items(&a[0])?, &items(&a[1])?),
        Cost::Product,
    ),
    ("distinct", &["list(A).() list(A)"], distinct, Cost::Product),
    (
        "reverse",
        &["list(A).() list(A)"],
        |_, a| Ok(Value::list(items(&a[0])?.into_iter().rev().collect())),
        Cost::ScanList,
    ),
    ("lists.range", &["(int) list(int)"], range, Cost::Range),
    ("first", &["list(A).() optional(A)"], |_, a| edge(items(&a[0])?.into_iter().next()), Cost::One),
    ("last", &["list(A).() optional(A)"], |_, a| edge(items(&a[0])?.into_iter().next_back()), Cost::One),
    (
        "sets.contains",
        &["(list(A),list(A)) bool"],
        |_, a| Ok(Value::Bool(contains(&a[0], &a[1])?)),
        Cost::Product,
    ),
    (
        "sets.equivalent",
        &["(list(A),list(A)) bool"],
        |_, a| Ok(Value::Bool(contains(&a[0], &a[1])? && contains(&a[1], &a[0])?)),
        Cost::Product,
    ),
    ("sets.intersects", &["(list(A),list(A)) bool"], intersects, Cost::Product),
];

fn items<'a>(value: &Value<'a>) -> Result<Vec<Value<'a>>, EvalError> {
    value.elements().ok_or(EvalError::NoSuchOverload)
}

fn order(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, EvalError> {
    a.order(b)?.ok_or(EvalError::NoSuchOverload)
}

fn is_sorted<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    for pair in items(&args[0])?.windows(2) {
        if order(&pair[0], &pair[1])? == Ordering::Greater {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(regexes: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let add = super::find("_+_").ok_or(EvalError::NoSuchOverload)?;
    let mut all = items(&args[0])?.into_iter();
    let Some(mut total) = all.next() else { return Ok(Value::Int(0)) };
    for item in all {
        total = (add.run)(regexes, &[total, item])?;
    }
    Ok(total)
}

fn extreme<'a>(args: &[Value<'a>], wanted: Ordering, name: &str) -> Given<'a> {
    let mut all = items(&args[0])?.into_iter();
    let Some(mut best) = all.next() else {
        return Err(EvalError::failed(format!("{name} called on empty list")));
    };
    for item in all {
        if order(&item, &best)? == wanted {
            best = item;
        }
    }
    Ok(best)
}

fn slice<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let items = items(&args[0])?;
    let (Value::Int(start), Value::Int(end)) = (&args[1], &args[2]) else {
        return Err(EvalError::NoSuchOverload);
    };
    let (start, end, count) = (*start, *end, items.len() as i64);
    if start < 0 || end < 0 {
        return Err(EvalError::failed(format!(
            "cannot slice({start}, {end}), negative indexes not supported"
        )));
    }
    if start > end {
        return Err(EvalError::failed(format!(
            "cannot slice({start}, {end}), start index must be less than or equal to end index"
        )));
    }
    if end > count {
        return Err(EvalError::failed(format!("cannot slice({start}, {end}), list is length {count}")));
    }
    Ok(Value::list(items[start as usize..end as usize].to_vec()))
}

fn flatten<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let depth = match args.get(1) {
        None => 1,
        Some(Value::Int(n)) if *n >= 0 => *n,
        Some(_) => return Err(EvalError::failed("level must be non-negative")),
    };
    fn into<'a>(list: Vec<Value<'a>>, depth: i64, out: &mut Vec<Value<'a>>) {
        for item in list {
            match item.elements() {
                Some(inner) if depth > 0 => into(inner, depth - 1, out),
                _ => out.push(item),
            }
        }
    }
    let mut out = Vec::new();
    into(items(&args[0])?, depth, &mut out);
    Ok(Value::list(out))
}

/// Sorts a list by keys that stand beside it.
fn sort<'a>(list: &[Value<'a>], keys: &[Value<'a>]) -> Given<'a> {
    if list.len() != keys.len() {
        return Err(EvalError::NoSuchOverload);
    }
    for key in keys {
        // Everything is compared with the first, so that a sort has an order to go by.
        if std::mem::discriminant(key) != std::mem::discriminant(&keys[0]) {
            return Err(EvalError::failed("list elements must have the same type"));
        }
        order(&keys[0], key)?;
    }
    let mut places: Vec<usize> = (0..list.len()).collect();
    places.sort_by(|a, b| order(&keys[*a], &keys[*b]).unwrap_or(Ordering::Equal));
    Ok(Value::list(places.into_iter().map(|place| list[place].clone()).collect()))
}

fn distinct<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let mut out: Vec<Value<'a>> = Vec::new();
    for item in items(&args[0])? {
        if !out.iter().any(|own| own.equals(&item)) {
            out.push(item);
        }
    }
    Ok(Value::List(Arc::new(out)))
}

fn range<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    match args[0] {
        Value::Int(n) if n > LONGEST_RANGE => Err(EvalError::CostLimit),
        Value::Int(n) => Ok(Value::list((0..n).map(Value::Int).collect())),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn edge(item: Option<Value<'_>>) -> Given<'_> {
    Ok(item.map_or(Value::NONE, Value::some))
}

fn contains(all: &Value<'_>, some: &Value<'_>) -> Result<bool, EvalError> {
    let all = items(all)?;
    Ok(items(some)?.iter().all(|item| all.iter().any(|own| own.equals(item))))
}

fn intersects<'a>(_: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let all = items(&args[0])?;
    Ok(Value::Bool(items(&args[1])?.iter().any(|item| all.iter().any(|own| own.equals(item)))))
}
