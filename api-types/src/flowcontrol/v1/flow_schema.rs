//! FlowSchema: which requests belong together, and to which priority level.

use super::standard;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, Subresource, resource, set_generation};
use crate::meta::v1::{ConditionStatus, ObjectMeta};
use crate::names;
use crate::open_enum::open_enum;
use crate::value::{Time, Value};
use api_types_derive::Api;

/// Tells which requests belong together, and which priority level they run at.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct FlowSchema {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The requests meant, and their level.
    #[api(2)]
    pub spec: FlowSchemaSpec,
    /// Whether the schema is in use.
    #[api(3)]
    pub status: FlowSchemaStatus,
}

/// The requests that a FlowSchema means.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct FlowSchemaSpec {
    /// The priority level that the requests run at.
    #[api(1, required)]
    pub priority_level_configuration: PriorityLevelConfigurationReference,
    /// Schemas with a lower number are asked first; 1 to 10000, 1000 when not given.
    #[api(2, always)]
    pub matching_precedence: i32,
    /// What separates one flow of requests from another; without it all are one flow.
    #[api(3)]
    pub distinguisher_method: Option<Box<FlowDistinguisherMethod>>,
    /// The requests meant: those that any of the rules matches.
    #[api(4, list = atomic)]
    pub rules: Vec<PolicyRulesWithSubjects>,
}

/// What separates one flow of requests from another.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct FlowDistinguisherMethod {
    /// ByUser or ByNamespace.
    #[api(1, required)]
    pub type_: FlowDistinguisherMethodType,
}

open_enum! {
    /// What separates one flow of requests from another.
    pub enum FlowDistinguisherMethodType {
        ByUser = "ByUser",
        ByNamespace = "ByNamespace",
    }
}

/// Names a priority level.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct PriorityLevelConfigurationReference {
    /// Name of the level.
    #[api(1, required)]
    pub name: String,
}

/// Requests, by who makes them and what they ask for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct PolicyRulesWithSubjects {
    /// Who makes the requests; any of these.
    #[api(1, required, list = atomic)]
    pub subjects: Vec<Subject>,
    /// Requests for resources; any of these rules.
    #[api(2, list = atomic)]
    pub resource_rules: Vec<ResourcePolicyRule>,
    /// Requests for other paths; any of these rules.
    #[api(3, list = atomic)]
    pub non_resource_rules: Vec<NonResourcePolicyRule>,
}

/// Who makes a request.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct Subject {
    /// User, Group or ServiceAccount.
    #[api(1, required)]
    pub kind: SubjectKind,
    /// The user, for that kind.
    #[api(2)]
    pub user: Option<Box<UserSubject>>,
    /// The group, for that kind.
    #[api(3)]
    pub group: Option<Box<GroupSubject>>,
    /// The service account, for that kind.
    #[api(4)]
    pub service_account: Option<Box<ServiceAccountSubject>>,
}

open_enum! {
    /// What sort of client a subject is.
    pub enum SubjectKind {
        User = "User",
        Group = "Group",
        ServiceAccount = "ServiceAccount",
    }
}

/// A user.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct UserSubject {
    /// Name of the user; * for all.
    #[api(1, required)]
    pub name: String,
}

/// A group of users.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct GroupSubject {
    /// Name of the group; * for all.
    #[api(1, required)]
    pub name: String,
}

/// A service account.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct ServiceAccountSubject {
    /// Namespace of the service account.
    #[api(1, required)]
    pub namespace: String,
    /// Name of the service account; * for all of the namespace.
    #[api(2, required)]
    pub name: String,
}

