//! A Service and its pods in, an Endpoints object out.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::IntOrString;
use api_types::core::v1::{Endpoints, PodPhase, Service, ServicePort};
use client::Key;
use client::controller::{Controller as _, Effect, Plan};
use jiff::Timestamp;

use super::{EndpointsController, View};
use crate::cached::{NamedPort, PodFacts};

fn service() -> Service {
    let mut service = Service::default();
    service.metadata.namespace = "ns".into();
    service.metadata.name = "web".into();
    service.metadata.labels = BTreeMap::from([("team".into(), "a".into())]);
    service.spec.cluster_ip = "10.96.0.9".into();
    service.spec.selector = BTreeMap::from([("app".into(), "web".into())]);
    service.spec.ports = vec![ServicePort {
        name: "http".into(),
        port: 80,
        protocol: "TCP".into(),
        target_port: IntOrString::String("web".into()),
        ..Default::default()
    }];
    service
}

fn pod(name: &str, ip: &str, change: impl FnOnce(&mut PodFacts)) -> (Key, Arc<PodFacts>) {
    let mut pod = PodFacts {
        uid: format!("uid-{name}").into(),
        ips: vec![ip.into()],
        node: "n1".into(),
        phase: PodPhase::Running,
        ready: Some(Timestamp::UNIX_EPOCH),
        ports: vec![NamedPort { name: "web".into(), protocol: "TCP".into(), port: 8080 }],
        ..Default::default()
    };
    change(&mut pod);
    (Key::new("ns", name), Arc::new(pod))
}

fn plan(view: &View) -> Plan {
    EndpointsController::plan(view, Timestamp::UNIX_EPOCH)
}

fn written(view: &View) -> Endpoints {
    plan(view).actions()[0].effect.object::<Endpoints>().unwrap().clone()
}

fn view(pods: Vec<(Key, Arc<PodFacts>)>) -> View {
    View { service: Some(service()), pods, current: None }
}

fn ips(endpoints: &Endpoints) -> (Vec<&str>, Vec<&str>) {
    let of = |list: &'static str| -> Vec<&str> {
        endpoints
            .subsets
            .iter()
            .flat_map(|s| if list == "ready" { &s.addresses } else { &s.not_ready_addresses })
            .map(|a| a.ip.as_str())
            .collect()
    };
    (of("ready"), of("not"))
}

#[test]
fn addresses_are_ready_or_not_and_ports_resolved() {
    let given = view(vec![
        pod("b", "10.0.0.2", |_| {}),
        pod("a", "10.0.0.1", |_| {}),
        pod("c", "10.0.0.3", |p| p.ready = None),
        pod("done", "10.0.0.4", |p| p.phase = PodPhase::Succeeded),
        pod("going", "10.0.0.5", |p| p.deleting = Some(Timestamp::UNIX_EPOCH)),
        pod("new", "", |p| p.ips.clear()),
    ]);
    let endpoints = written(&given);
    assert_eq!(ips(&endpoints), (vec!["10.0.0.1", "10.0.0.2"], vec!["10.0.0.3"]));
    let subset = &endpoints.subsets[0];
    assert_eq!((subset.ports[0].name.as_str(), subset.ports[0].port), ("http", 8080));
    let address = &subset.addresses[0];
    assert_eq!(address.node_name.as_deref(), Some("n1"));
    assert_eq!(address.target_ref.as_ref().unwrap().uid, "uid-a");
    assert_eq!(endpoints.metadata.labels["endpoints.kubernetes.io/managed-by"], "endpoint-controller");
    assert_eq!(endpoints.metadata.labels["team"], "a");
}

#[test]
fn a_second_look_writes_nothing() {
    let mut given = view(vec![pod("a", "10.0.0.1", |_| {})]);
    given.current = Some(written(&given));
    assert!(plan(&given).is_nothing());
}

#[test]
fn a_service_without_pods_has_endpoints_without_subsets() {
    assert!(written(&view(vec![])).subsets.is_empty());
}

#[test]
fn publishing_what_is_not_ready_makes_it_ready() {
    let mut given = view(vec![pod("c", "10.0.0.3", |p| p.ready = None)]);
    given.service.as_mut().unwrap().spec.publish_not_ready_addresses = true;
    assert_eq!(ips(&written(&given)), (vec!["10.0.0.3"], vec![]));
}

#[test]
fn pods_with_other_ports_get_a_subset_of_their_own() {
    let given = view(vec![pod("a", "10.0.0.1", |_| {}), pod("b", "10.0.0.2", |p| p.ports[0].port = 9090)]);
    assert_eq!(written(&given).subsets.len(), 2);
}

#[test]
fn headless_services_need_no_ports() {
    let mut given = view(vec![pod("a", "10.0.0.1", |p| {
        p.hostname = "h".into();
        p.subdomain = "web".into();
    })]);
    let spec = &mut given.service.as_mut().unwrap().spec;
    spec.cluster_ip = "None".into();
    spec.ports.clear();
    let endpoints = written(&given);
    assert_eq!(endpoints.subsets[0].addresses[0].hostname, "h");
    assert_eq!(endpoints.metadata.labels["service.kubernetes.io/headless"], "");
}

#[test]
fn what_is_above_capacity_is_cut_off() {
    let pods = (0..1200)
        .map(|n| {
            pod(&format!("p{n}"), &format!("10.1.{}.{}", n / 250, n % 250), |p| {
                if n < 300 {
                    p.ready = None;
                }
            })
        })
        .collect();
    let endpoints = written(&view(pods));
    let (ready, not) = ips(&endpoints);
    assert_eq!((ready.len(), not.len()), (900, 100));
    assert_eq!(endpoints.metadata.annotations["endpoints.kubernetes.io/over-capacity"], "truncated");
}

#[test]
fn endpoints_go_with_their_service_and_those_without_selector_are_left_alone() {
    let mut given = view(vec![]);
    given.current = Some(written(&given));
    given.service = None;
    assert!(matches!(plan(&given).actions()[0].effect, Effect::Delete { .. }));
    let lock = "control-plane.alpha.kubernetes.io/leader";
    given.current.as_mut().unwrap().metadata.annotations.insert(lock.into(), "{}".into());
    assert!(plan(&given).is_nothing(), "a lock of a leader election");
    let mut manual = view(vec![]);
    manual.service.as_mut().unwrap().spec.selector.clear();
    assert!(plan(&manual).is_nothing());
}
