//! What a kind is: its facts, its typed behaviour (`Strategy`), and both with the type erased
//! (`Row`), so that the registry, storage and discovery are compiled once and not once per kind.
//!
//! A kind's folder implements `Strategy`; `kinds.rs` lists the rows. Nothing here does I/O.

use crate::field;
use crate::meta::v1::ObjectMeta;
use crate::value::Struct;
use serde_json::Value as Json;
use std::any::Any;

/// The facts of a kind, as discovery shows them.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    /// `group/version`, or the version alone in the core group.
    pub api_version: &'static str,
    /// `Pod`.
    pub kind: &'static str,
    /// Plural in paths: `pods`.
    pub resource: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
}

impl Kind {
    /// All verbs of an ordinary kind.
    pub const ALL_VERBS: &'static [&'static str] =
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    /// A kind that is answered and not stored.
    pub const CREATE_ONLY: &'static [&'static str] = &["create"];

    /// A kind in namespaces with all verbs; what differs is set by struct update.
    pub const fn namespaced(
        api_version: &'static str,
        kind: &'static str,
        resource: &'static str,
        singular: &'static str,
    ) -> Self {
        let (group, version) = split(api_version);
        Self {
            group,
            version,
            api_version,
            kind,
            resource,
            singular,
            short_names: &[],
            categories: &[],
            namespaced: true,
            verbs: Self::ALL_VERBS,
            subresources: &[],
        }
    }

    /// As `namespaced`, outside of namespaces.
    pub const fn cluster_wide(
        api_version: &'static str,
        kind: &'static str,
        resource: &'static str,
        singular: &'static str,
    ) -> Self {
        Self { namespaced: false, ..Self::namespaced(api_version, kind, resource, singular) }
    }

    /// `pods`, or `deployments.apps` outside the core group: how messages name the resource.
    pub fn qualified_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    /// Whether objects are stored (as opposed to answered at once).
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"get") && self.verbs.contains(&"create")
    }

    /// Whether updates can write `/status` only.
    pub fn has_status(&self) -> bool {
        self.subresources.iter().any(|s| s.name == "status")
    }
}

/// `apps/v1` as group and version.
const fn split(api_version: &'static str) -> (&'static str, &'static str) {
    let bytes = api_version.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'/' {
            let (group, rest) = api_version.split_at(at);
            return (group, rest.split_at(1).1);
        }
        at += 1;
    }
    ("", api_version)
}

/// A path below an object.
#[derive(Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `log`, `token` …
    pub name: &'static str,
    /// Group, version and kind of what it takes and gives.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

