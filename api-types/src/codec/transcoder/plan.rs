//! A struct's table as transcoding asks for it: keys that are found by comparing eight bytes, tags that are
//! written already, and what a message has where the text is silent.

use crate::codec::protobuf::Writer;
use crate::schema::{Field, StructType, Type};
use crate::value::{IntOrString, MicroTime, Quantity, Time, Value};

/// How a value is read, and written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Bool,
    Int32,
    Int64,
    Double,
    Text,
    Bytes,
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    /// JSON as it stands.
    Raw,
    /// A list of strings in a message of its own.
    Texts,
    Struct(fn() -> &'static StructType),
    /// Not by transcoding.
    Unsure,
}

impl Kind {
    fn of(ty: &'static Type) -> Self {
        match ty {
            Type::Bool => Self::Bool,
            Type::Int32 => Self::Int32,
            Type::Int64 => Self::Int64,
            Type::Double => Self::Double,
            Type::String | Type::Enum(..) => Self::Text,
            Type::Bytes => Self::Bytes,
            Type::Time => Self::Time,
            Type::MicroTime => Self::MicroTime,
            Type::Duration => Self::Duration,
            Type::Quantity => Self::Quantity,
            Type::IntOrString => Self::IntOrString,
            Type::RawExtension | Type::FieldsV1 => Self::Raw,
            Type::StringList => Self::Texts,
            Type::Struct(table) => Self::Struct(*table),
            Type::Named(..) | Type::List(_) | Type::Map(_) => Self::Unsure,
        }
    }

    fn wire_type(self) -> u32 {
        match self {
            Self::Bool | Self::Int32 | Self::Int64 => 0,
            _ => 2,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    One,
    List,
    Map,
    /// JSON shows the struct's fields in place of the struct.
    Inline,
}

/// A field's number and wire type, as they are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    pub number: u32,
    bytes: [u8; 2],
    long: bool,
}

impl Tag {
    /// `None` for numbers that take three bytes; no field of the API has one.
    pub const fn new(number: u32, wire_type: u32) -> Option<Self> {
        let tag = number << 3 | wire_type;
        if tag >= 1 << 14 {
            return None;
        }
        let long = tag >= 1 << 7;
        let bytes = if long { [tag as u8 | 0x80, (tag >> 7) as u8] } else { [tag as u8, 0] };
        Some(Self { number, bytes, long })
    }

    pub fn bytes(&self) -> &[u8] {
        if self.long { &self.bytes } else { &self.bytes[..1] }
    }
}

/// One field.
#[derive(Debug)]
pub(super) struct Step {
    /// What follows the opening quote of its key: the name, a quote and a colon.
    key: Box<[u8]>,
    pub tag: Tag,
    pub shape: Shape,
    pub kind: Kind,
    /// Whether zero values that are given are written.
    pub optional: bool,
}

/// Eight bytes that a key begins with.
#[derive(Debug)]
struct Head {
    word: u64,
    mask: u64,
}

/// What a message has of a field that the text does not have.
#[derive(Debug)]
pub(super) struct Missing {
    pub place: usize,
    pub number: u32,
    pub bytes: Box<[u8]>,
}

/// A struct's fields, in the order of JSON.
#[derive(Debug)]
pub struct Plan {
    heads: Box<[Head]>,
    pub(super) steps: Box<[Step]>,
    has_inline: bool,
    /// What is written of fields that the text does not have.
    pub(super) missing: Box<[Missing]>,
    /// The bits of the fields in `missing`.
    pub(super) musts: u64,
}

impl Plan {
    /// `None` where a struct has more than is foreseen here: it is never transcoded.
    pub(crate) fn of(fields: &'static [Field]) -> Option<Self> {
        if fields.len() > 64 {
            return None;
        }
        let mut plan = Self {
            heads: fields.iter().map(Head::of).collect(),
            steps: fields.iter().map(Step::of).collect::<Option<_>>()?,
            has_inline: fields.iter().any(|field| field.inline),
            missing: Box::default(),
            musts: 0,
        };
        let mut missing = Vec::new();
        for (place, field) in fields.iter().enumerate() {
            let mut out = Writer::with_capacity(64);
            write_missing(field, &mut out)?;
            if out.mark() > 0 {
                missing.push(Missing { place, number: field.number, bytes: out.into_vec().into() });
                plan.musts |= 1 << place;
            }
        }
        plan.missing = missing.into();
        Some(plan)
    }

