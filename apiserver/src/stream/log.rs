//! Logs over a WebSocket: each piece of the log is one message.
//!
//! `binary.k8s.io` (and no subprotocol) sends bytes, `base64.binary.k8s.io` text in base64. Nothing
//! comes from the client but its end.

use super::{Backend, Body, Error, plain, websocket};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use tokio_tungstenite::tungstenite::Message;

const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";

/// Reads the log from the kubelet; what it answers instead of a log is passed on as it is.
pub async fn serve<B>(request: Request<B>, uri: Uri, backend: &Backend) -> Result<Response<Body>, Error>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
{
    let offered = websocket::offered(request.headers());
    let protocol = [BINARY, BASE64].into_iter().find(|p| offered.iter().any(|o| o == p));
    let mut asked = Request::new(super::empty());
    *asked.method_mut() = http::Method::GET;
    let answer = plain(asked, uri, backend, &HeaderMap::new()).await?;
    if answer.status() != StatusCode::OK {
        return Ok(answer);
    }
    let (response, socket) = websocket::accept(request, protocol)?;
    let log = answer.into_body();
    tokio::spawn(async move {
        match socket.await {
            Ok(socket) => copy(socket, log, protocol == Some(BASE64)).await,
            Err(error) => tracing::debug!(%error, "a log stream did not come about"),
        }
    });
    Ok(response)
}

async fn copy(socket: websocket::Socket, mut log: Body, base64: bool) {
    let (mut to_client, mut from_client) = socket.split();
    loop {
        tokio::select! {
            frame = log.frame() => {
                let Some(Ok(frame)) = frame else { break };
                let Ok(bytes) = frame.into_data() else { continue };
                let message = if base64 { Message::text(STANDARD.encode(&bytes)) } else { Message::binary(bytes) };
                if to_client.send(message).await.is_err() {
                    return;
                }
            }
            message = from_client.next() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            }
        }
    }
    let _: Result<(), _> = to_client.close().await;
}
