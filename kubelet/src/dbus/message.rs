//! D-Bus messages, written and read: the part of the wire format that logind and systemd need. Pure.
//!
//! ```text
//! 'l' type flags 1 | u32 body length | u32 serial | a(yv) header fields | pad to 8 | body
//! ```
//! Every value stands at a multiple of its own alignment, counted from the start of the message; the body
//! starts at a multiple of eight. Only little-endian peers are spoken to: they are on the same machine.
//! <https://dbus.freedesktop.org/doc/dbus-specification.html>

/// Length of what comes before the header fields' content.
pub const PREFIX: usize = 16;
/// The specification's bound for a message.
const LIMIT: usize = 128 << 20;

/// A value that no one here expects, or bytes that are none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed D-Bus message: {0}")]
pub struct Malformed(pub &'static str);

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `t`
    Uint64(u64),
    /// `s`
    Str(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `h`: a place among the message's file descriptors.
    Handle(u32),
    /// `a`: the signature of its elements, and these.
    Array(String, Vec<Value>),
    /// `(…)`
    Struct(Vec<Value>),
    /// `v`
    Variant(Box<Value>),
}

impl Value {
    /// Text, of whichever kind.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Str(text) | Self::Path(text) | Self::Signature(text) => Some(text),
            Self::Variant(inner) => inner.text(),
            _ => None,
        }
    }

    /// A string.
    pub fn str(text: &str) -> Self {
        Self::Str(text.to_owned())
    }

    /// `(sv)`: a named property.
    pub fn property(name: &str, value: Self) -> Self {
        Self::Struct(vec![Self::str(name), Self::Variant(Box::new(value))])
    }

    fn signature(&self) -> String {
        match self {
            Self::Byte(_) => "y".into(),
            Self::Bool(_) => "b".into(),
            Self::Int32(_) => "i".into(),
            Self::Uint32(_) => "u".into(),
            Self::Uint64(_) => "t".into(),
            Self::Str(_) => "s".into(),
            Self::Path(_) => "o".into(),
            Self::Signature(_) => "g".into(),
            Self::Handle(_) => "h".into(),
            Self::Array(of, _) => format!("a{of}"),
            Self::Struct(fields) => format!("({})", fields.iter().map(Self::signature).collect::<String>()),
            Self::Variant(_) => "v".into(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Byte(value) => out.push(*value),
            Self::Bool(value) => word(out, u32::from(*value)),
            Self::Int32(value) => word(out, value.cast_unsigned()),
            Self::Uint32(value) | Self::Handle(value) => word(out, *value),
            Self::Uint64(value) => {
                pad(out, 8);
                out.extend(value.to_le_bytes());
            }
            Self::Str(text) | Self::Path(text) => {
                word(out, u32::try_from(text.len()).expect("texts are short"));
                out.extend(text.as_bytes());
                out.push(0);
            }
            Self::Signature(text) => {
                out.push(u8::try_from(text.len()).expect("signatures are short"));
                out.extend(text.as_bytes());
                out.push(0);
            }
            Self::Array(of, items) => {
                word(out, 0);
                let length = out.len() - 4;
                // Not part of the length.
                pad(out, alignment(of.as_bytes().first().copied().unwrap_or_default()));
                let start = out.len();
                items.iter().for_each(|item| item.write(out));
                let size = u32::try_from(out.len() - start).expect("arrays are short");
                out[length..length + 4].copy_from_slice(&size.to_le_bytes());
            }
            Self::Struct(fields) => {
                pad(out, 8);
                fields.iter().for_each(|field| field.write(out));
            }
            Self::Variant(inner) => {
                Self::Signature(inner.signature()).write(out);
                inner.write(out);
            }
        }
    }
}

fn alignment(code: u8) -> usize {
    match code {
        b'y' | b'g' | b'v' => 1,
        b'n' | b'q' => 2,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 4,
    }
}

fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn word(out: &mut Vec<u8>, value: u32) {
    pad(out, 4);
    out.extend(value.to_le_bytes());
}

