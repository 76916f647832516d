//! Tables (`meta.k8s.io/v1` Table): what `kubectl get` prints. Columns come from the kind's row.

use api_types::codec::json::Writer;
use api_types::kind::{ColumnHead, Row};
use serde_json::{Value, json};

use super::form::{self, Served};
use crate::negotiate::Include;
use crate::status::ApiError;
use crate::storage::Entry;

/// The columns of kinds that declare none, as upstream's default has them.
const DEFAULT: [ColumnHead; 2] = [
    ColumnHead {
        name: "Name",
        ty: "string",
        format: "name",
        description: "Name must be unique within a namespace. Is required when creating resources, although some \
                      resources may allow a client to request the generation of an appropriate name automatically. \
                      Name is primarily intended for creation idempotence and configuration definition. Cannot be \
                      updated. More info: \
                      https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
        priority: 0,
    },
    ColumnHead {
        name: "Created At",
        ty: "date",
        format: "",
        description: "CreationTimestamp is a timestamp representing the server time when this object was created. It \
                      is not guaranteed to be set in happens-before order across separate operations. Clients may not \
                      set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. \
                      Read-only. Null for lists. More info: \
                      https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
        priority: 0,
    },
];

/// A table up to its first row: `{…,"rows":[`. Watches name the columns in their first event only.
pub fn head(row: &Row, revision: &str, next: &str, remaining: Option<i64>, columns: bool) -> Vec<u8> {
    let mut out = Writer::with_capacity(512);
    out.raw("{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
    super::list::metadata(revision, next, remaining, &mut out);
    let heads = if columns { heads(row) } else { Vec::new() };
    out.raw(",\"columnDefinitions\":");
    if columns {
        out.raw("[")
    } else {
        out.raw("null")
    }
    for (place, head) in heads.iter().enumerate() {
        if place > 0 {
            out.raw(",");
        }
        out.raw("{\"name\":");
        out.string(head.name);
        out.raw(",\"type\":");
        out.string(head.ty);
        out.raw(",\"format\":");
        out.string(head.format);
        out.raw(",\"description\":");
        out.string(head.description);
        out.raw(",\"priority\":");
        out.integer(head.priority.into());
        out.raw("}");
    }
    if columns {
        out.raw("]");
    }
    out.raw(",\"rows\":[");
    out.into_vec()
}

fn heads(row: &Row) -> Vec<ColumnHead> {
    let heads = (row.column_heads)();
    if heads.is_empty() { DEFAULT.to_vec() } else { heads }
}

/// One object's row.
pub fn row(served: Served, entry: &Entry, include: Include, out: &mut Vec<u8>) -> Result<(), ApiError> {
    let object = served.decode(entry)?;
    let mut cells: Vec<Value> = (served.row.cells)(&*object, jiff::Timestamp::now());
    if cells.is_empty() {
        let created = object.meta().creation_timestamp.map_or(Value::Null, |t| json!(t.to_string()));
        cells = vec![json!(object.meta().name), created];
    }
    out.extend_from_slice(b"{\"cells\":");
    serde_json::to_writer(&mut *out, &cells).map_err(ApiError::internal)?;
    out.extend_from_slice(b",\"object\":");
    form::included(served, entry, include, out)?;
    out.push(b'}');
    Ok(())
}
