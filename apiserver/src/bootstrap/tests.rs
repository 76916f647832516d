//! The default policy: what it grants, and how it is brought in line.

use super::plan::{DefaultObject as _, Step};
use super::*;
use crate::authz::rbac::{self, Rbac};
use crate::authz::{Authorizer, Rules};
use crate::request::{Attributes, Decision, RequestInfo, User};
use api_types::kind::{Kind, Object, Resource};
use api_types::rbac::v1::{PolicyRule, Subject};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Key = (&'static str, String, String);

/// A store in memory.
#[derive(Default)]
struct Memory {
    objects: Mutex<BTreeMap<Key, Box<dyn Object>>>,
    writes: Mutex<u32>,
}

impl Memory {
    fn put(&self, object: Box<dyn Object>) {
        *self.writes.lock() += 1;
        let key = (object.kind().kind, object.meta().namespace.clone(), object.meta().name.clone());
        self.objects.lock().insert(key, object);
    }

    fn typed<T: Resource>(&self) -> Vec<T> {
        self.objects.lock().values().filter_map(|o| o.as_any().downcast_ref::<T>().cloned()).collect()
    }

    /// The writes since the last call.
    fn writes(&self) -> u32 {
        std::mem::take(&mut *self.writes.lock())
    }
}

#[async_trait::async_trait]
impl Objects for Memory {
    async fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Existing, ObjectsError> {
        let key = (kind.kind, namespace.to_owned(), name.to_owned());
        Ok(self.objects.lock().get(&key).map(|object| object.clone_boxed()))
    }
    async fn list(&self, kind: &'static Kind) -> Result<Vec<Box<dyn Object>>, ObjectsError> {
        let objects = self.objects.lock();
        Ok(objects.values().filter(|o| o.kind() == kind).map(|o| o.clone_boxed()).collect())
    }
    async fn create(&self, object: Box<dyn Object>) -> Result<(), ObjectsError> {
        self.put(object);
        Ok(())
    }
    async fn update(&self, object: Box<dyn Object>) -> Result<(), ObjectsError> {
        self.put(object);
        Ok(())
    }
    async fn delete(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<(), ObjectsError> {
        self.objects.lock().remove(&(kind.kind, namespace.to_owned(), name.to_owned()));
        Ok(())
    }
}

async fn bootstrapped() -> Memory {
    let memory = Memory::default();
    ensure_namespaces(&memory).await.unwrap();
    ensure_priority_classes(&memory).await.unwrap();
    ensure_policy(&memory).await.unwrap();
    memory
}

fn authorizer(memory: &Memory) -> Rbac {
    let policy = rbac::Policy::default();
    for role in memory.typed::<ClusterRole>() {
        policy.cluster_roles.put("", &role.metadata.name.clone(), role);
    }
    for binding in memory.typed::<ClusterRoleBinding>() {
        policy.cluster_role_bindings.put("", &binding.metadata.name.clone(), binding);
    }
    for role in memory.typed::<Role>() {
        policy.roles.put(&role.metadata.namespace.clone(), &role.metadata.name.clone(), role);
    }
    for binding in memory.typed::<RoleBinding>() {
        policy.role_bindings.put(
            &binding.metadata.namespace.clone(),
            &binding.metadata.name.clone(),
            binding,
        );
    }
    Rbac::new(Arc::new(policy))
}

#[tokio::test]
async fn the_clusters_parts_may_do_their_work_and_no_more() {
    let rbac = authorizer(&bootstrapped().await);
    let controller = |name: &str| format!("system:serviceaccount:kube-system:{name}");
    let scheduler = "system:kube-scheduler".to_owned();
    // user, verb, group, resource, name, namespace, allowed
    let cases = [
        (scheduler.clone(), "create", "", "pods/binding", "", "web", true),
        (scheduler.clone(), "get", "coordination.k8s.io", "leases", "kube-scheduler", "kube-system", true),
        (scheduler.clone(), "get", "", "secrets", "s", "web", false),
        ("system:kube-proxy".into(), "watch", "discovery.k8s.io", "endpointslices", "", "", true),
        ("system:kube-proxy".into(), "get", "", "pods", "", "web", false),
        ("system:kube-controller-manager".into(), "list", "apps", "deployments", "", "", true),
        (
            "system:kube-controller-manager".into(),
            "create",
            "",
            "serviceaccounts/token",
            "x",
            "kube-system",
            true,
        ),
        (controller("deployment-controller"), "create", "apps", "replicasets", "", "web", true),
        (controller("deployment-controller"), "delete", "", "pods", "p", "web", false),
        (controller("replicaset-controller"), "create", "", "pods", "", "web", true),
        (controller("generic-garbage-collector"), "delete", "example.com", "things", "t", "web", true),
        (controller("namespace-controller"), "deletecollection", "apps", "deployments", "", "web", true),
        (controller("disruption-controller"), "get", "apps", "deployments/scale", "d", "web", true),
        (controller("bootstrap-signer"), "get", "", "secrets", "t", "kube-system", true),
        (controller("bootstrap-signer"), "get", "", "secrets", "t", "default", false),
        // Kubelets have the Node authorizer, not a role.
        ("system:node:a".into(), "get", "", "secrets", "s", "web", false),
        ("somebody".into(), "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", "", true),
        ("somebody".into(), "list", "", "pods", "", "web", false),
    ];
    for (name, verb, group, resource, object, namespace, allowed) in cases {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let info = RequestInfo {
            is_resource: true,
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: object.into(),
            namespace: namespace.into(),
            ..RequestInfo::default()
        };
        let groups = vec![User::AUTHENTICATED.to_owned(), "system:nodes".to_owned()];
        let user = User { name: name.clone(), groups, ..User::default() };
        let decision = rbac.authorize(Attributes { user: &user, info: &info });
        assert_eq!(matches!(decision, Decision::Allow(_)), allowed, "{name} {verb} {resource} {decision:?}");
    }
    let nobody = crate::authn::anonymous();
    let ask = |path: &str| {
        let info = RequestInfo { verb: "get".into(), path: path.into(), ..RequestInfo::default() };
        matches!(rbac.authorize(Attributes { user: &nobody, info: &info }), Decision::Allow(_))
    };
    assert!(ask("/version") && ask("/healthz") && ask("/readyz"));
    assert!(!ask("/metrics") && !ask("/api"));
    assert_ne!(rbac.rules_for(&nobody, ""), Rules::default());
}

#[tokio::test]
async fn aggregated_roles_have_the_rules_of_their_parts() {
    let memory = bootstrapped().await;
    let roles = memory.typed::<ClusterRole>();
    let has = |name: &str, verb: &str, resource: &str| {
        let role = roles.iter().find(|role| role.metadata.name == name).expect(name);
        let has = |list: &[String], word: &str| list.iter().any(|w| w == word);
        role.rules.iter().any(|rule| has(&rule.verbs, verb) && has(&rule.resources, resource))
    };
    assert!(has("view", "get", "pods") && !has("view", "create", "pods"));
    assert!(!has("view", "get", "secrets"));
    assert!(has("edit", "get", "pods/log") && has("edit", "create", "pods") && has("edit", "get", "secrets"));
    assert!(!has("edit", "create", "rolebindings"));
    assert!(has("admin", "create", "pods") && has("admin", "create", "rolebindings"));
}

#[tokio::test]
async fn a_second_start_writes_nothing() {
    let memory = bootstrapped().await;
    assert!(memory.writes() > 100);
    ensure_namespaces(&memory).await.unwrap();
    ensure_priority_classes(&memory).await.unwrap();
    ensure_policy(&memory).await.unwrap();
    assert_eq!(memory.writes(), 0);
    let namespaces: Vec<String> = memory.typed::<Namespace>().into_iter().map(|n| n.metadata.name).collect();
    assert_eq!(namespaces, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    let classes = memory.typed::<PriorityClass>();
    let values: Vec<(&str, i32)> = classes.iter().map(|c| (c.metadata.name.as_str(), c.value)).collect();
    assert_eq!(values, [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)]);
}

#[test]
fn names_are_unique_and_bindings_lead_to_roles() {
    let policy = policy();
    let roles: BTreeSet<&str> = policy.cluster_roles.iter().map(|r| r.metadata.name.as_str()).collect();
    assert_eq!(roles.len(), policy.cluster_roles.len());
    for binding in &policy.cluster_role_bindings {
        assert!(roles.contains(binding.role_ref.name.as_str()), "{}", binding.role_ref.name);
    }
    for role in &policy.cluster_roles {
        assert_eq!(role.metadata.labels["kubernetes.io/bootstrapping"], "rbac-defaults");
        assert_eq!(role.metadata.annotations[table::AUTO_UPDATE], "true");
    }
}

#[test]
fn reconciliation_adds_and_never_takes_away() {
    let wanted = policy().cluster_roles.into_iter().find(|r| r.metadata.name == "system:kube-dns").unwrap();
    assert_eq!(ClusterRole::plan(wanted.clone(), None), Step::Create(wanted.clone()));
    assert_eq!(ClusterRole::plan(wanted.clone(), Some(&wanted)), Step::Keep);

    let mut changed = wanted.clone();
    changed.metadata.resource_version = "7".into();
    changed.metadata.labels.insert("mine".into(), "yes".into());
    changed.rules = vec![PolicyRule { verbs: vec!["get".into()], ..wanted.rules[0].clone() }];
    let Step::Update(merged) = ClusterRole::plan(wanted.clone(), Some(&changed)) else { panic!("no update") };
    assert_eq!(merged.metadata.labels["mine"], "yes");
    assert_eq!(merged.metadata.resource_version, "7");
    assert_eq!(merged.rules[0], changed.rules[0]);
    // The missing rights come back one verb and resource each.
    assert_eq!(merged.rules.len(), 1 + 2 * 2);
    assert_eq!(ClusterRole::plan(wanted.clone(), Some(&merged)), Step::Keep);

    changed.metadata.annotations.insert(table::AUTO_UPDATE.into(), "false".into());
    assert_eq!(ClusterRole::plan(wanted, Some(&changed)), Step::Keep);
}

#[test]
fn bindings_keep_their_own_subjects_but_not_another_role() {
    let wanted = policy().cluster_role_bindings.into_iter().find(|b| b.metadata.name == "system:discovery");
    let wanted = wanted.unwrap();
    let mine = Subject { kind: "User".into(), name: "me".into(), ..Subject::default() };
    let mut existing = wanted.clone();
    existing.subjects = vec![mine.clone()];
    let Step::Update(merged) = ClusterRoleBinding::plan(wanted.clone(), Some(&existing)) else {
        panic!("no update")
    };
    assert_eq!(merged.subjects, [mine, wanted.subjects[0].clone()]);
    existing.role_ref.name = "other".into();
    assert_eq!(ClusterRoleBinding::plan(wanted.clone(), Some(&existing)), Step::Recreate(wanted));
}

#[tokio::test]
async fn the_day_since_which_tokens_are_tracked_is_written_once() {
    let memory = Memory::default();
    let day = |text: &str| text.parse::<jiff::civil::Date>().unwrap();
    let since = |memory: &Memory| {
        let maps = memory.typed::<api_types::core::v1::ConfigMap>();
        assert_eq!(maps[0].metadata.name, "kube-apiserver-legacy-service-account-token-tracking");
        maps[0].data["since"].clone()
    };
    ensure_token_tracking(&memory, day("2026-11-21")).await.unwrap();
    ensure_token_tracking(&memory, day("2026-11-22")).await.unwrap();
    assert_eq!((since(&memory).as_str(), memory.writes()), ("2026-11-21", 1));
    let mut map = memory.typed::<api_types::core::v1::ConfigMap>().remove(0);
    map.data.insert("since".into(), "yesterday".into());
    memory.put(Box::new(map));
    ensure_token_tracking(&memory, day("2026-11-23")).await.unwrap();
    assert_eq!(since(&memory), "2026-11-23");
}
