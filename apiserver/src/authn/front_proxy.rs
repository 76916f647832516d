//! A proxy before this server, which authenticates users and names them in headers
//! (`--requestheader-*`; API doc "Authenticating proxy").
//!
//! The headers count only on a connection whose client certificate is of the proxies' own
//! authority and, if names are listed, carries one of them.

use super::AuthnError;
use super::x509::{ConnectionIdentity, common_name};
use crate::request::User;
use daemon::tls::ClientCa;
use http::{HeaderMap, HeaderName};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A flag of the group `--requestheader-*` that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrontProxyError {
    #[error("empty header {0:?}")]
    Empty(String),
    #[error("{0:?} is no header name")]
    Name(String),
}

/// The proxies that are believed, and the headers they use.
pub struct FrontProxy {
    ca: Arc<ClientCa>,
    /// Common names of the proxies' certificates; empty for any.
    allowed_names: Vec<String>,
    user_headers: Vec<HeaderName>,
    uid_headers: Vec<HeaderName>,
    group_headers: Vec<HeaderName>,
    extra_prefixes: Vec<String>,
}

impl FrontProxy {
    /// The lists are the flags' values.
    ///
    /// # Errors
    /// When a value is no header name.
    pub fn new(
        ca: Arc<ClientCa>,
        allowed_names: Vec<String>,
        user_headers: &[String],
        uid_headers: &[String],
        group_headers: &[String],
        extra_prefixes: &[String],
    ) -> Result<Self, FrontProxyError> {
        Ok(Self {
            ca,
            allowed_names,
            user_headers: names(user_headers)?,
            uid_headers: names(uid_headers)?,
            group_headers: names(group_headers)?,
            extra_prefixes: names(extra_prefixes)?.iter().map(|n| n.as_str().to_owned()).collect(),
        })
    }

    pub(super) fn authenticate(
        &self,
        headers: &HeaderMap,
        connection: &ConnectionIdentity,
    ) -> Result<Option<User>, AuthnError> {
        // Cheap first: hardly any request comes through a proxy.
        let Some(name) = first_value(headers, &self.user_headers) else { return Ok(None) };
        let Some(leaf) = connection.chain().first() else { return Ok(None) };
        self.ca.verify(connection.chain()).map_err(|error| AuthnError::Certificate(error.to_string()))?;
        if !self.allowed_names.is_empty() {
            let proxy = common_name(leaf)?;
            if !self.allowed_names.contains(&proxy) {
                return Err(AuthnError::ProxyName(proxy));
            }
        }
        let mut extra = BTreeMap::<String, Vec<String>>::new();
        for prefix in &self.extra_prefixes {
            for (header, value) in headers {
                if let Some(key) = header.as_str().strip_prefix(prefix.as_str()) {
                    extra.entry(unescape(key)).or_default().push(text(value));
                }
            }
        }
        Ok(Some(User {
            name,
            uid: first_value(headers, &self.uid_headers).unwrap_or_default(),
            groups: self
                .group_headers
                .iter()
                .flat_map(|header| headers.get_all(header))
                .map(text)
                .filter(|group| !group.is_empty())
                .collect(),
            extra,
        }))
    }

    pub(super) fn remove_headers(&self, headers: &mut HeaderMap) {
        for name in self.user_headers.iter().chain(&self.uid_headers).chain(&self.group_headers) {
            headers.remove(name);
        }
        for prefix in &self.extra_prefixes {
            remove_prefixed(headers, prefix);
        }
    }
}

/// Nothing behind authentication may believe these, whoever sent them.
pub(super) fn remove_standard_headers(headers: &mut HeaderMap) {
    for name in ["x-remote-user", "x-remote-uid", "x-remote-group"] {
        headers.remove(name);
    }
    remove_prefixed(headers, "x-remote-extra-");
}

pub(super) fn remove_prefixed(headers: &mut HeaderMap, prefix: &str) {
    let gone: Vec<HeaderName> = headers.keys().filter(|k| k.as_str().starts_with(prefix)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// The key behind an extra header's prefix: lower case, percent-decoded if that is possible.
pub(super) fn unescape(encoded: &str) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let Some(byte) = tail.get(..2).and_then(|digits| hex::decode(digits).ok()) else {
                return encoded.to_owned();
            };
            bytes.extend(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn text(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn first_value(headers: &HeaderMap, names: &[HeaderName]) -> Option<String> {
    names.iter().filter_map(|name| headers.get(name)).map(text).find(|value| !value.is_empty())
}

fn names(flags: &[String]) -> Result<Vec<HeaderName>, FrontProxyError> {
    flags
        .iter()
        .map(|flag| match flag.trim() {
            "" => Err(FrontProxyError::Empty(flag.clone())),
            name => name.to_ascii_lowercase().parse().map_err(|_| FrontProxyError::Name(name.to_owned())),
        })
        .collect()
}
