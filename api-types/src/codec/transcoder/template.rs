//! Messages of objects that are nearly the same: made once, and for the others only what differs.
//!
//! The pods of a Deployment have the same fields; names, uids, addresses and times differ. A template keeps an
//! object's message beside the places, in text and message, of the values that may differ, and of the lengths
//! that depend on them. Another object's text is compared with the template's: where they part, it must be within
//! such a value, which is put in the place of the template's. Everything else being the same text, it is the
//! same message. Whatever else differs is `None`.

use super::{Pass, append_varint};
use crate::codec::json::plain;
use crate::schema::StructType;
use crate::value::Time;

/// A message and what may differ in it. Its text is kept by others, and given each time.
#[derive(Debug)]
pub struct Template {
    message: Box<[u8]>,
    values: Box<[Value]>,
    lengths: Box<[Length]>,
}

/// A value that may differ.
#[derive(Debug, Clone, Copy)]
struct Value {
    form: Form,
    /// In the text, without quotes.
    from: u32,
    to: u32,
    /// In the message: its length, or for a time its seconds.
    at: u32,
    /// How many bytes from there on are its own.
    size: u32,
    /// The innermost message that it is in; none of the root's.
    within: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    Text,
    Time,
    Raw,
}

/// The length of a message within the message.
#[derive(Debug, Clone, Copy)]
struct Length {
    at: u32,
    /// The length itself.
    bytes: u32,
    within: Option<u32>,
}

/// Notes those places while a message is made.
#[derive(Debug, Default)]
pub(super) struct Trace {
    values: Vec<Value>,
    lengths: Vec<Length>,
    /// Messages that are not at their end, the innermost last.
    open: Vec<u32>,
}

impl Trace {
    pub fn value(&mut self, form: Form, from: usize, to: usize, at: usize, size: usize) {
        let within = self.open.last().copied();
        let [from, to, at, size] = [from, to, at, size].map(|n| n as u32);
        self.values.push(Value { form, from, to, at, size, within });
    }

    pub fn open(&mut self, at: usize) {
        let within = self.open.last().copied();
        self.open.push(self.lengths.len() as u32);
        self.lengths.push(Length { at: at as u32, bytes: 0, within });
    }

    /// The message that was opened last has this length; what is in it moved by so many bytes.
    pub fn close(&mut self, length: usize, moved: usize) {
        let Some(place) = self.open.pop() else { return };
        let closed = &mut self.lengths[place as usize];
        closed.bytes = length as u32;
        let at = closed.at;
        self.each_behind(at + 1, |place| *place += moved as u32);
    }

    /// The message that was opened last is none, nor is what is in it.
    pub fn abandon(&mut self) {
        if let Some(place) = self.open.pop() {
            let at = self.lengths[place as usize].at;
            self.lengths.truncate(place as usize);
            self.values.retain(|value| value.at < at);
        }
    }

    /// All places from `from` on.
    pub fn each_behind(&mut self, from: u32, with: impl FnMut(&mut u32)) {
        let places = self.values.iter_mut().map(|value| &mut value.at);
        let places = places.chain(self.lengths.iter_mut().map(|length| &mut length.at));
        places.filter(|place| **place >= from).for_each(with);
    }
}

/// Bytes of the message that are written anew.
struct Edit<'t> {
    at: usize,
    size: usize,
    number: u64,
    text: &'t [u8],
}

impl Template {
    /// `None` where the text is not transcoded.
    pub fn of(table: &'static StructType, text: &[u8]) -> Option<Self> {
        u32::try_from(text.len()).ok()?;
        let mut pass = Pass::new(text, Some(Trace::default()))?;
        pass.whole(table)?;
        let trace = pass.trace.unwrap_or_default();
        Some(Self { message: pass.out.into(), values: trace.values.into(), lengths: trace.lengths.into() })
    }

    /// The message of `text`, where it differs from `own`, the template's, in such values alone.
    pub fn message(&self, own: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let mut edits = Vec::with_capacity(64);
        // By how much each message is longer.
        let mut longer = vec![0_i64; self.lengths.len()];
        let mut values = self.values.iter();
        let (mut at, mut own_at) = (0, 0);
        loop {
            let same = common(&text[at..], &own[own_at..]);
            (at, own_at) = (at + same, own_at + same);
            if at == text.len() && own_at == own.len() {
                break;
            }
            let value = values.find(|value| value.to as usize >= own_at)?;
            let from = at.checked_sub(own_at.checked_sub(value.from as usize)?)?;
            let given = value.form.read(text, from)?;
            let edit = match value.form {
                Form::Text | Form::Raw => Edit::new(value, given.len() as u64, given),
                Form::Time => Edit::new(value, Time::seconds_of(given)? as u64, b""),
            };
            if let Some(within) = value.within {
                longer[within as usize] += edit.longer();
            }
            edits.push(edit);
            (at, own_at) = (from + given.len(), value.to as usize);
        }
        // Those within others come after them.
        for (place, length) in self.lengths.iter().enumerate().rev() {
            if longer[place] == 0 {
                continue;
            }
            let bytes = u64::try_from(i64::from(length.bytes) + longer[place]).ok()?;
            let size = varint_length(u64::from(length.bytes));
            let edit = Edit { at: length.at as usize, size, number: bytes, text: b"" };
            if let Some(within) = length.within {
                longer[within as usize] += longer[place] + edit.longer();
            }
            edits.push(edit);
        }
        edits.sort_unstable_by_key(|edit| edit.at);
        let mut out = Vec::with_capacity(self.message.len() + text.len().saturating_sub(own.len()) + 64);
        let mut done = 0;
        for edit in edits {
            out.extend_from_slice(self.message.get(done..edit.at)?);
            append_varint(edit.number, &mut out);
            out.extend_from_slice(edit.text);
            done = edit.at + edit.size;
        }
        out.extend_from_slice(self.message.get(done..)?);
        Some(out)
    }
}

impl<'t> Edit<'t> {
    fn new(value: &Value, number: u64, text: &'t [u8]) -> Self {
        Self { at: value.at as usize, size: value.size as usize, number, text }
    }

    fn longer(&self) -> i64 {
        (varint_length(self.number) + self.text.len()) as i64 - self.size as i64
    }
}

impl Form {
    /// The value of this form that starts at `from`, if it is one that may be put in the place of another.
    fn read(self, text: &[u8], from: usize) -> Option<&[u8]> {
        let rest = text.get(from..)?;
        let given = match self {
            Self::Text | Self::Time => {
                let (given, more) = rest.split_at_checked(plain(rest))?;
                if more.first() != Some(&b'"') {
                    return None;
                }
                given
            }
            Self::Raw => super::Scan { text, at: from }.value().filter(|raw| *raw != b"null")?,
        };
        // Empty texts are left out in some places; others are not checked for being UTF-8.
        (!given.is_empty() && given.is_ascii()).then_some(given)
    }
}

pub(super) fn varint_length(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

/// How many bytes both begin with.
fn common(one: &[u8], other: &[u8]) -> usize {
    const STEP: usize = 32;
    let mut at = 0;
    for (a, b) in one.chunks_exact(STEP).zip(other.chunks_exact(STEP)) {
        if a != b {
            break;
        }
        at += STEP;
    }
    at + one[at..].iter().zip(&other[at..]).take_while(|(a, b)| a == b).count()
}
