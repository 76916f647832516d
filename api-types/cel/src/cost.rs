//! What calls cost: what they did cost when they ran, and what they can cost at most by what is declared of
//! their arguments. The numbers are upstream's: they decide which rules may be written.

use super::Env;
use super::node::{Fold, Node, NodeKind, Step};
use super::types::{Decl, Type};
use super::value::Value;
use std::sync::Arc;

/// How a function's cost is counted. Sizes are of characters, bytes or elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cost {
    Free,
    One,
    Fixed(u64),
    /// A tenth of the first argument's size.
    Scan,
    /// The same, of a text that is all that is known about the result.
    ScanSame,
    /// A tenth of the second argument's size.
    ScanSecond,
    ScanTwice,
    ScanFormat,
    ScanIp,
    ScanList,
    Quote,
    /// A walk through a list, or a text.
    Traverse,
    Contains,
    Regex,
    Replace,
    Split,
    Join,
    InList,
    /// A tenth of the smaller size.
    Compare,
    Concat,
    /// Each of one with each of the other.
    Product,
    Range,
    ContainsIp,
    ContainsCidr,
    Validate,
    Selector,
}

const TENTH: f64 = 0.1;

fn part(size: u64, factor: f64) -> u64 {
    let cost = (size as f64 * factor).ceil();
    if cost >= u64::MAX as f64 { u64::MAX } else { cost as u64 }
}

fn regex(text: u64, pattern: u64) -> u64 {
    part(text.saturating_add(1), TENTH).saturating_mul(part(pattern, 0.25))
}

fn selector(size: u64) -> u64 {
    10u64.saturating_add(part(size, TENTH)).saturating_add(part(part(size, 0.5), 50.0))
}

impl Cost {
    /// What a call did cost.
    pub fn actual(self, args: &[Value<'_>], result: &Value<'_>) -> u64 {
        let size = |place: usize| args.get(place).map_or(0, Value::weight);
        match self {
            Self::Free => 0,
            Self::One => 1,
            Self::Fixed(cost) => cost,
            Self::Scan | Self::ScanSame => part(size(0), TENTH),
            // COMPAT: upstream estimates by the affix and counts by the text.
            Self::ScanSecond | Self::ScanFormat | Self::Quote => part(size(0), TENTH),
            Self::ScanTwice => part(size(0), 2.0 * TENTH),
            Self::ScanIp => match &args[0] {
                Value::Cidr(_) => 1,
                _ => part(size(0), TENTH),
            },
            Self::ScanList => size(0).saturating_add(1),
            Self::Traverse => traversal(&args[0]),
            Self::Contains => part(size(0), TENTH).saturating_mul(part(size(1), TENTH)),
            Self::Regex => regex(size(0), size(1)),
            Self::Replace | Self::Split => part(size(0), 2.0 * TENTH),
            Self::Join => part(result.weight(), 2.0 * TENTH),
            Self::InList => match &args[1] {
                Value::List(_) | Value::Items(..) => size(1),
                _ => 1,
            },
            Self::Compare => part(size(0).min(size(1)), TENTH),
            Self::Concat => match &args[0] {
                Value::String(_) | Value::Bytes(_) => part(size(0).saturating_add(size(1)), TENTH),
                _ => 1,
            },
            Self::Product => {
                size(0).saturating_mul(if args.len() > 1 { size(1) } else { size(0) }).saturating_add(1)
            }
            Self::Range => result.weight().saturating_add(1),
            Self::ContainsIp => part(size(0) * 2, TENTH) + of_text(&args[1]),
            Self::ContainsCidr => part(size(0) * 2, TENTH) + part(size(0), TENTH) + 1 + of_text(&args[1]),
            Self::Validate => match &args[0] {
                Value::Format(format) => regex(size(1), format.pattern_size),
                _ => 1,
            },
            Self::Selector => selector(size(1)),
        }
    }
}

/// What reading a text for an address costs.
fn of_text(value: &Value<'_>) -> u64 {
    match value {
        Value::String(_) => part(value.weight(), TENTH),
        _ => 0,
    }
}

fn traversal(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => part(text.len() as u64, TENTH),
        Value::Bytes(bytes) => part(bytes.len() as u64, TENTH),
        Value::List(_) | Value::Items(..) => {
            let items = value.elements().unwrap_or_default();
            items.iter().fold(0u64, |sum, item| sum.saturating_add(traversal(item)))
        }
        Value::Map(_) | Value::Domains(_) | Value::Fields(..) => {
            let keys = value.keys().unwrap_or_default();
            keys.iter().fold(0u64, |sum, key| {
                let of = super::value::Key::of(key).and_then(|key| value.lookup(&key)).and_then(Result::ok);
                sum.saturating_add(traversal(key)).saturating_add(of.as_ref().map_or(0, traversal))
            })
        }
        _ => 1,
    }
}