    /// The field whose key's rest, up to the colon, `text` begins with, looked for from `hint` on; and how long
    /// that rest is, which is nothing for fields of a struct that is shown inline.
    pub(super) fn find(&self, text: &[u8], hint: usize) -> Option<(usize, &Step, usize)> {
        let word = first_word(text);
        let (before, after) = self.heads.split_at(hint.min(self.heads.len()));
        let is = |head: &Head| word & head.mask == head.word;
        let found = |place: usize| {
            let step = &self.steps[place];
            let length = step.key.len();
            let whole = length <= 8 || text.get(8..length) == Some(&step.key[8..]);
            whole.then_some((place, step, length))
        };
        for (at, head) in after.iter().enumerate() {
            if is(head)
                && let Some(found) = found(before.len() + at)
            {
                return Some(found);
            }
        }
        for (at, head) in before.iter().enumerate() {
            if is(head)
                && let Some(found) = found(at)
            {
                return Some(found);
            }
        }
        if self.has_inline { self.find_inline(text) } else { None }
    }

    fn find_inline(&self, text: &[u8]) -> Option<(usize, &Step, usize)> {
        let inline = self.steps.iter().enumerate().filter(|(_, step)| matches!(step.shape, Shape::Inline));
        for (place, step) in inline {
            if let Kind::Struct(table) = step.kind
                && table().index().plan().is_some_and(|plan| plan.find(text, 0).is_some())
            {
                return Some((place, step, 0));
            }
        }
        None
    }
}

impl Step {
    fn of(field: &'static Field) -> Option<Self> {
        let (shape, kind) = match (field.ty)() {
            Type::List(item) => (Shape::List, Kind::of(item())),
            Type::Map(item) => (Shape::Map, Kind::of(item())),
            one if field.inline => (Shape::Inline, Kind::of(one)),
            one => (Shape::One, Kind::of(one)),
        };
        let wire_type = if matches!(shape, Shape::Map) { 2 } else { kind.wire_type() };
        Some(Self {
            key: format!("{}\":", field.name).into_bytes().into(),
            tag: Tag::new(field.number, wire_type)?,
            shape,
            kind,
            optional: field.optional,
        })
    }
}

impl Head {
    fn of(field: &'static Field) -> Self {
        if field.inline {
            // No key of JSON's is that of the struct itself.
            return Self { word: 1, mask: 0 };
        }
        let key = format!("{}\":", field.name);
        let mask = if key.len() < 8 { (1 << (8 * key.len())) - 1 } else { u64::MAX };
        Self { word: first_word(key.as_bytes()) & mask, mask }
    }
}

/// The first eight bytes; zeroes where there are fewer.
fn first_word(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => {
            let mut eight = [0; 8];
            eight[..text.len()].copy_from_slice(text);
            u64::from_le_bytes(eight)
        }
    }
}

/// What a message has of a field that was not given. `None` where it cannot be told.
fn write_missing(field: &Field, out: &mut Writer) -> Option<()> {
    if field.optional {
        return Some(());
    }
    match (field.ty)() {
        Type::Struct(table) => {
            let (table, end) = (table(), out.mark());
            for &place in table.index().by_number.iter().rev() {
                write_missing(&table.fields[usize::from(place)], out)?;
            }
            out.close_message(field.number, end);
        }
        Type::Quantity => write_default::<Quantity>(field, out),
        Type::IntOrString => write_default::<IntOrString>(field, out),
        Type::Time => write_default::<Time>(field, out),
        Type::MicroTime => write_default::<MicroTime>(field, out),
        Type::Named(..) => return None,
        _ => {}
    }
    Some(())
}

fn write_default<T: Value + Default>(field: &Field, out: &mut Writer) {
    let value = T::default();
    if !value.is_absent() {
        value.write_protobuf(field.number, out);
    }
}
