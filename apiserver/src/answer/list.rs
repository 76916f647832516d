//! Lists, written as a stream out of a snapshot: memory is bounded by the socket, not by the result.
//!
//! Items are slices of the stored bytes, of built-in kinds without kind and apiVersion. Nothing is parsed for JSON;
//! tables and other versions decode one object at a time. YAML needs the whole list's tree and is built at
//! once. Protobuf is `protobuf_list`'s.

use std::io::Write as _;
use std::sync::Arc;

use api_types::codec::json::Writer;
use api_types::kind::Row;
use api_types::selector;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use http::{HeaderValue, Response, header};

use super::form::{self, Served};
use super::{pretty, protobuf_list, table, to_yaml};
use crate::body::{self, Body, BoxError};
use crate::negotiate::{Accepted, Encoding, Form};
use crate::status::ApiError;
use crate::storage::Entry;
use crate::storage::entry;
use crate::storage::snapshot::Snapshot;

/// Bytes of a chunk of the stream.
pub(super) const CHUNK: usize = 32 * 1024;
/// Answers of this size and more are compressed for clients that accept it, as upstream's are.
pub const GZIP_FROM: usize = 128 * 1024;

/// Which objects are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub labels: selector::Labels,
    pub fields: selector::Fields,
}

impl Filter {
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether it asks for fields that other versions of a kind may not have.
    pub fn asks_version(&self, row: &Row) -> bool {
        let own = |field: &str| !matches!(field, "metadata.name" | "metadata.namespace");
        row.custom.is_some() && self.fields.requirements().iter().any(|one| own(&one.field))
    }

    /// What can be said without fields that other versions may not have.
    pub fn may_match(&self, entry: &Entry) -> bool {
        let named = |field: &str, own: &str| self.fields.exact(field).is_none_or(|wanted| wanted == own);
        (self.labels.is_everything() || self.labels.matches_by(|key| entry.label(key)))
            && named("metadata.name", entry.name())
            && named("metadata.namespace", entry.namespace())
    }

    pub fn matches(&self, entry: &Entry) -> bool {
        (self.labels.is_everything() || self.labels.matches_by(|key| entry.label(key)))
            && (self.fields.is_everything() || self.fields.matches_by(|name| entry.field(name)))
    }
}

/// Where the items come from.
#[derive(Clone)]
pub enum Source {
    /// Everything of a snapshot under a key prefix.
    Snapshot { snapshot: Snapshot, prefix: String },
    /// These, already chosen.
    Page(Vec<Arc<Entry>>),
}

/// A list to be written.
#[derive(Clone)]
pub struct List {
    pub served: Served,
    pub source: Source,
    pub filter: Filter,
    pub revision: i64,
    /// Token of the next page.
    pub next: String,
    pub remaining: Option<i64>,
}

impl List {
    pub fn into_response(self, accepted: Accepted, gzip: bool) -> Result<Response<Body>, ApiError> {
        let media_type = accepted.encoding.media_type();
        if accepted.encoding == Encoding::Protobuf {
            return protobuf_list::Items::new(self, accepted.form)?.into_response(gzip);
        }
        let stored_prefix = entry::prefix(self.served.stored).len();
        let mut items = Items::new(self, accepted.form, stored_prefix);
        if accepted.encoding == Encoding::Yaml || accepted.pretty {
            let mut all = Vec::new();
            while let Some(chunk) = items.chunk()? {
                all.extend_from_slice(&chunk);
            }
            let text = if accepted.encoding == Encoding::Yaml { to_yaml(&all)? } else { pretty(&all) };
            return Ok(body::response(200, media_type, body::full(text)));
        }
        // Whether it is worth compressing is known once so much of it is there.
        let mut first = Vec::new();
        while first.len() < if gzip { GZIP_FROM } else { 1 } {
            match items.chunk()? {
                Some(chunk) => first.extend_from_slice(&chunk),
                None => return Ok(body::response(200, media_type, body::full(first))),
            }
        }
        let rest = std::iter::from_fn(move || unbroken(items.chunk()));
        Ok(streamed(media_type, std::iter::once(Bytes::from(first)).chain(rest), gzip))
    }