/// What is known of a part of an expression: what it costs at most, how large what it gives is.
#[derive(Clone, Default)]
struct Estimate {
    cost: u64,
    size: Option<u64>,
    /// Sizes of the keys and values of what it gives.
    entry: Option<(u64, u64)>,
    decl: Option<Arc<Decl>>,
}

impl Estimate {
    fn size(&self) -> u64 {
        self.size.unwrap_or(u64::MAX)
    }
}

/// What an expression can cost at most.
pub fn estimate(env: &Env, root: &Node) -> u64 {
    Estimator { env, locals: Vec::new() }.node(root).cost
}

struct Estimator<'e> {
    env: &'e Env,
    locals: Vec<Estimate>,
}

impl Estimator<'_> {
    fn node(&mut self, node: &Node) -> Estimate {
        let mut found = self.kind(node);
        if found.size.is_none() {
            found.size = match &found.decl {
                Some(decl) => Some(decl.most),
                None if node.ty.is_scalar() => Some(1),
                None => None,
            };
        }
        found
    }

    fn kind(&mut self, node: &Node) -> Estimate {
        match &node.kind {
            NodeKind::Const(value) => Estimate { size: Some(value.weight()), ..Estimate::default() },
            NodeKind::Variable(place) => {
                let decl = self.env.variables[*place].decl.clone();
                Estimate { cost: 1, decl, ..Estimate::default() }
            }
            NodeKind::Computed(_) => Estimate { cost: 2, ..Estimate::default() },
            NodeKind::Local(place) => Estimate { cost: 1, ..self.locals[*place].clone() },
            NodeKind::Select(select) => {
                let of = self.node(&select.operand);
                if select.access == super::node::Access::Test {
                    return Estimate { cost: of.cost, size: Some(1), ..Estimate::default() };
                }
                let decl = of.decl.and_then(|decl| decl.field(&select.field));
                Estimate { cost: of.cost.saturating_add(1), decl, ..Estimate::default() }
            }
            NodeKind::Index(operand, index, _) => {
                let (of, index) = (self.node(operand), self.node(index));
                let cost = of.cost.saturating_add(index.cost).saturating_add(1);
                let decl = of.decl.and_then(|decl| decl.element.clone());
                Estimate { cost, size: of.entry.map(|(_, value)| value), decl, ..Estimate::default() }
            }
            NodeKind::Call(function, args) => {
                let args: Vec<(Estimate, &Type)> = args.iter().map(|arg| (self.node(arg), &arg.ty)).collect();
                let inner = args.iter().fold(0u64, |sum, (arg, _)| sum.saturating_add(arg.cost));
                let mut found = call(function.cost, &args);
                found.cost = found.cost.saturating_add(inner);
                found
            }
            NodeKind::And(a, b) | NodeKind::Or(a, b) => {
                let cost = self.node(a).cost.saturating_add(self.node(b).cost);
                Estimate { cost, size: Some(1), ..Estimate::default() }
            }
            NodeKind::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                let (condition, yes, no) = (self.node(condition), self.node(yes), self.node(no));
                let entry = yes.entry.zip(no.entry).map(|(a, b)| (a.0.max(b.0), a.1.max(b.1)));
                Estimate {
                    cost: condition.cost.saturating_add(yes.cost.max(no.cost)),
                    size: Some(yes.size().max(no.size())),
                    entry,
                    decl: None,
                }
            }
            NodeKind::NotStrictlyFalse(inner) => {
                let cost = self.node(inner).cost.saturating_add(1);
                Estimate { cost, size: Some(1), ..Estimate::default() }
            }
            NodeKind::List(items) => {
                let (mut cost, mut value) = (10u64, 0);
                for (item, _) in items {
                    let item = self.node(item);
                    cost = cost.saturating_add(item.cost);
                    value = value.max(item.size());
                }
                Estimate { cost, size: Some(items.len() as u64), entry: Some((1, value)), decl: None }
            }
            NodeKind::Map(entries) => {
                let (mut cost, mut sizes) = (30u64, (0, 0));
                for (key, value, _) in entries {
                    let (key, value) = (self.node(key), self.node(value));
                    cost = cost.saturating_add(key.cost).saturating_add(value.cost);
                    sizes = (sizes.0.max(key.size()), sizes.1.max(value.size()));
                }
                Estimate { cost, size: Some(entries.len() as u64), entry: Some(sizes), decl: None }
            }
            NodeKind::Make(_, fields) => {
                let mut cost = 40u64;
                for (_, value, _) in fields {
                    cost = cost.saturating_add(self.node(value).cost);
                }
                Estimate { cost, size: Some(fields.len() as u64), ..Estimate::default() }
            }
            NodeKind::Fold(fold) => self.fold(fold),
        }
    }

    fn fold(&mut self, fold: &Fold) -> Estimate {
        let range = self.node(&fold.range);
        let init = self.node(&fold.init);
        let base = self.locals.len();
        let is_list = matches!(fold.range.ty, Type::List(_));
        let is_map = matches!(fold.range.ty, Type::Map(..));
        // COMPAT: schemas say nothing about the keys of maps; upstream counts those as empty.
        let declared = range.decl.as_ref().filter(|_| is_map).map(|_| 0);
        let key = Estimate { size: range.entry.map(|(key, _)| key).or(declared), ..Estimate::default() };
        let value = Estimate {
            size: range.entry.map(|(_, value)| value),
            decl: range.decl.as_ref().and_then(|decl| decl.element.clone()),
            ..Estimate::default()
        };
        // COMPAT: what is looped over without being a field of `self` (a choice between two, a literal, what another
        // loop gives) is taken for `self` by upstream, so its elements are as large as that: an object counts nothing.
        let whole = self.env.variables.iter().find(|variable| variable.name == "self");
        let whole = whole.and_then(|variable| variable.decl.clone()).filter(|_| range.decl.is_none());
        let placed = |of: Estimate| match &whole {
            Some(whole) => Estimate { size: Some(whole.most), decl: Some(whole.clone()), ..of },
            None => of,
        };
        let (key, value) = (placed(key), placed(value));
        let of_type = |mut of: Estimate, ty: Option<&Type>| {
            if of.size.is_none() {
                of.size = of.decl.as_ref().map(|decl| decl.most);
            }
            if of.size.is_none() && ty.is_some_and(Type::is_scalar) {
                of.size = Some(1);
            }
            of
        };
        let (key_type, value_type) = match &fold.range.ty {
            Type::List(of) => (Some(&Type::Int), Some(&**of)),
            Type::Map(key, value) => (Some(&**key), Some(&**value)),
            _ => (None, None),
        };
        self.locals.push(Estimate { cost: 0, ..init.clone() });
        if fold.pairs {
            self.locals.push(of_type(key, key_type));
            self.locals.push(of_type(value, value_type));
        } else if is_map && !is_list {
            self.locals.push(of_type(key, key_type));
        } else {
            self.locals.push(of_type(value, value_type));
        }
        let condition = self.node(&fold.condition).cost;
        let (step, entry) = self.step(&fold.step);
        self.locals.truncate(base + 1);
        let result = self.node(&fold.result);
        self.locals.truncate(base);
        let rounds = range.size().saturating_mul(step.saturating_add(condition));
        let cost = range.cost.saturating_add(init.cost).saturating_add(rounds).saturating_add(result.cost);
        let gathers = matches!(fold.init.kind, NodeKind::List(_) | NodeKind::Map(_));
        let size = if gathers { Some(range.size()) } else { result.size };
        Estimate { cost, size, entry: if gathers { entry } else { None }, decl: None }
    }

    fn step(&mut self, step: &Step) -> (u64, Option<(u64, u64)>) {
        // What is left out of the tree: the gathered value, the list around the element, the call.
        const APPEND: u64 = 12;
        const INSERT: u64 = 2;
        match step {
            Step::Value(node) => (self.node(node).cost, None),
            Step::Append(filter, item) => {
                let item = self.node(item);
                (self.filtered(filter, item.cost.saturating_add(APPEND)), Some((1, item.size())))
            }
            Step::Insert(filter, key, value) => {
                let (key, value) = (self.node(key), self.node(value));
                let cost = key.cost.saturating_add(value.cost).saturating_add(INSERT);
                (self.filtered(filter, cost), Some((key.size(), value.size())))
            }
            Step::Merge(filter, entries) => {
                let entries = self.node(entries);
                (self.filtered(filter, entries.cost.saturating_add(INSERT)), entries.entry)
            }
        }
    }

    fn filtered(&mut self, filter: &Option<Node>, cost: u64) -> u64 {
        match filter {
            Some(filter) => self.node(filter).cost.saturating_add(cost.max(1)),
            None => cost,
        }
    }
}

