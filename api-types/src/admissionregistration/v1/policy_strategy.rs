//! Policies of both sorts and their bindings: defaults and what is refused when they are written, all but their
//! expressions, which the server compiles.

use super::{
    AnyBinding, AnyPolicy, BindingHead, FailurePolicyType, MatchCondition, MatchPolicyType, MatchResources,
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, Mutation, NamedRuleWithOperations, ParamKind,
    ParamRef, PatchType, PolicyHead, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, Validation,
    ValidationAction,
};
use crate::field::{Errors, Path};
use crate::kind::{Column, Strategy, set_generation};
use crate::names;
use crate::selector;
use std::collections::BTreeSet;

const MOST_CONDITIONS: usize = 64;
const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];

impl MatchResources {
    fn set_defaults(&mut self) {
        self.match_policy.get_or_insert(MatchPolicyType::Equivalent);
        self.namespace_selector.get_or_insert_default();
        self.object_selector.get_or_insert_default();
        for rule in self.resource_rules.iter_mut().chain(&mut self.exclude_resource_rules) {
            rule.rule.set_defaults();
        }
    }

    fn validate(&self, path: &Path, errors: &mut Errors) {
        if let Some(policy) = &self.match_policy {
            errors.choice(&path.child("matchPolicy"), policy.as_str(), &["Equivalent", "Exact"]);
        }
        for (name, own) in
            [("namespaceSelector", &self.namespace_selector), ("objectSelector", &self.object_selector)]
        {
            match own {
                Some(own) => selector::validate(own, &path.child(name), errors),
                None => errors.required(&path.child(name), ""),
            }
        }
        for (name, rules) in
            [("resourceRules", &self.resource_rules), ("excludeResourceRules", &self.exclude_resource_rules)]
        {
            for (place, rule) in rules.iter().enumerate() {
                named(rule, &path.child(name).index(place), errors);
            }
        }
    }
}

fn named(rule: &NamedRuleWithOperations, path: &Path, errors: &mut Errors) {
    rule.rule.validate(path, errors);
    let mut seen = BTreeSet::new();
    for (place, name) in rule.resource_names.iter().enumerate() {
        let path = path.child("resourceNames").index(place);
        errors.wrong(&path, name, names::path_segment(name));
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
    }
}

