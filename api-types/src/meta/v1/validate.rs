//! Checks of metadata and of request options, with upstream's texts.
//!
//! How the registry uses them, for kinds that are stored (`Kind::is_stored`; the metadata of
//! reviews is the reviews' own affair). All errors of one request go into one list:
//! - create: `create`, then the kind's `validate` and `validate_create`. The name is generated before.
//! - update: `create` with `NameRule::PathSegment` (a name that once was taken stays), `update`, then
//!   the kind's `validate` and `validate_update`.
//! - update of `/status`: `update`, then the kind's `validate_status_update` alone.

use super::{
    CreateOptions, DeleteOptions, DeletionPropagation, ManagedFieldsEntry, ManagedFieldsOperationType,
    ObjectMeta, OwnerReference, PatchOptions, UpdateOptions,
};
use crate::core::v1::well_known::finalizer;
use crate::field::{Errors, Path, Shown};
use crate::kind::{Kind, NameRule};
use crate::names;
use crate::value::Value;
use std::collections::BTreeSet;

/// Said of any field that an update may not change.
pub const IMMUTABLE: &str = "field is immutable";
/// Said of numbers below zero.
pub const NEGATIVE: &str = "must be greater than or equal to 0";

const FIELD_MANAGER_LIMIT: usize = 128;
const SUBRESOURCE_LIMIT: usize = 256;

impl NameRule {
    /// What is wrong with a name.
    pub fn check(self, name: &str) -> Vec<String> {
        match self {
            Self::Label => names::dns1123_label(name),
            Self::Dns1035Label => names::dns1035_label(name),
            Self::Subdomain => names::dns1123_subdomain(name),
            Self::PathSegment => names::path_segment(name),
            Self::Address => {
                let mut errors = Errors::default();
                crate::addresses::ip(name, &Path::default(), &mut errors);
                errors.0.into_iter().map(|error| error.detail).collect()
            }
        }
    }

    /// What is wrong with `generateName`; more is put behind it, so it may end in a dash.
    pub fn check_prefix(self, prefix: &str) -> Vec<String> {
        if self == Self::PathSegment {
            return names::path_segment(prefix)
                .into_iter()
                .filter(|w| !w.starts_with("may not be"))
                .collect();
        }
        match prefix.strip_suffix('-') {
            // COMPAT: upstream masks the dash and the letter before it.
            Some(rest) if !rest.is_empty() => {
                let mut masked: String = rest.to_owned();
                masked.pop();
                self.check(&(masked + "a"))
            }
            _ => self.check(prefix),
        }
    }
}

/// Metadata of an object that is to be stored; `rule` is the kind's for new objects.
pub fn create(meta: &ObjectMeta, kind: &Kind, rule: NameRule, errors: &mut Errors) {
    of_object(meta, kind.namespaced, is_generic(kind), rule, &Path::new("metadata"), errors);
}

/// Metadata of an object inside of another: any name, and a namespace or none.
pub fn embedded(meta: &ObjectMeta, path: &Path, errors: &mut Errors) {
    of_object(meta, !meta.namespace.is_empty(), true, NameRule::PathSegment, path, errors);
}

fn of_object(
    meta: &ObjectMeta,
    namespaced: bool,
    generic: bool,
    rule: NameRule,
    path: &Path,
    errors: &mut Errors,
) {
    if !meta.generate_name.is_empty() {
        for wrong in rule.check_prefix(&meta.generate_name) {
            errors.invalid(&path.child("generateName"), &meta.generate_name, wrong);
        }
    }
    if meta.name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        for wrong in rule.check(&meta.name) {
            errors.invalid(&path.child("name"), &meta.name, wrong);
        }
    }
    namespace(meta, namespaced, path, errors);
    if meta.generation < 0 {
        errors.invalid(&path.child("generation"), meta.generation, NEGATIVE);
    }
    names::validate_labels(&meta.labels, &path.child("labels"), errors);
    names::validate_annotations(&meta.annotations, &path.child("annotations"), errors);
    owner_references(&meta.owner_references, &path.child("ownerReferences"), errors);
    finalizers(&meta.finalizers, &path.child("finalizers"), errors);
    managed_fields(&meta.managed_fields, &path.child("managedFields"), errors);
    if !generic {
        standard_finalizers(&meta.finalizers, &path.child("finalizers"), errors);
    }
}

