//! The evaluator: walks the checked tree, counts what upstream counts, and stops when it is too much.

use super::error::EvalError;
use super::library::Regexes;
use super::made::Made;
use super::node::{Access, Fold, Node, NodeKind, Select, Step};
use super::value::{Key, Text, Value};
use super::{CALL_LIMIT, Program};
use indexmap::IndexMap;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// Parts that one call may evaluate, whatever their costs: loops whose parts are free end too.
const STEPS: u64 = 20_000_000;

/// What an expression's names stand for.
#[derive(Debug, Default)]
pub struct Activation<'a> {
    values: Vec<Value<'a>>,
    programs: &'a [Program],
    results: RefCell<Vec<Option<Result<Value<'a>, EvalError>>>>,
    /// Cost of the variables that were computed since it was last asked for.
    computed_cost: Cell<u64>,
}

impl<'a> Activation<'a> {
    /// The values of an environment's variables, in their order, and the programs of those that are computed.
    pub fn new(values: Vec<Value<'a>>, programs: &'a [Program]) -> Self {
        let results = RefCell::new(programs.iter().map(|_| None).collect());
        Self { values, programs, results, computed_cost: Cell::new(0) }
    }

    fn computed(&self, place: usize) -> Result<Value<'a>, EvalError> {
        if let Some(Some(known)) = self.results.borrow().get(place) {
            return known.clone();
        }
        let Some(program) = self.programs.get(place) else {
            return Err(EvalError::NoSuchKey(place.to_string()));
        };
        let (result, cost) = run(&program.root, self);
        self.computed_cost.set(self.computed_cost.get().saturating_add(cost));
        self.results.borrow_mut()[place] = Some(result.clone());
        result
    }
}

pub fn run<'a>(root: &'a Node, activation: &Activation<'a>) -> (Result<Value<'a>, EvalError>, u64) {
    let mut run = Run { activation, locals: Vec::new(), cost: 0, steps: 0, regexes: Regexes::default() };
    let result = run.node(root);
    let cost = run.cost.saturating_add(activation.computed_cost.take());
    (result, cost)
}

struct Run<'r, 'a> {
    activation: &'r Activation<'a>,
    locals: Vec<Value<'a>>,
    cost: u64,
    steps: u64,
    regexes: Regexes,
}

type Given<'a> = Result<Value<'a>, EvalError>;

