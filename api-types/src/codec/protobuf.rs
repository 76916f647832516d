//! The protobuf codec of the API types.
//!
//! Wire format, as upstream's clients speak it (`application/vnd.kubernetes.protobuf`):
//!
//! ```text
//! 'k' '8' 's' 0x00 | Unknown { typeMeta = 1 { apiVersion = 1, kind = 2 }, raw = 2,
//!                              contentEncoding = 3, contentType = 4 }
//! ```
//!
//! `raw` holds the object's message. Messages are written back to front, so that every length is
//! known when its prefix is written, without a second pass. Fields come in ascending order.

use crate::kind::Object;
use crate::value::{Struct, Value};
use std::cell::Cell;

/// What every enveloped object starts with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Why bytes are not the message they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unexpected EOF")]
    Eof,
    #[error("proto: illegal wireType {0}")]
    WireType(u8),
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: wrong wireType, expected {0}")]
    Mismatch(&'static str),
    #[error("proto: string is not valid UTF-8")]
    Utf8,
    #[error("{0}")]
    Value(&'static str),
    #[error("exceeded max depth")]
    Depth,
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
}

/// One field's content as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Wire<'a> {
    pub fn varint(self) -> Result<u64, Error> {
        match self {
            Wire::Varint(n) => Ok(n),
            other => Err(other.mismatch("varint")),
        }
    }

    pub fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            other => Err(other.mismatch("length-delimited")),
        }
    }

    pub fn text(self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::Utf8)
    }

    pub fn mismatch(self, expected: &'static str) -> Error {
        Error::Mismatch(expected)
    }
}

/// Walks the fields of one message.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and content.
    #[allow(clippy::should_implement_trait, reason = "fallible, and only ever called in a while-let")]
    pub fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Error::Overflow)?;
        let wire = match (tag & 7) as u8 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes"))),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Error::Overflow)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes"))),
            other => return Err(Error::WireType(other)),
        };
        Ok(Some((number, wire)))
    }

    /// How many bytes of the message are not walked yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Error::Eof)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut n = 0u64;
        for (i, &byte) in self.rest.iter().enumerate() {
            if i == 10 {
                return Err(Error::Overflow);
            }
            n |= u64::from(byte & 0x7F) << (7 * i);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(n);
            }
        }
        Err(Error::Eof)
    }
}

/// Writes messages back to front.
#[derive(Debug)]
pub struct Writer {
    buffer: Vec<u8>,
    /// Where the written part starts; it reaches to the buffer's end.
    start: usize,
}

impl Writer {
    pub fn with_capacity(bytes: usize) -> Self {
        let bytes = bytes.max(64);
        Self { buffer: vec![0; bytes], start: bytes }
    }

    pub fn into_vec(mut self) -> Vec<u8> {
        self.buffer.drain(..self.start);
        self.buffer
    }

    /// Bytes written so far; `close_message` takes it back as the message's end.
    pub fn mark(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Puts tag and length before what was written since `end`.
    pub fn close_message(&mut self, number: u32, end: usize) {
        let length = self.mark() - end;
        self.varint(length as u64);
        self.tag(number, 2);
    }

    pub fn varint_field(&mut self, number: u32, n: u64) {
        self.varint(n);
        self.tag(number, 0);
    }

    pub fn fixed64_field(&mut self, number: u32, bits: u64) {
        self.prepend(&bits.to_le_bytes());
        self.tag(number, 1);
    }

    pub fn bytes_field(&mut self, number: u32, bytes: &[u8]) {
        self.prepend(bytes);
        self.varint(bytes.len() as u64);
        self.tag(number, 2);
    }

    /// Puts bytes before everything written so far.
    pub fn prepend(&mut self, bytes: &[u8]) {
        if bytes.len() > self.start {
            let written = self.mark();
            let grown = (self.buffer.len() * 2).max(written + bytes.len());
            let mut buffer = vec![0; grown];
            buffer[grown - written..].copy_from_slice(&self.buffer[self.start..]);
            self.buffer = buffer;
            self.start = grown - written;
        }
        self.start -= bytes.len();
        self.buffer[self.start..self.start + bytes.len()].copy_from_slice(bytes);
    }

    fn tag(&mut self, number: u32, wire_type: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire_type));
    }

    fn varint(&mut self, mut n: u64) {
        let mut bytes = [0u8; 10];
        let mut length = 0;
        loop {
            bytes[length] = (n & 0x7F) as u8;
            n >>= 7;
            length += 1;
            if n == 0 {
                break;
            }
            bytes[length - 1] |= 0x80;
        }
        self.prepend(&bytes[..length]);
    }
}

/// Writes a struct as an embedded message.
pub fn write_message(value: &dyn Struct, number: u32, out: &mut Writer) {
    let end = out.mark();
    write_fields(value, out);
    out.close_message(number, end);
}

fn write_fields(value: &dyn Struct, out: &mut Writer) {
    let table = value.struct_type();
    for &place in table.index().by_number.iter().rev() {
        let place = usize::from(place);
        let inner = value.field(place);
        if !inner.is_absent() {
            inner.write_protobuf(table.fields[place].number, out);
        }
    }
}

