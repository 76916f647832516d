//! Checks of an object against its schema, worded as upstream words them: `spec.n: Invalid value: "string":
//! spec.n in body must be of type integer: "string"`.
//!
//! An update may keep what it does not change, even if a later schema would refuse it (KEP-4008).

use super::structural::{Additional, Checks, Structural};
use super::{Custom, embedded, formats};
use crate::field::{Errors, Path, Shown};
use serde_json::{Map, Number, Value as Json};

/// A value in an error's text.
pub(super) struct AsJson<'a>(pub(super) &'a Json);

impl Shown for AsJson<'_> {
    fn shown(&self) -> String {
        match self.0 {
            Json::String(text) => text.shown(),
            Json::Number(number) if number.as_i64().is_none() => {
                go_general(number.as_f64().unwrap_or_default())
            }
            other => other.to_string(),
        }
    }
}

/// A number as Go prints it in messages: with an exponent from a million on, and below a ten-thousandth.
fn go_general(number: f64) -> String {
    let text = format!("{number:e}");
    let Some((digits, power)) = text.split_once('e') else { return text };
    let power: i32 = power.parse().unwrap_or_default();
    if (-4..6).contains(&power) {
        return number.to_string();
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}

impl Custom {
    /// Everything about the content. `old` is what is there, if anything is.
    pub(super) fn validate(&self, old: Option<&Self>, path: &Path, errors: &mut Errors) {
        let schema = &self.definition.schema;
        let before = old.map(|old| Json::Object(old.seen()));
        let content = self.seen();
        object(schema, &content, before.as_ref(), path, errors);
        for (name, inner) in &content {
            if let Some(property) = schema.properties.get(name) {
                embedded::check(property, inner, &path.child(name), errors);
            }
        }
        self.validate_scale(true, errors);
    }

    /// What the schema is asked about: the content, and of the rest what a schema may restrict.
    fn seen(&self) -> Map<String, Json> {
        let mut seen = self.content.clone();
        let names = [("name", &self.metadata.name), ("generateName", &self.metadata.generate_name)];
        let names = names.into_iter().filter(|(_, name)| !name.is_empty());
        let metadata = names.map(|(field, name)| (field.to_owned(), name.as_str().into())).collect();
        seen.insert("metadata".into(), Json::Object(metadata));
        seen.insert("kind".into(), self.definition.kind.kind.into());
        seen.insert("apiVersion".into(), self.definition.kind.api_version.into());
        seen
    }

    /// A write to `/status`: what lies below it.
    pub(super) fn validate_below_status(&self, old: &Self, errors: &mut Errors) {
        if let (Some(status), Some(schema)) =
            (self.content.get("status"), self.definition.schema.properties.get("status"))
        {
            // COMPAT: the texts name the field below the status alone.
            apart(schema, status, old.content.get("status"), &Path::new("status"), errors);
            embedded::check(schema, status, &Path::new("status"), errors);
        }
        self.validate_scale(false, errors);
    }

    fn validate_scale(&self, with_spec: bool, errors: &mut Errors) {
        let Some(scale) = &self.definition.scale else { return };
        let tree = Json::Object(self.content.clone());
        let mut paths = vec![&scale.status];
        if with_spec {
            paths.insert(0, &scale.spec);
        }
        for fields in paths {
            let found = fields.iter().try_fold(&tree, |at, name| at.get(name));
            let path = Path::new(&format!(".{}", fields.join(".")));
            match found {
                None => {}
                Some(Json::Number(n)) if n.is_i64() || n.is_u64() => match n.as_i64().unwrap_or(i64::MAX) {
                    ..0 => errors.invalid(
                        &path,
                        n.as_i64().unwrap_or_default(),
                        "should be a non-negative integer",
                    ),
                    n if n > i64::from(i32::MAX) => {
                        errors.invalid(&path, n, "should be less than or equal to 2147483647");
                    }
                    _ => {}
                },
                Some(other) => {
                    let dotted = fields.join(".");
                    let shown = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                    let text = format!(
                        ".{dotted} accessor error: {shown} is of the type {}, expected int64",
                        go_type(other)
                    );
                    errors.invalid(&path, 0i64, text);
                }
            }
        }
    }
}

fn go_type(value: &Json) -> &'static str {
    match value {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(_) => "float64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    }
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(n) if n.is_f64() => "number",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn fits(type_: &str, value: &Json) -> bool {
    let found = type_of(value);
    found == type_ || (type_ == "number" && found == "integer")
}

/// Checks a value; `old` is what stood in its place.
fn value(schema: &Structural, value: &Json, old: Option<&Json>, path: &Path, errors: &mut Errors) {
    if old == Some(value) {
        return;
    }
    if value.is_null() && schema.nullable {
        return;
    }
    if schema.int_or_string {
        let ok = matches!(value, Json::String(_)) || type_of(value) == "integer";
        if !ok {
            let found = type_of(value);
            let text = format!("{path} in body must be of type integer,string: \"{found}\"");
            errors.type_invalid(path, found, text);
            return;
        }
    } else if !schema.type_.is_empty() && !fits(&schema.type_, value) {
        let (wanted, found) = mismatch(schema, value);
        let text = format!("{path} in body must be of type {wanted}: \"{found}\"");
        errors.type_invalid(path, found, text);
        if let Json::Number(number) = value {
            numbers(schema, number, path, errors);
        }
        return;
    }
    match value {
        Json::Object(map) => return object(schema, map, old, path, errors),
        Json::Array(items) => list(schema, items, old, path, errors),
        _ => {}
    }
    checks(schema, value, path, errors);
}

/// What a value should be, and what it is. COMPAT: where the schema has a format, that is named in the type's
/// place, unless texts and lists are what is found.
fn mismatch<'a>(schema: &'a Structural, value: &Json) -> (&'a str, &'static str) {
    let (type_, format) = (schema.type_.as_str(), schema.checks.format.as_str());
    let known = !format.is_empty() && formats::is_known(type_, format);
    match value {
        Json::Number(number) if known => (format, if number.is_f64() { "float64" } else { "int64" }),
        Json::Object(_) | Json::Bool(_) if known => (format, ""),
        other => (type_, type_of(other)),
    }
}

fn object(
    schema: &Structural,
    map: &Map<String, Json>,
    old: Option<&Json>,
    path: &Path,
    errors: &mut Errors,
) {
    let before = |name: &str| old.and_then(|old| old.get(name));
    for (name, inner) in map {
        if let Some(property) = schema.property(name) {
            value(property, inner, before(name), &path.child(name), errors);
        } else if let Some(Additional::Any(false)) = schema.additional {
            let text = format!("{}.{name} in body is a forbidden property", path.as_str());
            errors.invalid(path, "", text);
        }
    }
    checks(schema, &Json::Object(map.clone()), path, errors);
}

fn list(schema: &Structural, items: &[Json], old: Option<&Json>, path: &Path, errors: &mut Errors) {
    let key = |item: &Json| -> Json {
        match schema.list_type.as_str() {
            "map" => schema.list_keys.iter().map(|key| item.get(key).cloned().unwrap_or_default()).collect(),
            _ => item.clone(),
        }
    };
    let before = old.and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    for (place, item) in items.iter().enumerate() {
        let path = path.index(place);
        if let Some(schema_of_item) = &schema.items {
            // Only a map's items are the same ones as before: those of sets and atomic lists are all checked
            // once the list has changed (KEP-4008).
            let of_map = schema.list_type == "map";
            let old = of_map.then(|| before.iter().find(|old| key(old) == key(item))).flatten();
            value(schema_of_item, item, old, &path, errors);
        }
        if matches!(schema.list_type.as_str(), "map" | "set")
            && items[..place].iter().any(|earlier| key(earlier) == key(item))
        {
            let shown = match schema.list_type.as_str() {
                "map" => {
                    let entries = schema.list_keys.iter();
                    Json::Object(entries.filter_map(|k| Some((k.clone(), item.get(k)?.clone()))).collect())
                }
                _ => item.clone(),
            };
            errors.duplicate(&path, AsJson(&shown));
        }
    }
}

/// The checks beside the structure.
fn checks(schema: &Structural, value: &Json, path: &Path, errors: &mut Errors) {
    let checks = &schema.checks;
    match value {
        Json::Number(number) => numbers(schema, number, path, errors),
        Json::String(text) => strings(checks, text, path, errors),
        Json::Array(items) => {
            let count = items.len() as u64;
            if let Some(most) = checks.max_items.filter(|most| count > *most) {
                errors.too_many(path, items.len(), most as usize);
            }
            if let Some(least) = checks.min_items.filter(|least| count < *least) {
                let text = format!("{path} in body should have at least {least} items");
                errors.invalid(path, count as i64, text);
            }
        }
        Json::Object(map) => {
            let count = map.len() as u64;
            if let Some(most) = checks.max_properties.filter(|most| count > *most) {
                errors.too_many(path, map.len(), most as usize);
            }
            if let Some(least) = checks.min_properties.filter(|least| count < *least) {
                let text = format!("{path} in body should have at least {least} properties");
                errors.invalid(path, count as i64, text);
            }
            for name in checks.required.iter().filter(|name| !map.contains_key(*name)) {
                errors.required(&path.child(name), "");
            }
        }
        _ => {}
    }
    if !checks.choices.is_empty() && !checks.choices.contains(value) {
        let texts: Vec<String> = checks
            .choices
            .iter()
            .map(|choice| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        errors.not_supported(path, AsJson(value), &texts);
    }
    groups(checks, value, path, errors);
}

/// COMPAT: limits are read as numbers of the value's own sort, so that of a whole number's limits the fraction is
/// lost; a limit that is not of the schema's type refuses every value.
fn numbers(schema: &Structural, value: &Number, path: &Path, errors: &mut Errors) {
    let (checks, number) = (&schema.checks, value.as_f64().unwrap_or_default());
    typed("Checked", schema, number, value.as_i64().is_some(), path, errors);
    let limits = [
        ("MultipleOf", checks.multiple_of.filter(|factor| *factor > 0.0)),
        ("Minimum boundary", checks.minimum.map(|(limit, _)| limit)),
        ("Maximum boundary", checks.maximum.map(|(limit, _)| limit)),
    ];
    for (what, limit) in limits {
        let Some(limit) = limit else { continue };
        let sound = typed(what, schema, limit, false, path, errors);
        let whole = value.as_i64().filter(|_| sound);
        let (order, shown, value) = match whole {
            Some(whole) => (whole.cmp(&(limit as i64)), (limit as i64).to_string(), value.clone()),
            None => (
                number.total_cmp(&limit),
                go_general(limit),
                Number::from_f64(number).unwrap_or(value.clone()),
            ),
        };
        let words = match what {
            "MultipleOf" => {
                let divides = match whole {
                    Some(whole) => (limit as i64) > 0 && whole % (limit as i64) == 0,
                    None => (number / limit).fract() == 0.0,
                };
                (!divides).then_some("a multiple of")
            }
            "Minimum boundary" => match checks.minimum.is_some_and(|(_, exclusive)| exclusive) {
                true => order.is_le().then_some("greater than"),
                false => order.is_lt().then_some("greater than or equal to"),
            },
            _ => match checks.maximum.is_some_and(|(_, exclusive)| exclusive) {
                true => order.is_ge().then_some("less than"),
                false => order.is_gt().then_some("less than or equal to"),
            },
        };
        if let Some(words) = words {
            errors.invalid(
                path,
                AsJson(&Json::Number(value)),
                format!("{path} in body should be {words} {shown}"),
            );
        }
    }
}

/// Whether a number, a value's or a limit's, can be one of the schema's type and format. COMPAT: the error has no path.
fn typed(
    what: &str,
    schema: &Structural,
    number: f64,
    whole: bool,
    path: &Path,
    errors: &mut Errors,
) -> bool {
    const SIZE: f64 = 9_223_372_036_854_775_808.0;
    let format =
        Some(schema.checks.format.as_str()).filter(|format| formats::is_known(&schema.type_, format));
    let is_whole = whole || (number.fract() == 0.0 && (-SIZE..SIZE).contains(&number));
    let fits = match (schema.type_.as_str(), format) {
        ("integer", Some("int32")) => {
            is_whole && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number)
        }
        ("integer", _) => is_whole,
        ("number", Some("float")) => (number as f32).is_finite(),
        _ => true,
    };
    if !fits {
        let of = format.map_or("(default format)".to_owned(), |format| format!("with format {format}"));
        let text = format!("{what} value must be of type {} {of} in {path}", schema.type_);
        errors.invalid(&Path::default(), "", text);
    }
    fits
}

fn strings(checks: &Checks, text: &str, path: &Path, errors: &mut Errors) {
    let length = text.chars().count() as u64;
    if let Some(most) = checks.max_length.filter(|most| length > *most) {
        errors.too_long(path, most as usize);
    }
    if let Some(least) = checks.min_length.filter(|least| length < *least) {
        errors.invalid(path, text, format!("{path} in body should be at least {least} chars long"));
    }
    if let Some((pattern, Some(regex))) = &checks.pattern
        && !regex.is_match(text)
    {
        errors.invalid(path, text, format!("{path} in body should match '{pattern}'"));
    }
    if !formats::holds(&checks.format, text) {
        let words = format!("{path} in body must be of type {}: {text:?}", checks.format);
        errors.type_invalid(path, text, words);
    }
}

/// anyOf, oneOf, allOf, not.
fn groups(checks: &Checks, found: &Json, path: &Path, errors: &mut Errors) {
    let holds = |schema: &Structural| {
        let mut inner = Errors::default();
        value(schema, found, None, path, &mut inner);
        inner
    };
    // COMPAT: these have no path of their own, and name the field in their text.
    let nowhere = Path::default();
    if !checks.any_of.is_empty() && checks.any_of.iter().all(|schema| !holds(schema).is_empty()) {
        best(&checks.any_of, &holds, errors);
        let text = format!("{:?} must validate at least one schema (anyOf)", path.as_str());
        errors.invalid(&nowhere, "", text);
    }
    if !checks.one_of.is_empty() {
        let valid = checks.one_of.iter().filter(|schema| holds(schema).is_empty()).count();
        if valid != 1 {
            if valid == 0 {
                best(&checks.one_of, &holds, errors);
            }
            let found = if valid == 0 {
                "Found none valid".to_owned()
            } else {
                format!("Found {valid} valid alternatives")
            };
            let text = format!("{:?} must validate one and only one schema (oneOf). {found}", path.as_str());
            errors.invalid(&nowhere, "", text);
        }
    }
    let failed: Vec<Errors> = checks.all_of.iter().map(holds).filter(|inner| !inner.is_empty()).collect();
    if !failed.is_empty() {
        let none = if failed.len() == checks.all_of.len() { ". None validated" } else { "" };
        for mut inner in failed {
            errors.0.append(&mut inner.0);
        }
        let text = format!("{:?} must validate all the schemas (allOf){none}", path.as_str());
        errors.invalid(&nowhere, "", text);
    }
    if checks.not.as_ref().is_some_and(|schema| holds(schema).is_empty()) {
        let text = format!("{:?} must not validate the schema (not)", path.as_str());
        errors.invalid(&nowhere, "", text);
    }
}

/// The mistakes of the alternative that has fewest.
fn best(schemas: &[Structural], holds: &dyn Fn(&Structural) -> Errors, errors: &mut Errors) {
    let all = schemas.iter().map(holds);
    if let Some(mut fewest) = all.min_by_key(|inner| inner.0.len()) {
        errors.0.append(&mut fewest.0);
    }
}

/// Whether a default fits its schema; `path` is the default's. `whole` is a resource with the default in its place,
/// where that is in its kind, apiVersion or metadata.
pub(crate) fn default_errors(
    schema: &Structural,
    default: &Json,
    whole: Option<&Json>,
    path: &Path,
    errors: &mut Errors,
) {
    let mut found = Errors::default();
    if let Some(whole) = whole {
        whole.as_object().inspect(|map| embedded::resource(map, &Path::default(), &mut found));
        if !found.is_empty() {
            errors.invalid(path, AsJson(default), format!("must result in valid metadata: {found}"));
            return;
        }
    } else {
        if super::prune::would(schema, default) {
            errors.invalid(path, AsJson(default), "must not have unknown fields");
        }
        embedded::check(schema, default, path, &mut found);
        if !found.is_empty() {
            errors.0.append(&mut found.0);
            return;
        }
    }
    apart(schema, default, None, path, errors);
}

/// As `value`, for a part whose errors have texts that begin below it; the paths are whole.
fn apart(schema: &Structural, part: &Json, old: Option<&Json>, path: &Path, errors: &mut Errors) {
    const PART: &str = "\0";
    let mut found = Errors::default();
    value(schema, part, old, &Path::new(PART), &mut found);
    for mut error in found.0 {
        error.path = match error.path.as_str() {
            "" => path.clone(),
            found => {
                // COMPAT: an item of the part itself comes after a dot.
                let found = found.replacen(&format!("{PART}["), &format!("{path}.["), 1);
                Path::new(&found.replacen(PART, path.as_str(), 1))
            }
        };
        error.detail = error.detail.replace(&format!("{PART}."), "").replace(PART, "");
        errors.0.push(error);
    }
}
