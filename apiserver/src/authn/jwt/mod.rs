//! Tokens of issuers outside of the cluster (OpenID Connect; KEP-3331): who the bearer is, by claims of the token or
//! by expressions over them, and whether the token and the user are such as the configuration asks for.
//!
//! `config` is what is asked, `validate` whether it can be; `provider` reaches the issuer and judges signatures,
//! `user` reads the claims. `reload` follows the file. An issuer that is not found yet is looked for meanwhile: its
//! tokens are refused until then.

pub mod config;
mod keys;
mod metrics;
mod provider;
pub mod reload;
#[cfg(test)]
mod tests;
mod user;
mod validate;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use daemon::clock::SharedClock;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{AuthnError, Identity, TokenAuthenticator};
use crate::request::User;
use config::{Configuration, Jwt};
use provider::{Demands, Fetcher, Provider, untrusted_issuer};
use validate::Compiled;

pub use keys::ALGORITHMS;
pub use validate::check;

/// The issuers that are in force.
pub struct JwtTokens {
    current: ArcSwap<Vec<Issuer>>,
    /// `--api-audiences`, for all of which such a token is good.
    audiences: Vec<String>,
}

impl JwtTokens {
    pub fn new(issuers: Vec<Issuer>, audiences: Vec<String>) -> Self {
        Self { current: ArcSwap::from_pointee(issuers), audiences }
    }

    fn replace(&self, issuers: Vec<Issuer>) {
        let old = self.current.swap(Arc::new(issuers));
        let new = self.current.load();
        let gone = old.iter().filter(|old| new.iter().all(|new| new.own.issuer.url != old.own.issuer.url));
        gone.for_each(|old| metrics::forgotten(&old.own.issuer.url));
    }
}

#[async_trait::async_trait]
impl TokenAuthenticator for JwtTokens {
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Identity>, AuthnError> {
        let shared: Vec<String> =
            audiences.iter().filter(|asked| self.audiences.contains(asked)).cloned().collect();
        if !audiences.is_empty() && shared.is_empty() {
            return Ok(None);
        }
        let Ok(name) = untrusted_issuer(token) else { return Ok(None) };
        let current = self.current.load_full();
        let Some(issuer) = current.iter().find(|issuer| issuer.own.issuer.url == name) else {
            return Ok(None);
        };
        let started = Instant::now();
        let judged = issuer.judge(token).await;
        metrics::judged(&issuer.hash, judged.is_ok(), started.elapsed().as_secs_f64());
        let user = judged.map_err(AuthnError::Token)?;
        Ok(Some(Identity { user, audiences: shared }))
    }
}

/// What issuers are made with.
#[derive(Clone)]
pub struct Terms {
    /// What tokens may be signed with.
    pub algorithms: Vec<String>,
    pub clock: SharedClock,
}

/// One issuer in force.
pub struct Issuer {
    own: Jwt,
    hash: String,
    compiled: Compiled,
    provider: Arc<Provider>,
    fetcher: Arc<Fetcher>,
    demands: Demands,
    clock: SharedClock,
    /// Issuers that claims were referred to.
    others: Mutex<HashMap<String, Arc<Provider>>>,
}

/// Makes the issuers of a configuration, which is checked here, and begins to look for them.
///
/// # Errors
/// In upstream's words.
pub fn issuers(own: &Configuration, disallowed: &[String], terms: &Terms) -> anyhow::Result<Vec<Issuer>> {
    if let Some(odd) = terms.algorithms.iter().find(|own| !ALGORITHMS.contains(&own.as_str())) {
        anyhow::bail!("oidc: unsupported signing alg: {odd:?}");
    }
    let compiled = check(own, disallowed).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    own.jwt.iter().zip(compiled).map(|(jwt, compiled)| Issuer::new(jwt, compiled, terms)).collect()
}