fn breaks(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

impl Validation {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        let (expression, message) = (self.expression.trim(), self.message.trim());
        if expression.is_empty() {
            errors.required(&path.child("expression"), "expression is not specified");
        }
        if !self.message_expression.is_empty() && self.message_expression.trim().is_empty() {
            let text = "must be non-empty if specified";
            errors.invalid(&path.child("messageExpression"), &self.message_expression, text);
        }
        if !self.message.is_empty() && message.is_empty() {
            errors.invalid(&path.child("message"), &self.message, "message must be non-empty if specified");
        } else if breaks(message) {
            errors.invalid(&path.child("message"), &self.message, "message must not contain line breaks");
        } else if breaks(expression) && message.is_empty() {
            let text = "message must be specified if expression contains line breaks";
            errors.required(&path.child("message"), text);
        }
        if let Some(reason) = &self.reason {
            errors.choice(&path.child("reason"), reason.as_str(), &REASONS);
        }
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What both sorts have.
fn common(own: PolicyHead<'_>, errors: &mut Errors) {
    let path = Path::new("spec");
    match own.failure_policy {
        None => errors.required(&path.child("failurePolicy"), ""),
        Some(policy) => errors.choice(&path.child("failurePolicy"), policy.as_str(), &["Fail", "Ignore"]),
    }
    if let Some(kind) = own.param_kind {
        let path = path.child("paramKind");
        if kind.api_version.is_empty() {
            errors.required(&path.child("apiVersion"), "");
        } else {
            let version = kind.api_version.rsplit('/').next().unwrap_or_default();
            if kind.api_version.matches('/').count() > 1 || !names::dns1035_label(version).is_empty() {
                let text = "must be a valid group version";
                errors.invalid(&path.child("apiVersion"), &kind.api_version, text);
            }
        }
        if kind.kind.is_empty() {
            errors.required(&path.child("kind"), "");
        } else {
            errors.wrong(&path.child("kind"), &kind.kind, names::dns1035_label(&kind.kind.to_lowercase()));
        }
    }
    match own.constraints {
        None => errors.required(&path.child("matchConstraints"), ""),
        Some(resources) => {
            let path = path.child("matchConstraints");
            resources.validate(&path, errors);
            if resources.resource_rules.is_empty() {
                errors.required(&path.child("resourceRules"), "");
            }
        }
    }
    conditions(own.conditions, &path.child("matchConditions"), errors);
    let mut seen = BTreeSet::new();
    for (place, variable) in own.variables.iter().enumerate() {
        let path = path.child("variables").index(place);
        if variable.name.is_empty() {
            errors.required(&path.child("name"), "name is not specified");
        } else {
            if !is_identifier(&variable.name) {
                errors.invalid(&path.child("name"), &variable.name, "name is not a valid CEL identifier");
            }
            if !seen.insert(&variable.name) {
                errors.duplicate(&path.child("name"), &variable.name);
            }
        }
        if variable.expression.trim().is_empty() {
            errors.required(&path.child("expression"), "expression is not specified");
        }
    }
}

fn policy(own: &ValidatingAdmissionPolicy, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = &own.spec;
    common(own.head(), errors);
    if spec.validations.is_empty() && spec.audit_annotations.is_empty() {
        let text = "validations or auditAnnotations must contain at least one item";
        errors.required(&path.child("validations"), text);
        errors.required(&path.child("auditAnnotations"), text);
    }
    for (place, validation) in spec.validations.iter().enumerate() {
        validation.validate(&path.child("validations").index(place), errors);
    }
    let mut seen = BTreeSet::new();
    for (place, annotation) in spec.audit_annotations.iter().enumerate() {
        let path = path.child("auditAnnotations").index(place);
        if annotation.key.is_empty() {
            errors.required(&path.child("key"), "");
        } else {
            let key = format!("{}/{}", own.metadata.name, annotation.key);
            errors.wrong(&path.child("key"), &key, names::qualified_name(&key));
            if !seen.insert(&annotation.key) {
                errors.duplicate(&path.child("key"), &annotation.key);
            }
        }
        if annotation.value_expression.trim().is_empty() {
            errors.required(&path.child("valueExpression"), "valueExpression is not specified");
        }
    }
}

/// Operations of which a policy can change what is written.
fn changeable(resources: Option<&MatchResources>, path: &Path, errors: &mut Errors) {
    let rules = resources.map(|own| own.resource_rules.as_slice()).unwrap_or_default();
    for operation in rules.iter().flat_map(|rule| &rule.rule.operations) {
        let path = path.child("resourceRules").child("operations");
        errors.choice(&path, operation.as_str(), &["*", "CONNECT", "CREATE", "UPDATE"]);
    }
}

fn mutating(own: &MutatingAdmissionPolicy, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = &own.spec;
    common(own.head(), errors);
    changeable(spec.match_constraints.as_deref(), &path.child("matchConstraints"), errors);
    if spec.mutations.is_empty() {
        errors.required(&path.child("mutations"), "mutations must contain at least one item");
    }
    for (place, mutation) in spec.mutations.iter().enumerate() {
        mutation.validate(&path.child("mutations").index(place), errors);
    }
    let reinvocation = path.child("reinvocationPolicy");
    match spec.reinvocation_policy.as_str() {
        "" => errors.required(&reinvocation, ""),
        policy => errors.choice(&reinvocation, policy, &["IfNeeded", "Never"]),
    }
}

impl Mutation {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        let expression = |text: &str, path: &Path, errors: &mut Errors| {
            if text.trim().is_empty() {
                errors.required(&path.child("expression"), "");
            }
        };
        let (patch, apply) = (path.child("jsonPatch"), path.child("applyConfiguration"));
        match &self.patch_type {
            PatchType::JSONPatch => {
                match &self.json_patch {
                    None => errors.required(&patch, "must be specified when patchType is JSONPatch"),
                    Some(own) => expression(&own.expression, &patch, errors),
                }
                if self.apply_configuration.is_some() {
                    let text = "must not be specified when patchType is JSONPatch";
                    errors.invalid(&apply, "{applyConfiguration}", text);
                }
            }
            PatchType::ApplyConfiguration => {
                match &self.apply_configuration {
                    None => errors.required(&apply, "must be specified when patchType is ApplyConfiguration"),
                    Some(own) => expression(&own.expression, &apply, errors),
                }
                if self.json_patch.is_some() {
                    let text = "must not be specified when patchType is ApplyConfiguration";
                    errors.invalid(&patch, "{jsonPatch}", text);
                }
            }
            other => match other.as_str() {
                "" => errors.required(&path.child("patchType"), ""),
                given => {
                    let known = ["ApplyConfiguration", "JSONPatch"];
                    errors.not_supported(&path.child("patchType"), given, &known);
                }
            },
        }
    }
}

fn conditions(all: &[MatchCondition], path: &Path, errors: &mut Errors) {
    if all.len() > MOST_CONDITIONS {
        errors.too_many(path, all.len(), MOST_CONDITIONS);
    }
    let mut seen = BTreeSet::new();
    for (place, condition) in all.iter().enumerate() {
        let path = path.index(place);
        if condition.expression.trim().is_empty() {
            errors.required(&path.child("expression"), "");
        }
        if condition.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.wrong(&path.child("name"), &condition.name, names::qualified_name(&condition.name));
            if !seen.insert(&condition.name) {
                errors.duplicate(&path.child("name"), &condition.name);
            }
        }
    }
}

