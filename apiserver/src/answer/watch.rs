//! A watch being written: initial objects out of a snapshot, then the log from a cursor on.
//!
//! Whole objects in JSON and protobuf are frames shared by all watchers of an event; other forms are
//! made for the one watcher. JSON frames are `{"type":…,"object":…}\n`; protobuf frames are
//! 4 bytes of length (big endian) and `WatchEvent { type = 1, object = 2 { raw = 1 } }`, where raw
//! is an enveloped object. A cursor that fell off the log ends the watch with a 410 in it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use api_types::codec::protobuf;
use api_types::meta::v1::Status;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream};
use http::{HeaderValue, Response, header};
use tokio::time::{Instant, Sleep};

use super::form::{self, Served};
use super::list::Filter;
use super::{status_json, table};
use crate::body::{self, Body, BoxError};
use crate::crd::conversion;
use crate::flow_control::Watching;
use crate::metrics::GaugeGuard;
use crate::negotiate::{Accepted, Encoding, Form};
use crate::status::ApiError;
use crate::storage::log::{Batch, Cursor, Event};
use crate::storage::snapshot::Snapshot;
use crate::storage::{Collection, Entry};

/// Events taken from the log at once.
const BATCH: usize = 64;
/// Frames that are there together become one chunk up to this size: each chunk costs a frame of HTTP/2.
const CHUNK: usize = 16 * 1024;
/// How often a watcher that asked for bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A last bookmark comes this long before the watch times out.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// What happened to an object, as a watcher's selector sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Modified,
    Deleted,
    /// It no longer matches the selector: told as a deletion of its former state.
    Left,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted | Self::Left => "DELETED",
        }
    }

    /// The place of a shared frame in its event.
    fn place(self, encoding: Encoding) -> usize {
        self as usize * 2 + usize::from(encoding == Encoding::Protobuf)
    }
}

/// How a watch begins.
pub enum Begin {
    /// With events after the cursor's place.
    Events,
    /// With these objects as ADDED, those after `last`; `bookmark` marks their end (`sendInitialEvents`).
    Objects { snapshot: Snapshot, prefix: String, bookmark: bool, last: Option<Arc<str>> },
    /// It cannot begin: one ERROR event.
    Failed(Box<Status>),
}

/// A watch to be written. There are thousands: what is not needed for as long as it lasts is in a box.
pub struct Watch {
    pub served: Served,
    pub collection: Arc<Collection>,
    pub begin: Begin,
    pub cursor: Option<Cursor>,
    /// The revision that the cursor follows.
    pub revision: i64,
    /// Key prefix of the namespace, or nothing.
    pub prefix: String,
    pub filter: Filter,
    pub bookmarks: bool,
    pub ends: Instant,
    /// Counts the watch while it runs.
    pub counted: GaugeGuard,
    /// That it is one of those who hear of writes.
    pub heard: Option<Watching>,
}

impl Watch {
    pub fn into_response(self: Box<Self>, accepted: Accepted) -> Response<Body> {
        let media_type = match accepted.encoding {
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            Encoding::Yaml => "application/yaml;stream=watch",
            Encoding::Json => "application/json",
        };
        let alarm = if self.bookmarks { next_bookmark(self.ends).min(self.ends) } else { self.ends };
        let writer = Writer {
            alarm: Box::pin(tokio::time::sleep_until(alarm)),
            served: self.served,
            collection: self.collection,
            begin: Some(Box::new(self.begin)),
            cursor: self.cursor,
            revision: self.revision,
            prefix: self.prefix.into(),
            filter: self.filter,
            ends: self.ends,
            accepted,
            pending: VecDeque::new(),
            columns_told: false,
            over: false,
            progress: None,
            _counted: self.counted,
            _heard: self.heard,
        };
        let mut response = body::response(200, media_type, body::stream(writer));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        response
    }
}

fn next_bookmark(ends: Instant) -> Instant {
    let regular = Instant::now() + BOOKMARK_EVERY.mul_f64(0.75 + 0.25 * fastrand::f64());
    let last = ends.checked_sub(BOOKMARK_BEFORE_END).filter(|last| *last > Instant::now());
    last.map_or(regular, |last| last.min(regular))
}

