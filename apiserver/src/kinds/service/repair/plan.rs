//! What is to be done about an address or a Service whose other half is not what it should be.
//! Our own writes keep both together; others (users, an upstream apiserver that died half-way) may not.

use std::net::IpAddr;

use api_types::core::v1::{Service, ServiceType};
use api_types::networking::v1::{ALLOCATOR, FAMILY_LABEL, IPAddress, MANAGED_BY_LABEL};
use ipnet::IpNet;
use jiff::Timestamp;

use crate::kinds::service::HEADLESS;
use crate::kinds::service::allocation::belongs;
use crate::kinds::service::ranges::{family_of, gives};

/// Seconds that an upstream apiserver may take between an address and its Service.
const GRACE: i64 = 60;
/// The same where the Service has been there before the address.
const SHORT_GRACE: i64 = 5;

/// One thing to do, with the event that tells of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub repair: Repair,
    pub reason: &'static str,
    pub action: &'static str,
    pub note: String,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Repair {
    /// The Service gets its address (back).
    Assign(IpAddr),
    /// The address goes.
    Remove,
    /// Nothing but the event: people have to see to it.
    Tell,
}

/// What is known of one address.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// Look again later.
    Later,
    Wrong(Finding),
}

/// What is wrong with the addresses of a Service. `address` and `service` look up others.
pub fn of_service<'a>(
    own: &Service,
    ranges: &[IpNet],
    address: impl Fn(&str) -> Option<&'a IPAddress>,
    service: impl Fn(&str, &str) -> Option<&'a Service>,
) -> Vec<Finding> {
    let spec = &own.spec;
    if spec.type_ == ServiceType::ExternalName || spec.cluster_ip == HEADLESS || spec.cluster_ip.is_empty() {
        return Vec::new();
    }
    let (namespace, name) = (&own.metadata.namespace, &own.metadata.name);
    let mut found = Vec::new();
    let finding = |repair, reason, note| Finding { repair, reason, action: "ClusterIPAllocation", note };
    for ip in spec.cluster_ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()) {
        let family = family_of(ip);
        if !ranges.iter().any(|range| gives(range, ip)) {
            let note = format!(
                "Cluster IP [{family}]: {ip} is not within any configured Service CIDR; please recreate service"
            );
            found.push(finding(Repair::Tell, "ClusterIPOutOfRange", note));
            continue;
        }
        let Some(present) = address(&ip.to_string()) else {
            let note = format!("Cluster IP [{family}]: {ip} is not allocated; repairing");
            found.push(finding(Repair::Assign(ip), "ClusterIPNotAllocated", note));
            continue;
        };
        let wrong = || {
            let note = format!(
                "the ClusterIP [{family}]: {ip} for Service {namespace}/{name} has a wrong reference; repairing"
            );
            finding(Repair::Assign(ip), "ClusterIPNotAllocated", note)
        };
        if belongs(present, namespace, name) {
            if !is_labelled(present, ip) {
                found.push(wrong());
            }
            continue;
        }
        let parent =
            present.spec.parent_ref.as_deref().filter(|p| p.group.is_empty() && p.resource == "services");
        match parent.and_then(|parent| service(&parent.namespace, &parent.name)) {
            Some(other) if other.spec.cluster_ips.contains(&present.metadata.name) => {
                let note = format!(
                    "Cluster IP [{family}]:{ip} was assigned to multiple services; please recreate service"
                );
                found.push(finding(Repair::Tell, "ClusterIPAlreadyAllocated", note));
            }
            _ => found.push(wrong()),
        }
    }
    found
}

/// Whether an address of the allocator still has its Service.
pub fn of_address<'a>(
    own: &IPAddress,
    now: Timestamp,
    service: impl Fn(&str, &str) -> Option<&'a Service>,
) -> Verdict {
    if own.metadata.labels.get(MANAGED_BY_LABEL).is_none_or(|by| by != ALLOCATOR) {
        return Verdict::Fine;
    }
    let name = &own.metadata.name;
    let wrong = |reason, note| {
        Verdict::Wrong(Finding { repair: Repair::Remove, reason, action: "IPAddressAllocation", note })
    };
    let parent = own.spec.parent_ref.as_deref().filter(|p| p.group.is_empty() && p.resource == "services");
    let Some(parent) = parent else {
        let note =
            format!("IPAddress {name} appears to have been modified, not referencing a Service: cleaning up");
        return wrong("IPAddressNotAllocated", note);
    };
    let since =
        |at: Option<api_types::value::Time>| at.map_or(i64::MAX, |at| now.as_second() - at.0.as_second());
    let age = since(own.metadata.creation_timestamp);
    let Some(present) = service(&parent.namespace, &parent.name) else {
        if age <= GRACE {
            return Verdict::Later;
        }
        let note = format!(
            "IPAddress: {name} for Service {}/{} appears to have leaked: cleaning up",
            parent.namespace, parent.name
        );
        return wrong("IPAddressNotAllocated", note);
    };
    if present.spec.cluster_ips.contains(name) {
        return Verdict::Fine;
    }
    let grace = match present.spec.type_ {
        ServiceType::ExternalName => GRACE,
        _ if since(present.metadata.creation_timestamp) > age => SHORT_GRACE,
        _ => 0,
    };
    if age < grace {
        return Verdict::Later;
    }
    let note = format!(
        "IPAddress: {name} for Service {}/{} has a wrong reference; cleaning up",
        parent.namespace, parent.name
    );
    wrong("IPAddressWrongReference", note)
}

