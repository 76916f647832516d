//! `Status`, the answer to a request that returns no object: every error of the API.

use crate::meta::v1::ListMeta;
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// The outcome of a request that returns no object.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct Status {
    /// List metadata; mostly empty.
    #[api(1)]
    pub metadata: ListMeta,
    /// Success or Failure.
    #[api(2)]
    pub status: String,
    /// What happened, for people.
    #[api(3)]
    pub message: String,
    /// What happened, for programs; refines the HTTP code.
    #[api(4)]
    pub reason: StatusReason,
    /// What it is about.
    #[api(5)]
    pub details: Option<Box<StatusDetails>>,
    /// HTTP status code.
    #[api(6)]
    pub code: i32,
}

open_enum! {
    /// What happened, for programs.
    pub enum StatusReason {
        Unauthorized = "Unauthorized",
        Forbidden = "Forbidden",
        NotFound = "NotFound",
        AlreadyExists = "AlreadyExists",
        Conflict = "Conflict",
        Gone = "Gone",
        Invalid = "Invalid",
        ServerTimeout = "ServerTimeout",
        StorageReadError = "StorageReadError",
        Timeout = "Timeout",
        TooManyRequests = "TooManyRequests",
        BadRequest = "BadRequest",
        MethodNotAllowed = "MethodNotAllowed",
        NotAcceptable = "NotAcceptable",
        RequestEntityTooLarge = "RequestEntityTooLarge",
        UnsupportedMediaType = "UnsupportedMediaType",
        InternalError = "InternalError",
        Expired = "Expired",
        ServiceUnavailable = "ServiceUnavailable",
    }
}

/// What a Status is about.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct StatusDetails {
    /// Name of the object.
    #[api(1)]
    pub name: String,
    /// Group of the kind.
    #[api(2)]
    pub group: String,
    /// Kind or resource of the object.
    #[api(3)]
    pub kind: String,
    /// UID of the object.
    #[api(6)]
    pub uid: String,
    /// The single causes, such as invalid fields.
    #[api(4, list = atomic)]
    pub causes: Vec<StatusCause>,
    /// Seconds to wait before the next try.
    #[api(5)]
    pub retry_after_seconds: i32,
}

/// One cause of a failure.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.apimachinery.pkg.apis.meta.v1")]
pub struct StatusCause {
    /// What is wrong, for programs.
    #[api(1)]
    pub reason: CauseType,
    /// What is wrong, for people.
    #[api(2)]
    pub message: String,
    /// Field that is to blame, such as spec.ports[0].name.
    #[api(3)]
    pub field: String,
}

open_enum! {
    /// What is wrong with a field or request.
    pub enum CauseType {
        FieldValueNotFound = "FieldValueNotFound",
        FieldValueRequired = "FieldValueRequired",
        FieldValueDuplicate = "FieldValueDuplicate",
        FieldValueInvalid = "FieldValueInvalid",
        FieldValueNotSupported = "FieldValueNotSupported",
        FieldValueForbidden = "FieldValueForbidden",
        FieldValueTooLong = "FieldValueTooLong",
        FieldValueTooMany = "FieldValueTooMany",
        InternalError = "InternalError",
        FieldValueTypeInvalid = "FieldValueTypeInvalid",
        UnexpectedServerResponse = "UnexpectedServerResponse",
        FieldManagerConflict = "FieldManagerConflict",
        ResourceVersionTooLarge = "ResourceVersionTooLarge",
    }
}
