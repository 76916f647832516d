//! Walks over objects by their schema: which fields an object sets, how two objects differ, what
//! one becomes when another is applied to it, and what is left when fields are removed.

use super::Root;
use super::set::{self, Set};
use crate::custom::{Custom, Structural};
use crate::schema::{Field, ListType, StructType, Structure, Type};
use serde_json::{Map, Value};

/// How server-side apply sees a value.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    /// Owned as a whole: scalars and everything atomic.
    Leaf,
    Struct(&'static StructType),
    Map(&'static Type),
    ListMap(&'static [&'static str], &'static Type),
    ListSet,
    /// The root of a custom object: typed metadata beside what the schema says.
    CustomRoot(&'a Structural),
    Custom(&'a Structural),
    CustomList(&'a Structural),
    /// What no schema speaks of: maps by entry, lists as a whole.
    Unknown,
}

impl<'a> Node<'a> {
    pub(super) fn of(ty: &'static Type, field: Option<&'static Field>) -> Self {
        let said = field.map_or(Structure::Unsaid, |f| f.structure);
        let whole = |own: Structure| if said == Structure::Unsaid { own } else { said } == Structure::Atomic;
        match ty {
            Type::Struct(table) if !whole(table().structure) => Self::Struct(table()),
            Type::Map(item) if field.is_none_or(|f| f.map != Structure::Atomic) => Self::Map(item()),
            Type::List(item) => match field.map(|f| f.list) {
                Some(ListType::Map(keys)) => Self::ListMap(keys, item()),
                Some(ListType::Set) => Self::ListSet,
                _ => Self::Leaf,
            },
            _ => Self::Leaf,
        }
    }

    pub(super) fn root(root: &'a Root) -> Self {
        match root {
            Root::Typed(table) => Self::Struct(table),
            Root::Custom(definition) => Self::CustomRoot(&definition.schema),
        }
    }

    pub(super) fn custom(schema: &'a Structural) -> Self {
        match (schema.type_.as_str(), schema.list_type.as_str(), schema.map_type.as_str()) {
            ("array", "map", _) => Self::CustomList(schema),
            ("array", "set", _) => Self::ListSet,
            ("object", _, "atomic") => Self::Leaf,
            ("object", ..) => Self::Custom(schema),
            ("", ..) if schema.preserve_unknown => Self::Unknown,
            _ => Self::Leaf,
        }
    }

    /// The node below the key of an object. Unknown fields of typed objects are leaves.
    fn below(self, name: &str) -> Self {
        match self {
            Self::Struct(table) => table.field(name).map_or(Self::Leaf, |f| Self::of((f.ty)(), Some(f))),
            Self::Map(item) => Self::of(item, None),
            Self::CustomRoot(_) if name == "metadata" => Self::Struct(Custom::schema()).below(name),
            Self::Custom(schema) if of_embedded(schema, name) => match name {
                "metadata" => Self::Struct(Custom::schema()).below(name),
                _ => Self::Leaf,
            },
            Self::CustomRoot(schema) | Self::Custom(schema) => {
                schema.property(name).map_or(Self::Unknown, Self::custom)
            }
            Self::Unknown => Self::Unknown,
            _ => Self::Leaf,
        }
    }

    fn item(self) -> Self {
        match self {
            Self::ListMap(_, item) => Self::of(item, None),
            Self::CustomList(schema) => schema.items.as_deref().map_or(Self::Leaf, Self::custom),
            _ => Self::Leaf,
        }
    }

    /// Whether the value is walked by key.
    pub(super) fn is_object(self) -> bool {
        matches!(self, Self::Struct(_) | Self::Map(_) | Self::CustomRoot(_) | Self::Custom(_) | Self::Unknown)
    }

    /// Whether the value is walked by item.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::ListMap(..) | Self::ListSet | Self::CustomList(_))
    }

    /// Whether the key is that of a declared field.
    fn declares(self, key: &str) -> bool {
        match self {
            Self::Struct(table) => table.field(key).is_some(),
            Self::CustomRoot(schema) => key == "metadata" || schema.properties.contains_key(key),
            Self::Custom(schema) => schema.properties.contains_key(key) || of_embedded(schema, key),
            _ => false,
        }
    }

    /// Whether an entry is a member of its own, beside what is below it.
    fn is_entry(self, key: &str) -> bool {
        match self {
            Self::Map(_) | Self::Unknown => true,
            Self::Custom(schema) => !schema.properties.contains_key(key) && !of_embedded(schema, key),
            Self::CustomRoot(schema) => key != "metadata" && !schema.properties.contains_key(key),
            _ => false,
        }
    }

    /// The keys by which a list's items are told apart.
    pub(super) fn keys(self) -> Vec<&'a str> {
        match self {
            Self::ListMap(keys, _) => keys.to_vec(),
            Self::CustomList(schema) => schema.list_keys.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// The path element of a list's item.
    pub(super) fn element(self, item: &Value) -> String {
        let id = |keys: Vec<&str>, default: &dyn Fn(&str) -> Option<Value>| {
            let mut id = Map::new();
            for key in keys {
                // COMPAT: a key that is missing and has no default is left out of the element.
                if let Some(value) = item.get(key).cloned().or_else(|| default(key)) {
                    id.insert(key.to_owned(), value);
                }
            }
            set::escaped(&format!("k:{}", Value::Object(id)))
        };
        match self {
            Self::ListMap(keys, ty) => {
                let mut sorted = keys.to_vec();
                sorted.sort_unstable();
                id(sorted, &|key| default_of(ty, key))
            }
            Self::CustomList(schema) => {
                let mut sorted: Vec<&str> = schema.list_keys.iter().map(String::as_str).collect();
                sorted.sort_unstable();
                id(sorted, &|key| schema.items.as_ref()?.properties.get(key)?.default.clone())
            }
            _ => set::escaped(&format!("v:{item}")),
        }
    }
}

/// Whether a field is one of those that objects within objects have besides what their schema says.
pub(super) fn of_embedded(schema: &Structural, name: &str) -> bool {
    schema.embedded && matches!(name, "kind" | "apiVersion" | "metadata")
}

/// Null, or a list or map with nothing in it.
fn is_bare(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

fn default_of(item: &Type, key: &str) -> Option<Value> {
    let text = item.as_struct()?.field(key)?.default?;
    serde_json::from_str(text).ok()
}

fn name(field: &str) -> String {
    format!("f:{field}")
}

/// All fields that an object sets.
pub(super) fn fields_of(node: Node<'_>, value: &Value) -> Set {
    let mut set = Set::default();
    collect(node, value, &mut Vec::new(), &mut set);
    set
}

fn collect(node: Node<'_>, value: &Value, path: &mut Vec<String>, set: &mut Set) {
    match (node, value) {
        (_, Value::Object(object)) if node.is_object() => {
            for (key, inner) in object {
                path.push(name(key));
                collect(node.below(key), inner, path, set);
                let empty = inner.is_null() || inner.as_object().is_some_and(Map::is_empty);
                if empty || node.is_entry(key) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (_, Value::Array(items)) if node.is_list() => {
            let elements: Vec<String> = items.iter().map(|item| node.element(item)).collect();
            for (item, element) in items.iter().zip(&elements) {
                path.push(element.clone());
                // COMPAT: of items that cannot be told apart nobody owns what is in them.
                let is_single = elements.iter().filter(|other| *other == element).count() == 1;
                if is_single && !matches!(node, Node::ListSet) {
                    collect(node.item(), item, path, set);
                }
                set.insert(path);
                path.pop();
            }
        }
        _ => set.insert(path),
    }
}

/// How two objects differ.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
}

pub(super) fn compare(node: Node<'_>, old: &Value, new: &Value) -> Difference {
    let mut found = Difference::default();
    step(node, Some(old), Some(new), &mut Vec::new(), &mut found);
    found
}

/// Neither side is copied, and what is the same on both sides holds nothing to tell.
fn step(
    node: Node<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<String>,
    found: &mut Difference,
) {
    // A path that one side lacks is told as such on every level.
    match (old, new) {
        (None, None) => return,
        (None, Some(_)) => found.added.insert(path),
        (Some(_), None) => found.removed.insert(path),
        (Some(old), Some(new)) if old == new => return,
        (Some(_), Some(_)) => {}
    }
    let is_branch = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(_)) => node.is_object(),
        Some(Value::Array(_)) => node.is_list(),
        _ => false,
    };
    // COMPAT: null and empty are told apart.
    let both_bare = old.is_some_and(is_bare) && new.is_some_and(is_bare);
    if matches!(node, Node::Leaf) || both_bare || !is_branch(old) || !is_branch(new) {
        if old.is_some() && new.is_some() {
            found.modified.insert(path);
        }
        return;
    }
    match node {
        _ if node.is_object() => {
            let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let added =
                new.into_iter().flatten().filter(|(key, _)| old.is_none_or(|o| !o.contains_key(*key)));
            let both =
                old.into_iter().flatten().map(|(key, was)| (key, Some(was), new.and_then(|o| o.get(key))));
            for (key, old, new) in both.chain(added.map(|(key, is)| (key, None, Some(is)))) {
                if old != new {
                    path.push(name(key));
                    step(node.below(key), old, new, path, found);
                    path.pop();
                }
            }
        }
        _ => {
            let (old, new) = (identified(node, old), identified(node, new));
            let mut ids: Vec<&String> = Vec::new();
            for (id, _) in old.iter().chain(&new) {
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            for id in ids {
                let (old, new) = (called(&old, id), called(&new, id));
                path.push(id.clone());
                // COMPAT: items that cannot be told apart are compared as one.
                match (old.len(), new.len()) {
                    (0 | 1, 0 | 1) => {
                        step(node.item(), old.first().copied(), new.first().copied(), path, found)
                    }
                    (0 | 1, _) => {
                        step(node.item(), old.first().copied(), None, path, found);
                        found.added.insert(path);
                    }
                    (_, 0 | 1) => {
                        step(node.item(), None, new.first().copied(), path, found);
                        found.removed.insert(path);
                    }
                    _ if old != new => found.modified.insert(path),
                    _ => {}
                }
                path.pop();
            }
        }
    }
}

/// The items of a list beside their path elements.
fn identified<'v>(node: Node<'_>, list: Option<&'v Value>) -> Vec<(String, &'v Value)> {
    let items = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|item| (node.element(item), item)).collect()
}

/// Those of one path element.
fn called<'v>(items: &[(String, &'v Value)], element: &str) -> Vec<&'v Value> {
    items.iter().filter(|(own, _)| own == element).map(|(_, item)| *item).collect()
}

