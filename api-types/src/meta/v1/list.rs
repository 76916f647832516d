//! The list of any kind: `PodList`, `DeploymentList` and so on are all this struct.
//!
//! It is a struct of the API like the derived ones, so that the codecs and schemas know it; only
//! its table cannot be a static, being generic, and is made at first use. In a list the items
//! carry no `kind` and `apiVersion` of their own.

use super::ListMeta;
use crate::codec::{json, protobuf};
use crate::kind::Resource;
use crate::schema::{Field, ListType, Patch, StructType, Structure, Type};
use crate::value::{Struct, Typed, Value};
use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{OnceLock, PoisonError, RwLock};

/// Objects of one kind, as a LIST answers them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List<T> {
    /// Revision of the list, and the way to its next page.
    pub metadata: ListMeta,
    /// The objects.
    pub items: Vec<T>,
}

impl<T: Resource + Typed> List<T> {
    /// Name of the list's kind, such as `PodList`.
    pub fn kind() -> &'static str {
        Self::schema().name
    }

    /// The list as JSON, `kind` and `apiVersion` first; no items are `[]`.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = json::Writer::with_capacity(256 + 1024 * self.items.len());
        out.raw("{\"kind\":");
        out.string(Self::kind());
        out.raw(",\"apiVersion\":");
        out.string(T::KIND.api_version);
        out.raw(",\"metadata\":");
        self.metadata.write_json(&mut out);
        out.raw(",\"items\":");
        if self.items.is_empty() {
            out.raw("[]");
        } else {
            self.items.write_json(&mut out);
        }
        out.raw("}");
        out.into_vec()
    }

    /// The list as protobuf in its envelope.
    pub fn to_envelope(&self) -> Vec<u8> {
        protobuf::envelope(T::KIND.api_version, Self::kind(), &protobuf::to_vec(self))
    }

    /// The table of the list's fields.
    pub fn schema() -> &'static StructType {
        static TABLES: RwLock<Option<HashMap<TypeId, &'static StructType>>> = RwLock::new(None);
        let id = TypeId::of::<T>();
        let known = TABLES.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = known.as_ref().and_then(|tables| tables.get(&id)) {
            return table;
        }
        drop(known);
        let mut tables = TABLES.write().unwrap_or_else(PoisonError::into_inner);
        // One leak a kind, for the life of the process.
        tables.get_or_insert_default().entry(id).or_insert_with(|| Box::leak(Box::new(table::<T>())))
    }
}

fn table<T: Resource + Typed>() -> StructType {
    let item = T::type_of().as_struct().expect("a kind is a struct");
    StructType {
        package: item.package,
        name: Box::leak(format!("{}List", T::KIND.kind).into_boxed_str()),
        doc: Box::leak(format!("Objects of the kind {}.", T::KIND.kind).into_boxed_str()),
        structure: Structure::Unsaid,
        fields: Box::leak(Box::new([
            field("metadata", 1, ListMeta::type_of, "Revision of the list, and the way to its next page."),
            Field { required: true, always: true, ..field("items", 2, <Vec<T>>::type_of, "The objects.") },
        ])),
        index: OnceLock::new(),
    }
}

fn field(name: &'static str, number: u32, ty: fn() -> &'static Type, doc: &'static str) -> Field {
    Field {
        name,
        number,
        ty,
        doc,
        required: false,
        always: false,
        inline: false,
        omitzero: false,
        optional: false,
        list: ListType::Unsaid,
        map: Structure::Unsaid,
        structure: Structure::Unsaid,
        patch: Patch { merge: false, replace: false, retain_keys: false, key: None },
        default: None,
    }
}

impl<T: Resource + Typed> Struct for List<T> {
    fn struct_type(&self) -> &'static StructType {
        Self::schema()
    }
    fn field(&self, place: usize) -> &dyn Value {
        match place {
            0 => &self.metadata,
            1 => &self.items,
            _ => unreachable!("places come from the struct's own table"),
        }
    }
    fn field_mut(&mut self, place: usize) -> &mut dyn Value {
        match place {
            0 => &mut self.metadata,
            1 => &mut self.items,
            _ => unreachable!("places come from the struct's own table"),
        }
    }
}

impl<T: Resource + Typed> Typed for List<T> {
    fn type_of() -> &'static Type {
        const { &Type::Struct(Self::schema) }
    }
}

impl<T: Resource + Typed> Value for List<T> {
    fn is_absent(&self) -> bool {
        false
    }
    fn reset(&mut self) {
        *self = Self { metadata: ListMeta::default(), items: Vec::new() };
    }
    fn write_json(&self, out: &mut json::Writer) {
        json::write_struct(self, out);
    }
    fn read_json(&mut self, input: &mut json::Reader<'_>) -> Result<(), json::Error> {
        json::read_struct(self, input)
    }
    fn write_protobuf(&self, number: u32, out: &mut protobuf::Writer) {
        protobuf::write_message(self, number, out);
    }
    fn read_protobuf(&mut self, wire: protobuf::Wire<'_>) -> Result<(), protobuf::Error> {
        protobuf::read_message(self, wire)
    }
    fn as_struct(&self) -> Option<&dyn Struct> {
        Some(self)
    }
    fn as_struct_mut(&mut self) -> Option<&mut dyn Struct> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::v1::{ConfigMap, Secret};

    fn list() -> List<ConfigMap> {
        let text = r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7"},
            "items":[{"metadata":{"name":"a"},"data":{"k":"v"}},{"metadata":{"name":"b"}}]}"#;
        json::from_slice(text.as_bytes()).expect("a list")
    }

    #[test]
    fn json_and_protobuf_carry_metadata_and_items() {
        let list = list();
        assert_eq!(list.metadata.resource_version, "7");
        assert_eq!(list.items[0].data["k"], "v");
        assert_eq!(
            String::from_utf8_lossy(&list.to_json()),
            r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"},"data":{"k":"v"}},{"metadata":{"name":"b"}}]}"#
        );
        let bytes = list.to_envelope();
        let envelope = protobuf::open_envelope(&bytes).expect("an envelope");
        assert_eq!(envelope.kind, "ConfigMapList");
        assert_eq!(protobuf::from_slice::<List<ConfigMap>>(envelope.raw).expect("a list"), list);
    }

    #[test]
    fn no_items_are_an_empty_list_and_not_null() {
        let text = List::<Secret>::default().to_json();
        assert_eq!(
            String::from_utf8_lossy(&text),
            r#"{"kind":"SecretList","apiVersion":"v1","metadata":{},"items":[]}"#
        );
    }

    #[test]
    fn every_kind_has_a_table_of_its_own() {
        assert_eq!(List::<ConfigMap>::schema().definition(), "io.k8s.api.core.v1.ConfigMapList");
        assert_eq!(List::<Secret>::schema().definition(), "io.k8s.api.core.v1.SecretList");
    }
}
