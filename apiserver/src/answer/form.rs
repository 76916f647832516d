//! One object in the form and encoding asked for: itself, its metadata, or a row of a table.

use std::sync::Arc;

use api_types::codec::{json, protobuf};
use api_types::kind::{Object, Row};
use bytes::Bytes;

use super::table;
use crate::kinds;
use crate::negotiate::{Accepted, Encoding, Form, Include};
use crate::status::ApiError;
use crate::storage::{Entry, entry, paths};

/// The kind that a client asks for, and the one that its objects are stored as.
#[derive(Clone, Copy)]
pub struct Served {
    pub row: &'static Row,
    pub stored: &'static Row,
}

pub const PARTIAL: &str = "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",";

impl Served {
    pub fn of(row: &'static Row) -> Self {
        Self { row, stored: paths::storage_row(row) }
    }

    /// The other versions in which the same objects are served.
    pub fn equivalents(row: &'static Row) -> Vec<&'static Row> {
        let stored = Self::of(row).stored;
        let others =
            api_types::kinds::served().filter(|other| other.kind.is_stored() && !std::ptr::eq(*other, row));
        others.filter(|other| std::ptr::eq(Self::of(other).stored, stored)).collect()
    }

    /// Whether stored bytes are what the client gets.
    pub fn as_stored(self) -> bool {
        std::ptr::eq(self.row, self.stored)
    }

    /// Whether this entry's bytes are what the client gets.
    pub fn passes(self, entry: &Entry) -> bool {
        self.as_stored() && std::ptr::eq(entry.row(self.stored), self.row)
    }

    /// The object, in the served version.
    ///
    /// # Errors
    /// A 500 for bytes that are no such object, and what a webhook that converts does not do.
    pub fn decode(self, entry: &Entry) -> Result<Box<dyn Object>, ApiError> {
        let from = entry.row(self.stored);
        let object = entry.decode(from).map_err(ApiError::internal)?;
        if std::ptr::eq(from, self.row) { Ok(object) } else { kinds::convert(&*object, self.row) }
    }

    /// JSON with kind and apiVersion.
    ///
    /// # Errors
    /// As `decode`.
    pub fn json(self, entry: &Entry) -> Result<Bytes, ApiError> {
        if self.passes(entry) {
            return Ok(entry.json());
        }
        Ok(json::to_vec(&*self.decode(entry)?).into())
    }

    /// Protobuf in its envelope.
    ///
    /// # Errors
    /// As `decode`.
    pub fn protobuf(self, entry: &Entry) -> Result<Bytes, ApiError> {
        if self.passes(entry) {
            let kind = self.row.kind;
            let enveloped =
                |message: &[u8]| Bytes::from(protobuf::envelope(kind.api_version, kind.kind, message));
            return match entry.kept_message() {
                Some(message) => Ok(enveloped(&message)),
                None => Ok(enveloped(&entry.made_message(self.row).map_err(ApiError::internal)?)),
            };
        }
        Ok(protobuf::to_envelope(&*self.decode(entry)?).into())
    }

    /// An item of a protobuf list: the message alone, the same bytes each time. Whole objects in the version
    /// that is stored are kept for the next list, if it comes soon; `near` are those before it.
    ///
    /// # Errors
    /// As `decode`.
    pub fn item(self, entry: &Entry, form: Form, near: &[Arc<Entry>]) -> Result<Bytes, ApiError> {
        if form != Form::Whole {
            return metadata_message(entry);
        }
        if self.passes(entry) {
            return entry.message(self.row, near).map_err(ApiError::internal);
        }
        Ok(protobuf::to_vec(self.decode(entry)?.as_dyn_struct()).into())
    }
}

/// A stored object; JSON for YAML too.
pub fn object(served: Served, entry: &Entry, accepted: Accepted) -> Result<Bytes, ApiError> {
    match (accepted.form, accepted.encoding) {
        (Form::Whole, Encoding::Protobuf) => served.protobuf(entry),
        (Form::Whole, _) => served.json(entry),
        (Form::Metadata, Encoding::Protobuf) => metadata_protobuf(entry),
        (Form::Metadata, _) => {
            let mut out = Vec::new();
            metadata(served, entry, &mut out);
            Ok(out.into())
        }
        (Form::Table(include), _) => {
            let mut out = table::head(served.row, entry_revision(entry).as_str(), "", None, true);
            table::row(served, entry, include, &mut out)?;
            out.extend_from_slice(b"]}");
            Ok(out.into())
        }
    }
}

fn entry_revision(entry: &Entry) -> String {
    entry.revision.to_string()
}

/// An object that is not stored.
pub fn made(object: &dyn Object, accepted: Accepted) -> Result<Bytes, ApiError> {
    Ok(match (accepted.form, accepted.encoding) {
        (Form::Whole, Encoding::Protobuf) => protobuf::to_envelope(object).into(),
        (Form::Whole, _) => json::to_vec(object).into(),
        (_, encoding) => {
            // Dry runs and subresources: an entry that lives as long as the answer.
            let row =
                api_types::kinds::by_kind(object.kind().group, object.kind().version, object.kind().kind)
                    .ok_or_else(|| ApiError::NotAcceptable(crate::negotiate::ALL.to_vec()))?;
            let served = Served { row, stored: row };
            let entry = Entry::of(row, object.meta().name.as_str().into(), object, 0);
            return self::object(served, &entry, Accepted { encoding, ..accepted });
        }
    })
}

/// PartialObjectMetadata, cut out of the stored bytes.
pub fn metadata(served: Served, entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(PARTIAL.as_bytes());
    let start = entry::prefix(entry.row(served.stored)).len();
    // Every entry's bytes begin with kind, apiVersion, metadata, in this order.
    let text = entry.json();
    out.extend_from_slice(field(&text[start.min(text.len())..]));
    out.push(b'}');
}

fn metadata_protobuf(entry: &Entry) -> Result<Bytes, ApiError> {
    let raw = metadata_message(entry)?;
    Ok(protobuf::envelope("meta.k8s.io/v1", "PartialObjectMetadata", &raw).into())
}

fn metadata_message(entry: &Entry) -> Result<Bytes, ApiError> {
    entry.metadata_message().map(Bytes::from).map_err(ApiError::internal)
}

/// The first `"name":{…}` of a text, as it stands.
fn field(text: &[u8]) -> &[u8] {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return &text[..=at];
                }
            }
            _ => {}
        }
    }
    text
}

/// What a row of a table carries of its object.
pub fn included(served: Served, entry: &Entry, include: Include, out: &mut Vec<u8>) -> Result<(), ApiError> {
    match include {
        Include::None => out.extend_from_slice(b"null"),
        Include::Metadata => metadata(served, entry, out),
        Include::Object => out.extend_from_slice(&served.json(entry)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_is_cut_out_whole() {
        let text = br#""metadata":{"name":"a}\"{","labels":{"x":"]"}},"spec":{}}"#;
        assert_eq!(field(text), br#""metadata":{"name":"a}\"{","labels":{"x":"]"}}"#);
    }
}
