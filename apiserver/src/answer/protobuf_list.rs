//! Protobuf lists, streamed as JSON ones are.
//!
//! A message says its length before its content, so the items are gone through twice: measured, then
//! written. Both make or find the same bytes (`Served::item`); those of whole objects are kept with the
//! entry while they are asked for, so that of lists in a row all but the first only copy. Of other forms a
//! batch is remembered from the one to the other: lists come in pages, mostly.

use std::sync::Arc;

use api_types::codec::protobuf;
use api_types::meta::v1::ListMeta;
use bytes::Bytes;
use http::Response;

use super::form::Served;
use super::list::{CHUNK, GZIP_FROM, List, streamed, unbroken};
use crate::body::{self, Body};
use crate::negotiate::{Encoding, Form};
use crate::status::ApiError;
use crate::storage::Entry;
use crate::storage::entry::NEAR;

/// Items that are measured before others have their turn; lists of no more than these are written at once.
const BATCH: usize = 1024;
/// Numbers of a list's fields.
const METADATA: u32 = 1;
const ITEMS: u32 = 2;

pub struct Items {
    served: Served,
    form: Form,
    entries: Vec<Arc<Entry>>,
    /// The list's metadata, as a field.
    metadata: Vec<u8>,
    /// Of metadata and items so far, bytes.
    length: usize,
    /// The first items, where nothing else keeps them.
    made: Vec<Bytes>,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    /// The next to be measured.
    Measure(usize),
    Head,
    /// The next to be written.
    Write(usize),
    Done,
}

impl Items {
    /// Measures what fits into a batch.
    ///
    /// # Errors
    /// As [`Served::item`].
    pub fn new(list: List, form: Form) -> Result<Self, ApiError> {
        let meta = ListMeta {
            // Of what is not stored there is no revision.
            resource_version: if list.revision > 0 { list.revision.to_string() } else { String::new() },
            continue_: list.next.clone(),
            remaining_item_count: list.remaining,
            ..ListMeta::default()
        };
        let mut metadata = Vec::new();
        protobuf::append_field(METADATA, &protobuf::to_vec(&meta), &mut metadata);
        let (served, length) = (list.served, metadata.len());
        let (entries, made, place) = (list.chosen(), Vec::new(), Place::Measure(0));
        let mut items = Self { served, form, entries, metadata, length, made, place };
        items.measure(0)?;
        Ok(items)
    }

    /// # Errors
    /// As [`Served::item`], for a list that is short.
    pub fn into_response(mut self, gzip: bool) -> Result<Response<Body>, ApiError> {
        let media_type = Encoding::Protobuf.media_type();
        let is_short = matches!(self.place, Place::Head) && self.length < GZIP_FROM;
        if !is_short {
            let chunks = std::iter::from_fn(move || unbroken(self.chunk()));
            return Ok(streamed(media_type, chunks, gzip));
        }
        let mut all = Vec::with_capacity(self.length + 128);
        while let Some(chunk) = self.chunk()? {
            all.extend_from_slice(&chunk);
        }
        Ok(body::response(200, media_type, body::full(all)))
    }

    fn measure(&mut self, from: usize) -> Result<(), ApiError> {
        let to = (from + BATCH).min(self.entries.len());
        for place in from..to {
            let item = self.item(place)?;
            self.length += protobuf::field_length(ITEMS, item.len());
            if self.form != Form::Whole && place == self.made.len() && place < BATCH {
                self.made.push(item);
            }
        }
        self.place = if to == self.entries.len() { Place::Head } else { Place::Measure(to) };
        Ok(())
    }

    fn item(&self, place: usize) -> Result<Bytes, ApiError> {
        if let Some(item) = self.made.get(place) {
            return Ok(item.clone());
        }
        let before = &self.entries[place.saturating_sub(NEAR)..place];
        self.served.item(&self.entries[place], self.form, before)
    }

    /// The next bytes: empty ones while it measures.
    fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        match self.place {
            Place::Measure(from) => {
                self.measure(from)?;
                Ok(Some(Bytes::new()))
            }
            Place::Head => {
                self.place = Place::Write(0);
                let kind = self.served.row.kind;
                let (api_version, kind) = match self.form {
                    Form::Whole => (kind.api_version, format!("{}List", kind.kind)),
                    _ => ("meta.k8s.io/v1", "PartialObjectMetadataList".to_owned()),
                };
                let mut head = protobuf::envelope_head(api_version, &kind, self.length);
                head.append(&mut self.metadata);
                Ok(Some(head.into()))
            }
            Place::Write(from) => {
                let mut out = Vec::with_capacity(CHUNK + CHUNK / 4);
                let mut next = from;
                while next < self.entries.len() && out.len() < CHUNK {
                    protobuf::append_field(ITEMS, &self.item(next)?, &mut out);
                    next += 1;
                }
                self.place = Place::Write(next);
                if next == self.entries.len() {
                    out.extend_from_slice(&protobuf::ENVELOPE_TAIL);
                    self.place = Place::Done;
                }
                Ok(Some(out.into()))
            }
            Place::Done => Ok(None),
        }
    }
}