impl ObjectMeta {
    /// Puts back what writes to a subresource that is not about metadata may not change.
    pub fn keep_for_status(&mut self, old: &Self) {
        self.deletion_timestamp = old.deletion_timestamp;
        self.generation = old.generation;
        self.self_link = old.self_link.clone();
        self.labels = old.labels.clone();
        self.annotations = old.annotations.clone();
        self.finalizers = old.finalizers.clone();
        self.owner_references = old.owner_references.clone();
    }
}

fn namespace(meta: &ObjectMeta, namespaced: bool, path: &Path, errors: &mut Errors) {
    let path = path.child("namespace");
    match (namespaced, meta.namespace.as_str()) {
        (true, "") => errors.required(&path, ""),
        (true, name) => {
            for wrong in names::dns1123_label(name) {
                errors.invalid(&path, name, wrong);
            }
        }
        (false, "") => {}
        (false, _) => errors.forbidden(&path, "not allowed on this type"),
    }
}

/// What an update may not do to metadata.
pub fn update(meta: &ObjectMeta, old: &ObjectMeta, errors: &mut Errors) {
    let path = Path::new("metadata");
    if old.deletion_timestamp.is_some() {
        let known: BTreeSet<&String> = old.finalizers.iter().collect();
        let new: BTreeSet<&String> = meta.finalizers.iter().filter(|f| !known.contains(f)).collect();
        if !new.is_empty() {
            let list: Vec<String> = new.iter().map(|f| format!("{f:?}")).collect();
            errors.forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    list.join(", ")
                ),
            );
        }
    }
    if meta.resource_version.is_empty() {
        errors.invalid(
            &path.child("resourceVersion"),
            &meta.resource_version,
            "must be specified for an update",
        );
    }
    if meta.generation < old.generation {
        errors.invalid(&path.child("generation"), meta.generation, "must not be decremented");
    }
    immutable(&meta.name, &old.name, &path.child("name"), errors);
    immutable(&meta.namespace, &old.namespace, &path.child("namespace"), errors);
    immutable(&meta.uid, &old.uid, &path.child("uid"), errors);
    immutable(&meta.creation_timestamp, &old.creation_timestamp, &path.child("creationTimestamp"), errors);
    immutable(&meta.deletion_timestamp, &old.deletion_timestamp, &path.child("deletionTimestamp"), errors);
    immutable(
        &meta.deletion_grace_period_seconds,
        &old.deletion_grace_period_seconds,
        &path.child("deletionGracePeriodSeconds"),
        errors,
    );
}

/// Refuses a change of a field that never changes.
pub fn immutable<T: Value + PartialEq>(new: &T, old: &T, path: &Path, errors: &mut Errors) {
    if new != old {
        errors.invalid(path, new as &dyn Value, IMMUTABLE);
    }
}

fn owner_references(owners: &Vec<OwnerReference>, path: &Path, errors: &mut Errors) {
    let mut controller = None;
    for owner in owners {
        let version = owner.api_version.rsplit('/').next().unwrap_or_default();
        // Two slashes are no version at all.
        if version.is_empty() || owner.api_version.matches('/').count() > 1 {
            errors.invalid(&path.child("apiVersion"), &owner.api_version, "version must not be empty");
        }
        for (name, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
            if value.is_empty() {
                errors.invalid(&path.child(name), value, "must not be empty");
            }
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            errors.invalid(path, owner as &dyn Value, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.controller == Some(true) {
            let name = format!("{}/{}", owner.kind, owner.name);
            match &controller {
                None => controller = Some(name),
                Some(first) => errors.invalid(
                    path,
                    owners as &dyn Value,
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                    ),
                ),
            }
        }
    }
}

/// Kinds that users define, and their definitions, may have finalizers of any name.
fn is_generic(kind: &Kind) -> bool {
    kind.group == "apiextensions.k8s.io"
        || crate::custom::rows().iter().any(|row| std::ptr::eq(row.kind, kind))
}

/// `any_name`: names need no domain.
fn finalizers(finalizers: &Vec<String>, path: &Path, errors: &mut Errors) {
    for name in finalizers {
        for wrong in names::qualified_name(name) {
            errors.invalid(path, name, wrong);
        }
    }
    let has = |name: &str| finalizers.iter().any(|f| f == name);
    if has(finalizer::ORPHAN) && has(finalizer::FOREGROUND) {
        errors.invalid(
            path,
            finalizers as &dyn Value,
            format!("finalizer {} and {} cannot be both set", finalizer::ORPHAN, finalizer::FOREGROUND),
        );
    }
}

/// Finalizers without a domain are Kubernetes' own.
fn standard_finalizers(finalizers: &[String], path: &Path, errors: &mut Errors) {
    for (place, name) in finalizers.iter().enumerate().filter(|(_, name)| !name.contains('/')) {
        if ![finalizer::KUBERNETES, finalizer::ORPHAN, finalizer::FOREGROUND].contains(&name.as_str()) {
            let text = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&path.index(place), name, text);
        }
    }
}

