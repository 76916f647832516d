//! Asks the rules about an object.
//!
//! Rules that name `oldSelf` are asked where there is an old value that is the same thing: under the same
//! names, and in lists that are maps under the same keys. What an update leaves as it was may break other
//! rules (KEP-4008): that is a warning.

use super::{Rule, Rules, compile, metrics};
use crate::cel::{Activation, EvalError, LONGEST_MESSAGE, OBJECT_BUDGET, Shape, Value};
use api_types::custom::Structural;
use api_types::custom::structural::Additional;
use api_types::custom::{Custom, Definition};
use api_types::field::{Error, Errors, Path, Reason};
use api_types::kind::Object;
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::Instant;

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Asks the rules of its kind about a custom object; gives warnings. With errors that make the object
/// something else than its schema says, rules are not asked.
pub fn check(object: &dyn Object, old: Option<&dyn Object>, errors: &mut Errors) -> Vec<String> {
    let Some(custom) = Custom::of(object) else { return Vec::new() };
    let Some(rules) = rules_of(&custom.definition) else { return Vec::new() };
    let blocks = |error: &Error| {
        matches!(
            error.reason,
            Reason::NotSupported | Reason::Required | Reason::TooLong | Reason::TooMany | Reason::TypeInvalid
        )
    };
    if errors.0.iter().any(blocks) {
        let text = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        errors.invalid(&Path::default(), (), text);
        return Vec::new();
    }
    let tree = custom.tree();
    let old = old.and_then(Custom::of).map(Custom::tree);
    let mut run = Run { budget: OBJECT_BUDGET, errors: Errors::default(), warnings: Vec::new() };
    let place = Place { old: old.as_ref(), kept: old.as_ref(), unchanged: None };
    let started = Instant::now();
    run.value(
        &rules,
        Shape::of(&custom.definition.schema, true),
        &custom.definition.schema,
        &tree,
        place,
        &Path::default(),
    );
    metrics::evaluated(started.elapsed());
    errors.0.append(&mut run.errors.0);
    run.warnings
}

/// Asks the rules of a schema about its defaults: as values that were there before, and as new ones.
pub(super) fn defaults(schema: &Structural, path: &Path, errors: &mut Errors) {
    let mut run = Run { budget: OBJECT_BUDGET, errors: Errors::default(), warnings: Vec::new() };
    schema.visit(path, &mut |node, path| {
        let root = node.embedded || std::ptr::eq(node, schema);
        let Some(default) = node.default.as_ref().filter(|_| run.budget >= 0) else { return };
        let Some(rules) = compile(node, root) else { return };
        let (path, budget, found) = (path.child("default"), run.budget, run.errors.0.len());
        let mut least = budget;
        for old in [Some(default), None] {
            run.budget = budget;
            let place = Place { old, kept: None, unchanged: None };
            run.value(&rules, Shape::of(node, root), node, default, place, &path);
            least = least.min(run.budget);
            if run.errors.0.len() > found {
                break;
            }
        }
        run.budget = least;
    });
    errors.0.append(&mut run.errors.0);
}

/// The compiled rules of a version: made once, kept beside it.
fn rules_of(definition: &Arc<Definition>) -> Option<Arc<Rules>> {
    let kept = definition.attached.get_or_init(|| {
        let rules: Arc<Option<Arc<Rules>>> = Arc::new(compile(&definition.schema, true).map(Arc::new));
        rules
    });
    kept.downcast_ref::<Option<Arc<Rules>>>()?.clone()
}

/// What stood in the place of a value.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// What `oldSelf` is.
    old: Option<&'a Json>,
    /// What the value is compared with to see whether it is kept.
    kept: Option<&'a Json>,
    /// The nearest values above that can be compared, where the value itself cannot.
    unchanged: Option<(&'a Json, &'a Json)>,
}

impl<'a> Place<'a> {
    fn is_kept(&self, value: &Json) -> bool {
        match (self.kept, self.unchanged) {
            (Some(old), _) => old == value,
            (None, Some((old, new))) => old == new,
            (None, None) => false,
        }
    }

