//! Owners of a replica count, seen through `scale` and back (KEP-555; autoscaling/v1 Scale stands for the object).
//!
//! A write to `scale` is settled on a Scale, whose managedFields are made out of the object's: of each manager the
//! replica count alone, under its path in Scale. What comes of that goes back to the object's entries. Pure.

use super::{Owner, Set, owners_of, settled};
use crate::meta::v1::ManagedFieldsEntry;

/// The version that entries of a Scale have.
const SCALE_VERSION: &str = "autoscaling/v1";

/// Where the count is in a Scale.
fn in_scale() -> Vec<String> {
    vec!["f:spec".to_owned(), "f:replicas".to_owned()]
}

fn only(path: &[String]) -> Set {
    let mut set = Set::default();
    set.insert(path);
    set
}

/// `apps` of `apps/v1`; nothing for the core group.
fn group(version: &str) -> &str {
    version.rsplit_once('/').map_or("", |(group, _)| group)
}

/// The replica count of an object: the object's version, and the path in elements of a field set
/// (`["f:spec", "f:replicas"]`). Versions of one group have it in the same place.
#[derive(Debug, Clone)]
pub struct Count {
    pub api_version: String,
    pub path: Vec<String>,
}

impl Count {
    fn knows(&self, owner: &Owner) -> bool {
        group(&owner.entry.api_version) == group(&self.api_version)
    }

    /// The entries of the Scale, out of those of the object.
    pub fn in_scale(&self, entries: &[ManagedFieldsEntry]) -> Vec<ManagedFieldsEntry> {
        let owners = owners_of(entries)
            .into_iter()
            .filter(|owner| self.knows(owner) && owner.set.contains(&self.path))
            .map(|mut owner| {
                owner.entry.api_version = SCALE_VERSION.to_owned();
                Owner { set: only(&in_scale()), ..owner }
            });
        settled(owners.collect())
    }

    /// The entries of the object after a write, out of those before it and those that the Scale has now.
    ///
    /// Whoever lost the count loses it in the object. COMPAT: who has come by it has an entry without a time, and
    /// entries of versions that the object does not have go.
    pub fn in_object(
        &self,
        before: &[ManagedFieldsEntry],
        scale: &[ManagedFieldsEntry],
    ) -> Vec<ManagedFieldsEntry> {
        let mut gained = owners_of(scale);
        let mut owners = owners_of(before);
        owners.retain(|owner| self.knows(owner));
        for owner in owners.iter_mut().filter(|owner| owner.set.contains(&self.path)) {
            match gained.iter().position(|other| is_same(owner, other)) {
                // COMPAT: whoever owns anything of the Scale keeps the count, also one who no longer names it.
                // Where upstream parts such an entry in two that look alike, ours stays whole.
                Some(place) => {
                    gained.remove(place);
                }
                None => owner.set = owner.set.difference(&only(&self.path)),
            }
        }
        gained.retain(|owner| owner.set.contains(&in_scale()));
        owners.extend(gained.into_iter().map(|mut owner| {
            owner.entry.api_version.clone_from(&self.api_version);
            owner.entry.time = None;
            Owner { set: only(&self.path), ..owner }
        }));
        settled(owners)
    }
}

/// Whether both are one manager's; versions are those of different kinds and say nothing.
fn is_same(a: &Owner, b: &Owner) -> bool {
    let (a, b) = (&a.entry, &b.entry);
    (&a.manager, &a.operation, &a.subresource) == (&b.manager, &b.operation, &b.subresource)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::FieldsV1;
    use serde_json::{Value, json};

    fn entry(
        manager: &str,
        operation: &str,
        version: &str,
        subresource: &str,
        fields: &Value,
    ) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: manager.into(),
            operation: operation.into(),
            api_version: version.into(),
            subresource: subresource.into(),
            fields_type: "FieldsV1".into(),
            fields_v1: Some(FieldsV1::from(fields)),
            ..Default::default()
        }
    }

    fn count() -> Count {
        Count { api_version: "apps/v1".into(), path: in_scale() }
    }

    #[test]
    fn a_scale_has_the_owners_of_the_count_alone() {
        let of_count = json!({"f:spec": {"f:replicas": {}}});
        let entries = [
            entry("a", "Update", "apps/v1", "", &json!({"f:spec": {"f:replicas": {}, "f:paused": {}}})),
            entry("b", "Apply", "apps/v1", "", &json!({"f:spec": {"f:paused": {}}})),
            entry("c", "Update", "other/v1", "", &of_count),
        ];
        assert_eq!(count().in_scale(&entries), [entry("a", "Update", SCALE_VERSION, "", &of_count)]);
    }

    #[test]
    fn who_writes_the_count_takes_it_and_nothing_else() {
        let of_count = json!({"f:spec": {"f:replicas": {}}});
        let paused = json!({"f:spec": {"f:paused": {}}});
        let both = json!({"f:spec": {"f:paused": {}, "f:replicas": {}}});
        let before = [
            entry("a", "Update", "apps/v1", "", &both),
            entry("b", "Update", "apps/v1", "scale", &of_count),
            entry("c", "Apply", "other/v1", "", &paused),
        ];
        let scaled = [entry("d", "Update", SCALE_VERSION, "scale", &of_count)];
        assert_eq!(
            count().in_object(&before, &scaled),
            [
                entry("a", "Update", "apps/v1", "", &paused),
                entry("d", "Update", "apps/v1", "scale", &of_count)
            ]
        );
        let unnamed = [entry("b", "Update", SCALE_VERSION, "scale", &json!({"f:spec": {}}))];
        let kept = [
            entry("a", "Update", "apps/v1", "", &paused),
            entry("b", "Update", "apps/v1", "scale", &of_count),
        ];
        assert_eq!(count().in_object(&before, &unnamed), kept);
        let unchanged = count().in_scale(&before);
        assert_eq!(count().in_object(&before, &unchanged), before[..2]);
    }
}
