//! What lies behind a Service: which pods it selects, at which address and ports, and whether they
//! take traffic. Shared by the controllers of Endpoints and EndpointSlices.

use std::sync::Arc;

use api_types::IntOrString;
use api_types::core::v1::well_known::name;
use api_types::core::v1::{IPFamily, ObjectReference, Service, ServicePort, ServiceType};
use client::Key;
use client::informer::{Caches, Change};

use crate::cached::{PodFacts, ServiceObject};

/// Whether the controllers keep endpoints for the Service: it has a selector and is no alias.
pub fn is_managed(service: &Service) -> bool {
    service.spec.type_ != ServiceType::ExternalName && !service.spec.selector.is_empty()
}

/// Whether it has no address of its own.
pub fn is_headless(service: &Service) -> bool {
    matches!(service.spec.cluster_ip.as_str(), "" | name::NO_CLUSTER_IP)
}

fn selects(service: &Service, pod: &PodFacts) -> bool {
    is_managed(service) && service.spec.selector.iter().all(|(k, v)| pod.labels.get(k) == Some(v))
}

/// The pods that a Service selects, by name.
pub fn selected(service: &Service, caches: &Caches) -> Vec<(Key, Arc<PodFacts>)> {
    let mut pods = caches.store::<PodFacts>().in_namespace(&service.metadata.namespace);
    pods.retain(|(_, pod)| selects(service, pod));
    pods
}

/// The Services that select a pod, before or after a change.
pub fn wake(change: &Change<'_, PodFacts>, caches: &Caches, keys: &mut Vec<Key>) {
    if change.old.zip(change.new).is_some_and(|(old, new)| old == new) {
        return;
    }
    for (key, service) in caches.store::<ServiceObject>().in_namespace(&change.key.namespace) {
        if [change.old, change.new].into_iter().flatten().any(|pod| selects(&service, pod)) {
            keys.push(key);
        }
    }
}

/// Whether the pod has an endpoint at all. Those that are being deleted have one only where asked.
pub fn has_endpoint(pod: &PodFacts, with_deleted: bool) -> bool {
    !pod.is_finished() && !pod.ips.is_empty() && (with_deleted || pod.deleting.is_none())
}

pub fn is_ipv6(ip: &str) -> bool {
    ip.contains(':')
}

/// The address family of a Service's Endpoints: its first.
pub fn is_family_ipv6(service: &Service, pod: &PodFacts) -> bool {
    match service.spec.ip_families.first() {
        Some(family) => *family == IPFamily::IPv6,
        None if is_headless(service) => pod.ips.first().is_some_and(|ip| is_ipv6(ip)),
        None => is_ipv6(&service.spec.cluster_ip),
    }
}

/// The pod's address of a family.
pub fn address(pod: &PodFacts, ipv6: bool) -> Option<&str> {
    pod.ips.iter().map(|ip| &**ip).find(|ip| is_ipv6(ip) == ipv6)
}

/// The number of the pod's port that a Service's port leads to.
pub fn port(pod: &PodFacts, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        IntOrString::Int(0) => Some(port.port),
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => pod
            .ports
            .iter()
            .find(|p| *p.name == **name && *p.protocol == *port.protocol.as_str())
            .map(|p| p.port),
    }
}

/// Whether the pod is known by its host name in the Service's domain.
pub fn has_hostname(pod: &PodFacts, service: &Service) -> bool {
    !pod.hostname.is_empty() && *pod.subdomain == *service.metadata.name
}

/// What an endpoint says of its pod.
pub fn reference(key: &Key, pod: &PodFacts) -> ObjectReference {
    ObjectReference {
        kind: "Pod".into(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        uid: pod.uid.to_string(),
        ..ObjectReference::default()
    }
}

/// The newest change that endpoints follow: a pod's readiness or the Service itself.
pub fn last_change(service: &Service, pods: &[(Key, Arc<PodFacts>)]) -> Option<jiff::Timestamp> {
    let created = service.metadata.creation_timestamp.map(|t| t.0);
    pods.iter().filter_map(|(_, pod)| pod.ready).chain(created).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cached::NamedPort;

    fn pod() -> PodFacts {
        PodFacts {
            ips: vec!["10.0.0.1".into(), "fd00::1".into()],
            ports: vec![NamedPort { name: "http".into(), protocol: "TCP".into(), port: 8080 }],
            ..Default::default()
        }
    }

    #[test]
    fn ports_are_found_by_number_and_by_name() {
        let given = |target| ServicePort {
            port: 80,
            target_port: target,
            protocol: "TCP".into(),
            ..Default::default()
        };
        assert_eq!(port(&pod(), &given(IntOrString::Int(0))), Some(80));
        assert_eq!(port(&pod(), &given(IntOrString::Int(81))), Some(81));
        assert_eq!(port(&pod(), &given(IntOrString::String("http".into()))), Some(8080));
        assert_eq!(port(&pod(), &given(IntOrString::String("ftp".into()))), None);
    }

    #[test]
    fn addresses_follow_the_family() {
        assert_eq!(address(&pod(), false), Some("10.0.0.1"));
        assert_eq!(address(&pod(), true), Some("fd00::1"));
    }

    #[test]
    fn a_service_without_selector_selects_nothing() {
        let mut service = Service::default();
        assert!(!selects(&service, &pod()));
        service.spec.selector.insert("app".into(), "web".into());
        assert!(!selects(&service, &pod()));
        let mut labelled = pod();
        labelled.labels.insert("app".into(), "web".into());
        assert!(selects(&service, &labelled));
        service.spec.type_ = ServiceType::ExternalName;
        assert!(!selects(&service, &labelled));
    }
}
