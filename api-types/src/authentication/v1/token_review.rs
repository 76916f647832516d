//! TokenReview and SelfSubjectReview: who is behind a token, or behind this request.

use std::collections::BTreeMap;

use crate::kind::{Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::value::StringList;
use api_types_derive::Api;

/// Asks who is behind a bearer token.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authentication.v1")]
pub struct TokenReview {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The token to look at.
    #[api(2, required)]
    pub spec: TokenReviewSpec,
    /// Who it speaks for, if it is good.
    #[api(3)]
    pub status: TokenReviewStatus,
}

/// The token that is to be checked.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authentication.v1")]
pub struct TokenReviewSpec {
    /// The bearer token, as received.
    #[api(1, required, omitempty)]
    pub token: String,
    /// Servers of which the token must name at least one.
    #[api(2, list = atomic)]
    pub audiences: Vec<String>,
}

/// What was found out about a token.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authentication.v1")]
pub struct TokenReviewStatus {
    /// Whether the token belongs to a known user.
    #[api(1)]
    pub authenticated: bool,
    /// The user behind the token.
    #[api(2)]
    pub user: UserInfo,
    /// Those of the asked audiences that the token is good for.
    #[api(4, list = atomic)]
    pub audiences: Vec<String>,
    /// Why the token could not be checked.
    #[api(3)]
    pub error: String,
}

/// A user as the authenticator knows them.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authentication.v1")]
pub struct UserInfo {
    /// Name that is unique among active users.
    #[api(1)]
    pub username: String,
    /// Identifier that tells apart users of the same name over time.
    #[api(2)]
    pub uid: String,
    /// Groups that the user belongs to.
    #[api(3, list = atomic)]
    pub groups: Vec<String>,
    /// Further facts given by the authenticator.
    #[api(4)]
    pub extra: BTreeMap<String, StringList>,
}

/// Asks who the server takes the caller for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authentication.v1")]
pub struct SelfSubjectReview {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The answer, filled in by the server.
    #[api(2)]
    pub status: SelfSubjectReviewStatus,
}

/// The identity of the caller.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.authentication.v1")]
pub struct SelfSubjectReviewStatus {
    /// Name, groups and extra facts of the caller.
    #[api(1)]
    pub user_info: UserInfo,
}

resource!(
    SelfSubjectReview,
    Kind {
        verbs: Kind::CREATE_ONLY,
        ..Kind::cluster_wide(
            "authentication.k8s.io/v1",
            "SelfSubjectReview",
            "selfsubjectreviews",
            "selfsubjectreview"
        )
    }
);

impl Strategy for SelfSubjectReview {}

resource!(
    TokenReview,
    Kind {
        verbs: Kind::CREATE_ONLY,
        ..Kind::cluster_wide("authentication.k8s.io/v1", "TokenReview", "tokenreviews", "tokenreview")
    }
);

impl Strategy for TokenReview {
    fn prepare_for_create(&mut self) {
        self.status = TokenReviewStatus::default();
    }
}
