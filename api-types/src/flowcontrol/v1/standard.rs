//! The flow schemas and priority levels of every cluster (KEP-1040): the mandatory ones, whose specs
//! are fixed, and the suggested ones, which an administrator may change.

use super::{
    ExemptPriorityLevelConfiguration, FlowDistinguisherMethod, FlowDistinguisherMethodType, FlowSchema,
    GroupSubject, LimitResponse, LimitResponseType, LimitedPriorityLevelConfiguration, NonResourcePolicyRule,
    PolicyRulesWithSubjects, PriorityLevelConfiguration, PriorityLevelEnablement, QueuingConfiguration,
    ResourcePolicyRule, ServiceAccountSubject, Subject, SubjectKind, UserSubject,
};

/// While it is `true`, the server keeps the spec of a suggested object as it suggests it.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

const ALL: &[&str] = &["*"];
const EVERYBODY: &[Who] = &[Who::Group("system:unauthenticated"), Who::Group("system:authenticated")];
const KUBE_SYSTEM: Who = Who::Account("kube-system", "*");

/// A subject.
#[derive(Clone, Copy)]
enum Who {
    User(&'static str),
    Group(&'static str),
    Account(&'static str, &'static str),
}

/// Verbs, groups, resources in all namespaces; whether outside of them too.
type Resources = (&'static [&'static str], &'static [&'static str], &'static [&'static str], bool);

const EVERYTHING: &[Resources] = &[(ALL, ALL, ALL, true)];
/// Verbs and paths.
type Paths = (&'static [&'static str], &'static [&'static str]);
const EVERY_PATH: &[Paths] = &[(ALL, ALL)];

/// One flow schema.
struct Schema {
    name: &'static str,
    level: &'static str,
    precedence: i32,
    by: &'static str,
    who: &'static [Who],
    resources: &'static [Resources],
    paths: &'static [Paths],
}

const MANDATORY: [Schema; 2] = [
    Schema {
        name: "exempt",
        level: "exempt",
        precedence: 1,
        by: "",
        who: &[Who::Group("system:masters")],
        resources: EVERYTHING,
        paths: EVERY_PATH,
    },
    Schema {
        name: "catch-all",
        level: "catch-all",
        precedence: 10000,
        by: "ByUser",
        who: EVERYBODY,
        resources: EVERYTHING,
        paths: EVERY_PATH,
    },
];

const LEASES: Resources = (ALL, &["coordination.k8s.io"], &["leases"], false);

const SUGGESTED: [Schema; 9] = [
    Schema {
        name: "system-nodes",
        level: "system",
        precedence: 500,
        by: "ByUser",
        who: &[Who::Group("system:nodes")],
        resources: EVERYTHING,
        paths: EVERY_PATH,
    },
    Schema {
        name: "system-node-high",
        level: "node-high",
        precedence: 400,
        by: "ByUser",
        who: &[Who::Group("system:nodes")],
        resources: &[(ALL, &[""], &["nodes", "nodes/status"], true), LEASES],
        paths: &[],
    },
    Schema {
        name: "probes",
        level: "exempt",
        precedence: 2,
        by: "",
        who: EVERYBODY,
        resources: &[],
        paths: &[(&["get"], &["/healthz", "/readyz", "/livez"])],
    },
    Schema {
        name: "system-leader-election",
        level: "leader-election",
        precedence: 100,
        by: "ByUser",
        who: &[Who::User("system:kube-controller-manager"), Who::User("system:kube-scheduler"), KUBE_SYSTEM],
        resources: &[(&["get", "create", "update"], &["coordination.k8s.io"], &["leases"], false)],
        paths: &[],
    },
    Schema {
        name: "kube-controller-manager",
        level: "workload-high",
        precedence: 800,
        by: "ByNamespace",
        who: &[Who::User("system:kube-controller-manager")],
        resources: EVERYTHING,
        paths: EVERY_PATH,
    },
    Schema {
        name: "kube-scheduler",
        level: "workload-high",
        precedence: 800,
        by: "ByNamespace",
        who: &[Who::User("system:kube-scheduler")],
        resources: EVERYTHING,
        paths: EVERY_PATH,
    },
    Schema {
        name: "kube-system-service-accounts",
        level: "workload-high",
        precedence: 900,
        by: "ByNamespace",
        who: &[KUBE_SYSTEM],
        resources: EVERYTHING,
        paths: EVERY_PATH,
    },
    Schema {
        name: "service-accounts",
        level: "workload-low",
        precedence: 9000,
        by: "ByUser",
        who: &[Who::Group("system:serviceaccounts")],
        resources: EVERYTHING,
        paths: EVERY_PATH,
    },
    Schema {
        name: "global-default",
        level: "global-default",
        precedence: 9900,
        by: "ByUser",
        who: EVERYBODY,
        resources: EVERYTHING,
        paths: EVERY_PATH,
    },
];

