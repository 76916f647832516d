//! One served version of a custom kind: what a CustomResourceDefinition says of it, read once.

use super::json_path::JsonPath;
use super::structural::Structural;
use crate::apiextensions::v1::{
    ConversionStrategyType, CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps,
    ResourceScope, WebhookClientConfig,
};
use crate::kind::{Kind, Subresource};
use serde_json::{Value as Json, json};
use std::any::Any;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

/// A version of a custom kind.
#[derive(Debug)]
pub struct Definition {
    pub kind: &'static Kind,
    pub list_kind: String,
    pub schema: Structural,
    /// The schema as it was given, for OpenAPI.
    pub raw: Json,
    pub has_status: bool,
    pub scale: Option<Scale>,
    pub columns: Vec<Column>,
    /// Field selectors' names and where the fields are.
    pub selectable: Vec<(&'static str, JsonPath)>,
    pub selectable_names: &'static [&'static str],
    /// What users of the version are told.
    pub deprecation: Option<String>,
    /// Objects are stored in this version.
    pub storage: bool,
    pub served: bool,
    /// The kind is going: nothing new is made.
    pub terminating: bool,
    /// Who says what objects of one version look like in another; without, only the version changes.
    pub conversion: Option<Webhook>,
    /// What the server makes of the schema once and keeps beside it: its rules, compiled.
    pub attached: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// A webhook that converts objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    pub client: WebhookClientConfig,
    /// Versions of ConversionReview that it understands, the best one first.
    pub reviews: Vec<String>,
}

impl Webhook {
    fn of(definition: &CustomResourceDefinition) -> Option<Self> {
        let conversion = definition.spec.conversion.as_deref()?;
        let webhook = conversion.webhook.as_deref()?;
        let client = webhook.client_config.as_deref()?.clone();
        (conversion.strategy == ConversionStrategyType::Webhook)
            .then(|| Self { client, reviews: webhook.conversion_review_versions.clone() })
    }
}

/// Where the replica count is.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    pub spec: Vec<String>,
    pub status: Vec<String>,
    pub selector: Option<Vec<String>>,
}

#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    pub type_: &'static str,
    pub format: &'static str,
    pub description: &'static str,
    pub priority: i32,
    pub path: Option<JsonPath>,
}

/// Keeps each text once, for good: names of kinds and columns are few and live as long as rows do.
pub(super) fn kept(text: &str) -> &'static str {
    static KEPT: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut all = KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = all.get(text) {
        return known;
    }
    let leaked: &'static str = Box::leak(text.to_owned().into_boxed_str());
    all.insert(leaked);
    leaked
}

fn kept_list(texts: &[String]) -> &'static [&'static str] {
    Box::leak(texts.iter().map(|text| kept(text)).collect::<Vec<_>>().into_boxed_slice())
}

const READ_WRITE: &[&str] = &["get", "patch", "update"];

impl Definition {
    /// The definitions of all served versions, and of the stored one; with a webhook of all, since objects
    /// may rest in any.
    pub fn all(of: &CustomResourceDefinition) -> Vec<Self> {
        let all = Webhook::of(of).is_some();
        let versions = of.spec.versions.iter().filter(|version| version.served || version.storage || all);
        versions.map(|version| Self::of(of, version)).collect()
    }