struct Writer {
    served: Served,
    collection: Arc<Collection>,
    /// None once it has begun.
    begin: Option<Box<Begin>>,
    cursor: Option<Cursor>,
    /// The revision that the cursor follows.
    revision: i64,
    /// Key prefix of the namespace, or nothing.
    prefix: Box<str>,
    filter: Filter,
    ends: Instant,
    accepted: Accepted,
    /// Frames to be sent next; shared with other watchers.
    pending: VecDeque<Bytes>,
    columns_told: bool,
    over: bool,
    /// Rings for the next bookmark or at the end. It lasts as long as the watch: setting it up again for each event
    /// would cost more than the event.
    alarm: Pin<Box<Sleep>>,
    /// A bookmark is due when this has ended: the collection is asking the store how far it has come.
    progress: Option<BoxFuture<'static, ()>>,
    _counted: GaugeGuard,
    _heard: Option<Watching>,
}

/// Its chunks. By hand: what the compiler would make of the same as an `async fn` is twice as large, and it is what a
/// watch that waits consists of.
impl Stream for Writer {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(chunk) = joined(&mut self.pending) {
                return Poll::Ready(Some(Ok(chunk)));
            }
            if self.over {
                return Poll::Ready(None);
            }
            if let Err(error) = ready!(self.poll_fill(cx)) {
                self.fail(&error.status());
            }
        }
    }
}

