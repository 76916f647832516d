//! `POST …/serviceaccounts/NAME/token`: a token that speaks for the account.

use std::sync::LazyLock;

use api_types::authentication::v1::TokenRequest;
use api_types::core::v1::{Node, Pod, Secret, ServiceAccount};
use api_types::kind::{Object, Resource, Row};

use crate::answer::Answer;
use crate::authn::service_account::{Bound, cannot_bind};
use crate::call::{Call, Target};
use crate::registry::admit::{self, Operation, Write};
use crate::registry::{decode, fresh};
use crate::server::Server;
use crate::status::ApiError;

/// It has no path of its own, so it is not in the table of kinds.
static ROW: LazyLock<Row> = LazyLock::new(Row::of::<TokenRequest>);

/// Issues a token.
///
/// # Errors
/// When the account, or what the token is to be bound to, is not there or does not fit.
pub async fn create(server: &Server, call: &Call, target: &Target, body: &[u8]) -> Result<Answer, ApiError> {
    let dry_run = call.dry_run("CreateOptions")?;
    let mut object = decode::object(call, &ROW, body, "CreateOptions")?;
    let account: ServiceAccount = get(server, &target.namespace, &target.name).await?;
    let now = jiff::Timestamp::now();
    let write = Write {
        call,
        row: target.row,
        operation: Operation::Create,
        namespace: &target.namespace,
        name: &target.name,
        subresource: "token",
        dry_run,
        deletion: None,
    };
    admit::mutate(server, write, Some(&mut *object), None).await?;
    server.issuer.prepare(request(&mut *object), &account, now)?;
    admit::validate(server, write, Some(&*object), None).await?;
    let request = request(&mut *object);
    let bound = bound(server, &target.namespace, request).await?;
    for warning in server.issuer.answer(request, &account, &bound, now)? {
        call.warnings.add(warning);
    }
    Ok(Answer::Made { code: 201, object })
}

fn request(object: &mut dyn Object) -> &mut TokenRequest {
    object.as_any_mut().downcast_mut().expect("it was read as a TokenRequest")
}

/// What the token is to be bound to, out of the store.
async fn bound(server: &Server, namespace: &str, request: &TokenRequest) -> Result<Bound, ApiError> {
    let Some(wanted) = &request.spec.bound_object_ref else { return Ok(Bound::None) };
    match (wanted.api_version.contains('/'), wanted.kind.as_str()) {
        (false, "Pod") => {
            let pod: Pod = get(server, namespace, &wanted.name).await?;
            let node = match pod.spec.node_name.as_str() {
                "" => None,
                name => match get::<Node>(server, "", name).await {
                    Ok(node) => Some(Box::new(node)),
                    Err(ApiError::NotFound { .. }) => None,
                    Err(error) => return Err(error),
                },
            };
            Ok(Bound::Pod(Box::new(pod), node))
        }
        (false, "Node") => Ok(Bound::Node(Box::new(get(server, "", &wanted.name).await?))),
        (false, "Secret") => {
            Ok(Bound::Secret(Box::new(get::<Secret>(server, namespace, &wanted.name).await?)))
        }
        _ => Err(cannot_bind(&wanted.api_version, &wanted.kind)),
    }
}

async fn get<T: Resource>(server: &Server, namespace: &str, name: &str) -> Result<T, ApiError> {
    let collection = server.storage.of::<T>();
    let target = Target { row: collection.row, namespace: namespace.to_owned(), name: name.to_owned() };
    let entry = fresh(collection, &target).await?.ok_or_else(|| ApiError::not_found(T::facts(), name))?;
    entry.typed().map_err(ApiError::internal)
}