/// Reads an embedded message into a struct; what came before stays where the message is silent.
pub fn read_message(value: &mut dyn Struct, wire: Wire<'_>) -> Result<(), Error> {
    read_fields(value, wire.bytes()?)
}

/// Messages of declared structs that may stand in each other. Only schemas nest in themselves; what
/// is deeper would take a thread's stack.
const MAX_DEPTH: usize = 60;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

fn read_fields(value: &mut dyn Struct, message: &[u8]) -> Result<(), Error> {
    let depth = DEPTH.get();
    if depth == MAX_DEPTH {
        return Err(Error::Depth);
    }
    DEPTH.set(depth + 1);
    let read = read_all_fields(value, message);
    DEPTH.set(depth);
    read
}

fn read_all_fields(value: &mut dyn Struct, message: &[u8]) -> Result<(), Error> {
    let table = value.struct_type();
    let order = &table.index().by_number;
    let mut fields = Reader::new(message);
    let mut hint = 0;
    while let Some((number, wire)) = fields.next()? {
        let is = |&place: &u8| table.fields[usize::from(place)].number == number;
        let found =
            order[hint..].iter().position(is).map(|at| at + hint).or_else(|| order.iter().position(is));
        if let Some(at) = found {
            hint = at;
            value.field_mut(usize::from(order[at])).read_protobuf(wire)?;
        }
    }
    Ok(())
}

/// A struct as a bare message.
pub fn to_vec(value: &dyn Struct) -> Vec<u8> {
    let mut out = Writer::with_capacity(1024);
    write_fields(value, &mut out);
    out.into_vec()
}

/// Reads a bare message.
pub fn from_slice<T: Struct + Default>(message: &[u8]) -> Result<T, Error> {
    let mut value = T::default();
    read_fields(&mut value, message)?;
    Ok(value)
}

/// Reads a bare message into a value that exists.
pub fn read(value: &mut dyn Struct, message: &[u8]) -> Result<(), Error> {
    read_fields(value, message)
}

/// An object in its envelope.
pub fn to_envelope<T: Object + ?Sized>(object: &T) -> Vec<u8> {
    let kind = object.kind();
    let mut out = Writer::with_capacity(1024);
    let end = out.mark();
    write_fields(object.as_dyn_struct(), &mut out);
    finish_envelope(out, end, kind.api_version, kind.kind)
}

/// A message that stands written in `raw`, in an envelope.
pub fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Writer::with_capacity(raw.len() + 128);
    let end = out.mark();
    out.prepend(raw);
    finish_envelope(out, end, api_version, kind)
}

fn finish_envelope(mut out: Writer, end: usize, api_version: &str, kind: &str) -> Vec<u8> {
    let length = out.mark() - end;
    out.prepend(&envelope_head(api_version, kind, length));
    let mut bytes = out.into_vec();
    bytes.extend_from_slice(&ENVELOPE_TAIL);
    bytes
}

/// What stands in an envelope before a message of `length` bytes, for messages that are written piece by piece;
/// [`ENVELOPE_TAIL`] follows them.
pub fn envelope_head(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut out = Writer::with_capacity(128);
    out.varint(length as u64);
    out.tag(2, 2);
    let meta = out.mark();
    out.bytes_field(2, kind.as_bytes());
    out.bytes_field(1, api_version.as_bytes());
    out.close_message(1, meta);
    out.prepend(MAGIC);
    out.into_vec()
}

/// COMPAT: upstream writes the two last fields, 3 and 4, even though they are empty.
pub const ENVELOPE_TAIL: [u8; 4] = [0x1A, 0, 0x22, 0];

/// Appends a field of bytes or of a message that is written already.
pub fn append_field(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    append_varint(u64::from(number) << 3 | 2, out);
    append_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// How many bytes [`append_field`] appends for so many.
pub fn field_length(number: u32, bytes: usize) -> usize {
    varint_length(u64::from(number) << 3) + varint_length(bytes as u64) + bytes
}

fn append_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7F) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn varint_length(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

/// The parts of an envelope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub raw: &'a [u8],
    pub content_type: &'a str,
}

/// Opens an envelope.
pub fn open_envelope(bytes: &[u8]) -> Result<Envelope<'_>, Error> {
    let mut fields = Reader::new(bytes.strip_prefix(MAGIC).ok_or(Error::Magic)?);
    let mut found = Envelope::default();
    while let Some((number, wire)) = fields.next()? {
        match number {
            1 => {
                let mut meta = Reader::new(wire.bytes()?);
                while let Some((number, wire)) = meta.next()? {
                    match number {
                        1 => found.api_version = wire.text()?,
                        2 => found.kind = wire.text()?,
                        _ => {}
                    }
                }
            }
            2 => found.raw = wire.bytes()?,
            4 => found.content_type = wire.text()?,
            _ => {}
        }
    }
    Ok(found)
}

/// Reads any value's occurrence list out of a message: what tests and lists of raw items use.
pub fn read_value(value: &mut dyn Value, wire: Wire<'_>) -> Result<(), Error> {
    value.read_protobuf(wire)
}