impl Writer {
    /// Puts frames into `pending`, waiting for some if there are none; or ends the watch.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ApiError>> {
        if let Some(begin) = self.begin.take() {
            return Poll::Ready(self.begin(begin));
        }
        if let Some(progress) = &mut self.progress {
            ready!(progress.poll_unpin(cx));
            self.progress = None;
            return Poll::Ready(self.periodic_bookmark());
        }
        let Some(cursor) = &mut self.cursor else {
            self.over = true;
            return Poll::Ready(Ok(()));
        };
        match cursor.take(BATCH) {
            Batch::Events(events) => return Poll::Ready(self.events(events)),
            Batch::FellOff => {
                let at = self.revision;
                let text = format!("too old resource version: {at} ({})", at + 1);
                return Poll::Ready(Err(ApiError::Expired(text)));
            }
            Batch::Ended => {
                self.over = true;
                return Poll::Ready(Ok(()));
            }
            Batch::Empty => {}
        }
        if cursor.poll_appended(cx).is_pending() {
            ready!(self.alarm.as_mut().poll(cx));
            self.rung();
        }
        Poll::Ready(Ok(()))
    }

    fn events(&mut self, events: Vec<Arc<Event>>) -> Result<(), ApiError> {
        for event in events {
            self.event(&event)?;
            self.revision = event.revision;
        }
        Ok(())
    }

    /// The end, or soon a bookmark.
    fn rung(&mut self) {
        if Instant::now() >= self.ends {
            self.over = true;
            return;
        }
        self.alarm.as_mut().reset(next_bookmark(self.ends).min(self.ends));
        let (collection, revision) = (self.collection.clone(), self.revision);
        self.progress = Some(
            async move {
                // An idle resource's revision moves when the store says that nothing happened.
                collection.want_progress();
                let mut reached = collection.reached();
                if collection.kv.progress_is_reliable() && *reached.borrow_and_update() <= revision {
                    let _ = tokio::time::timeout(Duration::from_secs(1), reached.changed()).await;
                }
            }
            .boxed(),
        );
    }

    /// Some of the initial objects, or their end; or why there is nothing to watch.
    fn begin(&mut self, mut begin: Box<Begin>) -> Result<(), ApiError> {
        let (snapshot, prefix, bookmark, last) = match &mut *begin {
            Begin::Events => return Ok(()),
            Begin::Objects { snapshot, prefix, bookmark, last } => (snapshot, prefix, *bookmark, last),
            Begin::Failed(status) => {
                self.fail(status);
                return Ok(());
            }
        };
        let start = last.take().map(|key| format!("{key}\0")).unwrap_or_default();
        for entry in snapshot.range(prefix, &start).take(BATCH * 4) {
            *last = Some(entry.key.clone());
            let entry = self.seen(entry)?;
            if self.filter.matches(&entry) {
                let frame = self.frame_of(Change::Added.name(), &entry)?;
                self.pending.push_back(frame);
                self.columns_told = true;
            }
        }
        if last.is_some() {
            self.begin = Some(begin);
        } else if bookmark {
            self.bookmark(self.revision, true)?;
        }
        Ok(())
    }

    /// The entry as the filter reads it: with the fields of the version that is watched where it asks for such.
    fn seen(&self, entry: &Arc<Entry>) -> Result<Arc<Entry>, ApiError> {
        let Self { served, filter, prefix, .. } = self;
        let asked =
            filter.asks_version(served.row) && entry.key.starts_with(&**prefix) && filter.may_match(entry);
        if asked { conversion::entry(*served, entry) } else { Ok(entry.clone()) }
    }

    fn event(&mut self, event: &Event) -> Result<(), ApiError> {
        let (mut old, mut new) = (event.old.as_ref(), event.new.as_ref());
        // Others share the event's own: thousands of watches would quarrel over the counts of references.
        let seen: [Option<Arc<Entry>>; 2];
        if self.filter.asks_version(self.served.row) {
            let see = |entry: Option<&Arc<Entry>>| entry.map(|entry| self.seen(entry)).transpose();
            seen = [see(old)?, see(new)?];
            (old, new) = (seen[0].as_ref(), seen[1].as_ref());
        }
        let wanted = |entry: &&Arc<Entry>| entry.key.starts_with(&*self.prefix) && self.filter.matches(entry);
        let (change, entry) = match (old.filter(wanted), new.filter(wanted), &event.last) {
            (None, Some(new), _) => (Change::Added, new),
            (Some(_), Some(new), _) => (Change::Modified, new),
            (Some(_), None, Some(last)) => (Change::Deleted, last),
            (Some(old), None, None) => (Change::Left, old),
            (None, None, _) => return Ok(()),
        };
        let shared = self.accepted.form == Form::Whole
            && self.served.as_stored()
            && matches!(self.accepted.encoding, Encoding::Json | Encoding::Protobuf);
        let frame = if shared {
            // Frames are made outside of the closure's reach for errors: bytes of ours always read.
            let place = change.place(self.accepted.encoding);
            let made = std::cell::Cell::new(None);
            let frame = event.frame(place, || {
                self.framed(change, entry, event.revision).unwrap_or_else(|error| {
                    made.set(Some(error));
                    Bytes::new()
                })
            });
            if let Some(error) = made.take() {
                return Err(error);
            }
            if frame.is_empty() {
                // Another watch could not make it. An event is never left out in silence.
                return Err(ApiError::internal(format!("the event of {} cannot be shown", event.revision)));
            }
            frame
        } else {
            self.framed(change, entry, event.revision)?
        };
        self.pending.push_back(frame);
        self.columns_told = true;
        Ok(())
    }

    /// The frame of an event; what left the selector shows the event's revision.
    fn framed(&self, change: Change, entry: &Arc<Entry>, revision: i64) -> Result<Bytes, ApiError> {
        if change != Change::Left {
            return self.frame_of(change.name(), entry);
        }
        let row = entry.row(self.served.stored);
        let mut object = entry.decode(row).map_err(ApiError::internal)?;
        object.meta_mut().resource_version = revision.to_string();
        let entry = Entry::of(row, entry.key.clone(), &*object, revision);
        self.frame_of(change.name(), &Arc::new(entry))
    }

    fn frame_of(&self, change: &str, entry: &Entry) -> Result<Bytes, ApiError> {
        let served = self.served;
        if let Form::Table(include) = self.accepted.form {
            let revision = entry.revision.to_string();
            let mut table = table::head(served.row, &revision, "", None, !self.columns_told);
            table::row(served, entry, include, &mut table)?;
            table.extend_from_slice(b"]}");
            return self.frame(change, &table);
        }
        self.frame(change, &form::object(served, entry, self.accepted)?)
    }

    /// `object` in a frame of the watch's encoding.
    fn frame(&self, change: &str, object: &[u8]) -> Result<Bytes, ApiError> {
        Ok(match self.accepted.encoding {
            Encoding::Json => json_frame(change, object),
            Encoding::Yaml => {
                let text = super::to_yaml(&json_frame(change, object))?;
                Bytes::from(format!("{text}---\n"))
            }
            Encoding::Protobuf => protobuf_frame(change, object),
        })
    }

    /// What has happened until now, and how far that is.
    fn periodic_bookmark(&mut self) -> Result<(), ApiError> {
        // The revision is read before the log: an event that comes in between is not behind it.
        let revision = self.collection.revision();
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        match cursor.take(BATCH) {
            Batch::Empty => self.revision = revision.max(self.revision),
            Batch::Events(events) => self.events(events)?,
            Batch::FellOff | Batch::Ended => return Ok(()),
        }
        self.bookmark(self.revision, false)
    }

    fn bookmark(&mut self, revision: i64, initial_end: bool) -> Result<(), ApiError> {
        let row = self.served.row;
        let mut object = (row.new)();
        object.meta_mut().resource_version = revision.to_string();
        if initial_end {
            object.meta_mut().annotations.insert("k8s.io/initial-events-end".into(), "true".into());
        }
        let entry = Entry::of(row, "".into(), &*object, revision);
        let served = Served { row, stored: row };
        let bytes = match (self.accepted.form, self.accepted.encoding) {
            // A table without rows carries the revision in its own metadata.
            (Form::Table(_), _) => {
                let mut table = table::head(row, &revision.to_string(), "", None, !self.columns_told);
                let mut cells = Vec::new();
                form::metadata(served, &entry, &mut cells);
                table.extend_from_slice(b"{\"cells\":[],\"object\":");
                table.extend_from_slice(&cells);
                table.extend_from_slice(b"}]}");
                table.into()
            }
            _ => form::object(served, &entry, self.accepted)?,
        };
        let frame = self.frame("BOOKMARK", &bytes)?;
        self.pending.push_back(frame);
        Ok(())
    }

    /// Ends the watch with an ERROR event.
    fn fail(&mut self, status: &Status) {
        let object = match self.accepted.encoding {
            Encoding::Protobuf => protobuf::envelope("v1", "Status", &protobuf::to_vec(status)),
            _ => status_json(status),
        };
        if let Ok(frame) = self.frame("ERROR", &object) {
            self.pending.push_back(frame);
        }
        self.over = true;
    }
}

