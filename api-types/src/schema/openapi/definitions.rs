//! The schemas of structs, and of the scalars that have a definition of their own.

use super::{Format, gvk, object};
use crate::kind::{Kind, Row};
use crate::kinds;
use crate::schema::{Field, ListType, StructType, Structure, Type};
use serde_json::{Map, Value, json};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Definitions collected while paths are written: each once, with all it refers to.
pub(super) struct Definitions {
    pub(super) format: Format,
    found: Map<String, Value>,
}

impl Definitions {
    pub(super) fn new(format: Format) -> Self {
        Self { format, found: Map::new() }
    }

    /// All definitions, sorted by name.
    pub(super) fn finish(self) -> Value {
        let mut sorted: Vec<(String, Value)> = self.found.into_iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        Value::Object(sorted.into_iter().collect())
    }

    /// A reference to a struct that is no kind.
    pub(super) fn of(&mut self, table: &'static StructType) -> Value {
        self.add(table, None);
        self.format.reference(&table.definition())
    }

    /// A reference to a kind.
    pub(super) fn of_kind(&mut self, table: &'static StructType, kind: &Kind) -> Value {
        self.add(table, Some(kind));
        self.format.reference(&table.definition())
    }

    /// A reference to the kind of a row.
    pub(super) fn of_row(&mut self, row: &Row) -> Value {
        let Some(slot) = row.custom else { return self.of_kind((row.schema)(), row.kind) };
        let name = definition_name(row);
        if !self.found.contains_key(&name) {
            let meta = self.of(crate::meta::v1::ObjectMeta::schema());
            let meta = self.described(meta, "Standard object's metadata: name, labels and the like.");
            let schema = super::custom::schema(&slot.definition(), self.format, meta);
            self.found.insert(name.clone(), schema);
        }
        self.format.reference(&name)
    }

    /// A reference to a kind's list.
    pub(super) fn of_list(&mut self, row: &Row) -> Value {
        let kind = row.kind;
        let item = self.of_row(row);
        let name = format!("{}List", definition_name(row));
        if !self.found.contains_key(&name) {
            let meta = self.of(crate::meta::v1::ListMeta::schema());
            let list = match row.custom {
                Some(slot) => slot.definition().list_kind.clone(),
                None => format!("{}List", kind.kind),
            };
            let mut properties = type_meta();
            properties.insert(
                "items".into(),
                json!({"description": "The objects.", "type": "array", "items": item}),
            );
            properties.insert(
                "metadata".into(),
                self.described(meta, "Revision of the list, and the way to its next page."),
            );
            let mut schema = json!({
                "description": format!("A list of {}.", kind.resource),
                "type": "object",
                "required": ["items"],
                "properties": properties,
                "x-kubernetes-group-version-kind": [gvk(kind.group, kind.version, &list)],
            });
            if let Some(slot) = row.custom {
                super::custom::add_selectable(&slot.definition(), &mut schema);
            }
            self.found.insert(name.clone(), schema);
        }
        self.format.reference(&name)
    }

    /// A reference to the frame of a watch.
    pub(super) fn watch_event(&mut self) -> Value {
        let name = format!("{META}.WatchEvent");
        if !self.found.contains_key(&name) {
            let object = self.type_schema(&Type::RawExtension);
            let schema = json!({
                "description": "One event of a watch.",
                "type": "object",
                "required": ["type", "object"],
                "properties": {
                    "object": self.described(object, "The object after the change, or a Status."),
                    "type": {"description": "ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.", "type": "string"},
                },
                "x-kubernetes-group-version-kind": [gvk("", "v1", "WatchEvent")],
            });
            self.found.insert(name.clone(), schema);
        }
        self.format.reference(&name)
    }

    fn add(&mut self, table: &'static StructType, kind: Option<&Kind>) {
        let kind = kind.or_else(|| embedded_kind(table));
        let name = table.definition();
        if self.found.contains_key(&name) {
            return;
        }
        // Holds the place while the fields are walked, so that recursive types end.
        self.found.insert(name.clone(), Value::Null);
        let mut properties = Map::new();
        if kind.is_some() || has_type_meta(table) {
            properties = type_meta();
        }
        let mut required = Vec::new();
        for field in table.json_fields() {
            properties.insert(field.name.to_owned(), self.field(field));
            if field.required {
                required.push(field.name);
            }
        }
        required.sort_unstable();
        let mut schema = object([
            ("description", Some(table.doc.into())),
            ("type", Some("object".into())),
            ("required", (!required.is_empty()).then(|| json!(required))),
            ("properties", (!properties.is_empty()).then_some(Value::Object(properties))),
            ("x-kubernetes-map-type", (table.structure == Structure::Atomic).then(|| "atomic".into())),
        ]);
        if let Some(kind) = kind {
            schema.insert(
                "x-kubernetes-group-version-kind".into(),
                json!([gvk(kind.group, kind.version, kind.kind)]),
            );
        } else if has_type_meta(table) {
            schema.insert("x-kubernetes-group-version-kind".into(), json!([gvk("", "v1", table.name)]));
        }
        self.found.insert(name, Value::Object(schema));
    }

