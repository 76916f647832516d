//! What is refused in a CustomResourceDefinition; `schema` has what is in schemas.

use super::*;
use crate::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrBool, SchemaOrList};
use crate::custom::structural::Additional;
use crate::custom::{Structural, formats};
use crate::field::{Errors, Path};
use crate::meta::v1::validate::immutable;
use crate::names;
use crate::value::Value;
use crate::webhook::{validate_service, validate_url};

pub(super) fn create(crd: &CustomResourceDefinition, errors: &mut Errors) {
    let required = format!("{}.{}", crd.spec.names.plural, crd.spec.group);
    // A name that is missing is told of as that.
    if !crd.metadata.name.is_empty() && crd.metadata.name != required {
        let path = Path::new("metadata").child("name");
        errors.invalid(&path, &crd.metadata.name, "must be spec.names.plural+\".\"+spec.group");
    }
    spec(&crd.spec, None, errors);
    stored_versions(crd, errors);
    approval(crd, None, errors);
}

pub(super) fn update(crd: &CustomResourceDefinition, old: &CustomResourceDefinition, errors: &mut Errors) {
    spec(&crd.spec, Some(&old.spec), errors);
    let path = Path::new("spec");
    if old.is(&CustomResourceDefinitionConditionType::Established) {
        immutable(&crd.spec.scope, &old.spec.scope, &path.child("scope"), errors);
        let names = path.child("names");
        immutable(&crd.spec.names.kind, &old.spec.names.kind, &names.child("kind"), errors);
    }
    immutable(&crd.spec.group, &old.spec.group, &path.child("group"), errors);
    let plural = path.child("names").child("plural");
    immutable(&crd.spec.names.plural, &old.spec.names.plural, &plural, errors);
    stored_versions(crd, errors);
    approval(crd, Some(old), errors);
}

/// What all versions have alike.
///
/// COMPAT: upstream's internal type has such parts once, outside of the versions, and says where they stand there.
struct Alike {
    schemas: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
}

impl Alike {
    fn of(spec: &CustomResourceDefinitionSpec) -> Self {
        fn all<T: PartialEq>(
            spec: &CustomResourceDefinitionSpec,
            part: impl Fn(&CustomResourceDefinitionVersion) -> &T,
        ) -> bool {
            spec.versions.windows(2).all(|pair| part(&pair[0]) == part(&pair[1]))
        }
        Self {
            schemas: all(spec, |version| &version.schema),
            subresources: all(spec, |version| &version.subresources),
            columns: all(spec, |version| &version.additional_printer_columns),
            selectable: all(spec, |version| &version.selectable_fields),
        }
    }
}

/// Where errors in a version's schema are said to be.
pub fn schema_path(spec: &CustomResourceDefinitionSpec, place: usize) -> Path {
    let path = Path::new("spec");
    match Alike::of(spec).schemas {
        true => path.child("validation"),
        false => path.child("versions").index(place).child("schema"),
    }
    .child("openAPIV3Schema")
}

/// Warns of formats that are none, unless the old definition had them (KEP-5136).
pub(super) fn warnings(
    crd: &CustomResourceDefinition,
    old: Option<&CustomResourceDefinition>,
) -> Vec<String> {
    let before = old.map(unknown_formats).unwrap_or_default();
    let formats = unknown_formats(crd).into_iter().filter(|format| !before.contains(format));
    formats.map(|format| format!("unrecognized format {format:?}")).collect()
}

