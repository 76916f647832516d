//! Values kept as the JSON they came in: raw extensions, managed-fields sets, JSON inside of schemas.

use super::{Typed, Value};
use crate::codec::json;
use crate::codec::protobuf::{self, Wire};
use crate::schema::Type;

macro_rules! raw_json {
    ($(#[$doc:meta])* $name:ident, $schema:expr) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, Eq)]
        pub struct $name(pub Box<[u8]>);

        impl $name {
            /// The JSON text.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&String::from_utf8_lossy(&self.0))
            }
        }

        impl From<&serde_json::Value> for $name {
            fn from(value: &serde_json::Value) -> Self {
                Self(value.to_string().into_bytes().into())
            }
        }

        impl Typed for $name {
            fn type_of() -> &'static Type {
                &$schema
            }
        }

        impl Value for $name {
            fn is_absent(&self) -> bool {
                self.0.is_empty()
            }
            fn reset(&mut self) {
                self.0 = Box::default();
            }
            fn write_json(&self, out: &mut json::Writer) {
                if self.0.is_empty() { out.raw("null") } else { out.raw_bytes(&self.0) }
            }
            fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
                let text = input.raw_value()?;
                self.0 = if text == b"null" { Box::default() } else { json::compact(text).into() };
                Ok(())
            }
            fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
                let end = out.mark();
                if !self.0.is_empty() {
                    out.bytes_field(1, &self.0);
                }
                out.close_message(number, end);
            }
            fn read_protobuf(&mut self, wire: Wire<'_>) -> Result<(), protobuf::Error> {
                let mut fields = protobuf::Reader::new(wire.bytes()?);
                while let Some((number, wire)) = fields.next()? {
                    if number == 1 {
                        self.0 = wire.bytes()?.into();
                    }
                }
                Ok(())
            }
        }
    };
}

raw_json! {
    /// An object of any type, as compact JSON (`runtime.RawExtension`).
    RawExtension, Type::RawExtension
}
raw_json! {
    /// A set of fields that one manager owns (KEP-555), as compact JSON.
    FieldsV1, Type::FieldsV1
}
raw_json! {
    /// Any JSON value, as compact JSON (defaults and enums of schemas).
    JSON, Type::Named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "Any JSON value.")
}