fn is_labelled(address: &IPAddress, ip: IpAddr) -> bool {
    let labels = &address.metadata.labels;
    labels.get(FAMILY_LABEL).is_some_and(|family| family == family_of(ip).as_str())
        && labels.get(MANAGED_BY_LABEL).is_some_and(|by| by == ALLOCATOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::networking::v1::ParentReference;
    use api_types::value::Time;

    fn service(name: &str, ip: &str) -> Service {
        let mut own = Service::default();
        own.metadata.name = name.into();
        own.metadata.namespace = "a".into();
        own.spec.type_ = ServiceType::ClusterIP;
        own.spec.cluster_ip = ip.into();
        own.spec.cluster_ips = vec![ip.into()];
        own
    }

    fn address(ip: &str, service: &str, made: i64) -> IPAddress {
        let mut own = IPAddress::default();
        own.metadata.name = ip.into();
        own.metadata.labels.insert(FAMILY_LABEL.into(), "IPv4".into());
        own.metadata.labels.insert(MANAGED_BY_LABEL.into(), ALLOCATOR.into());
        own.metadata.creation_timestamp = Timestamp::from_second(made).ok().map(Time);
        let parent = ParentReference {
            resource: "services".into(),
            namespace: "a".into(),
            name: service.into(),
            ..ParentReference::default()
        };
        own.spec.parent_ref = Some(parent.into());
        own
    }

    fn services(own: &Service, addresses: &[IPAddress], others: &[Service]) -> Vec<(Repair, &'static str)> {
        let ranges = ["10.0.0.0/24".parse().expect("a range")];
        let found = of_service(
            own,
            &ranges,
            |name| addresses.iter().find(|a| a.metadata.name == name),
            |_, name| others.iter().find(|s| s.metadata.name == name),
        );
        found.into_iter().map(|f| (f.repair, f.reason)).collect()
    }

    #[test]
    fn a_service_gets_its_address_back() {
        let own = service("web", "10.0.0.5");
        let ip: IpAddr = "10.0.0.5".parse().expect("an address");
        let assign = vec![(Repair::Assign(ip), "ClusterIPNotAllocated")];
        assert_eq!(services(&own, &[address("10.0.0.5", "web", 0)], &[]), []);
        assert_eq!(services(&own, &[], &[]), assign);
        assert_eq!(services(&own, &[address("10.0.0.5", "gone", 0)], &[]), assign);
        let mut bare = address("10.0.0.5", "web", 0);
        bare.metadata.labels.clear();
        assert_eq!(services(&own, &[bare], &[]), assign);
    }

    #[test]
    fn some_things_are_for_people() {
        let own = service("web", "10.0.0.5");
        let other = service("other", "10.0.0.5");
        assert_eq!(
            services(&own, &[address("10.0.0.5", "other", 0)], &[other]),
            [(Repair::Tell, "ClusterIPAlreadyAllocated")]
        );
        assert_eq!(services(&service("web", "10.1.0.5"), &[], &[]), [(Repair::Tell, "ClusterIPOutOfRange")]);
        assert_eq!(services(&service("web", HEADLESS), &[], &[]), []);
    }

    #[test]
    fn an_address_without_its_service_goes_after_a_while() {
        let at = |now: i64, present: Option<Service>| {
            let now = Timestamp::from_second(now).expect("a time");
            match of_address(&address("10.0.0.5", "web", 1000), now, |_, _| present.as_ref()) {
                Verdict::Fine => "fine",
                Verdict::Later => "later",
                Verdict::Wrong(finding) => finding.reason,
            }
        };
        assert_eq!(at(1030, None), "later");
        assert_eq!(at(1061, None), "IPAddressNotAllocated");
        assert_eq!(at(1061, Some(service("web", "10.0.0.5"))), "fine");
        assert_eq!(at(1002, Some(service("web", "10.0.0.6"))), "later");
        assert_eq!(at(1061, Some(service("web", "10.0.0.6"))), "IPAddressWrongReference");
    }

    #[test]
    fn addresses_of_others_are_theirs() {
        let mut own = address("10.0.0.5", "web", 0);
        own.metadata.labels.clear();
        assert_eq!(of_address(&own, Timestamp::UNIX_EPOCH, |_, _| None), Verdict::Fine);
    }
}
