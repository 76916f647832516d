//! The stream of a watch: one JSON frame a line, `{"type":"ADDED","object":{…}}`.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use api_types::codec::json;
use api_types::meta::v1::Status;
use api_types::value::Value;
use bytes::{Buf as _, Bytes, BytesMut};
use futures::Stream;
use http_body::Body as _;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::Error;

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<T> {
    Added(T),
    Modified(T),
    Deleted(T),
    /// Nothing changed up to this revision: an object with `metadata.resourceVersion` alone.
    Bookmark(T),
    /// The watch failed; a revision that is too old has code 410.
    Error(Box<Status>),
}

/// Events as they come. Ends when the server ends the watch, as it does every few minutes.
pub struct WatchStream<T> {
    body: Incoming,
    path: String,
    frames: Frames,
    done: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T> WatchStream<T> {
    pub(crate) fn new(body: Incoming, path: String) -> Self {
        Self { body, path, frames: Frames::default(), done: false, kind: PhantomData }
    }
}

impl<T: Value + Default> Stream for WatchStream<T> {
    type Item = Result<WatchEvent<T>, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(frame) = this.frames.next() {
                return Poll::Ready(Some(decode(&frame, &this.path)));
            }
            if this.done {
                return Poll::Ready(None);
            }
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.frames.push(data);
                    }
                }
                Some(Err(error)) => {
                    this.done = true;
                    return Poll::Ready(Some(Err(Error::Lost {
                        method: http::Method::GET,
                        path: this.path.clone(),
                        source: error.into(),
                    })));
                }
                // What is left without a newline is a frame that was cut off.
                None => this.done = true,
            }
        }
    }
}

/// Cuts chunks into lines. A frame that lies within one chunk is not copied.
#[derive(Debug, Default)]
struct Frames {
    whole: VecDeque<Bytes>,
    rest: BytesMut,
}

impl Frames {
    fn push(&mut self, mut chunk: Bytes) {
        while let Some(end) = chunk.iter().position(|b| *b == b'\n') {
            let line = chunk.split_to(end);
            chunk.advance(1);
            let line = if self.rest.is_empty() {
                line
            } else {
                self.rest.extend_from_slice(&line);
                self.rest.split().freeze()
            };
            if !line.iter().all(u8::is_ascii_whitespace) {
                self.whole.push_back(line);
            }
        }
        self.rest.extend_from_slice(&chunk);
    }

    fn next(&mut self) -> Option<Bytes> {
        self.whole.pop_front()
    }
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    type_: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

fn decode<T: Value + Default>(frame: &[u8], path: &str) -> Result<WatchEvent<T>, Error> {
    let bad = |message: String| Error::Decode { path: path.to_owned(), message };
    let frame: Frame<'_> = serde_json::from_slice(frame).map_err(|e| bad(e.to_string()))?;
    let text = frame.object.get().as_bytes();
    let object = || json::from_slice::<T>(text).map_err(|e| bad(e.to_string()));
    Ok(match frame.type_ {
        "ADDED" => WatchEvent::Added(object()?),
        "MODIFIED" => WatchEvent::Modified(object()?),
        "DELETED" => WatchEvent::Deleted(object()?),
        "BOOKMARK" => WatchEvent::Bookmark(object()?),
        "ERROR" => WatchEvent::Error(Box::new(json::from_slice(text).map_err(|e| bad(e.to_string()))?)),
        other => return Err(bad(format!("unknown event type {other:?}"))),
    })
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::ConfigMap;

    use super::*;

    #[test]
    fn frames_are_cut_wherever_chunks_end() {
        let text = "{\"a\":1}\n{\"b\":2}\r\n\n{\"c\":3}\n{\"cut";
        for size in 1..text.len() {
            let mut frames = Frames::default();
            for chunk in text.as_bytes().chunks(size) {
                frames.push(Bytes::copy_from_slice(chunk));
            }
            let lines: Vec<String> = std::iter::from_fn(|| frames.next())
                .map(|f| String::from_utf8(f.to_vec()).unwrap().trim().to_owned())
                .collect();
            assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"], "chunks of {size}");
        }
    }

    #[test]
    fn events_are_told_apart() {
        let event = |text: &str| decode::<ConfigMap>(text.as_bytes(), "/x");
        let object = r#"{"kind":"ConfigMap","metadata":{"name":"a","resourceVersion":"7"}}"#;
        let Ok(WatchEvent::Added(map)) = event(&format!(r#"{{"type":"ADDED","object":{object}}}"#)) else {
            panic!("no Added")
        };
        assert_eq!(map.metadata.resource_version, "7");
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#;
        assert!(matches!(event(gone), Ok(WatchEvent::Error(s)) if s.code == 410));
        assert!(event(r#"{"type":"SHRUNK","object":{}}"#).is_err());
    }
}
