//! PATCH: JSON patch, merge patch, strategic merge patch, apply (API docs "Update API Objects in
//! Place Using kubectl patch", "Server-Side Apply").
//!
//! A patch is worked out on the JSON tree of the present object and read back strictly or not, as
//! `fieldValidation` says; from there on it is an update.

use api_types::codec::{json, yaml};
use api_types::custom::Custom;
use api_types::field::{Errors, Path};
use api_types::kind::{Object, Row};
use api_types::meta::v1::Status;
use api_types::schema::{StructType, managed_fields, strategic_merge};
use api_types::value::Time;
use serde_json::{Map, Value};

use super::decode::{self, FieldValidation};
use super::manage::{self, Manager};
use super::update::{self, Change};
use super::{Aspect, create, fresh};
use crate::answer::Answer;
use crate::call::{Call, Target, invalid_options};
use crate::negotiate;
use crate::operations::operate;
use crate::server::Server;
use crate::status::ApiError;

/// Operations that a JSON patch may have, as upstream limits it.
const OPERATIONS: usize = 10_000;

/// What the body says.
enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
    Apply { config: Value, force: bool },
}

impl Patch {
    /// The tree after the patch. Apply is none of these: it needs to know who owns what.
    ///
    /// # Errors
    /// For patches that do not fit the tree, and for apply.
    fn onto(&self, table: &'static StructType, mut tree: Value) -> Result<Value, ApiError> {
        match self {
            Self::Json(operations) => {
                for operation in &operations.0 {
                    operate(&mut tree, operation).map_err(|e| unprocessable(&e))?;
                }
                Ok(tree)
            }
            Self::Merge(patch) => {
                json_patch::merge(&mut tree, patch);
                Ok(tree)
            }
            Self::Strategic(patch) => {
                let own = ["apiVersion", "kind"].map(|name| (name, tree[name].clone()));
                let mut merged = strategic_merge::apply(table, tree, patch.clone())
                    .map_err(|e| ApiError::BadRequest(e.to_string()))?;
                // COMPAT: what it says of kind and version goes unread; Ansible patches a Scale as a Deployment.
                if let Value::Object(merged) = &mut merged {
                    merged.extend(own.map(|(name, value)| (name.to_owned(), value)));
                }
                Ok(merged)
            }
            Self::Apply { .. } => Err(ApiError::internal("an apply is no patch of a tree")),
        }
    }
}

/// Handles the request.
///
/// # Errors
/// Everything that can be wrong with a patch.
pub async fn patch(
    server: &Server,
    call: &Call,
    target: &Target,
    aspect: Aspect,
    body: &[u8],
) -> Result<Answer, ApiError> {
    let work = Work::read(call, target, aspect, body)?;
    let dry_run = call.dry_run("PatchOptions")?;
    match update::change(server, call, target, aspect, dry_run, &work).await {
        Ok(entry) => Ok(Answer::stored(200, target.row, entry)),
        Err(ApiError::NotFound { .. })
            if matches!(work.patch, Patch::Apply { .. }) && aspect.subresource.is_empty() =>
        {
            create::authorized(server, call)?;
            let object = work.applied(None)?;
            work.named()?;
            match create::create_managed(server, call, target, object, dry_run).await {
                // Someone else created it meanwhile: apply onto that.
                Err(ApiError::AlreadyExists { .. }) => {
                    fresh(super::collection(server, target.row)?, target).await?;
                    let entry = update::change(server, call, target, aspect, dry_run, &work).await?;
                    Ok(Answer::stored(200, target.row, entry))
                }
                answer => answer,
            }
        }
        Err(error) => Err(error),
    }
}

