//! A policy that validates with its expressions compiled, and what they give for a request.

use std::time::{Duration, Instant};

use api_types::admissionregistration::v1::{
    FailurePolicyType, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use api_types::field::{Errors, Path};
use api_types::meta::v1::StatusReason;
use serde_json::Value as Json;

use super::decide::{Annotation, Finding, Outcome, Verdict};
use super::head::{Complaint, Head, compile, complaints};
use super::known::Sort;
use crate::admission::Request;
use crate::authz::Authorizer;
use crate::cel::admission::{self, Input, Matched, Names};
use crate::cel::{Activation, LONGEST_MESSAGE, OBJECT_BUDGET, Program, Type, Value};

pub const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Policies that validate.
pub struct Validating;

impl Sort for Validating {
    type Policy = ValidatingAdmissionPolicy;
    type Binding = ValidatingAdmissionPolicyBinding;
    type Compiled = Compiled;

    fn compile(policy: &ValidatingAdmissionPolicy) -> Compiled {
        build(policy, &mut |_, _, _, _, _| {})
    }
}

/// A policy, ready to be asked.
pub struct Compiled {
    policy: ValidatingAdmissionPolicy,
    head: Head,
    validations: Vec<Ready>,
    annotations: Vec<Result<Program, String>>,
}

struct Ready {
    program: Result<Program, String>,
    message: Option<Program>,
}

/// Compiles everything; `wrong` hears of what does not compile.
fn build(policy: &ValidatingAdmissionPolicy, wrong: &mut Complaint<'_>) -> Compiled {
    let spec = &policy.spec;
    let params = spec.param_kind.is_some();
    let names = Names { namespace_object: true, params, authorizer: true, variables: true };
    let mut env = admission::env(names);
    // Messages may not ask what the user may do.
    let mut message_env = admission::env(Names { authorizer: false, ..names });
    let head =
        Head::new(names, &spec.match_conditions, &spec.variables, &mut [&mut env, &mut message_env], wrong);
    let mut validations = Vec::new();
    for (place, validation) in spec.validations.iter().enumerate() {
        let program = compile(&env, &validation.expression, &[Type::Bool]);
        if let Err(text) = &program {
            wrong("validations", place, "expression", &validation.expression, text);
        }
        let message = match validation.message_expression.trim() {
            "" => None,
            text => match compile(&message_env, text, &[Type::String]) {
                Ok(program) => Some(program),
                Err(why) => {
                    wrong("validations", place, "messageExpression", text, &why);
                    None
                }
            },
        };
        validations.push(Ready { program, message });
    }
    let mut annotations = Vec::new();
    for (place, annotation) in spec.audit_annotations.iter().enumerate() {
        let text = &annotation.value_expression;
        let program = compile(&env, text, &[Type::String, Type::Null]);
        if let Err(why) = &program {
            wrong("auditAnnotations", place, "valueExpression", text, why);
        }
        annotations.push(program);
    }
    Compiled { policy: policy.clone(), head, validations, annotations }
}

/// What is wrong with the expressions of a policy.
pub fn check(policy: &ValidatingAdmissionPolicy, path: &Path, errors: &mut Errors) {
    build(policy, &mut complaints(path, errors));
}

impl Compiled {
    fn ignores(&self) -> bool {
        self.policy.spec.failure_policy == Some(FailurePolicyType::Ignore)
    }

    /// That an expression could not be evaluated.
    fn failed(&self, index: usize, message: String, took: Duration) -> Finding {
        let verdict = if self.ignores() { Verdict::Passed } else { Verdict::Denied };
        Finding { index, verdict, message, reason: None, took }
    }

    fn all_failed(&self, message: impl Into<String>) -> Outcome {
        let findings = vec![self.failed(0, message.into(), Duration::ZERO)];
        Outcome { findings, annotations: Vec::new() }
    }

    /// Asks all conditions about a request, with one parameter.
    pub fn evaluate(
        &self,
        input: &Input,
        namespace: &Json,
        params: &Json,
        request: &Request<'_>,
        authorizer: &dyn Authorizer,
    ) -> Outcome {
        if let Some(broken) = &self.head.broken {
            return self.all_failed(broken.clone());
        }
        let activation =
            admission::activation(input, namespace, params, request, authorizer, &self.head.variables);
        match self.head.matches(&self.policy.metadata.name, request.operation, &activation) {
            Matched::Yes => {}
            Matched::No(_) => return Outcome::default(),
            // Where failures are ignored, the policy then is not about the request.
            Matched::Failed(_) if self.ignores() => return Outcome::default(),
            Matched::Failed(text) => return self.all_failed(text),
        }
        let mut budget = OBJECT_BUDGET;
        let mut answers = Vec::new();
        for (ready, validation) in self.validations.iter().zip(&self.policy.spec.validations) {
            let started = Instant::now();
            let answer = match &ready.program {
                Err(text) => Err(format!("compilation error: {text}")),
                Ok(program) => {
                    let (result, cost) = program.eval(&activation);
                    budget = budget.saturating_sub_unsigned(cost);
                    if budget < 0 {
                        return self.all_failed(OUT_OF_BUDGET);
                    }
                    let text = &validation.expression;
                    match result {
                        Ok(Value::Bool(holds)) => Ok(holds),
                        Ok(_) => Err(format!("expression '{text}' resulted in error: no bool")),
                        Err(error) => Err(format!("expression '{text}' resulted in error: {error}")),
                    }
                }
            };
            answers.push((answer, started.elapsed()));
        }
        let mut findings = Vec::new();
        for (index, (answer, took)) in answers.into_iter().enumerate() {
            let validation = &self.policy.spec.validations[index];
            match answer {
                Ok(true) => {}
                Err(text) => findings.push(self.failed(index, text, took)),
                Ok(false) => {
                    let message = self.message(&self.validations[index], &activation, &mut budget);
                    if budget < 0 {
                        findings.push(self.failed(
                            index,
                            format!("failed messageExpression: {OUT_OF_BUDGET}"),
                            took,
                        ));
                        continue;
                    }
                    let message = message.unwrap_or_else(|| match validation.message.trim() {
                        "" => format!("failed expression: {}", validation.expression.trim()),
                        text => text.to_owned(),
                    });
                    let reason = Some(validation.reason.clone().unwrap_or(StatusReason::Invalid));
                    findings.push(Finding { index, verdict: Verdict::Denied, message, reason, took });
                }
            }
        }
        match self.notes(&activation) {
            Ok(annotations) => Outcome { findings, annotations },
            Err(text) => self.all_failed(text),
        }
    }

    fn message<'a>(&self, ready: &'a Ready, activation: &Activation<'a>, budget: &mut i64) -> Option<String> {
        let (result, cost) = ready.message.as_ref()?.eval(activation);
        *budget = budget.saturating_sub_unsigned(cost);
        let Ok(Value::String(text)) = result else { return None };
        let text = text.trim();
        let sound = !text.is_empty() && !text.contains('\n') && text.len() <= LONGEST_MESSAGE;
        sound.then(|| text.to_owned())
    }

    /// What the audit log gets, whether the request passes or not.
    fn notes<'a>(&'a self, activation: &Activation<'a>) -> Result<Vec<Annotation>, &'static str> {
        let mut budget = OBJECT_BUDGET;
        let mut all = Vec::new();
        for (program, own) in self.annotations.iter().zip(&self.policy.spec.audit_annotations) {
            let started = Instant::now();
            let value = match program {
                Err(text) => Err(format!("compilation error: {text}")),
                Ok(program) => {
                    let (result, cost) = program.eval(activation);
                    budget = budget.saturating_sub_unsigned(cost);
                    if budget < 0 {
                        return Err(OUT_OF_BUDGET);
                    }
                    let text = &own.value_expression;
                    match result {
                        Ok(Value::String(value)) => Ok(value.trim().to_owned()),
                        Ok(Value::Null) => Ok(String::new()),
                        Ok(other) => Err(format!(
                            "valueExpression '{text}' resulted in unsupported return type: {}. Return type must be \
                             either string or null.",
                            other.type_name()
                        )),
                        Err(error) => Err(format!("expression '{text}' resulted in error: {error}")),
                    }
                }
            };
            match value {
                Ok(value) if value.is_empty() => {}
                Err(_) if self.ignores() => {}
                value => all.push(Annotation { key: own.key.clone(), value, took: started.elapsed() }),
            }
        }
        Ok(all)
    }
}