fn managed_fields(entries: &[ManagedFieldsEntry], path: &Path, errors: &mut Errors) {
    for (place, entry) in entries.iter().enumerate() {
        let path = path.index(place);
        if !matches!(entry.operation, ManagedFieldsOperationType::Apply | ManagedFieldsOperationType::Update)
        {
            errors.invalid(&path.child("operation"), entry.operation.as_str(), "must be `Apply` or `Update`");
        }
        if !matches!(entry.fields_type.as_str(), "" | "FieldsV1") {
            errors.invalid(&path.child("fieldsType"), &entry.fields_type, "must be `FieldsV1`");
        }
        field_manager(&entry.manager, &path.child("manager"), errors);
        if entry.subresource.len() > SUBRESOURCE_LIMIT {
            errors.too_long(&path.child("subresource"), SUBRESOURCE_LIMIT);
        }
    }
}

/// The name of a field manager, from the query or in an entry.
pub fn field_manager(name: &str, path: &Path, errors: &mut Errors) {
    if name.len() > FIELD_MANAGER_LIMIT {
        errors.too_long(path, FIELD_MANAGER_LIMIT);
    }
    for (place, c) in name.char_indices() {
        if c.is_control() || (c.is_whitespace() && c != ' ') {
            let code = u32::from(c);
            errors.invalid(path, name, format!("invalid character U+{code:04X} (at position {place})"));
        }
    }
}

fn dry_run(values: &Vec<String>, errors: &mut Errors) {
    if values.iter().any(|value| value != "All") {
        errors.not_supported(&Path::new("dryRun"), values as &dyn Value, &["All"]);
    }
}

fn field_validation(value: &str, errors: &mut Errors) {
    if !matches!(value, "" | "Ignore" | "Strict" | "Warn") {
        errors.not_supported(&Path::new("fieldValidation"), value, &["", "Ignore", "Strict", "Warn"]);
    }
}

/// Options of a create.
pub fn create_options(options: &CreateOptions, errors: &mut Errors) {
    field_manager(&options.field_manager, &Path::new("fieldManager"), errors);
    dry_run(&options.dry_run, errors);
    field_validation(&options.field_validation, errors);
}

/// Options of an update.
pub fn update_options(options: &UpdateOptions, errors: &mut Errors) {
    field_manager(&options.field_manager, &Path::new("fieldManager"), errors);
    dry_run(&options.dry_run, errors);
    field_validation(&options.field_validation, errors);
}

/// Options of a patch; apply is stricter about its manager and alone can be forced.
pub fn patch_options(options: &PatchOptions, is_apply: bool, errors: &mut Errors) {
    if is_apply && options.field_manager.is_empty() {
        errors.required(&Path::new("fieldManager"), "is required for apply patch");
    }
    if !is_apply && options.force.is_some() {
        errors.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
    }
    field_manager(&options.field_manager, &Path::new("fieldManager"), errors);
    dry_run(&options.dry_run, errors);
    field_validation(&options.field_validation, errors);
}

