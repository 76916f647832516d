//! What is wrong with the rules of a definition that is written: their form, their syntax and types, and
//! what they can cost at most.

use super::{Rule, Text, decl, enforce, field_path};
use crate::cel::Decl;
use api_types::apiextensions::v1::{CustomResourceDefinition, CustomResourceDefinitionVersion, schema_path};
use api_types::custom::Structural;
use api_types::custom::structural::Additional;
use api_types::field::{Errors, Path, Shown};
use api_types::kind::Object;
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// What one rule may be estimated at, and all of a schema together.
const RULE_LIMIT: u64 = 10_000_000;
const TOTAL_LIMIT: u64 = 100_000_000;
/// The largest request, by which the number of values is estimated.
const REQUEST: u64 = 3 * 1024 * 1024;
/// So many of the most expensive rules are named.
const NAMED: usize = 4;

/// Checks the rules of all versions of a definition whose schemas are sound.
pub fn check(object: &dyn Object, old: Option<&dyn Object>, errors: &mut Errors) {
    let Some(crd) = object.as_any().downcast_ref::<CustomResourceDefinition>() else { return };
    if !errors.is_empty() {
        return;
    }
    let old = old.and_then(|old| old.as_any().downcast_ref::<CustomResourceDefinition>());
    for (place, version) in crd.spec.versions.iter().enumerate() {
        let Some(schema) = schema(version) else { continue };
        let same = old.is_some_and(|old| {
            old.spec
                .versions
                .iter()
                .any(|before| before.name == version.name && before.schema == version.schema)
        });
        // What was checked when it was written stands.
        if same {
            continue;
        }
        let (schema, path) = (Structural::read(&schema), schema_path(&crd.spec, place));
        let sound = errors.0.len();
        enforce::defaults(&schema, &path, errors);
        // COMPAT: with a default that breaks a rule, nothing else is said of the rules.
        if errors.0.len() == sound {
            of_schema(&schema, &path, errors);
        }
    }
}

fn schema(version: &CustomResourceDefinitionVersion) -> Option<Json> {
    version.schema.as_ref()?.open_api_v3_schema.as_ref()?.tree()
}

/// Checks the rules of one schema.
pub(super) fn of_schema(schema: &Structural, path: &Path, errors: &mut Errors) {
    if !super::any(schema) {
        return;
    }
    let mut form = Errors::default();
    texts(schema, path, &mut form);
    if !form.is_empty() {
        errors.0.append(&mut form.0);
        return;
    }
    let Some(decl) = decl::of(schema, true) else { return };
    let mut walk = Walk { errors, costs: Vec::new() };
    walk.node(schema, Some(Arc::new(decl)), Some(1), None, path);
    let total = walk.costs.iter().fold(0u64, |sum, (cost, _)| sum.saturating_add(*cost));
    if total > TOTAL_LIMIT {
        let mut costs = std::mem::take(&mut walk.costs);
        costs.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (_, path) in costs.iter().take(NAMED) {
            errors.forbidden(
                path,
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
            );
        }
        let text = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.forbidden(path, too_much(text, total, TOTAL_LIMIT));
    }
}

fn too_much(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let shown = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// Checks what rules say beside their expressions.
fn texts(schema: &Structural, path: &Path, errors: &mut Errors) {
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    let breaks = |text: &str| text.contains(['\n', '\r']);
    schema.visit(path, &mut |node, path| {
        for (place, rule) in node.rules.iter().enumerate() {
            let text = Text::read(rule);
            let path = path.child("x-kubernetes-validations").index(place);
            let (rule, message) = (text.rule.trim(), text.message.trim());
            if rule.is_empty() {
                errors.required(&path.child("rule"), "rule is not specified");
            } else if !text.message.is_empty() && message.is_empty() {
                errors.invalid(&path.child("message"), &text.message, "must be non-empty if specified");
            } else if breaks(message) {
                errors.invalid(&path.child("message"), &text.message, "must not contain line breaks");
            } else if breaks(rule) && message.is_empty() {
                errors.required(
                    &path.child("message"),
                    "message must be specified if rule contains line breaks",
                );
            }
            if !text.message_expression.is_empty() && text.message_expression.trim().is_empty() {
                let words = "messageExpression must be non-empty if specified";
                errors.required(&path.child("messageExpression"), words);
            }
            if let Some(reason) = text.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
                errors.not_supported(&path.child("reason"), reason, &REASONS);
            }
            let field = &text.field_path;
            if !field.is_empty() {
                let path = path.child("fieldPath");
                if field.trim().is_empty() {
                    errors.invalid(&path, field, "must be non-empty if specified");
                }
                if breaks(field) {
                    errors.invalid(&path, field, "must not contain line breaks");
                }
                if field_path::resolve(field, node).is_none() {
                    errors.invalid(&path, field, "must be a valid path");
                }
            }
        }
    });
}

