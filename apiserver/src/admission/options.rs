//! What a request shows of itself to webhooks and policies beside its objects: its options, what it connects to,
//! and its objects in the version that they asked for.

use api_types::codec::json;
use api_types::core::v1::{
    NodeProxyOptions, PodAttachOptions, PodExecOptions, PodPortForwardOptions, PodProxyOptions,
    ServiceProxyOptions,
};
use api_types::kind::{Object, Row};
use api_types::meta::v1::{CreateOptions, UpdateOptions};
use api_types::value::Struct;

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

/// What is connected to, as the object that stands for it, and that object's kind; none for writes.
pub fn connection(request: &Request<'_>) -> Option<(&'static str, Vec<u8>)> {
    let call = request.call.filter(|_| request.operation == Operation::Connect)?;
    let query = &call.query;
    let flag = |name: &str| query.flag(name);
    let text = |name: &str| query.text(name).to_owned();
    let path = || match call.info.rest.trim_start_matches('/') {
        "" => String::new(),
        rest => format!("/{rest}"),
    };
    let made = |kind: &'static str, options: &dyn Struct| Some((kind, typed_json(kind, "v1", options)));
    match (request.kind.resource, request.subresource) {
        ("pods", "exec") => made(
            "PodExecOptions",
            &PodExecOptions {
                stdin: flag("stdin"),
                stdout: flag("stdout"),
                stderr: flag("stderr"),
                tty: flag("tty"),
                container: text("container"),
                command: query.all("command").map(str::to_owned).collect(),
            },
        ),
        ("pods", "attach") => made(
            "PodAttachOptions",
            &PodAttachOptions {
                stdin: flag("stdin"),
                stdout: flag("stdout"),
                stderr: flag("stderr"),
                tty: flag("tty"),
                container: text("container"),
            },
        ),
        ("pods", "portforward") => {
            let ports = query.all("ports").flat_map(|list| list.split(','));
            let ports = ports.filter_map(|port| port.trim().parse().ok()).collect();
            made("PodPortForwardOptions", &PodPortForwardOptions { ports })
        }
        ("pods", "proxy") => made("PodProxyOptions", &PodProxyOptions { path: path() }),
        ("services", "proxy") => made("ServiceProxyOptions", &ServiceProxyOptions { path: path() }),
        ("nodes", "proxy") => made("NodeProxyOptions", &NodeProxyOptions { path: path() }),
        _ => None,
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
