//! Constant defaults: fills absent fields from the schema, throughout an object.

use crate::codec::json;
use crate::value::{Struct, Value};

/// Sets every absent field that declares a default, in every struct that is present.
pub fn apply_constants(value: &mut dyn Struct) {
    let fields = value.struct_type().fields;
    for (place, field) in fields.iter().enumerate() {
        let inner = value.field_mut(place);
        if let Some(default) = field.default
            && inner.is_absent()
        {
            json::read(inner, default.as_bytes(), &mut None).expect("a declared default fits its field");
        }
        descend(inner);
    }
}

fn descend(value: &mut dyn Value) {
    if let Some(inner) = value.as_struct_mut() {
        return apply_constants(inner);
    }
    for child in value.children_mut() {
        descend(child);
    }
}
