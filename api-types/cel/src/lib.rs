//! The Common Expression Language as Kubernetes has it (KEP-2876, API doc "Common Expression Language in
//! Kubernetes"): compiled when an expression is written, evaluated over JSON with bounded costs.
//!
//! `Env` names the variables; `Env::compile` gives a `Program` or upstream's words about what is wrong;
//! `Program::eval` runs it. The parser is that of the `cel` crate; types, costs, libraries and the evaluator
//! are here: an expression must stop when its costs are used up, and upstream's messages are part of the
//! API. Nothing here does I/O. Beside the kinds, because the apiserver checks expressions that the scheduler runs:
//! `device` has what both say of selectors of devices. Who answers `authorizer` is the caller's to say.

pub mod authorization;
mod check;
mod cost;
pub mod device;
mod error;
mod eval;
mod library;
pub mod made;
mod node;
mod parse;
#[cfg(test)]
mod tests;
pub mod types;
pub mod value;

pub use error::{CompileError, EvalError};
pub use eval::Activation;
pub use types::{Decl, Type};
pub use value::{Shape, Value};

use node::Node;
use std::sync::Arc;

/// Cost that one call of an expression may have: a tenth of a second or so.
pub const CALL_LIMIT: u64 = 1_000_000;
/// Cost of all rules about one object, or of one binding of a policy.
pub const OBJECT_BUDGET: i64 = 10_000_000;
/// Cost of the match conditions of one webhook or policy.
pub const MATCH_BUDGET: i64 = 2_500_000;
/// Longest message that an expression may give, in bytes.
pub const LONGEST_MESSAGE: usize = 5 * 1024;

/// Stack of the thread that compiles: the parser recurses deeper than it should for long expressions.
/// It is only touched as far as it is needed.
const STACK: usize = 256 << 20;

/// What expressions can name.
#[derive(Debug, Clone, Default)]
pub struct Env {
    variables: Vec<Variable>,
    /// Fields of `variables`, which expressions of their own compute.
    computed: Vec<(String, Type)>,
    has_computed: bool,
    /// Whether objects and patches can be made.
    makes: bool,
    /// Whether there is `cel.bind`.
    binds: bool,
}

#[derive(Debug, Clone)]
struct Variable {
    name: String,
    ty: Type,
    decl: Option<Arc<Decl>>,
}

impl Env {
    /// With one more variable; an `Activation` gives the values in the same order.
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables.push(Variable { name: name.to_owned(), ty, decl: None });
        self
    }

    /// With a variable whose sizes are known; as `optional` where it may be missing.
    #[must_use]
    pub fn with_decl(mut self, name: &str, decl: &Arc<Decl>, optional: bool) -> Self {
        let ty = if optional { Type::optional(decl.ty.clone()) } else { decl.ty.clone() };
        self.variables.push(Variable { name: name.to_owned(), ty, decl: Some(decl.clone()) });
        self
    }

    /// With `variables`, to which `compute` adds fields.
    #[must_use]
    pub fn with_computed(mut self) -> Self {
        self.has_computed = true;
        self
    }

    /// With `Object{…}` and `JSONPatch{…}`.
    #[must_use]
    pub fn with_made(mut self) -> Self {
        self.makes = true;
        self
    }

    /// With `cel.bind(name, value, expression)`.
    #[must_use]
    pub fn with_binds(mut self) -> Self {
        self.binds = true;
        self
    }

    /// Adds `variables.NAME`, the next of the programs that an `Activation` is given.
    pub fn compute(&mut self, name: &str, ty: Type) {
        self.computed.push((name.to_owned(), ty));
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.variables.iter().position(|variable| variable.name == name)
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// Mistakes of syntax, names that nobody declared, arguments that no function takes.
    pub fn compile(&self, source: &str) -> Result<Program, CompileError> {
        std::thread::scope(|scope| {
            let work = || {
                let (tree, info) = parse::parse(source, self.binds)?;
                let (root, used) = check::check(self, source, &tree, &info)?;
                let cost = cost::estimate(self, &root);
                let names = used.iter().map(|place| self.variables[*place].name.clone()).collect();
                let variables = self.variables.iter().map(|own| own.name.clone()).collect();
                Ok(Program { root, names, variables, cost })
            };
            let thread = std::thread::Builder::new().name("cel".into()).stack_size(STACK);
            let panicked = || CompileError {
                text: source.to_owned(),
                issues: vec![error::Issue {
                    line: 1,
                    column: 1,
                    message: "the expression cannot be read".into(),
                }],
            };
            match thread.spawn_scoped(scope, work) {
                Ok(thread) => thread.join().unwrap_or_else(|_| Err(panicked())),
                Err(_) => Err(panicked()),
            }
        })
    }
}

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    root: Node,
    names: Vec<String>,
    /// All variables of the environment, by place.
    variables: Vec<String>,
    cost: u64,
}

impl Program {
    /// The type of what it gives.
    pub fn ty(&self) -> &Type {
        &self.root.ty
    }

    /// Whether it names a variable of the environment.
    pub fn uses(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// Whether it selects a field of a variable (`variable.field`, also by `has` and `.?`) anywhere.
    pub fn selects(&self, variable: &str, field: &str) -> bool {
        let place = self.variables.iter().position(|own| own == variable);
        place.is_some_and(|place| self.root.selects(place, field))
    }

    /// What it can cost at most, as far as declarations say.
    pub fn estimated_cost(&self) -> u64 {
        self.cost
    }

    /// Runs it; gives the cost beside the value, also where it failed.
    pub fn eval<'a>(&'a self, activation: &Activation<'a>) -> (Result<Value<'a>, EvalError>, u64) {
        eval::run(&self.root, activation)
    }
}