fn unknown_formats(crd: &CustomResourceDefinition) -> Vec<String> {
    fn look(schema: &JSONSchemaProps, found: &mut Vec<String>) {
        if !schema.format.is_empty() && !formats::is_known(&schema.type_, &schema.format) {
            found.push(schema.format.clone());
        }
        let lists = [&schema.all_of, &schema.any_of, &schema.one_of];
        lists.into_iter().flatten().for_each(|schema| look(schema, found));
        let maps = [&schema.properties, &schema.pattern_properties, &schema.definitions];
        maps.into_iter().flat_map(|map| map.values()).for_each(|schema| look(schema, found));
        if let Some(schema) = &schema.not {
            look(schema, found);
        }
        match &schema.items {
            Some(SchemaOrList::Schema(Some(schema))) => look(schema, found),
            Some(SchemaOrList::List(schemas)) => schemas.iter().for_each(|schema| look(schema, found)),
            _ => {}
        }
        for schema in [&schema.additional_properties, &schema.additional_items].into_iter().flatten() {
            if let JSONSchemaPropsOrBool::Schema(schema) = schema {
                look(schema, found);
            }
        }
    }
    let mut found = Vec::new();
    let schemas_alike = Alike::of(&crd.spec).schemas;
    let versions = crd.spec.versions.iter().take(if schemas_alike { 1 } else { usize::MAX });
    for schema in versions.filter_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref()) {
        look(schema, &mut found);
    }
    found
}

fn joined(path: &Path, value: &str, wrong: Vec<String>, errors: &mut Errors) {
    if !wrong.is_empty() {
        errors.invalid(path, value, wrong.join(","));
    }
}

fn spec(
    spec: &CustomResourceDefinitionSpec,
    old: Option<&CustomResourceDefinitionSpec>,
    errors: &mut Errors,
) {
    let path = Path::new("spec");
    let group = path.child("group");
    if spec.group.is_empty() {
        errors.required(&group, "");
    } else {
        let wrong = names::dns1123_subdomain(&spec.group);
        if wrong.is_empty() && !spec.group.contains('.') {
            errors.invalid(&group, &spec.group, "should be a domain with at least one dot");
        }
        joined(&group, &spec.group, wrong, errors);
    }
    errors.required_choice(&path.child("scope"), spec.scope.as_str(), &["Cluster", "Namespaced"]);
    for (place, version) in spec.versions.iter().enumerate() {
        let path = path.child("versions").index(place);
        if schema_of(version).is_none() {
            errors.required(&path.child("schema").child("openAPIV3Schema"), "");
        }
    }
    for (place, version) in spec.versions.iter().enumerate() {
        let path = path.child("versions").index(place);
        joined(&path.child("name"), &version.name, names::dns1035_label(&version.name), errors);
        parts(spec, old, place, &path, false, errors);
    }
    let versions = path.child("versions");
    let shown: &dyn Value = &spec.versions;
    let repeated = |place: usize| spec.versions[..place].iter().any(|v| v.name == spec.versions[place].name);
    if (0..spec.versions.len()).any(repeated) {
        errors.invalid(&versions, shown, "must contain unique version names");
    }
    if spec.versions.iter().filter(|version| version.storage).count() != 1 {
        errors.invalid(&versions, shown, "must have exactly one version marked as storage version");
    }
    // COMPAT: upstream's internal type has the first version's name once more.
    if let Some(first) = spec.versions.first().filter(|first| !first.name.is_empty()) {
        joined(&path.child("version"), &first.name, names::dns1035_label(&first.name), errors);
    }
    self::names(&spec.names, &path.child("names"), errors);
    parts(spec, old, 0, &path, true, errors);
    if spec.preserve_unknown_fields {
        let text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.invalid(&path.child("preserveUnknownFields"), true, text);
    }
    if let Some(conversion) = &spec.conversion {
        let before = old.and_then(|old| old.conversion.as_deref());
        let lenient = before.is_some_and(|before| !knows_reviews(before));
        self::conversion(conversion, lenient, &path.child("conversion"), errors);
    }
}

