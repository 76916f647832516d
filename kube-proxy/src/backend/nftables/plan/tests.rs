//! What Services become in the table, and what a change costs.

use super::*;
use crate::state::{add_endpoints, service_ports};
use crate::testing::{Ep, ServiceBuilder, service, slice};

fn settings() -> Settings {
    Settings {
        node: "here".into(),
        zone: String::new(),
        node_ip: Some("192.0.2.1".parse().unwrap()),
        node_ports: NodePortAddresses::These(vec!["192.0.2.1".parse().unwrap()]),
        masquerade_all: false,
        masquerade_bit: 14,
        local: LocalTraffic::From(vec!["10.244.0.0/16".parse().unwrap()]),
    }
}

fn table(services: &[(ServiceBuilder, &[Ep])]) -> Ruleset {
    let (mut ports, mut endpoints) = (Services::new(), Endpoints::new());
    for (service, own) in services {
        let service = service.build();
        ports.extend(service_ports(&service, Family::V4));
        add_endpoints(&mut endpoints, &slice(&service.metadata.name, 8080, own), Family::V4, "here");
    }
    plan(Family::V4, &ports, &endpoints, &settings()).0
}

/// The lines that a Service adds to the table without any.
fn check(service: ServiceBuilder, endpoints: &[Ep], expected: &str) {
    let (script, stale) = table(&[(service, endpoints)]).update_script(&table(&[]));
    let got: Vec<&str> = script.lines().collect();
    let expected: Vec<String> =
        expected.lines().map(|l| l.trim().replace(" T ", " ip kube-proxy ")).collect();
    assert_eq!(got, expected);
    assert!(stale.is_empty());
}

fn web() -> ServiceBuilder {
    service("web", "10.0.0.1").port("", 80, 0)
}

fn two() -> [Ep; 2] {
    [Ep::at("10.244.1.2").on("here"), Ep::at("10.244.2.3").on("there")]
}

#[test]
fn names_are_upstreams() {
    // A name that upstream's chains have.
    let name =
        PortName { namespace: "ns1".into(), service: "svc1".into(), port: "p80".into(), protocol: "tcp" };
    assert_eq!(chain_base(&name), "ULMVA6XW-ns1/svc1/tcp/p80");
}

#[test]
fn a_cluster_ip() {
    check(
        web(),
        &two(),
        "add chain T service-PFISGYVC-default/web/tcp/
         add rule T service-PFISGYVC-default/web/tcp/ meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.244.1.2 . 8080, 1 : 10.244.2.3 . 8080 }
         add element T cluster-ips { 10.0.0.1 }
         add element T hairpin-connections { 10.244.1.2 . 10.244.1.2 . tcp . 8080 }
         add element T service-ips { 10.0.0.1 . tcp . 80 : goto service-PFISGYVC-default/web/tcp/ }",
    );
}