/// What a call itself costs at most, and how large its result is.
fn call(cost: Cost, args: &[(Estimate, &Type)]) -> Estimate {
    let size = |place: usize| args.get(place).map_or(0, |(arg, _)| arg.size());
    let is_text =
        |place: usize| args.get(place).is_some_and(|(_, ty)| matches!(ty, Type::String | Type::Bytes));
    let element = || -> Option<u64> {
        let (list, ty) = args.first()?;
        let Type::List(of) = ty else { return None };
        if of.is_scalar() {
            return Some(1);
        }
        let declared = list.decl.as_ref().and_then(|decl| decl.element.as_ref()).map(|decl| decl.most);
        Some(declared.unwrap_or(u64::MAX))
    };
    let just = |cost: u64| Estimate { cost, ..Estimate::default() };
    let sized = |cost: u64, size: u64| Estimate { cost, size: Some(size), ..Estimate::default() };
    match cost {
        Cost::Free => just(0),
        Cost::One => just(1),
        Cost::Fixed(cost) => just(cost),
        Cost::Scan => sized(part(size(0), TENTH), size(0).saturating_mul(if is_text(0) { 4 } else { 1 })),
        Cost::ScanSame => sized(part(size(0), TENTH), size(0)),
        Cost::ScanSecond => just(part(size(1), TENTH)),
        Cost::ScanTwice => just(part(size(0), 2.0 * TENTH)),
        Cost::ScanFormat => just(part(size(0), TENTH)),
        Cost::ScanIp => match args.first() {
            Some((_, Type::Opaque(_))) => just(1),
            _ => just(part(size(0), TENTH)),
        },
        Cost::ScanList => sized(size(0).saturating_add(1), size(0)),
        Cost::Quote => sized(part(size(0), TENTH), size(0).saturating_mul(2).saturating_add(2)),
        Cost::Traverse => match (element(), args.first()) {
            (Some(element), Some((_, Type::List(of)))) => {
                let each = match **of {
                    Type::String | Type::Bytes => part(element, TENTH).saturating_add(1),
                    _ => 1,
                };
                just(size(0).saturating_mul(each))
            }
            _ => just(part(size(0), TENTH)),
        },
        Cost::Contains => just(part(size(0), TENTH).saturating_mul(part(size(1), TENTH))),
        Cost::Regex => sized(regex(size(0), size(1)), size(0)),
        Cost::Replace => {
            // The text between all characters at worst.
            let times = size(0).saturating_add(1);
            let result = times.saturating_mul(size(2)).saturating_add(size(0));
            sized(part(size(0), 2.0 * TENTH), result)
        }
        Cost::Split => sized(part(size(0), 2.0 * TENTH), size(0)),
        Cost::Join => {
            let items = size(0).saturating_mul(element().unwrap_or(u64::MAX));
            let between = size(1).saturating_mul(size(0).saturating_sub(1));
            let result = items.saturating_add(if args.len() > 1 { between } else { 0 });
            sized(part(result, TENTH), result)
        }
        Cost::InList => match args.get(1) {
            Some((_, Type::Map(..))) => just(1),
            _ => just(size(1)),
        },
        Cost::Compare => {
            let opaque = |place: usize| args.get(place).is_some_and(|(_, ty)| matches!(ty, Type::Opaque(_)));
            if opaque(0) && opaque(1) { just(1) } else { just(part(size(0).min(size(1)), TENTH)) }
        }
        Cost::Concat => match args.first() {
            Some((_, Type::List(_))) => {
                let entry = args[0].0.entry.zip(args[1].0.entry).map(|(a, b)| (a.0.max(b.0), a.1.max(b.1)));
                Estimate { cost: 1, size: Some(size(0).saturating_add(size(1))), entry, decl: None }
            }
            _ if is_text(0) && is_text(1) => {
                let all = size(0).saturating_add(size(1));
                sized(part(all, TENTH), all)
            }
            _ => just(1),
        },
        Cost::Product => {
            let other = if args.len() > 1 { size(1) } else { size(0) };
            sized(size(0).saturating_mul(other).saturating_add(1), size(0))
        }
        Cost::Range => just(1_000_000),
        Cost::ContainsIp => just(4 + if is_text(1) { part(size(1), TENTH) } else { 0 }),
        Cost::ContainsCidr => just(7 + if is_text(1) { part(size(1), TENTH) } else { 0 }),
        Cost::Validate => just(part(part(size(1), TENTH), 32.0)),
        Cost::Selector => just(selector(size(1))),
    }
}
