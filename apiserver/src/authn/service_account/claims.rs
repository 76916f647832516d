//! What stands in a service account's token, and who it makes of its bearer.

use super::{groups, user_name};
use crate::authn::x509::CREDENTIAL_ID;
use crate::request::User;
use serde::{Deserialize, Serialize};

/// The payload. Fields in the order in which upstream writes them (sorted).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Claims {
    #[serde(rename = "aud", default, deserialize_with = "one_or_many")]
    pub audiences: Vec<String>,
    /// Times are seconds since 1970.
    #[serde(rename = "exp", default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    #[serde(rename = "iat", default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<i64>,
    #[serde(rename = "iss", default)]
    pub issuer: String,
    #[serde(rename = "jti", default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    #[serde(rename = "kubernetes.io", default)]
    pub kubernetes: Kubernetes,
    #[serde(rename = "nbf", default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    #[serde(rename = "sub", default)]
    pub subject: String,
}

/// The part under `kubernetes.io`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Kubernetes {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    #[serde(default)]
    pub serviceaccount: Reference,
    /// From then on the bearer should long have asked for a new token.
    #[serde(rename = "warnafter", default, skip_serializing_if = "Option::is_none")]
    pub warn_after: Option<i64>,
}

/// An object that a token is bound to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Reference {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl Claims {
    /// The user that a token with these claims, which was found good, stands for.
    pub(super) fn user(&self) -> User {
        let Kubernetes { namespace, serviceaccount, pod, node, .. } = &self.kubernetes;
        let mut user = User {
            name: user_name(namespace, &serviceaccount.name),
            uid: serviceaccount.uid.clone(),
            groups: groups(namespace),
            ..User::default()
        };
        let mut extra = |key: &str, value: String| user.extra.insert(key.to_owned(), vec![value]);
        if let Some(pod) = pod {
            extra("authentication.kubernetes.io/pod-name", pod.name.clone());
            extra("authentication.kubernetes.io/pod-uid", pod.uid.clone());
        }
        if let Some(node) = node {
            extra("authentication.kubernetes.io/node-name", node.name.clone());
            if !node.uid.is_empty() {
                extra("authentication.kubernetes.io/node-uid", node.uid.clone());
            }
        }
        if !self.id.is_empty() {
            extra(CREDENTIAL_ID, format!("JTI={}", self.id));
        }
        user
    }
}

/// RFC 7519: `aud` is a string or an array of them.
fn one_or_many<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(input)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}
