//! Which ports and endpoints come out of objects, and which endpoints traffic may use.

use super::*;
use crate::testing::{Ep, service, slice};

fn ports(service: &Service, family: Family) -> Vec<String> {
    let show = |(name, port): (PortName, ServicePort)| {
        format!("{name} {} {}:{} np={}", name.protocol, port.cluster_ip, port.port, port.node_port)
    };
    service_ports(service, family).into_iter().map(show).collect()
}

#[test]
fn services_without_an_address_of_the_family_are_left_out() {
    let web = service("web", "10.0.0.1").port("http", 80, 30080);
    assert_eq!(ports(&web.build(), Family::V4), ["default/web:http tcp 10.0.0.1:80 np=30080"]);
    assert!(ports(&web.build(), Family::V6).is_empty());
    let dual = web.edit(|s| s.spec.cluster_ips = vec!["10.0.0.1".into(), "fd00::1".into()]);
    assert_eq!(ports(&dual.build(), Family::V6), ["default/web:http tcp fd00::1:80 np=30080"]);
    assert!(ports(&service("h", "None").port("", 80, 0).build(), Family::V4).is_empty());
    let external = service("x", "").port("", 80, 0).edit(|s| s.spec.type_ = ServiceType::ExternalName);
    assert!(ports(&external.build(), Family::V4).is_empty());
}

#[test]
fn ranges_that_hold_everything_restrict_nothing() {
    let check = |given: &[&str], expected: &[&str]| {
        let given: Vec<String> = given.iter().map(|s| (*s).to_owned()).collect();
        let got: Vec<String> = source_ranges(&given, Family::V4).iter().map(IpNet::to_string).collect();
        assert_eq!(got, expected);
    };
    check(&["10.1.2.3/8", " 192.168.0.0/24", "fd00::/8"], &["10.0.0.0/8", "192.168.0.0/24"]);
    check(&["10.0.0.0/8", "0.0.0.0/0"], &[]);
}

fn reach(port: &ServicePort, endpoints: &[Ep]) -> (Vec<String>, Vec<String>, bool) {
    let mut all = Endpoints::new();
    add_endpoints(&mut all, &slice("web", 8080, endpoints), Family::V4, "here");
    let endpoints = all.into_values().next().unwrap_or_default();
    let reachable = Reachable::of(port, &endpoints, "here", "zone-a");
    let names = |list: &[&Endpoint]| list.iter().map(|e| e.address.to_string()).collect::<Vec<_>>();
    (names(&reachable.cluster), names(&reachable.local), reachable.anywhere)
}

fn plain() -> ServicePort {
    let service = service("web", "10.0.0.1").port("", 80, 0).build();
    service_ports(&service, Family::V4).remove(0).1
}

fn list(addresses: &[&str]) -> Vec<String> {
    addresses.iter().map(|a| (*a).to_owned()).collect()
}

#[test]
fn ready_endpoints_are_used_and_terminating_ones_only_when_there_are_no_others() {
    let (ready, not, leaving) =
        (Ep::at("1.1.1.1"), Ep::at("1.1.1.2").not_ready(), Ep::at("1.1.1.3").leaving());
    assert_eq!(
        reach(&plain(), &[ready, not.clone(), leaving.clone()]),
        (list(&["1.1.1.1"]), list(&[]), true)
    );
    assert_eq!(reach(&plain(), &[not.clone(), leaving]), (list(&["1.1.1.3"]), list(&[]), true));
    assert_eq!(reach(&plain(), &[not]), (list(&[]), list(&[]), false));
}

#[test]
fn local_policies_use_the_nodes_own() {
    let internal = ServicePort { internal_local: true, ..plain() };
    let (own, other) = (Ep::at("1.1.1.1").on("here"), Ep::at("1.1.1.2").on("there"));
    assert_eq!(reach(&internal, &[own.clone(), other.clone()]), (list(&[]), list(&["1.1.1.1"]), true));
    assert_eq!(reach(&internal, std::slice::from_ref(&other)), (list(&[]), list(&[]), true));
    let external = ServicePort { external_local: true, node_port: 30000, ..plain() };
    assert_eq!(
        reach(&external, &[own.clone().leaving(), other.clone()]),
        (list(&["1.1.1.2"]), list(&["1.1.1.1"]), true)
    );
    assert_eq!(reach(&external, &[own, other]), (list(&["1.1.1.1", "1.1.1.2"]), list(&["1.1.1.1"]), true));
}

#[test]
fn hints_keep_traffic_near_when_all_have_them() {
    let (a, b) = (Ep::at("1.1.1.1").zone("zone-a"), Ep::at("1.1.1.2").zone("zone-b"));
    assert_eq!(reach(&plain(), &[a.clone(), b.clone()]).0, ["1.1.1.1"]);
    assert_eq!(reach(&plain(), std::slice::from_ref(&b)).0, ["1.1.1.2"]);
    assert_eq!(reach(&plain(), &[a, b, Ep::at("1.1.1.3")]).0.len(), 3);
}

#[test]
fn an_endpoint_in_two_slices_counts_once_and_ready() {
    let mut all = Endpoints::new();
    for ep in [Ep::at("1.1.1.1").not_ready(), Ep::at("1.1.1.1"), Ep::at("1.1.1.1").not_ready()] {
        add_endpoints(&mut all, &slice("web", 8080, &[ep]), Family::V4, "here");
    }
    let endpoints = all.into_values().next().unwrap();
    assert_eq!(endpoints.len(), 1);
    assert!(endpoints[0].ready);
}
