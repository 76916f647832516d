//! From text to a syntax tree: the parser of the `cel` crate with the macros of Kubernetes' environment.

use super::error::{CompileError, Issue};
use cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, SourceInfo, operators,
};
use cel::parser::{Macro, MacroExprHelper, ParseError};
use std::sync::LazyLock;

/// Longest expression, in code points.
const LONGEST: usize = 100_000;
/// What loops gather in; expressions cannot write it.
pub const GATHERED: &str = "@result";
/// Adds to a map that a loop gathers.
pub const MAP_INSERT: &str = "cel.@mapInsert";

type Args = Vec<IdedExpr>;
/// What a macro with two variables becomes.
type Expand = fn(&mut Build<'_, '_>, Loop) -> ComprehensionExpr;
type Expanded = Result<Option<IdedExpr>, ParseError>;

static ENVIRONMENT: LazyLock<cel::Env> = LazyLock::new(plain);
/// With `cel.bind`.
static BINDING: LazyLock<cel::Env> = LazyLock::new(|| {
    let mut env = plain();
    env.add_macro(Macro::receiver("bind", 3, bind)).expect("each macro is added once");
    env
});

fn plain() -> cel::Env {
    let mut env = cel::Env::stdlib();
    let two: [(&str, usize, Expand); 10] = [
        ("all", 3, all),
        ("exists", 3, exists),
        ("existsOne", 3, exists_one),
        ("exists_one", 3, exists_one),
        ("transformList", 3, transform_list),
        ("transformList", 4, transform_list),
        ("transformMap", 3, transform_map),
        ("transformMap", 4, transform_map),
        ("transformMapEntry", 3, transform_entry),
        ("transformMapEntry", 4, transform_entry),
    ];
    for (name, count, expand) in two {
        let found = env.add_macro(Macro::receiver(name, count, move |helper, target, args| {
            two_variables(helper, target, args, expand)
        }));
        found.expect("each macro is added once");
    }
    env.add_macro(Macro::receiver("sortBy", 2, sort_by)).expect("each macro is added once");
    env
}

/// Parses an expression.
///
/// # Errors
/// All mistakes of syntax.
pub fn parse(source: &str, binds: bool) -> Result<(IdedExpr, SourceInfo), CompileError> {
    let fail = |issues| CompileError { text: source.to_owned(), issues };
    let count = source.chars().count();
    if count > LONGEST {
        let message = format!("expression code point size exceeds limit: size: {count}, limit {LONGEST}");
        return Err(fail(vec![Issue { line: 1, column: 1, message }]));
    }
    let environment = if binds { &BINDING } else { &ENVIRONMENT };
    environment.parser().enable_optional_syntax(true).parse_with_source_info(source).map_err(|errors| {
        let issue = |error: &ParseError| Issue {
            line: error.pos.0.max(1) as usize,
            column: error.pos.1.max(1) as usize,
            message: error.msg.clone(),
        };
        fail(errors.errors.iter().map(issue).collect())
    })
}

/// Makes the nodes that macros become.
struct Build<'a, 'b>(&'a mut MacroExprHelper<'b>);

impl Build<'_, '_> {
    fn ident(&mut self, name: &str) -> IdedExpr {
        self.0.next_expr(Expr::Ident(name.to_owned()))
    }
    fn gathered(&mut self) -> IdedExpr {
        self.ident(GATHERED)
    }
    fn bool(&mut self, value: bool) -> IdedExpr {
        self.0.next_expr(Expr::Literal(LiteralValue::Boolean(value.into())))
    }
    fn int(&mut self, value: i64) -> IdedExpr {
        self.0.next_expr(Expr::Literal(LiteralValue::Int(value.into())))
    }
    fn call(&mut self, name: &str, args: Args) -> IdedExpr {
        self.0.next_expr(Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }))
    }
    fn member(&mut self, target: IdedExpr, name: &str, args: Args) -> IdedExpr {
        let call = CallExpr { func_name: name.to_owned(), target: Some(Box::new(target)), args };
        self.0.next_expr(Expr::Call(call))
    }
    fn list(&mut self, items: Args) -> IdedExpr {
        self.0.next_expr(Expr::List(ListExpr::new(items)))
    }
    fn name(&self, expr: &IdedExpr) -> Result<String, ParseError> {
        match &expr.expr {
            Expr::Ident(name) if name == GATHERED => {
                Err(self.0.new_error(expr.id, "iteration variable overwrites accumulator variable"))
            }
            Expr::Ident(name) if !name.starts_with('.') => Ok(name.clone()),
            _ => Err(self.0.new_error(expr.id, "argument must be a simple name")),
        }
    }
    /// The step where a filter lets it, what is gathered otherwise.
    fn filtered(&mut self, filter: Option<IdedExpr>, step: IdedExpr) -> IdedExpr {
        match filter {
            None => step,
            Some(filter) => {
                let as_is = self.gathered();
                self.call(operators::CONDITIONAL, vec![filter, step, as_is])
            }
        }
    }
}

/// A loop with two variables as it is written.
struct Loop {
    range: IdedExpr,
    first: String,
    second: String,
    filter: Option<IdedExpr>,
    body: IdedExpr,
}

impl Loop {
    fn into(
        self,
        init: IdedExpr,
        condition: IdedExpr,
        step: IdedExpr,
        result: IdedExpr,
    ) -> ComprehensionExpr {
        ComprehensionExpr {
            iter_range: self.range,
            iter_var: self.first,
            iter_var2: Some(self.second),
            accu_var: GATHERED.to_owned(),
            accu_init: init,
            loop_cond: condition,
            loop_step: step,
            result,
        }
    }