fn shown_kind(kind: Option<&ParamKind>) -> String {
    kind.map_or_else(|| "<unset>".to_owned(), |kind| format!("{}/{}", kind.api_version, kind.kind))
}

fn shown_reference(reference: Option<&ParamRef>) -> String {
    match reference.map(|own| (own.name.as_str(), own.namespace.as_str())) {
        None => "<unset>".to_owned(),
        Some(("", _)) => "*".to_owned(),
        Some((name, "")) => name.to_owned(),
        Some((name, namespace)) => format!("{namespace}/{name}"),
    }
}

impl Strategy for ValidatingAdmissionPolicy {
    const UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&mut self) {
        self.spec.failure_policy.get_or_insert(FailurePolicyType::Fail);
        if let Some(resources) = &mut self.spec.match_constraints {
            resources.set_defaults();
        }
    }

    fn prepare_for_create(&mut self) {
        self.status = Default::default();
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.keep_for_status(&old.metadata);
    }

    fn validate_create(&self, errors: &mut Errors) {
        policy(self, errors);
    }

    fn validate_update(&self, _old: &Self, errors: &mut Errors) {
        policy(self, errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::integer("Validations", "Number of conditions.", |own, _| {
                    own.spec.validations.len().into()
                }),
                Column::text("ParamKind", "Kind of the parameters.", |own, _| {
                    shown_kind(own.spec.param_kind.as_deref()).into()
                }),
                Column::age(),
            ]
        }
    }
}

impl ParamRef {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        match (self.name.is_empty(), &self.selector) {
            (true, None) => errors.required(path, "one of name or selector must be specified"),
            (false, Some(_)) => {
                errors.forbidden(&path.child("name"), "name and selector are mutually exclusive");
            }
            (false, None) => {
                errors.wrong(&path.child("name"), &self.name, names::path_segment(&self.name));
            }
            (true, Some(own)) => selector::validate(own, &path.child("selector"), errors),
        }
        match &self.parameter_not_found_action {
            None => errors.required(&path.child("parameterNotFoundAction"), ""),
            Some(action) => {
                errors.choice(&path.child("parameterNotFoundAction"), action.as_str(), &["Allow", "Deny"]);
            }
        }
    }
}

/// What bindings of both sorts have.
fn bound(own: BindingHead<'_>, errors: &mut Errors) {
    let BindingHead { policy, resources, param_ref: reference } = own;
    let path = Path::new("spec");
    if policy.is_empty() {
        errors.required(&path.child("policyName"), "");
    } else {
        errors.wrong(&path.child("policyName"), policy, names::dns1123_subdomain(policy));
    }
    if let Some(reference) = reference {
        reference.validate(&path.child("paramRef"), errors);
    }
    if let Some(resources) = resources {
        resources.validate(&path.child("matchResources"), errors);
    }
}

fn mutating_binding(own: &MutatingAdmissionPolicyBinding, errors: &mut Errors) {
    let spec = &own.spec;
    bound(own.head(), errors);
    changeable(spec.match_resources.as_deref(), &Path::new("spec").child("matchResources"), errors);
}

