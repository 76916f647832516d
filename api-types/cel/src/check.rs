//! The checker: gives every part of an expression its type, finds variables and functions, and says what is
//! wrong in upstream's words. What has the type `dyn` is left to the evaluation.

use super::Env;
use super::error::{CompileError, Issue};
use super::library::{self, Function};
use super::made;
use super::node::{Access, DEEPEST, Fold, Node, NodeKind, Select, Step};
use super::parse::{GATHERED, MAP_INSERT};
use super::types::{self, Type};
use super::value::{Text, Value};
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, SourceInfo,
    operators,
};

/// Checks a syntax tree.
///
/// # Errors
/// All mistakes that were found.
pub fn check(
    env: &Env,
    source: &str,
    tree: &IdedExpr,
    info: &SourceInfo,
) -> Result<(Node, Vec<usize>), CompileError> {
    let mut checker = Checker {
        env,
        source,
        info,
        issues: Vec::new(),
        bindings: Vec::new(),
        locals: Vec::new(),
        used: Vec::new(),
        mixed: 0,
        depth: 0,
    };
    let mut node = checker.node(tree);
    if !checker.issues.is_empty() {
        let issues = checker.issues;
        return Err(CompileError { text: source.to_owned(), issues });
    }
    checker.settle(&mut node);
    Ok((node, checker.used))
}

struct Checker<'e> {
    env: &'e Env,
    source: &'e str,
    info: &'e SourceInfo,
    issues: Vec<Issue>,
    /// What type variables stand for.
    bindings: Vec<Option<Type>>,
    locals: Vec<(String, Type)>,
    /// Variables of the environment that are named.
    used: Vec<usize>,
    /// Calls around that take lists of anything.
    mixed: usize,
    depth: usize,
}

/// Types that can be named.
const NAMES: &[(&str, Type)] = &[
    ("bool", Type::Bool),
    ("int", Type::Int),
    ("uint", Type::Uint),
    ("double", Type::Double),
    ("string", Type::String),
    ("bytes", Type::Bytes),
    ("null_type", Type::Null),
    ("google.protobuf.Duration", Type::Duration),
    ("google.protobuf.Timestamp", Type::Timestamp),
    ("list", Type::Dyn),
    ("map", Type::Dyn),
    ("type", Type::Dyn),
    ("optional_type", Type::Dyn),
    ("kubernetes.URL", types::URL),
    ("net.IP", types::IP),
    ("net.CIDR", types::CIDR),
    ("kubernetes.Quantity", types::QUANTITY),
    ("kubernetes.Semver", types::SEMVER),
    ("kubernetes.NamedFormat", types::FORMAT),
];