/// The next frames: one as it is, several small ones as a copy.
fn joined(frames: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = frames.pop_front()?;
    let fits = |size: usize, next: Option<&Bytes>| next.is_some_and(|next| size + next.len() <= CHUNK);
    if !fits(first.len(), frames.front()) {
        return Some(first);
    }
    let waiting: usize = frames.iter().map(Bytes::len).sum();
    let mut chunk = BytesMut::with_capacity(CHUNK.min(first.len() + waiting));
    chunk.extend_from_slice(&first);
    while fits(chunk.len(), frames.front()) {
        chunk.extend_from_slice(&frames.pop_front()?);
    }
    if frames.is_empty() {
        // What a burst needed is not kept for as long as the watch lasts.
        *frames = VecDeque::new();
    }
    Some(chunk.freeze())
}

fn json_frame(change: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(change.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}

fn protobuf_frame(change: &str, object: &[u8]) -> Bytes {
    let mut out = protobuf::Writer::with_capacity(object.len() + 64);
    let end = out.mark();
    out.bytes_field(1, object);
    out.close_message(2, end);
    out.bytes_field(1, change.as_bytes());
    let length = u32::try_from(out.mark()).unwrap_or(u32::MAX);
    out.prepend(&length.to_be_bytes());
    out.into_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_frames_are_lines() {
        assert_eq!(json_frame("ADDED", b"{}"), &b"{\"type\":\"ADDED\",\"object\":{}}\n"[..]);
    }

    #[test]
    fn frames_are_joined_in_order_and_up_to_a_size() {
        let check = |sizes: &[usize], expected: &[usize]| {
            let frame = |(n, size): (usize, &usize)| Bytes::from(vec![n as u8; *size]);
            let mut frames: VecDeque<Bytes> = sizes.iter().enumerate().map(frame).collect();
            let all: Vec<u8> = frames.iter().flatten().copied().collect();
            let chunks: Vec<Bytes> = std::iter::from_fn(|| joined(&mut frames)).collect();
            assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), expected);
            assert!(chunks.concat() == all, "{sizes:?}");
        };
        check(&[], &[]);
        check(&[9], &[9]);
        check(&[5, 6, 7], &[18]);
        check(&[CHUNK - 1, 1, 1], &[CHUNK, 1]);
        check(&[2, CHUNK, 3, 4], &[2, CHUNK, 7]);
        check(&[CHUNK * 2, CHUNK * 2], &[CHUNK * 2, CHUNK * 2]);
    }

    #[test]
    fn protobuf_frames_say_their_length() {
        let frame = protobuf_frame("ADDED", b"k8s\0x");
        let (length, message) = frame.split_at(4);
        assert_eq!(u32::from_be_bytes(length.try_into().expect("four")) as usize, message.len());
        let mut fields = protobuf::Reader::new(message);
        let (number, wire) = fields.next().expect("reads").expect("a field");
        assert_eq!((number, wire.text()), (1, Ok("ADDED")));
        let (number, wire) = fields.next().expect("reads").expect("a field");
        let mut object = protobuf::Reader::new(wire.bytes().expect("a message"));
        assert_eq!(number, 2);
        let (number, wire) = object.next().expect("reads").expect("a field");
        assert_eq!((number, wire.bytes()), (1, Ok(&b"k8s\0x"[..])));
    }
}
