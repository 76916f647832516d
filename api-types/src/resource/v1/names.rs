//! Names and values that several kinds of the group check, in upstream's words.

use crate::field::{Errors, Path};
use crate::names;
use crate::value::{RawExtension, Value};
use regex::Regex;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::LazyLock;

/// Longest name of an attribute or capacity without its domain.
const MAX_ID: usize = 32;
/// Longest name of a driver.
const MAX_DRIVER: usize = 63;
/// Longest name of a pool.
const MAX_POOL: usize = 253;

/// A driver's name: a DNS subdomain of at most 63 characters.
pub(super) fn driver(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > MAX_DRIVER {
        errors.too_long(path, MAX_DRIVER);
    }
    errors.wrong(path, name, names::dns1123_subdomain(&name.to_lowercase()));
}

/// A pool's name: DNS subdomains with slashes between them.
pub(super) fn pool(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > MAX_POOL {
        errors.too_long(path, MAX_POOL);
    }
    for part in name.split('/') {
        errors.wrong(path, part, names::dns1123_subdomain(part));
    }
}

/// A device's or request's name.
pub(super) fn label(name: &str, path: &Path, errors: &mut Errors) {
    errors.wrong(path, name, names::dns1123_label(name));
}

/// `NAME` or `DOMAIN/NAME`.
pub(super) fn qualified(name: &str, path: &Path, errors: &mut Errors) {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [id] => identifier(id, path, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.invalid(path, "", "the domain must not be empty");
            } else {
                driver(domain, path, errors);
            }
            if id.is_empty() {
                errors.invalid(path, "", "the name must not be empty");
            } else {
                identifier(id, path, errors);
            }
        }
        // COMPAT: more than one slash passes.
        _ => {}
    }
}

/// `DOMAIN/NAME`.
pub(super) fn fully_qualified(name: &str, path: &Path, errors: &mut Errors) {
    qualified(name, path, errors);
    if !name.contains('/') {
        let text = "a fully qualified name must be a domain and a name separated by a slash";
        errors.invalid(path, name, text);
    }
}

fn identifier(id: &str, path: &Path, errors: &mut Errors) {
    if id.len() > MAX_ID {
        errors.too_long(path, MAX_ID);
    }
    let starts = id.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let text = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
        errors.invalid(path, id, text);
    }
}

/// A UUID in its canonical form.
pub(super) fn uid(uid: &str, path: &Path, errors: &mut Errors) {
    static UUID: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$").expect("the pattern is a constant")
    });
    if !UUID.is_match(uid) {
        let text = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        errors.invalid(path, uid, text);
    }
}

/// Keys of taints and names of conditions.
pub(super) fn label_name(name: &str, path: &Path, errors: &mut Errors) {
    errors.wrong(path, name, names::qualified_name(name));
}

/// A JSON object of at most `max` bytes.
pub(super) fn object(raw: &RawExtension, max: usize, path: &Path, errors: &mut Errors) {
    let text = raw.as_bytes();
    if text.is_empty() {
        errors.required(path, "");
    } else if text.len() > max {
        errors.too_long(path, max);
    } else if !text.trim_ascii_start().starts_with(b"{") {
        errors.invalid(path, "<value omitted>", "must be a valid JSON object");
    }
}

/// At most `max` items; tells whether they are worth looking at one by one.
pub(super) fn at_most(actual: usize, max: usize, path: &Path, errors: &mut Errors) -> bool {
    if actual > max {
        errors.too_many(path, actual, max);
    }
    actual <= max
}

/// `Duplicate` for each item whose key came before.
pub(super) fn unique<K: Eq + Hash>(
    keys: impl IntoIterator<Item = K>,
    shown: impl Fn(&K) -> String,
    path: &Path,
    errors: &mut Errors,
) {
    let mut seen = HashSet::new();
    for (place, key) in keys.into_iter().enumerate() {
        let text = shown(&key);
        if !seen.insert(key) {
            errors.duplicate(&path.index(place), text.as_str());
        }
    }
}

/// Conditions that binding waits for, and those that make it fail.
pub(super) fn binding_conditions(good: &[String], bad: &[String], path: &Path, errors: &mut Errors) {
    const MAX: usize = 4;
    let (good_path, bad_path) = (path.child("bindingConditions"), path.child("bindingFailureConditions"));
    for (list, path) in [(good, &good_path), (bad, &bad_path)] {
        if at_most(list.len(), MAX, path, errors) {
            for (place, name) in list.iter().enumerate() {
                label_name(name, &path.index(place), errors);
            }
        }
    }
    unique(good, |name| (*name).clone(), &good_path, errors);
    unique(bad, |name| (*name).clone(), &bad_path, errors);
    for (place, name) in bad.iter().enumerate().filter(|(_, name)| good.contains(name)) {
        let text = "bindingFailureConditions must not overlap with bindingConditions";
        errors.invalid(&bad_path.index(place), name.as_str(), text);
    }
    if good.is_empty() && !bad.is_empty() {
        errors.invalid(
            &good_path,
            &good.to_vec() as &dyn Value,
            "bindingConditions are required to use bindingFailureConditions",
        );
    }
    if bad.is_empty() && !good.is_empty() {
        errors.invalid(
            &bad_path,
            &bad.to_vec() as &dyn Value,
            "bindingFailureConditions are required to use bindingConditions",
        );
    }
}
