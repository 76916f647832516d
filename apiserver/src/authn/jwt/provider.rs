//! An issuer as it is reached: its discovery document (OpenID Connect Discovery), its keys, and whether a token is
//! one that it signed, for us and in its time.
//!
//! Keys are fetched when a token asks for one that is not known; requests that wait for the same keys share one fetch.

use std::sync::{Arc, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use daemon::clock::SharedClock;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::keys::{self, Key};
use super::metrics;
use crate::stream::{Backend, Body};
use crate::webhook::{Pool, trust};

const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// An answer takes no longer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries to find an issuer.
const RETRY: Duration = Duration::from_secs(10);
/// Most places that an answer may point on to.
const REDIRECTS: usize = 10;
/// COMPAT: clocks may differ by so many seconds where a token says from when on it is good, and by none in its end.
const LEEWAY: f64 = 60.0;
const GOOGLE: &str = "https://accounts.google.com";

/// What a token has to be.
#[derive(Debug, Clone)]
pub struct Demands {
    /// One of these has to be among its own.
    pub audiences: Vec<String>,
    pub algorithms: Vec<String>,
}

/// Gets documents over HTTPS.
pub struct Fetcher(Arc<Pool>);

impl Fetcher {
    /// `authorities` in PEM; the system's when empty.
    ///
    /// # Errors
    /// For PEM without certificates.
    pub fn new(authorities: &str) -> Result<Self, String> {
        let config = trust::config(authorities.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Self(Pool::new(Backend::new(Arc::new(move || config.clone())))))
    }

    /// # Errors
    /// When nobody answers.
    pub async fn get(&self, url: &str, token: &str) -> Result<(StatusCode, Bytes), String> {
        let told = |why: String| format!("Get {url:?}: {why}");
        let mut at: Uri = url.parse().map_err(|error| told(format!("{error}")))?;
        let first = at.authority().cloned();
        for _ in 0..=REDIRECTS {
            // Nobody else is shown what this one is to see.
            let shown = if at.authority() == first.as_ref() { token } else { "" };
            let asked = tokio::time::timeout(TIMEOUT, self.0.exchange(&at, || question(&at, shown)));
            let (head, body) = asked
                .await
                .map_err(|_| {
                    told("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into())
                })?
                .map_err(told)?;
            let location = head.headers.get(header::LOCATION).and_then(|own| own.to_str().ok());
            match location.filter(|_| head.status.is_redirection()) {
                Some(location) if location.starts_with('/') => {
                    let (scheme, authority) = (at.scheme_str(), at.authority());
                    let base =
                        format!("{}://{}", scheme.unwrap_or("https"), authority.map_or("", |a| a.as_str()));
                    at = format!("{base}{location}").parse().map_err(|error| told(format!("{error}")))?;
                }
                Some(location) => at = location.parse().map_err(|error| told(format!("{error}")))?,
                None => return Ok((head.status, body)),
            }
        }
        Err(told("stopped after 10 redirects".into()))
    }
}

fn question(url: &Uri, token: &str) -> Request<Body> {
    let empty: Body = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::new(empty);
    *request.uri_mut() = url.path_and_query().map_or_else(Uri::default, |path| path.clone().into());
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(url.authority().map_or("", |own| own.as_str())) {
        headers.insert(header::HOST, host);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static("Go-http-client/1.1"));
    if let Ok(bearer) = HeaderValue::from_str(&format!("Bearer {token}"))
        && !token.is_empty()
    {
        headers.insert(header::AUTHORIZATION, bearer);
    }
    request
}

/// An issuer.
pub struct Provider {
    issuer: String,
    discovery: String,
    demands: Demands,
    fetcher: Arc<Fetcher>,
    clock: SharedClock,
    found: Mutex<Found>,
    /// Held while keys are fetched.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Found {
    /// Empty until the issuer was found.
    keys_url: String,
    /// Why it was not found yet.
    trouble: Option<String>,
    keys: Vec<Key>,
    /// How often keys were fetched.
    fetches: u64,
}

/// The parts of a token.
struct Parts<'t> {
    key: String,
    algorithm: String,
    message: &'t str,
    signature: Vec<u8>,
    claims: Vec<u8>,
}

impl Provider {
    /// `discovery` is where its document is, if it is elsewhere than an issuer has it.
    pub fn new(
        issuer: &str,
        discovery: &str,
        demands: Demands,
        fetcher: Arc<Fetcher>,
        clock: SharedClock,
    ) -> Self {
        let own = || format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/'));
        let discovery = if discovery.is_empty() { own() } else { discovery.to_owned() };
        Self {
            issuer: issuer.to_owned(),
            discovery,
            demands,
            fetcher,
            clock,
            found: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        }
    }

    /// Looks for the issuer until it is found, or nobody needs it any more.
    pub async fn find(provider: Weak<Self>) {
        while let Some(this) = provider.upgrade() {
            match this.discover().await {
                Ok(keys_url) => {
                    let mut found = this.found.lock();
                    (found.keys_url, found.trouble) = (keys_url, None);
                    return;
                }
                Err(why) => {
                    tracing::error!(issuer = this.issuer, "oidc authenticator: initializing plugin: {why}");
                    this.found.lock().trouble = Some(why);
                }
            }
            let pause = this.clock.sleep(RETRY);
            drop(this);
            pause.await;
        }
    }

    /// Why its tokens cannot be judged yet.
    pub fn trouble(&self) -> Option<String> {
        let found = self.found.lock();
        let issuer = &self.issuer;
        match &found.trouble {
            Some(why) => Some(format!("oidc: authenticator for issuer {issuer:?} is not healthy: {why}")),
            None if found.keys_url.is_empty() => {
                let own = format!("oidc: authenticator for issuer {issuer:?} is not initialized");
                Some(format!("oidc: authenticator for issuer {issuer:?} is not healthy: {own}"))
            }
            None => None,
        }
    }

    pub fn is_found(&self) -> bool {
        !self.found.lock().keys_url.is_empty()
    }

    async fn discover(&self) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Document {
            #[serde(default)]
            issuer: String,
            #[serde(default)]
            jwks_uri: String,
        }
        let (status, body) = self.fetcher.get(&self.discovery, "").await?;
        if status != StatusCode::OK {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
        let document: Document = serde_json::from_slice(&body)
            .map_err(|error| format!("oidc: failed to decode provider discovery object: {error}"))?;
        if document.issuer != self.issuer {
            let (expected, got) = (&self.issuer, &document.issuer);
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {expected:?} got {got:?}"
            ));
        }
        if document.jwks_uri.is_empty() {
            return Err("provider did not return JWKS URL".to_owned());
        }
        Ok(document.jwks_uri)
    }

    /// The claims of a token of this issuer.
    ///
    /// # Errors
    /// When it is not what is demanded.
    pub async fn verify(&self, token: &str) -> Result<Map<String, Json>, String> {
        let parts = Parts::of(token).ok_or("oidc: malformed jwt")?;
        let (algorithms, own) = (&self.demands.algorithms, &parts.algorithm);
        if !algorithms.contains(own) {
            return Err(format!(
                "oidc: id token signed with unsupported algorithm, expected {algorithms:?} got {own:?}"
            ));
        }
        self.check_signature(&parts).await.map_err(|why| format!("failed to verify signature: {why}"))?;
        let claims: Map<String, Json> = serde_json::from_slice(&parts.claims)
            .map_err(|error| format!("oidc: failed to unmarshal claims: {error}"))?;
        self.check_claims(&claims)?;
        Ok(claims)
    }

    async fn check_signature(&self, parts: &Parts<'_>) -> Result<(), String> {
        let (is_good, seen) = {
            let found = self.found.lock();
            (parts.is_by(&found.keys), found.fetches)
        };
        if is_good {
            return Ok(());
        }
        let _one = self.fetching.lock().await;
        // Somebody may have fetched them while we waited.
        if self.found.lock().fetches == seen {
            self.fetch().await.map_err(|why| format!("fetching keys {why}"))?;
        }
        if parts.is_by(&self.found.lock().keys) {
            return Ok(());
        }
        Err("failed to verify id token signature".to_owned())
    }

    async fn fetch(&self) -> Result<(), String> {
        let url = self.found.lock().keys_url.clone();
        let fetched = match self.fetcher.get(&url, "").await {
            Ok((StatusCode::OK, body)) => keys::parse(&body)
                .map(|keys| (keys, body))
                .map_err(|why| format!("oidc: failed to decode keys: {why}")),
            Ok((status, body)) => {
                Err(format!("oidc: get keys failed: {status} {}", String::from_utf8_lossy(&body)))
            }
            Err(why) => Err(format!("oidc: get keys failed {why}")),
        };
        match fetched {
            Ok((keys, text)) => {
                metrics::fetched(&self.issuer, Some(&text[..]));
                let mut found = self.found.lock();
                (found.keys, found.fetches) = (keys, found.fetches + 1);
                Ok(())
            }
            Err(why) => {
                metrics::fetched(&self.issuer, None);
                Err(why)
            }
        }
    }

    fn check_claims(&self, claims: &Map<String, Json>) -> Result<(), String> {
        let issuer = claims.get("iss").and_then(Json::as_str).unwrap_or_default();
        let is_google = self.issuer == GOOGLE && issuer == "accounts.google.com";
        if issuer != self.issuer && !is_google {
            let expected = &self.issuer;
            return Err(format!(
                "oidc: id token issued by a different provider, expected {expected:?} got {issuer:?}"
            ));
        }
        let named: Vec<&str> = match claims.get("aud") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(all)) => all.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        };
        let demanded = &self.demands.audiences;
        if !demanded.iter().any(|own| named.contains(&own.as_str())) {
            return Err(match demanded.as_slice() {
                [one] => format!("oidc: expected audience {one:?} got {named:?}"),
                all => format!("oidc: expected audience in {all:?} got {named:?}"),
            });
        }
        let now = self.clock.now();
        let seconds = now.as_second() as f64;
        let time = |name: &str| claims.get(name).and_then(Json::as_f64);
        // One without an end has ended long ago.
        let end = time("exp").unwrap_or(0.0);
        if end < seconds {
            return Err(format!("oidc: token is expired (Token Expiry: {})", shown(end)));
        }
        match time("nbf") {
            Some(begin) if seconds + LEEWAY < begin => {
                Err(format!("oidc: current time {now} before the nbf (not before) time: {}", shown(begin)))
            }
            _ => Ok(()),
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "what does not fit is no time either")]
fn shown(seconds: f64) -> String {
    jiff::Timestamp::from_second(seconds as i64).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

impl<'t> Parts<'t> {
    fn of(token: &'t str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            #[serde(default)]
            kid: String,
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.').filter(|(_, claims)| !claims.contains('.'))?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        Some(Self {
            key: header.kid,
            algorithm: header.alg,
            message,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            claims: URL_SAFE_NO_PAD.decode(claims).ok()?,
        })
    }

    fn is_by(&self, keys: &[Key]) -> bool {
        keys.iter()
            .filter(|key| self.key.is_empty() || key.id == self.key)
            .any(|key| key.verifies(&self.algorithm, self.message.as_bytes(), &self.signature))
    }
}

/// Whose token this seems to be, before any of it is believed.
///
/// # Errors
/// For what is no token of three parts.
pub fn untrusted_issuer(token: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(default)]
        iss: String,
    }
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    let [_, claims, _] = parts.as_slice() else { return Err("malformed token".to_owned()) };
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|error| format!("error decoding token: {error}"))?;
    let claims: Claims =
        serde_json::from_slice(&claims).map_err(|error| format!("while unmarshaling token: {error}"))?;
    // Google leaves out the scheme.
    Ok(if claims.iss == "accounts.google.com" { GOOGLE.to_owned() } else { claims.iss })
}
