//! Rules for metadata that hold for every kind (API doc "Object Names and IDs", "Owners and
//! Dependents", "Finalizers"); the texts are upstream's.

use api_types::field::{Errors, Path};
use api_types::kind::{NameRule, Row};
use api_types::meta::v1::{ObjectMeta, OwnerReference};
use api_types::names;
use api_types::value::Value;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const IMMUTABLE: &str = "field is immutable";

/// What is wrong with a name under the kind's rule. As a `prefix` it may end in a dash.
pub fn name_errors(rule: NameRule, name: &str, prefix: bool) -> Vec<String> {
    // Upstream masks a trailing dash of generateName with a letter.
    let masked = (prefix && name.ends_with('-')).then(|| format!("{}a", &name[..name.len() - 1]));
    let name = masked.as_deref().unwrap_or(name);
    match rule {
        NameRule::Label => names::dns1123_label(name),
        NameRule::Dns1035Label => names::dns1035_label(name),
        NameRule::Subdomain => names::dns1123_subdomain(name),
        NameRule::PathSegment => names::path_segment(name),
    }
}

/// Metadata on its own. On updates names are only checked to fit into a path.
pub fn validate(row: &Row, meta: &ObjectMeta, update: bool, errors: &mut Errors) {
    let path = Path::new("metadata");
    let rule = if update { NameRule::PathSegment } else { row.name_rule };
    if !meta.generate_name.is_empty() {
        for wrong in name_errors(rule, &meta.generate_name, true) {
            errors.invalid(&path.child("generateName"), &meta.generate_name, wrong);
        }
    }
    if meta.name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        for wrong in name_errors(rule, &meta.name, false) {
            errors.invalid(&path.child("name"), &meta.name, wrong);
        }
    }
    if row.kind.namespaced {
        if meta.namespace.is_empty() {
            errors.required(&path.child("namespace"), "");
        } else {
            for wrong in names::dns1123_label(&meta.namespace) {
                errors.invalid(&path.child("namespace"), &meta.namespace, wrong);
            }
        }
    } else if !meta.namespace.is_empty() {
        errors.forbidden(&path.child("namespace"), "not allowed on this type");
    }
    if meta.generation < 0 {
        errors.invalid(&path.child("generation"), meta.generation, "must be greater than or equal to 0");
    }
    names::validate_labels(&meta.labels, &path.child("labels"), errors);
    names::validate_annotations(&meta.annotations, &path.child("annotations"), errors);
    owner_references(&meta.owner_references, &path.child("ownerReferences"), errors);
    finalizers(&meta.finalizers, &path.child("finalizers"), errors);
}

fn owner_references(owners: &Vec<OwnerReference>, path: &Path, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for owner in owners {
        let version = owner.api_version.rsplit('/').next().unwrap_or_default();
        if version.is_empty() {
            errors.invalid(&path.child("apiVersion"), &owner.api_version, "version must not be empty");
        }
        for (name, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
            if value.is_empty() {
                errors.invalid(&path.child(name), value, "must not be empty");
            }
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            let shown: &dyn Value = owner;
            errors.invalid(path, shown, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.controller == Some(true) {
            let this = format!("{}/{}", owner.kind, owner.name);
            match &controller {
                Some(first) => {
                    let shown: &dyn Value = owners;
                    errors.invalid(
                        path,
                        shown,
                        format!(
                            "Only one reference can have Controller set to true. Found \"true\" in references for \
                             {first} and {this}"
                        ),
                    );
                }
                None => controller = Some(this),
            }
        }
    }
}

fn finalizers(finalizers: &Vec<String>, path: &Path, errors: &mut Errors) {
    for finalizer in finalizers {
        for wrong in names::qualified_name(finalizer) {
            errors.invalid(path, finalizer, wrong);
        }
    }
    let has = |name: &str| finalizers.iter().any(|f| f == name);
    if has(ORPHAN) && has(FOREGROUND) {
        let shown: &dyn Value = finalizers;
        errors.invalid(path, shown, format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set"));
    }
}

/// What an update may not change.
pub fn validate_update(new: &ObjectMeta, old: &ObjectMeta, errors: &mut Errors) {
    let path = Path::new("metadata");
    if old.deletion_timestamp.is_some() {
        let mut extra: Vec<&String> = new.finalizers.iter().filter(|f| !old.finalizers.contains(f)).collect();
        extra.sort();
        extra.dedup();
        if !extra.is_empty() {
            let shown: Vec<String> = extra.iter().map(|f| format!("{f:?}")).collect();
            errors.forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers \
                     []string{{{}}}",
                    shown.join(", ")
                ),
            );
        }
    }
    if new.generation < old.generation {
        errors.invalid(&path.child("generation"), new.generation, "must not be decremented");
    }
    let mut same = |name: &str, new: &dyn Value, equal: bool| {
        if !equal {
            errors.invalid(&path.child(name), new, IMMUTABLE);
        }
    };
    same("name", &new.name, new.name == old.name);
    same("namespace", &new.namespace, new.namespace == old.namespace);
    same("uid", &new.uid, new.uid == old.uid);
    same("creationTimestamp", &new.creation_timestamp, new.creation_timestamp == old.creation_timestamp);
    same("deletionTimestamp", &new.deletion_timestamp, new.deletion_timestamp == old.deletion_timestamp);
    same(
        "deletionGracePeriodSeconds",
        &new.deletion_grace_period_seconds,
        new.deletion_grace_period_seconds == old.deletion_grace_period_seconds,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::kinds;

    fn found(meta: &ObjectMeta) -> String {
        let row = kinds::by_resource("", "v1", "pods").expect("pods");
        let mut errors = Errors::default();
        validate(row, meta, false, &mut errors);
        errors.to_string()
    }

    fn meta(name: &str) -> ObjectMeta {
        ObjectMeta { name: name.into(), namespace: "default".into(), ..ObjectMeta::default() }
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(found(&meta("web-1")), "");
        assert!(
            found(&meta("Web")).starts_with("metadata.name: Invalid value: \"Web\": a lowercase RFC 1123")
        );
        assert_eq!(found(&meta("")), "metadata.name: Required value: name or generateName is required");
    }

    #[test]
    fn a_generated_prefix_may_end_in_a_dash() {
        assert!(name_errors(NameRule::Subdomain, "web-", true).is_empty());
        assert!(!name_errors(NameRule::Subdomain, "web-", false).is_empty());
    }

    #[test]
    fn what_is_immutable_stays() {
        let (old, mut new) = (meta("a"), meta("a"));
        new.uid = "x".into();
        let mut errors = Errors::default();
        validate_update(&new, &old, &mut errors);
        assert_eq!(errors.to_string(), "metadata.uid: Invalid value: \"x\": field is immutable");
    }

    #[test]
    fn no_finalizer_joins_a_dying_object() {
        let (mut old, mut new) = (meta("a"), meta("a"));
        old.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH.into());
        new.deletion_timestamp = old.deletion_timestamp;
        new.finalizers.push("example.com/late".into());
        let mut errors = Errors::default();
        validate_update(&new, &old, &mut errors);
        assert!(errors.to_string().contains("found new finalizers []string{\"example.com/late\"}"));
    }
}
