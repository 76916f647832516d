//! Regular expressions.

use super::super::cost::Cost;
use super::super::error::EvalError;
use super::super::value::Value;
use super::{Given, Regexes, Row};

pub const TABLE: &[Row] = &[
    ("matches", &["string.(string) bool", "(string,string) bool"], matches, Cost::Regex),
    ("find", &["string.(string) string"], find, Cost::Regex),
    ("findAll", &["string.(string) list(string)", "string.(string,int) list(string)"], find_all, Cost::Regex),
];

fn both<'v>(args: &'v [Value<'_>]) -> Result<(&'v str, &'v str), EvalError> {
    match (&args[0], &args[1]) {
        (Value::String(text), Value::String(pattern)) => Ok((text, pattern)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn matches<'a>(regexes: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let (text, pattern) = both(args)?;
    Ok(Value::Bool(regexes.get(pattern)?.is_match(text)))
}

fn find<'a>(regexes: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let (text, pattern) = both(args)?;
    let found = regexes.get(pattern)?.find(text);
    Ok(Value::text(found.map_or("", |found| found.as_str())))
}

fn find_all<'a>(regexes: &mut Regexes, args: &[Value<'a>]) -> Given<'a> {
    let (text, pattern) = both(args)?;
    let most = match args.get(2) {
        Some(Value::Int(n)) if *n >= 0 => *n as usize,
        _ => usize::MAX,
    };
    let found = regexes.get(pattern)?.find_iter(text).take(most);
    Ok(Value::list(found.map(|found| Value::text(found.as_str())).collect()))
}
