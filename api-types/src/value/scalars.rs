//! The scalars: bool, integers, doubles, strings, bytes, and the open enums.

use super::{Typed, Value};
use crate::codec::json::{self, Token};
use crate::codec::protobuf::{self, Wire};
use crate::schema::Type;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::ops::{Deref, DerefMut};

impl Typed for bool {
    fn type_of() -> &'static Type {
        &Type::Bool
    }
}

impl Value for bool {
    fn is_absent(&self) -> bool {
        !*self
    }
    fn reset(&mut self) {
        *self = false;
    }
    fn write_json(&self, out: &mut json::Writer) {
        out.raw(if *self { "true" } else { "false" });
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        match input.token()? {
            Token::Null => Ok(()),
            Token::Bool(b) => {
                *self = b;
                Ok(())
            }
            other => Err(input.mismatch(&other, "bool")),
        }
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        out.varint_field(number, u64::from(*self));
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        *self = wire.varint()? != 0;
        Ok(())
    }
}

macro_rules! integer {
    ($ty:ty, $schema:ident, $go:literal) => {
        impl Typed for $ty {
            fn type_of() -> &'static Type {
                &Type::$schema
            }
        }
        impl Value for $ty {
            fn is_absent(&self) -> bool {
                *self == 0
            }
            fn reset(&mut self) {
                *self = 0;
            }
            fn write_json(&self, out: &mut json::Writer) {
                out.integer(i64::from(*self));
            }
            fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
                match input.token()? {
                    Token::Null => Ok(()),
                    Token::Number(text) => {
                        *self = text.parse().map_err(|_| input.number_mismatch(text, $go))?;
                        Ok(())
                    }
                    other => Err(input.mismatch(&other, $go)),
                }
            }
            fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
                out.varint_field(number, i64::from(*self) as u64);
            }
            fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
                // Varints carry 64 bits; Go truncates to the field's width, and so do we.
                *self = wire.varint()? as $ty;
                Ok(())
            }
        }
    };
}

integer!(i32, Int32, "int32");
integer!(i64, Int64, "int64");

impl Typed for f64 {
    fn type_of() -> &'static Type {
        &Type::Double
    }
}

impl Value for f64 {
    fn is_absent(&self) -> bool {
        *self == 0.0
    }
    fn reset(&mut self) {
        *self = 0.0;
    }
    fn write_json(&self, out: &mut json::Writer) {
        out.raw(&go_float(*self));
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        match input.token()? {
            Token::Null => Ok(()),
            Token::Number(text) => {
                *self = text.parse().map_err(|_| input.number_mismatch(text, "float64"))?;
                Ok(())
            }
            other => Err(input.mismatch(&other, "float64")),
        }
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        out.fixed64_field(number, self.to_bits());
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        match wire {
            Wire::Fixed64(bits) => *self = f64::from_bits(bits),
            other => return Err(other.mismatch("fixed64")),
        }
        Ok(())
    }
}

/// COMPAT: Go writes an exponent below 1e-6 and from 1e21 on.
fn go_float(n: f64) -> String {
    let size = n.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return n.to_string();
    }
    let text = format!("{n:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
        _ => text,
    }
}

impl Typed for String {
    fn type_of() -> &'static Type {
        &Type::String
    }
}

impl Value for String {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
    fn reset(&mut self) {
        self.clear();
    }
    fn write_json(&self, out: &mut json::Writer) {
        out.string(self);
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        match input.token()? {
            Token::Null => Ok(()),
            Token::String(text) => {
                *self = text.into_owned();
                Ok(())
            }
            other => Err(input.mismatch(&other, "string")),
        }
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        out.bytes_field(number, self.as_bytes());
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        *self = wire.text()?.to_owned();
        Ok(())
    }
}

/// Bytes: base64 in JSON (Go's `[]byte`).
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteString(pub Vec<u8>);

impl fmt::Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets pass through here: their length says enough.
        write!(f, "{} bytes", self.0.len())
    }
}

impl Deref for ByteString {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for ByteString {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl<T: Into<Vec<u8>>> From<T> for ByteString {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl Typed for ByteString {
    fn type_of() -> &'static Type {
        &Type::Bytes
    }
}

impl Value for ByteString {
    fn is_absent(&self) -> bool {
        self.0.is_empty()
    }
    fn reset(&mut self) {
        self.0.clear();
    }
    fn write_json(&self, out: &mut json::Writer) {
        out.string(&STANDARD.encode(&self.0));
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        match input.token()? {
            Token::Null => Ok(()),
            Token::String(text) => {
                // Go's decoder skips line breaks inside base64.
                let text: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\n' | b'\r')).collect();
                self.0 = STANDARD.decode(&text).map_err(|e| input.custom(base64_text(&e, text.len())))?;
                Ok(())
            }
            other => Err(input.mismatch(&other, "[]uint8")),
        }
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        out.bytes_field(number, &self.0);
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        self.0 = wire.bytes()?.to_vec();
        Ok(())
    }
}

fn base64_text(error: &base64::DecodeError, length: usize) -> String {
    let offset = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        _ => length,
    };
    format!("illegal base64 data at input byte {offset}")
}

/// A string with known values: an open enum, or a string type of its own.
pub trait TextValue: Default {
    fn text(&self) -> &str;
    fn set_text(&mut self, text: &str);
}

/// Makes a `TextValue` a `Value`, under its Go name and with its known values.
macro_rules! text_value {
    ($ty:ident, [$($known:literal),* $(,)?]) => {
        impl $crate::value::Typed for $ty {
            fn type_of() -> &'static $crate::schema::Type {
                &$crate::schema::Type::Enum(stringify!($ty), &[$($known),*])
            }
        }
        impl $crate::value::Value for $ty {
            fn is_absent(&self) -> bool {
                $crate::value::TextValue::text(self).is_empty()
            }
            fn reset(&mut self) {
                *self = Self::default();
            }
            fn write_json(&self, out: &mut $crate::codec::json::Writer) {
                out.string($crate::value::TextValue::text(self));
            }
            fn read_json(
                &mut self,
                input: &mut $crate::codec::json::Reader<'_>,
            ) -> ::std::result::Result<(), $crate::codec::json::Error> {
                match input.token()? {
                    $crate::codec::json::Token::Null => Ok(()),
                    $crate::codec::json::Token::String(text) => {
                        $crate::value::TextValue::set_text(self, &text);
                        Ok(())
                    }
                    other => Err(input.mismatch(&other, concat!("v1.", stringify!($ty)))),
                }
            }
            fn write_protobuf(&self, number: u32, out: &mut $crate::codec::protobuf::Writer) {
                out.bytes_field(number, $crate::value::TextValue::text(self).as_bytes());
            }
            fn read_protobuf(
                &mut self,
                wire: $crate::codec::protobuf::Wire<'_>,
            ) -> ::std::result::Result<(), $crate::codec::protobuf::Error> {
                $crate::value::TextValue::set_text(self, wire.text()?);
                Ok(())
            }
        }
    };
}
pub(crate) use text_value;
