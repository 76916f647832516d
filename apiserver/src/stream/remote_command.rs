//! Exec and attach: the client's WebSocket channels become SPDY streams to the kubelet.
//!
//! ```text
//! WebSocket message: channel byte, bytes     0 stdin  1 stdout  2 stderr  3 error  4 resize
//!                    255, channel byte       the client closes that channel (v5)
//! SPDY streams, by header streamtype:        error  stdin  stdout  stderr  resize
//! ```
//!
//! The kubelet's error stream carries one `Status` (v4), which is passed on once both outputs have
//! ended, so that no output is lost behind it. A session ends with it.

use super::spdy::{self, Encoder, Frame, StreamId};
use super::{Backend, Body, Error, tunnel, websocket};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response, Uri};
use http_body::Body as HttpBody;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// The subprotocol that is translated; older ones pass as they are.
pub const PROTOCOL: &str = "v5.channel.k8s.io";
/// What kubelets speak.
const BACKEND_PROTOCOL: &str = "v4.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

const BUFFER: usize = 32 * 1024;

/// Serves a WebSocket remote command from a SPDY backend.
pub async fn serve<B>(request: Request<B>, uri: Uri, backend: &Backend) -> Result<Response<Body>, Error>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
{
    let wanted = Wanted::of(uri.query().unwrap_or_default());
    let server = match tunnel::upgrade(backend, &uri, request.headers(), BACKEND_PROTOCOL).await? {
        Ok(server) => server,
        Err(refusal) => return Ok(refusal),
    };
    let (response, socket) = websocket::accept(request, Some(PROTOCOL))?;
    tokio::spawn(async move {
        match socket.await {
            Ok(socket) => translate(socket, server, wanted).await,
            Err(error) => tracing::debug!(%error, "a remote command did not come about"),
        }
    });
    Ok(response)
}

/// The streams of a session, from the kubelet's query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wanted {
    pub(super) fn of(query: &str) -> Self {
        let is_on = |name: &str| {
            query.split('&').any(|pair| {
                pair.split_once('=').is_some_and(|(key, value)| key == name && matches!(value, "1" | "true"))
            })
        };
        let tty = is_on("tty");
        Self { stdin: is_on("input"), stdout: is_on("output"), stderr: is_on("error") && !tty, tty }
    }

    /// Channel and stream type, in the order that kubelets expect.
    fn channels(self) -> impl Iterator<Item = (u8, &'static str)> {
        [
            (true, ERROR, "error"),
            (self.stdin, STDIN, "stdin"),
            (self.stdout, STDOUT, "stdout"),
            (self.stderr, STDERR, "stderr"),
            (self.tty, RESIZE, "resize"),
        ]
        .into_iter()
        .filter(|(on, ..)| *on)
        .map(|(_, channel, name)| (channel, name))
    }
}

/// Which channel is which stream, and what has ended.
pub(super) struct Session {
    streams: Vec<(u8, StreamId)>,
    open_outputs: usize,
    status: BytesMut,
    status_ended: bool,
}

impl Session {
    /// Opens the streams; the bytes open them at the peer.
    pub(super) fn open(wanted: Wanted) -> (Self, BytesMut) {
        let (mut encoder, mut bytes, mut streams) = (Encoder::default(), BytesMut::new(), Vec::new());
        for (channel, name) in wanted.channels() {
            let (stream, frame) = encoder.open(&[("streamtype", name)]);
            streams.push((channel, stream));
            bytes.extend_from_slice(&frame);
        }
        let open_outputs = streams.iter().filter(|(channel, _)| matches!(*channel, STDOUT | STDERR)).count();
        (Self { streams, open_outputs, status: BytesMut::new(), status_ended: false }, bytes)
    }

    /// The frame that a message of the client becomes.
    pub(super) fn inward(&self, message: &[u8]) -> Option<Bytes> {
        let (&channel, bytes) = message.split_first()?;
        let stream = |wanted: u8| self.streams.iter().find(|(c, _)| *c == wanted).map(|(_, stream)| *stream);
        match (channel, bytes) {
            (CLOSE, [closed]) => Some(spdy::data(stream(*closed)?, &[], true)),
            (STDIN | RESIZE, bytes) => Some(spdy::data(stream(channel)?, bytes, false)),
            _ => None,
        }
    }

    /// The message that a frame of the peer becomes.
    pub(super) fn outward(&mut self, frame: Frame) -> Option<Vec<u8>> {
        let (stream, bytes, fin) = match frame {
            Frame::Data { stream, bytes, fin } => (stream, bytes, fin),
            Frame::Reset { stream } => (stream, Bytes::new(), true),
            _ => return None,
        };
        let channel = self.streams.iter().find(|(_, s)| *s == stream).map(|(channel, _)| *channel)?;
        match channel {
            ERROR => {
                self.status.extend_from_slice(&bytes);
                self.status_ended |= fin;
                None
            }
            STDOUT | STDERR => {
                self.open_outputs -= usize::from(fin && self.open_outputs > 0);
                (!bytes.is_empty()).then(|| [&[channel], bytes.as_ref()].concat())
            }
            _ => None,
        }
    }

    /// The last message, once everything has ended.
    pub(super) fn conclusion(&self) -> Option<Vec<u8>> {
        (self.status_ended && self.open_outputs == 0).then(|| [&[ERROR], self.status.as_ref()].concat())
    }
}

async fn translate(socket: websocket::Socket, server: TokioIo<Upgraded>, wanted: Wanted) {
    let (mut to_client, mut from_client) = socket.split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (mut session, opening) = Session::open(wanted);
    if to_server.write_all(&opening).await.is_err() {
        return;
    }
    // Answers to pings share the way to the server with the client's input.
    let (pongs, mut pings) = mpsc::channel::<Bytes>(8);
    let (mut buffer, mut chunk) = (BytesMut::new(), vec![0; BUFFER]);
    loop {
        tokio::select! {
            message = from_client.next() => {
                let frame = match message {
                    Some(Ok(Message::Binary(bytes))) => session.inward(&bytes),
                    Some(Ok(Message::Text(text))) => session.inward(text.as_bytes()),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    Some(Ok(_)) => None,
                };
                if let Some(frame) = frame && to_server.write_all(&frame).await.is_err() {
                    break;
                }
            }
            Some(pong) = pings.recv() => {
                if to_server.write_all(&pong).await.is_err() {
                    break;
                }
            }
            read = from_server.read(&mut chunk) => {
                let Ok(read @ 1..) = read else { break };
                buffer.extend_from_slice(&chunk[..read]);
                while let Some(frame) = spdy::decode(&mut buffer) {
                    if let Frame::Ping(id) = frame {
                        let _: Result<(), _> = pongs.try_send(spdy::ping(id));
                    }
                    if let Some(message) = session.outward(frame)
                        && to_client.send(Message::binary(message)).await.is_err()
                    {
                        return;
                    }
                }
                if let Some(last) = session.conclusion() {
                    let _: Result<(), _> = to_client.send(Message::binary(last)).await;
                    break;
                }
            }
        }
    }
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _: Result<(), _> = to_client.send(Message::Close(Some(close))).await;
    // The client answers the close; a reset before that could eat what it has not read yet.
    while let Some(Ok(message)) = from_client.next().await {
        if message.is_close() {
            break;
        }
    }
}
