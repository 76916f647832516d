//! Policies that change what is written (KEP-3962) with their expressions compiled, and what they make of an object.
//!
//! An expression gives an `Object{…}` that is laid over the object as server-side apply does, without owning
//! anything, or a list of `JSONPatch{…}`.

use api_types::admissionregistration::v1::{
    FailurePolicyType, MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, PatchType,
};
use api_types::custom::Custom;
use api_types::field::{Errors, Path};
use api_types::kind::{Object, Row};
use api_types::schema::managed_fields::{Root, atomic_parts, laid_over, listed, mismatches};
use json_patch::PatchErrorKind;
use serde_json::{Value as Json, json};

use super::head::{Complaint, Head, compile, complaints};
use super::known::Sort;
use super::validating::OUT_OF_BUDGET;
use crate::admission::Request;
use crate::authz::Authorizer;
use crate::cel::admission::{self, Input, Matched, Names};
use crate::cel::{Activation, OBJECT_BUDGET, Program, Type, Value, made};
use crate::operations::operate;

/// Policies that change.
pub struct Mutating;

impl Sort for Mutating {
    type Policy = MutatingAdmissionPolicy;
    type Binding = MutatingAdmissionPolicyBinding;
    type Compiled = Compiled;

    fn compile(policy: &MutatingAdmissionPolicy) -> Compiled {
        build(policy, &mut |_, _, _, _, _| {})
    }
}

/// A policy, ready to be asked.
pub struct Compiled {
    name: String,
    ignores: bool,
    head: Head,
    pub mutations: Vec<Mutation>,
}

/// One change.
pub struct Mutation {
    expression: String,
    patches: bool,
    program: Result<Program, String>,
}

/// What expressions see beside the object.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    pub namespace: &'a Json,
    pub params: &'a Json,
    pub authorizer: &'a dyn Authorizer,
}

fn build(policy: &MutatingAdmissionPolicy, wrong: &mut Complaint<'_>) -> Compiled {
    let spec = &policy.spec;
    let params = spec.param_kind.is_some();
    let names = Names { namespace_object: true, params, authorizer: true, variables: true };
    let mut env = admission::env(names).with_made();
    let head = Head::new(names, &spec.match_conditions, &spec.variables, &mut [&mut env], wrong);
    let object = made::named(made::OBJECT).expect("it is one of the types");
    let patch = Type::list(made::named(made::PATCH).expect("it is one of the types"));
    let mut mutations = Vec::new();
    for (place, mutation) in spec.mutations.iter().enumerate() {
        let patches = mutation.patch_type == PatchType::JSONPatch;
        let (field, text, ty) = match (&mutation.apply_configuration, &mutation.json_patch) {
            (_, Some(own)) if patches => ("jsonPatch.expression", own.expression.trim(), &patch),
            (Some(own), _) if !patches => ("applyConfiguration.expression", own.expression.trim(), &object),
            _ => continue,
        };
        let program = compile(&env, text, std::slice::from_ref(ty));
        if let Err(why) = &program {
            wrong("mutations", place, field, text, why);
        }
        mutations.push(Mutation { expression: text.to_owned(), patches, program });
    }
    let ignores = spec.failure_policy == Some(FailurePolicyType::Ignore);
    Compiled { name: policy.metadata.name.clone(), ignores, head, mutations }
}

/// What is wrong with the expressions of a policy.
pub fn check(policy: &MutatingAdmissionPolicy, path: &Path, errors: &mut Errors) {
    build(policy, &mut complaints(path, errors));
}

