//! Server-side apply: who owns which field, conflicts, merging and pruning (KEP-555).
//!
//! Every write of an object goes through `update` (create, PUT, patches) or `apply` (apply
//! patches); both are pure: JSON and the old `managedFields` in, the new ones out. What a write
//! changed moves to its manager; what an apply no longer names is removed unless another manager
//! owns it too. Schema tables say which lists are maps or sets and what is atomic.

mod parts;
mod scale;
mod set;
mod typed;
mod walk;

pub use parts::differing;
pub use scale::Count;
pub use set::Set;
pub use typed::{Mismatch, atomic_parts, listed, mismatches};

use crate::custom::Definition;
use crate::meta::v1::ManagedFieldsEntry;
use crate::schema::StructType;
use crate::value::{FieldsV1, Time};
use serde_json::{Map, Value};
use std::sync::Arc;
use walk::Node;

/// What no manager ever owns; the server alone writes it.
const STRIPPED: &[&[&str]] = &[
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:clusterName"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
];
const STRIPPED_MEMBERS: &[&[&str]] = &[&["f:metadata"]];

/// Managers by update that an object keeps; older ones are joined into one.
const UPDATE_MANAGERS_LIMIT: usize = 10;
const OLD_CHANGES: &str = "ancient-changes";
/// Owns the fields of an object that was written before its fields had owners.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The schema of a whole object.
#[derive(Debug, Clone)]
pub enum Root {
    Typed(&'static StructType),
    Custom(Arc<Definition>),
}

impl From<&'static StructType> for Root {
    fn from(table: &'static StructType) -> Self {
        Self::Typed(table)
    }
}

impl From<Arc<Definition>> for Root {
    fn from(definition: Arc<Definition>) -> Self {
        Self::Custom(definition)
    }
}

/// Whose write it is.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// `fieldManager`, or the start of the User-Agent.
    pub manager: &'a str,
    /// The version the write was made in, `apps/v1`.
    pub api_version: &'a str,
    /// `status`, `scale` …; empty for the object itself.
    pub subresource: &'a str,
    pub now: Time,
    /// What this path does not write: `f:status` for the object itself, `f:metadata/f:labels`.
    pub ignored: &'a [&'a str],
}

/// One field that an apply wants to change and another manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// `"NAME" using apps/v1`, with subresource and time where upstream shows them.
    pub owner: String,
    /// `.spec.replicas`
    pub field: String,
}

impl Conflict {
    /// As in `details.causes[].message`.
    pub fn message(&self) -> String {
        format!("conflict with {}", self.owner)
    }
}

/// Why an apply is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{}", conflict_text(.0))]
    Conflicts(Vec<Conflict>),
}

/// `Apply failed with 2 conflicts: …`, grouped by owner.
fn conflict_text(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: {}: {}", one.message(), one.field);
    }
    let mut text = format!("Apply failed with {} conflicts: ", conflicts.len());
    let mut owners: Vec<&str> = conflicts.iter().map(|c| c.owner.as_str()).collect();
    owners.dedup();
    for (i, owner) in owners.iter().enumerate() {
        let fields = conflicts.iter().filter(|c| c.owner == *owner).map(|c| format!("- {}", c.field));
        let separator = if i > 0 { "\n" } else { "" };
        text.push_str(&format!(
            "{separator}conflicts with {owner}:\n{}",
            fields.collect::<Vec<_>>().join("\n")
        ));
    }
    text
}

/// What an apply leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    pub object: Value,
    pub entries: Vec<ManagedFieldsEntry>,
}

/// The managers of an object, by `managedFields`.
#[derive(Debug, Clone)]
struct Owner {
    entry: ManagedFieldsEntry,
    set: Set,
    changed: bool,
}

fn owners_of(entries: &[ManagedFieldsEntry]) -> Vec<Owner> {
    entries
        .iter()
        .filter_map(|entry| {
            let fields = entry.fields_v1.as_ref()?;
            let set = Set::parse(fields.as_bytes())?;
            Some(Owner { entry: entry.clone(), set, changed: false })
        })
        .collect()
}

/// Back to entries, with the time of this write where it changed one.
fn entries_of(mut owners: Vec<Owner>, now: Time) -> Vec<ManagedFieldsEntry> {
    for owner in owners.iter_mut().filter(|owner| owner.changed) {
        owner.entry.time = Some(now);
    }
    settled(owners)
}

