//! Bootstrap tokens (API doc "Authenticating with Bootstrap Tokens"): `ID.SECRET`, kept in a Secret of kube-system by
//! which nodes join. `--enable-bootstrap-token-auth`.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::core::v1::{Secret, SecretType};
use daemon::clock::SharedClock;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{AuthnError, Identity, TokenAuthenticator};
use crate::request::User;
use crate::storage::Collection;

const USER_PREFIX: &str = "system:bootstrap:";
const GROUP: &str = "system:bootstrappers";

/// Checks tokens against the Secrets in the cache.
pub struct BootstrapTokens {
    pub secrets: Arc<Collection>,
    /// `--api-audiences`, for all of which such a token is good.
    pub audiences: Vec<String>,
    pub clock: SharedClock,
}

#[async_trait::async_trait]
impl TokenAuthenticator for BootstrapTokens {
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Identity>, AuthnError> {
        let Some((id, secret)) = parsed(token) else { return Ok(None) };
        let shared: Vec<String> =
            audiences.iter().filter(|asked| self.audiences.contains(asked)).cloned().collect();
        if !audiences.is_empty() && shared.is_empty() {
            return Ok(None);
        }
        let key = crate::registry::relative_key("kube-system", &format!("bootstrap-token-{id}"));
        let Some(found) = self.secrets.get(&key).and_then(|entry| entry.typed::<Secret>().ok()) else {
            return Ok(None);
        };
        match groups(&found, id, secret, self.clock.now()) {
            Ok(groups) => {
                let user = User { name: format!("{USER_PREFIX}{id}"), groups, ..User::default() };
                Ok(Some(Identity { user, audiences: shared }))
            }
            Err(why) => {
                tracing::debug!(secret = key, why, "A bootstrap token is not good");
                Ok(None)
            }
        }
    }
}

/// Id and secret of `[a-z0-9]{6}.[a-z0-9]{16}`.
fn parsed(token: &str) -> Option<(&str, &str)> {
    let fits = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    token.split_once('.').filter(|(id, secret)| fits(id, 6) && fits(secret, 16))
}

/// The groups of whoever has this token, or why the Secret does not vouch for it.
fn groups(own: &Secret, id: &str, secret: &str, now: Timestamp) -> Result<Vec<String>, &'static str> {
    let data =
        |key: &str| own.data.get(key).map(|v| String::from_utf8_lossy(v).into_owned()).unwrap_or_default();
    if own.metadata.deletion_timestamp.is_some() {
        return Err("is deleted and awaiting removal");
    }
    if own.type_ != SecretType::BootstrapToken {
        return Err("has invalid type");
    }
    // Digests are compared: how long that takes tells nothing of the token.
    if Sha256::digest(data("token-secret")) != Sha256::digest(secret) {
        return Err("has invalid value for key token-secret");
    }
    if data("token-id") != id {
        return Err("has invalid value for key token-id");
    }
    let end = data("expiration");
    // COMPAT: what cannot be read has expired.
    if !end.is_empty() && end.parse::<Timestamp>().map_or(true, |end| end < now) {
        return Err("has expired");
    }
    if data("usage-bootstrap-authentication") != "true" {
        return Err("not marked usage-bootstrap-authentication=true");
    }
    let mut groups = BTreeSet::from([GROUP.to_owned()]);
    let more = data("auth-extra-groups");
    for group in more.split(',').filter(|_| !more.is_empty()) {
        if !is_bootstrap_group(group) {
            return Err("has invalid value for key auth-extra-groups");
        }
        groups.insert(group.to_owned());
    }
    Ok(groups.into_iter().collect())
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`
fn is_bootstrap_group(name: &str) -> bool {
    let rest = name.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':')).unwrap_or_default();
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=256).contains(&rest.len())
        && rest.bytes().all(|b| known(b) || matches!(b, b':' | b'-'))
        && rest.bytes().next_back().is_some_and(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(change: &[(&str, &str)]) -> Secret {
        let mut own = Secret { type_: SecretType::BootstrapToken, ..Secret::default() };
        let plain = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ];
        for (key, value) in plain.iter().chain(change) {
            own.data.insert((*key).to_owned(), value.as_bytes().to_vec().into());
        }
        own
    }

    fn check(change: &[(&str, &str)], expected: Result<&[&str], &str>) {
        let now = "2026-01-02T00:00:00Z".parse().expect("a time");
        let found = groups(&secret(change), "abcdef", "0123456789abcdef", now);
        let found = found.as_ref().map(|groups| groups.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(found.as_deref().map_err(|why| **why), expected);
    }

    #[test]
    fn tokens_have_one_form() {
        assert_eq!(parsed("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for other in ["abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "a.b.c", "abcdef"] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }

    #[test]
    fn a_secret_vouches_for_its_token() {
        check(&[], Ok(&["system:bootstrappers"]));
        let groups = "system:bootstrappers:kubeadm:default-node-token";
        check(&[("auth-extra-groups", groups)], Ok(&["system:bootstrappers", groups]));
        check(&[("expiration", "2026-01-03T00:00:00Z")], Ok(&["system:bootstrappers"]));
        check(&[("expiration", "2026-01-01T00:00:00Z")], Err("has expired"));
        check(&[("expiration", "soon")], Err("has expired"));
        check(&[("auth-extra-groups", "system:masters")], Err("has invalid value for key auth-extra-groups"));
        check(&[("token-secret", "0123456789abcdeg")], Err("has invalid value for key token-secret"));
        let off = ("usage-bootstrap-authentication", "false");
        check(&[off], Err("not marked usage-bootstrap-authentication=true"));
    }
}
