//! Bodies: reading a request's up to the limit, and making a response's of one buffer or a stream.

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;

use crate::status::ApiError;

/// The largest body of a write, in bytes; three times etcd's own limit for a request.
pub const LIMIT: usize = 3 * 1024 * 1024;

/// How much of a body that is too large is read and dropped before the answer, in bytes. A client
/// that is cut off while it sends sees a reset connection and not the 413.
const READ_AT_MOST: usize = 16 * LIMIT;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of every response.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn empty() -> Body {
    full(Bytes::new())
}

pub fn stream(chunks: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Body {
    StreamBody::new(futures::StreamExt::map(chunks, |chunk| chunk.map(Frame::data))).boxed_unsync()
}

/// A response with one header, the content type.
pub fn response(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Plain text, as the paths outside of the API answer.
pub fn text(code: u16, text: impl Into<String>) -> Response<Body> {
    let mut response = response(code, "text/plain; charset=utf-8", full(text.into()));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Reads a whole body.
///
/// # Errors
/// A 413 beyond [`LIMIT`]; a 400 when the client breaks off.
pub async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    collected(body.map_err(|error| -> BoxError { Box::new(error) }).boxed_unsync()).await
}

/// As `read`, for a body that is boxed already.
///
/// # Errors
/// As `read`.
pub async fn collected(mut body: Body) -> Result<Bytes, ApiError> {
    let (mut all, mut size) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| ApiError::BadRequest(format!("unable to read the request body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        size += data.len();
        if size > READ_AT_MOST {
            break;
        }
        if size <= LIMIT {
            all.extend_from_slice(&data);
        } else {
            all = BytesMut::new();
        }
    }
    if size > LIMIT {
        return Err(ApiError::TooLarge(LIMIT as u64));
    }
    Ok(all.freeze())
}