/// Back to entries: empty ones go, applies come first, each part by time and name.
fn settled(owners: Vec<Owner>) -> Vec<ManagedFieldsEntry> {
    let mut entries: Vec<ManagedFieldsEntry> = owners
        .into_iter()
        .filter(|owner| !owner.set.is_empty())
        .map(|owner| {
            let mut entry = owner.entry;
            entry.fields_type = "FieldsV1".to_owned();
            entry.fields_v1 = Some(FieldsV1(owner.set.to_json().into_bytes().into()));
            entry
        })
        .collect();
    let rank = |entry: &ManagedFieldsEntry| usize::from(entry.operation != *"Apply");
    entries.sort_by(|a, b| {
        (rank(a), a.time, &a.manager, &a.subresource).cmp(&(rank(b), b.time, &b.manager, &b.subresource))
    });
    entries
}

fn strip(set: Set, writer: &Writer<'_>) -> Set {
    let set = set.without(STRIPPED).without_members(STRIPPED_MEMBERS);
    unignored(set, writer)
}

/// Without what the path does not write.
fn unignored(set: Set, writer: &Writer<'_>) -> Set {
    let ignored: Vec<Vec<&str>> = writer.ignored.iter().map(|path| path.split('/').collect()).collect();
    let ignored: Vec<&[&str]> = ignored.iter().map(Vec::as_slice).collect();
    set.without(&ignored)
}

fn is_mine(owner: &Owner, writer: &Writer<'_>, operation: &str) -> bool {
    owner.entry.manager == writer.manager
        && owner.entry.operation == *operation
        && owner.entry.subresource == writer.subresource
        && (operation == "Apply" || owner.entry.api_version == writer.api_version)
}

fn new_owner(writer: &Writer<'_>, operation: &str, set: Set) -> Owner {
    let entry = ManagedFieldsEntry {
        manager: writer.manager.to_owned(),
        operation: operation.into(),
        api_version: writer.api_version.to_owned(),
        subresource: writer.subresource.to_owned(),
        ..Default::default()
    };
    Owner { entry, set, changed: true }
}

/// Takes the given fields from an owner, whose time stays: it wrote nothing.
fn take(owner: &mut Owner, fields: &Set) {
    owner.set = owner.set.difference(fields);
}

/// The new `managedFields` after a write that is no apply: `live` became `new`.
///
/// For a create, `live` is the kind's zero object. What is the same in both may be left out ([`differing`]).
pub fn update(
    root: impl Into<Root>,
    live: &Value,
    new: &Value,
    entries: &[ManagedFieldsEntry],
    writer: &Writer<'_>,
) -> Vec<ManagedFieldsEntry> {
    let root = root.into();
    let found = walk::compare(Node::root(&root), live, new);
    let written = unignored(found.added.union(&found.modified), writer);
    let removed = unignored(found.removed, writer);
    let lost = written.clone().union(&removed);
    let mut owners = owners_of(entries);
    for owner in owners.iter_mut().filter(|owner| !is_mine(owner, writer, "Update")) {
        take(owner, &lost);
    }
    let written = strip(written, writer);
    match owners.iter_mut().find(|owner| is_mine(owner, writer, "Update")) {
        Some(mine) => {
            mine.changed |= !written.is_empty();
            mine.set = strip(mine.set.difference(&removed).union(&written), writer);
        }
        None => owners.push(new_owner(writer, "Update", written)),
    }
    entries_of(join_old(owners, writer), writer.now)
}

/// Joins the oldest managers by update where there are too many.
fn join_old(mut owners: Vec<Owner>, writer: &Writer<'_>) -> Vec<Owner> {
    let updates = |owners: &[Owner]| {
        owners.iter().filter(|o| o.entry.operation == *"Update" && !o.set.is_empty()).count()
    };
    while updates(&owners) > UPDATE_MANAGERS_LIMIT {
        let mut oldest: Vec<usize> = (0..owners.len())
            .filter(|&i| owners[i].entry.operation == *"Update" && !is_mine(&owners[i], writer, "Update"))
            .collect();
        oldest.sort_by_key(|&i| (owners[i].entry.manager != OLD_CHANGES, owners[i].entry.time));
        let [first, second, ..] = oldest[..] else { break };
        let gone = owners[second].set.clone();
        owners[first].set = std::mem::take(&mut owners[first].set).union(&gone);
        owners[first].entry.manager = OLD_CHANGES.to_owned();
        owners[first].changed = true;
        owners.remove(second);
    }
    owners
}

