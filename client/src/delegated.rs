//! Delegated authentication and authorization for the daemons' own servers, as upstream's
//! `--authentication-kubeconfig` and `--authorization-kubeconfig` have it: a bearer token is asked
//! about with a TokenReview, a client certificate is checked against the cluster's authority, and
//! what the user may do with a SubjectAccessReview on the path. Answers are kept for ten seconds.
//!
//! COMPAT: nobody known is `system:anonymous` and goes on to authorization, so that the cluster's
//! policy decides; an apiserver that cannot be reached refuses with 500, as upstream does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use api_types::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use api_types::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use daemon::clock::SharedClock;
use daemon::serve::{DelegatedFlags, Gate, GateFuture, PeerCertificates, Refusal};
use daemon::tls::{ClientCa, Subject};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

use crate::{Client, Error};

/// Upstream's default of `--authentication-token-webhook-cache-ttl` and its siblings.
const KEEP: Duration = Duration::from_secs(10);
/// An attacker's tokens must not fill the memory.
const MOST_ENTRIES: usize = 4096;

/// Lets a request pass when the apiserver knows its user and allows the path.
pub struct DelegatedGate {
    authentication: Client,
    authorization: Client,
    client_ca: Option<Arc<ClientCa>>,
    users: Cache<String, Option<User>>,
    decisions: Cache<(User, String, String), bool>,
    flags: Option<DelegatedFlags>,
    proxies: Option<Arc<ClientCa>>,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct User {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: Vec<(String, Vec<String>)>,
}

impl DelegatedGate {
    /// `client_ca` verifies client certificates (`--client-ca-file`); without it they count for nothing.
    pub fn new(
        authentication: Client,
        authorization: Client,
        client_ca: Option<Arc<ClientCa>>,
        clock: SharedClock,
    ) -> Self {
        let (users, decisions) = (Cache::new(clock.clone()), Cache::new(clock));
        Self { authentication, authorization, client_ca, users, decisions, flags: None, proxies: None }
    }

    /// With what the daemon's flags say; `proxies` verifies certificates of those who name users in headers
    /// (`--requestheader-client-ca-file`).
    #[must_use]
    pub fn with_flags(mut self, flags: &DelegatedFlags, proxies: Option<Arc<ClientCa>>) -> Self {
        self.flags = Some(flags.clone());
        self.proxies = proxies;
        self
    }

    async fn decide(&self, head: &Parts) -> Result<(), Refusal> {
        if self.flags.as_ref().is_some_and(|flags| flags.always_allows(head.uri.path())) {
            return Ok(());
        }
        let user = self.user(head).await?;
        let (verb, path) = (verb(head), head.uri.path().to_owned());
        let key = (user, verb, path);
        let allowed = match self.decisions.get(&key) {
            Some(allowed) => allowed,
            None => {
                let allowed = self.allowed(&key).await.map_err(|e| unreachable_apiserver(&e))?;
                self.decisions.put(key.clone(), allowed, self.keep_decision(allowed));
                allowed
            }
        };
        let (user, verb, path) = key;
        if allowed { Ok(()) } else { Err(Refusal::forbidden(&user.name, &verb, &path)) }
    }

    async fn user(&self, head: &Parts) -> Result<User, Refusal> {
        if let Some(user) = self.proxied(head).or_else(|| self.certified(head)) {
            return Ok(user);
        }
        let Some(token) = bearer_token(head) else { return Ok(anonymous()) };
        let known = match self.users.get(token) {
            Some(known) => known,
            None => {
                let known = self.review(token).await.map_err(|e| unreachable_apiserver(&e))?;
                let keep = self.flags.as_ref().map_or(KEEP, |f| f.authentication_token_webhook_cache_ttl.0);
                self.users.put(token.to_owned(), known.clone(), keep);
                known
            }
        };
        known.ok_or_else(Refusal::unauthorized)
    }

    fn keep_decision(&self, allowed: bool) -> Duration {
        let Some(flags) = &self.flags else { return KEEP };
        match allowed {
            true => flags.authorization_webhook_cache_authorized_ttl.0,
            false => flags.authorization_webhook_cache_unauthorized_ttl.0,
        }
    }

    /// The user whom a proxy names in headers, if it is one of those that may (`--requestheader-*`).
    fn proxied(&self, head: &Parts) -> Option<User> {
        let (flags, ca) = (self.flags.as_ref()?, self.proxies.as_ref()?);
        let name = named_user(flags, &head.headers)?;
        let chain = head.extensions.get::<PeerCertificates>()?;
        ca.verify(&chain.0).ok()?;
        let proxy = Subject::of(chain.0.first()?).ok()?.common_name;
        let allowed = &flags.requestheader_allowed_names;
        (allowed.is_empty() || allowed.contains(&proxy)).then_some(name)
    }

    fn certified(&self, head: &Parts) -> Option<User> {
        let chain = head.extensions.get::<PeerCertificates>()?;
        self.client_ca.as_ref()?.verify(&chain.0).ok()?;
        let subject = Subject::of(chain.0.first()?).ok().filter(|s| !s.common_name.is_empty())?;
        Some(authenticated(User {
            name: subject.common_name,
            groups: subject.organizations,
            ..User::default()
        }))
    }

    async fn review(&self, token: &str) -> Result<Option<User>, Error> {
        let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = self.authentication.api::<TokenReview>().create(&review).await?.status;
        Ok(status.authenticated.then(|| User::from(status.user)))
    }

