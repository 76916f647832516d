//! Remembers tokens that were good, for ten seconds as upstream does. Failures are not remembered.
//!
//! Keyed by a digest, so that no token lies about in memory longer than its request.

use super::{AuthnError, Identity, TokenAuthenticator};
use daemon::clock::SharedClock;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(10);
/// Beyond this many entries the old ones are swept; a cluster has fewer live tokens in ten seconds.
const SWEEP_AT: usize = 4096;

type Key = [u8; 32];

/// A cache before another token authenticator.
pub struct TokenCache {
    inner: Arc<dyn TokenAuthenticator>,
    clock: SharedClock,
    good: Mutex<HashMap<Key, (Duration, Identity)>>,
}

impl TokenCache {
    pub fn new(inner: Arc<dyn TokenAuthenticator>, clock: SharedClock) -> Self {
        Self { inner, clock, good: Mutex::default() }
    }
}

#[async_trait::async_trait]
impl TokenAuthenticator for TokenCache {
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Identity>, AuthnError> {
        let key = key(token, audiences);
        let now = self.clock.monotonic();
        if let Some((at, identity)) = self.good.lock().get(&key)
            && now.saturating_sub(*at) < TTL
        {
            return Ok(Some(identity.clone()));
        }
        let found = self.inner.authenticate(token, audiences).await?;
        if let Some(identity) = &found {
            let mut good = self.good.lock();
            if good.len() >= SWEEP_AT {
                good.retain(|_, (at, _)| now.saturating_sub(*at) < TTL);
            }
            good.insert(key, (now, identity.clone()));
        }
        Ok(found)
    }
}

/// Lengths go in too, so that no two lists of audiences look alike.
fn key(token: &str, audiences: &[String]) -> Key {
    let mut digest = Sha256::new();
    for part in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
