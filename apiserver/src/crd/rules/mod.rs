//! `x-kubernetes-validations`: rules about objects of custom kinds (KEP-2876).
//!
//! `write` says what is wrong with the rules of a definition, `decl` reads types and sizes out of its schema,
//! `field_path` its paths; `Rules` are those of one version, compiled once, and `enforce` asks them about an
//! object. The order of errors is that of the object's fields.

mod decl;
mod enforce;
mod field_path;
mod metrics;
#[cfg(test)]
mod tests;
mod write;

pub use enforce::check;
pub use write::check as check_definition;

use crate::cel::{Decl, Env, Program, Type};
use api_types::custom::Structural;
use api_types::custom::structural::Additional;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// The type of a custom kind's objects.
pub fn declaration(schema: &Structural) -> Option<Decl> {
    decl::of(schema, true)
}

/// The rules of a schema and of what is below it.
#[derive(Debug, Default)]
pub struct Rules {
    own: Vec<Rule>,
    items: Option<Box<Rules>>,
    properties: BTreeMap<String, Rules>,
    additional: Option<Box<Rules>>,
}

/// A rule as it is written.
#[derive(Debug, Clone, Default)]
struct Text {
    rule: String,
    message: String,
    message_expression: String,
    reason: Option<String>,
    field_path: String,
    optional_old_self: Option<bool>,
}

/// A rule, compiled.
#[derive(Debug)]
struct Rule {
    text: Text,
    /// Or why it does not compile.
    program: Result<Program, String>,
    /// What gives the message; or why it does not compile.
    message: Option<Result<Program, String>>,
    /// Below the value that the rule is about.
    field_path: String,
}

impl Text {
    fn read(rule: &Json) -> Self {
        let text = |name: &str| rule[name].as_str().unwrap_or_default().to_owned();
        Self {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: rule["reason"].as_str().map(str::to_owned),
            field_path: text("fieldPath"),
            optional_old_self: rule["optionalOldSelf"].as_bool(),
        }
    }

    /// What errors call the rule.
    fn shown(&self) -> &str {
        if self.message.is_empty() { self.rule.trim() } else { self.message.trim() }
    }
}

impl Rule {
    fn new(text: Text, schema: &Structural, decl: &Arc<Decl>) -> Self {
        let optional = text.optional_old_self.unwrap_or(false);
        let env = Env::default().with_decl("self", decl, false).with_decl("oldSelf", decl, optional);
        let program = match env.compile(&text.rule) {
            Err(error) => Err(format!("compilation failed: {error}")),
            Ok(program) if *program.ty() != Type::Bool => {
                Err("cel expression must evaluate to a bool".into())
            }
            Ok(program) => Ok(program),
        };
        let message = (program.is_ok() && !text.message_expression.is_empty()).then(|| {
            match env.compile(&text.message_expression) {
                Err(error) => Err(format!("messageExpression compilation failed: {error}")),
                Ok(program) if *program.ty() != Type::String => {
                    Err("messageExpression must evaluate to a string".into())
                }
                Ok(program) => Ok(program),
            }
        });
        let field_path = match text.field_path.as_str() {
            "" => String::new(),
            path => field_path::resolve(path, schema).unwrap_or_default(),
        };
        Self { text, program, message, field_path }
    }

    fn uses_old(&self) -> bool {
        self.program.as_ref().is_ok_and(|program| program.uses("oldSelf"))
    }
}

/// All rules of a schema; `None` where there are none. `root` for what is a resource.
pub fn compile(schema: &Structural, root: bool) -> Option<Rules> {
    if !any(schema) {
        return None;
    }
    below(schema, decl::of(schema, root)?.into())
}

/// Whether there are rules at all.
fn any(schema: &Structural) -> bool {
    !schema.rules.is_empty()
        || schema.items.as_deref().is_some_and(any)
        || matches!(&schema.additional, Some(Additional::Schema(of)) if any(of))
        || schema.properties.values().any(any)
}

fn below(schema: &Structural, decl: Arc<Decl>) -> Option<Rules> {
    let mut rules = Rules::default();
    let texts = schema.rules.iter().map(Text::read).filter(|text| !text.rule.trim().is_empty());
    let started = Instant::now();
    rules.own = texts.map(|text| Rule::new(text, schema, &decl)).collect();
    if !rules.own.is_empty() {
        metrics::compiled(started.elapsed());
    }
    if let (Some(items), Some(element)) = (&schema.items, &decl.element)
        && any(items)
    {
        rules.items = below(items, element.clone()).map(Box::new);
    }
    if let (Some(Additional::Schema(of)), Some(element)) = (&schema.additional, &decl.element)
        && any(of)
    {
        rules.additional = below(of, element.clone()).map(Box::new);
    }
    for (name, property) in schema.properties.iter().filter(|(_, property)| any(property)) {
        if let Some(decl) = decl::of_property(&decl, name, property)
            && let Some(inner) = below(property, decl)
        {
            rules.properties.insert(name.clone(), inner);
        }
    }
    let empty = rules.own.is_empty()
        && rules.items.is_none()
        && rules.additional.is_none()
        && rules.properties.is_empty();
    (!empty).then_some(rules)
}
