//! Where the verbs call admission: mutating before an object is prepared, validating when it is
//! about to be stored.

use api_types::kind::{Object, Row};

use crate::call::Call;
use crate::server::Server;
use crate::status::ApiError;

/// What is about to happen to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// Opens a connection (exec, attach, portforward, proxy).
    Connect,
}

/// The facts of a write that admission sees beside the objects.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    pub call: &'a Call,
    pub row: &'static Row,
    pub operation: Operation,
    pub namespace: &'a str,
    /// Empty when the server makes up the name.
    pub name: &'a str,
    pub subresource: &'a str,
    pub dry_run: bool,
}

/// Lets admission change the object.
///
/// # Errors
/// What a check refuses with.
pub async fn mutate(
    server: &Server,
    write: Write<'_>,
    object: &mut dyn Object,
    old: Option<&dyn Object>,
) -> Result<(), ApiError> {
    let _ = (server, write, object, old);
    Ok(())
}

/// Asks admission about what is to be stored; `object` is `None` for a deletion.
///
/// # Errors
/// What a check refuses with.
pub async fn validate(
    server: &Server,
    write: Write<'_>,
    object: Option<&dyn Object>,
    old: Option<&dyn Object>,
) -> Result<(), ApiError> {
    let _ = (server, write, object, old);
    Ok(())
}