fn names(names_: &CustomResourceDefinitionNames, path: &Path, errors: &mut Errors) {
    for (name, value) in [
        ("plural", &names_.plural),
        ("singular", &names_.singular),
        ("kind", &names_.kind),
        ("listKind", &names_.list_kind),
    ] {
        errors.need(path, name, value);
    }
    for (name, value) in [("plural", &names_.plural), ("singular", &names_.singular)] {
        if !value.is_empty() {
            joined(&path.child(name), value, names::dns1035_label(value), errors);
        }
    }
    for (name, value) in [("kind", &names_.kind), ("listKind", &names_.list_kind)] {
        let wrong = names::dns1035_label(&value.to_lowercase());
        if !value.is_empty() && !wrong.is_empty() {
            let text = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.invalid(&path.child(name), value, text);
        }
    }
    for (name, list) in [("shortNames", &names_.short_names), ("categories", &names_.categories)] {
        for (place, value) in list.iter().enumerate() {
            joined(&path.child(name).index(place), value, names::dns1035_label(value), errors);
        }
    }
    if !names_.kind.is_empty() && names_.kind == names_.list_kind {
        let text = "kind and listKind may not be the same";
        errors.invalid(&path.child("listKind"), &names_.list_kind, text);
    }
}

fn schema_of(version: &CustomResourceDefinitionVersion) -> Option<&JSONSchemaProps> {
    version.schema.as_ref()?.open_api_v3_schema.as_ref()
}

/// Checks of a version what stands `outside` of the versions, or what does not.
fn parts(
    spec: &CustomResourceDefinitionSpec,
    old: Option<&CustomResourceDefinitionSpec>,
    place: usize,
    path: &Path,
    outside: bool,
    errors: &mut Errors,
) {
    let Some(version) = spec.versions.get(place) else { return };
    let before = old.and_then(|old| old.versions.iter().find(|v| v.name == version.name));
    let alike = Alike::of(spec);
    if !outside {
        deprecation(version, &path.child("deprecationWarning"), errors);
    }
    if alike.schemas == outside {
        let path = schema_path(spec, place);
        let given = schema_of(version);
        // What was accepted once stays accepted.
        let is_new = before.is_none_or(|before| schema_of(before) != given);
        if let Some(given) = given.filter(|_| is_new) {
            let has_status = |version: &CustomResourceDefinitionVersion| {
                version.subresources.as_ref().is_some_and(|subresources| subresources.status.is_some())
            };
            let with_status =
                if outside { spec.versions.iter().any(has_status) } else { has_status(version) };
            schema::check(given, with_status, &path, errors);
        }
    }
    if alike.subresources == outside
        && let Some(scale) = version.subresources.as_ref().and_then(|s| s.scale.as_ref())
    {
        self::scale(scale, &path.child("subresources"), errors);
    }
    if alike.columns == outside {
        for (place, column) in version.additional_printer_columns.iter().enumerate() {
            self::column(column, &path.child("additionalPrinterColumns").index(place), errors);
        }
    }
    if alike.selectable == outside {
        selectable(version, &path.child("selectableFields"), errors);
    }
}

fn deprecation(version: &CustomResourceDefinitionVersion, warning: &Path, errors: &mut Errors) {
    if let Some(text) = &version.deprecation_warning {
        if !version.deprecated {
            errors.invalid(warning, text, "can only be set for deprecated versions");
        }
        if text.len() > 256 {
            errors.invalid(warning, text, "must be <= 256 characters long");
        }
        if text.is_empty() {
            errors.invalid(warning, text, "must not be an empty string");
        }
        if let Some(at) = text.char_indices().find(|(_, c)| c.is_control()).map(|(at, _)| at) {
            let words = format!(
                "must only contain printable UTF-8 characters; non-printable character found at index {at}"
            );
            errors.invalid(warning, text, words);
        }
    }
}

fn simple_path(text: &str, path: &Path, errors: &mut Errors) -> bool {
    let before = errors.0.len();
    if text.is_empty() {
        errors.required(path, "");
    } else if !text.starts_with('.') {
        errors.invalid(path, text, "must be a simple json path starting with .");
    }
    errors.0.len() == before
}

