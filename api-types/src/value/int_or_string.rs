//! `IntOrString`: a port or a percentage, as a number or a text.

use super::{Typed, Value};
use crate::codec::json::{self, Token};
use crate::codec::protobuf::{self, Wire};
use crate::schema::Type;
use std::fmt;

/// An integer or a string, whichever the user wrote.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IntOrString {
    Int(i32),
    String(String),
}

impl Default for IntOrString {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl IntOrString {
    /// The integer, or what the text parses to; `None` for a name.
    pub fn as_int(&self) -> Option<i32> {
        match self {
            Self::Int(n) => Some(*n),
            Self::String(text) => text.parse().ok(),
        }
    }

    /// The value out of `total`: the integer itself, or the share that a percentage names.
    /// `None` for a text that is no percentage.
    pub fn scaled(&self, total: i32, round_up: bool) -> Option<i32> {
        match self {
            Self::Int(n) => Some(*n),
            Self::String(text) => {
                let share = i64::from(text.strip_suffix('%')?.parse::<i32>().ok()?) * i64::from(total);
                let scaled = if round_up { (share + 99).div_euclid(100) } else { share.div_euclid(100) };
                i32::try_from(scaled).ok()
            }
        }
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::String(text) => f.write_str(text),
        }
    }
}

impl From<i32> for IntOrString {
    fn from(n: i32) -> Self {
        Self::Int(n)
    }
}

impl From<&str> for IntOrString {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl Typed for IntOrString {
    fn type_of() -> &'static Type {
        &Type::IntOrString
    }
}

impl Value for IntOrString {
    fn is_absent(&self) -> bool {
        // COMPAT: Go's omitempty never leaves out a struct; targetPort reads 0 when unset.
        false
    }
    fn reset(&mut self) {
        *self = Self::default();
    }
    fn write_json(&self, out: &mut json::Writer) {
        match self {
            Self::Int(n) => n.write_json(out),
            Self::String(text) => out.string(text),
        }
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        match input.token()? {
            Token::Null => Ok(()),
            Token::String(text) => {
                *self = Self::String(text.into_owned());
                Ok(())
            }
            Token::Number(text) => {
                *self = Self::Int(text.parse().map_err(|_| input.number_mismatch(text, "int32"))?);
                Ok(())
            }
            other => Err(input.mismatch(&other, "int32")),
        }
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        let (kind, int, text) = match self {
            Self::Int(n) => (0, *n, ""),
            Self::String(text) => (1, 0, text.as_str()),
        };
        let end = out.mark();
        out.bytes_field(3, text.as_bytes());
        out.varint_field(2, i64::from(int) as u64);
        out.varint_field(1, kind);
        out.close_message(number, end);
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        let (mut kind, mut int, mut text) = (0, 0, "");
        let mut fields = protobuf::Reader::new(wire.bytes()?);
        while let Some((number, wire)) = fields.next()? {
            match number {
                1 => kind = wire.varint()?,
                2 => int = wire.varint()? as i32,
                3 => text = wire.text()?,
                _ => {}
            }
        }
        *self = if kind == 1 { Self::String(text.to_owned()) } else { Self::Int(int) };
        Ok(())
    }
}