    fn below(&self, value: &'a Json, old: Option<&'a Json>, kept: Option<&'a Json>) -> Self {
        let unchanged = self.kept.map(|old| (old, value)).or(self.unchanged);
        Self { old, kept, unchanged }
    }
}

struct Run {
    budget: i64,
    errors: Errors,
    warnings: Vec<String>,
}

/// That rules stop here.
struct Stop;

impl Run {
    fn value<'a>(
        &mut self,
        rules: &'a Rules,
        shape: Shape<'a>,
        schema: &'a Structural,
        value: &'a Json,
        place: Place<'a>,
        path: &Path,
    ) -> bool {
        if value.is_null() {
            return true;
        }
        if self.own(rules, shape, schema, value, place, path).is_err() {
            return false;
        }
        match value {
            Json::Array(items) => {
                let (Some(rules), Some(of)) = (&rules.items, &schema.items) else { return true };
                let before = place.old.and_then(Json::as_array);
                let kept = place.kept.and_then(Json::as_array);
                for (at, item) in items.iter().enumerate() {
                    let same =
                        |list: Option<&'a Vec<Json>>| list.and_then(|list| counterpart(schema, list, item));
                    let place = place.below(value, same(before), same(kept));
                    if !self.value(rules, Shape::of(of, of.embedded), of, item, place, &path.index(at)) {
                        return false;
                    }
                }
            }
            Json::Object(map) => {
                for (name, inner) in map {
                    let place = place.below(
                        value,
                        place.old.and_then(|old| old.get(name)),
                        place.kept.and_then(|old| old.get(name)),
                    );
                    let goes_on = if let (Some(rules), Some(of)) =
                        (rules.properties.get(name), schema.properties.get(name))
                    {
                        self.value(rules, Shape::of(of, of.embedded), of, inner, place, &path.child(name))
                    } else if let (Some(rules), Some(Additional::Schema(of))) =
                        (&rules.additional, &schema.additional)
                    {
                        self.value(rules, Shape::of(of, of.embedded), of, inner, place, &path.key(name))
                    } else {
                        true
                    };
                    if !goes_on {
                        return false;
                    }
                }
            }
            _ => {}
        }
        true
    }

    fn own<'a>(
        &mut self,
        rules: &'a Rules,
        shape: Shape<'a>,
        schema: &Structural,
        value: &'a Json,
        place: Place<'a>,
        path: &Path,
    ) -> Result<(), Stop> {
        if rules.own.is_empty() {
            return Ok(());
        }
        if self.budget <= 0 {
            self.errors.invalid(path, &schema.type_, OUT_OF_BUDGET);
            return Err(Stop);
        }
        let read = |json: &'a Json| Value::read(json, shape);
        let own = match read(value) {
            Ok(own) => own,
            Err(error) => {
                for rule in &rules.own {
                    let text = format!("{error} evaluating rule: {}", rule.text.shown());
                    self.errors.invalid(path, &schema.type_, text);
                }
                return Ok(());
            }
        };
        let old = place.old.filter(|old| !old.is_null()).and_then(|old| read(old).ok());
        for rule in &rules.own {
            let optional = rule.text.optional_old_self.unwrap_or(false);
            if rule.uses_old() && old.is_none() && !optional {
                continue;
            }
            let old = match (&old, optional) {
                (Some(old), true) => Value::some(old.clone()),
                (None, true) => Value::NONE,
                (Some(old), false) => old.clone(),
                (None, false) => Value::Null,
            };
            let activation = Activation::new(vec![own.clone(), old], &[]);
            self.rule(rule, &activation, schema, value, place, path)?;
        }
        Ok(())
    }

    fn rule<'a>(
        &mut self,
        rule: &'a Rule,
        activation: &Activation<'a>,
        schema: &Structural,
        value: &Json,
        place: Place<'_>,
        path: &Path,
    ) -> Result<(), Stop> {
        let shown = rule.text.shown();
        let program = match &rule.program {
            Ok(program) => program,
            Err(text) => {
                self.errors.invalid(path, &schema.type_, format!("rule compile error: {text}"));
                return Ok(());
            }
        };
        let (result, cost) = program.eval(activation);
        let error = match result {
            Err(EvalError::CostLimit | EvalError::Interrupted) => {
                let text = format!(
                    "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}",
                    EvalError::CostLimit
                );
                self.errors.invalid(path, &schema.type_, text);
                return Err(Stop);
            }
            result => result,
        };
        self.budget = self.budget.saturating_sub_unsigned(cost);
        if self.budget < 0 {
            self.errors.invalid(path, &schema.type_, OUT_OF_BUDGET);
            return Err(Stop);
        }
        match error {
            Ok(Value::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(EvalError::NoSuchOverload) => {
                let text = format!(
                    "'no such overload': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
                );
                self.errors.invalid(path, &schema.type_, text);
                return Ok(());
            }
            Err(error) => {
                self.errors.invalid(path, &schema.type_, format!("{error} evaluating rule: {shown}"));
                return Ok(());
            }
        }
        let path = below(path, &rule.field_path);
        let detail = match self.message(rule, activation) {
            Ok(Some(text)) => text,
            Ok(None) if rule.text.message.is_empty() => format!("failed rule: {shown}"),
            Ok(None) => shown.to_owned(),
            Err(text) => {
                self.errors.invalid(&path, &schema.type_, text);
                return Err(Stop);
            }
        };
        let mut found = Errors::default();
        let whole = matches!(schema.type_.as_str(), "object" | "array");
        match rule.text.reason.as_deref() {
            Some("FieldValueForbidden") => found.forbidden(&path, detail),
            Some("FieldValueRequired") => found.required(&path, detail),
            Some("FieldValueDuplicate") if whole => found.duplicate(&path, Omitted),
            Some("FieldValueDuplicate") => found.duplicate(&path, Shown(value)),
            _ if whole => found.invalid_without_value(&path, detail),
            _ => found.invalid(&path, Shown(value), detail),
        }
        if !rule.uses_old() && place.is_kept(value) {
            self.warnings.extend(found.0.iter().map(ToString::to_string));
        } else {
            self.errors.0.append(&mut found.0);
        }
        Ok(())
    }

    /// What the message expression gives; `None` where there is none, or where it gives nothing to show.
    fn message<'a>(&mut self, rule: &'a Rule, activation: &Activation<'a>) -> Result<Option<String>, String> {
        let Some(Ok(program)) = &rule.message else { return Ok(None) };
        let (result, cost) = program.eval(activation);
        if matches!(result, Err(EvalError::CostLimit | EvalError::Interrupted)) {
            return Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                rule.text.message_expression
            ));
        }
        self.budget = self.budget.saturating_sub_unsigned(cost);
        if self.budget < 0 {
            return Err("messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run".into());
        }
        let Ok(Value::String(text)) = result else { return Ok(None) };
        let text = text.trim();
        let sound = !text.is_empty() && !text.contains('\n') && text.len() <= LONGEST_MESSAGE;
        Ok(sound.then(|| text.to_owned()))
    }
}

/// The item of an old list that is the same thing.
fn counterpart<'a>(schema: &Structural, list: &'a [Json], item: &Json) -> Option<&'a Json> {
    if schema.list_type != "map" {
        return None;
    }
    list.iter().find(|old| schema.list_keys.iter().all(|key| old.get(key) == item.get(key)))
}

fn below(path: &Path, field: &str) -> Path {
    if field.is_empty() { path.clone() } else { path.child(field) }
}

/// A value in an error's text.
struct Shown<'a>(&'a Json);

impl api_types::field::Shown for Shown<'_> {
    fn shown(&self) -> String {
        match self.0 {
            Json::String(text) => text.shown(),
            other => other.to_string(),
        }
    }
}

/// Objects and lists are not shown.
struct Omitted;

impl api_types::field::Shown for Omitted {
    fn shown(&self) -> String {
        String::new()
    }
}
