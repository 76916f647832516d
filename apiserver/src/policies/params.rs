//! The objects that a binding names as parameters.

use api_types::admissionregistration::v1::{ParamKind, ParamRef, ParameterNotFoundActionType};
use api_types::kind::Row;
use api_types::kinds;
use api_types::selector::Labels;
use serde_json::Value as Json;

use crate::answer::Served;
use crate::cel::admission::tree;
use crate::registry;
use crate::storage::{Entry, Storage};

/// One parameter; null, and without a key, where a binding names none.
pub struct Param {
    /// `NAMESPACE/NAME` or `NAME`.
    pub key: String,
    pub object: Json,
}

/// The kind that parameters are of; `None` where policies have none.
///
/// # Errors
/// When no such kind is served.
pub fn kind(kind: Option<&ParamKind>) -> Result<Option<&'static Row>, String> {
    let Some(kind) = kind else { return Ok(None) };
    let (group, version) = kind.api_version.rsplit_once('/').unwrap_or(("", &kind.api_version));
    let is = |row: &&'static Row| {
        row.kind.group == group
            && row.kind.version == version
            && row.kind.kind == kind.kind
            && row.kind.is_stored()
    };
    kinds::served().find(is).map(Some).ok_or_else(|| {
        format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={}'", kind.kind)
    })
}

/// The parameters that a binding names; one null where there are none to name. `namespace` is the request's.
///
/// # Errors
/// For references that cannot be followed, parameters that cannot be read, and where none were found that have
/// to be there.
pub fn collect(
    storage: &Storage,
    kind: Option<&'static Row>,
    reference: Option<&ParamRef>,
    namespace: &str,
) -> Result<Vec<Param>, String> {
    let (Some(row), Some(reference)) = (kind, reference) else {
        return Ok(vec![Param { key: String::new(), object: Json::Null }]);
    };
    let namespace = match (row.kind.namespaced, reference.namespace.as_str()) {
        (true, "") if namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .into(),
            );
        }
        (true, "") => namespace,
        (true, given) => given,
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
    };
    let found = read(storage, row, namespace, reference)?;
    if found.is_empty() && reference.parameter_not_found_action == Some(ParameterNotFoundActionType::Deny) {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found)
}

fn read(
    storage: &Storage,
    row: &'static Row,
    namespace: &str,
    reference: &ParamRef,
) -> Result<Vec<Param>, String> {
    let unsynced = || {
        format!(
            "paramKind kind `&ParamKind{{APIVersion:{},Kind:{},}}` not yet synced to use for admission",
            row.kind.api_version, row.kind.kind
        )
    };
    let collection = storage.collection(row).filter(|own| own.is_synced()).ok_or_else(unsynced)?;
    let param = |entry: &Entry| -> Result<Param, String> {
        let object = Served::of(row).decode(entry).map_err(|error| error.status().message)?;
        Ok(Param { key: entry.key.to_string(), object: tree(&*object) })
    };
    if !reference.name.is_empty() {
        let key = registry::relative_key(namespace, &reference.name);
        return collection.get(&key).map(|entry| param(&entry)).into_iter().collect();
    }
    let Some(selector) = reference.selector.as_deref() else {
        return Err("one of name or selector must be provided".into());
    };
    let selector = Labels::from_spec(Some(selector)).map_err(|error| error.to_string())?;
    let (snapshot, _) = collection.snapshot();
    let here = snapshot
        .iter()
        .filter(|entry| entry.namespace() == namespace && selector.matches_by(|label| entry.label(label)));
    here.map(|entry| param(entry)).collect()
}