impl<'a> Run<'_, 'a> {
    fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > CALL_LIMIT { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    fn node(&mut self, node: &'a Node) -> Given<'a> {
        self.steps += 1;
        if self.steps > STEPS {
            return Err(EvalError::Interrupted);
        }
        match &node.kind {
            NodeKind::Const(value) => Ok(value.clone()),
            NodeKind::Variable(place) => {
                self.charge(1)?;
                Ok(self.activation.values.get(*place).cloned().unwrap_or(Value::Null))
            }
            NodeKind::Local(place) => {
                self.charge(1)?;
                Ok(self.locals[*place].clone())
            }
            NodeKind::Computed(place) => {
                self.charge(2)?;
                self.activation.computed(*place)
            }
            NodeKind::Select(select) => self.select(select),
            NodeKind::Index(operand, index, access) => self.index(operand, index, *access),
            NodeKind::Call(function, args) => {
                let mut values = Vec::with_capacity(args.len());
                for arg in args {
                    values.push(self.node(arg)?);
                }
                let result = (function.run)(&mut self.regexes, &values)?;
                self.charge(function.cost.actual(&values, &result))?;
                Ok(result)
            }
            NodeKind::And(left, right) => self.either(left, right, false),
            NodeKind::Or(left, right) => self.either(left, right, true),
            NodeKind::Conditional(parts) => match self.node(&parts[0])? {
                Value::Bool(true) => self.node(&parts[1]),
                Value::Bool(false) => self.node(&parts[2]),
                _ => Err(EvalError::NoSuchOverload),
            },
            NodeKind::NotStrictlyFalse(inner) => {
                self.charge(1)?;
                match self.node(inner) {
                    Ok(Value::Bool(b)) => Ok(Value::Bool(b)),
                    Err(error) if error.is_stop() => Err(error),
                    _ => Ok(Value::Bool(true)),
                }
            }
            NodeKind::List(items) => {
                self.charge(10)?;
                let mut list = Vec::with_capacity(items.len());
                for (item, optional) in items {
                    match (self.node(item)?, optional) {
                        (Value::Optional(Some(inner)), true) => list.push((*inner).clone()),
                        (Value::Optional(None), true) => {}
                        (value, _) => list.push(value),
                    }
                }
                Ok(Value::list(list))
            }
            NodeKind::Map(entries) => self.map(entries),
            NodeKind::Make(name, fields) => {
                self.charge(40)?;
                let mut made = IndexMap::with_capacity(fields.len());
                for (field, value, optional) in fields {
                    let value = match (self.node(value)?, optional) {
                        (Value::Optional(Some(inner)), true) => (*inner).clone(),
                        (Value::Optional(None), true) => continue,
                        (value, _) => value,
                    };
                    made.insert(field.clone(), value);
                }
                Ok(Value::Made(Arc::new(Made { name: name.clone(), fields: made })))
            }
            NodeKind::Fold(fold) => self.fold(fold),
        }
    }

    /// `&&` and `||`: what decides alone decides, even if the other side fails.
    fn either(&mut self, left: &'a Node, right: &'a Node, decides: bool) -> Given<'a> {
        let first = self.node(left);
        match &first {
            Ok(Value::Bool(b)) if *b == decides => return first,
            Err(error) if error.is_stop() => return first,
            _ => {}
        }
        let second = self.node(right);
        match (&first, &second) {
            (_, Ok(Value::Bool(b))) if *b == decides => second,
            (_, Err(error)) if error.is_stop() => second,
            (Err(_), _) => first,
            (Ok(Value::Bool(_)), Ok(Value::Bool(_)) | Err(_)) => second,
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    fn select(&mut self, select: &'a Select) -> Given<'a> {
        let operand = self.node(&select.operand)?;
        if select.access != Access::Test {
            self.charge(1)?;
        }
        let (operand, wrapped) = match operand {
            Value::Optional(Some(inner)) => ((*inner).clone(), true),
            Value::Optional(None) => {
                return Ok(match select.access {
                    Access::Test => Value::Bool(false),
                    _ => Value::NONE,
                });
            }
            other => (other, false),
        };
        if !matches!(operand, Value::Map(_) | Value::Domains(_) | Value::Fields(..) | Value::Made(_)) {
            return match (select.access, &operand) {
                (Access::Plain, Value::Authorization(check)) => {
                    check.request_resource().ok_or(EvalError::NoSuchOverload)
                }
                (Access::Optional, Value::Null) => Ok(Value::NONE),
                _ => Err(EvalError::NoSuchOverload),
            };
        }
        let found = operand.field(&select.field, &select.plain);
        match (select.access, found) {
            (Access::Test, found) => Ok(Value::Bool(found.is_some())),
            (Access::Plain, Some(found)) if !wrapped => found,
            (Access::Plain, None) if !wrapped => Err(EvalError::NoSuchKey(select.plain.clone())),
            (_, Some(found)) => found.map(|value| match value {
                Value::Optional(_) => value,
                value => Value::some(value),
            }),
            (_, None) => Ok(Value::NONE),
        }
    }

    fn index(&mut self, operand: &'a Node, index: &'a Node, access: Access) -> Given<'a> {
        let operand = self.node(operand)?;
        let index = self.node(index)?;
        self.charge(1)?;
        let (operand, wrapped) = match operand {
            Value::Optional(Some(inner)) => ((*inner).clone(), true),
            Value::Optional(None) => return Ok(Value::NONE),
            other => (other, false),
        };
        let lenient = wrapped || access == Access::Optional;
        let found = match &operand {
            Value::List(_) | Value::Items(..) => {
                let place = match &index {
                    Value::Int(n) => Some(*n),
                    Value::Uint(n) => i64::try_from(*n).ok(),
                    Value::Double(f) if f.fract() == 0.0 => Some(*f as i64),
                    _ => return Err(EvalError::NoSuchOverload),
                };
                let found = place.and_then(|n| usize::try_from(n).ok()).and_then(|n| operand.element(n));
                match found {
                    None if !lenient => {
                        let place = place.unwrap_or(-1);
                        return Err(EvalError::failed(format!("index out of bounds: {place}")));
                    }
                    found => found,
                }
            }
            Value::Map(_) | Value::Domains(_) | Value::Fields(..) => {
                let Some(key) = Key::of(&index) else { return Err(EvalError::NoSuchOverload) };
                match operand.lookup(&key) {
                    None if !lenient => return Err(EvalError::NoSuchKey(key.text().into_owned())),
                    found => found,
                }
            }
            _ => return Err(EvalError::NoSuchOverload),
        };
        match found {
            Some(found) if lenient => found.map(Value::some),
            Some(found) => found,
            None => Ok(Value::NONE),
        }
    }

    fn map(&mut self, entries: &'a [(Node, Node, bool)]) -> Given<'a> {
        self.charge(30)?;
        let mut map = IndexMap::with_capacity(entries.len());
        for (key, value, optional) in entries {
            let key = self.node(key)?;
            let Some(key) = Key::of(&key) else {
                return Err(EvalError::failed(format!("unsupported key type: {}", key.type_name())));
            };
            let value = match (self.node(value)?, optional) {
                (Value::Optional(Some(inner)), true) => (*inner).clone(),
                (Value::Optional(None), true) => continue,
                (value, _) => value,
            };
            map.insert(key, value);
        }
        Ok(Value::Map(Arc::new(map)))
    }

    fn fold(&mut self, fold: &'a Fold) -> Given<'a> {
        let range = self.node(&fold.range)?;
        let init = self.node(&fold.init)?;
        let base = self.locals.len();
        self.locals.push(init);
        let result = self.rounds(fold, &range, base);
        self.locals.truncate(base + 1);
        let result = match result {
            Ok(()) => self.node(&fold.result),
            Err(error) => Err(error),
        };
        self.locals.truncate(base);
        result
    }

    fn rounds(&mut self, fold: &'a Fold, range: &Value<'a>, base: usize) -> Result<(), EvalError> {
        let keys = range.keys();
        let count = match (&keys, range.size()) {
            (Some(keys), _) => keys.len(),
            (None, Some(size)) if matches!(range, Value::List(_) | Value::Items(..)) => size,
            _ => return Err(EvalError::NoSuchOverload),
        };
        let mut failed: Option<EvalError> = None;
        for place in 0..count {
            self.locals.truncate(base + 1);
            match &keys {
                Some(keys) => {
                    let key = keys[place].clone();
                    self.locals.push(key.clone());
                    if fold.pairs {
                        let of = Key::of(&key).and_then(|key| range.lookup(&key));
                        self.locals.push(of.ok_or(EvalError::NoSuchOverload)??);
                    }
                }
                None => {
                    if fold.pairs {
                        self.locals.push(Value::Int(place as i64));
                    }
                    self.locals.push(range.element(place).ok_or(EvalError::NoSuchOverload)??);
                }
            }
            // A round that failed is passed over by `&&` and `||` once another decides.
            let condition = match &failed {
                Some(_) => Ok(Value::Bool(true)),
                None => self.node(&fold.condition),
            };
            if matches!(condition?, Value::Bool(false)) {
                break;
            }
            match self.step(&fold.step, base, &mut failed) {
                Ok(()) => {}
                Err(error) if error.is_stop() => return Err(error),
                Err(error) => {
                    if !matches!(fold.step, Step::Value(_)) {
                        return Err(error);
                    }
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn step(&mut self, step: &'a Step, base: usize, failed: &mut Option<EvalError>) -> Result<(), EvalError> {
        match step {
            Step::Value(node) => {
                let next = self.round_value(node, failed)?;
                self.locals[base] = next;
            }
            Step::Append(filter, item) => {
                if self.passes(filter.as_ref())? {
                    let value = self.node(item)?;
                    self.charge(12)?;
                    if let Value::List(list) = &mut self.locals[base] {
                        Arc::make_mut(list).push(value);
                    }
                }
            }
            Step::Insert(filter, key, value) => {
                if self.passes(filter.as_ref())? {
                    let (key, value) = (self.node(key)?, self.node(value)?);
                    self.charge(2)?;
                    self.insert(base, &key, value)?;
                }
            }
            Step::Merge(filter, entries) => {
                if self.passes(filter.as_ref())? {
                    let entries = self.node(entries)?;
                    self.charge(2)?;
                    for key in entries.keys().ok_or(EvalError::NoSuchOverload)? {
                        let value = Key::of(&key).and_then(|key| entries.lookup(&key));
                        self.insert(base, &key, value.ok_or(EvalError::NoSuchOverload)??)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The next value of `all` and `exists`, whose earlier failures one that decides makes good.
    fn round_value(&mut self, node: &'a Node, failed: &mut Option<EvalError>) -> Given<'a> {
        let (NodeKind::And(_, right) | NodeKind::Or(_, right), Some(earlier)) = (&node.kind, failed.clone())
        else {
            return self.node(node);
        };
        let decides = matches!(node.kind, NodeKind::Or(..));
        match self.node(right) {
            Ok(Value::Bool(b)) if b == decides => {
                *failed = None;
                Ok(Value::Bool(b))
            }
            Err(error) if error.is_stop() => Err(error),
            _ => Err(earlier),
        }
    }

    fn passes(&mut self, filter: Option<&'a Node>) -> Result<bool, EvalError> {
        let Some(filter) = filter else { return Ok(true) };
        match self.node(filter)? {
            Value::Bool(true) => Ok(true),
            Value::Bool(false) => {
                self.charge(1)?;
                Ok(false)
            }
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    fn insert(&mut self, base: usize, key: &Value<'a>, value: Value<'a>) -> Result<(), EvalError> {
        let Some(key) = Key::of(key) else {
            return Err(EvalError::failed(format!("unsupported key type: {}", key.type_name())));
        };
        if let Value::Map(map) = &mut self.locals[base]
            && Arc::make_mut(map).insert(key.clone(), value).is_some()
        {
            return Err(EvalError::failed(format!("insert failed: key {} already exists", key.text())));
        }
        Ok(())
    }
}

impl From<&str> for Value<'_> {
    fn from(text: &str) -> Self {
        Value::String(Text::Shared(text.into()))
    }
}
