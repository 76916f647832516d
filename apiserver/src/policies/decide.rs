//! What follows from a condition that does not hold: a refusal, a warning, or a note in the audit log.

use api_types::admissionregistration::v1::{ValidatingAdmissionPolicyBinding, ValidationAction};
use api_types::meta::v1::{StatusCause, StatusReason};

use super::compiled::Compiled;
use crate::admission::Request;
use crate::status::ApiError;

/// That a request does not meet a policy, or that it cannot be said.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub verdict: Verdict,
    pub message: String,
    /// Of the refusal; `Invalid` where none is given.
    pub reason: Option<StatusReason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Denied,
    /// Policy, binding or parameters cannot be used: denied, whatever the binding's actions are.
    Misconfigured,
}

/// Takes findings to where the binding's actions want them.
pub fn follow(
    compiled: &Compiled,
    binding: &ValidatingAdmissionPolicyBinding,
    findings: Vec<Finding>,
    warnings: &mut Vec<String>,
    denied: &mut Option<(String, Finding)>,
) {
    let (policy, bound) = (&compiled.policy.metadata.name, &binding.metadata.name);
    for finding in findings {
        let deny = |finding: Finding, denied: &mut Option<(String, Finding)>| {
            let message = format!(
                "ValidatingAdmissionPolicy '{policy}' with binding '{bound}' denied request: {}",
                finding.message
            );
            denied.get_or_insert((message, finding));
        };
        if finding.verdict == Verdict::Misconfigured {
            deny(finding, denied);
            continue;
        }
        for action in &binding.spec.validation_actions {
            match action {
                ValidationAction::Deny => deny(finding.clone(), denied),
                ValidationAction::Warn => warnings.push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{bound}': {}",
                    finding.message
                )),
                // The audit log has no annotations of policies (docs/compat.md).
                _ => {}
            }
        }
    }
}

/// The answer to a request that is refused.
pub fn refusal(request: &Request<'_>, message: String, finding: &Finding) -> ApiError {
    let mut status = request.forbidden(message.clone()).status();
    let reason = finding.reason.clone().unwrap_or(StatusReason::Invalid);
    status.code = match reason.as_str() {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    status.reason = reason;
    let details = status.details.get_or_insert_default();
    details.causes.push(StatusCause { message, ..StatusCause::default() });
    ApiError::Said(Box::new(status))
}
