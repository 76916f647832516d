//! Kinds that users define (CustomResourceDefinition, KEP-95): objects without a Rust type, and the rows
//! that let the registry serve them as any other kind.
//!
//! A `Custom` is typed metadata beside a JSON tree; its `Definition` says what the tree may be. Reading
//! settles the tree (keys sorted, whole numbers without a point), pruning and defaults follow the
//! structural schema, as does server-side apply. Rows are made once for each set of names and kept for
//! good; what can change often (the schema) is behind the row's slot (decision 6).

mod cells;
mod defaults;
pub mod definition;
mod embedded;
pub mod formats;
mod json_path;
pub mod patterns;
mod prune;
pub mod structural;
mod table;
mod validate;

pub use definition::{Definition, Scale, Webhook, preference};
pub use json_path::JsonPath;
pub use structural::Structural;
pub use table::{Slot, generation, install, rows, slot};
pub(crate) use validate::default_errors;

use crate::codec::{json, protobuf};
use crate::kind::{Kind, Object};
use crate::meta::v1::ObjectMeta;
use crate::schema::{Field, ListType, Patch, StructType, Structure};
use crate::value::{Struct, Typed, Value};
use serde_json::{Map, Value as Json};
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// An object of a kind that users define.
#[derive(Clone)]
pub struct Custom {
    pub definition: Arc<Definition>,
    pub metadata: ObjectMeta,
    /// Everything below the root but kind, apiVersion and metadata.
    pub content: Map<String, Json>,
}

/// What is typed of every custom object.
static TABLE: StructType = StructType {
    package: "io.k8s.apimachinery.pkg.apis.meta.v1",
    name: "Unstructured",
    doc: "An object of a kind that users define.",
    structure: Structure::Granular,
    fields: &[Field {
        name: "metadata",
        number: 1,
        ty: <ObjectMeta as Typed>::type_of,
        doc: "Name, labels and other standard metadata.",
        required: false,
        always: true,
        inline: false,
        omitzero: false,
        optional: false,
        list: ListType::Unsaid,
        map: Structure::Unsaid,
        structure: Structure::Unsaid,
        patch: Patch { merge: false, replace: false, retain_keys: false, key: None },
        default: None,
    }],
    index: OnceLock::new(),
};

impl Custom {
    pub fn new(definition: Arc<Definition>) -> Self {
        Self { definition, metadata: ObjectMeta::default(), content: Map::new() }
    }

    /// The table of the typed part.
    pub fn schema() -> &'static StructType {
        &TABLE
    }

    /// The same object in another version; conversion `None` changes nothing but the version.
    pub fn in_version(&self, definition: Arc<Definition>) -> Self {
        Self { definition, ..self.clone() }
    }

    /// The object as a tree, kind and apiVersion included.
    pub fn tree(&self) -> Json {
        let text = json::to_vec(self as &dyn Object);
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The custom object behind any object.
    pub fn of(object: &dyn Object) -> Option<&Self> {
        object.as_any().downcast_ref()
    }

    pub fn of_mut(object: &mut dyn Object) -> Option<&mut Self> {
        object.as_any_mut().downcast_mut()
    }
}

impl Value for Custom {
    fn is_absent(&self) -> bool {
        false
    }
    fn reset(&mut self) {
        self.metadata.reset();
        self.content.clear();
    }
    fn write_json(&self, out: &mut json::Writer) {
        json::write_struct(self, out);
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        json::read_struct(self, input)
    }
    // Custom objects have no protobuf: the server refuses it before it comes here.
    fn write_protobuf(&self, _: u32, _: &mut protobuf::Writer) {}
    fn read_protobuf(&mut self, _: protobuf::Wire<'_>) -> Result<(), protobuf::Error> {
        Ok(())
    }
    fn as_struct(&self) -> Option<&dyn Struct> {
        Some(self)
    }
    fn as_struct_mut(&mut self) -> Option<&mut dyn Struct> {
        Some(self)
    }
}

impl Struct for Custom {
    fn struct_type(&self) -> &'static StructType {
        &TABLE
    }
    fn field(&self, _: usize) -> &dyn Value {
        &self.metadata
    }
    fn field_mut(&mut self, _: usize) -> &mut dyn Value {
        &mut self.metadata
    }
    fn open_fields(&self) -> Option<&Map<String, Json>> {
        Some(&self.content)
    }
    fn open_fields_mut(&mut self) -> Option<&mut Map<String, Json>> {
        Some(&mut self.content)
    }
}

impl Object for Custom {
    fn kind(&self) -> &'static Kind {
        self.definition.kind
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
    fn as_dyn_struct(&self) -> &dyn Struct {
        self
    }
    fn as_dyn_struct_mut(&mut self) -> &mut dyn Struct {
        self
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn clone_boxed(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }
}

/// Sorts keys and writes whole numbers without a point, as Go's encoder does.
pub fn settled(value: Json) -> Json {
    match value {
        Json::Object(object) => {
            let mut entries: Vec<(String, Json)> = object.into_iter().map(|(k, v)| (k, settled(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(entries.into_iter().collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(settled).collect()),
        // COMPAT: beyond 64 bits with a sign Go reads a float.
        Json::Number(number) if number.as_i64().is_none() => {
            const EXACT: f64 = 9_007_199_254_740_992.0;
            match number.as_f64() {
                Some(n) if n.fract() == 0.0 && n.abs() < EXACT => Json::from(n as i64),
                Some(n) => Json::from(n),
                None => Json::Number(number),
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