/// Requests for resources.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct ResourcePolicyRule {
    /// Verbs; * for all.
    #[api(1, required, list = set)]
    pub verbs: Vec<String>,
    /// API groups; * for all.
    #[api(2, required, list = set)]
    pub api_groups: Vec<String>,
    /// Resources and subresources in lower case; * for all.
    #[api(3, required, list = set)]
    pub resources: Vec<String>,
    /// Whether requests that name no namespace match.
    #[api(4)]
    pub cluster_scope: bool,
    /// Namespaces; * for all requests that name one.
    #[api(5, always, list = set)]
    pub namespaces: Vec<String>,
}

/// Requests for paths that are no resources.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct NonResourcePolicyRule {
    /// HTTP methods in lower case; * for all.
    #[api(1, required, list = set)]
    pub verbs: Vec<String>,
    /// Paths; a * may end one.
    #[api(6, required, name = "nonResourceURLs", list = set)]
    pub non_resource_urls: Vec<String>,
}

/// Whether a FlowSchema is in use.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct FlowSchemaStatus {
    /// Dangling: the priority level is not there.
    #[api(1, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<FlowSchemaCondition>,
}

/// One statement about a FlowSchema.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.flowcontrol.v1")]
pub struct FlowSchemaCondition {
    /// What the statement is about.
    #[api(1)]
    pub type_: String,
    /// True, False or Unknown.
    #[api(2)]
    pub status: ConditionStatus,
    /// When the status changed last.
    #[api(3, always)]
    pub last_transition_time: Option<Time>,
    /// Why, in one CamelCase word.
    #[api(4)]
    pub reason: String,
    /// Why, for people.
    #[api(5)]
    pub message: String,
}

resource!(
    FlowSchema,
    Kind {
        subresources: &[Subresource::status("FlowSchema")],
        ..Kind::cluster_wide("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", "flowschemas", "flowschema")
    }
);

/// Matches everything, wherever a list of names stands.
pub const ALL: &str = "*";

impl Strategy for FlowSchema {
    fn set_defaults(&mut self) {
        if self.spec.matching_precedence == 0 {
            self.spec.matching_precedence = 1000;
        }
    }

    fn prepare_for_create(&mut self) {
        self.status = FlowSchemaStatus::default();
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
    }

    fn validate(&self, errors: &mut Errors) {
        let (path, name) = (Path::new("spec"), self.metadata.name.as_str());
        self.spec.validate(name, &path, errors);
        let fixed = standard::mandatory_flow_schemas().into_iter().find(|fixed| fixed.metadata.name == name);
        if fixed.is_some_and(|fixed| fixed.spec != self.spec) {
            let text = format!("spec of '{name}' must equal the fixed value");
            errors.invalid(&path, &self.spec as &dyn Value, text);
        }
        self.validate_status(errors);
    }

    fn validate_status_update(&self, _old: &Self, errors: &mut Errors) {
        self.validate_status(errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("PriorityLevel", "The priority level that the requests run at.", |schema, _| {
                    schema.spec.priority_level_configuration.name.as_str().into()
                }),
                Column::text(
                    "MatchingPrecedence",
                    "Schemas with a lower number are asked first.",
                    |schema, _| schema.spec.matching_precedence.into(),
                ),
                Column::text(
                    "DistinguisherMethod",
                    "What separates one flow of requests from another.",
                    |schema, _| {
                        schema
                            .spec
                            .distinguisher_method
                            .as_ref()
                            .map_or("<none>", |m| m.type_.as_str())
                            .into()
                    },
                ),
                Column::age(),
                Column::text("MissingPL", "Whether the priority level is not there.", |schema, _| {
                    let dangling = schema.status.conditions.iter().find(|c| c.type_ == "Dangling");
                    dangling.map_or("?", |condition| condition.status.as_str()).into()
                }),
            ]
        }
    }
}

impl FlowSchema {
    fn validate_status(&self, errors: &mut Errors) {
        let types = self.status.conditions.iter().map(|condition| condition.type_.as_str());
        super::validate_conditions(types, errors);
    }
}

