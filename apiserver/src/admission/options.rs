//! What a request shows of itself to webhooks and policies beside its objects: its options, and its objects in the
//! version that they asked for.

use api_types::codec::json;
use api_types::kind::{Object, Row};
use api_types::meta::v1::{CreateOptions, UpdateOptions};

use super::{Operation, Request};
use crate::answer::typed_json;
use crate::kinds::convert;
use crate::status::ApiError;

/// The options of the request, as it came.
pub fn options(request: &Request<'_>) -> Option<Vec<u8>> {
    const VERSION: &str = "meta.k8s.io/v1";
    let text = |name: &str| request.call.map(|call| call.query.text(name).to_owned()).unwrap_or_default();
    let dry_run = if request.dry_run { vec!["All".to_owned()] } else { Vec::new() };
    match request.operation {
        Operation::Connect => None,
        Operation::Create => {
            let options = CreateOptions {
                dry_run,
                field_manager: text("fieldManager"),
                field_validation: text("fieldValidation"),
            };
            Some(typed_json("CreateOptions", VERSION, &options))
        }
        Operation::Update => {
            let options = UpdateOptions {
                dry_run,
                field_manager: text("fieldManager"),
                field_validation: text("fieldValidation"),
            };
            Some(typed_json("UpdateOptions", VERSION, &options))
        }
        Operation::Delete => {
            let given = request.deletion.cloned().unwrap_or_default();
            Some(typed_json("DeleteOptions", VERSION, &given))
        }
    }
}

/// An object as JSON, in another version where one is asked for. What is not of the path's own kind (a Scale, a
/// Binding) has but one.
///
/// # Errors
/// When it does not convert.
pub fn shown_as(object: &dyn Object, version: Option<&'static Row>) -> Result<Vec<u8>, ApiError> {
    match version {
        Some(row) if object.kind().kind == row.kind.kind => Ok(json::to_vec(&*convert(object, row)?)),
        _ => Ok(json::to_vec(object)),
    }
}