/// Reads a patch; its media type says what it is.
///
/// # Errors
/// 415 for other media types, 400 for what cannot be read, 422 for options that do not fit.
fn read(call: &Call, target: &Target, body: &[u8]) -> Result<Patch, ApiError> {
    let bad = |e: &dyn std::fmt::Display| ApiError::BadRequest(e.to_string());
    let content_type = negotiate::content_type(&call.headers);
    let force = call.query.flag_if_given("force");
    let is_apply = content_type == "application/apply-patch+yaml";
    let mut errors = Errors::default();
    if !is_apply && force.is_some() {
        errors.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
    }
    if is_apply && call.query.text("fieldManager").is_empty() {
        errors.required(&Path::new("fieldManager"), "is required for apply patch");
    }
    if target.row.custom.is_some() && content_type == "application/strategic-merge-patch+json" {
        return Err(ApiError::UnsupportedMediaType(negotiate::CUSTOM_PATCHES.to_vec()));
    }
    let known = negotiate::PATCHES.contains(&content_type.as_str());
    if known && !errors.is_empty() {
        return Err(invalid_options("PatchOptions", errors));
    }
    Ok(match content_type.as_str() {
        "application/json-patch+json" => {
            let operations = tree(body).map_err(|e| bad(&format!("error decoding patch: {e}")))?;
            Patch::Json(operations_of(&operations)?)
        }
        "application/merge-patch+json" => {
            let patch = tree(body).map_err(|e| bad(&format!("error decoding patch: {e}")))?;
            if !patch.is_object() {
                let found = kind_of(&patch);
                return Err(bad(&format!(
                    "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
                )));
            }
            Patch::Merge(patch)
        }
        "application/strategic-merge-patch+json" => {
            Patch::Strategic(tree(body).map_err(|e| bad(&format!("error decoding patch: {e}")))?)
        }
        "application/apply-patch+yaml" => {
            let text = std::str::from_utf8(body).map_err(|e| bad(&e))?;
            let (config, twice) =
                yaml::to_value_telling(text).map_err(|e| bad(&format!("error decoding YAML: {e}")))?;
            if let Some(twice) = twice {
                match FieldValidation::of(call, "PatchOptions")? {
                    FieldValidation::Strict => {
                        return Err(bad(&format!("error strict decoding YAML: {twice}")));
                    }
                    FieldValidation::Warn => call.warnings.add(twice),
                    FieldValidation::Ignore => {}
                }
            }
            check_config(target.row, target, &config)?;
            Patch::Apply { config, force: force.unwrap_or(false) }
        }
        _ if target.row.custom.is_some() => {
            return Err(ApiError::UnsupportedMediaType(negotiate::CUSTOM_PATCHES.to_vec()));
        }
        // COMPAT: upstream's router knows the types of patches and says no more; application/apply-patch+cbor is
        // behind a gate that is off by default (KEP-4222).
        _ => return Err(unsupported()),
    })
}

fn unsupported() -> ApiError {
    use api_types::meta::v1::{StatusDetails, StatusReason};
    ApiError::Said(Box::new(Status {
        status: "Failure".into(),
        message: "415: Unsupported Media Type".into(),
        reason: StatusReason::UnsupportedMediaType,
        details: Some(Box::new(StatusDetails::default())),
        code: 415,
        ..Status::default()
    }))
}

fn tree(body: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(body)
}

/// The operations of a JSON patch.
///
/// # Errors
/// A 400 for what is no list of objects; a 422 for operations that there are not, or that lack something.
fn operations_of(patch: &Value) -> Result<json_patch::Patch, ApiError> {
    let bad = |value: &Value, wanted: &str| {
        ApiError::BadRequest(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type {wanted}",
            kind_of(value)
        ))
    };
    let Value::Array(list) = patch else { return Err(bad(patch, "[]handlers.jsonPatchOp")) };
    if list.len() > OPERATIONS {
        return Err(ApiError::TooLarge(OPERATIONS as u64));
    }
    let mut operations = Vec::with_capacity(list.len());
    for item in list {
        if !item.is_object() {
            return Err(bad(item, "handlers.jsonPatchOp"));
        }
        operations.push(serde_json::from_value(item.clone()).map_err(|e| unprocessable(&e))?);
    }
    Ok(json_patch::Patch(operations))
}