fn scale(scale: &CustomResourceSubresourceScale, path: &Path, errors: &mut Errors) {
    for (name, value, root) in [
        ("scale.specReplicasPath", &scale.spec_replicas_path, ".spec."),
        ("scale.statusReplicasPath", &scale.status_replicas_path, ".status."),
    ] {
        let path = path.child(name);
        if simple_path(value, &path, errors) && !value.starts_with(root) {
            let text = format!("should be a json path under {}", root.trim_end_matches('.'));
            errors.invalid(&path, value, text);
        }
    }
    if let Some(selector) = scale.label_selector_path.as_ref().filter(|selector| !selector.is_empty()) {
        let path = path.child("scale.labelSelectorPath");
        let below = selector.starts_with(".spec.") || selector.starts_with(".status.");
        if simple_path(selector, &path, errors) && !below {
            errors.invalid(&path, selector, "should be a json path under either .spec or .status");
        }
    }
}

fn column(column: &CustomResourceColumnDefinition, path: &Path, errors: &mut Errors) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    errors.need(path, "name", &column.name);
    let type_path = path.child("type");
    let text = format!("must be one of {}", TYPES.join(","));
    if column.type_.is_empty() {
        errors.required(&type_path, text);
    } else if !TYPES.contains(&column.type_.as_str()) {
        errors.invalid(&type_path, &column.type_, text);
    }
    if !column.format.is_empty() && !FORMATS.contains(&column.format.as_str()) {
        let text = format!("must be one of {}", FORMATS.join(","));
        errors.invalid(&path.child("format"), &column.format, text);
    }
    simple_path(&column.json_path, &path.child("JSONPath"), errors);
}

fn selectable(version: &CustomResourceDefinitionVersion, path: &Path, errors: &mut Errors) {
    const MOST: usize = 8;
    let fields = &version.selectable_fields;
    if fields.is_empty() {
        return;
    }
    let Some(schema) = schema_of(version).and_then(JSONSchemaProps::tree) else { return };
    let whole = Structural::read(&schema);
    let mut found = Vec::new();
    for (place, field) in fields.iter().enumerate() {
        let path = path.index(place).child("jsonPath");
        let text = &field.json_path;
        if text.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let (steps, node) = match pointed(text, &whole) {
            Ok(pointed) => pointed,
            Err(why) => {
                errors.invalid(&path, text, format!("is an invalid path: {why}"));
                continue;
            }
        };
        if steps.first() == Some(&"metadata") {
            errors.invalid(&path, text, "must not point to fields in metadata");
        }
        if !matches!(node.type_.as_str(), "string" | "boolean" | "integer") {
            let words = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.invalid(&path, text, words);
        }
        if found.contains(&steps) {
            errors.duplicate(&path, text);
        } else {
            found.push(steps);
        }
    }
    if found.len() > MOST {
        errors.too_many(path, found.len(), MOST);
    }
}

/// The names of a path of fields and keys, and what the schema has there.
fn pointed<'a>(text: &'a str, whole: &'a Structural) -> Result<(Vec<&'a str>, &'a Structural), String> {
    const NO_FIELD: &str = "does not refer to a valid field";
    let (mut rest, mut at, mut steps) = (text, whole, Vec::new());
    let token = |rest: &'a str| match rest.find(['.', '[', ']']) {
        Some(0) => rest.split_at(1),
        end => rest.split_at(end.unwrap_or(rest.len())),
    };
    while !rest.is_empty() {
        let (first, after) = token(rest);
        match first {
            "[" => return Err("array notation is not allowed".into()),
            "." if after.is_empty() => return Err("unexpected end of JSON path".into()),
            "." => {}
            other => return Err(format!("expected [ or . but got: {other}")),
        }
        let (name, after) = token(after);
        at = match &at.additional {
            _ if !at.properties.is_empty() => at.properties.get(name).ok_or(NO_FIELD)?,
            Some(Additional::Schema(schema)) => schema,
            _ => return Err(NO_FIELD.into()),
        };
        steps.push(name);
        rest = after;
    }
    Ok((steps, at))
}