struct Walk<'a> {
    errors: &'a mut Errors,
    /// What each expression can cost, with its path.
    costs: Vec<(u64, Path)>,
}

impl Walk<'_> {
    /// `times` is how many values of the schema an object can have; `None` for any number. `loose` is where
    /// old values are no longer found again.
    fn node(
        &mut self,
        schema: &Structural,
        decl: Option<Arc<Decl>>,
        times: Option<u64>,
        loose: Option<&Path>,
        path: &Path,
    ) {
        let of_own = |schema: &Structural| decl::of(schema, schema.embedded).map(Arc::new);
        for (name, property) in &schema.properties {
            let decl = decl.as_ref().and_then(|decl| decl::of_property(decl, name, property));
            let decl = decl.or_else(|| of_own(property));
            self.node(property, decl, times, loose, &path.child("properties").key(name));
        }
        let multiplied = |most: Option<u64>| Some(times?.saturating_mul(most?));
        if let Some(Additional::Schema(of)) = &schema.additional {
            let times = multiplied(schema.checks.max_properties);
            let decl = decl.as_ref().and_then(|decl| decl.element.clone()).or_else(|| of_own(of));
            self.node(of, decl, times, loose, &path.child("additionalProperties"));
        }
        if let Some(items) = &schema.items {
            let times = multiplied(schema.checks.max_items);
            let loose = loose.or((schema.list_type != "map").then_some(path));
            let decl = decl.as_ref().and_then(|decl| decl.element.clone()).or_else(|| of_own(items));
            self.node(items, decl, times, loose, &path.child("items"));
        }
        let Some(decl) = decl else {
            if !schema.rules.is_empty() {
                let text = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
                self.errors.internal(&path.child("x-kubernetes-validations"), text);
            }
            return;
        };
        let times = times.unwrap_or(REQUEST / (decl.least_json + 1));
        for (place, text) in schema.rules.iter().map(Text::read).enumerate() {
            let path = path.child("x-kubernetes-validations").index(place);
            self.rule(&Rule::new(text, schema, &decl), times, loose, &path);
        }
    }

    fn rule(&mut self, rule: &Rule, times: u64, loose: Option<&Path>, path: &Path) {
        let shown = Internal(&rule.text);
        match &rule.program {
            Err(text) => self.errors.invalid(&path.child("rule"), &shown, text),
            Ok(program) => {
                let cost = program.estimated_cost().saturating_mul(times);
                self.cost("estimated rule cost", cost, path.child("rule"));
            }
        }
        match &rule.message {
            None => {}
            Some(Err(text)) => self.errors.invalid(&path.child("messageExpression"), &shown, text),
            Some(Ok(program)) => {
                let cost = program.estimated_cost();
                self.cost("estimated messageExpression cost", cost, path.child("messageExpression"));
            }
        }
        if rule.uses_old() {
            if let Some(loose) = loose {
                let text = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {loose}"
                );
                self.errors.invalid(&path.child("rule"), &rule.text.rule, text);
            }
        } else if let (Some(optional), true) = (rule.text.optional_old_self, rule.program.is_ok()) {
            let text = "may not be set if oldSelf is not used in rule";
            self.errors.invalid(&path.child("optionalOldSelf"), optional, text);
        }
    }

    fn cost(&mut self, what: &str, cost: u64, path: Path) {
        if cost > RULE_LIMIT {
            self.errors.forbidden(&path, too_much(what, cost, RULE_LIMIT));
        }
        self.costs.push((cost, path));
    }
}

/// A rule as upstream shows it: its internal type has no names of its own for JSON.
struct Internal<'a>(&'a Text);

impl Shown for Internal<'_> {
    fn shown(&self) -> String {
        json!({
            "Rule": self.0.rule,
            "Message": self.0.message,
            "MessageExpression": self.0.message_expression,
            "Reason": self.0.reason,
            "FieldPath": self.0.field_path,
            "OptionalOldSelf": self.0.optional_old_self,
        })
        .to_string()
    }
}
