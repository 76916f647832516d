//! Where the verbs call admission: mutating before an object is prepared, validating when it is
//! about to be stored. What the server writes on its own account is not asked about.

use api_types::kind::{Object, Row};
use api_types::meta::v1::DeleteOptions;

pub use crate::admission::Operation;
use crate::admission::{Connection, Payload, Request};
use crate::call::Call;
use crate::server::Server;
use crate::status::ApiError;

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
    /// How to delete; none for anything but deletions.
    pub deletion: Option<&'a DeleteOptions>,
}

impl<'a> Write<'a> {
    fn request(self, object: Payload<'a>, old: Option<&'a dyn Object>) -> Request<'a> {
        Request {
            operation: self.operation,
            kind: self.row.kind,
            subresource: self.subresource,
            namespace: self.namespace,
            name: self.name,
            user: &self.call.user,
            info: &self.call.info,
            object,
            old,
            dry_run: self.dry_run,
            deletion: self.deletion,
            call: Some(self.call),
            warnings: Vec::new(),
        }
    }
}

/// Lets admission change the object.
///
/// # Errors
/// What a check refuses with.
pub async fn mutate(
    server: &Server,
    write: Write<'_>,
    object: Option<&mut dyn Object>,
    old: Option<&dyn Object>,
) -> Result<(), ApiError> {
    if write.call.own {
        return Ok(());
    }
    let mut request = write.request(object.map_or(Payload::None, Payload::Open), old);
    let admitted = server.admission.admit(&mut request).await;
    request.warnings.into_iter().for_each(|warning| write.call.warnings.add(warning));
    admitted
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
    if write.call.own {
        return Ok(());
    }
    let mut request = write.request(object.map_or(Payload::None, Payload::Complete), old);
    let admitted = server.admission.validate(&mut request).await;
    request.warnings.into_iter().for_each(|warning| write.call.warnings.add(warning));
    admitted
}

/// Lets admission change what a connection is asked for, and asks it about what that came to.
///
/// # Errors
/// What a check refuses with.
pub async fn connect(server: &Server, write: Write<'_>, connection: &mut Connection) -> Result<(), ApiError> {
    let mut request = write.request(Payload::Connection(connection), None);
    let admitted = match server.admission.admit(&mut request).await {
        Ok(()) => server.admission.validate(&mut request).await,
        refused => refused,
    };
    request.warnings.into_iter().for_each(|warning| write.call.warnings.add(warning));
    admitted
}
