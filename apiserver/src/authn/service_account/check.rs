//! Whether a service account's token is good: signed by us, for us, in its time, and the objects
//! it is bound to still exist.

use super::claims::{Claims, Reference};
use super::keys::VerifyingKeys;
use super::legacy::{self, LegacyClaims};
use crate::authn::{AuthnError, Identity, TokenAuthenticator};
use crate::views::{CatchUp, Life, Views};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daemon::clock::SharedClock;
use serde::Deserialize;
use std::sync::Arc;

/// Clocks of servers may differ by this many seconds.
const LEEWAY: i64 = 60;

/// Checks the tokens of this cluster's service accounts.
pub struct ServiceAccountTokens {
    /// `--service-account-issuer`: all whose tokens are accepted.
    pub issuers: Vec<String>,
    pub keys: Arc<VerifyingKeys>,
    /// `--api-audiences`: what a token without audiences is good for.
    pub audiences: Vec<String>,
    pub views: Arc<Views>,
    pub fresh: Arc<dyn CatchUp>,
    pub clock: SharedClock,
}

#[async_trait::async_trait]
impl TokenAuthenticator for ServiceAccountTokens {
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Identity>, AuthnError> {
        let Some(verified) = self.verified(token)? else { return Ok(None) };
        let Verified { claims, legacy } = verified;
        let audiences = self.common_audiences(&claims, audiences)?;
        let now = self.clock.now().as_second();
        check_times(&claims, now).map_err(|text| AuthnError::Token(text.to_owned()))?;
        let check = || match &legacy {
            Some(legacy) => {
                legacy.check(token, &self.views).and_then(|()| check_objects(&claims, &self.views, now))
            }
            None => check_objects(&claims, &self.views, now),
        };
        if check().is_err() {
            // The account or pod may be younger than the views, or the server just started.
            if self.fresh.is_filled() {
                self.fresh.catch_up().await;
            } else {
                self.fresh.filled().await;
            }
            check().map_err(AuthnError::Token)?;
        }
        Ok(Some(Identity { user: claims.user(), audiences }))
    }
}

/// What a token with our signature says.
struct Verified {
    claims: Claims,
    /// Of a token that stands in a Secret.
    legacy: Option<LegacyClaims>,
}

impl ServiceAccountTokens {
    /// The claims of a token that carries our signature; `None` when it is not of our issuers.
    fn verified(&self, token: &str) -> Result<Option<Verified>, AuthnError> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            #[serde(default)]
            kid: String,
        }
        #[derive(Deserialize)]
        struct Issuer {
            #[serde(default)]
            iss: String,
        }
        fn part<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
        }
        let Some((message, signature)) = token.rsplit_once('.') else { return Ok(None) };
        let Some((header, payload)) = message.split_once('.').filter(|(_, p)| !p.contains('.')) else {
            return Ok(None);
        };
        // Not yet to be believed, but enough to see that it is somebody else's to judge.
        let issuer = part::<Issuer>(payload).map(|claims| claims.iss).unwrap_or_default();
        let is_legacy = issuer == legacy::ISSUER;
        let ours = is_legacy || self.issuers.contains(&issuer);
        let (true, Some(header), Ok(signature)) =
            (ours, part::<Header>(header), URL_SAFE_NO_PAD.decode(signature))
        else {
            return Ok(None);
        };
        match self.keys.verify(&header.kid, &header.alg, message.as_bytes(), &signature) {
            Some(true) => {}
            Some(false) => return Err(AuthnError::Token("error in cryptographic primitive".to_owned())),
            None => return Err(AuthnError::Token("invalid signature, no keys found".to_owned())),
        }
        let legacy = part::<LegacyClaims>(payload).filter(|_| is_legacy);
        let claims = legacy.as_ref().map(LegacyClaims::claims).or_else(|| part::<Claims>(payload));
        match claims {
            Some(claims) => Ok(Some(Verified { claims, legacy })),
            None => Err(AuthnError::Token("the claims of the token cannot be read".to_owned())),
        }
    }

    /// Which of the asked audiences the token names.
    fn common_audiences(&self, claims: &Claims, asked: &[String]) -> Result<Vec<String>, AuthnError> {
        let named = if claims.audiences.is_empty() { &self.audiences } else { &claims.audiences };
        let asked = if asked.is_empty() { &self.audiences } else { asked };
        let common: Vec<String> = named.iter().filter(|a| asked.contains(a)).cloned().collect();
        if common.is_empty() && !self.audiences.is_empty() {
            return Err(AuthnError::Token(format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted(named),
                quoted(asked)
            )));
        }
        Ok(common)
    }
}

/// Whether `now` (seconds) lies in the token's time.
fn check_times(claims: &Claims, now: i64) -> Result<(), &'static str> {
    if claims.not_before.is_some_and(|at| now + LEEWAY < at) {
        Err("service account token is not valid yet")
    } else if claims.expires.is_some_and(|at| now - LEEWAY > at) {
        Err("service account token has expired")
    } else if claims.issued.is_some_and(|at| now + LEEWAY < at) {
        Err("service account token is issued in the future")
    } else {
        Ok(())
    }
}

/// Whether the account, and what the token is bound to, are there and are the same.
fn check_objects(claims: &Claims, views: &Views, now: i64) -> Result<(), String> {
    let of = &claims.kubernetes;
    let namespace = of.namespace.as_str();
    let is_gone = |life: &Life| life.deleted_at.is_some_and(|at| at.as_second() < now - LEEWAY);

    let account = &of.serviceaccount;
    let Some(found) = views.service_accounts.get(namespace, &account.name) else {
        return Err(format!("serviceaccounts {:?} not found", account.name));
    };
    if found.life.uid != account.uid {
        return Err(format!(
            "service account UID ({}) does not match claim ({})",
            found.life.uid, account.uid
        ));
    }
    if is_gone(&found.life) {
        return Err(format!("service account {namespace}/{} has been deleted", account.name));
    }
    let bound = |what: &str, reference: &Reference, found: Option<&Life>| {
        let Some(life) = found else { return Err("service account token has been invalidated".to_owned()) };
        if life.uid != reference.uid {
            return Err(format!(
                "{what} UID ({}) does not match service account {what} ref claim ({})",
                life.uid, reference.uid
            ));
        }
        if is_gone(life) { Err("service account token has been invalidated".to_owned()) } else { Ok(()) }
    };
    if let Some(secret) = &of.secret {
        let found = views.secrets.get(namespace, &secret.name);
        bound("secret", secret, found.as_ref().map(|s| &s.life))?;
    }
    if let Some(pod) = &of.pod {
        let found = views.pods.get(namespace, &pod.name);
        bound("pod", pod, found.as_ref().map(|p| &p.life))?;
    } else if let Some(node) = &of.node {
        // With a pod, the node is only told and not asked for.
        let found = views.nodes.get("", &node.name);
        bound("node", node, found.as_ref().map(|n| &n.life))?;
    }
    Ok(())
}

fn quoted(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}
