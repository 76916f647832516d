//! Doubts about a policy's expressions: what they would make of the types that the policy is about. A policy is not
//! refused for them: types may change, and a rule may be meant for others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api_types::admissionregistration::v1::{ExpressionWarning, ValidatingAdmissionPolicy};
use api_types::custom::Custom;
use api_types::kind::{Kind, Row};
use api_types::kinds;
use api_types::schema::{StructType, Type as Declared};

use crate::cel::admission::{self, Names};
use crate::cel::types::escape;
use crate::cel::{Decl, Env, Type};
use crate::crd::rules;

/// Types that a rule is held against at most.
const MOST_TYPES: usize = 10;

/// The doubts about a policy, by expression.
pub fn doubts(policy: &ValidatingAdmissionPolicy) -> Vec<ExpressionWarning> {
    let spec = &policy.spec;
    let params = spec.param_kind.as_deref().and_then(|kind| {
        let (group, version) = kind.api_version.rsplit_once('/').unwrap_or(("", &kind.api_version));
        kinds::by_kind(group, version, &kind.kind)
    });
    let params = params.and_then(decl);
    let names = Names {
        namespace_object: true,
        params: spec.param_kind.is_some(),
        authorizer: true,
        variables: true,
    };
    let envs: Vec<(String, Env)> = types(policy)
        .into_iter()
        .filter_map(|row| {
            let object = decl(row)?;
            let Kind { group, version, kind, .. } = row.kind;
            let mut env = admission::typed_env(names, Some(&object), params.as_ref());
            for variable in &spec.variables {
                // What does not compile is told where it is used: as a field that is not there.
                if let Ok(program) = env.compile(&variable.expression) {
                    env.compute(&variable.name, program.ty().clone());
                }
            }
            Some((format!("{group}/{version}, Kind={kind}"), env))
        })
        .collect();
    let mut found = Vec::new();
    let mut check = |place: usize, field: &str, text: &str| {
        let told = envs.iter().filter_map(|(name, env)| {
            let error = env.compile(text).err()?;
            Some(format!("{name}: {error}\n"))
        });
        let told: Vec<String> = told.collect();
        if !told.is_empty() {
            let field_ref = format!("spec.validations[{place}].{field}");
            found.push(ExpressionWarning { field_ref, warning: told.join("\n") });
        }
    };
    for (place, validation) in spec.validations.iter().enumerate() {
        check(place, "expression", &validation.expression);
        if !validation.message_expression.is_empty() {
            check(place, "messageExpression", &validation.message_expression);
        }
    }
    found
}

/// The kinds that a policy names; rules with wildcards name none.
fn types(policy: &ValidatingAdmissionPolicy) -> Vec<&'static Row> {
    let mut found: BTreeMap<(&str, &str, &str), &'static Row> = BTreeMap::new();
    let rules = policy.spec.match_constraints.as_ref().map(|own| own.resource_rules.as_slice());
    for rule in rules.unwrap_or_default() {
        let rule = &rule.rule.rule;
        let wild = |list: &[String]| list.iter().any(|one| one.contains('*'));
        if wild(&rule.api_groups) || wild(&rule.api_versions) {
            continue;
        }
        let sorted = |list: &[String]| list.iter().cloned().collect::<BTreeSet<String>>();
        for group in sorted(&rule.api_groups) {
            for version in sorted(&rule.api_versions) {
                for resource in sorted(&rule.resources) {
                    let Some(row) = kinds::by_resource(&group, &version, &resource) else { continue };
                    if found.len() < MOST_TYPES {
                        found.insert((row.kind.group, row.kind.version, row.kind.kind), row);
                    }
                }
            }
        }
    }
    found.into_values().collect()
}

/// The type of a kind's objects.
fn decl(row: &'static Row) -> Option<Arc<Decl>> {
    let object = (row.new)();
    let found = match Custom::of(&*object) {
        Some(custom) => {
            let Type::Object(own) = rules::declaration(&custom.definition.schema)?.ty else { return None };
            let mut typed = fields(Custom::schema(), &mut Vec::new());
            typed.extend(own.fields.clone().into_iter().filter(|(name, _)| name != "metadata"));
            Decl::object(row.kind.kind, typed, 2)
        }
        None => {
            let mut fields = fields(object.as_dyn_struct().struct_type(), &mut Vec::new());
            for name in ["kind", "apiVersion"] {
                fields.insert(name.to_owned(), Arc::new(Decl::string()));
            }
            Decl::object(row.kind.kind, fields, 2)
        }
    };
    Some(Arc::new(found))
}

