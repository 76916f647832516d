//! The rows of custom kinds: made by name, installed by the server, read by everybody.
//!
//! A row lives as long as the process, so that all that holds `&'static Row` needs no care; there is one
//! for each set of facts a kind ever had. What it is about now stands in its slot.

use super::definition::{Definition, kept};
use super::{Custom, cells};
use crate::field::Path;
use crate::kind::{Kind, NameRule, Object, Row};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What a row of a custom kind is about now.
pub struct Slot {
    /// Where objects are stored: `GROUP/PLURAL`.
    pub path: &'static str,
    definition: RwLock<Arc<Definition>>,
    /// The row in whose version objects are stored.
    stored: RwLock<Option<&'static Row>>,
    /// The rows of all versions that objects may be stored in.
    versions: RwLock<Vec<&'static Row>>,
}

impl Slot {
    pub fn definition(&self) -> Arc<Definition> {
        self.definition.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The row in whose version objects are stored; none before the server has said so.
    pub fn stored(&self) -> Option<&'static Row> {
        *self.stored.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn store_as(&self, row: &'static Row, versions: &[&'static Row]) {
        *self.stored.write().unwrap_or_else(PoisonError::into_inner) = Some(row);
        *self.versions.write().unwrap_or_else(PoisonError::into_inner) = versions.to_vec();
    }

    /// The row of a version that objects may be stored in.
    pub fn version(&self, api_version: &str) -> Option<&'static Row> {
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        versions.iter().find(|row| row.kind.api_version == api_version).copied()
    }
}

/// The rows that are installed.
static INSTALLED: RwLock<Vec<&'static Row>> = RwLock::new(Vec::new());

/// The rows of all custom kinds that are there now.
pub fn rows() -> Vec<&'static Row> {
    INSTALLED.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Grows with every `install`: what is made of the rows is stale then.
static GENERATION: AtomicU64 = AtomicU64::new(0);

pub fn generation() -> u64 {
    GENERATION.load(Ordering::Acquire)
}

/// Replaces the rows of all custom kinds.
pub fn install(rows: Vec<&'static Row>) {
    *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = rows;
    GENERATION.fetch_add(1, Ordering::AcqRel);
}

/// The row of a definition: the one that has its facts already, or a new one.
pub fn slot(definition: Definition) -> &'static Row {
    static MADE: Mutex<Vec<&'static Row>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let kind: &'static Kind = definition.kind;
    let definition = Arc::new(definition);
    if let Some(row) = made.iter().find(|row| std::ptr::eq(row.kind, kind)) {
        if let Some(slot) = row.custom {
            *slot.definition.write().unwrap_or_else(PoisonError::into_inner) = definition;
        }
        return row;
    }
    let path = kept(&format!("{}/{}", kind.group, kind.resource));
    let slot: &'static Slot = Box::leak(Box::new(Slot {
        path,
        definition: RwLock::new(definition),
        stored: RwLock::default(),
        versions: RwLock::default(),
    }));
    let row: &'static Row = Box::leak(Box::new(row(kind, slot)));
    made.push(row);
    row
}

fn custom(object: &dyn Object) -> &Custom {
    Custom::of(object).expect("a custom row is only given custom objects")
}

fn custom_mut(object: &mut dyn Object) -> &mut Custom {
    Custom::of_mut(object).expect("a custom row is only given custom objects")
}

fn row(kind: &'static Kind, slot: &'static Slot) -> Row {
    Row {
        kind,
        custom: Some(slot),
        schema: Custom::schema,
        name_rule: NameRule::Subdomain,
        create_on_update: false,
        unconditional_update: false,
        orphans_dependents: false,
        new: Box::new(|| Box::new(Custom::new(slot.definition()))),
        set_defaults: |object| {
            let object = custom_mut(object);
            object.prune();
            object.drop_nulls();
            object.fill_in();
        },
        unknown_fields: |object| custom_mut(object).prune(),
        prepare_for_create: |object| {
            let object = custom_mut(object);
            if object.definition.has_status {
                object.content.shift_remove("status");
                object.fill_in();
            }
            object.metadata.generation = 1;
        },
        prepare_for_update: |object, old| {
            let (object, old) = (custom_mut(object), custom(old));
            if object.definition.has_status {
                match old.content.get("status") {
                    Some(status) => _ = object.content.insert("status".into(), status.clone()),
                    None => {
                        object.content.shift_remove("status");
                        object.fill_in();
                    }
                }
                object.sort();
            }
            let changed = object.content_without_status() != old.content_without_status();
            object.metadata.generation = old.metadata.generation + i64::from(changed);
        },
        prepare_for_status_update: |object, old| {
            let (object, old) = (custom_mut(object), custom(old));
            let status = object.content.shift_remove("status");
            object.content = old.content.clone();
            match status {
                Some(status) => _ = object.content.insert("status".into(), status),
                None => _ = object.content.shift_remove("status"),
            }
            object.sort();
            // COMPAT: a status update of a custom resource keeps all metadata but managedFields.
            let managed = std::mem::take(&mut object.metadata.managed_fields);
            let version = std::mem::take(&mut object.metadata.resource_version);
            object.metadata = old.metadata.clone();
            object.metadata.managed_fields = managed;
            object.metadata.resource_version = version;
        },
        validate: |_, _| {},
        validate_create: |object, errors| custom(object).validate(None, &Path::default(), errors),
        validate_update: |object, old, errors| {
            custom(object).validate(Some(custom(old)), &Path::default(), errors);
        },
        validate_status_update: |object, old, errors| {
            custom(object).validate_below_status(custom(old), errors);
        },
        warnings: |_, _| Vec::new(),
        selectable_fields: |object| custom(object).selectable(),
        selectable_names: Box::new(|| slot.definition().selectable_names),
        column_heads: Box::new(|| cells::heads(&slot.definition())),
        cells: |object, now| cells::cells(custom(object), now),
    }
}

impl Custom {
    fn sort(&mut self) {
        let mut entries: Vec<_> = std::mem::take(&mut self.content).into_iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        self.content.extend(entries);
    }

    fn content_without_status(&self) -> Vec<(&String, &serde_json::Value)> {
        let counts = |name: &str| !(self.definition.has_status && name == "status");
        self.content.iter().filter(|(name, _)| counts(name)).collect()
    }

    fn selectable(&self) -> Vec<(&'static str, String)> {
        if self.definition.selectable.is_empty() {
            return Vec::new();
        }
        let tree = self.tree();
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let fields = self.definition.selectable.iter();
        fields
            .map(|(name, path)| {
                (*name, path.find(&tree).first().map(|value| text(value)).unwrap_or_default())
            })
            .collect()
    }
}