    fn take_body(&mut self) -> IdedExpr {
        std::mem::take(&mut self.body)
    }
}

fn two_variables(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Args,
    expand: Expand,
) -> Expanded {
    let mut build = Build(helper);
    let (first, second) = (build.name(&args[0])?, build.name(&args[1])?);
    if first == second {
        let text = format!("duplicate variable name: {first}");
        return Err(build.0.new_error(args[1].id, text));
    }
    let Some(range) = target.take() else { return Ok(None) };
    let body = args.pop().unwrap_or_default();
    let filter = if args.len() == 3 { args.pop() } else { None };
    let whole = expand(&mut build, Loop { range, first, second, filter, body });
    Ok(Some(build.0.next_expr(Expr::Comprehension(Box::new(whole)))))
}

fn all(build: &mut Build<'_, '_>, mut own: Loop) -> ComprehensionExpr {
    let init = build.bool(true);
    let so_far = build.gathered();
    let condition = build.call(operators::NOT_STRICTLY_FALSE, vec![so_far]);
    let so_far = build.gathered();
    let step = build.call(operators::LOGICAL_AND, vec![so_far, own.take_body()]);
    let result = build.gathered();
    own.into(init, condition, step, result)
}

fn exists(build: &mut Build<'_, '_>, mut own: Loop) -> ComprehensionExpr {
    let init = build.bool(false);
    let so_far = build.gathered();
    let not = build.call(operators::LOGICAL_NOT, vec![so_far]);
    let condition = build.call(operators::NOT_STRICTLY_FALSE, vec![not]);
    let so_far = build.gathered();
    let step = build.call(operators::LOGICAL_OR, vec![so_far, own.take_body()]);
    let result = build.gathered();
    own.into(init, condition, step, result)
}

fn exists_one(build: &mut Build<'_, '_>, mut own: Loop) -> ComprehensionExpr {
    let init = build.int(0);
    let condition = build.bool(true);
    let (so_far, one) = (build.gathered(), build.int(1));
    let more = build.call(operators::ADD, vec![so_far, one]);
    let step = build.filtered(Some(own.take_body()), more);
    let (so_far, one) = (build.gathered(), build.int(1));
    let result = build.call(operators::EQUALS, vec![so_far, one]);
    own.into(init, condition, step, result)
}

fn transform_list(build: &mut Build<'_, '_>, mut own: Loop) -> ComprehensionExpr {
    let init = build.list(Vec::new());
    let condition = build.bool(true);
    let body = own.take_body();
    let (so_far, item) = (build.gathered(), build.list(vec![body]));
    let more = build.call(operators::ADD, vec![so_far, item]);
    let step = build.filtered(own.filter.take(), more);
    let result = build.gathered();
    own.into(init, condition, step, result)
}

fn transform_map(build: &mut Build<'_, '_>, mut own: Loop) -> ComprehensionExpr {
    let (so_far, key) = (build.gathered(), build.ident(&own.first.clone()));
    let args = vec![so_far, key, own.take_body()];
    gather_map(build, own, args)
}

fn transform_entry(build: &mut Build<'_, '_>, mut own: Loop) -> ComprehensionExpr {
    let args = vec![build.gathered(), own.take_body()];
    gather_map(build, own, args)
}

fn gather_map(build: &mut Build<'_, '_>, mut own: Loop, insert: Args) -> ComprehensionExpr {
    let init = build.0.next_expr(Expr::Map(MapExpr { entries: Vec::new() }));
    let condition = build.bool(true);
    let more = build.call(MAP_INSERT, insert);
    let step = build.filtered(own.filter.take(), more);
    let result = build.gathered();
    own.into(init, condition, step, result)
}

/// `cel.bind(name, value, expression)` is a loop of no rounds, which starts with the value and ends with the
/// expression.
fn bind(helper: &mut MacroExprHelper<'_>, target: &mut Option<IdedExpr>, args: &mut Args) -> Expanded {
    if !target.as_ref().is_some_and(|target| matches!(&target.expr, Expr::Ident(name) if name == "cel")) {
        return Ok(None);
    }
    let mut build = Build(helper);
    let name = build.name(&args[0])?;
    let (result, value) = (args.pop().unwrap_or_default(), args.pop().unwrap_or_default());
    let whole = ComprehensionExpr {
        iter_range: build.list(Vec::new()),
        iter_var: "#unused".to_owned(),
        iter_var2: None,
        accu_var: name.clone(),
        accu_init: value,
        loop_cond: build.bool(false),
        loop_step: build.ident(&name),
        result,
    };
    Ok(Some(build.0.next_expr(Expr::Comprehension(Box::new(whole)))))
}

/// `l.sortBy(v, key)` sorts by the keys that a map of the list gives.
fn sort_by(helper: &mut MacroExprHelper<'_>, target: &mut Option<IdedExpr>, args: &mut Args) -> Expanded {
    let mut build = Build(helper);
    let variable = build.name(&args[0])?;
    let Some(range) = target.take() else { return Ok(None) };
    let body = args.pop().unwrap_or_default();
    let (so_far, item) = (build.gathered(), build.list(vec![body]));
    let keys = ComprehensionExpr {
        iter_range: range.clone(),
        iter_var: variable,
        iter_var2: None,
        accu_var: GATHERED.to_owned(),
        accu_init: build.list(Vec::new()),
        loop_cond: build.bool(true),
        loop_step: build.call(operators::ADD, vec![so_far, item]),
        result: build.gathered(),
    };
    let keys = build.0.next_expr(Expr::Comprehension(Box::new(keys)));
    Ok(Some(build.member(range, "@sortByAssociatedKeys", vec![keys])))
}
