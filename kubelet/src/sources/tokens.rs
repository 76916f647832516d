//! Service account tokens for pods: asked for once, kept in memory, renewed before they expire.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use api_types::authentication::v1::{BoundObjectReference, TokenRequest};
use api_types::core::v1::{Pod, ServiceAccount};
use client::Client;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::steady;
use crate::volume::kinds::payload::{self, TokenKey};

/// COMPAT: a token is renewed when a fifth of its life is left, or after a day.
const LONGEST_USE: i64 = 24 * 3600;

#[derive(Clone)]
struct Token {
    text: String,
    issued: Timestamp,
    /// The same by the steady clock.
    asked: Timestamp,
    expires: Timestamp,
}

impl Token {
    /// How far its life has come: a clock that is set back makes no token last longer.
    fn now(&self) -> Timestamp {
        let lived = steady::now().duration_since(self.asked);
        self.issued.checked_add(lived).unwrap_or(Timestamp::MAX).max(Timestamp::now())
    }
}

/// When a token issued then and expiring then is to be renewed.
fn renewal(issued: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(issued).as_secs();
    let after = (life - life / 5).clamp(0, LONGEST_USE);
    issued.checked_add(jiff::SignedDuration::from_secs(after)).unwrap_or(expires)
}

/// The tokens of this node's pods.
pub struct Tokens {
    client: Client,
    tokens: Mutex<HashMap<(String, TokenKey), Token>>,
}

impl Tokens {
    /// No tokens yet.
    pub fn new(client: Client) -> Self {
        Self { client, tokens: Mutex::default() }
    }

    /// The tokens that a pod's volumes want, and when the first is to be renewed.
    pub async fn of(&self, pod: &Pod) -> Result<(BTreeMap<TokenKey, String>, Option<Duration>), String> {
        let (mut all, mut next) = (BTreeMap::new(), None);
        for key in payload::tokens(pod) {
            let token = self.one(pod, &key).await?;
            let due = renewal(token.issued, token.expires).duration_since(token.now());
            let due = Duration::try_from(due).unwrap_or(Duration::from_secs(10));
            next = Some(next.map_or(due, |next: Duration| next.min(due)));
            all.insert(key, token.text);
        }
        Ok((all, next))
    }

    /// One token, and when it expires.
    pub async fn get(&self, pod: &Pod, key: &TokenKey) -> Result<(String, Timestamp), String> {
        self.one(pod, key).await.map(|token| (token.text, token.expires))
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.tokens.lock().retain(|(owner, _), _| owner != uid);
    }

    async fn one(&self, pod: &Pod, key: &TokenKey) -> Result<Token, String> {
        let place = (pod.metadata.uid.clone(), key.clone());
        let known = self.tokens.lock().get(&place).cloned();
        if let Some(token) = known.as_ref().filter(|token| token.now() < renewal(token.issued, token.expires))
        {
            return Ok(token.clone());
        }
        match self.ask(pod, key).await {
            Ok(token) => {
                self.tokens.lock().insert(place, token.clone());
                Ok(token)
            }
            // An old token that is still good is better than none.
            Err(error) => match known.filter(|token| token.now() < token.expires) {
                Some(token) => {
                    tracing::warn!(%error, pod = pod.metadata.name, "cannot renew a token yet");
                    Ok(token)
                }
                None => Err(format!("failed to fetch token: {error}")),
            },
        }
    }

    async fn ask(&self, pod: &Pod, key: &TokenKey) -> Result<Token, client::Error> {
        let mut request = TokenRequest::default();
        if !key.audience.is_empty() {
            request.spec.audiences.push(key.audience.clone());
        }
        request.spec.expiration_seconds = Some(key.seconds);
        request.spec.bound_object_ref = Some(Box::new(BoundObjectReference {
            kind: "Pod".into(),
            api_version: "v1".into(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
        }));
        let (issued, asked) = (Timestamp::now(), steady::now());
        let account = &pod.spec.service_account_name;
        let api = self.client.api::<ServiceAccount>().namespace(&pod.metadata.namespace);
        let answer: TokenRequest = api.create_subresource(account, "token", &request).await?;
        let expires = answer.status.expiration_timestamp.map_or(issued, |at| at.0);
        Ok(Token { text: answer.status.token, issued, asked, expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_leaves_a_fifth_and_never_more_than_a_day() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(renewal(at(0), at(3600)), at(2880));
        assert_eq!(renewal(at(0), at(365 * 86400)), at(86400));
    }
}
