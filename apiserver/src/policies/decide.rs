//! What follows from a condition that does not hold: a refusal, a warning, or a note in the audit log.

use std::collections::BTreeMap;
use std::time::Duration;

use api_types::admissionregistration::v1::{ValidatingAdmissionPolicyBinding, ValidationAction};
use api_types::meta::v1::{StatusCause, StatusReason};
use serde::Serialize;

use super::metrics;
use super::subject::Misconfigured;
use crate::admission::Request;
use crate::status::ApiError;

/// COMPAT: the key that tools look for in the audit log.
pub const FAILURE_ANNOTATION: &str = "validation.policy.admission.k8s.io/validation_failure";
/// Longest value of an audit annotation, in bytes.
const LONGEST_ANNOTATION: usize = 10 * 1024;

/// What a policy's expressions say of a request.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Of conditions that hold there is nothing here.
    pub findings: Vec<Finding>,
    pub annotations: Vec<Annotation>,
}

/// That a request does not meet a condition, or that it cannot be said.
#[derive(Debug)]
pub struct Finding {
    /// The condition's place in the policy.
    pub index: usize,
    pub verdict: Verdict,
    pub message: String,
    /// Of the refusal; `Invalid` where none is given.
    pub reason: Option<StatusReason>,
    pub took: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Denied,
    /// It could not be said, and that is ignored.
    Passed,
}

/// A note for the audit log, or why there is none.
#[derive(Debug)]
pub struct Annotation {
    pub key: String,
    pub value: Result<String, String>,
    pub took: Duration,
}

/// What all policies together come to.
#[derive(Debug, Default)]
pub struct Decision {
    pub warnings: Vec<String>,
    /// By policy and key; several bindings may give several values.
    annotations: BTreeMap<(String, String), Vec<String>>,
    /// Of the audit log, one for each condition that only is to be noted.
    failures: Vec<String>,
    /// The first refusal.
    denied: Option<(String, Option<StatusReason>)>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    message: &'a str,
    policy: &'a str,
    binding: &'a str,
    expression_index: usize,
    validation_actions: Vec<&'a str>,
}

impl Decision {
    fn deny(&mut self, policy: &str, binding: Option<&str>, message: &str, reason: Option<StatusReason>) {
        let binding = binding.map(|name| format!(" with binding '{name}'")).unwrap_or_default();
        self.denied.get_or_insert_with(|| {
            (format!("ValidatingAdmissionPolicy '{policy}'{binding} denied request: {message}"), reason)
        });
    }

    /// Denied, whatever the binding's actions are.
    pub fn misconfigured(&mut self, wrong: &Misconfigured<'_>) {
        self.deny(wrong.policy, wrong.binding, &wrong.message, None);
    }

    /// Takes findings to where the binding's actions want them.
    pub fn follow(&mut self, binding: &ValidatingAdmissionPolicyBinding, outcome: Outcome) {
        let (policy, bound) = (binding.spec.policy_name.as_str(), binding.metadata.name.as_str());
        for finding in outcome.findings {
            let count =
                |action: &str| metrics::checked(policy, bound, &finding.message, action, finding.took);
            if finding.verdict == Verdict::Passed {
                count("allow");
                continue;
            }
            for action in &binding.spec.validation_actions {
                match action {
                    ValidationAction::Deny => {
                        self.deny(policy, Some(bound), &finding.message, finding.reason.clone());
                        count("deny");
                    }
                    ValidationAction::Warn => {
                        self.warnings.push(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{bound}': {}",
                            finding.message
                        ));
                        count("warn");
                    }
                    ValidationAction::Audit => {
                        let actions = binding.spec.validation_actions.iter().map(ValidationAction::as_str);
                        let failure = Failure {
                            message: &finding.message,
                            policy,
                            binding: bound,
                            expression_index: finding.index,
                            validation_actions: actions.collect(),
                        };
                        let text = serde_json::to_string(&[failure]).expect("texts and numbers make JSON");
                        self.failures.push(text);
                        count("audit");
                    }
                    _ => {}
                }
            }
        }
        for annotation in outcome.annotations {
            match annotation.value {
                Ok(mut value) => {
                    value.truncate(value.floor_char_boundary(LONGEST_ANNOTATION));
                    let key = (policy.to_owned(), annotation.key);
                    let values = self.annotations.entry(key).or_default();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                Err(text) => {
                    self.deny(policy, Some(bound), &text, None);
                    metrics::checked(policy, bound, &text, "deny", annotation.took);
                }
            }
        }
    }

    /// Annotations for the audit log. The first of several under one key is the one that stays.
    pub fn annotations(&self) -> Vec<(String, String)> {
        let failures = self.failures.iter().map(|text| (FAILURE_ANNOTATION.to_owned(), text.clone()));
        let own = self.annotations.iter();
        failures.chain(own.map(|((policy, key), all)| (format!("{policy}/{key}"), all.join(", ")))).collect()
    }

    /// Whether the request passes.
    ///
    /// # Errors
    /// The first refusal.
    pub fn settle(self, request: &Request<'_>) -> Result<(), ApiError> {
        let Some((message, reason)) = self.denied else { return Ok(()) };
        let mut status = request.forbidden(message.clone()).status();
        let reason = reason.unwrap_or(StatusReason::Invalid);
        status.code = match reason.as_str() {
            "Forbidden" => 403,
            "Unauthorized" => 401,
            "RequestEntityTooLarge" => 413,
            _ => 422,
        };
        status.reason = reason;
        let details = status.details.get_or_insert_default();
        details.causes.push(StatusCause { message, ..StatusCause::default() });
        Err(ApiError::Said(Box::new(status)))
    }
}