/// Reads values out of bytes.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, align: usize, length: usize) -> Result<&'a [u8], Malformed> {
        let start = self.at.next_multiple_of(align);
        let end = start.checked_add(length).ok_or(Malformed("too long"))?;
        let taken = self.bytes.get(start..end).ok_or(Malformed("too short"))?;
        self.at = end;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4, 4)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
    }

    fn string(&mut self, length: usize) -> Result<String, Malformed> {
        let bytes = self.take(1, length)?;
        self.take(1, 1)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("not UTF-8"))
    }

    /// The value whose signature `signature` begins with, and the rest of that.
    fn value<'s>(&mut self, signature: &'s str, depth: usize) -> Result<(Value, &'s str), Malformed> {
        // The specification's bound.
        if depth > 64 {
            return Err(Malformed("too deep"));
        }
        let code = *signature.as_bytes().first().ok_or(Malformed("no signature"))?;
        let rest = &signature[1..];
        let value = match code {
            b'y' => Value::Byte(self.take(1, 1)?[0]),
            b'b' => Value::Bool(self.word()? != 0),
            b'i' => Value::Int32(self.word()?.cast_signed()),
            b'u' => Value::Uint32(self.word()?),
            b'h' => Value::Handle(self.word()?),
            b't' => {
                let bytes = self.take(8, 8)?;
                Value::Uint64(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
            }
            b's' | b'o' => {
                let length = self.word()? as usize;
                let text = self.string(length)?;
                if code == b's' { Value::Str(text) } else { Value::Path(text) }
            }
            b'g' => {
                let length = usize::from(self.take(1, 1)?[0]);
                Value::Signature(self.string(length)?)
            }
            b'v' => {
                let length = usize::from(self.take(1, 1)?[0]);
                let inner = self.string(length)?;
                let (value, left) = self.value(&inner, depth + 1)?;
                if !left.is_empty() {
                    return Err(Malformed("a variant of several values"));
                }
                Value::Variant(Box::new(value))
            }
            b'(' => {
                self.take(8, 0)?;
                let (mut fields, mut left) = (Vec::new(), rest);
                while !left.starts_with(')') {
                    let (field, after) = self.value(left, depth + 1)?;
                    fields.push(field);
                    left = after;
                }
                return Ok((Value::Struct(fields), &left[1..]));
            }
            b'a' => {
                let length = self.word()? as usize;
                self.take(alignment(rest.as_bytes().first().copied().unwrap_or_default()), 0)?;
                let end = self.at.checked_add(length).ok_or(Malformed("too long"))?;
                let (mut items, mut left) = (Vec::new(), None);
                while self.at < end {
                    let (item, after) = self.value(rest, depth + 1)?;
                    items.push(item);
                    left = Some(after);
                }
                // An empty one does not say where its elements' signature ends.
                let left = left.ok_or(Malformed("an empty array"))?;
                let of = rest[..rest.len() - left.len()].to_owned();
                return Ok((Value::Array(of, items), left));
            }
            _ => return Err(Malformed("a type that nothing here uses")),
        };
        Ok((value, rest))
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks something.
    Call = 1,
    /// Answers.
    Return = 2,
    /// Answers that it failed.
    Error = 3,
    /// Tells everyone.
    Signal = 4,
}

/// A message without its file descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its number, the sender's.
    pub serial: u32,
    /// The number of what it answers.
    pub reply_to: u32,
    /// To whom; of signals and answers it is not kept.
    pub destination: String,
    /// The object.
    pub path: String,
    /// The interface.
    pub interface: String,
    /// The method, or the signal.
    pub member: String,
    /// The error's name.
    pub error: String,
    /// How many file descriptors come with it.
    pub handles: u32,
    signature: String,
    body: Vec<u8>,
}

impl Message {
    /// A call of a method.
    pub fn call(destination: &str, path: &str, interface: &str, member: &str, body: &[Value]) -> Self {
        let mut bytes = Vec::new();
        body.iter().for_each(|value| value.write(&mut bytes));
        Self {
            kind: Kind::Call,
            serial: 0,
            reply_to: 0,
            destination: destination.into(),
            path: path.into(),
            interface: interface.into(),
            member: member.into(),
            error: String::new(),
            handles: 0,
            signature: body.iter().map(Value::signature).collect(),
            body: bytes,
        }
    }

