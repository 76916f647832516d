//! The server's side of a WebSocket handshake (RFC 6455), with Kubernetes' subprotocols.

use super::{Body, Error, empty};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Whether the request asks for a WebSocket.
pub fn is_asked(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The subprotocols that a WebSocket request offers; none for any other request.
pub fn offered(headers: &HeaderMap) -> Vec<String> {
    if !is_asked(headers) {
        return Vec::new();
    }
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(|p| p.trim().to_owned()).collect()
}

/// Accepts the handshake: the response to send, and the socket that follows it.
pub fn accept<B>(
    mut request: Request<B>,
    protocol: Option<&'static str>,
) -> Result<(Response<Body>, impl Future<Output = hyper::Result<Socket>>), Error> {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| Error::Upgrade("the request has no Sec-WebSocket-Key".into()))?;
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
        .body(empty())
        .map_err(Error::Request)?;
    if let Some(protocol) = protocol {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let socket = async move {
        let io = TokioIo::new(upgrade.await?);
        Ok(WebSocketStream::from_raw_socket(io, Role::Server, None).await)
    };
    Ok((response, socket))
}