impl Compiled {
    fn activation<'a>(
        &'a self,
        input: &'a Input,
        around: Surroundings<'a>,
        request: &Request<'_>,
    ) -> Activation<'a> {
        let Surroundings { namespace, params, authorizer } = around;
        admission::activation(input, namespace, params, request, authorizer, &self.head.variables)
    }

    /// Whether the request meets the policy's conditions.
    ///
    /// # Errors
    /// When that cannot be said, and requests fail then.
    pub fn matches(
        &self,
        input: &Input,
        around: Surroundings<'_>,
        request: &Request<'_>,
    ) -> Result<bool, String> {
        let activation = self.activation(input, around, request);
        match self.head.matches(&self.name, request.operation, &activation) {
            Matched::Yes => Ok(true),
            Matched::No(_) => Ok(false),
            Matched::Failed(_) if self.ignores => Ok(false),
            Matched::Failed(text) => Err(text),
        }
    }

    /// What a change makes of the object of `input`, which `root` describes (nothing does what is connected to);
    /// `None` where it leaves it as it is.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn changed(
        &self,
        mutation: &Mutation,
        root: Option<&Root>,
        input: &Input,
        around: Surroundings<'_>,
        request: &Request<'_>,
    ) -> Result<Option<Json>, String> {
        if let Some(broken) = &self.head.broken {
            return Err(broken.clone());
        }
        let program = mutation.program.as_ref().map_err(Clone::clone)?;
        let activation = self.activation(input, around, request);
        let (result, cost) = program.eval(&activation);
        if cost > OBJECT_BUDGET.unsigned_abs() {
            return Err(OUT_OF_BUDGET.to_owned());
        }
        let value = result
            .map_err(|error| format!("expression '{}' resulted in error: {error}", mutation.expression))?;
        if mutation.patches { patched(&value, &input.object) } else { applied(&value, root, &input.object) }
    }
}

/// The schema of what a policy sees: of an object, or of its kind in another version.
pub fn root_of(object: &dyn Object, version: Option<&'static Row>) -> Root {
    match version {
        Some(row) if object.kind().kind == row.kind.kind => row.root(),
        _ => match Custom::of(object) {
            Some(custom) => Root::Custom(custom.definition.clone()),
            None => Root::Typed(object.as_dyn_struct().struct_type()),
        },
    }
}

fn patched(value: &Value<'_>, object: &Json) -> Result<Option<Json>, String> {
    let mut operations = Vec::new();
    for item in value.elements().ok_or("type mismatch: JSONPatchType.expression should evaluate to array")? {
        let Value::Made(made) = &item else {
            let text = "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of";
            return Err(format!("{text} {}", item.type_name()));
        };
        let mut operation = json!({"op": "", "path": ""});
        for (name, value) in &made.fields {
            if let Value::Made(inner) = value {
                misplaced(inner)?;
            }
            operation[&**name] = value.json().map_err(|why| {
                format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {why}")
            })?;
        }
        if operation["from"] == "" {
            operation.as_object_mut().map(|own| own.remove("from"));
        }
        operations.push(operation);
    }
    let patch: json_patch::Patch =
        serde_json::from_value(Json::Array(operations)).map_err(|error| format!("JSON Patch: {error}"))?;
    let mut patched = object.clone();
    match patch.0.iter().try_for_each(|operation| operate(&mut patched, operation)) {
        Ok(()) => Ok(Some(patched)),
        Err(error) if matches!(error.kind, PatchErrorKind::TestFailed) => Ok(None),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}

fn misplaced(made: &made::Made<'_>) -> Result<(), String> {
    match made.misplaced().as_slice() {
        [] => Ok(()),
        found => Err(format!("type mismatch: {}", found.join("\n"))),
    }
}

fn applied(value: &Value<'_>, root: Option<&Root>, object: &Json) -> Result<Option<Json>, String> {
    let Value::Made(made) = value else {
        let ty = value.type_name();
        return Err(format!("unsupported return type from ApplyConfiguration expression: {ty}"));
    };
    misplaced(made)?;
    let mut config = value.json().map_err(|why| format!("invalid return type: {why}"))?;
    for name in ["kind", "apiVersion"] {
        config[name] = object[name].clone();
    }
    let Some(root) = root else {
        let kind = object["kind"].as_str().unwrap_or_default();
        return Err(format!(
            "error applying patch: failed to convert patch object to typed object: no corresponding type for /v1, \
             Kind={kind}"
        ));
    };
    let found = mismatches(root.clone(), &config);
    if !found.is_empty() {
        let why = listed(&found);
        return Err(format!("error applying patch: failed to convert patch object to typed object: {why}"));
    }
    let atomic = atomic_parts(root.clone(), &config);
    if !atomic.is_empty() {
        return Err(format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomic.join(", ")
        ));
    }
    Ok(Some(laid_over(root.clone(), object, &config)))
}