/// `live` with everything that `config` sets.
pub(super) fn merge(node: Node<'_>, live: &Value, config: &Value) -> Value {
    match (node, live, config) {
        (_, Value::Object(live), Value::Object(config)) if node.is_object() => {
            let mut merged = live.clone();
            for (key, wanted) in config {
                let value = match live.get(key) {
                    Some(old) => merge(node.below(key), old, wanted),
                    None => wanted.clone(),
                };
                merged.insert(key.clone(), value);
            }
            Value::Object(merged)
        }
        (_, Value::Array(live), Value::Array(config)) if node.is_list() => {
            Value::Array(merge_list(node, live, config))
        }
        // COMPAT: a null names no entry, and takes none away: charts write `annotations:` and nothing below.
        (_, live, Value::Null) if (node.is_object() || node.is_list()) && !is_bare(live) => live.clone(),
        _ => config.clone(),
    }
}

/// The items of both. Both lists are walked side by side: what only the live one has stays before what
/// only the other has, and common items come in the order of `config`.
fn merge_list(node: Node<'_>, live: &[Value], config: &[Value]) -> Vec<Value> {
    let identified =
        |items: &[Value]| -> Vec<String> { items.iter().map(|item| node.element(item)).collect() };
    let (old, wanted) = (identified(live), identified(config));
    let mut common = wanted.iter().filter(|id| old.contains(id));
    let mut next_common = common.next();
    let mut merged = Vec::with_capacity(live.len().max(config.len()));
    let mut placed: Vec<&String> = Vec::with_capacity(wanted.len());
    let (mut at, mut taken) = (0, 0);
    while at < old.len() || taken < wanted.len() {
        if let Some(id) = old.get(at) {
            if !wanted.contains(id) {
                merged.push(live[at].clone());
                at += 1;
                continue;
            }
            let is_elsewhere = wanted.get(taken).is_some_and(|other| other != id);
            if is_elsewhere && next_common.is_some_and(|next| next != id) || placed.contains(&id) {
                at += 1;
                continue;
            }
        }
        let Some(id) = wanted.get(taken) else { break };
        let known = old.iter().position(|other| other == id);
        if known.is_some() {
            next_common = common.next();
        }
        // COMPAT: items that cannot be told apart are replaced as one, and nothing of them is kept.
        let is_single = old.iter().filter(|other| *other == id).count() == 1;
        merged.push(match known.filter(|_| is_single) {
            Some(place) => merge(node.item(), &live[place], &config[taken]),
            None => config[taken].clone(),
        });
        placed.push(id);
        taken += 1;
    }
    merged
}