    /// The entries that it shows.
    pub(super) fn chosen(self) -> Vec<Arc<Entry>> {
        match self.source {
            Source::Page(page) => page,
            Source::Snapshot { snapshot, prefix } => {
                snapshot.range(&prefix, "").filter(|e| self.filter.matches(e)).cloned().collect()
            }
        }
    }
}

/// The next chunk; an answer that has begun can only end early.
pub(super) fn unbroken(chunk: Result<Option<Bytes>, ApiError>) -> Option<Bytes> {
    chunk.unwrap_or_else(|error| {
        tracing::error!(?error, "List broke off at an object that cannot be shown");
        None
    })
}

/// An answer of chunks as they are made. An empty one lets others have their turn before the next.
pub(super) fn streamed(
    media_type: &'static str,
    chunks: impl Iterator<Item = Bytes> + Send + 'static,
    gzip: bool,
) -> Response<Body> {
    if gzip {
        let mut response = body::response(200, media_type, body::stream(in_turns(gzipped(chunks))));
        mark_gzipped(&mut response);
        return response;
    }
    body::response(200, media_type, body::stream(in_turns(chunks.map(Ok))))
}

fn in_turns(
    chunks: impl Iterator<Item = Result<Bytes, BoxError>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
    futures::stream::unfold(chunks, async |mut chunks| {
        loop {
            match chunks.next()? {
                Ok(chunk) if chunk.is_empty() => tokio::task::yield_now().await,
                chunk => return Some((chunk, chunks)),
            }
        }
    })
}

/// `{"resourceVersion":"7","continue":"…","remainingItemCount":3}`
pub fn metadata(revision: &str, next: &str, remaining: Option<i64>, out: &mut Writer) {
    out.raw("{");
    // Of what is not stored there is no revision.
    if revision != "0" {
        out.raw("\"resourceVersion\":");
        out.string(revision);
    }
    if !next.is_empty() {
        out.raw(",\"continue\":");
        out.string(next);
    }
    if let Some(remaining) = remaining {
        out.raw(",\"remainingItemCount\":");
        out.integer(remaining);
    }
    out.raw("}");
}

/// Writes a list a chunk at a time.
struct Items {
    list: List,
    form: Form,
    stored_prefix: usize,
    place: Place,
    /// The key of the item written last.
    last: Option<Arc<str>>,
    written: usize,
}

#[derive(PartialEq)]
enum Place {
    Head,
    Items,
    Done,
}

impl Items {
    fn new(list: List, form: Form, stored_prefix: usize) -> Self {
        Self { list, form, stored_prefix, place: Place::Head, last: None, written: 0 }
    }

    fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let mut out = Vec::with_capacity(CHUNK + CHUNK / 4);
        match self.place {
            Place::Done => return Ok(None),
            Place::Head => {
                self.head(&mut out);
                self.place = Place::Items;
            }
            Place::Items => {}
        }
        // The source leaves self for the walk, which writes into self's other fields.
        let source = std::mem::replace(&mut self.list.source, Source::Page(Vec::new()));
        let ended = match &source {
            Source::Page(page) => {
                let start = self.written;
                self.walk(page[start..].iter(), &mut out)
            }
            Source::Snapshot { snapshot, prefix } => {
                let start = self.last.as_ref().map(|key| format!("{key}\0")).unwrap_or_default();
                self.walk(snapshot.range(prefix, &start), &mut out)
            }
        };
        self.list.source = source;
        if ended? {
            out.extend_from_slice(b"]}");
            self.place = Place::Done;
        }
        Ok(Some(out.into()))
    }

    /// Writes items until the chunk is full; whether all are written.
    fn walk<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Arc<Entry>>,
        out: &mut Vec<u8>,
    ) -> Result<bool, ApiError> {
        let chosen = matches!(self.list.source, Source::Page(_)) && self.list.filter.is_everything();
        for entry in entries {
            if !chosen && !self.list.filter.matches(entry) {
                continue;
            }
            if self.written > 0 {
                out.push(b',');
            }
            self.item(entry, out)?;
            self.written += 1;
            self.last = Some(entry.key.clone());
            if out.len() >= CHUNK {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn head(&self, out: &mut Vec<u8>) {
        let list = &self.list;
        let revision = list.revision.to_string();
        let (kind, api_version) = match self.form {
            Form::Table(_) => {
                out.append(&mut table::head(list.served.row, &revision, &list.next, list.remaining, true));
                return;
            }
            Form::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1"),
            Form::Whole => {
                let kind = list.served.row.kind;
                (format!("{}List", kind.kind), kind.api_version)
            }
        };
        let mut head = Writer::with_capacity(256);
        head.raw("{\"kind\":");
        head.string(&kind);
        head.raw(",\"apiVersion\":");
        head.string(api_version);
        head.raw(",\"metadata\":");
        metadata(&revision, &list.next, list.remaining, &mut head);
        head.raw(",\"items\":[");
        out.append(&mut head.into_vec());
    }

    fn item(&self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), ApiError> {
        let served = self.list.served;
        // COMPAT: items of built-in kinds do not say what they are, custom ones do.
        let says = served.row.custom.is_some();
        match self.form {
            Form::Whole if served.passes(entry) && says => entry.append_json(out),
            Form::Whole if served.passes(entry) => {
                let start = out.len();
                entry.append_json(out);
                out.drain(start + 1..(start + self.stored_prefix).min(out.len()));
            }
            Form::Whole if says => out.extend_from_slice(&served.json(entry)?),
            Form::Whole => {
                let bytes = served.json(entry)?;
                out.push(b'{');
                out.extend_from_slice(&bytes[entry::prefix(served.row).len().min(bytes.len())..]);
            }
            Form::Metadata => form::metadata(served, entry, out),
            Form::Table(include) => table::row(served, entry, include, out)?,
        }
        Ok(())
    }
}

/// Compresses chunks as they come.
fn gzipped(
    chunks: impl Iterator<Item = Bytes> + Send + 'static,
) -> impl Iterator<Item = Result<Bytes, BoxError>> + Send + 'static {
    let mut encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut chunks = chunks;
    std::iter::from_fn(move || {
        let writer = encoder.as_mut()?;
        while writer.get_ref().len() < CHUNK {
            match chunks.next() {
                Some(chunk) if chunk.is_empty() => return Some(Ok(chunk)),
                Some(chunk) => {
                    if let Err(error) = writer.write_all(&chunk) {
                        return Some(Err(error.into()));
                    }
                }
                None => {
                    let last = encoder.take().map(GzEncoder::finish)?;
                    return Some(last.map(Bytes::from).map_err(Into::into));
                }
            }
        }
        Some(Ok(Bytes::from(std::mem::take(writer.get_mut()))))
    })
}

fn mark_gzipped(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::codec::protobuf;
    use api_types::core::v1::ConfigMap;
    use api_types::kinds;
    use api_types::meta::v1::PartialObjectMetadata;
    use http_body_util::BodyExt;
    use serde_json::Value;

    fn list(count: usize, prefix: &str) -> List {
        let row = kinds::by_resource("", "v1", "configmaps").expect("configmaps");
        let mut snapshot = Snapshot::default();
        for i in 0..count {
            let mut object = ConfigMap::default();
            object.metadata.name = format!("c{i:05}");
            object.metadata.namespace = "d".into();
            object.metadata.uid = i.to_string();
            object.data.insert("k".into(), "v".repeat(100));
            let key = format!("d/{}", object.metadata.name);
            let value = entry::encode(&mut object);
            let entry = Entry::read(row, key.into(), &value, i as i64 + 1).expect("readable");
            snapshot.insert(Arc::new(entry));
        }
        let source = Source::Snapshot { snapshot, prefix: prefix.into() };
        List {
            served: Served::of(row),
            source,
            filter: Filter::default(),
            revision: 99,
            next: String::new(),
            remaining: None,
        }
    }

    async fn written(list: List, accepted: Accepted, gzip: bool) -> Vec<u8> {
        let response = list.into_response(accepted, gzip).expect("written");
        response.into_body().collect().await.expect("a body").to_bytes().to_vec()
    }

    #[tokio::test]
    async fn a_long_list_comes_whole_and_in_order() {
        let bytes = written(list(2000, "d/"), Accepted::default(), false).await;
        let value: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(value["kind"], "ConfigMapList");
        assert_eq!(value["metadata"]["resourceVersion"], "99");
        let items = value["items"].as_array().expect("items");
        assert_eq!(items.len(), 2000);
        assert_eq!(items[1234]["metadata"]["name"], "c01234");
        assert_eq!(items[1234]["metadata"]["resourceVersion"], "1235");
        assert!(items[0].get("kind").is_none());
    }

    #[tokio::test]
    async fn an_empty_list_has_items() {
        let bytes = written(list(3, "other/"), Accepted::default(), true).await;
        let value: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(value["items"], serde_json::json!([]));
    }

    #[tokio::test]
    async fn metadata_only() {
        let accepted = Accepted { form: Form::Metadata, ..Accepted::default() };
        let value: Value =
            serde_json::from_slice(&written(list(2, ""), accepted, false).await).expect("JSON");
        assert_eq!(value["kind"], "PartialObjectMetadataList");
        assert_eq!(value["items"][1]["kind"], "PartialObjectMetadata");
        assert_eq!(value["items"][1]["metadata"]["name"], "c00001");
        assert!(value["items"][1].get("data").is_none());
    }

    #[tokio::test]
    async fn compressed_lists_unpack_to_the_same() {
        let plain = written(list(3000, ""), Accepted::default(), false).await;
        let packed = written(list(3000, ""), Accepted::default(), true).await;
        assert!(packed.len() < plain.len() / 4);
        let mut unpacked = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(&packed[..]), &mut unpacked).expect("gzip");
        assert_eq!(unpacked, plain);
    }

    #[tokio::test]
    async fn protobuf_lists_read_back() {
        let accepted = Accepted { encoding: Encoding::Protobuf, ..Accepted::default() };
        let bytes = written(list(3, ""), accepted, false).await;
        let envelope = protobuf::open_envelope(&bytes).expect("an envelope");
        assert_eq!((envelope.kind, envelope.api_version), ("ConfigMapList", "v1"));
        let read: api_types::meta::v1::List<ConfigMap> = protobuf::from_slice(envelope.raw).expect("a list");
        assert_eq!(read.metadata.resource_version, "99");
        assert_eq!(read.items[2].metadata.name, "c00002");
    }

    #[tokio::test]
    async fn long_protobuf_lists_are_the_same_each_time_and_compressed() {
        let accepted = Accepted { encoding: Encoding::Protobuf, ..Accepted::default() };
        let list = list(3000, "");
        let first = written(list.clone(), accepted, false).await;
        assert_eq!(first, written(list.clone(), accepted, false).await);
        let envelope = protobuf::open_envelope(&first).expect("an envelope");
        let read: api_types::meta::v1::List<ConfigMap> = protobuf::from_slice(envelope.raw).expect("a list");
        assert_eq!(read.items.len(), 3000);
        assert_eq!(read.items[2999].metadata.resource_version, "3000");
        assert_eq!(first, protobuf::envelope("v1", "ConfigMapList", envelope.raw));

        let packed = written(list.clone(), accepted, true).await;
        let mut unpacked = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(&packed[..]), &mut unpacked).expect("gzip");
        assert!(packed.len() < first.len() / 4 && unpacked == first);

        let metadata = Accepted { form: Form::Metadata, ..accepted };
        let bytes = written(list, metadata, false).await;
        let envelope = protobuf::open_envelope(&bytes).expect("an envelope");
        assert_eq!(envelope.kind, "PartialObjectMetadataList");
        let read: api_types::meta::v1::List<PartialObjectMetadata> =
            protobuf::from_slice(envelope.raw).expect("a list");
        assert_eq!(read.items[2999].metadata.name, "c02999");
    }
}