fn fields(table: &'static StructType, above: &mut Vec<&'static str>) -> BTreeMap<String, Arc<Decl>> {
    let fields = table.json_fields();
    fields.filter_map(|field| Some((escape(field.name)?, Arc::new(of((field.ty)(), above))))).collect()
}

fn of(ty: &'static Declared, above: &mut Vec<&'static str>) -> Decl {
    match ty {
        Declared::Bool => Decl::scalar(Type::Bool, 4),
        Declared::Int32 | Declared::Int64 => Decl::scalar(Type::Int, 1),
        Declared::Double => Decl::scalar(Type::Double, 1),
        Declared::String | Declared::Enum(..) | Declared::Duration | Declared::Quantity => Decl::string(),
        Declared::Bytes => Decl::scalar(Type::Bytes, 2),
        Declared::Time | Declared::MicroTime => Decl::scalar(Type::Timestamp, 21),
        Declared::StringList => Decl::list(Decl::string(), None),
        Declared::List(item) => Decl::list(of(item(), above), None),
        Declared::Map(item) => Decl::map(of(item(), above), None),
        Declared::Struct(table) => {
            let table = table();
            // A type within itself has no end: what is below is left open.
            if above.contains(&table.name) {
                return Decl::scalar(Type::Dyn, 2);
            }
            above.push(table.name);
            let fields = fields(table, above);
            above.pop();
            Decl::object(&table.definition(), fields, 2)
        }
        Declared::IntOrString | Declared::RawExtension | Declared::FieldsV1 | Declared::Named(..) => {
            Decl::scalar(Type::Dyn, 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::admissionregistration::v1::{
        MatchResources, NamedRuleWithOperations, Rule, RuleWithOperations, Validation, Variable,
    };

    fn policy(groups: &[&str], expression: &str, message: &str) -> ValidatingAdmissionPolicy {
        let mut own = ValidatingAdmissionPolicy::default();
        let rule = Rule {
            api_groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            api_versions: vec!["v1".into()],
            resources: vec!["deployments".into(), "deployments/scale".into()],
            scope: None,
        };
        let rule = RuleWithOperations { operations: Vec::new(), rule };
        own.spec.match_constraints = Some(Box::new(MatchResources {
            resource_rules: vec![NamedRuleWithOperations { resource_names: Vec::new(), rule }],
            ..MatchResources::default()
        }));
        own.spec.variables =
            vec![Variable { name: "count".into(), expression: "object.spec.replicas".into() }];
        own.spec.validations = vec![Validation {
            expression: expression.into(),
            message_expression: message.into(),
            ..Validation::default()
        }];
        own
    }

    #[test]
    fn expressions_are_held_against_the_types_they_are_about() {
        let told = |groups: &[&str], expression: &str, message: &str| {
            doubts(&policy(groups, expression, message))
                .into_iter()
                .map(|one| format!("{}: {}", one.field_ref, one.warning.lines().next().unwrap_or_default()))
                .collect::<Vec<_>>()
        };
        let none: [String; 0] = [];
        assert_eq!(told(&["apps"], "object.spec.replicas > 1 && variables.count < 5", ""), none);
        assert_eq!(
            told(&["apps"], "object.spec.replicas > '1'", "'got ' + variables.count"),
            [
                "spec.validations[0].expression: apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'",
                "spec.validations[0].messageExpression: apps/v1, Kind=Deployment: ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(string, int)'",
            ]
        );
        let wrong = told(&["apps"], "object.spec.nope == 1", "");
        assert!(wrong[0].ends_with("undefined field 'nope'"), "{wrong:?}");
        // With wildcards nothing is known.
        assert_eq!(told(&["*"], "object.spec.nope == 1", ""), none);
    }
}
