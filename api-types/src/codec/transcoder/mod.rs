//! From an object's JSON to its protobuf message without the object in between.
//!
//! The watch cache keeps JSON; its readers want protobuf, too. Reading a pod into its type and writing that
//! again is mostly allocating what is copied a moment later. Here the text is walked once, by the same tables
//! as the codecs walk, and each field is written as its key is met. What comes out is, byte for byte, what the
//! codecs make of the text: fields in ascending order, zero values left out where the field is plain and kept
//! where it is an `Option`, plain structs written even where the text does not have them.
//!
//! It knows JSON as the server writes it: no white space, map keys in order, each field once. Whatever else it
//! meets — and whatever is no JSON, or no object of the kind — ends it, and the codecs are asked: [`message`]
//! never answers what they would not.

mod plan;
mod scan;
mod template;

pub use plan::Plan;
pub use template::Template;

use super::json;
use super::protobuf::{Reader, Writer};
use crate::schema::StructType;
use crate::value::{Duration, MicroTime, Quantity, Time, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plan::{Kind, Shape, Step, Tag};
use scan::Scan;
use template::{Form, Trace};

/// Structs that may stand in each other.
const MAX_DEPTH: usize = 40;

/// The bare message of the object of type `table` in `text`, which may have its kind and version and other
/// fields that the table does not have. `None` where that is left to the codecs.
pub fn message(table: &'static StructType, text: &[u8]) -> Option<Vec<u8>> {
    let mut pass = Pass::new(text, None)?;
    pass.whole(table)?;
    Some(pass.out)
}

const fn tag(number: u32, wire_type: u32) -> Tag {
    Tag::new(number, wire_type).expect("a small number")
}
const TEXT_1: Tag = tag(1, 2);
const TEXT_2: Tag = tag(2, 2);
const TEXT_3: Tag = tag(3, 2);
const VARINT_1: Tag = tag(1, 0);
const VARINT_2: Tag = tag(2, 0);

struct Pass<'t> {
    scan: Scan<'t>,
    out: Vec<u8>,
    depth: usize,
    /// Room to put fields in order.
    sorted: Vec<u8>,
    /// Of a message that becomes a template.
    trace: Option<Trace>,
}

impl<'t> Pass<'t> {
    fn new(text: &'t [u8], trace: Option<Trace>) -> Option<Self> {
        std::str::from_utf8(text).ok()?;
        let (scan, out) = (Scan { text, at: 0 }, Vec::with_capacity(text.len() + 64));
        Some(Self { scan, out, depth: 0, sorted: Vec::new(), trace })
    }

    /// The object that is all of the text.
    fn whole(&mut self, table: &'static StructType) -> Option<()> {
        self.object(table)?;
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
        self.scan.rest().iter().all(is_space).then_some(())
    }

