//! Tokens that stand in Secrets (`kubernetes.io/service-account-token`), from before tokens were bound
//! and expired: good for as long as their Secret holds them and their account lives. The controller
//! manager makes them. When each was last used is not noted on the Secret, which upstream does.

use super::claims::{Claims, Kubernetes, Reference};
use super::user_name;
use crate::views::{Life, Views};
use serde::Deserialize;

/// COMPAT: who issues them, whatever `--service-account-issuer` says.
pub(super) const ISSUER: &str = "kubernetes/serviceaccount";

/// The payload.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct LegacyClaims {
    #[serde(rename = "sub")]
    subject: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    account_uid: String,
}

impl LegacyClaims {
    /// What today's tokens say of the same account.
    pub(super) fn claims(&self) -> Claims {
        let serviceaccount = Reference { name: self.account.clone(), uid: self.account_uid.clone() };
        Claims {
            issuer: ISSUER.into(),
            subject: self.subject.clone(),
            kubernetes: Kubernetes {
                namespace: self.namespace.clone(),
                serviceaccount,
                ..Kubernetes::default()
            },
            ..Claims::default()
        }
    }

    /// Whether the claims are whole, and the Secret still holds exactly this token.
    pub(super) fn check(&self, token: &str, views: &Views) -> Result<(), String> {
        let required = [
            (&self.subject, "sub"),
            (&self.namespace, "namespace"),
            (&self.secret, "secretName"),
            (&self.account, "serviceAccountName"),
            (&self.account_uid, "serviceAccountUID"),
        ];
        if let Some((_, name)) = required.iter().find(|(value, _)| value.is_empty()) {
            return Err(format!("{name} claim is missing"));
        }
        if self.subject != user_name(&self.namespace, &self.account) {
            return Err("sub claim is invalid".into());
        }
        let found = views.secrets.get(&self.namespace, &self.secret);
        let lives = |life: &Life| life.deleted_at.is_none();
        let Some(secret) = found.filter(|secret| lives(&secret.life)) else {
            return Err("Token has been invalidated".into());
        };
        // Digests are compared: how long that takes tells nothing of the token.
        if secret.token != Some(crate::views::token_digest(token.as_bytes())) {
            return Err("Token does not match server's copy".into());
        }
        if secret.is_invalidated {
            return Err(format!(
                "the token in secret {namespace}/{name} for service account {namespace}/{account} has been marked \
                 invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove \
                 the '{label}' label from the secret to temporarily allow use of this token",
                namespace = self.namespace,
                name = self.secret,
                account = self.account,
                label = crate::views::INVALID_SINCE,
            ));
        }
        Ok(())
    }
}