impl Checker<'_> {
    fn issue(&mut self, id: u64, message: impl Into<String>) {
        let start = self.info.offset_for(id).map_or(0, |(start, _)| start as usize);
        let before: Vec<char> = self.source.chars().take(start).collect();
        let line = before.iter().filter(|c| **c == '\n').count() + 1;
        let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
        self.issues.push(Issue { line, column, message: message.into() });
    }

    fn failed(&mut self, id: u64, message: impl Into<String>) -> Node {
        self.issue(id, message);
        Node { ty: Type::Dyn, kind: NodeKind::Const(Value::Null) }
    }

    fn undeclared(&mut self, id: u64, name: &str) -> Node {
        let name = name.trim_start_matches('.');
        self.failed(id, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn node(&mut self, expr: &IdedExpr) -> Node {
        self.depth += 1;
        if self.depth > DEEPEST {
            self.depth -= 1;
            if self.issues.is_empty() {
                self.issue(expr.id, format!("expression recursion limit exceeded: {DEEPEST}"));
            }
            return Node { ty: Type::Dyn, kind: NodeKind::Const(Value::Null) };
        }
        let node = match &expr.expr {
            Expr::Unspecified => self.failed(expr.id, "unspecified expression"),
            Expr::Literal(literal) => literal_node(literal),
            Expr::Ident(name) => self.ident(expr.id, name),
            Expr::Select(select) => {
                let name = qualified(expr);
                if let Some(named) = name.as_deref().and_then(type_named) {
                    named
                } else {
                    let access = if select.test { Access::Test } else { Access::Plain };
                    self.select(expr.id, &select.operand, &select.field, access)
                }
            }
            Expr::Call(call) => self.call(expr.id, call),
            Expr::List(list) => {
                let mut of: Option<Type> = None;
                let mut items = Vec::new();
                for (place, item) in list.elements.iter().enumerate() {
                    let optional = list.optional_indices.contains(&place);
                    let node = self.node(item);
                    let ty = self.unwrapped(item.id, node.ty.clone(), optional);
                    of = Some(self.joined(item.id, of, ty));
                    items.push((node, optional));
                }
                let of = of.unwrap_or_else(|| self.variable());
                Node { ty: Type::list(of), kind: NodeKind::List(items) }
            }
            Expr::Map(map) => self.map(&map.entries),
            Expr::Struct(object) => self.make(expr.id, &object.type_name, &object.entries),
            Expr::Comprehension(fold) => self.fold(fold),
        };
        self.depth -= 1;
        node
    }

    fn variable(&mut self) -> Type {
        self.bindings.push(None);
        Type::Param(self.bindings.len() as u32 - 1)
    }

    fn ident(&mut self, id: u64, name: &str) -> Node {
        let plain = name.trim_start_matches('.');
        if plain == name
            && let Some(place) = self.locals.iter().rposition(|(own, _)| own == name)
        {
            return Node { ty: self.locals[place].1.clone(), kind: NodeKind::Local(place) };
        }
        if let Some(place) = self.env.place(plain) {
            self.used.push(place);
            return Node { ty: self.env.variables[place].ty.clone(), kind: NodeKind::Variable(place) };
        }
        type_named(plain).unwrap_or_else(|| self.undeclared(id, name))
    }

    fn select(&mut self, id: u64, operand: &IdedExpr, field: &str, access: Access) -> Node {
        if let Expr::Ident(name) = &operand.expr
            && name == "variables"
            && !self.locals.iter().any(|(own, _)| own == name)
            && self.env.has_computed
        {
            let Some(place) = self.env.computed.iter().position(|(own, _)| own == field) else {
                return self.failed(id, format!("undefined field '{field}'"));
            };
            let ty = self.env.computed[place].1.clone();
            let kind = match access {
                Access::Test => NodeKind::Const(Value::Bool(true)),
                _ => NodeKind::Computed(place),
            };
            return Node { ty: if access == Access::Test { Type::Bool } else { ty }, kind };
        }
        let operand = self.node(operand);
        let of = self.resolve(&operand.ty);
        let (of, wrapped) = match &of {
            Type::Optional(inner) => ((**inner).clone(), true),
            _ => (of, false),
        };
        let ty = match &of {
            Type::Dyn | Type::Any | Type::Param(_) => Type::Dyn,
            Type::Map(_, value) => (**value).clone(),
            other if *other == types::AUTHORIZER && field == "requestResource" => types::RESOURCE_CHECK,
            Type::Object(object) if made::named(&object.name).is_some() && self.env.makes => {
                match made::field(&object.name, field) {
                    Some(ty) => ty,
                    None => return self.failed(id, format!("undefined field '{field}'")),
                }
            }
            Type::Object(object) => match object.fields.get(field) {
                Some(decl) => decl.ty.clone(),
                None => return self.failed(id, format!("undefined field '{field}'")),
            },
            other => {
                let text = format!("type '{other}' does not support field selection");
                return self.failed(id, text);
            }
        };
        let ty = match access {
            Access::Test => Type::Bool,
            Access::Optional => optional(ty),
            Access::Plain if wrapped => optional(ty),
            Access::Plain => ty,
        };
        let select = Select { operand, field: field.to_owned(), plain: types::unescape(field), access };
        Node { ty, kind: NodeKind::Select(Box::new(select)) }
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Node {
        let name = call.func_name.as_str();
        if name == operators::OPT_SELECT {
            let Some(field) = call.args.get(1).and_then(text_literal) else {
                return self.failed(id, "unsupported optional field selection");
            };
            return self.select(id, &call.args[0], field, Access::Optional);
        }
        // A function in a namespace: sets.contains(…), optional.of(…).
        let namespaced = call.target.as_deref().and_then(qualified).map(|prefix| {
            let full = format!("{prefix}.{name}");
            library::find(full.trim_start_matches('.'))
        });
        let (function, target) = match namespaced {
            Some(Some(function)) => (Some(function), None),
            _ => (library::find(name.trim_start_matches('.')), call.target.as_deref()),
        };
        let mut args: Vec<Node> = Vec::with_capacity(call.args.len() + 1);
        if let Some(target) = target {
            args.push(self.node(target));
        }
        let mixes = usize::from(name == "format");
        self.mixed += mixes;
        for arg in &call.args {
            let node = self.node(arg);
            args.push(node);
        }
        self.mixed -= mixes;
        let function = function.filter(|own| own.name != made::ESCAPE_KEY || self.env.makes);
        let Some(function) = function else {
            return self.undeclared(id, name);
        };
        let Some(ty) = self.overload(id, function, target.is_some(), &args) else {
            return Node { ty: Type::Dyn, kind: NodeKind::Const(Value::Null) };
        };
        self.literals(id, name, &call.args);
        let mut args = args.into_iter();
        let mut next = || Box::new(args.next().expect("the overload has as many arguments"));
        let kind = match name {
            operators::LOGICAL_AND => NodeKind::And(next(), next()),
            operators::LOGICAL_OR => NodeKind::Or(next(), next()),
            operators::NOT_STRICTLY_FALSE => NodeKind::NotStrictlyFalse(next()),
            operators::INDEX => NodeKind::Index(next(), next(), Access::Plain),
            operators::OPT_INDEX => NodeKind::Index(next(), next(), Access::Optional),
            operators::CONDITIONAL => NodeKind::Conditional(Box::new([*next(), *next(), *next()])),
            _ => NodeKind::Call(function, args.collect()),
        };
        Node { ty, kind }
    }

    /// Literals that must be of a form: patterns, durations, timestamps.
    fn literals(&mut self, id: u64, name: &str, args: &[IdedExpr]) {
        let Some((arg, text)) = args.first().and_then(|arg| Some((arg.id, text_literal(arg)?))) else {
            return;
        };
        let _ = id;
        let wrong = match name {
            "matches" if args.len() == 1 => {
                api_types::custom::patterns::compile(text).is_err().then_some("invalid matches argument")
            }
            "duration" => {
                library::time::parse_duration(text).is_none().then_some("invalid duration argument")
            }
            "timestamp" => text.parse::<jiff::Timestamp>().is_err().then_some("invalid timestamp argument"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.issue(arg, wrong);
        }
    }

    /// The result's type, of all overloads that fit.
    fn overload(
        &mut self,
        id: u64,
        function: &'static Function,
        member: bool,
        args: &[Node],
    ) -> Option<Type> {
        let mut result: Option<Type> = None;
        for overload in &function.overloads {
            if overload.member != member || overload.args.len() != args.len() {
                continue;
            }
            let before = self.bindings.clone();
            let fresh: Vec<Type> = (0..overload.params).map(|_| self.variable()).collect();
            let fits = overload.args.iter().zip(args).all(|(to, arg)| {
                let to = instantiate(to, &fresh);
                self.assignable(&to, &arg.ty.clone())
            });
            if !fits {
                self.bindings = before;
                continue;
            }
            let own = instantiate(&overload.result, &fresh);
            result = Some(match result {
                None => own,
                Some(earlier) => {
                    let (earlier, own) = (self.resolve(&earlier), self.resolve(&own));
                    if earlier == own { own } else { Type::Dyn }
                }
            });
        }
        if result.is_none() {
            let shown: Vec<String> = args.iter().map(|arg| self.resolve(&arg.ty).to_string()).collect();
            let signature = match shown.split_first() {
                Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
                _ => format!("({})", shown.join(", ")),
            };
            let name = function.name;
            self.issue(id, format!("found no matching overload for '{name}' applied to '{signature}'"));
        }
        result
    }

    fn map(&mut self, entries: &[IdedEntryExpr]) -> Node {
        let (mut key_type, mut value_type): (Option<Type>, Option<Type>) = (None, None);
        let mut nodes = Vec::new();
        for entry in entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let (key, value) = (self.node(&entry.key), self.node(&entry.value));
            key_type = Some(self.joined(entry.key.id, key_type, key.ty.clone()));
            let ty = self.unwrapped(entry.value.id, value.ty.clone(), entry.optional);
            value_type = Some(self.joined(entry.value.id, value_type, ty));
            nodes.push((key, value, entry.optional));
        }
        let key = key_type.unwrap_or_else(|| self.variable());
        let value = value_type.unwrap_or_else(|| self.variable());
        Node { ty: Type::map(key, value), kind: NodeKind::Map(nodes) }
    }

    /// An object of a named type.
    fn make(&mut self, id: u64, name: &str, entries: &[IdedEntryExpr]) -> Node {
        let name = name.trim_start_matches('.');
        let Some(ty) = made::named(name).filter(|_| self.env.makes) else { return self.undeclared(id, name) };
        let mut fields = Vec::new();
        for entry in entries {
            let EntryExpr::StructField(own) = &entry.expr else { continue };
            let value = self.node(&own.value);
            let Some(expected) = made::field(name, &own.field) else {
                self.issue(entry.id, format!("undefined field '{}'", own.field));
                continue;
            };
            let found = self.unwrapped(own.value.id, value.ty.clone(), own.optional);
            if !self.assignable(&expected, &found) {
                let found = self.resolve(&found);
                let text = format!(
                    "expected type of field '{}' is '{expected}' but provided type is '{found}'",
                    own.field
                );
                self.issue(entry.id, text);
            }
            fields.push((types::unescape(&own.field).into(), value, own.optional));
        }
        Node { ty, kind: NodeKind::Make(name.into(), fields) }
    }

    /// The element's type, without `optional` where the element is one.
    fn unwrapped(&mut self, id: u64, ty: Type, optional: bool) -> Type {
        if !optional {
            return ty;
        }
        match self.resolve(&ty) {
            Type::Optional(inner) => (*inner).clone(),
            Type::Dyn | Type::Any => Type::Dyn,
            other => {
                self.issue(id, format!("expected type 'optional_type({other})' but found '{other}'"));
                Type::Dyn
            }
        }
    }

    /// The type of an element that stands beside others.
    fn joined(&mut self, id: u64, so_far: Option<Type>, ty: Type) -> Type {
        let Some(so_far) = so_far else { return ty };
        if self.assignable(&so_far, &ty) {
            return if self.resolve(&ty).is_dyn() { Type::Dyn } else { so_far };
        }
        if self.assignable(&ty, &so_far) {
            return ty;
        }
        if self.mixed > 0 {
            return Type::Dyn;
        }
        let (expected, found) = (self.resolve(&so_far), self.resolve(&ty));
        self.issue(id, format!("expected type '{expected}' but found '{found}'"));
        so_far
    }

    fn fold(&mut self, fold: &ComprehensionExpr) -> Node {
        let range = self.node(&fold.iter_range);
        let init = self.node(&fold.accu_init);
        let pairs = fold.iter_var2.is_some();
        let (first, second) = match self.resolve(&range.ty) {
            Type::List(of) if pairs => (Type::Int, (*of).clone()),
            Type::List(of) => ((*of).clone(), Type::Dyn),
            Type::Map(key, value) => ((*key).clone(), (*value).clone()),
            Type::Dyn | Type::Param(_) => (Type::Dyn, Type::Dyn),
            other => {
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.issue(fold.iter_range.id, text);
                (Type::Dyn, Type::Dyn)
            }
        };
        let place = self.locals.len();
        self.locals.push((fold.accu_var.clone(), init.ty.clone()));
        self.locals.push((fold.iter_var.clone(), first));
        if let Some(name) = &fold.iter_var2 {
            self.locals.push((name.clone(), second));
        }
        let condition = self.node(&fold.loop_cond);
        self.expect(fold.loop_cond.id, &Type::Bool, &condition.ty);
        let step = self.node(&fold.loop_step);
        self.expect(fold.loop_step.id, &init.ty, &step.ty);
        self.locals.truncate(place + 1);
        let result = self.node(&fold.result);
        self.locals.truncate(place);
        let ty = result.ty.clone();
        let step = if fold.accu_var == GATHERED { gathering(step, place) } else { Step::Value(step) };
        let fold = Fold { range, pairs, init, condition, step, result };
        Node { ty, kind: NodeKind::Fold(Box::new(fold)) }
    }

    fn expect(&mut self, id: u64, to: &Type, from: &Type) {
        if !self.assignable(to, from) {
            let (expected, found) = (self.resolve(to), self.resolve(from));
            self.issue(id, format!("expected type '{expected}' but found '{found}'"));
        }
    }

    /// Whether a value of type `from` can stand where `to` is asked for; binds type variables.
    fn assignable(&mut self, to: &Type, from: &Type) -> bool {
        match (to, from) {
            (Type::Param(a), Type::Param(b)) if a == b => true,
            (Type::Param(place), _) => match self.bindings[*place as usize].clone() {
                None => self.bind(*place, from),
                Some(bound) => {
                    let before = self.bindings.clone();
                    if self.assignable(&bound, from) {
                        if self.resolve(from).is_dyn() {
                            self.bindings[*place as usize] = Some(Type::Dyn);
                        }
                        return true;
                    }
                    self.bindings = before;
                    let wider = self.assignable(from, &bound);
                    if wider {
                        self.bindings[*place as usize] = Some(from.clone());
                    }
                    wider
                }
            },
            (_, Type::Param(place)) => match self.bindings[*place as usize].clone() {
                None => self.bind(*place, to),
                Some(bound) => self.assignable(to, &bound),
            },
            (Type::Dyn | Type::Any, _) | (_, Type::Dyn | Type::Any) => true,
            (
                Type::Object(_) | Type::Duration | Type::Timestamp | Type::Opaque(_) | Type::Optional(_),
                Type::Null,
            ) => true,
            (Type::List(a), Type::List(b))
            | (Type::Optional(a), Type::Optional(b))
            | (Type::Type(a), Type::Type(b)) => self.assignable(a, b),
            (Type::Map(k, v), Type::Map(l, w)) => self.assignable(k, l) && self.assignable(v, w),
            (a, b) => a == b,
        }
    }

    fn bind(&mut self, place: u32, ty: &Type) -> bool {
        let ty = self.resolve(ty);
        if mentions(&ty, place) {
            return matches!(ty, Type::Param(_));
        }
        self.bindings[place as usize] = Some(ty);
        true
    }

    /// A type with its variables replaced, as far as they are known.
    fn resolve(&self, ty: &Type) -> Type {
        match ty {
            Type::Param(place) => match &self.bindings[*place as usize] {
                Some(bound) => self.resolve(bound),
                None => ty.clone(),
            },
            Type::List(of) => Type::list(self.resolve(of)),
            Type::Optional(of) => Type::optional(self.resolve(of)),
            Type::Type(of) => Type::Type(self.resolve(of).into()),
            Type::Map(key, value) => Type::map(self.resolve(key), self.resolve(value)),
            other => other.clone(),
        }
    }

    /// Writes what types came out as into the tree.
    fn settle(&self, node: &mut Node) {
        node.ty = known(self.resolve(&node.ty));
        let all = |nodes: &mut dyn Iterator<Item = &mut Node>| nodes.for_each(|node| self.settle(node));
        match &mut node.kind {
            NodeKind::Const(_) | NodeKind::Variable(_) | NodeKind::Computed(_) | NodeKind::Local(_) => {}
            NodeKind::Select(select) => self.settle(&mut select.operand),
            NodeKind::Index(a, b, _) | NodeKind::And(a, b) | NodeKind::Or(a, b) => {
                self.settle(a);
                self.settle(b);
            }
            NodeKind::NotStrictlyFalse(inner) => self.settle(inner),
            NodeKind::Call(_, args) => all(&mut args.iter_mut()),
            NodeKind::Conditional(parts) => all(&mut parts.iter_mut()),
            NodeKind::List(items) => all(&mut items.iter_mut().map(|(node, _)| node)),
            NodeKind::Map(entries) => all(&mut entries.iter_mut().flat_map(|(key, value, _)| [key, value])),
            NodeKind::Make(_, fields) => all(&mut fields.iter_mut().map(|(_, value, _)| value)),
            NodeKind::Fold(fold) => {
                let Fold { range, init, condition, step, result, .. } = &mut **fold;
                all(&mut [range, init, condition, result].into_iter());
                match step {
                    Step::Value(node) => self.settle(node),
                    Step::Append(filter, node) | Step::Merge(filter, node) => {
                        all(&mut filter.iter_mut().chain([node]));
                    }
                    Step::Insert(filter, key, value) => all(&mut filter.iter_mut().chain([key, value])),
                }
            }
        }
    }
}

/// Recognizes a step that adds to what is gathered.
fn gathering(step: Node, place: usize) -> Step {
    let is_gathered = |node: &Node| matches!(node.kind, NodeKind::Local(own) if own == place);
    let adds = |node: &Node| match &node.kind {
        NodeKind::Call(function, args) if is_gathered(&args[0]) => match (function.name, args.as_slice()) {
            (operators::ADD, [_, Node { kind: NodeKind::List(items), .. }]) => {
                matches!(items.as_slice(), [(_, false)])
            }
            (MAP_INSERT, _) => true,
            _ => false,
        },
        _ => false,
    };
    let filtered = match &step.kind {
        NodeKind::Conditional(parts) => adds(&parts[1]) && is_gathered(&parts[2]),
        _ => false,
    };
    if !filtered && !adds(&step) {
        return Step::Value(step);
    }
    let (filter, step) = match step.kind {
        NodeKind::Conditional(parts) => {
            let [filter, step, _] = *parts;
            (Some(filter), step)
        }
        kind => (None, Node { ty: step.ty, kind }),
    };
    let NodeKind::Call(_, mut args) = step.kind else { return Step::Value(step) };
    match (args.len(), args.pop()) {
        (3, Some(value)) => match args.pop() {
            Some(key) => Step::Insert(filter, key, value),
            None => Step::Value(value),
        },
        (_, Some(Node { kind: NodeKind::List(mut items), ty })) => match items.pop() {
            Some((item, _)) => Step::Append(filter, item),
            None => Step::Value(Node { ty, kind: NodeKind::List(items) }),
        },
        (_, Some(entries)) => Step::Merge(filter, entries),
        (_, None) => unreachable!("a step that adds has something to add"),
    }
}

fn optional(ty: Type) -> Type {
    if matches!(ty, Type::Optional(_)) { ty } else { Type::optional(ty) }
}

/// Variables that nothing decided are anything.
fn known(ty: Type) -> Type {
    match ty {
        Type::Param(_) => Type::Dyn,
        Type::List(of) => Type::list(known((*of).clone())),
        Type::Optional(of) => Type::optional(known((*of).clone())),
        Type::Map(key, value) => Type::map(known((*key).clone()), known((*value).clone())),
        other => other,
    }
}

fn mentions(ty: &Type, place: u32) -> bool {
    match ty {
        Type::Param(own) => *own == place,
        Type::List(of) | Type::Optional(of) | Type::Type(of) => mentions(of, place),
        Type::Map(key, value) => mentions(key, place) || mentions(value, place),
        _ => false,
    }
}

fn instantiate(ty: &Type, fresh: &[Type]) -> Type {
    match ty {
        Type::Param(place) => fresh[*place as usize].clone(),
        Type::List(of) => Type::list(instantiate(of, fresh)),
        Type::Optional(of) => Type::optional(instantiate(of, fresh)),
        Type::Type(of) => Type::Type(instantiate(of, fresh).into()),
        Type::Map(key, value) => Type::map(instantiate(key, fresh), instantiate(value, fresh)),
        other => other.clone(),
    }
}

fn literal_node(literal: &LiteralValue) -> Node {
    let (ty, value) = match literal {
        LiteralValue::Boolean(b) => (Type::Bool, Value::Bool(*b.inner())),
        LiteralValue::Bytes(bytes) => (Type::Bytes, Value::Bytes(bytes.inner().into())),
        LiteralValue::Double(f) => (Type::Double, Value::Double(*f.inner())),
        LiteralValue::Int(n) => (Type::Int, Value::Int(*n.inner())),
        LiteralValue::Null => (Type::Null, Value::Null),
        LiteralValue::String(text) => (Type::String, Value::text(text.inner())),
        LiteralValue::UInt(n) => (Type::Uint, Value::Uint(*n.inner())),
    };
    Node { ty, kind: NodeKind::Const(value) }
}

fn text_literal(expr: &IdedExpr) -> Option<&str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

fn type_named(name: &str) -> Option<Node> {
    let (name, ty) = NAMES.iter().find(|(own, _)| *own == name)?;
    let kind = NodeKind::Const(Value::Type(Text::Borrowed(name)));
    Some(Node { ty: Type::Type(ty.clone().into()), kind })
}

/// `a.b.c` as one name.
fn qualified(expr: &IdedExpr) -> Option<String> {
    /// Names of functions and types have no more parts.
    const PARTS: usize = 4;
    let (mut parts, mut at) = (Vec::new(), &expr.expr);
    while let Expr::Select(select) = at {
        if select.test || parts.len() == PARTS {
            return None;
        }
        parts.push(select.field.as_str());
        at = &select.operand.expr;
    }
    let Expr::Ident(name) = at else { return None };
    parts.push(name);
    parts.reverse();
    Some(parts.join("."))
}