    fn object(&mut self, table: &'static StructType) -> Option<()> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        self.scan.take(b'{')?;
        self.fields(table.index().plan()?, false)?;
        self.scan.take(b'}')?;
        self.depth -= 1;
        Some(())
    }

    /// Fields up to the end of the object; of a struct that is shown inline, up to the first that is another's.
    fn fields(&mut self, plan: &'static Plan, inline: bool) -> Option<()> {
        let body = self.out.len();
        // What came, and what of it was not null.
        let (mut seen, mut given) = (0_u64, 0_u64);
        let (mut hint, mut last, mut in_order) = (0, 0, true);
        let mut more = self.scan.peek()? != b'}';
        while more {
            self.scan.take(b'"')?;
            let Some((place, step, key)) = plan.find(self.scan.rest(), hint) else {
                self.scan.at -= 1;
                if inline {
                    break;
                }
                // Another spelling of a name is no reason to leave the field out.
                self.scan.string()?;
                self.scan.take(b':')?;
                self.scan.value()?;
                more = self.next()?;
                continue;
            };
            let bit = 1 << place;
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            hint = place + 1;
            in_order &= step.tag.number > last;
            last = step.tag.number;
            if let Shape::Inline = step.shape {
                let Kind::Struct(table) = step.kind else { return None };
                given |= bit;
                self.scan.at -= 1;
                let start = self.open(step.tag);
                self.fields(table().index().plan()?, true)?;
                self.close(start);
                more = self.scan.peek()? != b'}';
                continue;
            }
            self.scan.at += key;
            if self.field(step)? {
                given |= bit;
            }
            more = self.next()?;
        }
        let missing = plan.musts & !given;
        if missing != 0 {
            for field in plan.missing.iter().filter(|field| missing & 1 << field.place != 0) {
                in_order &= field.number > last;
                last = field.number;
                self.out.extend_from_slice(&field.bytes);
            }
        }
        if in_order { Some(()) } else { self.sort(body) }
    }

    /// Whether another field of the object follows.
    fn next(&mut self) -> Option<bool> {
        match self.scan.peek()? {
            b',' => {
                self.scan.at += 1;
                (self.scan.peek()? == b'"').then_some(true)
            }
            b'}' => Some(false),
            _ => None,
        }
    }

    /// A field's value. Whether it is one: null is none.
    fn field(&mut self, step: &Step) -> Option<bool> {
        if self.scan.peek()? == b'n' {
            self.scan.word(b"null")?;
            return Some(false);
        }
        match step.shape {
            Shape::One | Shape::Inline => self.value(step.tag, step.kind, step.optional)?,
            Shape::List => self.list(step.tag, step.kind)?,
            Shape::Map => self.map(step.tag, step.kind)?,
        }
        Some(true)
    }

    fn list(&mut self, tag: Tag, kind: Kind) -> Option<()> {
        self.scan.take(b'[')?;
        if self.scan.takes(b']') {
            return Some(());
        }
        loop {
            self.value(tag, kind, true)?;
            if !self.scan.takes(b',') {
                return self.scan.take(b']');
            }
        }
    }

    fn map(&mut self, tag: Tag, kind: Kind) -> Option<()> {
        self.scan.take(b'{')?;
        if self.scan.takes(b'}') {
            return Some(());
        }
        let value_tag =
            if matches!(kind, Kind::Bool | Kind::Int32 | Kind::Int64) { VARINT_2 } else { TEXT_2 };
        let mut before = "".as_bytes();
        let mut first = true;
        loop {
            let start = self.open(tag);
            let key = self.scan.string()?;
            if !first && key <= before {
                return None;
            }
            (before, first) = (key, false);
            self.text_field(TEXT_1, key);
            self.scan.take(b':')?;
            self.value(value_tag, kind, true)?;
            self.close(start);
            if !self.scan.takes(b',') {
                return self.scan.take(b'}');
            }
        }
    }

    /// One value that is not null, with its tag; nothing where it is zero, unless `always`.
    fn value(&mut self, tag: Tag, kind: Kind, always: bool) -> Option<()> {
        match kind {
            Kind::Text => self.text(tag, always),
            Kind::Struct(table) => {
                let start = self.open(tag);
                self.object(table())?;
                self.close(start);
                Some(())
            }
            Kind::Bool => {
                let is = self.scan.word(b"true").is_some();
                if !is {
                    self.scan.word(b"false")?;
                }
                self.varint_field(tag, u64::from(is), always);
                Some(())
            }
            Kind::Int32 => {
                let n = i32::try_from(self.scan.integer()?).ok()?;
                self.varint_field(tag, i64::from(n) as u64, always);
                Some(())
            }
            Kind::Int64 => {
                let n = self.scan.integer()?;
                self.varint_field(tag, n as u64, always);
                Some(())
            }
            Kind::Time => self.time(tag, always),
            Kind::Quantity => self.quantity(tag, always),
            Kind::IntOrString => self.int_or_string(tag),
            Kind::Raw => {
                let raw = self.scan.value()?;
                if raw == b"null" {
                    return None;
                }
                let start = self.open(tag);
                self.text_field(TEXT_1, raw);
                self.note(Form::Raw, self.scan.at, raw.len());
                self.close(start);
                Some(())
            }
            Kind::Bytes => {
                let text = self.scan.string()?;
                if text.is_empty() && !always {
                    return Some(());
                }
                let start = self.open(tag);
                STANDARD.decode_vec(text, &mut self.out).ok()?;
                self.close(start);
                Some(())
            }
            Kind::Texts => self.texts(tag, always),
            Kind::MicroTime => self.typed::<MicroTime>(tag, always),
            Kind::Duration => self.typed::<Duration>(tag, always),
            Kind::Double => self.typed::<f64>(tag, always),
            Kind::Unsure => None,
        }
    }

    fn text(&mut self, tag: Tag, always: bool) -> Option<()> {
        let (part, ended) = self.scan.string_start()?;
        if ended {
            if always || !part.is_empty() {
                self.text_field(tag, part);
                self.note(Form::Text, self.scan.at - 1, part.len());
            }
            return Some(());
        }
        let start = self.open(tag);
        self.out.extend_from_slice(part);
        self.escaped()?;
        self.close(start);
        Some(())
    }

    /// The rest of a string from an escape on.
    fn escaped(&mut self) -> Option<()> {
        loop {
            let mut utf8 = [0; 4];
            self.out.extend_from_slice(self.scan.escape()?.encode_utf8(&mut utf8).as_bytes());
            let (part, ended) = self.scan.string_part()?;
            self.out.extend_from_slice(part);
            if ended {
                return Some(());
            }
        }
    }

    fn texts(&mut self, tag: Tag, always: bool) -> Option<()> {
        let start = self.open(tag);
        let body = self.out.len();
        self.list(TEXT_1, Kind::Text)?;
        if self.out.len() == body && !always {
            self.out.truncate(start - tag.bytes().len());
            if let Some(trace) = &mut self.trace {
                trace.abandon();
            }
            return Some(());
        }
        self.close(start);
        Some(())
    }

    fn int_or_string(&mut self, tag: Tag) -> Option<()> {
        let start = self.open(tag);
        if self.scan.peek()? == b'"' {
            self.varint_field(VARINT_1, 1, true);
            self.varint_field(VARINT_2, 0, true);
            self.text(TEXT_3, true)?;
        } else {
            let n = i32::try_from(self.scan.integer()?).ok()?;
            self.varint_field(VARINT_1, 0, true);
            self.varint_field(VARINT_2, i64::from(n) as u64, true);
            self.text_field(TEXT_3, b"");
        }
        self.close(start);
        Some(())
    }

    /// Amounts are kept as texts; most are written as they would be again.
    fn quantity(&mut self, tag: Tag, always: bool) -> Option<()> {
        let at = self.scan.at;
        match self.scan.string() {
            Some(text) if Quantity::is_canonical(text) => {
                let start = self.open(tag);
                self.text_field(TEXT_1, text);
                self.close(start);
                Some(())
            }
            _ => {
                self.scan.at = at;
                self.typed::<Quantity>(tag, always)
            }
        }
    }

    fn time(&mut self, tag: Tag, always: bool) -> Option<()> {
        let at = self.scan.at;
        if let Some(seconds) = self.scan.string().and_then(Time::seconds_of) {
            let start = self.open(tag);
            self.varint_field(VARINT_1, seconds as u64, true);
            if let Some(trace) = &mut self.trace {
                let number = start + 2;
                trace.value(Form::Time, at + 1, self.scan.at - 1, number, self.out.len() - number);
            }
            self.varint_field(VARINT_2, 0, true);
            self.close(start);
            return Some(());
        }
        self.scan.at = at;
        self.typed::<Time>(tag, always)
    }

    /// A value that is rare, or written in an unusual way: this one alone by the codecs.
    fn typed<T: Value + Default>(&mut self, tag: Tag, always: bool) -> Option<()> {
        let text = self.scan.value()?;
        if text == b"null" {
            return None;
        }
        let mut value = T::default();
        json::read(&mut value, text, &mut None).ok()?;
        if always || !value.is_absent() {
            let mut out = Writer::with_capacity(64);
            value.write_protobuf(tag.number, &mut out);
            self.out.extend_from_slice(&out.into_vec());
        }
        Some(())
    }

    /// Begins a message; gives the place of its length to `close`.
    fn open(&mut self, tag: Tag) -> usize {
        self.out.extend_from_slice(tag.bytes());
        self.out.push(0);
        let start = self.out.len() - 1;
        if let Some(trace) = &mut self.trace {
            trace.open(start);
        }
        start
    }

    /// A value that ends in the text at `end`, and was written last with its length.
    fn note(&mut self, form: Form, end: usize, length: usize) {
        if let Some(trace) = self.trace.as_mut().filter(|_| length > 0) {
            let size = length + template::varint_length(length as u64);
            trace.value(form, end - length, end, self.out.len() - size, size);
        }
    }

    /// Writes the length of what came since `open`. Most are short: the others make room for it.
    fn close(&mut self, start: usize) {
        let (body, length) = (start + 1, self.out.len() - start - 1);
        if length < 0x80 {
            self.out[start] = length as u8;
            if let Some(trace) = &mut self.trace {
                trace.close(length, 0);
            }
            return;
        }
        let end = self.out.len();
        append_varint(length as u64, &mut self.out);
        let more = self.out.len() - end;
        let mut bytes = [0; 10];
        bytes[..more].copy_from_slice(&self.out[end..]);
        self.out.copy_within(body..end, start + more);
        self.out[start..start + more].copy_from_slice(&bytes[..more]);
        self.out.truncate(end + more - 1);
        if let Some(trace) = &mut self.trace {
            trace.close(length, more - 1);
        }
    }

    fn text_field(&mut self, tag: Tag, text: &[u8]) {
        self.out.extend_from_slice(tag.bytes());
        append_varint(text.len() as u64, &mut self.out);
        self.out.extend_from_slice(text);
    }

    fn varint_field(&mut self, tag: Tag, n: u64, always: bool) {
        if always || n != 0 {
            self.out.extend_from_slice(tag.bytes());
            append_varint(n, &mut self.out);
        }
    }

    /// Puts the fields that are written from `body` on in ascending order.
    fn sort(&mut self, body: usize) -> Option<()> {
        let mut fields = Vec::with_capacity(16);
        let mut reader = Reader::new(&self.out[body..]);
        let mut at = 0;
        while let Some((number, _)) = reader.next().ok()? {
            let end = self.out.len() - body - reader.left();
            fields.push((number, at..end));
            at = end;
        }
        fields.sort_by_key(|(number, _)| *number);
        self.sorted.clear();
        if let Some(trace) = &mut self.trace {
            let mut places = Vec::new();
            let mut next = body;
            for (_, range) in &fields {
                places.push((range.start + body..range.end + body, next));
                next += range.len();
            }
            trace.each_behind(body as u32, |at| {
                let place = *at as usize;
                if let Some((from, to)) = places.iter().find(|(from, _)| from.contains(&place)) {
                    *at = (place - from.start + to) as u32;
                }
            });
        }
        for (_, range) in fields {
            self.sorted.extend_from_slice(&self.out[body..][range]);
        }
        self.out[body..].copy_from_slice(&self.sorted);
        Some(())
    }
}

fn append_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7F) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[cfg(test)]
mod tests;
