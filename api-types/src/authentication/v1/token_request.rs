//! TokenRequest: asks for a token of a service account.

use crate::kind::{Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::value::Time;
use api_types_derive::Api;

/// Asks for a token that speaks for a service account.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authentication.v1")]
pub struct TokenRequest {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What the token is for and how long.
    #[api(2, always)]
    pub spec: TokenRequestSpec,
    /// The token, once issued.
    #[api(3)]
    pub status: TokenRequestStatus,
}

/// What a requested token is for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authentication.v1")]
pub struct TokenRequestSpec {
    /// Servers that may accept the token.
    #[api(1, always, list = atomic)]
    pub audiences: Vec<String>,
    /// Lifetime wanted, in seconds; the issuer may shorten or lengthen it.
    #[api(4, always)]
    pub expiration_seconds: Option<i64>,
    /// Object whose deletion makes the token worthless.
    #[api(3, always)]
    pub bound_object_ref: Option<Box<BoundObjectReference>>,
}

/// The answer to a request for a token.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authentication.v1")]
pub struct TokenRequestStatus {
    /// The signed token, a JWT.
    #[api(1, always)]
    pub token: String,
    /// When the token stops being accepted.
    #[api(2, always)]
    pub expiration_timestamp: Option<Time>,
}

/// The object that a token lives and dies with.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authentication.v1")]
pub struct BoundObjectReference {
    /// Kind of the object: Pod, Secret or Node.
    #[api(1)]
    pub kind: String,
    /// Version of the object's API.
    #[api(2)]
    pub api_version: String,
    /// Name of the object.
    #[api(3)]
    pub name: String,
    /// UID of the object, so that a namesake does not count.
    #[api(4)]
    pub uid: String,
}

resource!(
    TokenRequest,
    Kind {
        verbs: &[],
        ..Kind::namespaced("authentication.k8s.io/v1", "TokenRequest", "tokenrequests", "tokenrequest")
    }
);

impl Strategy for TokenRequest {}
