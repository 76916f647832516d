//! A Service, its pods and slices in; slices out.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::IntOrString;
use api_types::core::v1::{IPFamily, PodPhase, Service, ServicePort};
use api_types::discovery::v1::{AddressType, EndpointSlice};
use client::Key;
use client::controller::{Controller as _, Effect};
use jiff::Timestamp;

use super::{EndpointSlices, View};
use crate::cached::PodFacts;

fn service() -> Service {
    let mut service = Service::default();
    service.metadata.namespace = "ns".into();
    service.metadata.name = "web".into();
    service.metadata.uid = "svc-uid".into();
    service.spec.cluster_ip = "10.96.0.9".into();
    service.spec.ip_families = vec![IPFamily::IPv4];
    service.spec.selector = BTreeMap::from([("app".into(), "web".into())]);
    service.spec.ports = vec![ServicePort {
        name: "http".into(),
        port: 80,
        protocol: "TCP".into(),
        target_port: IntOrString::Int(8080),
        ..Default::default()
    }];
    service
}

fn pod(number: usize) -> (Key, Arc<PodFacts>) {
    changed_pod(number, |_| {})
}

fn changed_pod(number: usize, change: impl FnOnce(&mut PodFacts)) -> (Key, Arc<PodFacts>) {
    let mut pod = PodFacts {
        uid: format!("uid-{number}").into(),
        ips: vec![format!("10.0.{}.{}", number / 250, number % 250).into()],
        node: "n1".into(),
        phase: PodPhase::Running,
        ready: Some(Timestamp::UNIX_EPOCH),
        ..Default::default()
    };
    change(&mut pod);
    (Key::new("ns", format!("pod-{number}")), Arc::new(pod))
}

/// Slices that follow plans.
struct World {
    view: View,
    writes: usize,
    made: usize,
}

impl World {
    fn new(pods: impl IntoIterator<Item = (Key, Arc<PodFacts>)>) -> Self {
        let pods = pods.into_iter().collect();
        let view = View { service: Some(service()), pods, max_per_slice: 100, ..Default::default() };
        Self { view, writes: 0, made: 0 }
    }

    /// Applies the plan, and checks that a second look finds nothing to do.
    fn sync(&mut self) -> &mut Self {
        self.writes = 0;
        self.apply();
        let writes = self.writes;
        self.apply();
        assert_eq!(self.writes, writes, "a second look writes nothing");
        self
    }

    fn apply(&mut self) {
        for action in EndpointSlices::plan(&self.view, Timestamp::UNIX_EPOCH).actions() {
            self.writes += 1;
            let slices = &mut self.view.slices;
            match &action.effect {
                Effect::Create(_) => {
                    let mut slice = action.effect.object::<EndpointSlice>().unwrap().clone();
                    self.made += 1;
                    slice.metadata.name = format!("{}{}", slice.metadata.generate_name, self.made);
                    slices.push(slice);
                }
                Effect::Update(..) => {
                    let slice = action.effect.object::<EndpointSlice>().unwrap();
                    let at = slices.iter().position(|s| s.metadata.name == slice.metadata.name).unwrap();
                    slices[at] = slice.clone();
                }
                Effect::Delete { target, .. } => slices.retain(|s| s.metadata.name != *target.key.name),
                other => panic!("{other:?}"),
            }
        }
    }

    fn sizes(&self) -> Vec<usize> {
        self.view.slices.iter().map(|s| s.endpoints.len()).collect()
    }
}