impl FlowSchemaSpec {
    fn validate(&self, name: &str, path: &Path, errors: &mut Errors) {
        let (precedence, place) = (self.matching_precedence, path.child("matchingPrecedence"));
        if precedence <= 0 {
            errors.invalid(&place, precedence, "must be a positive value");
        }
        if precedence > 10000 {
            errors.invalid(&place, precedence, "must not be greater than 10000");
        }
        if precedence == 1 && name != "exempt" {
            let text = "only the schema named 'exempt' may have matchingPrecedence 1";
            errors.invalid(&place, precedence, text);
        }
        if let Some(method) = &self.distinguisher_method
            && !["ByNamespace", "ByUser"].contains(&method.type_.as_str())
        {
            let place = path.child("distinguisherMethod").child("type");
            errors.not_supported(&place, &**method as &dyn Value, &["ByNamespace", "ByUser"]);
        }
        let (level, place) =
            (&self.priority_level_configuration.name, path.child("priorityLevelConfiguration").child("name"));
        if level.is_empty() {
            errors.required(&place, "must reference a priority level");
        } else {
            errors.wrong(&place, level, names::dns1123_subdomain(level));
        }
        for (n, rule) in self.rules.iter().enumerate() {
            rule.validate(&path.child("rules").index(n), errors);
        }
    }
}

impl PolicyRulesWithSubjects {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        if self.subjects.is_empty() {
            errors.required(&path.child("subjects"), "subjects must contain at least one value");
        }
        for (n, subject) in self.subjects.iter().enumerate() {
            subject.validate(&path.child("subjects").index(n), errors);
        }
        if self.resource_rules.is_empty() && self.non_resource_rules.is_empty() {
            errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
        }
        for (n, rule) in self.resource_rules.iter().enumerate() {
            rule.validate(&path.child("resourceRules").index(n), errors);
        }
        for (n, rule) in self.non_resource_rules.iter().enumerate() {
            rule.validate(&path.child("nonResourceRules").index(n), errors);
        }
    }
}

impl Subject {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        let parts = [
            ("serviceAccount", "ServiceAccount", self.service_account.is_some()),
            ("user", "User", self.user.is_some()),
            ("group", "Group", self.group.is_some()),
        ];
        let kind = self.kind.as_str();
        if !parts.iter().any(|(_, of, _)| *of == kind) {
            errors.not_supported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
            return;
        }
        for (name, of, given) in parts {
            if of == kind && !given {
                let text = format!("{name} is required when subject kind is '{of}'");
                errors.required(&path.child(name), text);
            }
        }
        match (kind, &self.user, &self.group, &self.service_account) {
            ("User", Some(user), ..) => errors.need(&path.child("user"), "name", &user.name),
            ("Group", _, Some(group), _) => errors.need(&path.child("group"), "name", &group.name),
            ("ServiceAccount", _, _, Some(account)) => {
                account.validate(&path.child("serviceAccount"), errors);
            }
            _ => {}
        }
        for (name, of, given) in parts {
            if of != kind && given {
                let text = format!("{name} is forbidden when subject kind is not '{of}'");
                errors.forbidden(&path.child(name), text);
            }
        }
    }
}

impl ServiceAccountSubject {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        if self.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if self.name != ALL {
            errors.wrong(&path.child("name"), &self.name, names::dns1123_subdomain(&self.name));
        }
        if self.namespace.is_empty() {
            errors.required(&path.child("namespace"), "must specify namespace for service account");
        } else {
            errors.wrong(&path.child("namespace"), &self.namespace, names::dns1123_label(&self.namespace));
        }
    }
}

/// Sorted.
const VERBS: [&str; 10] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "use", "watch"];

fn validate_verbs(verbs: &Vec<String>, path: &Path, errors: &mut Errors) {
    let path = path.child("verbs");
    if verbs.is_empty() {
        errors.required(&path, "verbs must contain at least one value");
    } else if verbs.iter().any(|verb| verb == ALL) {
        alone(verbs, &path, "verbs", errors);
    } else if !verbs.iter().all(|verb| VERBS.contains(&verb.as_str())) {
        errors.not_supported(&path, verbs as &dyn Value, &VERBS);
    }
}

