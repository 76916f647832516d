//! Which records the names of a cluster have.

use std::str::FromStr as _;

use api_types::core::v1::{Namespace, Service};
use api_types::discovery::v1::EndpointSlice;
use client::informer::Caches;
use hickory_server::proto::rr::{Name, RecordType};

use crate::cluster::Cluster;
use crate::zone::{Answer, Zone};

fn read<T: api_types::kind::Resource>(text: &str) -> T {
    api_types::codec::json::from_slice(text.as_bytes()).expect("the test's object can be read")
}

fn zone() -> Zone {
    let caches = Caches::detached();
    let cluster = Cluster::of(&caches);
    cluster.namespaces.put(read::<Namespace>(r#"{"metadata":{"name":"shop"}}"#));
    for service in [
        r#"{"metadata":{"name":"web","namespace":"shop"},"spec":{"clusterIP":"10.96.0.20",
            "clusterIPs":["10.96.0.20","fd00::20"],"ports":[{"name":"http","protocol":"TCP","port":80}]}}"#,
        r#"{"metadata":{"name":"db","namespace":"shop"},"spec":{"clusterIP":"None","clusterIPs":["None"]}}"#,
        r#"{"metadata":{"name":"idle","namespace":"shop"},"spec":{"clusterIP":"None","clusterIPs":["None"]}}"#,
        r#"{"metadata":{"name":"out","namespace":"shop"},"spec":{"type":"ExternalName","externalName":"example.com"}}"#,
    ] {
        cluster.services.put(read::<Service>(service));
    }
    cluster.slices.put(read::<EndpointSlice>(
        r#"{"metadata":{"name":"db-1","namespace":"shop","labels":{"kubernetes.io/service-name":"db"}},
            "addressType":"IPv4","ports":[{"name":"sql","protocol":"TCP","port":5432}],"endpoints":[
            {"addresses":["10.244.0.7"],"hostname":"db-0","conditions":{"ready":true}},
            {"addresses":["10.244.0.8"],"conditions":{}},
            {"addresses":["10.244.0.9"],"hostname":"db-2","conditions":{"ready":false}}]}"#,
    ));
    Zone::new(Name::from_str("cluster.local.").unwrap(), 30, cluster)
}

/// The answer in words: records as zone files have them, or why there are none.
fn ask(name: &str, kind: RecordType) -> Vec<String> {
    let text = |records: Vec<hickory_server::proto::rr::Record>| {
        records.into_iter().map(|r| format!("{} {}", r.record_type(), r.data)).collect::<Vec<_>>()
    };
    match zone().answer(&Name::from_str(&format!("{name}.")).unwrap(), kind) {
        Answer::Records { answers, additionals } => {
            let mut all = text(answers);
            all.extend(text(additionals).into_iter().map(|r| format!("+ {r}")));
            all
        }
        Answer::Alias(_, target) => vec![format!("alias of {target}")],
        other => vec![format!("{other:?}")],
    }
}

#[test]
fn a_service_has_its_addresses() {
    assert_eq!(ask("web.shop.svc.cluster.local", RecordType::A), ["A 10.96.0.20"]);
    assert_eq!(ask("WEB.Shop.svc.Cluster.local", RecordType::AAAA), ["AAAA fd00::20"]);
    assert_eq!(ask("web.shop.svc.cluster.local", RecordType::MX), ["NoData"]);
    assert_eq!(ask("none.shop.svc.cluster.local", RecordType::A), ["NoName"]);
    assert_eq!(ask("web.nowhere.svc.cluster.local", RecordType::A), ["NoName"]);
    assert_eq!(ask("a.b.web.shop.svc.cluster.local", RecordType::A), ["NoName"]);
}

#[test]
fn a_headless_service_has_those_of_its_ready_endpoints() {
    assert_eq!(ask("db.shop.svc.cluster.local", RecordType::A), ["A 10.244.0.8", "A 10.244.0.7"]);
    assert_eq!(ask("db.shop.svc.cluster.local", RecordType::AAAA), ["NoData"]);
    assert_eq!(ask("idle.shop.svc.cluster.local", RecordType::A), ["NoName"]);
    assert_eq!(ask("db-0.db.shop.svc.cluster.local", RecordType::A), ["A 10.244.0.7"]);
    assert_eq!(ask("10-244-0-8.db.shop.svc.cluster.local", RecordType::A), ["A 10.244.0.8"]);
    assert_eq!(ask("db-2.db.shop.svc.cluster.local", RecordType::A), ["NoName"]);
}

#[test]
fn ports_are_found_by_name_and_protocol() {
    assert_eq!(
        ask("_http._tcp.web.shop.svc.cluster.local", RecordType::SRV),
        ["SRV 0 100 80 web.shop.svc.cluster.local.", "+ A 10.96.0.20", "+ AAAA fd00::20"]
    );
    assert_eq!(
        ask("_sql._tcp.db.shop.svc.cluster.local", RecordType::SRV),
        [
            "SRV 0 100 5432 db-0.db.shop.svc.cluster.local.",
            "SRV 0 100 5432 10-244-0-8.db.shop.svc.cluster.local.",
            "+ A 10.244.0.7",
            "+ A 10.244.0.8"
        ]
    );
    assert_eq!(ask("_http._udp.web.shop.svc.cluster.local", RecordType::SRV), ["NoName"]);
    assert_eq!(ask("_http._tcp.web.shop.svc.cluster.local", RecordType::A), ["NoData"]);
}

#[test]
fn an_external_name_is_an_alias() {
    assert_eq!(ask("out.shop.svc.cluster.local", RecordType::A), ["alias of example.com."]);
    assert_eq!(ask("out.shop.svc.cluster.local", RecordType::CNAME), ["alias of example.com."]);
}

#[test]
fn addresses_lead_back_to_names() {
    assert_eq!(ask("20.0.96.10.in-addr.arpa", RecordType::PTR), ["PTR web.shop.svc.cluster.local."]);
    assert_eq!(ask("7.0.244.10.in-addr.arpa", RecordType::PTR), ["PTR db-0.db.shop.svc.cluster.local."]);
    assert_eq!(ask("1.1.168.192.in-addr.arpa", RecordType::PTR), ["Foreign"]);
}

#[test]
fn pods_have_the_address_that_their_name_says() {
    assert_eq!(ask("10-244-0-8.shop.pod.cluster.local", RecordType::A), ["A 10.244.0.8"]);
    assert_eq!(ask("10-244-0-8.nowhere.pod.cluster.local", RecordType::A), ["NoName"]);
    assert_eq!(ask("web.shop.pod.cluster.local", RecordType::A), ["NoName"]);
}

#[test]
fn names_between_exist_and_have_nothing() {
    for name in ["cluster.local", "svc.cluster.local", "shop.svc.cluster.local", "shop.pod.cluster.local"] {
        assert_eq!(ask(name, RecordType::A), ["NoData"], "{name}");
    }
    assert_eq!(ask("nowhere.svc.cluster.local", RecordType::A), ["NoName"]);
    assert_eq!(ask("dns-version.cluster.local", RecordType::TXT), ["TXT 1.1.0"]);
    assert_eq!(ask("example.com", RecordType::A), ["Foreign"]);
}
