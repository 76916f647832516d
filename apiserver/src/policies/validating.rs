//! A policy with its expressions compiled, and what they give for a request.

use api_types::admissionregistration::v1::{FailurePolicyType, ValidatingAdmissionPolicy};
use api_types::field::{Errors, Path};
use api_types::meta::v1::StatusReason;
use serde_json::Value as Json;

use super::decide::{Finding, Verdict};
use crate::admission::Request;
use crate::authz::Authorizer;
use crate::cel::admission::{self, Input, MatchConditions, Matched, Names};
use crate::cel::{Activation, Env, EvalError, LONGEST_MESSAGE, OBJECT_BUDGET, Program, Type, Value};

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// A policy, ready to be asked.
pub struct Compiled {
    pub policy: ValidatingAdmissionPolicy,
    conditions: MatchConditions,
    variables: Vec<Program>,
    /// A variable that does not compile takes all with it.
    broken: Option<String>,
    validations: Vec<Ready>,
}

struct Ready {
    program: Result<Program, String>,
    message: Option<Program>,
}

fn names(policy: &ValidatingAdmissionPolicy, variables: bool) -> Names {
    Names { namespace_object: true, params: policy.spec.param_kind.is_some(), authorizer: true, variables }
}

fn condition_env(policy: &ValidatingAdmissionPolicy) -> Env {
    admission::env(Names { namespace_object: false, ..names(policy, false) })
}

/// Compiles an expression that has to give one of these types.
fn compile(env: &Env, text: &str, allowed: &[Type]) -> Result<Program, String> {
    let program = env.compile(text).map_err(|error| format!("compilation failed: {error}"))?;
    if program.ty().is_dyn() || allowed.contains(program.ty()) {
        return Ok(program);
    }
    Err(match allowed {
        [one] => format!("must evaluate to {one}"),
        many => {
            let names: Vec<String> = many.iter().map(ToString::to_string).collect();
            format!("must evaluate to one of [{}]", names.join(" "))
        }
    })
}

/// Compiles everything; `wrong` hears of what does not compile.
fn build(
    policy: &ValidatingAdmissionPolicy,
    wrong: &mut dyn FnMut(&str, usize, &str, &str, &str),
) -> Compiled {
    let spec = &policy.spec;
    let condition_env = condition_env(policy);
    for (place, condition) in spec.match_conditions.iter().enumerate() {
        if let Err(text) = compile(&condition_env, &condition.expression, &[Type::Bool]) {
            wrong("matchConditions", place, "expression", &condition.expression, &text);
        }
    }
    let texts = spec.match_conditions.iter().map(|one| (one.name.as_str(), one.expression.as_str()));
    let conditions = MatchConditions::new(&condition_env, texts);
    let mut env = admission::env(names(policy, true));
    let (mut variables, mut broken) = (Vec::new(), None);
    for (place, variable) in spec.variables.iter().enumerate() {
        match env.compile(&variable.expression) {
            Ok(program) => {
                env.compute(&variable.name, program.ty().clone());
                variables.push(program);
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
    let mut validations = Vec::new();
    for (place, validation) in spec.validations.iter().enumerate() {
        let program = compile(&env, &validation.expression, &[Type::Bool]);
        if let Err(text) = &program {
            wrong("validations", place, "expression", &validation.expression, text);
        }
        let message = match validation.message_expression.trim() {
            "" => None,
            text => match compile(&env, text, &[Type::String]) {
                Ok(program) => Some(program),
                Err(why) => {
                    wrong("validations", place, "messageExpression", text, &why);
                    None
                }
            },
        };
        validations.push(Ready { program, message });
    }
    for (place, annotation) in spec.audit_annotations.iter().enumerate() {
        let text = &annotation.value_expression;
        if let Err(why) = compile(&env, text, &[Type::String, Type::Null]) {
            wrong("auditAnnotations", place, "valueExpression", text, &why);
        }
    }
    Compiled { policy: policy.clone(), conditions, variables, broken, validations }
}

/// What is wrong with the expressions of a policy.
pub fn check(policy: &ValidatingAdmissionPolicy, path: &Path, errors: &mut Errors) {
    build(policy, &mut |list, place, field, text, why| {
        errors.invalid(&path.child(list).index(place).child(field), text, why);
    });
}

impl Compiled {
    pub fn new(policy: ValidatingAdmissionPolicy) -> Self {
        build(&policy, &mut |_, _, _, _, _| {})
    }

    fn failed(&self, message: String) -> Vec<Finding> {
        if self.policy.spec.failure_policy == Some(FailurePolicyType::Ignore) {
            return Vec::new();
        }
        vec![Finding { verdict: Verdict::Denied, message, reason: None }]
    }

    /// Asks all conditions about a request, with one parameter.
    pub fn evaluate(
        &self,
        input: &Input,
        namespace: &Json,
        params: &Json,
        request: &Request<'_>,
        authorizer: &dyn Authorizer,
    ) -> Vec<Finding> {
        if let Some(broken) = &self.broken {
            return self.failed(broken.clone());
        }
        let activation =
            admission::activation(input, namespace, params, request, authorizer, &self.variables);
        match self.conditions.ask(&activation) {
            Matched::Yes => {}
            Matched::No(_) => return Vec::new(),
            Matched::Failed(text) => return self.failed(text),
        }
        let mut budget = OBJECT_BUDGET;
        let mut findings = Vec::new();
        for (ready, validation) in self.validations.iter().zip(&self.policy.spec.validations) {
            let program = match &ready.program {
                Ok(program) => program,
                Err(text) => {
                    findings.extend(self.failed(format!("compilation error: {text}")));
                    continue;
                }
            };
            let (result, cost) = program.eval(&activation);
            budget = budget.saturating_sub_unsigned(cost);
            if budget < 0 {
                findings.extend(self.failed(OUT_OF_BUDGET.to_owned()));
                break;
            }
            match result {
                Ok(Value::Bool(true)) => {}
                Ok(Value::Bool(false)) => {
                    let message = self.message(ready, &activation, &mut budget);
                    let message = message.unwrap_or_else(|| match validation.message.trim() {
                        "" => format!("failed expression: {}", validation.expression.trim()),
                        text => text.to_owned(),
                    });
                    let reason = validation.reason.clone().unwrap_or(StatusReason::Invalid);
                    findings.push(Finding { verdict: Verdict::Denied, message, reason: Some(reason) });
                }
                Ok(_) => {
                    let text = format!("expression '{}' resulted in error: no bool", validation.expression);
                    findings.extend(self.failed(text));
                }
                Err(error) => {
                    let text = format!("expression '{}' resulted in error: {error}", validation.expression);
                    findings.extend(self.failed(text));
                    if error == EvalError::CostLimit {
                        break;
                    }
                }
            }
        }
        findings
    }

    fn message<'a>(&self, ready: &'a Ready, activation: &Activation<'a>, budget: &mut i64) -> Option<String> {
        let (result, cost) = ready.message.as_ref()?.eval(activation);
        *budget = budget.saturating_sub_unsigned(cost);
        let Ok(Value::String(text)) = result else { return None };
        let text = text.trim();
        let sound = !text.is_empty() && !text.contains('\n') && text.len() <= LONGEST_MESSAGE;
        sound.then(|| text.to_owned())
    }
}