    async fn allowed(&self, (user, verb, path): &(User, String, String)) -> Result<bool, Error> {
        let attributes = NonResourceAttributes { path: path.clone(), verb: verb.clone() };
        let spec = SubjectAccessReviewSpec {
            non_resource_attributes: Some(Box::new(attributes)),
            user: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect(),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        Ok(self.authorization.api::<SubjectAccessReview>().create(&review).await?.status.allowed)
    }
}

impl Gate for DelegatedGate {
    fn check<'a>(&'a self, head: &'a Parts) -> GateFuture<'a> {
        Box::pin(self.decide(head))
    }
}

impl From<UserInfo> for User {
    fn from(info: UserInfo) -> Self {
        Self {
            name: info.username,
            uid: info.uid,
            groups: info.groups,
            extra: info.extra.into_iter().map(|(k, v)| (k, v.0)).collect(),
        }
    }
}

/// What the headers of a proxy say about the user.
fn named_user(flags: &DelegatedFlags, headers: &HeaderMap) -> Option<User> {
    let texts = |names: &[String]| -> Vec<String> {
        let values = names.iter().flat_map(|name| headers.get_all(name.as_str()));
        values.filter_map(|value| value.to_str().ok()).filter(|v| !v.is_empty()).map(str::to_owned).collect()
    };
    let first = |names: &[String]| texts(names).into_iter().next();
    let mut extra = BTreeMap::<String, Vec<String>>::new();
    for prefix in &flags.requestheader_extra_headers_prefix {
        let prefix = prefix.to_ascii_lowercase();
        for (header, value) in headers {
            if let (Some(key), Ok(value)) = (header.as_str().strip_prefix(&prefix), value.to_str()) {
                extra.entry(key.to_owned()).or_default().push(value.to_owned());
            }
        }
    }
    Some(authenticated(User {
        name: first(&flags.requestheader_username_headers)?,
        uid: first(&flags.requestheader_uid_headers).unwrap_or_default(),
        groups: texts(&flags.requestheader_group_headers),
        extra: extra.into_iter().collect(),
    }))
}

fn authenticated(mut user: User) -> User {
    user.groups.push("system:authenticated".into());
    user
}

fn anonymous() -> User {
    let groups = vec!["system:unauthenticated".to_owned()];
    User { name: "system:anonymous".into(), groups, ..User::default() }
}

/// The verb of a path that is no resource: the method in lower case.
fn verb(head: &Parts) -> String {
    head.method.as_str().to_ascii_lowercase()
}

fn bearer_token(head: &Parts) -> Option<&str> {
    let header = head.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn unreachable_apiserver(error: &Error) -> Refusal {
    tracing::warn!(error = daemon::logging::error_chain(error), "Cannot ask the apiserver about a request");
    Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, body: "Internal Server Error\n".into() }
}

/// Answers, each for a time.
struct Cache<K, V> {
    clock: SharedClock,
    entries: Mutex<AHashMap<K, (Duration, V)>>,
}

impl<K: std::hash::Hash + Eq, V: Clone> Cache<K, V> {
    fn new(clock: SharedClock) -> Self {
        Self { clock, entries: Mutex::default() }
    }

    fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        let now = self.clock.monotonic();
        self.entries.lock().get(key).filter(|(until, _)| *until > now).map(|(_, value)| value.clone())
    }

    fn put(&self, key: K, value: V, keep: Duration) {
        let now = self.clock.monotonic();
        let mut entries = self.entries.lock();
        if entries.len() >= MOST_ENTRIES {
            entries.retain(|_, (until, _)| *until > now);
        }
        if entries.len() < MOST_ENTRIES {
            entries.insert(key, (now + keep, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use daemon::clock::Manual;

    use super::*;

    fn head(authorization: Option<&str>) -> Parts {
        let mut request = http::Request::get("/metrics");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn tokens_are_read_as_upstream_reads_them() {
        assert_eq!(bearer_token(&head(Some("Bearer abc"))), Some("abc"));
        assert_eq!(bearer_token(&head(Some("bearer  abc "))), Some("abc"));
        for no in [None, Some("Bearer"), Some("Bearer "), Some("Basic abc")] {
            assert_eq!(bearer_token(&head(no)), None);
        }
    }

    #[test]
    fn answers_are_kept_for_ten_seconds() {
        let clock = Manual::new(jiff::Timestamp::UNIX_EPOCH);
        let cache: Cache<String, u8> = Cache::new(clock.clone());
        cache.put("a".into(), 1, KEEP);
        clock.advance(Duration::from_secs(9));
        assert_eq!(cache.get("a"), Some(1));
        clock.advance(Duration::from_secs(1));
        assert_eq!(cache.get("a"), None);
    }

    #[test]
    fn a_full_cache_forgets_the_old_and_takes_no_more() {
        let clock = Manual::new(jiff::Timestamp::UNIX_EPOCH);
        let cache: Cache<usize, ()> = Cache::new(clock.clone());
        (0..=MOST_ENTRIES).for_each(|key| cache.put(key, (), KEEP));
        assert_eq!(cache.get(&MOST_ENTRIES), None);
        clock.advance(KEEP);
        cache.put(MOST_ENTRIES, (), KEEP);
        assert_eq!(cache.get(&MOST_ENTRIES), Some(()));
    }

    #[tokio::test]
    async fn an_apiserver_that_cannot_be_reached_refuses() {
        daemon::tls::install_default_provider();
        let client = Client::new(crate::Config::new("http://127.0.0.1:1")).unwrap();
        let gate = DelegatedGate::new(client.clone(), client, None, daemon::clock::System::shared());
        let refusal = gate.check(&head(Some("Bearer abc"))).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
