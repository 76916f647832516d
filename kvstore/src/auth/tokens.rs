//! Tokens that stand for a user: simple ones (random, given by an entry of the log so that every member
//! knows them, forgotten when not used for a while) and signed ones (`jwt`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::jwt::{Jwt, JwtError};
use super::{AuthTable, Caller};
use crate::error::Error;

/// Seconds that a simple token lives unused, unless `--auth-token-ttl` says otherwise.
pub const DEFAULT_TTL: u64 = 300;
/// COMPAT: a simple token is so many letters, a dot and a number.
const PREFIX_LETTERS: usize = 16;

/// How users get tokens: `--auth-token`.
pub enum Provider {
    Simple,
    Jwt(Box<Jwt>),
    /// No tokens: only certificates tell who asks.
    Off,
}

/// What is wrong with `--auth-token`.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("auth: invalid auth options")]
    Options,
    #[error(transparent)]
    Jwt(#[from] JwtError),
}

impl Provider {
    /// Parses `TYPE[,OPTION=VALUE...]`.
    pub fn parse(text: &str) -> Result<Self, ProviderError> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut options = HashMap::new();
        for part in parts {
            let (name, value) = part.split_once('=').ok_or(ProviderError::Options)?;
            if value.contains('=') || options.insert(name, value).is_some() {
                return Err(ProviderError::Options);
            }
        }
        match kind {
            "simple" => Ok(Provider::Simple),
            "jwt" => Ok(Provider::Jwt(Box::new(Jwt::load(&options)?))),
            "" => Ok(Provider::Off),
            _ => Err(ProviderError::Options),
        }
    }
}

/// Simple tokens that are in use, as this member knows them.
pub struct SimpleTokens {
    tokens: Mutex<HashMap<String, Given>>,
    ttl: AtomicU64,
}

struct Given {
    user: String,
    until: Instant,
}

impl Default for SimpleTokens {
    fn default() -> Self {
        Self { tokens: Mutex::default(), ttl: AtomicU64::new(DEFAULT_TTL) }
    }
}

/// What applying a command does to tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenEffect {
    Give {
        user: String,
        token: String,
    },
    /// The user's password changed, or there is no such user any more.
    Forget {
        user: String,
    },
    /// Authentication was turned off.
    ForgetAll,
    /// Rights changed and tokens did not.
    None,
}

impl SimpleTokens {
    /// COMPAT: 0 is the default.
    pub fn set_ttl(&self, seconds: u64) {
        self.ttl.store(if seconds == 0 { DEFAULT_TTL } else { seconds }, Ordering::Relaxed);
    }

    pub fn apply(&self, effect: TokenEffect, now: Instant) {
        let mut tokens = self.tokens.lock();
        match effect {
            TokenEffect::Give { user, token } => {
                tokens.retain(|_, given| given.until > now);
                tokens.insert(token, Given { user, until: self.end(now) });
            }
            TokenEffect::Forget { user } => tokens.retain(|_, given| given.user != user),
            TokenEffect::ForgetAll => tokens.clear(),
            TokenEffect::None => {}
        }
    }

    /// The user that a token stands for; being used renews it.
    pub fn user(&self, token: &str, now: Instant) -> Option<String> {
        let mut tokens = self.tokens.lock();
        let given = tokens.get_mut(token).filter(|given| given.until > now)?;
        given.until = self.end(now);
        Some(given.user.clone())
    }

    fn end(&self, now: Instant) -> Instant {
        now + Duration::from_secs(self.ttl.load(Ordering::Relaxed))
    }
}

/// The index of the log at which a simple token was given.
pub fn index(token: &str) -> Option<u64> {
    let (_, index) = token.split_once('.')?;
    index.parse().ok()
}

/// The random part of a new simple token.
pub fn prefix() -> Result<String, Error> {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut prefix = String::new();
    while prefix.len() < PREFIX_LETTERS {
        let mut random = [0_u8; 64];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Error::Internal("no random bytes".to_owned()))?;
        // Each letter is as likely as any other: what is above the last whole round is left out.
        let whole = random.iter().filter(|byte| usize::from(**byte) < 256 / LETTERS.len() * LETTERS.len());
        let letters = whole.map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
        prefix.extend(letters.take(PREFIX_LETTERS - prefix.len()));
    }
    Ok(prefix)
}

/// Who a token stands for now. A simple one is as new as the table: its revision is what is now.
pub fn caller(provider: &Provider, simple: &SimpleTokens, token: &str, table: &AuthTable) -> Option<Caller> {
    match provider {
        Provider::Simple => {
            let name = simple.user(token, Instant::now())?;
            Some(Caller { name, revision: table.revision() })
        }
        Provider::Jwt(jwt) => jwt.verify(token),
        Provider::Off => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_as_long_as_it_is_used() {
        let tokens = SimpleTokens::default();
        tokens.set_ttl(10);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let give = |user: &str, token: &str| {
            tokens.apply(TokenEffect::Give { user: user.into(), token: token.into() }, start);
        };
        give("alice", "a.1");
        give("alice", "b.2");
        give("bob", "c.3");
        assert_eq!(tokens.user("a.1", at(9)).as_deref(), Some("alice"));
        assert_eq!(tokens.user("b.2", at(10)), None);
        assert_eq!(tokens.user("a.1", at(18)).as_deref(), Some("alice"));
        tokens.apply(TokenEffect::Forget { user: "alice".into() }, at(18));
        assert_eq!(tokens.user("a.1", at(18)), None);
        assert_eq!(tokens.user("c.3", at(5)).as_deref(), Some("bob"));
        tokens.apply(TokenEffect::ForgetAll, at(5));
        assert_eq!(tokens.user("c.3", at(5)), None);
    }

    #[test]
    fn prefixes_are_letters_and_differ() {
        let (a, b) = (prefix().unwrap(), prefix().unwrap());
        assert_eq!(a.len(), PREFIX_LETTERS);
        assert!(a.bytes().all(|byte| byte.is_ascii_alphabetic()));
        assert_ne!(a, b);
        assert_eq!((index("abc.17"), index("abc"), index("abc.x")), (Some(17), None, None));
    }

    #[test]
    fn providers_are_parsed() {
        assert!(matches!(Provider::parse("simple"), Ok(Provider::Simple)));
        assert!(matches!(Provider::parse(""), Ok(Provider::Off)));
        for bad in ["simple,x", "simple,a=1,a=2", "other", "jwt,sign-method"] {
            assert!(matches!(Provider::parse(bad), Err(ProviderError::Options)), "{bad}");
        }
    }
}