impl Issuer {
    fn new(own: &Jwt, compiled: Compiled, terms: &Terms) -> anyhow::Result<Self> {
        let selector = &own.issuer.egress_selector_type;
        anyhow::ensure!(
            selector.is_empty(),
            "oidc: egress lookup required with egress selector type {selector:?}"
        );
        let fetcher = Fetcher::new(&own.issuer.certificate_authority)
            .map_err(|why| anyhow::anyhow!("Failed to read the CA contents: {why}"))?;
        let fetcher = Arc::new(fetcher);
        let demands =
            Demands { audiences: own.issuer.audiences.clone(), algorithms: terms.algorithms.clone() };
        let clock = terms.clock.clone();
        let (url, discovery) = (&own.issuer.url, &own.issuer.discovery_url);
        let provider =
            Arc::new(Provider::new(url, discovery, demands.clone(), fetcher.clone(), clock.clone()));
        tokio::spawn(Provider::find(Arc::downgrade(&provider)));
        Ok(Self {
            own: own.clone(),
            hash: metrics::hash(url.as_bytes()),
            compiled,
            provider,
            fetcher,
            demands,
            clock,
            others: Mutex::default(),
        })
    }

    /// Why its tokens cannot be judged yet.
    fn trouble(&self) -> Option<String> {
        self.provider.trouble()
    }

    async fn judge(&self, token: &str) -> Result<User, String> {
        if !self.provider.is_found() {
            return Err("oidc: authenticator not initialized".to_owned());
        }
        let verified = self.provider.verify(token).await;
        let mut claims = verified.map_err(|why| format!("oidc: verify token: {why}"))?;
        let groups = &self.own.claim_mappings.groups.claim;
        if !groups.is_empty() {
            self.gather(groups, &mut claims)
                .await
                .map_err(|why| format!("oidc: could not expand distributed claims: {why}"))?;
        }
        user::of(&self.own, &self.compiled, &Json::Object(claims))
    }

    /// Gets a claim that is elsewhere (OpenID Connect Core, 5.6.2).
    async fn gather(&self, claim: &str, claims: &mut Map<String, Json>) -> Result<(), String> {
        #[derive(Deserialize, Default)]
        struct Endpoint {
            #[serde(default)]
            endpoint: String,
            #[serde(default)]
            access_token: String,
        }
        let Some(names) = claims.get("_claim_names").filter(|_| !claims.contains_key(claim)) else {
            return Ok(());
        };
        let names: HashMap<String, String> = serde_json::from_value(names.clone())
            .map_err(|error| format!("oidc: error parsing distributed claim names: {error}"))?;
        let sources = claims.get("_claim_sources").ok_or("oidc: no claim sources")?;
        let sources: HashMap<String, Endpoint> = serde_json::from_value(sources.clone())
            .map_err(|error| format!("oidc: could not parse claim sources: {error}"))?;
        let Some(source) = names.get(claim) else { return Ok(()) };
        let at = sources.get(source).ok_or_else(|| {
            format!("id token _claim_names contained a source {source} missing in _claims_sources")
        })?;
        if at.endpoint.is_empty() {
            // A claim that comes along in the token itself is not supported.
            return Ok(());
        }
        let getting = |why: String| format!("while getting distributed claim {claim:?}: {why}");
        let (status, body) = self.fetcher.get(&at.endpoint, &at.access_token).await.map_err(getting)?;
        if !status.is_success() {
            return Err(getting(format!("error while getting distributed claim JWT: {status}")));
        }
        let token = String::from_utf8_lossy(&body).into_owned();
        let issuer = untrusted_issuer(&token).map_err(|why| {
            format!(
                "getting untrusted issuer from endpoint {} failed for claim {claim:?}: {why}",
                at.endpoint
            )
        })?;
        let provider = self.other(&issuer);
        if !provider.is_found() {
            return Err(format!(
                "verifying untrusted issuer {issuer} failed: verifier not initialized for issuer: {issuer:?}"
            ));
        }
        let mut found =
            provider.verify(&token).await.map_err(|why| format!("verify distributed claim token: {why}"))?;
        let value = found.remove(claim).ok_or_else(|| {
            let endpoint = &at.endpoint;
            format!("jwt returned by distributed claim endpoint {endpoint:?} did not contain claim: {claim}")
        })?;
        claims.insert(claim.to_owned(), value);
        Ok(())
    }

    fn other(&self, issuer: &str) -> Arc<Provider> {
        let mut others = self.others.lock();
        let known = others.entry(issuer.to_owned()).or_insert_with(|| {
            let (demands, fetcher) = (self.demands.clone(), self.fetcher.clone());
            let provider = Arc::new(Provider::new(issuer, "", demands, fetcher, self.clock.clone()));
            tokio::spawn(Provider::find(Arc::downgrade(&provider)));
            provider
        });
        known.clone()
    }
}
