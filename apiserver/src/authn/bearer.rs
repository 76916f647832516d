//! Where bearer tokens stand in a request: `Authorization: Bearer TOKEN`, or, for browsers that
//! cannot set headers on a WebSocket, a subprotocol `base64url.bearer.authorization.k8s.io.TOKEN`.

use super::AuthnError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};

const SUBPROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// The token of the Authorization header; other schemes are not ours to judge.
pub(super) fn from_header(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let mut parts = text.splitn(3, ' ');
    let scheme = parts.next()?;
    let token = parts.next()?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

/// The token among the subprotocols of a WebSocket upgrade, and the other subprotocols.
///
/// # Errors
/// For more than one token, a badly encoded one, or one without another subprotocol beside it.
pub(super) fn from_subprotocol(headers: &HeaderMap) -> Result<Option<(String, HeaderValue)>, AuthnError> {
    if !is_websocket(headers) {
        return Ok(None);
    }
    let (mut token, mut others) = (None, Vec::new());
    for value in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        for protocol in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            let Some(encoded) = protocol.strip_prefix(SUBPROTOCOL) else {
                others.push(protocol);
                continue;
            };
            if token.is_some() {
                return Err(AuthnError::WebSocketToken(
                    "multiple base64.bearer.authorization tokens specified",
                ));
            }
            let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| {
                AuthnError::WebSocketToken("invalid base64.bearer.authorization token encoding")
            })?;
            let text = String::from_utf8(bytes)
                .map_err(|_| AuthnError::WebSocketToken("invalid base64.bearer.authorization token"))?;
            token = Some(text);
        }
    }
    match token {
        Some(token) if !token.is_empty() => {
            // One has to be left to echo to the client.
            if others.is_empty() {
                return Err(AuthnError::WebSocketToken("missing additional subprotocol"));
            }
            let others = HeaderValue::from_str(&others.join(","))
                .expect("parts of a header value make a header value");
            Ok(Some((token, others)))
        }
        _ => Ok(None),
    }
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        headers.get_all(name).iter().any(|value| {
            value.to_str().is_ok_and(|v| v.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
        })
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}