    /// The content.
    pub fn body(&self) -> Result<Vec<Value>, Malformed> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let (mut values, mut left) = (Vec::new(), self.signature.as_str());
        while !left.is_empty() {
            let (value, after) = reader.value(left, 0)?;
            values.push(value);
            left = after;
        }
        Ok(values)
    }

    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let text = |code: u8, value: Value| {
            let given = value.text().is_some_and(|text| !text.is_empty());
            given.then(|| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]))
        };
        let fields = [
            text(1, Value::Path(self.path.clone())),
            text(2, Value::Str(self.interface.clone())),
            text(3, Value::Str(self.member.clone())),
            text(6, Value::Str(self.destination.clone())),
            text(8, Value::Signature(self.signature.clone())),
        ];
        let mut out = vec![b'l', self.kind as u8, 0, 1];
        word(&mut out, u32::try_from(self.body.len()).expect("bodies are short"));
        word(&mut out, self.serial);
        Value::Array("(yv)".into(), fields.into_iter().flatten().collect()).write(&mut out);
        pad(&mut out, 8);
        out.extend(&self.body);
        out
    }

    /// How long the message is that begins with these bytes, of which there are [`PREFIX`].
    pub fn length(prefix: &[u8]) -> Result<usize, Malformed> {
        if prefix.first() != Some(&b'l') {
            return Err(Malformed("not little-endian"));
        }
        let mut reader = Reader { bytes: prefix, at: 4 };
        let body = reader.word()? as usize;
        reader.word()?;
        let fields = reader.word()? as usize;
        if body > LIMIT || fields > LIMIT {
            return Err(Malformed("too long"));
        }
        Ok((PREFIX + fields).next_multiple_of(8) + body)
    }

    /// Reads a whole message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { bytes, at: 4 };
        let kind = match bytes.get(1) {
            Some(1) => Kind::Call,
            Some(2) => Kind::Return,
            Some(3) => Kind::Error,
            Some(4) => Kind::Signal,
            _ => return Err(Malformed("no known type")),
        };
        let body = reader.word()? as usize;
        let mut message = Self::call("", "", "", "", &[]);
        (message.kind, message.serial) = (kind, reader.word()?);
        let (fields, _) = reader.value("a(yv)", 0)?;
        reader.take(8, 0)?;
        message.body = reader.take(1, body)?.to_vec();
        let Value::Array(_, fields) = fields else { return Err(Malformed("no header")) };
        for field in fields {
            let Value::Struct(parts) = field else { continue };
            let [Value::Byte(code), Value::Variant(value)] = parts.as_slice() else { continue };
            let text = || value.text().unwrap_or_default().to_owned();
            match (code, value.as_ref()) {
                (1, _) => message.path = text(),
                (2, _) => message.interface = text(),
                (3, _) => message.member = text(),
                (4, _) => message.error = text(),
                (5, Value::Uint32(serial)) => message.reply_to = *serial,
                (8, _) => message.signature = text(),
                (9, Value::Uint32(count)) => message.handles = *count,
                _ => {}
            }
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_call_on_a_bus_is_what_others_send() {
        let bus = "org.freedesktop.DBus";
        let mut hello = Message::call(bus, "/org/freedesktop/DBus", bus, "Hello", &[]);
        hello.serial = 1;
        let bytes = hello.encode();
        // Written down by hand from the specification.
        let mut expected = b"l\x01\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x6d\x00\x00\x00".to_vec();
        expected.extend(b"\x01\x01o\x00\x15\x00\x00\x00/org/freedesktop/DBus\x00\x00\x00");
        expected.extend(b"\x02\x01s\x00\x14\x00\x00\x00org.freedesktop.DBus\x00\x00\x00\x00");
        expected.extend(b"\x03\x01s\x00\x05\x00\x00\x00Hello\x00\x00\x00");
        expected.extend(b"\x06\x01s\x00\x14\x00\x00\x00org.freedesktop.DBus\x00\x00\x00\x00");
        assert_eq!(bytes, expected);
        assert_eq!(Message::length(&bytes[..PREFIX]), Ok(bytes.len()));
    }

    #[test]
    fn what_is_written_is_read() {
        let properties = vec![
            Value::property("MemoryMax", Value::Uint64(1 << 30)),
            Value::property("Wants", Value::Array("s".into(), vec![Value::str("kubepods.slice")])),
            Value::property("DefaultDependencies", Value::Bool(false)),
        ];
        let body = [
            Value::str("a.slice"),
            Value::Array("(sv)".into(), properties),
            Value::Int32(-1),
            Value::Handle(0),
            Value::Path("/a".into()),
        ];
        let mut call = Message::call("", "/o", "i.f", "Do", &body);
        call.serial = 7;
        let read = Message::decode(&call.encode()).unwrap();
        assert_eq!(read.body().unwrap(), body);
        assert_eq!((read.serial, read.path.as_str(), read.member.as_str()), (7, "/o", "Do"));
    }

    #[test]
    fn torn_messages_are_refused() {
        let call = Message::call("a.b", "/o", "i.f", "Do", &[Value::str("text")]);
        let bytes = call.encode();
        for end in 0..bytes.len() {
            assert!(Message::decode(&bytes[..end]).is_err(), "{end}");
        }
        assert!(Message::length(b"B\x01\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x6d\x00\x00\x00").is_err());
    }
}