#[test]
fn a_slice_says_whose_it_is_and_what_it_holds() {
    let mut world = World::new([pod(1), changed_pod(2, |p| p.ready = None)]);
    world.view.zones.insert("n1".into(), "z".into());
    let slice = world.sync().view.slices[0].clone();
    assert_eq!(slice.metadata.generate_name, "web-");
    assert_eq!(slice.metadata.labels["kubernetes.io/service-name"], "web");
    assert_eq!(
        slice.metadata.labels["endpointslice.kubernetes.io/managed-by"],
        "endpointslice-controller.k8s.io"
    );
    assert_eq!(slice.metadata.owner_references[0].uid, "svc-uid");
    assert_eq!((slice.ports[0].name.as_deref(), slice.ports[0].port), (Some("http"), Some(8080)));
    let conditions: Vec<_> = slice.endpoints.iter().map(|e| e.conditions.ready).collect();
    assert_eq!(conditions, [Some(true), Some(false)]);
    assert_eq!(slice.endpoints[0].zone.as_deref(), Some("z"));
    assert_eq!(slice.endpoints[0].target_ref.as_ref().unwrap().name, "pod-1");
}

#[test]
fn terminating_pods_serve_but_are_not_ready() {
    let going = changed_pod(1, |p| p.deleting = Some(Timestamp::UNIX_EPOCH));
    let mut world = World::new([going]);
    let conditions = world.sync().view.slices[0].endpoints[0].conditions.clone();
    assert_eq!(
        (conditions.ready, conditions.serving, conditions.terminating),
        (Some(false), Some(true), Some(true))
    );
    world.view.service.as_mut().unwrap().spec.publish_not_ready_addresses = true;
    assert_eq!(world.sync().view.slices[0].endpoints[0].conditions.ready, Some(true));
}

#[test]
fn slices_hold_a_hundred_and_changes_touch_few() {
    let mut world = World::new((0..250).map(pod));
    assert_eq!(world.sync().sizes(), [100, 100, 50]);
    world.view.pods[5] = changed_pod(5, |p| p.ready = None);
    world.sync();
    assert_eq!(world.writes, 1, "one endpoint changed, one slice is written");
    world.view.pods.remove(5);
    assert_eq!(world.sync().sizes(), [99, 100, 50]);
    world.view.pods.push(pod(300));
    assert_eq!(world.sync().sizes(), [100, 100, 50], "it goes where there is just room for it");
    assert_eq!(world.writes, 1);
}

#[test]
fn without_endpoints_one_empty_slice_stays() {
    let mut world = World::new([]);
    assert_eq!(world.sync().sizes(), [0]);
    world.view.pods.push(pod(1));
    assert_eq!(world.sync().sizes(), [1]);
    assert_eq!(world.view.slices.len(), 1, "the empty one was taken over");
    world.view.pods.clear();
    assert_eq!(world.sync().sizes(), [0]);
}

#[test]
fn two_families_have_slices_each() {
    let mut world = World::new([changed_pod(1, |p| p.ips.push("fd00::1".into()))]);
    world.view.service.as_mut().unwrap().spec.ip_families = vec![IPFamily::IPv4, IPFamily::IPv6];
    world.sync();
    let types: Vec<_> = world.view.slices.iter().map(|s| s.address_type.clone()).collect();
    assert_eq!(types, [AddressType::IPv4, AddressType::IPv6]);
    world.view.service.as_mut().unwrap().spec.ip_families = vec![IPFamily::IPv4];
    assert_eq!(world.sync().view.slices.len(), 1);
}

#[test]
fn the_services_labels_are_kept_in_step() {
    let mut world = World::new([pod(1)]);
    world.sync();
    world.view.service.as_mut().unwrap().metadata.labels.insert("team".into(), "a".into());
    assert_eq!(world.sync().view.slices[0].metadata.labels["team"], "a");
    assert_eq!(world.writes, 1);
}

#[test]
fn changed_ports_take_over_the_slices() {
    let mut world = World::new([pod(1)]);
    world.sync();
    world.view.service.as_mut().unwrap().spec.ports[0].target_port = IntOrString::Int(9090);
    world.sync();
    assert_eq!(world.view.slices.len(), 1);
    assert_eq!(world.view.slices[0].ports[0].port, Some(9090));
}
