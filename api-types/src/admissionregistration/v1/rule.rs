//! What webhooks and policies have in common: which requests they are about.

use crate::field::{Errors, Path};
use crate::open_enum::open_enum;
use crate::value::Value;
use api_types_derive::Api;

/// Resources that something is about. All of its lists have to match.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct Rule {
    /// Groups of the resources; `*` alone means all.
    #[api(1, name = "apiGroups", list = atomic)]
    pub api_groups: Vec<String>,
    /// Versions of the resources; `*` alone means all.
    #[api(2, name = "apiVersions", list = atomic)]
    pub api_versions: Vec<String>,
    /// Resources, as `pods`, `pods/log`, `pods/*`, `*/scale`, `*` (no subresources) or `*/*`.
    #[api(3, list = atomic)]
    pub resources: Vec<String>,
    /// Only resources outside of namespaces (`Cluster`), only those within (`Namespaced`), or all.
    #[api(4)]
    pub scope: Option<ScopeType>,
}

open_enum! {
    /// Where the resources of a rule live.
    pub enum ScopeType {
        Cluster = "Cluster",
        Namespaced = "Namespaced",
        All = "*",
    }
}

/// Resources, and what is done to them.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct RuleWithOperations {
    /// CREATE, UPDATE, DELETE, CONNECT; `*` alone means all.
    #[api(1, list = atomic)]
    pub operations: Vec<OperationType>,
    /// The resources.
    #[api(2, inline)]
    pub rule: Rule,
}

open_enum! {
    /// What is done to an object.
    pub enum OperationType {
        All = "*",
        Create = "CREATE",
        Update = "UPDATE",
        Delete = "DELETE",
        Connect = "CONNECT",
    }
}

/// As [`RuleWithOperations`], for some names only.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1", structure = atomic)]
pub struct NamedRuleWithOperations {
    /// Names of the objects; all when empty.
    #[api(1, list = atomic)]
    pub resource_names: Vec<String>,
    /// The resources, and what is done to them.
    #[api(2, inline)]
    pub rule: RuleWithOperations,
}

open_enum! {
    /// What becomes of a request when the answer about it cannot be had.
    pub enum FailurePolicyType {
        Ignore = "Ignore",
        Fail = "Fail",
    }
}

open_enum! {
    /// Whether a rule is about other versions of the same objects, too.
    pub enum MatchPolicyType {
        Exact = "Exact",
        Equivalent = "Equivalent",
    }
}

open_enum! {
    /// Whether something that changes objects is asked again when others have changed them since.
    pub enum ReinvocationPolicyType {
        Never = "Never",
        IfNeeded = "IfNeeded",
    }
}

/// A condition in CEL that a request has to meet.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.admissionregistration.v1")]
pub struct MatchCondition {
    /// Name of the condition, for logs and messages.
    #[api(1, required)]
    pub name: String,
    /// An expression of type bool over `object`, `oldObject`, `request` and `authorizer`.
    #[api(2, required)]
    pub expression: String,
}

impl RuleWithOperations {
    /// All resources but those in only one sort of place.
    pub fn set_defaults(&mut self) {
        self.rule.scope.get_or_insert(ScopeType::All);
    }

    pub fn validate(&self, path: &Path, errors: &mut Errors) {
        let operations = path.child("operations");
        if self.operations.is_empty() {
            errors.required(&operations, "");
        }
        if self.operations.len() > 1 && self.operations.contains(&OperationType::All) {
            errors.invalid(
                &operations,
                &self.operations as &dyn Value,
                "if '*' is present, must not specify other operations",
            );
        }
        for (n, operation) in self.operations.iter().enumerate() {
            errors.choice(
                &operations.index(n),
                operation.as_str(),
                &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"],
            );
        }
        self.rule.validate(path, errors);
    }
}

impl Rule {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        let all = |list: &[String]| list.len() > 1 && list.iter().any(|one| one == "*");
        let groups = path.child("apiGroups");
        if self.api_groups.is_empty() {
            errors.required(&groups, "");
        }
        if all(&self.api_groups) {
            let list = &self.api_groups as &dyn Value;
            errors.invalid(&groups, list, "if '*' is present, must not specify other API groups");
        }
        let versions = path.child("apiVersions");
        if self.api_versions.is_empty() {
            errors.required(&versions, "");
        }
        if all(&self.api_versions) {
            let list = &self.api_versions as &dyn Value;
            errors.invalid(&versions, list, "if '*' is present, must not specify other API versions");
        }
        for (n, _) in self.api_versions.iter().enumerate().filter(|(_, version)| version.is_empty()) {
            errors.required(&versions.index(n), "");
        }
        self.validate_resources(&path.child("resources"), errors);
        if let Some(scope) = &self.scope {
            errors.choice(&path.child("scope"), scope.as_str(), &["*", "Cluster", "Namespaced"]);
        }
    }

    /// A wildcard must not stand beside what it covers already.
    fn validate_resources(&self, path: &Path, errors: &mut Errors) {
        if self.resources.is_empty() {
            errors.required(path, "");
        }
        let (mut whole, mut everywhere) = (Vec::new(), Vec::new());
        let (mut all, mut every, mut plain) = (false, false, false);
        for (n, text) in self.resources.iter().enumerate() {
            let path = path.index(n);
            match text.as_str() {
                "" => {
                    errors.required(&path, "");
                    continue;
                }
                "*/*" => all = true,
                "*" => every = true,
                _ => {}
            }
            let Some((resource, subresource)) = text.split_once('/') else {
                // COMPAT: the last one counts, as it always has.
                plain = text != "*";
                continue;
            };
            if whole.contains(&resource) {
                let why = format!("if '{resource}/*' is present, must not specify {text}");
                errors.invalid(&path, text, why);
            }
            if everywhere.contains(&subresource) {
                let why = format!("if '*/{subresource}' is present, must not specify {text}");
                errors.invalid(&path, text, why);
            }
            if subresource == "*" {
                whole.push(resource);
            }
            if resource == "*" {
                everywhere.push(subresource);
            }
        }
        let list = &self.resources as &dyn Value;
        if self.resources.len() > 1 && all {
            errors.invalid(path, list, "if '*/*' is present, must not specify other resources");
        }
        if every && plain {
            let why = "if '*' is present, must not specify other resources without subresources";
            errors.invalid(path, list, why);
        }
    }
}