    fn of(definition: &CustomResourceDefinition, version: &CustomResourceDefinitionVersion) -> Self {
        let raw: Json = version
            .schema
            .as_ref()
            .and_then(|schema| schema.open_api_v3_schema.as_ref())
            .and_then(JSONSchemaProps::tree)
            .unwrap_or_else(|| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
        let subresources = version.subresources.as_deref();
        let fields = |path: &str| -> Vec<String> {
            path.trim_start_matches('.').split('.').map(str::to_owned).collect()
        };
        let scale = subresources.and_then(|s| s.scale.as_deref()).map(|scale| Scale {
            spec: fields(&scale.spec_replicas_path),
            status: fields(&scale.status_replicas_path),
            selector: scale.label_selector_path.as_deref().filter(|path| !path.is_empty()).map(fields),
        });
        let has_status = subresources.is_some_and(|s| s.status.is_some());
        let selectable: Vec<(&'static str, JsonPath)> = version
            .selectable_fields
            .iter()
            .filter_map(|field| {
                let path = JsonPath::parse(&field.json_path)?;
                Some((kept(field.json_path.trim_start_matches('.')), path))
            })
            .collect();
        let names: Vec<String> = selectable.iter().map(|(name, _)| (*name).to_owned()).collect();
        let kind = kind_of(definition, version, has_status, scale.is_some());
        let deprecation = version.deprecated.then(|| {
            version.deprecation_warning.clone().unwrap_or_else(|| deprecation(definition, &version.name))
        });
        let spec = &definition.spec.names;
        Self {
            kind,
            list_kind: if spec.list_kind.is_empty() {
                format!("{}List", spec.kind)
            } else {
                spec.list_kind.clone()
            },
            schema: Structural::read(&raw),
            raw,
            has_status,
            scale,
            columns: columns(version),
            selectable_names: if names.is_empty() { &[] } else { kept_list(&names) },
            selectable,
            deprecation,
            storage: version.storage,
            served: version.served,
            terminating: definition.metadata.deletion_timestamp.is_some(),
            conversion: Webhook::of(definition),
            attached: OnceLock::new(),
        }
    }
}

/// What is said of a deprecated version that says nothing itself; it names the newest one that is not.
fn deprecation(definition: &CustomResourceDefinition, name: &str) -> String {
    let (group, kind) = (&definition.spec.group, &definition.spec.names.kind);
    let newer = definition.spec.versions.iter().filter(|version| version.served && !version.deprecated);
    let newer =
        newer.map(|version| version.name.as_str()).filter(|other| preference(other) < preference(name));
    let newest = newer.reduce(|best, other| if preference(other) < preference(best) { other } else { best });
    let instead = newest.map(|newest| format!("; use {group}/{newest} {kind}")).unwrap_or_default();
    format!("{group}/{name} {kind} is deprecated{instead}")
}

/// v10 before v2 before v1beta1 before v1alpha1; what is no such version comes last, by name.
pub fn preference(version: &str) -> (Reverse<u8>, Reverse<u64>, Reverse<u64>, String) {
    let parts = |text: &str| -> Option<(u8, u64, u64)> {
        let rest = text.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major = rest[..digits].parse().ok()?;
        let (rank, minor) = match &rest[digits..] {
            "" => return Some((3, major, 0)),
            beta if beta.starts_with("beta") => (2, &beta[4..]),
            alpha if alpha.starts_with("alpha") => (1, &alpha[5..]),
            _ => return None,
        };
        Some((rank, major, minor.parse().ok()?))
    };
    let (rank, major, minor) = parts(version).unwrap_or_default();
    (Reverse(rank), Reverse(major), Reverse(minor), version.to_owned())
}

/// The facts of a version, kept once for each set of facts.
fn kind_of(
    definition: &CustomResourceDefinition,
    version: &CustomResourceDefinitionVersion,
    has_status: bool,
    has_scale: bool,
) -> &'static Kind {
    static KEPT: Mutex<Vec<&'static Kind>> = Mutex::new(Vec::new());
    let names = &definition.status.accepted_names;
    let group = kept(&definition.spec.group);
    let (name, api_version) = (kept(&version.name), kept(&format!("{group}/{}", version.name)));
    let kind = kept(&definition.spec.names.kind);
    let mut subresources = Vec::new();
    if has_status {
        subresources.push(Subresource::status(kind));
    }
    if has_scale {
        subresources.push(Subresource { verbs: READ_WRITE, ..Subresource::scale() });
    }
    let mut all = KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let same = |known: &&&'static Kind| {
        let texts = |list: &[&'static str], given: &[String]| list.iter().eq(given.iter());
        known.api_version == api_version
            && known.kind == kind
            && known.resource == definition.spec.names.plural
            && known.singular == names.singular
            && texts(known.short_names, &names.short_names)
            && texts(known.categories, &names.categories)
            && known.namespaced == (definition.spec.scope == ResourceScope::Namespaced)
            && known.subresources == subresources.as_slice()
    };
    if let Some(known) = all.iter().find(same) {
        return known;
    }
    let fresh: &'static Kind = Box::leak(Box::new(Kind {
        group,
        version: name,
        api_version,
        kind,
        resource: kept(&definition.spec.names.plural),
        singular: kept(&names.singular),
        short_names: kept_list(&names.short_names),
        categories: kept_list(&names.categories),
        namespaced: definition.spec.scope == ResourceScope::Namespaced,
        verbs: CUSTOM_VERBS,
        subresources: Box::leak(subresources.into_boxed_slice()),
    }));
    all.push(fresh);
    fresh
}

/// In the order in which upstream lists them for custom resources.
const CUSTOM_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

fn columns(version: &CustomResourceDefinitionVersion) -> Vec<Column> {
    let columns = version.additional_printer_columns.iter();
    if version.additional_printer_columns.is_empty() {
        return vec![Column {
            name: "Age",
            type_: "date",
            format: "",
            description: "Time since the object was created.",
            priority: 0,
            path: JsonPath::parse(".metadata.creationTimestamp"),
        }];
    }
    // COMPAT: the columns end where a path cannot be read.
    columns
        .map_while(|column| Some((column, JsonPath::parse(&column.json_path)?)))
        .map(|(column, path)| Column {
            name: kept(&column.name),
            type_: kept(&column.type_),
            format: kept(&column.format),
            description: if column.description.is_empty() {
                kept(&format!("Custom resource definition column (in JSONPath format): {}", column.json_path))
            } else {
                kept(&column.description)
            },
            priority: column.priority,
            path: Some(path),
        })
        .collect()
}