    fn field(&mut self, field: &'static Field) -> Value {
        let schema = self.type_schema((field.ty)());
        let mut schema = match self.described(schema, field.doc) {
            Value::Object(schema) => schema,
            _ => Map::new(),
        };
        if let (Format::V3, Some(default)) = (self.format, field.default) {
            schema.insert("default".into(), serde_json::from_str(default).unwrap_or_default());
        }
        match field.list {
            ListType::Unsaid => {}
            ListType::Atomic => _ = schema.insert("x-kubernetes-list-type".into(), "atomic".into()),
            ListType::Set => _ = schema.insert("x-kubernetes-list-type".into(), "set".into()),
            ListType::Map(keys) => {
                schema.insert("x-kubernetes-list-type".into(), "map".into());
                schema.insert("x-kubernetes-list-map-keys".into(), json!(keys));
            }
        }
        if field.map == Structure::Granular || field.structure == Structure::Granular {
            schema.insert("x-kubernetes-map-type".into(), "granular".into());
        }
        if field.map == Structure::Atomic || field.structure == Structure::Atomic {
            schema.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        let patch = [
            (field.patch.merge, "merge"),
            (field.patch.replace, "replace"),
            (field.patch.retain_keys, "retainKeys"),
        ];
        let strategies: Vec<&str> = patch.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
        if !strategies.is_empty() {
            schema.insert("x-kubernetes-patch-strategy".into(), strategies.join(",").into());
        }
        if let Some(key) = field.patch.key {
            schema.insert("x-kubernetes-patch-merge-key".into(), key.into());
        }
        Value::Object(schema)
    }

    /// A schema or reference with a description beside it.
    fn described(&self, schema: Value, doc: &str) -> Value {
        let mut schema = match (self.format, schema) {
            (Format::V3, reference) if reference.get("$ref").is_some() => {
                object([("allOf", Some(json!([reference])))])
            }
            (_, Value::Object(schema)) => schema,
            _ => Map::new(),
        };
        if !doc.is_empty() {
            schema.insert("description".into(), doc.into());
        }
        Value::Object(schema)
    }

    fn type_schema(&mut self, ty: &Type) -> Value {
        match ty {
            Type::Bool => json!({"type": "boolean"}),
            Type::Int32 => json!({"type": "integer", "format": "int32"}),
            Type::Int64 => json!({"type": "integer", "format": "int64"}),
            Type::Double => json!({"type": "number", "format": "double"}),
            Type::String | Type::Enum(..) => json!({"type": "string"}),
            Type::Bytes => json!({"type": "string", "format": "byte"}),
            Type::StringList => json!({"type": "array", "items": {"type": "string"}}),
            Type::Struct(table) => self.of(table()),
            Type::List(item) => json!({"type": "array", "items": self.type_schema(item())}),
            Type::Map(item) => json!({"type": "object", "additionalProperties": self.type_schema(item())}),
            Type::Time => self.scalar("Time", "A point in time, RFC 3339, whole seconds.", time()),
            Type::MicroTime => self.scalar("MicroTime", "A point in time, RFC 3339, microseconds.", time()),
            Type::Duration => {
                self.scalar("Duration", "A span of time in Go's notation.", json!({"type": "string"}))
            }
            Type::FieldsV1 => self.scalar("FieldsV1", "A set of fields.", json!({"type": "object"})),
            Type::Named(name, doc) => self.named(name, doc, json!({})),
            Type::RawExtension => self.named(
                "io.k8s.apimachinery.pkg.runtime.RawExtension",
                "Any object.",
                json!({"type": "object"}),
            ),
            Type::Quantity => {
                let schema = match self.format {
                    Format::V2 => json!({"type": "string"}),
                    Format::V3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
                };
                self.named(
                    "io.k8s.apimachinery.pkg.api.resource.Quantity",
                    "An exact amount with an SI suffix, such as 250m, 1Gi or 2e3.",
                    schema,
                )
            }
            Type::IntOrString => {
                let schema = match self.format {
                    Format::V2 => json!({"type": "string", "format": "int-or-string"}),
                    Format::V3 => {
                        json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
                    }
                };
                self.named(
                    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
                    "An integer, or a string such as a port's name or a percentage.",
                    schema,
                )
            }
        }
    }

    fn scalar(&mut self, name: &str, doc: &str, schema: Value) -> Value {
        self.named(&format!("{META}.{name}"), doc, schema)
    }

    fn named(&mut self, name: &str, doc: &str, mut schema: Value) -> Value {
        schema["description"] = doc.into();
        self.found.entry(name.to_owned()).or_insert(schema);
        self.format.reference(name)
    }
}

/// The definition of one struct and all it refers to, by name.
pub fn definition(table: &'static StructType, format: Format) -> Value {
    let mut definitions = Definitions::new(format);
    definitions.add(table, None);
    definitions.finish()
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// The kind of an object that others carry whole.
fn embedded_kind(table: &StructType) -> Option<&'static Kind> {
    let row = kinds::all().iter().find(|row| std::ptr::eq((row.schema)(), table))?;
    Some(row.kind)
}

/// Structs of meta/v1 that travel on their own and say their kind.
fn has_type_meta(table: &StructType) -> bool {
    table.package == META
        && matches!(
            table.name,
            "DeleteOptions" | "Status" | "APIResourceList" | "APIGroup" | "APIGroupList" | "APIVersions"
        )
}

/// `com.example.v1.Foo` for a custom kind of example.com/v1.
fn definition_name(row: &Row) -> String {
    if row.custom.is_none() {
        return (row.schema)().definition();
    }
    let mut group: Vec<&str> = row.kind.group.split('.').collect();
    group.reverse();
    format!("{}.{}.{}", group.join("."), row.kind.version, row.kind.kind)
}

// COMPAT: upstream's own tests look for the first words of these, and of the metadata's, in `kubectl explain`.
pub(super) fn type_meta() -> Map<String, Value> {
    const VERSION: &str = "APIVersion defines the group and version that the object is written in.";
    object([
        ("apiVersion", Some(json!({"description": VERSION, "type": "string"}))),
        ("kind", Some(json!({"description": "Name of the object's kind, in CamelCase.", "type": "string"}))),
    ])
}