/// As Go's decoder names it.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// An applied configuration says what it is, and carries no managedFields.
fn check_config(row: &Row, target: &Target, config: &Value) -> Result<(), ApiError> {
    let said = |name: &str| config[name].as_str().unwrap_or_default();
    if !config.is_object() {
        return Err(ApiError::BadRequest("error decoding YAML: expected a map".into()));
    }
    if said("kind") != row.kind.kind || said("apiVersion") != row.kind.api_version {
        let kind = shown_kind(said("apiVersion"), said("kind"));
        return Err(ApiError::BadRequest(format!("invalid object type: {kind}")));
    }
    let meta = &config["metadata"];
    if meta["managedFields"].as_array().is_some_and(|list| !list.is_empty()) {
        return Err(ApiError::BadRequest("metadata.managedFields must be nil".into()));
    }
    if let Some(name) = meta["name"].as_str().filter(|name| *name != target.name) {
        return Err(ApiError::BadRequest(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    Ok(())
}

/// `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`
fn shown_kind(api_version: &str, kind: &str) -> String {
    let separator = if api_version.contains('/') { "" } else { "/" };
    format!("{separator}{api_version}, Kind={kind}")
}

/// A patch at work on one object, or on what stands for it (a Scale).
pub struct Work<'a> {
    call: &'a Call,
    target: &'a Target,
    aspect: Aspect,
    patch: Patch,
    validation: FieldValidation,
    manager: Manager,
}

impl Change for Work<'_> {
    fn change(&self, old: &dyn Object) -> Result<Box<dyn Object>, ApiError> {
        if matches!(self.patch, Patch::Apply { .. }) {
            return self.applied(Some(old));
        }
        let patched = self.patch.onto((self.target.row.schema)(), self.whole(old)?)?;
        let mut object = self.read_back(&patched)?;
        super::named_as(&*object, &self.target.name)?;
        self.target.row.default(&mut *object);
        Ok(object)
    }

    fn manages_fields(&self) -> bool {
        matches!(self.patch, Patch::Apply { .. })
    }
}

impl<'a> Work<'a> {
    /// Reads the body. `target` has the row of what is patched.
    ///
    /// # Errors
    /// Media types, bodies and options that do not fit.
    pub fn read(call: &'a Call, target: &'a Target, aspect: Aspect, body: &[u8]) -> Result<Self, ApiError> {
        let patch = read(call, target, body)?;
        let validation = FieldValidation::of(call, "PatchOptions")?;
        let manager = Manager { name: call.manager(), now: Time::whole(jiff::Timestamp::now()) };
        Ok(Self { call, target, aspect, patch, validation, manager })
    }
}

impl Work<'_> {
    /// The tree that a patch sees: with what the object is, which a patch may ask about.
    fn whole(&self, old: &dyn Object) -> Result<Value, ApiError> {
        let kind = self.target.row.kind;
        let mut whole = Map::new();
        whole.insert("apiVersion".to_owned(), kind.api_version.into());
        whole.insert("kind".to_owned(), kind.kind.into());
        if let Value::Object(tree) = manage::tree(old)? {
            whole.extend(tree);
        }
        Ok(Value::Object(whole))
    }

    /// The object after an apply; onto nothing where there is none.
    fn applied(&self, old: Option<&dyn Object>) -> Result<Box<dyn Object>, ApiError> {
        let Patch::Apply { config, force } = &self.patch else {
            return Err(ApiError::internal("not an apply"));
        };
        let row = self.target.row;
        self.check_fields(config)?;
        let zero = (row.new)();
        let live = manage::tree(old.unwrap_or(&*zero))?;
        let mut entries = old.map(|o| o.meta().managed_fields.clone()).unwrap_or_default();
        let writer = manage::writer(row, &self.manager, &self.aspect);
        let live = managed_fields::without_managed_fields(live);
        if old.is_some() && entries.is_empty() {
            let zero = manage::tree(&*zero)?;
            entries = managed_fields::before_first_apply(row.root(), &zero, &live, &writer);
        }
        // The live object does not say what it is, so that this is no difference between them.
        let mut config = config.clone();
        if let Some(config) = config.as_object_mut() {
            config.retain(|name, _| name != "apiVersion" && name != "kind");
        }
        let applied =
            managed_fields::apply(row.root(), &live, old.is_some(), &config, &entries, &writer, *force)
                .map_err(|e| conflicts(&e))?;
        let text = applied.object.to_string();
        let mut object = (row.new)();
        json::read(object.as_dyn_struct_mut(), text.as_bytes(), &mut None)
            .map_err(|e| ApiError::BadRequest(e.to_string()))?;
        match Custom::of_mut(&mut *object) {
            // COMPAT: here nulls stay, and are refused where none are allowed.
            Some(custom) => {
                custom.prune();
                custom.fill_in();
            }
            None => row.default(&mut *object),
        }
        object.meta_mut().managed_fields = applied.entries;
        object.meta_mut().name.clone_from(&self.target.name);
        Ok(object)
    }

    /// What an apply creates is named in its configuration too.
    fn named(&self) -> Result<(), ApiError> {
        match &self.patch {
            Patch::Apply { config, .. } if config["metadata"]["name"].as_str().is_none_or(str::is_empty) => {
                Err(super::unnamed(&self.target.name))
            }
            _ => Ok(()),
        }
    }

    /// An applied configuration has to be what its schema says, whatever `fieldValidation` wants.
    fn check_fields(&self, config: &Value) -> Result<(), ApiError> {
        let row = self.target.row;
        let found = managed_fields::mismatches(row.root(), config);
        if found.is_empty() {
            return Ok(());
        }
        let said = |name: &str| config["metadata"][name].as_str().unwrap_or_default();
        let (group, version) = (row.kind.group, row.kind.version);
        // COMPAT: clients look for this text; upstream has no reason for it.
        let message = format!(
            "failed to create typed patch object ({}/{}; {group}/{version}, Kind={}): {}",
            said("namespace"),
            said("name"),
            row.kind.kind,
            managed_fields::listed(&found)
        );
        Err(ApiError::Said(Box::new(Status {
            status: "Failure".into(),
            message,
            code: 500,
            ..Status::default()
        })))
    }

    /// The patched tree as an object, unknown fields told.
    fn read_back(&self, patched: &Value) -> Result<Box<dyn Object>, ApiError> {
        let text = patched.to_string();
        let row = self.target.row;
        let said = |name: &str, ours: &str| patched[name].as_str().unwrap_or(ours).to_owned();
        let (kind, version) = (said("kind", row.kind.kind), said("apiVersion", row.kind.api_version));
        if kind != row.kind.kind || version != row.kind.api_version {
            return Err(invalid_patch(
                &text,
                &format!(
                    "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
                ),
            ));
        }
        let mut object = (row.new)();
        let mut found = (self.validation != FieldValidation::Ignore).then(Vec::new);
        json::read(object.as_dyn_struct_mut(), text.as_bytes(), &mut found)
            .map_err(|e| invalid_patch(&text, &e.to_string()))?;
        if let Some(found) = &mut found {
            found.extend((row.unknown_fields)(&mut *object).into_iter().map(json::Strict::Unknown));
        }
        decode::report(self.call, self.validation, &found.unwrap_or_default(), |why| {
            invalid_patch(&text, &why)
        })?;
        Ok(object)
    }
}

fn invalid_patch(text: &str, why: &str) -> ApiError {
    let mut errors = Errors::default();
    errors.invalid(&Path::new("patch"), text, why);
    ApiError::Invalid { group: String::new(), kind: String::new(), name: String::new(), errors }
}

/// A JSON patch that does not fit the object, a failed test among them.
fn unprocessable(error: &dyn std::fmt::Display) -> ApiError {
    use api_types::meta::v1::{StatusDetails, StatusReason};
    tracing::debug!(%error, "A JSON patch does not fit");
    ApiError::Said(Box::new(Status {
        status: "Failure".into(),
        message: "the server rejected our request due to an error in our request".into(),
        reason: StatusReason::Invalid,
        details: Some(Box::new(StatusDetails::default())),
        code: 422,
        ..Status::default()
    }))
}

fn conflicts(error: &managed_fields::Error) -> ApiError {
    let managed_fields::Error::Conflicts(conflicts) = error;
    ApiError::ApplyConflict {
        message: error.to_string(),
        causes: conflicts.iter().map(|c| (c.owner.clone(), c.field.clone())).collect(),
    }
}
