//! The JSON codec of the API types.
//!
//! Reading is one pass over the bytes into the typed value. Strict reading also collects unknown
//! and duplicate fields with their paths (API doc "Field validation"); errors are worded as Go's
//! decoder words them, because upstream hands those texts to users. Writing follows Go too:
//! declaration order, HTML characters escaped, `null` for required and empty.

mod error;
mod reader;
mod writer;

pub use error::{Error, Strict};
pub use reader::{Reader, Token, plain};
pub use writer::Writer;

use crate::kind::Object;
use crate::schema::Leaf;
use crate::value::{Struct, Value};

/// The object as JSON, `kind` and `apiVersion` first.
pub fn to_vec<T: Object + ?Sized>(object: &T) -> Vec<u8> {
    let mut out = Writer::with_capacity(1024);
    let kind = object.kind();
    out.raw("{\"kind\":");
    out.string(kind.kind);
    out.raw(",\"apiVersion\":");
    out.string(kind.api_version);
    let mut first = false;
    write_fields(object.as_dyn_struct(), &mut first, &mut out);
    out.raw("}");
    out.into_vec()
}

/// Any value as JSON, without `kind` and `apiVersion`.
pub fn value_to_vec(value: &dyn Value) -> Vec<u8> {
    let mut out = Writer::with_capacity(256);
    value.write_json(&mut out);
    out.into_vec()
}

/// Reads a value leniently: unknown fields are skipped, the last of duplicates wins.
pub fn from_slice<T: Value + Default>(text: &[u8]) -> Result<T, Error> {
    let mut value = T::default();
    read(&mut value, text, &mut None)?;
    Ok(value)
}

/// Reads a value and reports unknown and duplicate fields beside it.
pub fn from_slice_strict<T: Value + Default>(text: &[u8]) -> Result<(T, Vec<Strict>), Error> {
    let mut value = T::default();
    let mut found = Some(Vec::new());
    read(&mut value, text, &mut found)?;
    Ok((value, found.unwrap_or_default()))
}

/// Reads `text` into `value`; with `Some` list, unknown and duplicate fields are added to it.
pub fn read(value: &mut dyn Value, text: &[u8], strict: &mut Option<Vec<Strict>>) -> Result<(), Error> {
    let mut input = Reader::new(text, strict.is_some());
    value.read_json(&mut input)?;
    input.finish()?;
    if let Some(list) = strict {
        list.append(&mut input.take_strict());
    }
    Ok(())
}

/// JSON without white space. The text has been read before, so it is well-formed.
pub fn compact(text: &[u8]) -> Vec<u8> {
    // Nothing below a space stands in JSON but white space; without branches, many bytes are compared at once.
    if !text.chunks(64).any(|part| part.iter().fold(false, |found, byte| found | (*byte <= b' '))) {
        return text.to_vec();
    }
    let mut out = Vec::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    for &byte in text {
        if quoted {
            out.push(byte);
            (quoted, escaped) = match (byte, escaped) {
                (_, true) => (true, false),
                (b'\\', false) => (true, true),
                (b'"', false) => (false, false),
                _ => (true, false),
            };
        } else if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
            quoted = byte == b'"';
            out.push(byte);
        }
    }
    out
}

/// Writes a struct as a JSON object.
pub fn write_struct(value: &dyn Struct, out: &mut Writer) {
    out.raw("{");
    write_fields(value, &mut true, out);
    out.raw("}");
}

fn write_fields(value: &dyn Struct, first: &mut bool, out: &mut Writer) {
    for (place, field) in value.struct_type().fields.iter().enumerate() {
        let inner = value.field(place);
        if field.inline {
            if let Some(inlined) = inner.as_struct() {
                write_fields(inlined, first, out);
            }
            continue;
        }
        let left_out = inner.is_absent() || (field.omitzero && is_zero(inner));
        if left_out && !field.always {
            continue;
        }
        if !std::mem::take(first) {
            out.raw(",");
        }
        out.name(field.name);
        inner.write_json(out);
    }
    for (name, inner) in value.open_fields().into_iter().flatten() {
        if !std::mem::take(first) {
            out.raw(",");
        }
        out.string(name);
        out.raw(":");
        out.raw(&inner.to_string());
    }
}

/// Whether every field of a struct is absent.
fn is_zero(value: &dyn Value) -> bool {
    value.as_struct().is_none_or(|s| {
        (0..s.struct_type().fields.len()).all(|place| {
            let inner = s.field(place);
            inner.is_absent() || (inner.as_struct().is_some() && is_zero(inner))
        })
    })
}

/// Reads a JSON object into a struct.
pub fn read_struct(value: &mut dyn Struct, input: &mut Reader<'_>) -> Result<(), Error> {
    let table = value.struct_type();
    match input.token()? {
        Token::Null => return Ok(()),
        Token::ObjectStart => {}
        other => return Err(input.mismatch(&other, &table.go_name())),
    }
    let leaves = &table.index().leaves;
    let outer = input.enter_struct(table.name)?;
    // Fields mostly come in declaration order: look from the last hit on.
    let (mut hint, mut seen, mut first) = (0, [0u64; 2], true);
    while let Some(key) = input.next_key(first)? {
        first = false;
        match find(leaves, &key, hint) {
            Some(at) => {
                hint = at + 1;
                input.enter_field(leaves[at].field.name);
                let bit = 1u64 << (at % 64);
                if seen[at / 64] & bit != 0 {
                    input.duplicate();
                }
                seen[at / 64] |= bit;
                at_path(value, &leaves[at].path).read_json(input)?;
            }
            None => {
                input.enter_field(key.clone());
                let is_type = input.at_root() && matches!(&*key, "kind" | "apiVersion");
                match value.open_fields_mut().filter(|_| !is_type) {
                    Some(open) => {
                        let tree = input.tree()?;
                        if open.insert(key.clone().into_owned(), crate::custom::settled(tree)).is_some() {
                            input.duplicate();
                        }
                    }
                    None => {
                        if !is_type {
                            input.unknown();
                        }
                        input.skip_value()?;
                    }
                }
            }
        }
        input.leave_field();
    }
    input.leave_struct(outer);
    if let Some(open) = value.open_fields_mut() {
        let mut entries: Vec<_> = std::mem::take(open).into_iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        open.extend(entries);
    }
    Ok(())
}

fn find(leaves: &[Leaf], key: &str, hint: usize) -> Option<usize> {
    let is = |leaf: &Leaf| leaf.field.name == key;
    let hint = hint.min(leaves.len());
    leaves[hint..].iter().position(is).map(|at| at + hint).or_else(|| leaves[..hint].iter().position(is))
}

fn at_path<'a>(value: &'a mut dyn Struct, path: &[u8]) -> &'a mut dyn Value {
    match path {
        [place] => value.field_mut(usize::from(*place)),
        [place, rest @ ..] => {
            let inlined = value.field_mut(usize::from(*place));
            at_path(inlined.as_struct_mut().expect("only structs are inlined"), rest)
        }
        [] => unreachable!("a leaf has a path"),
    }
}

#[cfg(test)]
mod tests;