/// The owner that an object's fields are given that nobody owns, before something is applied to it for the first
/// time. `zero` is the zero object of its kind.
pub fn before_first_apply(
    root: impl Into<Root>,
    zero: &Value,
    live: &Value,
    writer: &Writer<'_>,
) -> Vec<ManagedFieldsEntry> {
    update(root, zero, live, &[], &Writer { manager: BEFORE_FIRST_APPLY, ..*writer })
}

/// Applies `config` to `live`, an object of the type that `root` describes.
///
/// For an object that does not exist, `live` is the kind's zero object and `entries` is empty; for one that is there
/// and whose fields have no owners, they are given some before ([`before_first_apply`]).
/// With `force`, conflicting fields move to the writer.
pub fn apply(
    root: impl Into<Root>,
    live: &Value,
    exists: bool,
    config: &Value,
    entries: &[ManagedFieldsEntry],
    writer: &Writer<'_>,
    force: bool,
) -> Result<Applied, Error> {
    let root = root.into();
    let root = Node::root(&root);
    let mut owners = owners_of(entries);
    let wanted = strip(walk::fields_of(root, config), writer);
    let last = owners.iter().find(|o| is_mine(o, writer, "Apply")).map(|o| o.set.clone()).unwrap_or_default();

    let merged = walk::merge(root, live, config);
    let others = owners
        .iter()
        .filter(|o| !is_mine(o, writer, "Apply"))
        .fold(Set::default(), |all, owner| all.union(&owner.set));
    let kept = others.union(&wanted);
    let object = walk::remove(root, &merged, &last.difference(&wanted), &kept);

    let found = walk::compare(root, live, &object);
    let written = unignored(found.added.union(&found.modified), writer);
    let removed = unignored(found.removed, writer);
    let applied_before = last_applied_fields(root, live, writer);
    let mut conflicts = Vec::new();
    for owner in owners.iter_mut().filter(|owner| !is_mine(owner, writer, "Apply")) {
        let clashes = owner.set.intersection(&written).difference(&applied_before);
        if !force {
            let name = owner_text(&owner.entry);
            let fields = clashes.members().into_iter();
            conflicts.extend(fields.map(|path| Conflict { owner: name.clone(), field: set::shown(&path) }));
        }
        take(owner, &written);
        take(owner, &removed);
    }
    if !conflicts.is_empty() {
        return Err(Error::Conflicts(conflicts));
    }
    // COMPAT: an apply that changes nothing leaves no time, even of a manager that is new.
    let changed = !exists || object != *live;
    match owners.iter_mut().find(|owner| is_mine(owner, writer, "Apply")) {
        Some(mine) => {
            mine.changed |= changed;
            mine.entry.api_version = writer.api_version.to_owned();
            mine.set = wanted;
        }
        None => owners.push(Owner { changed, ..new_owner(writer, "Apply", wanted) }),
    }
    Ok(Applied { object, entries: entries_of(owners, writer.now) })
}

/// Fields that kubectl applied on the client's side; moving to server-side apply, it does not
/// conflict with itself over them.
fn last_applied_fields(root: Node<'_>, live: &Value, writer: &Writer<'_>) -> Set {
    const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
    if writer.manager != "kubectl" {
        return Set::default();
    }
    let text = live["metadata"]["annotations"][ANNOTATION].as_str().unwrap_or_default();
    serde_json::from_str(text).map(|config: Value| walk::fields_of(root, &config)).unwrap_or_default()
}

/// `"NAME" with subresource "status" using apps/v1`
fn owner_text(entry: &ManagedFieldsEntry) -> String {
    let mut text = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", entry.subresource));
    }
    if entry.operation == *"Update" {
        // COMPAT: never the time: what names a manager upstream does not hold it.
        text.push_str(&format!(" using {}", entry.api_version));
    }
    text
}

/// `live` with everything that `config` sets; what it does not name stays, and nobody comes to own anything.
pub fn laid_over(root: impl Into<Root>, live: &Value, config: &Value) -> Value {
    walk::merge(Node::root(&root.into()), live, config)
}

/// The object without what an apply may not carry.
pub fn without_managed_fields(mut object: Value) -> Value {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let _: Option<(String, Value)> = Map::remove_entry(meta, "managedFields");
    }
    object
}

#[cfg(test)]
mod tests;
