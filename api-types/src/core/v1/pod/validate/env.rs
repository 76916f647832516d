//! Environment variables and where their values come from.

use super::{Scope, each_container, no_backsteps};
use crate::core::v1::*;
use crate::field::{Errors, Path};
use crate::names;
use crate::value::Quantity;

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields that a downward volume can show.
pub(super) const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn variables(variables: &[EnvVar], path: &Path, errors: &mut Errors) {
    for (place, variable) in variables.iter().enumerate() {
        let path = path.index(place);
        if variable.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.wrong(&path.child("name"), &variable.name, names::env_name(&variable.name));
        }
        if let Some(source) = &variable.value_from {
            value_from(source, &variable.value, &path.child("valueFrom"), errors);
        }
    }
}

fn value_from(source: &EnvVarSource, value: &str, path: &Path, errors: &mut Errors) {
    let mut sources = 0;
    if let Some(field) = &source.field_ref {
        sources += 1;
        field_selector(field, &ENV_FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = &source.resource_field_ref {
        sources += 1;
        resource_selector(resource, false, &path.child("resourceFieldRef"), errors);
    }
    if let Some(key) = &source.config_map_key_ref {
        sources += 1;
        key_selector(&key.reference.name, &key.key, &path.child("configMapKeyRef"), errors);
    }
    if let Some(key) = &source.secret_key_ref {
        sources += 1;
        key_selector(&key.reference.name, &key.key, &path.child("secretKeyRef"), errors);
    }
    if let Some(file) = &source.file_key_ref {
        sources += 1;
        file_selector(file, &path.child("fileKeyRef"), errors);
    }
    let text = match sources {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if !value.is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.invalid(path, "", text);
}

/// A field of the pod; `allowed` is what this place can show.
pub(super) fn field_selector(
    selector: &ObjectFieldSelector,
    allowed: &[&str],
    path: &Path,
    errors: &mut Errors,
) {
    const KNOWN: [&str; 5] = [
        "metadata.annotations",
        "metadata.labels",
        "spec.restartPolicy",
        "spec.schedulerName",
        "status.phase",
    ];
    let field = selector.field_path.as_str();
    for (name, value) in [("apiVersion", selector.api_version.as_str()), ("fieldPath", field)] {
        if value.is_empty() {
            errors.required(&path.child(name), "");
            return;
        }
    }
    let mut unknown = |why: String| {
        errors.invalid(&path.child("fieldPath"), field, format!("error converting fieldPath: {why}"));
    };
    if selector.api_version != "v1" {
        return unknown(format!("unsupported pod version: {}", selector.api_version));
    }
    if let Some((map, key)) = subscripted(field) {
        let wrong = match map {
            "metadata.annotations" => names::qualified_name(&key.to_lowercase()),
            "metadata.labels" => names::qualified_name(key),
            _ => return unknown(format!("field label does not support subscript: {field}")),
        };
        return errors.wrong(
            path,
            &if map == "metadata.labels" { key.to_owned() } else { key.to_lowercase() },
            wrong,
        );
    }
    // COMPAT: spec.host is how the first clients spelled the node's name.
    let field = if field == "spec.host" { "spec.nodeName" } else { field };
    if !ENV_FIELDS.contains(&field) && !KNOWN.contains(&field) {
        return unknown(format!("field label not supported: {field}"));
    }
    errors.choice(&path.child("fieldPath"), field, allowed);
}

/// `metadata.labels['key']` as map and key.
fn subscripted(field: &str) -> Option<(&str, &str)> {
    field.strip_suffix("']")?.split_once("['").filter(|(map, _)| !map.is_empty())
}

/// A limit or request of a container; a volume must say of which one.
pub(super) fn resource_selector(
    selector: &ResourceFieldSelector,
    in_volume: bool,
    path: &Path,
    errors: &mut Errors,
) {
    let resource = selector.resource.as_str();
    let huge_pages = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if in_volume && selector.container_name.is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !huge_pages {
        errors.choice(&path.child("resource"), resource, &RESOURCES);
    }
    divisor(resource, &selector.divisor, &path.child("divisor"), errors);
}

fn divisor(resource: &str, divisor: &Quantity, path: &Path, errors: &mut Errors) {
    const BYTES: [&str; 13] =
        ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    if divisor.is_zero() {
        return;
    }
    let text = divisor.to_string();
    let (allowed, what): (&[&str], &str) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => (&["1m", "1"], "cpu resource"),
        "memory" => (&BYTES, "memory resource"),
        "ephemeral-storage" => (&BYTES, "local ephemeral storage resource"),
        name if name.starts_with("hugepages-") => (&BYTES, "hugepages resource"),
        _ => return,
    };
    if !allowed.contains(&text.as_str()) {
        let list = if what == "cpu resource" { "1m and 1".to_owned() } else { BYTES.join(", ") };
        let text = format!("only divisor's values {list} are supported with the {what}");
        errors.invalid(path, resource, text);
    }
}

fn key_selector(name: &str, key: &str, path: &Path, errors: &mut Errors) {
    errors.wrong(&path.child("name"), name, names::dns1123_subdomain(name));
    if key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        errors.wrong(&path.child("key"), key, names::config_key(key));
    }
}

fn file_selector(selector: &FileKeySelector, path: &Path, errors: &mut Errors) {
    let FileKeySelector { key, volume_name, path: file, .. } = selector;
    errors.need(path, "key", key);
    if !key.is_empty() {
        errors.wrong(&path.child("key"), key, names::env_name(key));
    }
    errors.need(path, "volumeName", volume_name);
    if !volume_name.is_empty() {
        errors.wrong(&path.child("volumeName"), volume_name, names::dns1123_label(volume_name));
    }
    errors.need(path, "path", file);
    no_backsteps(file, &path.child("path"), errors);
}

/// Files with variables lie in emptyDir volumes (KEP-3721).
pub(super) fn files(scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    for (container, path) in each_container(scope.spec, path) {
        for (place, variable) in container.env.iter().enumerate() {
            let Some(file) = variable.value_from.as_ref().and_then(|v| v.file_key_ref.as_ref()) else {
                continue;
            };
            let path =
                path.child("env").index(place).child("valueFrom").child("fileKeyRef").child("volumeName");
            match scope.spec.volumes.iter().find(|v| v.name == file.volume_name) {
                None => errors.not_found(&path, &file.volume_name),
                Some(volume) if volume.source.empty_dir.is_none() => {
                    let text = "referenced volume must be of type emptyDir";
                    errors.invalid(&path, &file.volume_name, text);
                }
                Some(_) => {}
            }
        }
    }
}

pub(super) fn sources(sources: &[EnvFromSource], path: &Path, errors: &mut Errors) {
    for (place, source) in sources.iter().enumerate() {
        let path_here = path.index(place);
        if !source.prefix.is_empty() {
            errors.wrong(&path_here.child("prefix"), &source.prefix, names::env_name(&source.prefix));
        }
        let references = [
            ("configMapRef", source.config_map_ref.as_ref().map(|r| &r.reference.name)),
            ("secretRef", source.secret_ref.as_ref().map(|r| &r.reference.name)),
        ];
        let mut count = 0;
        for (kind, name) in references.into_iter().filter_map(|(kind, name)| Some((kind, name?))) {
            count += 1;
            let path = path_here.child(kind).child("name");
            if name.is_empty() {
                errors.required(&path, "");
            } else {
                errors.wrong(&path, name, crate::kind::NameRule::Subdomain.check_prefix(name));
            }
        }
        match count {
            0 => errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
        }
    }
}
