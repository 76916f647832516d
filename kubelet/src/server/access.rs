//! Who asks, and whether they may: client certificates and TokenReview, then SubjectAccessReview on
//! the node's subresource that the path stands for (KEP-2862 for the fine-grained ones).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use api_types::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use api_types::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use client::Client;
use daemon::serve::{PeerCertificates, Refusal};
use daemon::tls::{ClientCa, Subject};
use http::{Method, Request, StatusCode, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::kubelet::Kubelet;

/// Entries of a cache; tokens that someone makes up must not fill the memory.
const MOST: usize = 4096;

/// Authenticates and authorizes.
pub struct Access {
    client: Client,
    node: String,
    client_ca: Option<Arc<ClientCa>>,
    anonymous: bool,
    tokens: Option<Cache<String, Option<UserInfo>>>,
    token_life: Duration,
    webhook: bool,
    decisions: Cache<(String, Vec<String>, String, String), bool>,
    allowed_life: Duration,
    denied_life: Duration,
}

/// The subresources of the node that a path stands for: the request is allowed when one of them is.
pub fn subresources(path: &str) -> &'static [&'static str] {
    let below = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}/"));
    if below("/stats") {
        &["stats"]
    } else if below("/metrics") {
        &["metrics"]
    } else if below("/logs") {
        &["log"]
    } else if below("/checkpoint") {
        &["checkpoint"]
    } else if below("/statusz") {
        &["statusz"]
    } else if below("/flagz") {
        &["configz"]
    } else if below("/healthz") {
        &["healthz", "proxy"]
    } else if below("/configz") {
        &["configz", "proxy"]
    } else if below("/pods") || below("/runningpods") {
        &["pods", "proxy"]
    } else {
        &["proxy"]
    }
}

/// The verb of a method.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

impl Access {
    /// As the configuration says.
    pub fn new(kubelet: &Kubelet, client_ca: Option<Arc<ClientCa>>) -> Self {
        let authentication = &kubelet.config.authentication;
        let authorization = &kubelet.config.authorization;
        Self {
            client: kubelet.client.clone(),
            node: kubelet.node_name.clone(),
            client_ca,
            anonymous: authentication.anonymous.enabled == Some(true),
            tokens: (authentication.webhook.enabled != Some(false)).then(Cache::default),
            token_life: authentication.webhook.cache_ttl.unwrap_or(Duration::from_secs(120)),
            webhook: authorization.mode != "AlwaysAllow",
            decisions: Cache::default(),
            allowed_life: authorization.webhook.authorized.unwrap_or(Duration::from_secs(300)),
            denied_life: authorization.webhook.unauthorized.unwrap_or(Duration::from_secs(30)),
        }
    }

    /// Lets the request pass or says how it is refused.
    pub async fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let user = self.user(request).await?;
        if !self.webhook {
            return Ok(());
        }
        let verb = verb(request.method());
        let path = request.uri().path();
        for subresource in subresources(path) {
            if self.allowed(&user, verb, subresource).await? {
                return Ok(());
            }
        }
        let names = subresources(path).join(" ");
        Err(Refusal {
            status: StatusCode::FORBIDDEN,
            body: format!(
                "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{names}])\n",
                user.username
            ),
        })
    }

    async fn user<B>(&self, request: &Request<B>) -> Result<UserInfo, Refusal> {
        if let (Some(chain), Some(ca)) = (request.extensions().get::<PeerCertificates>(), &self.client_ca)
            && ca.verify(&chain.0).is_ok()
            && let Some(subject) = chain.0.first().and_then(|leaf| Subject::of(leaf).ok())
            && !subject.common_name.is_empty()
        {
            let mut user = UserInfo {
                username: subject.common_name,
                groups: subject.organizations,
                ..Default::default()
            };
            user.groups.push("system:authenticated".into());
            return Ok(user);
        }
        let token = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim().to_owned());
        if let (Some(token), Some(cache)) = (token, &self.tokens) {
            if let Some(known) = cache.get(&token) {
                return known.ok_or_else(Refusal::unauthorized);
            }
            let spec = TokenReviewSpec { token: token.clone(), ..Default::default() };
            let review = TokenReview { spec, ..Default::default() };
            let status = self.client.review(&review).await.map_err(unreachable)?.status;
            let user = status.authenticated.then_some(status.user);
            cache.put(token, user.clone(), self.token_life);
            return user.ok_or_else(Refusal::unauthorized);
        }
        if !self.anonymous {
            return Err(Refusal::unauthorized());
        }
        Ok(UserInfo {
            username: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
            ..Default::default()
        })
    }

    async fn allowed(&self, user: &UserInfo, verb: &str, subresource: &str) -> Result<bool, Refusal> {
        let key = (user.username.clone(), user.groups.clone(), verb.to_owned(), subresource.to_owned());
        if let Some(known) = self.decisions.get(&key) {
            return Ok(known);
        }
        let attributes = ResourceAttributes {
            verb: verb.into(),
            version: "v1".into(),
            resource: "nodes".into(),
            subresource: subresource.into(),
            name: self.node.clone(),
            ..Default::default()
        };
        let spec = SubjectAccessReviewSpec {
            resource_attributes: Some(Box::new(attributes)),
            user: user.username.clone(),
            groups: user.groups.clone(),
            uid: user.uid.clone(),
            extra: user.extra.clone(),
            ..Default::default()
        };
        let review = SubjectAccessReview { spec, ..Default::default() };
        let allowed = self.client.review(&review).await.map_err(unreachable)?.status.allowed;
        self.decisions.put(key, allowed, if allowed { self.allowed_life } else { self.denied_life });
        Ok(allowed)
    }
}

fn unreachable(error: client::Error) -> Refusal {
    tracing::warn!(%error, "cannot ask the apiserver about a request");
    Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, body: "Internal Server Error\n".into() }
}

/// Answers that hold for a while.
struct Cache<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.0.lock().get(key).filter(|(until, _)| *until > Instant::now()).map(|(_, value)| value.clone())
    }

    fn put(&self, key: K, value: V, life: Duration) {
        let now = Instant::now();
        let mut entries = self.0.lock();
        if entries.len() >= MOST {
            entries.retain(|_, (until, _)| *until > now);
        }
        if entries.len() < MOST {
            entries.insert(key, (now + life, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_for_subresources() {
        let check = |path: &str, expected: &[&str]| assert_eq!(subresources(path), expected, "{path}");
        check("/metrics/cadvisor", &["metrics"]);
        check("/stats/summary", &["stats"]);
        check("/logs/", &["log"]);
        check("/pods", &["pods", "proxy"]);
        check("/statusz", &["statusz"]);
        check("/flagz", &["configz"]);
        check("/metrics/slis", &["metrics"]);
        check("/healthz/ping", &["healthz", "proxy"]);
        check("/exec/ns/pod/c", &["proxy"]);
        check("/metricsx", &["proxy"]);
    }
}