impl Subresource {
    /// A subresource of the object's own kind.
    pub const fn own(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Self {
        // Group and version are left out in discovery when they are the parent's.
        Self { name, group: "", version: "", kind, verbs }
    }

    /// `scale`, the replica count.
    pub const fn scale() -> Self {
        Self {
            name: "scale",
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            verbs: &["get", "patch", "update"],
        }
    }

    /// `status` of the given kind.
    pub const fn status(kind: &'static str) -> Self {
        Self::own("status", kind, &["get", "patch", "update"])
    }
}

/// An object of any kind.
pub trait Object: Struct {
    fn kind(&self) -> &'static Kind;
    fn meta(&self) -> &ObjectMeta;
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    fn as_dyn_struct(&self) -> &dyn Struct;
    fn as_dyn_struct_mut(&mut self) -> &mut dyn Struct;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    fn clone_boxed(&self) -> Box<dyn Object>;
}

/// A kind as a type. `resource!` implements it.
pub trait Resource: Struct + Clone + Default {
    const KIND: Kind;
    fn facts() -> &'static Kind;
    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
}

/// Ties a struct with a `metadata` field to its facts.
macro_rules! resource {
    ($ty:ident, $facts:expr) => {
        impl $crate::kind::Resource for $ty {
            const KIND: $crate::kind::Kind = $facts;
            fn facts() -> &'static $crate::kind::Kind {
                static FACTS: $crate::kind::Kind = <$ty as $crate::kind::Resource>::KIND;
                &FACTS
            }
            fn metadata(&self) -> &$crate::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn metadata_mut(&mut self) -> &mut $crate::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use resource;

impl<T: Resource> Object for T {
    fn kind(&self) -> &'static Kind {
        T::facts()
    }
    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.metadata_mut()
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

/// How an object's name is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 label: at most 63 characters, no dots.
    Label,
    /// RFC 1035 label: starts with a letter (services).
    Dns1035Label,
    /// RFC 1123 subdomain: at most 253 characters.
    Subdomain,
    /// Whatever fits into a path (RBAC).
    PathSegment,
    /// A canonical IP address (IPAddress).
    Address,
}

/// What a kind's objects do on their way to the store. Every method is pure.
///
/// The order of a write is: constant defaults of the schema, `set_defaults`, admission,
/// `prepare_for_*`, `validate_*`, encode.
pub trait Strategy: Resource {
    const NAME_RULE: NameRule = NameRule::Subdomain;
    /// Whether PUT and apply may create an object that is not there.
    const CREATE_ON_UPDATE: bool = false;
    /// Whether an update without a resourceVersion is taken unconditionally.
    const UNCONDITIONAL_UPDATE: bool = true;
    /// Whether a delete that says nothing about dependents leaves them behind.
    const ORPHANS_DEPENDENTS: bool = false;

    /// Defaults that need code.
    fn set_defaults(&mut self) {}

    /// Drops what a creator may not set (status) and sets the first generation.
    fn prepare_for_create(&mut self) {}

    /// Keeps what this path may not change (status) and raises the generation.
    fn prepare_for_update(&mut self, _old: &Self) {}

    /// As `prepare_for_update`, for a write to `/status`: keeps all but the status.
    fn prepare_for_status_update(&mut self, _old: &Self) {}

    /// Everything about one object's content; metadata is checked by the registry
    /// (`meta::v1::validate` says how the checks follow each other).
    fn validate(&self, _errors: &mut field::Errors) {}

    /// What holds for new objects only. `validate` has run.
    fn validate_create(&self, _errors: &mut field::Errors) {}

    /// What an update may not change. `validate` has run on the new object.
    fn validate_update(&self, _old: &Self, _errors: &mut field::Errors) {}

    fn validate_status_update(&self, _old: &Self, _errors: &mut field::Errors) {}

    /// Warnings for the client, in upstream's words.
    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        Vec::new()
    }

    /// Fields beyond metadata.name and metadata.namespace that a field selector can ask for.
    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The names of `selectable_fields`. Asking for another field is refused with
    /// `field label not supported: X`; for a kind without names of its own, with
    /// `"X" is not a known field selector: only "metadata.name", "metadata.namespace"`.
    fn selectable_names() -> &'static [&'static str] {
        &[]
    }

    /// Columns for `kubectl get`, in order.
    fn columns() -> &'static [Column<Self>] {
        Column::PLAIN
    }
}

/// The generation of an updated object: one more than before if what it counts has changed.
/// A client cannot set it.
pub(crate) fn set_generation(meta: &mut ObjectMeta, old: &ObjectMeta, changed: bool) {
    meta.generation = old.generation + i64::from(changed);
}

/// One column of the table that `kubectl get` prints.
pub struct Column<T: ?Sized> {
    pub name: &'static str,
    /// `string`, `integer`, `date` …
    pub ty: &'static str,
    /// `name` for the first column, else mostly empty.
    pub format: &'static str,
    pub description: &'static str,
    /// 0 always shown, 1 with `-o wide`.
    pub priority: i32,
    /// The cell; ages are computed against `now`.
    pub cell: fn(&T, now: jiff::Timestamp) -> Json,
}

/// A column without its cell.
#[derive(Debug, Clone, Copy)]
pub struct ColumnHead {
    pub name: &'static str,
    pub ty: &'static str,
    pub format: &'static str,
    pub description: &'static str,
    pub priority: i32,
}

/// Makes an empty object.
pub type Maker = Box<dyn Fn() -> Box<dyn Object> + Send + Sync>;
/// Gives what may change while a row lives (custom kinds).
pub type Told<T> = Box<dyn Fn() -> T + Send + Sync>;

/// A kind with its type erased: one row of the table.
pub struct Row {
    pub kind: &'static Kind,
    /// What a custom kind is about now; none for the kinds of the table.
    pub custom: Option<&'static crate::custom::Slot>,
    pub schema: fn() -> &'static crate::schema::StructType,
    pub name_rule: NameRule,
    pub create_on_update: bool,
    pub unconditional_update: bool,
    pub orphans_dependents: bool,
    pub new: Maker,
    pub set_defaults: fn(&mut dyn Object),
    /// Takes away fields that the schema does not name, where reading did not; gives their paths.
    pub unknown_fields: fn(&mut dyn Object) -> Vec<String>,
    pub prepare_for_create: fn(&mut dyn Object),
    pub prepare_for_update: fn(&mut dyn Object, &dyn Object),
    pub prepare_for_status_update: fn(&mut dyn Object, &dyn Object),
    pub validate: fn(&dyn Object, &mut field::Errors),
    pub validate_create: fn(&dyn Object, &mut field::Errors),
    pub validate_update: fn(&dyn Object, &dyn Object, &mut field::Errors),
    pub validate_status_update: fn(&dyn Object, &dyn Object, &mut field::Errors),
    pub warnings: fn(&dyn Object, Option<&dyn Object>) -> Vec<String>,
    pub selectable_fields: fn(&dyn Object) -> Vec<(&'static str, String)>,
    pub selectable_names: Told<&'static [&'static str]>,
    pub column_heads: Told<Vec<ColumnHead>>,
    pub cells: fn(&dyn Object, jiff::Timestamp) -> Vec<Json>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Row").field(&self.kind.kind).finish()
    }
}

