//! Services on their way to the store.

use super::*;
use crate::field::Errors;
use crate::kind::{Object, Strategy};
use crate::kinds;

/// A Service as the server has it after allocation.
fn service(change: impl FnOnce(&mut Service)) -> Service {
    let mut own = Service::default();
    own.metadata.name = "web".into();
    own.metadata.namespace = "shop".into();
    own.spec.cluster_ip = "10.96.0.7".into();
    own.spec.cluster_ips = vec!["10.96.0.7".into()];
    own.spec.ip_families = vec![IPFamily::IPv4];
    own.spec.ip_family_policy = Some(IPFamilyPolicy::SingleStack);
    own.spec.ports = vec![port("", 80)];
    change(&mut own);
    let row = kinds::by_kind("", "v1", "Service").expect("a kind");
    row.default(&mut own as &mut dyn Object);
    own
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort { name: name.into(), port: number, ..Default::default() }
}

fn texts(errors: &Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(change: impl FnOnce(&mut Service), expected: &[&str]) {
    let mut errors = Errors::default();
    service(change).validate(&mut errors);
    assert_eq!(texts(&errors), expected);
}

#[test]
fn defaults() {
    let spec = service(|_| {}).spec;
    assert_eq!((spec.type_.as_str(), spec.session_affinity.as_str()), ("ClusterIP", "None"));
    assert_eq!(spec.internal_traffic_policy, Some(ServiceInternalTrafficPolicy::Cluster));
    assert!(spec.external_traffic_policy.is_unset());
    assert_eq!((&spec.ports[0].target_port, spec.ports[0].protocol.as_str()), (&80.into(), "TCP"));
    let spec = service(|s| s.spec.type_ = "NodePort".into()).spec;
    assert_eq!(spec.external_traffic_policy, "Cluster");
    let spec = service(|s| s.spec.session_affinity = "ClientIP".into()).spec;
    let client = spec.session_affinity_config.and_then(|c| c.client_ip).expect("set");
    assert_eq!(client.timeout_seconds, Some(10_800));
}

#[test]
fn what_is_refused() {
    check(|_| {}, &[]);
    check(|s| s.spec.ports.clear(), &["spec.ports: Required value"]);
    check(
        |s| s.spec.type_ = "Magic".into(),
        &[
            r#"spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#,
        ],
    );
    check(
        |s| s.spec.ports = vec![port("", 80), port("http", 0)],
        &[
            "spec.ports[0].name: Required value",
            "spec.ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[1].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
        ],
    );
    check(
        |s| s.spec.ports = vec![port("a", 80), port("b", 80)],
        &[r#"spec.ports[1]: Duplicate value: {"protocol":"TCP","port":80,"targetPort":0}"#],
    );
    check(
        |s| s.spec.ports[0].node_port = 30_080,
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    );
    check(
        |s| s.spec.external_ips = vec!["127.0.0.1".into()],
        &[
            r#"spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
        ],
    );
    check(
        |s| {
            s.spec.type_ = "ExternalName".into();
        },
        &[
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
            "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
            "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services",
            "spec.externalName: Required value",
        ],
    );
    check(
        |s| s.spec.cluster_ips = vec!["10.96.0.8".into()],
        &[r#"spec.clusterIPs: Invalid value: ["10.96.0.8"]: first value must match `clusterIP`"#],
    );
}

#[test]
fn updates_keep_what_was_allocated() {
    let old = service(|s| {
        s.spec.type_ = "NodePort".into();
        s.spec.ports[0].node_port = 30_080;
    });
    let mut new = service(|s| {
        s.spec.type_ = "NodePort".into();
        s.spec.cluster_ip.clear();
        s.spec.cluster_ips.clear();
    });
    new.prepare_for_update(&old);
    assert_eq!((new.spec.cluster_ip.as_str(), new.spec.ports[0].node_port), ("10.96.0.7", 30_080));
    assert_eq!(new.spec.cluster_ips, old.spec.cluster_ips);

    let mut inside = old.clone();
    inside.spec.type_ = ServiceType::ClusterIP;
    inside.prepare_for_update(&old);
    assert_eq!(inside.spec.ports[0].node_port, 0);
    assert!(inside.spec.external_traffic_policy.is_unset());

    let mut named = old.clone();
    named.spec.type_ = ServiceType::ExternalName;
    named.prepare_for_update(&old);
    assert_eq!((named.spec.cluster_ip.as_str(), named.spec.cluster_ips.len()), ("", 0));
}

#[test]
fn the_address_stays() {
    let old = service(|_| {});
    let mut new = old.clone();
    new.spec.cluster_ip = "10.96.0.8".into();
    new.prepare_for_update(&old);
    let mut errors = Errors::default();
    new.validate_update(&old, &mut errors);
    assert_eq!(
        texts(&errors),
        [r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set"#]
    );
}

#[test]
fn columns() {
    let cells = |change: fn(&mut Service)| {
        let own = service(change);
        let now = jiff::Timestamp::UNIX_EPOCH;
        Service::columns()[1..5]
            .iter()
            .map(|column| (column.cell)(&own, now).as_str().expect("a text").to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(cells(|_| {}), "ClusterIP 10.96.0.7 <none> 80/TCP");
    assert_eq!(
        cells(|s| {
            s.spec.type_ = "LoadBalancer".into();
            s.spec.ports[0].node_port = 30_080;
        }),
        "LoadBalancer 10.96.0.7 <pending> 80:30080/TCP"
    );
    assert_eq!(
        cells(|s| {
            s.spec.type_ = "ExternalName".into();
            s.spec.external_name = "example.com".into();
            s.spec.cluster_ips.clear();
            s.spec.ports.clear();
        }),
        "ExternalName <none> example.com <none>"
    );
}
