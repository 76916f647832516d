//! Endpoints in, slices out.

use api_types::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use api_types::discovery::v1::{AddressType, EndpointSlice};
use client::controller::{Controller as _, Effect, Plan, Step};
use jiff::Timestamp;

use super::{Mirroring, View};

fn subset(ips: &[&str], not_ready: &[&str], port: i32) -> EndpointSubset {
    let address = |ip: &&str| EndpointAddress { ip: (*ip).into(), ..Default::default() };
    EndpointSubset {
        addresses: ips.iter().map(address).collect(),
        not_ready_addresses: not_ready.iter().map(address).collect(),
        ports: vec![EndpointPort { port, protocol: "TCP".into(), ..Default::default() }],
    }
}

fn view(subsets: Vec<EndpointSubset>) -> View {
    let mut endpoints = Endpoints { subsets, ..Default::default() };
    endpoints.metadata.name = "db".into();
    endpoints.metadata.labels.insert("team".into(), "a".into());
    View {
        endpoints: Some(endpoints),
        service: Some(Service::default()),
        max_per_subset: 1000,
        ..Default::default()
    }
}

fn plan(view: &View) -> Plan {
    Mirroring::plan(view, Timestamp::UNIX_EPOCH)
}

fn created(view: &View) -> Vec<EndpointSlice> {
    plan(view).actions().iter().map(|a| a.effect.object::<EndpointSlice>().unwrap().clone()).collect()
}

#[test]
fn each_subset_and_family_has_a_slice() {
    let slices = created(&view(vec![subset(&["192.0.2.1", "2001:db8::1"], &["192.0.2.2"], 80)]));
    assert_eq!(slices.len(), 2);
    assert_eq!((slices[0].address_type.clone(), slices[0].endpoints.len()), (AddressType::IPv4, 2));
    assert_eq!(slices[0].endpoints[1].conditions.ready, Some(false));
    assert_eq!(slices[1].address_type, AddressType::IPv6);
    assert_eq!(slices[0].metadata.labels["team"], "a");
    assert_eq!(
        slices[0].metadata.labels["endpointslice.kubernetes.io/managed-by"],
        "endpointslicemirroring-controller.k8s.io"
    );
}

#[test]
fn a_second_look_writes_nothing_and_changes_are_updates() {
    let mut given = view(vec![subset(&["192.0.2.1"], &[], 80)]);
    given.slices = created(&given);
    assert!(plan(&given).is_nothing());
    given.endpoints.as_mut().unwrap().subsets = vec![subset(&["192.0.2.9"], &[], 81)];
    assert!(matches!(plan(&given).actions()[0].effect, Effect::Update(..)));
}

#[test]
fn slices_go_when_nothing_is_mirrored_any_more() {
    let mut given = view(vec![subset(&["192.0.2.1"], &[], 80)]);
    given.slices = created(&given);
    let check = |change: fn(&mut View)| {
        let mut changed = given.clone();
        change(&mut changed);
        assert!(matches!(plan(&changed).actions()[0].effect, Effect::Delete { .. }));
    };
    check(|v| v.endpoints = None);
    check(|v| v.service = None);
    check(|v| v.service.as_mut().unwrap().spec.selector = [("a".to_owned(), "b".to_owned())].into());
    check(|v| {
        let labels = &mut v.endpoints.as_mut().unwrap().metadata.labels;
        labels.insert("endpointslice.kubernetes.io/skip-mirror".into(), "true".into());
    });
}

#[test]
fn addresses_beyond_the_limit_are_left_out_and_told_of() {
    let mut given = view(vec![subset(&["192.0.2.1", "192.0.2.2", "no address"], &[], 80)]);
    given.max_per_subset = 1;
    assert_eq!(created(&given)[0].endpoints.len(), 1);
    let told: Vec<_> = plan(&given)
        .steps
        .into_iter()
        .filter_map(|step| match step {
            Step::Tell(told) => Some(told.reason),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["InvalidIPAddress", "TooManyAddressesToMirror"]);
}