/// Name, shares, percent that is lent, queues and hand.
const LEVELS: [(&str, i32, i32, i32, i32); 6] = [
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];

/// Their specs cannot be changed.
pub fn mandatory_flow_schemas() -> Vec<FlowSchema> {
    MANDATORY.iter().map(Schema::object).collect()
}

pub fn suggested_flow_schemas() -> Vec<FlowSchema> {
    SUGGESTED.iter().map(Schema::object).collect()
}

/// exempt, of which an administrator may change the part `exempt`, and catch-all, which is fixed.
pub fn mandatory_levels() -> Vec<PriorityLevelConfiguration> {
    let mut exempt = level("exempt");
    exempt.spec.type_ = PriorityLevelEnablement::Exempt;
    exempt.spec.exempt = Some(Box::new(ExemptPriorityLevelConfiguration {
        nominal_concurrency_shares: Some(0),
        lendable_percent: Some(0),
    }));
    let mut catch_all = level("catch-all");
    catch_all.spec.type_ = PriorityLevelEnablement::Limited;
    catch_all.spec.limited = Some(Box::new(LimitedPriorityLevelConfiguration {
        nominal_concurrency_shares: Some(5),
        lendable_percent: Some(0),
        limit_response: LimitResponse { type_: LimitResponseType::Reject, queuing: None },
        borrowing_limit_percent: None,
    }));
    vec![exempt, catch_all]
}

pub fn suggested_levels() -> Vec<PriorityLevelConfiguration> {
    LEVELS
        .iter()
        .map(|&(name, shares, lent, queues, hand_size)| {
            let mut level = level(name);
            level.spec.type_ = PriorityLevelEnablement::Limited;
            let queuing = QueuingConfiguration { queues, hand_size, queue_length_limit: 50 };
            level.spec.limited = Some(Box::new(LimitedPriorityLevelConfiguration {
                nominal_concurrency_shares: Some(shares),
                lendable_percent: Some(lent),
                limit_response: LimitResponse {
                    type_: LimitResponseType::Queue,
                    queuing: Some(Box::new(queuing)),
                },
                borrowing_limit_percent: None,
            }));
            level
        })
        .collect()
}

fn level(name: &str) -> PriorityLevelConfiguration {
    let mut level = PriorityLevelConfiguration::default();
    level.metadata.name = name.to_owned();
    level.metadata.annotations.insert(AUTO_UPDATE.to_owned(), "true".to_owned());
    level
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

impl Schema {
    fn object(&self) -> FlowSchema {
        let mut schema = FlowSchema::default();
        schema.metadata.name = self.name.to_owned();
        schema.metadata.annotations.insert(AUTO_UPDATE.to_owned(), "true".to_owned());
        let spec = &mut schema.spec;
        spec.priority_level_configuration.name = self.level.to_owned();
        spec.matching_precedence = self.precedence;
        spec.distinguisher_method = (!self.by.is_empty())
            .then(|| Box::new(FlowDistinguisherMethod { type_: FlowDistinguisherMethodType::from(self.by) }));
        spec.rules = vec![PolicyRulesWithSubjects {
            subjects: self.who.iter().map(|who| who.subject()).collect(),
            resource_rules: self
                .resources
                .iter()
                .map(|(verbs, groups, resources, cluster_scope)| ResourcePolicyRule {
                    verbs: texts(verbs),
                    api_groups: texts(groups),
                    resources: texts(resources),
                    cluster_scope: *cluster_scope,
                    namespaces: texts(ALL),
                })
                .collect(),
            non_resource_rules: self
                .paths
                .iter()
                .map(|(verbs, urls)| NonResourcePolicyRule {
                    verbs: texts(verbs),
                    non_resource_urls: texts(urls),
                })
                .collect(),
        }];
        schema
    }
}

impl Who {
    fn subject(self) -> Subject {
        let mut subject = Subject::default();
        match self {
            Self::User(name) => {
                subject.kind = SubjectKind::User;
                subject.user = Some(Box::new(UserSubject { name: name.to_owned() }));
            }
            Self::Group(name) => {
                subject.kind = SubjectKind::Group;
                subject.group = Some(Box::new(GroupSubject { name: name.to_owned() }));
            }
            Self::Account(namespace, name) => {
                subject.kind = SubjectKind::ServiceAccount;
                subject.service_account = Some(Box::new(ServiceAccountSubject {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                }));
            }
        }
        subject
    }
}
