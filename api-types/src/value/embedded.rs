//! A whole object inside another one (the claims of a StatefulSet).
//!
//! In JSON it carries the `kind` and `apiVersion` that the outermost object carries, and may be
//! given without them; protobuf knows neither. Everything else is the object's own.

use super::{Struct, Typed, Value};
use crate::codec::json;
use crate::codec::protobuf::{self, Wire};
use crate::kind::Resource;
use crate::schema::Type;
use std::ops::{Deref, DerefMut};

/// An object inside another one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedded<T>(pub T);

impl<T> Deref for Embedded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Embedded<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> From<T> for Embedded<T> {
    fn from(object: T) -> Self {
        Self(object)
    }
}

impl<T: Resource + Typed> Typed for Embedded<T> {
    fn type_of() -> &'static Type {
        T::type_of()
    }
}

impl<T: Resource + Typed> Value for Embedded<T> {
    fn is_absent(&self) -> bool {
        self.0.is_absent()
    }
    fn reset(&mut self) {
        self.0.reset();
    }
    fn write_json(&self, out: &mut json::Writer) {
        out.raw_bytes(&json::to_vec(&self.0));
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        let outer = input.enter_object();
        self.0.read_json(input)?;
        input.leave_object(outer);
        Ok(())
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        self.0.write_protobuf(number, out);
    }
    fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
        self.0.read_protobuf(wire)
    }
    fn as_struct(&self) -> Option<&dyn Struct> {
        self.0.as_struct()
    }
    fn as_struct_mut(&mut self) -> Option<&mut dyn Struct> {
        self.0.as_struct_mut()
    }
    fn children_mut(&mut self) -> Vec<&mut dyn Value> {
        self.0.children_mut()
    }
}
