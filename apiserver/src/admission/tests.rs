//! The plugins through the chain: what passes, what is changed, what is refused.

use super::*;
use crate::authz::Rules;
use crate::request::{Attributes, Decision};
use crate::views::{
    CatchUp, DefaultClassView, Life, NamespaceView, NodeView, PodView, PriorityClassView, ServiceAccountView,
};
use api_types::authentication::v1::{BoundObjectReference, TokenRequest};
use api_types::certificates::v1::CertificateSigningRequest;
use api_types::coordination::v1::Lease;
use api_types::core::v1::{Binding, Container, Namespace, Node, Pod, PreemptionPolicy, Taint};
use api_types::core::v1::{
    LimitRange, LimitRangeItem, LimitType, PersistentVolumeClaim, ResourceList, TaintEffect, Toleration,
    TolerationOperator,
};
use api_types::meta::v1::OwnerReference;
use api_types::networking::v1::Ingress;
use api_types::node::v1::{Overhead, RuntimeClass, Scheduling};
use api_types::resource::v1::ResourceSlice;
use api_types::scheduling::v1::PriorityClass;
use api_types::storage::v1::CSINode;
use daemon::clock::System;
use parking_lot::Mutex;
use std::sync::Arc;

/// Allows the verbs on signers that it is given.
struct Signers(&'static str);

impl Authorizer for Signers {
    fn authorize(&self, attributes: Attributes<'_>) -> Decision {
        let info = attributes.info;
        if format!("{} {}", info.verb, info.name) == self.0 {
            Decision::Allow(String::new())
        } else {
            Decision::NoOpinion(String::new())
        }
    }
    fn rules_for(&self, _: &User, _: &str) -> Rules {
        Rules::default()
    }
}

/// Makes something appear in the views when they catch up.
struct Later {
    views: Arc<Views>,
    appear: fn(&Views),
    times: Mutex<u32>,
}

#[async_trait::async_trait]
impl CatchUp for Later {
    async fn catch_up(&self) {
        *self.times.lock() += 1;
        (self.appear)(&self.views);
    }
}

struct Cluster {
    chain: Chain,
    views: Arc<Views>,
    fresh: Arc<Later>,
    user: User,
    info: RequestInfo,
}

fn cluster_where(appear: fn(&Views), allowed: &'static str) -> Cluster {
    let views = Arc::new(Views::default());
    views.namespaces.put("", "web", NamespaceView::default());
    views.namespaces.put("", "going", NamespaceView { terminating: true, ..NamespaceView::default() });
    views.service_accounts.put("web", "default", ServiceAccountView::default());
    let fresh = Arc::new(Later { views: views.clone(), appear, times: Mutex::default() });
    let plugins = chosen(&["NodeRestriction".to_owned()], &[], DefaultTolerationSeconds::DEFAULT).unwrap();
    let authorizer = Arc::new(Signers(allowed));
    let chain = Chain::new(plugins, views.clone(), fresh.clone(), authorizer, System::shared());
    let user = User { name: "carol".into(), ..User::default() };
    Cluster { chain, views, fresh, user, info: RequestInfo::default() }
}

fn cluster() -> Cluster {
    cluster_where(|_| {}, "")
}

impl Cluster {
    fn node(mut self, name: &str) -> Self {
        self.user = User {
            name: format!("system:node:{name}"),
            groups: vec!["system:nodes".into()],
            ..User::default()
        };
        self
    }

    /// Both phases of a write; the refusal's message, or the warnings.
    async fn write<T: Resource>(
        &self,
        operation: Operation,
        path: &str,
        object: &mut T,
        old: Option<&T>,
    ) -> Result<Vec<String>, String> {
        let (resource, subresource) = path.split_once('/').unwrap_or((path, ""));
        let kind = of_resource(resource);
        let namespace = object.metadata().namespace.clone();
        let name =
            if operation == Operation::Create { String::new() } else { object.metadata().name.clone() };
        let old = old.map(|o| o as &dyn Object);
        let mut request = Request {
            operation,
            kind,
            subresource,
            namespace: &namespace,
            name: &name,
            user: &self.user,
            info: &self.info,
            object: Payload::Open(object),
            old,
            dry_run: false,
            deletion: None,
            call: None,
            warnings: Vec::new(),
        };
        if operation == Operation::Delete {
            request.object = Payload::None;
        }
        self.chain.admit(&mut request).await.map_err(|e| e.status().message)?;
        if let Payload::Open(object) = &mut request.object {
            let object = object.clone_boxed();
            let mut request = Request { object: Payload::Complete(&*object), ..request };
            self.chain.validate(&mut request).await.map_err(|e| e.status().message)?;
            return Ok(request.warnings);
        }
        self.chain.validate(&mut request).await.map_err(|e| e.status().message)?;
        Ok(request.warnings)
    }

    async fn create<T: Resource>(&self, path: &str, object: &mut T) -> Result<Vec<String>, String> {
        self.write(Operation::Create, path, object, None).await
    }
}

fn of_resource(resource: &str) -> &'static Kind {
    let rows = api_types::kinds::all().iter();
    rows.map(|row| row.kind).find(|kind| kind.resource == resource).expect("a kind of the table")
}

