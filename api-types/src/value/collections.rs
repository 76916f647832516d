//! `Option`, `Box`, lists and maps of values.

use super::{Struct, Typed, Value};
use crate::codec::json::{self, Token};
use crate::codec::protobuf::{self, Wire};
use crate::schema::Type;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

impl<T: Typed + Default> Typed for Option<T> {
    const OPTIONAL: bool = true;
    fn type_of() -> &'static Type {
        T::type_of()
    }
}

impl<T: Typed + Default> Value for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
    fn reset(&mut self) {
        *self = None;
    }
    fn write_json(&self, out: &mut json::Writer) {
        match self {
            Some(value) => value.write_json(out),
            None => out.raw("null"),
        }
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        if input.take_null()? {
            *self = None;
            return Ok(());
        }
        self.get_or_insert_default().read_json(input)
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        if let Some(value) = self {
            value.write_protobuf(number, out);
        }
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        if T::absent_if_empty() && matches!(wire, Wire::Bytes([])) {
            *self = None;
            return Ok(());
        }
        self.get_or_insert_default().read_protobuf(wire)
    }
    fn as_struct(&self) -> Option<&dyn Struct> {
        self.as_ref()?.as_struct()
    }
    fn as_struct_mut(&mut self) -> Option<&mut dyn Struct> {
        self.as_mut()?.as_struct_mut()
    }
    fn children_mut(&mut self) -> Vec<&mut dyn Value> {
        self.as_mut().map(Value::children_mut).unwrap_or_default()
    }
}

impl<T: Typed + Default> Typed for Box<T> {
    const OPTIONAL: bool = T::OPTIONAL;
    fn type_of() -> &'static Type {
        T::type_of()
    }
}

impl<T: Typed + Default> Value for Box<T> {
    fn is_absent(&self) -> bool {
        T::is_absent(self)
    }
    fn reset(&mut self) {
        T::reset(self);
    }
    fn write_json(&self, out: &mut json::Writer) {
        T::write_json(self, out);
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        T::read_json(self, input)
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        T::write_protobuf(self, number, out);
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        T::read_protobuf(self, wire)
    }
    fn absent_if_empty() -> bool {
        T::absent_if_empty()
    }
    fn as_struct(&self) -> Option<&dyn Struct> {
        T::as_struct(self)
    }
    fn as_struct_mut(&mut self) -> Option<&mut dyn Struct> {
        T::as_struct_mut(self)
    }
    fn children_mut(&mut self) -> Vec<&mut dyn Value> {
        T::children_mut(self)
    }
}

impl<T: Typed + Default> Typed for Vec<T> {
    fn type_of() -> &'static Type {
        const { &Type::List(T::type_of) }
    }
}

impl<T: Typed + Default> Value for Vec<T> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
    fn reset(&mut self) {
        self.clear();
    }
    fn write_json(&self, out: &mut json::Writer) {
        // COMPAT: a required list that is empty is Go's nil slice, and reads `null`.
        if self.is_empty() {
            return out.raw("null");
        }
        out.raw("[");
        for (i, item) in self.iter().enumerate() {
            if i > 0 {
                out.raw(",");
            }
            item.write_json(out);
        }
        out.raw("]");
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        self.clear();
        match input.token()? {
            Token::Null => return Ok(()),
            Token::ArrayStart => {}
            other => return Err(input.mismatch(&other, &Self::type_of().go_name())),
        }
        while input.next_item(self.len())? {
            let mut item = T::default();
            item.read_json(input)?;
            push_tight(self, item);
            input.leave_item();
        }
        self.shrink_to_fit();
        Ok(())
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        for item in self.iter().rev() {
            item.write_protobuf(number, out);
        }
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        let mut item = T::default();
        item.read_protobuf(wire)?;
        push_tight(self, item);
        Ok(())
    }
    fn children_mut(&mut self) -> Vec<&mut dyn Value> {
        self.iter_mut().map(|item| item as &mut dyn Value).collect()
    }
}

/// Adds an item without room for three more: most lists of the API hold one or two, large ones.
fn push_tight<T>(list: &mut Vec<T>, item: T) {
    if list.len() < 4 {
        list.reserve_exact(1);
    }
    list.push(item);
}

impl<T: Typed + Default> Typed for BTreeMap<String, T> {
    fn type_of() -> &'static Type {
        const { &Type::Map(T::type_of) }
    }
}

impl<T: Typed + Default> Value for BTreeMap<String, T> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
    fn reset(&mut self) {
        self.clear();
    }
    fn write_json(&self, out: &mut json::Writer) {
        // COMPAT: as for lists, Go's nil map reads `null`.
        if self.is_empty() {
            return out.raw("null");
        }
        out.raw("{");
        for (i, (key, value)) in self.iter().enumerate() {
            if i > 0 {
                out.raw(",");
            }
            out.string(key);
            out.raw(":");
            value.write_json(out);
        }
        out.raw("}");
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        match input.token()? {
            Token::Null => return Ok(()),
            Token::ObjectStart => {}
            other => return Err(input.mismatch(&other, &Self::type_of().go_name())),
        }
        let mut first = true;
        while let Some(key) = input.next_key(first)? {
            first = false;
            input.enter_key(key.clone());
            let mut value = T::default();
            value.read_json(input)?;
            if self.insert(key.into_owned(), value).is_some() {
                input.duplicate();
            }
            input.leave_field();
        }
        Ok(())
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        for (key, value) in self.iter().rev() {
            let end = out.mark();
            value.write_protobuf(2, out);
            // A map's entry is never without its value, also where that is Go's zero time.
            if out.mark() == end {
                out.bytes_field(2, &[]);
            }
            out.bytes_field(1, key.as_bytes());
            out.close_message(number, end);
        }
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        let (mut key, mut value) = (String::new(), T::default());
        let mut entry = protobuf::Reader::new(wire.bytes()?);
        while let Some((number, wire)) = entry.next()? {
            match number {
                1 => key = wire.text()?.to_owned(),
                2 => value.read_protobuf(wire)?,
                _ => {}
            }
        }
        self.insert(key, value);
        Ok(())
    }
    fn children_mut(&mut self) -> Vec<&mut dyn Value> {
        self.values_mut().map(|value| value as &mut dyn Value).collect()
    }
}

/// A list of strings that protobuf wraps into a message (Go's `ExtraValue`, `Verbs`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StringList(pub Vec<String>);

impl Deref for StringList {
    type Target = Vec<String>;
    fn deref(&self) -> &Vec<String> {
        &self.0
    }
}

impl DerefMut for StringList {
    fn deref_mut(&mut self) -> &mut Vec<String> {
        &mut self.0
    }
}

impl From<Vec<String>> for StringList {
    fn from(items: Vec<String>) -> Self {
        Self(items)
    }
}

impl Typed for StringList {
    fn type_of() -> &'static Type {
        &Type::StringList
    }
}

impl Value for StringList {
    fn is_absent(&self) -> bool {
        self.0.is_empty()
    }
    fn reset(&mut self) {
        self.0.clear();
    }
    fn write_json(&self, out: &mut json::Writer) {
        self.0.write_json(out);
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        self.0.read_json(input)
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        let end = out.mark();
        self.0.write_protobuf(1, out);
        out.close_message(number, end);
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        let mut items = protobuf::Reader::new(wire.bytes()?);
        while let Some((number, wire)) = items.next()? {
            if number == 1 {
                self.0.push(wire.text()?.to_owned());
            }
        }
        Ok(())
    }
}