/// `value` without the members of `gone`, except what is or holds a member of `kept`.
pub(super) fn remove(node: Node<'_>, value: &Value, gone: &Set, kept: &Set) -> Value {
    prune(node, value, &mut Vec::new(), gone, kept)
}

fn prune(node: Node<'_>, value: &Value, path: &mut Vec<String>, gone: &Set, kept: &Set) -> Value {
    let mut keep = |element: String, is_field: bool, node: Node<'_>, inner: &Value| {
        path.push(element);
        // A declared field goes with the last of what was owned in it; metadata stays, which has a name.
        let is_field = is_field && (path.len() > 1 || path[0] != "f:metadata");
        let owned = gone.contains(path) || (is_field && gone.reaches(path));
        let dropped = owned && !kept.reaches(path);
        let left = if dropped {
            None
        } else if gone.reaches(path) {
            Some(prune(node, inner, path, gone, kept))
        } else {
            Some(inner.clone())
        };
        path.pop();
        left
    };
    match (node, value) {
        (_, Value::Object(object)) if node.is_object() => {
            let left = object.iter().filter_map(|(key, inner)| {
                Some((key.clone(), keep(name(key), node.declares(key), node.below(key), inner)?))
            });
            Value::Object(left.collect())
        }
        (_, Value::Array(items)) if node.is_list() => Value::Array(
            items.iter().filter_map(|item| keep(node.element(item), false, node.item(), item)).collect(),
        ),
        _ => value.clone(),
    }
}
