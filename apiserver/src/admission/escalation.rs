//! Keeps writes of roles and bindings from granting what their writer does not have.

use super::{Context, Operation, Plugin, Refusal, Request};
use crate::authz::rbac::escalation::{Check, EscalationError};
use crate::status::{ApiError, Qualified};

/// Always on.
pub struct Escalation;

impl Plugin for Escalation {
    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate(&self, request: &Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if request.kind.group != "rbac.authorization.k8s.io" {
            return Ok(());
        }
        let Some(object) = request.object.get() else { return Ok(()) };
        let check = Check {
            user: request.user,
            info: request.info,
            policy: context.policy,
            authorizer: context.authorizer,
        };
        check.write(object, request.old).map_err(|error| match error {
            // The rights, or the role, may have been given a moment ago.
            EscalationError::Forbidden(why) => Refusal::missing(ApiError::Forbidden {
                of: Qualified::from(request.kind),
                name: object.meta().name.clone(),
                why,
            }),
            EscalationError::RoleNotFound { kind, name } => Refusal::missing(ApiError::NotFound {
                of: Qualified::new("rbac.authorization.k8s.io", kind),
                name,
            }),
            EscalationError::UnknownRoleKind(_) => Refusal::Final(ApiError::Internal(error.to_string())),
        })
    }
}
