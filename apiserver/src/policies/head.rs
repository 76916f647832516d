//! What both sorts of policies begin with: conditions that decide whether they are asked, and variables.

use std::time::Instant;

use api_types::admissionregistration::v1::{MatchCondition, Variable};
use api_types::field::{Errors, Path};

use crate::admission::Operation;
use crate::admission::metrics::Conditions;
use crate::cel::admission::{self, MatchConditions, Matched, Names};
use crate::cel::{Activation, Env, Program, Type};

/// What is wrong with an expression: the list it is in, its place there, the field, the text, why.
pub type Complaint<'a> = dyn FnMut(&str, usize, &str, &str, &str) + 'a;

/// Conditions and variables, compiled.
pub struct Head {
    conditions: MatchConditions,
    pub variables: Vec<Program>,
    /// A variable that does not compile takes all with it.
    pub broken: Option<String>,
}

/// Compiles an expression that has to give one of these types.
///
/// # Errors
/// Upstream's text.
pub fn compile(env: &Env, text: &str, allowed: &[Type]) -> Result<Program, String> {
    let program = env.compile(text).map_err(|error| format!("compilation failed: {error}"))?;
    let ty = program.ty();
    if allowed.contains(ty) {
        return Ok(program);
    }
    Err(match allowed {
        [one] => format!("must evaluate to {one} but got {ty}"),
        many => {
            let names: Vec<String> = many.iter().map(ToString::to_string).collect();
            format!("must evaluate to one of [{}] but got {ty}", names.join(" "))
        }
    })
}

/// Complaints as errors about fields of `spec`.
pub fn complaints<'a>(
    path: &'a Path,
    errors: &'a mut Errors,
) -> impl FnMut(&str, usize, &str, &str, &str) + 'a {
    move |list, place, field, text, why| {
        let mut at = path.child(list).index(place);
        for part in field.split('.') {
            at = at.child(part);
        }
        errors.invalid(&at, text, why);
    }
}

impl Head {
    /// Compiles them; `envs` get the variables. `names` are those of the policy's other expressions.
    pub fn new(
        names: Names,
        conditions: &[MatchCondition],
        variables: &[Variable],
        envs: &mut [&mut Env],
        wrong: &mut Complaint<'_>,
    ) -> Self {
        let own = admission::env(Names { namespace_object: false, variables: false, ..names });
        for (place, condition) in conditions.iter().enumerate() {
            if let Err(text) = compile(&own, &condition.expression, &[Type::Bool]) {
                wrong("matchConditions", place, "expression", &condition.expression, &text);
            }
        }
        let texts = conditions.iter().map(|one| (one.name.as_str(), one.expression.as_str()));
        let conditions = MatchConditions::new(&own, texts);
        let mut env = admission::env(Names { variables: true, ..names });
        let (mut programs, mut broken) = (Vec::new(), None);
        for (place, variable) in variables.iter().enumerate() {
            match env.compile(&variable.expression) {
                Ok(program) => {
                    env.compute(&variable.name, program.ty().clone());
                    for other in &mut *envs {
                        other.compute(&variable.name, program.ty().clone());
                    }
                    programs.push(program);
                }
                Err(error) => {
                    let text = format!("compilation failed: {error}");
                    wrong("variables", place, "expression", &variable.expression, &text);
                    broken.get_or_insert(format!(
                        "composited variable {:?} fails to compile: {text}",
                        variable.name
                    ));
                }
            }
        }
        Self { conditions, variables: programs, broken }
    }

    /// Whether the policy is to be asked.
    pub fn matches<'a>(&'a self, policy: &str, operation: Operation, activation: &Activation<'a>) -> Matched {
        if self.conditions.is_empty() {
            return Matched::Yes;
        }
        let started = Instant::now();
        let (matched, errors) = self.conditions.ask(activation);
        // COMPAT: the conditions of policies that change count as `validate`, too.
        let conditions = Conditions { name: policy, kind: "policy", phase: "validate" };
        conditions.asked(operation, errors, started.elapsed());
        matched
    }
}