/// Options of a deletion.
pub fn delete_options(options: &DeleteOptions, errors: &mut Errors) {
    let path = Path::new("propagationPolicy");
    if let Some(policy) = &options.propagation_policy {
        if options.orphan_dependents.is_some() {
            errors.invalid(
                &path,
                policy.as_str(),
                "orphanDependents and deletionPropagation cannot be both set",
            );
        }
        if matches!(policy, DeletionPropagation::Unset | DeletionPropagation::Other(_)) {
            errors.not_supported(&path, policy.as_str(), &["Foreground", "Background", "Orphan", "nil"]);
        }
    }
    dry_run(&options.dry_run, errors);
    if options.ignore_store_read_error_with_cluster_breaking_potential == Some(true) {
        for (set, name) in [
            (!options.dry_run.is_empty(), "dryRun"),
            (options.propagation_policy.is_some(), "propagationPolicy"),
            (options.orphan_dependents.is_some(), "orphanDependents"),
            (options.grace_period_seconds.is_some(), "gracePeriodSeconds"),
            (options.preconditions.is_some(), "preconditions"),
        ] {
            if set {
                errors.invalid(
                    &Path::new("ignoreStoreReadErrorWithClusterBreakingPotential"),
                    true,
                    format!("cannot be set together with .{name}"),
                );
            }
        }
    }
}

/// A number that must not be negative.
pub(crate) fn not_negative<T: Shown + Into<i64> + Copy>(value: T, path: &Path, errors: &mut Errors) {
    if value.into() < 0 {
        errors.invalid(path, value, NEGATIVE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::v1::{Namespace, Pod};
    use crate::kind::Resource;

    fn check(change: impl FnOnce(&mut ObjectMeta), expected: &[&str]) {
        let mut meta = ObjectMeta { name: "web".into(), namespace: "shop".into(), ..ObjectMeta::default() };
        change(&mut meta);
        let mut errors = Errors::default();
        create(&meta, Pod::facts(), NameRule::Subdomain, &mut errors);
        assert_eq!(errors.0.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn metadata_of_new_objects() {
        check(|_| {}, &[]);
        check(|m| m.name.clear(), &["metadata.name: Required value: name or generateName is required"]);
        check(|m| m.namespace.clear(), &["metadata.namespace: Required value"]);
        check(|m| m.generate_name = "web-".into(), &[]);
        check(
            |m| m.finalizers = vec!["orphan".into(), "foregroundDeletion".into()],
            &[
                r#"metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and foregroundDeletion cannot be both set"#,
            ],
        );
        check(
            |m| m.owner_references = vec![OwnerReference { kind: "ReplicaSet".into(), ..Default::default() }],
            &[
                r#"metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty"#,
                r#"metadata.ownerReferences.name: Invalid value: "": must not be empty"#,
                r#"metadata.ownerReferences.uid: Invalid value: "": must not be empty"#,
            ],
        );
    }

    #[test]
    fn kinds_outside_of_namespaces_have_none() {
        let meta = ObjectMeta { name: "shop".into(), namespace: "x".into(), ..ObjectMeta::default() };
        let mut errors = Errors::default();
        create(&meta, Namespace::facts(), NameRule::Label, &mut errors);
        assert_eq!(errors.to_string(), "metadata.namespace: Forbidden: not allowed on this type");
    }

    #[test]
    fn what_updates_may_not_do() {
        let old = ObjectMeta {
            name: "web".into(),
            uid: "1".into(),
            resource_version: "7".into(),
            deletion_timestamp: Some(crate::value::Time::default()),
            ..ObjectMeta::default()
        };
        let new = ObjectMeta { uid: "2".into(), finalizers: vec!["example.com/late".into()], ..old.clone() };
        let mut errors = Errors::default();
        update(&new, &old, &mut errors);
        assert_eq!(
            errors.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"example.com/late"}"#,
                r#"metadata.uid: Invalid value: "2": field is immutable"#,
            ]
        );
    }

    #[test]
    fn options() {
        let mut errors = Errors::default();
        patch_options(&PatchOptions { force: Some(true), ..Default::default() }, false, &mut errors);
        patch_options(&PatchOptions::default(), true, &mut errors);
        create_options(&CreateOptions { dry_run: vec!["Some".into()], ..Default::default() }, &mut errors);
        assert_eq!(
            errors.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "force: Forbidden: may not be specified for non-apply patch",
                "fieldManager: Required value: is required for apply patch",
                r#"dryRun: Unsupported value: ["Some"]: supported values: "All""#,
            ]
        );
    }
}