fn binding(own: &ValidatingAdmissionPolicyBinding, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = &own.spec;
    bound(own.head(), errors);
    let actions = path.child("validationActions");
    if spec.validation_actions.is_empty() {
        errors.required(&actions, "at least one validation action is required");
    }
    for (place, action) in spec.validation_actions.iter().enumerate() {
        errors.choice(&actions.index(place), action.as_str(), &["Audit", "Deny", "Warn"]);
        if spec.validation_actions[..place].contains(action) {
            errors.duplicate(&actions.index(place), action.as_str());
        }
    }
    let has = |action: ValidationAction| spec.validation_actions.contains(&action);
    if has(ValidationAction::Deny) && has(ValidationAction::Warn) {
        let list = &spec.validation_actions as &dyn crate::value::Value;
        let text = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.invalid(&actions, list, text);
    }
}

impl Strategy for ValidatingAdmissionPolicyBinding {
    const UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&mut self) {
        if let Some(resources) = &mut self.spec.match_resources {
            resources.set_defaults();
        }
    }

    fn prepare_for_create(&mut self) {
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate_create(&self, errors: &mut Errors) {
        binding(self, errors);
    }

    fn validate_update(&self, _old: &Self, errors: &mut Errors) {
        binding(self, errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("PolicyName", "Name of the policy.", |own, _| {
                    own.spec.policy_name.clone().into()
                }),
                Column::text("ParamRef", "The parameters.", |own, _| {
                    shown_reference(own.spec.param_ref.as_deref()).into()
                }),
                Column::age(),
            ]
        }
    }
}

impl Strategy for MutatingAdmissionPolicy {
    const UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&mut self) {
        self.spec.failure_policy.get_or_insert(FailurePolicyType::Fail);
        if let Some(resources) = &mut self.spec.match_constraints {
            resources.set_defaults();
        }
    }

    fn prepare_for_create(&mut self) {
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate_create(&self, errors: &mut Errors) {
        mutating(self, errors);
    }

    fn validate_update(&self, _old: &Self, errors: &mut Errors) {
        mutating(self, errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::integer("Mutations", "Number of changes.", |own, _| own.spec.mutations.len().into()),
                Column::text("ParamKind", "Kind of the parameters.", |own, _| {
                    shown_kind(own.spec.param_kind.as_deref()).into()
                }),
                Column::age(),
            ]
        }
    }
}

impl Strategy for MutatingAdmissionPolicyBinding {
    const UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&mut self) {
        if let Some(resources) = &mut self.spec.match_resources {
            resources.set_defaults();
        }
    }

    fn prepare_for_create(&mut self) {
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate_create(&self, errors: &mut Errors) {
        mutating_binding(self, errors);
    }

    fn validate_update(&self, _old: &Self, errors: &mut Errors) {
        mutating_binding(self, errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("PolicyName", "Name of the policy.", |own, _| {
                    own.spec.policy_name.clone().into()
                }),
                Column::text("ParamRef", "The parameters.", |own, _| {
                    shown_reference(own.spec.param_ref.as_deref()).into()
                }),
                Column::age(),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use crate::kind::testing::{defaulted, refused};

    #[test]
    fn policies_without_anything_are_refused() {
        assert_eq!(
            refused(defaulted(ValidatingAdmissionPolicy::default()))
                .into_iter()
                .filter(|text| text.starts_with("spec"))
                .collect::<Vec<_>>(),
            [
                "spec.matchConstraints: Required value",
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ]
        );
    }

    #[test]
    fn bindings_say_what_follows() {
        let mut own = ValidatingAdmissionPolicyBinding::default();
        own.spec.policy_name = "p".into();
        own.spec.validation_actions = vec![ValidationAction::Deny, ValidationAction::Warn];
        own.spec.param_ref = Some(Box::default());
        let found = refused(defaulted(own));
        assert!(found.iter().any(|text| text.contains("must not contain both Deny and Warn")), "{found:?}");
        assert!(found.contains(
            &"spec.paramRef: Required value: one of name or selector must be specified".to_owned()
        ));
        assert!(found.contains(&"spec.paramRef.parameterNotFoundAction: Required value".to_owned()));
    }

    #[test]
    fn changes_are_of_one_sort() {
        let mut own = MutatingAdmissionPolicy::default();
        own.spec.mutations = vec![Mutation {
            patch_type: PatchType::JSONPatch,
            apply_configuration: Some(Box::default()),
            json_patch: None,
        }];
        let found = refused(defaulted(own));
        for expected in [
            "spec.matchConstraints: Required value",
            "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
            "spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch",
            "spec.reinvocationPolicy: Required value",
        ] {
            assert!(found.iter().any(|text| text == expected), "{expected}: {found:#?}");
        }
    }
}