#[test]
fn no_endpoints_are_a_refusal() {
    check(
        service("web", "10.0.0.1").port("", 80, 30080),
        &[],
        "add element T cluster-ips { 10.0.0.1 }
         add element T no-endpoint-nodeports { tcp . 30080 comment \"default/web\" : goto reject-chain }
         add element T no-endpoint-services { 10.0.0.1 . tcp . 80 comment \"default/web\" : goto reject-chain }",
    );
}

#[test]
fn a_node_port_masquerades() {
    check(
        service("web", "10.0.0.1").port("", 80, 30080),
        &two()[1..],
        "add chain T external-PFISGYVC-default/web/tcp/
         add chain T service-PFISGYVC-default/web/tcp/
         add rule T external-PFISGYVC-default/web/tcp/ mark set mark or 0x004000 comment \"masquerade\"
         add rule T external-PFISGYVC-default/web/tcp/ goto service-PFISGYVC-default/web/tcp/
         add rule T service-PFISGYVC-default/web/tcp/ meta l4proto tcp dnat ip addr . port to numgen random mod 1 map { 0 : 10.244.2.3 . 8080 }
         add element T cluster-ips { 10.0.0.1 }
         add element T service-ips { 10.0.0.1 . tcp . 80 : goto service-PFISGYVC-default/web/tcp/ }
         add element T service-nodeports { tcp . 30080 : goto external-PFISGYVC-default/web/tcp/ }",
    );
}

#[test]
fn the_policy_local_drops_where_there_is_no_endpoint() {
    check(
        service("web", "10.0.0.1").port("", 80, 30080).edit(|s| s.spec.external_traffic_policy = "Local".into()),
        &two()[1..],
        "add chain T external-PFISGYVC-default/web/tcp/
         add chain T service-PFISGYVC-default/web/tcp/
         add rule T external-PFISGYVC-default/web/tcp/ ip saddr 10.244.0.0/16 goto service-PFISGYVC-default/web/tcp/ comment \"short-circuit pod traffic\"
         add rule T external-PFISGYVC-default/web/tcp/ fib saddr type local mark set mark or 0x004000 comment \"masquerade local traffic\"
         add rule T external-PFISGYVC-default/web/tcp/ fib saddr type local goto service-PFISGYVC-default/web/tcp/ comment \"short-circuit local traffic\"
         add rule T service-PFISGYVC-default/web/tcp/ meta l4proto tcp dnat ip addr . port to numgen random mod 1 map { 0 : 10.244.2.3 . 8080 }
         add element T cluster-ips { 10.0.0.1 }
         add element T no-endpoint-nodeports { tcp . 30080 comment \"default/web\" : drop }
         add element T service-ips { 10.0.0.1 . tcp . 80 : goto service-PFISGYVC-default/web/tcp/ }
         add element T service-nodeports { tcp . 30080 : goto external-PFISGYVC-default/web/tcp/ }",
    );
}

#[test]
fn a_load_balancer_admits_its_source_ranges() {
    let balanced = web().edit(|s| {
        s.spec.type_ = "LoadBalancer".into();
        s.spec.load_balancer_source_ranges = vec!["192.0.2.0/24".into()];
        s.status.load_balancer.ingress.push(Default::default());
        s.status.load_balancer.ingress[0].ip = "203.0.113.9".into();
    });
    let table = table(&[(balanced, &two())]);
    let firewall = table.chains.iter().find(|(name, _)| name.starts_with("firewall-PF")).unwrap();
    assert_eq!(firewall.1.rules, ["ip saddr != { 192.0.2.0/24, 203.0.113.9 } drop"]);
    let target = &table.collections["service-ips"].elements["203.0.113.9 . tcp . 80"];
    assert_eq!(target, ": goto external-PFISGYVC-default/web/tcp/");
}

#[test]
fn clients_with_affinity_have_a_set_for_each_endpoint() {
    let sticky = web().edit(|s| s.spec.session_affinity = "ClientIP".into());
    check(
        sticky,
        &two()[1..],
        "add set T affinity-63O4TYAU-default/web/tcp/__10.244.2.3/8080 { type ipv4_addr ; flags dynamic,timeout ; timeout 10800s ; }
         add chain T endpoint-63O4TYAU-default/web/tcp/__10.244.2.3/8080
         add chain T service-PFISGYVC-default/web/tcp/
         add rule T endpoint-63O4TYAU-default/web/tcp/__10.244.2.3/8080 update @affinity-63O4TYAU-default/web/tcp/__10.244.2.3/8080 { ip saddr }
         add rule T endpoint-63O4TYAU-default/web/tcp/__10.244.2.3/8080 meta l4proto tcp dnat to 10.244.2.3:8080
         add rule T service-PFISGYVC-default/web/tcp/ ip saddr @affinity-63O4TYAU-default/web/tcp/__10.244.2.3/8080 goto endpoint-63O4TYAU-default/web/tcp/__10.244.2.3/8080
         add rule T service-PFISGYVC-default/web/tcp/ numgen random mod 1 vmap { 0 : goto endpoint-63O4TYAU-default/web/tcp/__10.244.2.3/8080 }
         add element T cluster-ips { 10.0.0.1 }
         add element T service-ips { 10.0.0.1 . tcp . 80 : goto service-PFISGYVC-default/web/tcp/ }",
    );
}

#[test]
fn a_change_touches_what_changed() {
    let other = service("other", "10.0.0.2").port("", 80, 0);
    let before = table(&[(web(), &two()), (other.clone(), &two())]);
    let after = table(&[(web(), &two()[..1]), (other.clone(), &two())]);
    let (script, stale) = after.update_script(&before);
    assert_eq!(
        script,
        "flush chain ip kube-proxy service-PFISGYVC-default/web/tcp/\n\
         add rule ip kube-proxy service-PFISGYVC-default/web/tcp/ meta l4proto tcp dnat ip addr . port to numgen random mod 1 map { 0 : 10.244.1.2 . 8080 }\n"
    );
    assert!(stale.is_empty());
    assert_eq!(after.update_script(&after).0, "");
    let (script, stale) = table(&[(other, &two())]).update_script(&after);
    assert_eq!(
        script,
        "flush chain ip kube-proxy service-PFISGYVC-default/web/tcp/\n\
         delete element ip kube-proxy cluster-ips { 10.0.0.1 }\n\
         delete element ip kube-proxy service-ips { 10.0.0.1 . tcp . 80 }\n"
    );
    assert_eq!(stale, ["service-PFISGYVC-default/web/tcp/"]);
}

#[test]
fn a_set_with_another_timeout_is_made_anew() {
    let sticky = |seconds| {
        web().edit(|s| {
            s.spec.session_affinity = "ClientIP".into();
            let client_ip = api_types::core::v1::ClientIPConfig { timeout_seconds: Some(seconds) };
            s.spec.session_affinity_config = Some(Box::new(api_types::core::v1::SessionAffinityConfig {
                client_ip: Some(Box::new(client_ip)),
            }));
        })
    };
    let (script, _) = table(&[(sticky(60), &two()[1..])]).update_script(&table(&[(sticky(30), &two()[1..])]));
    let lines: Vec<&str> = script.lines().map(|l| &l[..l.len().min(30)]).collect();
    assert_eq!(
        lines,
        [
            "flush chain ip kube-proxy endp",
            "flush chain ip kube-proxy serv",
            "delete set ip kube-proxy affin",
            "add set ip kube-proxy affinity",
            "add rule ip kube-proxy endpoin",
            "add rule ip kube-proxy endpoin",
            "add rule ip kube-proxy service",
            "add rule ip kube-proxy service",
        ]
    );
}
