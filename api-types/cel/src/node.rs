//! A checked expression, ready to run: names are places, macros are loops, functions are found.

use super::library::Function;
use super::types::Type;
use super::value::Value;
use std::sync::Arc;

/// Deepest nesting that runs: the evaluator recurses.
pub const DEEPEST: usize = 200;

#[derive(Debug)]
pub struct Node {
    pub ty: Type,
    pub kind: NodeKind,
}

#[derive(Debug)]
pub enum NodeKind {
    Const(Value<'static>),
    /// A variable of the environment.
    Variable(usize),
    /// A variable that is computed when it is first asked for.
    Computed(usize),
    /// A variable of a loop around.
    Local(usize),
    Select(Box<Select>),
    Index(Box<Node>, Box<Node>, Access),
    Call(&'static Function, Vec<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Conditional(Box<[Node; 3]>),
    /// `true` unless the condition is false: a condition that fails goes on.
    NotStrictlyFalse(Box<Node>),
    /// With whether an element is optional.
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    /// The name of the type, and the fields with whether they are optional.
    Make(Arc<str>, Vec<(Box<str>, Node, bool)>),
    Fold(Box<Fold>),
}

impl Node {
    /// Whether a field of the variable at a place is selected here or below.
    pub fn selects(&self, place: usize, field: &str) -> bool {
        if let NodeKind::Select(select) = &self.kind
            && matches!(select.operand.kind, NodeKind::Variable(own) if own == place)
            && select.field == field
        {
            return true;
        }
        self.below().into_iter().any(|node| node.selects(place, field))
    }

    /// What it is made of.
    fn below(&self) -> Vec<&Self> {
        match &self.kind {
            NodeKind::Const(_) | NodeKind::Variable(_) | NodeKind::Computed(_) | NodeKind::Local(_) => {
                Vec::new()
            }
            NodeKind::Select(select) => vec![&select.operand],
            NodeKind::Index(of, at, _) => vec![of, at],
            NodeKind::Call(_, nodes) => nodes.iter().collect(),
            NodeKind::And(a, b) | NodeKind::Or(a, b) => vec![a, b],
            NodeKind::Conditional(three) => three.iter().collect(),
            NodeKind::NotStrictlyFalse(one) => vec![one],
            NodeKind::List(items) => items.iter().map(|(node, _)| node).collect(),
            NodeKind::Map(entries) => entries.iter().flat_map(|(key, value, _)| [key, value]).collect(),
            NodeKind::Make(_, fields) => fields.iter().map(|(_, node, _)| node).collect(),
            NodeKind::Fold(fold) => {
                let mut all = vec![&fold.range, &fold.init, &fold.condition, &fold.result];
                match &fold.step {
                    Step::Value(node) => all.push(node),
                    Step::Append(filter, node) | Step::Merge(filter, node) => {
                        all.extend(filter);
                        all.push(node);
                    }
                    Step::Insert(filter, key, value) => {
                        all.extend(filter);
                        all.extend([key, value]);
                    }
                }
                all
            }
        }
    }
}

/// How a field or an element is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It must be there.
    Plain,
    /// `.?` and `[?]`
    Optional,
    /// `has(…)`
    Test,
}

#[derive(Debug)]
pub struct Select {
    pub operand: Node,
    pub field: String,
    /// The field's name without escapes.
    pub plain: String,
    pub access: Access,
}

/// A loop: what `all`, `map` and the like become.
#[derive(Debug)]
pub struct Fold {
    pub range: Node,
    /// Whether places (of lists) or keys (of maps) are bound beside values.
    pub pairs: bool,
    pub init: Node,
    pub condition: Node,
    pub step: Step,
    pub result: Node,
}

/// What a round does. The locals of a loop are, in order, what it gathers and the one or two of its range.
#[derive(Debug)]
pub enum Step {
    /// The next value of what is gathered.
    Value(Node),
    /// Adds an element where the filter lets it: gathered in place, where concatenation would copy.
    Append(Option<Node>, Node),
    /// Adds an entry.
    Insert(Option<Node>, Node, Node),
    /// Adds the entries of a map.
    Merge(Option<Node>, Node),
}
