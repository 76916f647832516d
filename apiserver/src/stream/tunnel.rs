//! Port-forward: the client's WebSocket carries SPDY frames, which pass to the backend as they are.

use super::{Backend, Body, Error, outward, websocket};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body as HttpBody;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

/// The subprotocol (KEP-4006): SPDY inside of a WebSocket.
pub const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
const BUFFER: usize = 32 * 1024;

/// Upgrades the backend to SPDY/3.1, then the client to WebSocket, and copies between them.
pub async fn serve<B>(request: Request<B>, uri: Uri, backend: &Backend) -> Result<Response<Body>, Error>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
{
    let server = match upgrade(backend, &uri, request.headers(), "portforward.k8s.io").await? {
        Ok(server) => server,
        Err(refusal) => return Ok(refusal),
    };
    let (response, socket) = websocket::accept(request, Some(PROTOCOL))?;
    tokio::spawn(async move {
        match socket.await {
            Ok(socket) => copy(socket, server).await,
            Err(error) => tracing::debug!(%error, "a port-forward did not come about"),
        }
    });
    Ok(response)
}

/// Asks the backend for SPDY/3.1; what it answers instead is passed to the client.
pub async fn upgrade(
    backend: &Backend,
    uri: &Uri,
    headers: &HeaderMap,
    protocol: &str,
) -> Result<Result<TokioIo<Upgraded>, Response<Body>>, Error> {
    use http_body_util::BodyExt as _;
    let mut passed = HeaderMap::new();
    for name in [header::USER_AGENT] {
        if let Some(value) = headers.get(&name) {
            passed.insert(name, value.clone());
        }
    }
    let outward = outward(&Method::POST, uri.clone(), &passed)?
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1")
        .header("x-stream-protocol-version", protocol)
        .header(header::CONTENT_LENGTH, "0")
        .body(super::empty())
        .map_err(Error::Request)?;
    let mut answer = backend.send(uri, outward).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Err(answer.map(|body| body.map_err(Into::into).boxed_unsync())));
    }
    let upgraded = hyper::upgrade::on(&mut answer).await.map_err(Error::Http)?;
    Ok(Ok(TokioIo::new(upgraded)))
}

async fn copy(socket: websocket::Socket, server: TokioIo<Upgraded>) {
    let (mut to_client, mut from_client) = socket.split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let inward = async {
        while let Some(Ok(message)) = from_client.next().await {
            match message {
                Message::Binary(bytes) if to_server.write_all(&bytes).await.is_err() => break,
                Message::Close(_) => break,
                _ => {}
            }
        }
    };
    let outward = async {
        let mut buffer = vec![0; BUFFER];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            if to_client.send(Message::binary(buffer[..read].to_vec())).await.is_err() {
                break;
            }
        }
    };
    // Each side's end is the end of the tunnel.
    tokio::select! {
        () = inward => {}
        () = outward => {}
    }
    let _: Result<(), _> = to_client.close().await;
}
