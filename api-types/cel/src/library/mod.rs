//! The functions of expressions: the standard ones of CEL and Kubernetes' libraries, one row each.
//!
//! A row has the name, the signatures as text (`RECEIVER.(ARGUMENTS) RESULT`; single capitals are type
//! parameters), the code and the cost. Code dispatches on what it is given; what fits no signature at all
//! is found when the expression is compiled.

mod conversion;
pub mod format;
mod list;
pub mod net;
mod operator;
mod optional;
mod quantity;
mod regular;
pub mod semver;
mod text;
pub mod time;

use super::authorization;
use super::cost::Cost;
use super::error::EvalError;
use super::types::{self, Type};
use super::value::Value;
use api_types::custom::patterns;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What a function gives.
pub type Given<'a> = Result<Value<'a>, EvalError>;

/// Patterns that this evaluation compiled.
#[derive(Debug, Default)]
pub struct Regexes(HashMap<String, regex::Regex>);

impl Regexes {
    pub fn get(&mut self, pattern: &str) -> Result<&regex::Regex, EvalError> {
        if !self.0.contains_key(pattern) {
            let regex = patterns::compile(pattern).map_err(EvalError::failed)?;
            self.0.insert(pattern.to_owned(), regex);
        }
        self.0.get(pattern).ok_or(EvalError::NoSuchOverload)
    }
}

pub type Run = for<'a> fn(&mut Regexes, &[Value<'a>]) -> Given<'a>;

/// A function as its row has it.
pub type Row = (&'static str, &'static [&'static str], Run, Cost);

#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    pub overloads: Vec<Overload>,
    pub run: Run,
    pub cost: Cost,
}

#[derive(Debug)]
pub struct Overload {
    pub member: bool,
    /// The receiver first, where there is one.
    pub args: Vec<Type>,
    pub result: Type,
    pub params: u32,
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    let tables = [
        operator::TABLE,
        conversion::TABLE,
        text::TABLE,
        list::TABLE,
        time::TABLE,
        regular::TABLE,
        optional::TABLE,
        net::TABLE,
        quantity::TABLE,
        semver::TABLE,
        format::TABLE,
        authorization::TABLE,
    ];
    let mut all = HashMap::new();
    for (name, signatures, run, cost) in tables.into_iter().flatten().copied() {
        let overloads = signatures.iter().map(|text| overload(text)).collect();
        let function = Function { name, overloads, run, cost };
        let before = all.insert(name, function);
        assert!(before.is_none(), "{name} has one row");
    }
    all
});

pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.get(name)
}

/// Reads a signature.
fn overload(text: &str) -> Overload {
    let (args, result) = text.rsplit_once(' ').expect("a signature ends with its result");
    let (receiver, args) = match args.split_once(".(") {
        Some((receiver, args)) => (Some(receiver), args),
        None => (None, args.trim_start_matches('(')),
    };
    let args = args.strip_suffix(')').expect("arguments are in parentheses");
    let mut params = 0;
    let mut all: Vec<Type> = receiver.into_iter().map(|text| read(text, &mut params)).collect();
    all.extend(split(args).into_iter().map(|text| read(text, &mut params)));
    let result = read(result, &mut params);
    Overload { member: receiver.is_some(), args: all, result, params }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (place, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

fn read(text: &str, params: &mut u32) -> Type {
    if let Some((name, inner)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let parts = split(inner);
        return match (name, parts.as_slice()) {
            ("list", [of]) => Type::list(read(of, params)),
            ("optional", [of]) => Type::optional(read(of, params)),
            ("type", [of]) => Type::Type(read(of, params).into()),
            ("map", [key, value]) => Type::map(read(key, params), read(value, params)),
            _ => unreachable!("{text} is no type"),
        };
    }
    match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "URL" => types::URL,
        "IP" => types::IP,
        "CIDR" => types::CIDR,
        "Quantity" => types::QUANTITY,
        "Semver" => types::SEMVER,
        "Format" => types::FORMAT,
        "Authorizer" => types::AUTHORIZER,
        "PathCheck" => types::PATH_CHECK,
        "GroupCheck" => types::GROUP_CHECK,
        "ResourceCheck" => types::RESOURCE_CHECK,
        "Decision" => types::DECISION,
        "A" | "B" => {
            let place = u32::from(text == "B");
            *params = (*params).max(place + 1);
            Type::Param(place)
        }
        _ => unreachable!("{text} is no type"),
    }
}
