//! The `continue` token of a paged list: where the next page starts, and at which revision.
//!
//! `base64url({"v":"meta.k8s.io/v1","rv":REVISION,"start":"KEY"})`, as upstream's, where KEY is the
//! last key of the page before, relative to the list's prefix, and a NUL. Revision -1 means: go on
//! at the present revision (the inconsistent continuation that a 410 offers).

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

/// A decoded token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continue {
    pub revision: i64,
    /// The first key of the page, relative to the list's prefix.
    pub start: String,
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("continue key is not valid: {0}")]
    Malformed(String),
    #[error("continue key is not valid: incorrect encoded start resourceVersion (version {0})")]
    Revision(String),
    #[error("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")]
    NoStart,
    #[error("continue key is not valid: server does not recognize this encoded version {0:?}")]
    Version(String),
    #[error("continue key is not valid: {0:?}")]
    Escapes(String),
}

#[derive(serde::Serialize, serde::Deserialize, Default)]
#[serde(default)]
struct Token {
    v: String,
    #[serde(default)]
    rv: i64,
    start: String,
}

impl Continue {
    pub fn encode(&self) -> String {
        let token = Token { v: "meta.k8s.io/v1".into(), rv: self.revision, start: self.start.clone() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token has only texts and a number"))
    }

    /// # Errors
    /// [`Refused`], whose text goes to the client as a 400.
    pub fn decode(text: &str) -> Result<Self, Refused> {
        let bytes = URL_SAFE_NO_PAD.decode(text).or_else(|_| URL_SAFE.decode(text)).map_err(|error| {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                _ => text.len() / 4 * 4,
            };
            Refused::Malformed(format!("illegal base64 data at input byte {at}"))
        })?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|e| Refused::Malformed(e.to_string()))?;
        if token.v != "meta.k8s.io/v1" {
            return Err(Refused::Version(token.v));
        }
        if token.rv == 0 || token.rv < -1 {
            return Err(Refused::Revision(token.v));
        }
        if token.start.is_empty() {
            return Err(Refused::NoStart);
        }
        // A start that climbs out of the list's prefix would read other resources.
        let climbs = token.start.split('/').any(|step| matches!(step, "." | ".."));
        if climbs || token.start.starts_with('/') {
            return Err(Refused::Escapes(token.start));
        }
        Ok(Self { revision: token.rv, start: token.start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    #[test]
    fn tokens_come_back() {
        let token = Continue { revision: 7, start: "default/web\0".into() };
        assert_eq!(Continue::decode(&token.encode()), Ok(token));
    }

    #[test]
    fn padding_is_taken_too() {
        let token = URL_SAFE.encode(r#"{"v":"meta.k8s.io/v1","rv":3,"start":"a"}"#);
        assert_eq!(Continue::decode(&token).map(|c| c.revision), Ok(3));
    }

    #[test]
    fn bad_tokens_are_refused() {
        for token in [
            "%%%".to_owned(),
            raw("{"),
            raw(r#"{"v":"v2","rv":1,"start":"a"}"#),
            raw(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#),
            raw(r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#),
            raw(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/a"}"#),
            raw(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"/a"}"#),
        ] {
            assert!(Continue::decode(&token).is_err(), "{token}");
        }
    }
}