/// The typed view of an object of a known kind.
fn typed<T: Strategy>(object: &dyn Object) -> &T {
    object.as_any().downcast_ref().expect("a row is only given objects of its own kind")
}

fn typed_mut<T: Strategy>(object: &mut dyn Object) -> &mut T {
    object.as_any_mut().downcast_mut().expect("a row is only given objects of its own kind")
}

impl Row {
    /// The row of `T`.
    pub fn of<T: Strategy + crate::value::Typed>() -> Self {
        Self {
            kind: T::facts(),
            custom: None,
            schema: || T::type_of().as_struct().expect("a kind is a struct"),
            name_rule: T::NAME_RULE,
            create_on_update: T::CREATE_ON_UPDATE,
            unconditional_update: T::UNCONDITIONAL_UPDATE,
            orphans_dependents: T::ORPHANS_DEPENDENTS,
            new: Box::new(|| Box::new(T::default())),
            set_defaults: |o| typed_mut::<T>(o).set_defaults(),
            unknown_fields: |_| Vec::new(),
            prepare_for_create: |o| typed_mut::<T>(o).prepare_for_create(),
            prepare_for_update: |o, old| typed_mut::<T>(o).prepare_for_update(typed(old)),
            prepare_for_status_update: |o, old| typed_mut::<T>(o).prepare_for_status_update(typed(old)),
            validate: |o, errors| typed::<T>(o).validate(errors),
            validate_create: |o, errors| typed::<T>(o).validate_create(errors),
            validate_update: |o, old, errors| typed::<T>(o).validate_update(typed(old), errors),
            validate_status_update: |o, old, errors| typed::<T>(o).validate_status_update(typed(old), errors),
            warnings: |o, old| typed::<T>(o).warnings(old.map(typed)),
            selectable_fields: |o| typed::<T>(o).selectable_fields(),
            selectable_names: Box::new(T::selectable_names),
            column_heads: Box::new(|| {
                T::columns()
                    .iter()
                    .map(|c| ColumnHead {
                        name: c.name,
                        ty: c.ty,
                        format: c.format,
                        description: c.description,
                        priority: c.priority,
                    })
                    .collect()
            }),
            cells: |o, now| T::columns().iter().map(|c| (c.cell)(typed(o), now)).collect(),
        }
    }

    /// The schema of the whole object, as server-side apply reads it.
    pub fn root(&self) -> crate::schema::managed_fields::Root {
        match self.custom {
            Some(slot) => slot.definition().into(),
            None => (self.schema)().into(),
        }
    }

    /// Constant defaults of the schema, then those that need code.
    pub fn default(&self, object: &mut dyn Object) {
        crate::defaults::apply_constants(object.as_dyn_struct_mut());
        (self.set_defaults)(object);
    }
}

/// For the kinds' own tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::{Row, Strategy};
    use crate::field::Errors;
    use crate::value::Typed;

    fn texts(errors: &Errors) -> Vec<String> {
        errors.0.iter().map(ToString::to_string).collect()
    }

    /// The object with all its defaults.
    pub fn defaulted<T: Strategy + Typed>(mut object: T) -> T {
        Row::of::<T>().default(&mut object);
        object
    }

    /// What is refused in a new object, after defaults.
    pub fn refused<T: Strategy + Typed>(object: T) -> Vec<String> {
        let object = defaulted(object);
        let mut errors = Errors::default();
        object.validate(&mut errors);
        object.validate_create(&mut errors);
        texts(&errors)
    }

    /// What is refused in a change from `old`, after defaults.
    pub fn refused_update<T: Strategy + Typed>(new: T, old: T) -> Vec<String> {
        let (new, old) = (defaulted(new), defaulted(old));
        let mut errors = Errors::default();
        new.validate_update(&old, &mut errors);
        texts(&errors)
    }
}
