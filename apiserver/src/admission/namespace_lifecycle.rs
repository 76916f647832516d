//! NamespaceLifecycle: nothing is written into a namespace that is not there, nothing new into one
//! that is going, and three namespaces stay for good.

use super::{Context, Operation, Plugin, Refusal, Request};
use crate::status::{ApiError, Qualified};
use api_types::meta::v1::StatusCause;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn handles(&self, operation: Operation) -> bool {
        operation.is_write()
    }

    fn admit(&self, request: &mut Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        let is_namespace = request.kind.group.is_empty() && request.kind.resource == "namespaces";
        if is_namespace {
            if request.operation == Operation::Delete && IMMORTAL.contains(&request.name) {
                let of = Qualified::from(request.kind);
                let why = "this namespace may not be deleted".to_owned();
                return Err(ApiError::Forbidden { of, name: request.name.to_owned(), why }.into());
            }
            return Ok(());
        }
        // Reviews must not tell who asks which namespaces there are.
        if request.namespace.is_empty()
            || request.operation == Operation::Delete
            || request.kind.resource == "localsubjectaccessreviews"
        {
            return Ok(());
        }
        let namespace = request.namespace;
        let Some(view) = context.views.namespaces.get("", namespace) else {
            return Err(Refusal::missing(ApiError::NotFound {
                of: Qualified::new("", "namespaces"),
                name: namespace.to_owned(),
            }));
        };
        if request.operation != Operation::Create || !view.terminating {
            return Ok(());
        }
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = request.forbidden(why).status();
        if let Some(details) = &mut status.details {
            details.causes.push(StatusCause {
                reason: "NamespaceTerminating".into(),
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".to_owned(),
            });
        }
        Err(ApiError::Said(Box::new(status)).into())
    }
}