/// COMPAT: messages name the fields as upstream's internal type does: `webhookClientConfig`.
fn conversion(conversion: &CustomResourceConversion, lenient: bool, path: &Path, errors: &mut Errors) {
    let strategy = path.child("strategy");
    errors.required_choice(&strategy, conversion.strategy.as_str(), &["None", "Webhook"]);
    let (client, versions) = (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    let webhook = conversion.webhook.as_deref();
    let reviews = webhook.map_or(&[][..], |webhook| webhook.conversion_review_versions.as_slice());
    let config = webhook.and_then(|webhook| webhook.client_config.as_deref());
    if conversion.strategy != ConversionStrategyType::Webhook {
        let text = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            errors.forbidden(&client, text);
        }
        if !reviews.is_empty() {
            errors.forbidden(&versions, text);
        }
        return;
    }
    match config.map(|config| (&config.url, &config.service)) {
        None => errors.required(&client, "required when strategy is set to Webhook"),
        Some((Some(url), None)) => validate_url(url, &client.child("url"), errors),
        Some((None, Some(service))) => validate_service(
            &service.namespace,
            &service.name,
            service.path.as_deref(),
            service.port.unwrap_or_default(),
            &client.child("service"),
            errors,
        ),
        Some(_) => errors.required(&client, "exactly one of url or service is required"),
    }
    if reviews.is_empty() {
        errors.required(&versions, "");
        return;
    }
    for (n, version) in reviews.iter().enumerate() {
        if reviews[..n].contains(version) {
            errors.invalid(&versions.index(n), version, "duplicate version");
            continue;
        }
        errors.wrong(&versions.index(n), version, names::dns1035_label(version));
    }
    if !lenient && !knows_reviews(conversion) {
        let list = &reviews.to_vec() as &dyn Value;
        errors.invalid(&versions, list, "must include at least one of v1, v1beta1");
    }
}

/// Whether the webhook understands a version of ConversionReview that is known here.
fn knows_reviews(conversion: &CustomResourceConversion) -> bool {
    let webhook = conversion.webhook.as_deref();
    let reviews = webhook.map_or(&[][..], |webhook| webhook.conversion_review_versions.as_slice());
    reviews.is_empty() || reviews.iter().any(|version| matches!(version.as_str(), "v1" | "v1beta1"))
}

fn stored_versions(crd: &CustomResourceDefinition, errors: &mut Errors) {
    let path = Path::new("status").child("storedVersions");
    let stored = &crd.status.stored_versions;
    let shown: Vec<&str> = stored.iter().map(String::as_str).collect();
    if stored.is_empty() {
        errors.invalid(&path, (), "must have at least one stored version");
    } else {
        let missing = crd.spec.versions.iter().filter(|version| version.storage);
        for version in missing.filter(|version| !stored.contains(&version.name)) {
            errors.invalid(&path, &shown[..], format!("must have the storage version {}", version.name));
        }
    }
    for (place, name) in stored.iter().enumerate() {
        if !crd.spec.versions.iter().any(|version| version.name == *name) {
            let text = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.invalid(&path.index(place), name, text);
        }
    }
}

/// Kinds in the groups of Kubernetes itself say where they were agreed on.
fn approval(crd: &CustomResourceDefinition, old: Option<&CustomResourceDefinition>, errors: &mut Errors) {
    const ANNOTATION: &str = "api-approved.kubernetes.io";
    let group = &crd.spec.group;
    let protected = group == "k8s.io"
        || group == "kubernetes.io"
        || group.ends_with(".k8s.io")
        || group.ends_with(".kubernetes.io");
    let value = crd.metadata.annotations.get(ANNOTATION).map(String::as_str).unwrap_or_default();
    let same = old.is_some_and(|old| {
        old.metadata.annotations.get(ANNOTATION).map(String::as_str).unwrap_or_default() == value
    });
    if !protected || same {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(ANNOTATION);
    let is_url = value.starts_with("https://") || value.starts_with("http://");
    if value.is_empty() {
        errors.required(&path, "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111");
    } else if !is_url && !value.starts_with("unapproved") {
        let text = format!(
            "protected groups must have approval annotation \"{ANNOTATION}\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        errors.invalid(&path, value, text);
    }
}