/// `*` stands for all and thus alone.
fn alone(values: &Vec<String>, path: &Path, what: &str, errors: &mut Errors) {
    if values.len() > 1 && values.iter().any(|value| value == ALL) {
        let text = format!("if '*' is present, must not specify other {what}");
        errors.invalid(path, values as &dyn Value, text);
    }
}

impl ResourcePolicyRule {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        validate_verbs(&self.verbs, path, errors);
        for (name, one, several, values) in [
            ("apiGroups", "api group", "api groups", &self.api_groups),
            ("resources", "resource", "resources", &self.resources),
        ] {
            if values.is_empty() {
                let text = format!("resource rules must supply at least one {one}");
                errors.required(&path.child(name), text);
            }
            alone(values, &path.child(name), several, errors);
        }
        let path = path.child("namespaces");
        if self.namespaces.is_empty() && !self.cluster_scope {
            let text = "resource rules that are not cluster scoped must supply at least one namespace";
            errors.required(&path, text);
        } else if self.namespaces.iter().any(|namespace| namespace == ALL) {
            alone(&self.namespaces, &path, "namespaces", errors);
        } else {
            for (n, namespace) in self.namespaces.iter().enumerate() {
                for text in names::dns1123_label(namespace) {
                    let text = format!("each member of this list must be '*' or a DNS-1123 label; {text}");
                    errors.invalid(&path.index(n), namespace, text);
                }
            }
        }
    }
}

impl NonResourcePolicyRule {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        validate_verbs(&self.verbs, path, errors);
        let path = path.child("nonResourceURLs");
        if self.non_resource_urls.is_empty() {
            errors.required(&path, "nonResourceURLs must contain at least one value");
        } else if self.non_resource_urls.iter().any(|url| url == ALL) {
            alone(&self.non_resource_urls, &path, "non-resource URLs", errors);
        } else {
            for (n, url) in self.non_resource_urls.iter().enumerate() {
                if let Some(text) = wrong_url(url) {
                    errors.invalid(&path.index(n), url, text);
                }
            }
        }
    }
}

fn wrong_url(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !url.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{defaulted, refused};

    fn schema(name: &str) -> FlowSchema {
        let mut own = standard::suggested_flow_schemas().remove(0);
        own.metadata.name = name.into();
        own
    }

    #[test]
    fn what_every_cluster_has_is_accepted_as_it_is() {
        for schema in standard::mandatory_flow_schemas().into_iter().chain(standard::suggested_flow_schemas())
        {
            assert_eq!(defaulted(schema.clone()), schema);
            assert!(refused(schema.clone()).is_empty(), "{:?}", refused(schema));
        }
        assert!(refused(schema("mine")).is_empty());
    }

    #[test]
    fn what_is_refused() {
        let mut own = schema("mine");
        own.spec.matching_precedence = 1;
        own.spec.priority_level_configuration.name.clear();
        own.spec.rules[0].subjects[0].kind = "User".into();
        own.spec.rules[0].resource_rules[0].verbs = vec!["*".into(), "get".into()];
        own.spec.rules[0].non_resource_rules =
            vec![NonResourcePolicyRule { verbs: vec!["get".into()], non_resource_urls: vec!["/a*".into()] }];
        assert_eq!(
            refused(own),
            [
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
                "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
                "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
                r#"spec.rules[0].resourceRules[0].verbs: Invalid value: ["*","get"]: if '*' is present, must not specify other verbs"#,
                r#"spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "/a*": wildcard can only do suffix matching"#,
            ]
        );
        let mut fixed = standard::mandatory_flow_schemas().remove(0);
        fixed.spec.rules.clear();
        assert!(refused(fixed)[0].ends_with("spec of 'exempt' must equal the fixed value"));
    }
}