fn pod(name: &str, namespace: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = name.into();
    pod.metadata.namespace = namespace.into();
    pod.spec.containers = vec![Container { name: "a".into(), ..Container::default() }];
    pod
}

fn refused<T: std::fmt::Debug>(message: &str) -> Result<T, String> {
    Err(message.to_owned())
}

#[tokio::test]
async fn a_pod_gets_what_it_does_not_name() {
    let mut pod = pod("p", "web");
    assert_eq!(cluster().create("pods", &mut pod).await, Ok(vec![]));
    assert_eq!(pod.spec.service_account_name, "default");
    assert!(pod.spec.volumes[0].name.starts_with("kube-api-access-"));
    assert_eq!(pod.spec.containers[0].volume_mounts.len(), 1);
    assert_eq!(pod.spec.priority, Some(0));
    assert_eq!(pod.spec.preemption_policy, Some(PreemptionPolicy::PreemptLowerPriority));
    let tolerations: Vec<&str> = pod.spec.tolerations.iter().map(|t| t.key.as_str()).collect();
    assert_eq!(tolerations, ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
}

#[tokio::test]
async fn nothing_new_goes_where_nothing_may() {
    let cluster = cluster();
    assert_eq!(
        cluster.create("pods", &mut pod("p", "nowhere")).await,
        refused(r#"namespaces "nowhere" not found"#)
    );
    let text = concat!(
        r#"pods "p" is forbidden: unable to create new content in namespace going "#,
        "because it is being terminated"
    );
    assert_eq!(cluster.create("pods", &mut pod("p", "going")).await, refused(text));
    let mut system = Namespace::default();
    system.metadata.name = "kube-system".into();
    assert_eq!(
        cluster.write(Operation::Delete, "namespaces", &mut system, None).await,
        refused(r#"namespaces "kube-system" is forbidden: this namespace may not be deleted"#)
    );
    system.metadata.name = "web".into();
    assert_eq!(cluster.write(Operation::Delete, "namespaces", &mut system, None).await, Ok(vec![]));
}

#[tokio::test]
async fn what_was_made_just_now_is_waited_for() {
    let appear = |views: &Views| {
        views.namespaces.put("", "new", NamespaceView::default());
        views.service_accounts.put("new", "default", ServiceAccountView::default());
    };
    let cluster = cluster_where(appear, "");
    assert_eq!(cluster.create("pods", &mut pod("p", "new")).await, Ok(vec![]));
    assert_eq!(*cluster.fresh.times.lock(), 1);
    let mut other = pod("p", "new");
    other.spec.service_account_name = "other".into();
    assert_eq!(
        cluster.create("pods", &mut other).await,
        refused(concat!(
            r#"pods "p" is forbidden: error looking up service account new/other: "#,
            r#"serviceaccount "other" not found"#
        ))
    );
}

#[tokio::test]
async fn priorities_come_from_classes() {
    let cluster = cluster();
    let class = |value, global_default| PriorityClassView {
        value,
        global_default,
        preemption_policy: Some(PreemptionPolicy::Never),
    };
    cluster.views.priority_classes.put("", "high", class(1000, false));
    let mut named = pod("p", "web");
    named.spec.priority_class_name = "high".into();
    assert_eq!(cluster.create("pods", &mut named).await, Ok(vec![]));
    assert_eq!(
        (named.spec.priority, named.spec.preemption_policy),
        (Some(1000), Some(PreemptionPolicy::Never))
    );

    let mut unknown = pod("p", "web");
    unknown.spec.priority_class_name = "none".into();
    assert_eq!(
        cluster.create("pods", &mut unknown).await,
        refused(r#"pods "p" is forbidden: no PriorityClass with name none was found"#)
    );
    let mut bold = pod("p", "web");
    bold.spec.priority = Some(7);
    let refusal = cluster.create("pods", &mut bold).await.unwrap_err();
    assert!(refusal.contains("the integer value of priority (7) must not be provided"), "{refusal}");

    cluster.views.priority_classes.put("", "usual", class(5, true));
    let mut second = PriorityClass { global_default: true, ..PriorityClass::default() };
    second.metadata.name = "second".into();
    assert_eq!(
        cluster.create("priorityclasses", &mut second).await,
        refused(concat!(
            r#"priorityclasses.scheduling.k8s.io "second" is forbidden: PriorityClass usual is already "#,
            "marked as default. Only one default can exist"
        ))
    );
    let mut plain = pod("p", "web");
    cluster.create("pods", &mut plain).await.unwrap();
    assert_eq!((plain.spec.priority_class_name.as_str(), plain.spec.priority), ("usual", Some(5)));
}

#[tokio::test]
async fn a_new_node_is_tainted_once() {
    let mut node = Node::default();
    node.metadata.name = "n1".into();
    cluster().create("nodes", &mut node).await.unwrap();
    cluster().create("nodes", &mut node).await.unwrap();
    let taints: Vec<String> = node.spec.taints.iter().map(|t| format!("{}:{}", t.key, t.effect)).collect();
    assert_eq!(taints, ["node.kubernetes.io/not-ready:NoSchedule"]);
}

#[tokio::test]
async fn pod_security_refuses_and_warns() {
    let cluster = cluster();
    let label = |name: &str, level: &str| (format!("pod-security.kubernetes.io/{name}"), level.to_owned());
    let labels = [label("enforce", "baseline"), label("warn", "restricted")].into();
    cluster.views.namespaces.put("", "web", NamespaceView { labels, ..NamespaceView::default() });
    let mut host = pod("p", "web");
    host.spec.host_network = true;
    assert_eq!(
        cluster.create("pods", &mut host).await,
        refused(concat!(
            r#"pods "p" is forbidden: violates PodSecurity "baseline:latest": "#,
            "host namespaces (hostNetwork=true)"
        ))
    );
    let warnings = cluster.create("pods", &mut pod("p", "web")).await.unwrap();
    assert!(warnings[0].starts_with(r#"would violate PodSecurity "restricted:latest": "#), "{warnings:?}");
    // An update that leaves the images alone is not looked at.
    let old = host.clone();
    assert_eq!(cluster.write(Operation::Update, "pods", &mut host, Some(&old)).await, Ok(vec![]));

    let mut namespace = Namespace::default();
    namespace.metadata.name = "n".into();
    namespace.metadata.labels = [label("enforce", "tight")].into();
    let refusal = cluster.create("namespaces", &mut namespace).await.unwrap_err();
    assert!(refusal.starts_with(r#"Namespace "n" is invalid: metadata.labels[pod-security"#), "{refusal}");
}

#[tokio::test]
async fn kubelets_write_their_own_only() {
    let n1 = || cluster().node("n1");
    let node = |name: &str| {
        let mut node = Node::default();
        node.metadata.name = name.into();
        node
    };
    assert_eq!(n1().create("nodes", &mut node("n1")).await, Ok(vec![]));
    assert_eq!(
        n1().create("nodes", &mut node("n2")).await,
        refused(r#"nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#)
    );
    let mut steering = node("n1");
    for label in ["kubernetes.io/os", "node-restriction.kubernetes.io/x", "a.k8s.io/y", "mine/z"] {
        steering.metadata.labels.insert(label.into(), "1".into());
    }
    assert_eq!(
        n1().create("nodes", &mut steering).await,
        refused(concat!(
            r#"nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: "#,
            "a.k8s.io/y, node-restriction.kubernetes.io/x"
        ))
    );
    let (old, mut untainted) = (node("n1"), node("n1"));
    untainted.spec.taints = vec![Taint::default()];
    assert_eq!(
        n1().write(Operation::Update, "nodes", &mut untainted, Some(&old)).await,
        refused(r#"nodes "n1" is forbidden: node "n1" is not allowed to modify taints"#)
    );

    let lease = |name: &str| {
        let mut lease = Lease::default();
        lease.metadata.name = name.into();
        lease.metadata.namespace = "kube-node-lease".into();
        lease
    };
    let with_leases = || {
        let cluster = n1();
        cluster.views.namespaces.put("", "kube-node-lease", NamespaceView::default());
        cluster
    };
    assert_eq!(with_leases().create("leases", &mut lease("n1")).await, Ok(vec![]));
    let refusal = with_leases().create("leases", &mut lease("n2")).await.unwrap_err();
    assert!(
        refusal.ends_with("can only access node lease with the same name as the requesting node"),
        "{refusal}"
    );
}

#[tokio::test]
async fn kubelets_say_how_large_a_claim_is_and_which_drivers_are_theirs() {
    let cluster = cluster().node("n1");
    let mut old = PersistentVolumeClaim::default();
    old.metadata.name = "data".into();
    old.metadata.namespace = "web".into();
    let mut grown = old.clone();
    grown.status.capacity.insert("storage".into(), "2Gi".parse().unwrap());
    let path = "persistentvolumeclaims/status";
    assert_eq!(cluster.write(Operation::Update, path, &mut grown, Some(&old)).await, Ok(vec![]));
    grown.metadata.labels.insert("a".into(), "b".into());
    grown.status.phase = "Lost".into();
    assert_eq!(
        cluster.write(Operation::Update, path, &mut grown, Some(&old)).await,
        refused(concat!(
            r#"persistentvolumeclaims "data" is forbidden: node "n1" is not allowed to update fields "#,
            "other than status.quantity and status.conditions: metadata, status"
        ))
    );
    let mut drivers = CSINode::default();
    drivers.metadata.name = "n1".into();
    assert_eq!(cluster.create("csinodes", &mut drivers).await, Ok(vec![]));
    drivers.metadata.name = "n2".into();
    assert_eq!(
        cluster.create("csinodes", &mut drivers).await,
        refused(concat!(
            r#"csinodes.storage.k8s.io "n2" is forbidden: can only access CSINode with the same name "#,
            "as the requesting node"
        ))
    );
}

#[tokio::test]
async fn kubelets_offer_devices_of_their_own_node() {
    let cluster = cluster().node("n1");
    let mut slice = ResourceSlice::default();
    slice.metadata.name = "s".into();
    slice.spec.node_name = Some("n1".into());
    assert_eq!(cluster.create("resourceslices", &mut slice).await, Ok(vec![]));
    slice.spec.node_name = Some("n2".into());
    assert_eq!(
        cluster.create("resourceslices", &mut slice).await,
        refused(concat!(
            r#"resourceslices.resource.k8s.io "s" is forbidden: can only create ResourceSlice with the "#,
            "same NodeName as the requesting node"
        ))
    );
}

#[tokio::test]
async fn pods_get_the_topology_of_their_node() {
    let cluster = cluster();
    let mut node = Node::default();
    node.metadata.labels.insert("topology.kubernetes.io/zone".into(), "z".into());
    cluster.views.nodes.put("", "n1", NodeView::from(node));
    let mut binding = Binding::default();
    (binding.target.kind, binding.target.name) = ("Node".into(), "n1".into());
    cluster.create("pods/binding", &mut binding).await.unwrap();
    let mut own = pod("own", "web");
    own.spec.node_name = "n1".into();
    cluster.create("pods", &mut own).await.unwrap();
    assert_eq!((binding.metadata.labels.len(), own.metadata.labels), (1, binding.metadata.labels));
}

#[tokio::test]
async fn kubelets_show_only_pods_of_their_own() {
    let cluster = cluster().node("n1");
    let life = Life { uid: "node-1".into(), deleted_at: None };
    cluster.views.nodes.put("", "n1", NodeView { life, ..NodeView::default() });
    let mirror = || {
        let mut pod = pod("m", "web");
        pod.metadata.annotations.insert("kubernetes.io/config.mirror".into(), "x".into());
        pod.spec.node_name = "n1".into();
        pod.metadata.owner_references = vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: "n1".into(),
            uid: "node-1".into(),
            controller: Some(true),
            ..OwnerReference::default()
        }];
        pod
    };
    assert_eq!(cluster.create("pods", &mut mirror()).await, Ok(vec![]));
    type Change = fn(&mut Pod);
    let cases: [(Change, &str); 6] = [
        (
            |p| p.metadata.annotations.clear(),
            r#"pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods"#,
        ),
        (
            |p| p.spec.node_name = "n2".into(),
            r#"node "n1" can only create pods with spec.nodeName set to itself"#,
        ),
        (
            |p| p.metadata.owner_references.clear(),
            r#"node "n1" can only create pods with an owner reference set to itself"#,
        ),
        (
            |p| p.metadata.owner_references[0].uid = "old".into(),
            "node n1 UID mismatch: expected old got node-1",
        ),
        (|p| p.spec.service_account_name = "x".into(), "a mirror pod may not reference service accounts"),
        (
            |p| {
                p.spec.image_pull_secrets =
                    vec![api_types::core::v1::LocalObjectReference { name: "s".into() }]
            },
            "a mirror pod may not reference secrets",
        ),
    ];
    for (change, expected) in cases {
        let mut pod = mirror();
        change(&mut pod);
        let refusal = cluster.create("pods", &mut pod).await.unwrap_err();
        assert_eq!(refusal, format!(r#"pods "m" is forbidden: {expected}"#));
    }
}

#[tokio::test]
async fn kubelets_ask_for_tokens_of_their_pods() {
    let cluster = cluster().node("n1");
    let life = Life { uid: "u1".into(), deleted_at: None };
    let mut view = PodView { life, node_name: "n1".into(), ..PodView::default() };
    view.references.token_audiences.insert(String::new());
    cluster.views.pods.put("web", "p", view.clone());
    cluster.views.pods.put("web", "far", PodView { node_name: "n2".into(), ..view });
    let ask = |pod: &str, uid: &str, audience: &[&str]| {
        let mut request = TokenRequest::default();
        request.metadata.namespace = "web".into();
        request.metadata.name = "robot".into();
        request.spec.audiences = audience.iter().map(|a| (*a).to_owned()).collect();
        request.spec.bound_object_ref = Some(Box::new(BoundObjectReference {
            kind: "Pod".into(),
            api_version: "v1".into(),
            name: pod.into(),
            uid: uid.into(),
        }));
        request
    };
    assert_eq!(cluster.create("serviceaccounts/token", &mut ask("p", "u1", &[])).await, Ok(vec![]));
    let cases = [
        (ask("p", "", &[]), "node requested token with a pod binding without a uid"),
        (ask("far", "u1", &[]), "node requested token bound to a pod scheduled on a different node"),
        (
            ask("p", "u1", &["vault"]),
            concat!(
                r#"audience "vault" not found in pod spec volume, system:node:n1 is not authorized to "#,
                "request tokens for this audience"
            ),
        ),
        (
            TokenRequest { spec: Default::default(), ..ask("p", "u1", &[]) },
            "node requested token not bound to a pod",
        ),
    ];
    for (mut request, expected) in cases {
        let refusal = cluster.create("serviceaccounts/token", &mut request).await.unwrap_err();
        assert_eq!(refusal, format!(r#"serviceaccounts "robot" is forbidden: {expected}"#));
    }
}

#[tokio::test]
async fn approving_and_signing_take_permission_for_the_signer() {
    let mut csr = CertificateSigningRequest::default();
    csr.metadata.name = "c".into();
    csr.spec.signer_name = "example.com/mine".into();
    let mut signed = csr.clone();
    signed.status.certificate = b"cert".to_vec().into();
    let path = "certificatesigningrequests";
    for (allowed, subresource, message) in [
        ("approve example.com/mine", "approval", None),
        ("approve example.com/*", "approval", None),
        (
            "",
            "approval",
            Some(r#"user not permitted to approve requests with signerName "example.com/mine""#),
        ),
        ("sign example.com/mine", "status", None),
        (
            "approve example.com/mine",
            "status",
            Some(r#"user not permitted to sign requests with signerName "example.com/mine""#),
        ),
    ] {
        let cluster = cluster_where(|_| {}, allowed);
        let mut new = signed.clone();
        let result =
            cluster.write(Operation::Update, &format!("{path}/{subresource}"), &mut new, Some(&csr)).await;
        let expected = match message {
            None => Ok(vec![]),
            Some(why) => {
                Err(format!(r#"certificatesigningrequests.certificates.k8s.io "c" is forbidden: {why}"#))
            }
        };
        assert_eq!(result, expected, "{allowed} {subresource}");
    }
}

#[tokio::test]
async fn no_certificates_for_masters() {
    let request = |group: &str| {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut csr = CertificateSigningRequest::default();
        csr.metadata.name = "c".into();
        csr.spec.signer_name = "kubernetes.io/kube-apiserver-client".into();
        csr.spec.request = params.serialize_request(&key).unwrap().pem().unwrap().into_bytes().into();
        csr
    };
    let path = "certificatesigningrequests";
    assert_eq!(cluster().create(path, &mut request("staff")).await, Ok(vec![]));
    let refusal = cluster().create(path, &mut request("system:masters")).await.unwrap_err();
    assert!(refusal.ends_with("signer with system:masters group is not allowed"), "{refusal}");
}

#[test]
fn flags_choose_among_known_plugins() {
    let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let count = |enable: &[&str], disable: &[&str]| {
        chosen(&names(enable), &names(disable), DefaultTolerationSeconds::DEFAULT).map(|p| p.len())
    };
    let default = count(&[], &[]).unwrap();
    assert_eq!(count(&["NodeRestriction"], &[]), Ok(default + 1));
    assert_eq!(count(&["Priority"], &[]), Ok(default));
    assert_eq!(count(&[], &["Priority", "ResourceQuota"]), Ok(default - 2));
    for (enable, disable, text) in [
        (vec!["Nodes"], vec![], r#"enable-admission-plugins plugin "Nodes" is unknown"#),
        (vec![], vec!["X"], r#"disable-admission-plugins plugin "X" is unknown"#),
        (
            vec!["Priority"],
            vec!["Priority"],
            "[Priority] in enable-admission-plugins and disable-admission-plugins overlapped",
        ),
        (
            vec!["EventRateLimit"],
            vec![],
            r#"enable-admission-plugins plugin "EventRateLimit" is not supported yet"#,
        ),
    ] {
        assert_eq!(count(&enable, &disable).unwrap_err().to_string(), text);
    }
}

#[tokio::test]
async fn an_ingress_gets_the_newest_default_class() {
    let cluster = cluster();
    let class = |name: &str, is_default: bool, created: i64| {
        let created = jiff::Timestamp::from_second(created).ok();
        cluster.views.ingress_classes.put(
            "",
            name,
            DefaultClassView { is_default, created, expandable: false },
        );
    };
    let mut ingress = Ingress::default();
    ingress.metadata.namespace = "web".into();
    ingress.metadata.name = "a".into();
    let created = async |ingress: &Ingress| {
        let mut ingress = ingress.clone();
        cluster.write(Operation::Create, "ingresses", &mut ingress, None).await.unwrap();
        ingress.spec.ingress_class_name
    };
    class("other", false, 9);
    assert_eq!(created(&ingress).await, None);
    class("old", true, 1);
    class("new", true, 2);
    assert_eq!(created(&ingress).await.as_deref(), Some("new"));
    ingress.spec.ingress_class_name = Some("other".into());
    assert_eq!(created(&ingress).await.as_deref(), Some("other"));
}

#[tokio::test]
async fn a_pod_gets_what_its_runtime_class_says() {
    let cluster = cluster();
    let mut class = RuntimeClass { handler: "runsc".into(), ..RuntimeClass::default() };
    let mut overhead = Overhead::default();
    overhead.pod_fixed.insert("cpu".into(), "250m".parse().unwrap());
    class.overhead = Some(Box::new(overhead));
    let toleration =
        Toleration { key: "sandbox".into(), operator: TolerationOperator::Exists, ..Toleration::default() };
    let narrow = Toleration { effect: TaintEffect::NoSchedule, ..toleration.clone() };
    class.scheduling = Some(Box::new(Scheduling {
        node_selector: [("sandbox".to_owned(), "yes".to_owned())].into(),
        tolerations: vec![toleration.clone()],
    }));
    cluster.views.runtime_classes.put("", "gvisor", class);
    let pod = |change: fn(&mut Pod)| {
        let mut pod = Pod::default();
        pod.metadata.namespace = "web".into();
        pod.metadata.name = "a".into();
        pod.spec.containers = vec![Container { name: "c".into(), ..Container::default() }];
        pod.spec.runtime_class_name = Some("gvisor".into());
        change(&mut pod);
        pod
    };
    let mut own = pod(|_| {});
    own.spec.tolerations = vec![narrow];
    cluster.write(Operation::Create, "pods", &mut own, None).await.unwrap();
    assert_eq!(own.spec.overhead["cpu"].to_string(), "250m");
    assert_eq!(own.spec.node_selector["sandbox"], "yes");
    let sandbox: Vec<&Toleration> = own.spec.tolerations.iter().filter(|t| t.key == "sandbox").collect();
    assert_eq!(sandbox, [&toleration], "the wider one stays");
    let refused = async |mut pod: Pod| {
        cluster.write(Operation::Create, "pods", &mut pod, None).await.expect_err("refused")
    };
    assert!(
        refused(pod(|p| p.spec.runtime_class_name = Some("none".into())))
            .await
            .ends_with("pod rejected: RuntimeClass \"none\" not found")
    );
    assert!(
        refused(pod(|p| _ = p.spec.node_selector.insert("sandbox".into(), "no".into()))).await.ends_with(
            "conflict: runtimeClass.scheduling.nodeSelector[sandbox] = yes; pod.spec.nodeSelector[sandbox] = no"
        )
    );
    assert!(
        refused(pod(|p| {
            p.spec.runtime_class_name = None;
            p.spec.overhead.insert("cpu".into(), "1".parse().unwrap());
        }))
        .await
        .ends_with("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
    );
}

#[tokio::test]
async fn a_claim_gets_the_default_storage_class() {
    let cluster = cluster();
    cluster.views.storage_classes.put(
        "",
        "fast",
        DefaultClassView { is_default: true, ..Default::default() },
    );
    let mut claim = PersistentVolumeClaim::default();
    claim.metadata.namespace = "web".into();
    claim.metadata.name = "a".into();
    let mut own = claim.clone();
    cluster.write(Operation::Create, "persistentvolumeclaims", &mut own, None).await.unwrap();
    assert_eq!(own.spec.storage_class_name.as_deref(), Some("fast"));
    let mut own = claim.clone();
    own.spec.storage_class_name = Some(String::new());
    cluster.write(Operation::Create, "persistentvolumeclaims", &mut own, None).await.unwrap();
    assert_eq!(own.spec.storage_class_name.as_deref(), Some(""), "none is an answer, too");
}

fn amounts(items: &[(&str, &str)]) -> ResourceList {
    items.iter().map(|(name, text)| ((*name).to_owned(), text.parse().expect("an amount"))).collect()
}

fn limited(item: LimitRangeItem) -> Cluster {
    let cluster = cluster();
    let mut range = LimitRange::default();
    range.spec.limits = vec![item];
    cluster.views.limit_ranges.put("web", "bounds", range);
    cluster
}

#[tokio::test]
async fn containers_get_limits_and_keep_to_them() {
    let cluster = limited(LimitRangeItem {
        type_: LimitType::Container,
        default: amounts(&[("cpu", "500m")]),
        default_request: amounts(&[("cpu", "100m")]),
        max: amounts(&[("cpu", "1")]),
        max_limit_request_ratio: amounts(&[("cpu", "5")]),
        ..LimitRangeItem::default()
    });
    let mut own = pod("p", "web");
    cluster.create("pods", &mut own).await.expect("within bounds");
    let resources = &own.spec.containers[0].resources;
    assert_eq!(
        (&resources.requests, &resources.limits),
        (&amounts(&[("cpu", "100m")]), &amounts(&[("cpu", "500m")]))
    );
    assert_eq!(
        own.metadata.annotations["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container a; cpu limit for container a"
    );
    let mut own = pod("p", "web");
    own.spec.containers[0].resources.limits = amounts(&[("cpu", "2")]);
    assert_eq!(
        cluster.create("pods", &mut own).await,
        refused(
            "pods \"p\" is forbidden: [maximum cpu usage per Container is 1, but limit is 2, cpu max limit to request ratio per Container is 5, but provided ratio is 20.000000]"
        )
    );
    let mut elsewhere = pod("p", "other");
    elsewhere.spec.service_account_name = "default".into();
    cluster.views.namespaces.put("", "other", NamespaceView::default());
    cluster.views.service_accounts.put("other", "default", ServiceAccountView::default());
    cluster.create("pods", &mut elsewhere).await.expect("nothing bounds it");
    assert!(elsewhere.spec.containers[0].resources.limits.is_empty());
}

#[tokio::test]
async fn claims_keep_to_bounds_and_grow_where_they_may() {
    let cluster = limited(LimitRangeItem {
        type_: LimitType::PersistentVolumeClaim,
        min: amounts(&[("storage", "2Gi")]),
        ..LimitRangeItem::default()
    });
    let claim = |size| {
        let mut own = PersistentVolumeClaim::default();
        own.metadata.namespace = "web".into();
        own.metadata.name = "data".into();
        own.spec.storage_class_name = Some("slow".into());
        own.spec.resources.requests = amounts(&[("storage", size)]);
        own
    };
    assert_eq!(
        cluster.create("persistentvolumeclaims", &mut claim("1Gi")).await,
        refused(
            "persistentvolumeclaims \"data\" is forbidden: minimum storage usage per PersistentVolumeClaim is 2Gi, but request is 1Gi"
        )
    );
    let grow = async |phase: &str| {
        let (mut new, mut old) = (claim("3Gi"), claim("2Gi"));
        old.status.phase = phase.into();
        new.status.phase = phase.into();
        cluster.write(Operation::Update, "persistentvolumeclaims", &mut new, Some(&old)).await
    };
    assert_eq!(
        grow("Pending").await,
        refused(
            "persistentvolumeclaims \"data\" is forbidden: Only bound persistent volume claims can be expanded"
        )
    );
    assert_eq!(
        grow("Bound").await,
        refused(
            "persistentvolumeclaims \"data\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
        )
    );
    cluster.views.storage_classes.put(
        "",
        "slow",
        DefaultClassView { expandable: true, ..Default::default() },
    );
    assert_eq!(grow("Bound").await, Ok(vec![]));
}

#[tokio::test]
async fn storage_is_kept_while_it_is_in_use() {
    let plugins =
        chosen(&["StorageObjectInUseProtection".to_owned()], &[], DefaultTolerationSeconds::DEFAULT)
            .expect("a plugin");
    let Cluster { views, fresh, user, info, .. } = cluster();
    let chain = Chain::new(plugins, views.clone(), fresh.clone(), Arc::new(Signers("")), System::shared());
    let cluster = Cluster { chain, views, fresh, user, info };
    let mut claim = PersistentVolumeClaim::default();
    claim.metadata.namespace = "web".into();
    cluster.create("persistentvolumeclaims", &mut claim).await.expect("a claim");
    assert_eq!(claim.metadata.finalizers, ["kubernetes.io/pvc-protection"]);
}
