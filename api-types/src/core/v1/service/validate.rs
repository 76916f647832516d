//! What is refused in a Service.
//!
//! Addresses, families and ports that are not given yet are allocated by the server afterwards.

use super::*;
use crate::addresses;
use crate::core::v1::pod::validate::port_number_or_name;
use crate::field::{Errors, Path};
use crate::names;
use crate::value::Value;
use std::collections::BTreeSet;

const NONE: &str = "None";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
/// A day, in seconds.
const MAX_AFFINITY_SECONDS: i32 = 86_400;
const LOAD_BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
const UNCHANGEABLE: &str = "may not change once set";

fn shown(list: &impl Value) -> &dyn Value {
    list
}

impl ServiceSpec {
    /// Whether it has no address of its own: names lead to the pods.
    pub fn is_headless(&self) -> bool {
        self.cluster_ips == [NONE]
    }
}

pub(super) fn service(service: &Service, errors: &mut Errors) {
    let spec = &service.spec;
    let path = Path::new("spec");
    topology_annotations(service, errors);
    if spec.ports.is_empty() && !spec.is_headless() && spec.type_ != ServiceType::ExternalName {
        errors.required(&path.child("ports"), "");
    }
    by_type(spec, &path, errors);
    ports(spec, &path.child("ports"), errors);
    names::validate_labels(&spec.selector, &path.child("selector"), errors);
    affinity(spec, &path, errors);
    if spec.type_ != ServiceType::ExternalName {
        cluster_ips(spec, &path, errors);
    }
    for (place, ip) in spec.external_ips.iter().enumerate() {
        let path = path.child("externalIPs").index(place);
        let before = errors.0.len();
        addresses::legacy_ip(ip, &path, errors);
        if errors.0.len() == before {
            addresses::endpoint_ip(ip, &path, errors);
        }
    }
    errors.required_choice(
        &path.child("type"),
        spec.type_.as_str(),
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    );
    used_ports(spec, &path.child("ports"), errors);
    load_balancer(service, &path, errors);
    traffic(spec, &path, errors);
}

fn topology_annotations(service: &Service, errors: &mut Errors) {
    let annotations = &service.metadata.annotations;
    if let (Some(mode), Some(hints)) = (annotations.get(TOPOLOGY_MODE), annotations.get(TOPOLOGY_HINTS))
        && mode != hints
    {
        let path = Path::new("metadata").child("annotations").key(TOPOLOGY_MODE);
        errors.invalid(
            &path,
            mode,
            format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified"),
        );
    }
}

fn by_type(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    match &spec.type_ {
        ServiceType::LoadBalancer | ServiceType::NodePort if spec.is_headless() => {
            let text = format!("may not be set to 'None' for {} services", spec.type_);
            errors.invalid(&path.child("clusterIPs").index(0), NONE, text);
        }
        ServiceType::ExternalName => {
            for (set, name) in [
                (!spec.cluster_ips.is_empty(), "clusterIPs"),
                (!spec.ip_families.is_empty(), "ipFamilies"),
                (spec.ip_family_policy.is_some(), "ipFamilyPolicy"),
            ] {
                if set {
                    errors.forbidden(&path.child(name), "may not be set for ExternalName services");
                }
            }
            let name = spec.external_name.strip_suffix('.').unwrap_or(&spec.external_name);
            errors.need(path, "externalName", name);
            if !name.is_empty() {
                errors.wrong(&path.child("externalName"), name, names::dns1123_subdomain(name));
            }
        }
        _ => {}
    }
}

fn ports(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (place, port) in spec.ports.iter().enumerate() {
        let path = path.index(place);
        if port.name.is_empty() && spec.ports.len() > 1 {
            errors.required(&path.child("name"), "");
        } else if !port.name.is_empty() {
            errors.wrong(&path.child("name"), &port.name, names::dns1123_label(&port.name));
            if !seen.insert(&port.name) {
                errors.duplicate(&path.child("name"), &port.name);
            }
        }
        for wrong in names::port_number(port.port) {
            errors.invalid(&path.child("port"), port.port, wrong);
        }
        errors.required_choice(&path.child("protocol"), port.protocol.as_str(), &["SCTP", "TCP", "UDP"]);
        port_number_or_name(&port.target_port, &path.child("targetPort"), errors);
        if let Some(protocol) = &port.app_protocol {
            errors.wrong(&path.child("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

/// Ports of the nodes where there are none, and ports that are there twice.
fn used_ports(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    if spec.type_ == ServiceType::ClusterIP {
        for (place, _) in spec.ports.iter().enumerate().filter(|(_, port)| port.node_port != 0) {
            let text = "may not be used when `type` is 'ClusterIP'";
            errors.forbidden(&path.index(place).child("nodePort"), text);
        }
    }
    let (mut node_ports, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for (place, port) in spec.ports.iter().enumerate().filter(|(_, port)| port.node_port != 0) {
        if !node_ports.insert((&port.protocol, port.node_port)) {
            errors.duplicate(&path.index(place).child("nodePort"), port.node_port);
        }
    }
    for (place, port) in spec.ports.iter().enumerate() {
        if !ports.insert((&port.protocol, port.port)) {
            let key =
                ServicePort { protocol: port.protocol.clone(), port: port.port, ..ServicePort::default() };
            errors.duplicate(&path.index(place), shown(&key));
        }
    }
}

fn affinity(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    const WHEN: &str = "when session affinity type is ClientIP";
    errors.required_choice(
        &path.child("sessionAffinity"),
        spec.session_affinity.as_str(),
        &["ClientIP", "None"],
    );
    let path = path.child("sessionAffinityConfig");
    match (&spec.session_affinity, &spec.session_affinity_config) {
        (ServiceAffinity::None, Some(_)) => {
            errors.forbidden(&path, "must not be set when session affinity is None");
        }
        (ServiceAffinity::ClientIP, None) => errors.required(&path, WHEN),
        (ServiceAffinity::ClientIP, Some(config)) => {
            let path = path.child("clientIP");
            let Some(client) = &config.client_ip else { return errors.required(&path, WHEN) };
            let path = path.child("timeoutSeconds");
            match client.timeout_seconds {
                None => errors.required(&path, WHEN),
                Some(1..=MAX_AFFINITY_SECONDS) => {}
                Some(seconds) => {
                    let text = format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}");
                    errors.invalid(&path, seconds, text);
                }
            }
        }
        _ => {}
    }
}

/// Addresses and families; the server checks them so before it allocates, too.
pub fn cluster_ips(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let ips = path.child("clusterIPs");
    match (spec.cluster_ip.as_str(), spec.cluster_ips.first()) {
        ("", None) => {}
        ("", Some(_)) => {
            let text = "must be empty when `clusterIP` is not specified";
            errors.invalid(&ips, shown(&spec.cluster_ips), text);
        }
        (_, None) => errors.required(&ips, ""),
        (ip, Some(first)) if ip != first => {
            errors.invalid(&ips, shown(&spec.cluster_ips), "first value must match `clusterIP`");
        }
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (place, family) in spec.ip_families.iter().enumerate() {
        let path = path.child("ipFamilies").index(place);
        errors.choice(&path, family.as_str(), &["IPv4", "IPv6"]);
        if !seen.insert(family) {
            errors.duplicate(&path, family.as_str());
        }
    }
    if let Some(policy) = &spec.ip_family_policy {
        let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        errors.choice(&path.child("ipFamilyPolicy"), policy.as_str(), &known);
    }
    let before = errors.0.len();
    for (place, ip) in spec.cluster_ips.iter().enumerate() {
        if place == 0 && ip == NONE {
            if spec.cluster_ips.len() > 1 {
                let text = "'None' must be the first and only value";
                errors.invalid(&ips, shown(&spec.cluster_ips), text);
            }
            continue;
        }
        addresses::legacy_ip(ip, &ips.index(place), errors);
    }
    let good = errors.0.len() == before;
    if spec.cluster_ips.len() > 2 {
        errors.invalid(&ips, shown(&spec.cluster_ips), "may only hold up to 2 values");
    }
    if !good || spec.is_headless() {
        return;
    }
    let is_v6: Vec<bool> = spec.cluster_ips.iter().map(|ip| ip.contains(':')).collect();
    if let [first, second, ..] = is_v6[..]
        && first == second
    {
        let text = "may specify no more than one IP for each IP family";
        errors.invalid(&ips, shown(&spec.cluster_ips), text);
    }
    for (place, (v6, family)) in is_v6.iter().zip(&spec.ip_families).enumerate() {
        let wanted = match family {
            IPFamily::IPv4 if *v6 => "IPv4",
            IPFamily::IPv6 if !*v6 => "IPv6",
            _ => continue,
        };
        let text = format!("expected an {wanted} value as indicated by `ipFamilies[{place}]`");
        errors.invalid(&ips.index(place), &spec.cluster_ips[place], text);
    }
}

fn load_balancer(service: &Service, path: &Path, errors: &mut Errors) {
    const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let spec = &service.spec;
    let is_one = spec.type_ == ServiceType::LoadBalancer;
    if !spec.load_balancer_source_ranges.is_empty() {
        // COMPAT: the path begins with a capital.
        let path = path.child("LoadBalancerSourceRanges");
        if !is_one {
            errors.forbidden(&path, LOAD_BALANCER_ONLY);
        }
        for (place, range) in spec.load_balancer_source_ranges.iter().enumerate() {
            addresses::legacy_cidr(range.trim(), &path.index(place), errors);
        }
    } else if let Some(ranges) = service.metadata.annotations.get(RANGES) {
        let path = Path::new("metadata").child("annotations").key(RANGES);
        if !is_one {
            errors.forbidden(&path, LOAD_BALANCER_ONLY);
        }
        for range in ranges.trim().split(',').filter(|_| !ranges.trim().is_empty()) {
            addresses::legacy_cidr(range.trim(), &path, errors);
        }
    }
    match spec.allocate_load_balancer_node_ports {
        Some(_) if !is_one => {
            errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), LOAD_BALANCER_ONLY);
        }
        None if is_one => errors.required(&Path::new("allocateLoadBalancerNodePorts"), ""),
        _ => {}
    }
    if let Some(class) = &spec.load_balancer_class {
        let path = path.child("loadBalancerClass");
        if is_one {
            errors.wrong(&path, class, names::qualified_name(class));
        } else {
            errors.forbidden(&path, LOAD_BALANCER_ONLY);
        }
    }
}

fn traffic(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let external = path.child("externalTrafficPolicy");
    let policy = spec.external_traffic_policy.as_str();
    if spec.is_external() {
        errors.required_choice(&external, policy, &["Cluster", "Local"]);
    } else if !policy.is_empty() {
        errors.invalid(&external, policy, "may only be set for externally-accessible services");
    }
    let health = path.child("healthCheckNodePort");
    let port = spec.health_check_node_port;
    if spec.needs_health_check_node_port() {
        // None is allocated later.
        for wrong in names::port_number(port).into_iter().filter(|_| port != 0) {
            errors.invalid(&health, port, wrong);
        }
    } else if port != 0 {
        let text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid(&health, port, text);
    }
    let internal = path.child("internalTrafficPolicy");
    match &spec.internal_traffic_policy {
        Some(policy) => errors.choice(&internal, policy.as_str(), &["Cluster", "Local"]),
        None if !matches!(spec.type_, ServiceType::ExternalName | ServiceType::Other(_)) => {
            errors.required(&internal, "");
        }
        None => {}
    }
    if let Some(distribution) = &spec.traffic_distribution {
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        errors.choice(&path.child("trafficDistribution"), distribution, &known);
    }
}

/// What an update may not change: the primary address and family, the load balancer's class, the
/// port of health checks.
pub(super) fn update(new: &ServiceSpec, old: &ServiceSpec, errors: &mut Errors) {
    let path = Path::new("spec");
    if new.needs_cluster_ip() && old.needs_cluster_ip() {
        if !(new.is_headless() && old.is_headless()) {
            kept_addresses(new, old, &path, errors);
        }
        if !new.is_headless() && !old.is_headless() {
            kept_families(new, old, &path, errors);
        }
    }
    let load_balancers = new.type_ == ServiceType::LoadBalancer && old.type_ == ServiceType::LoadBalancer;
    if load_balancers && new.load_balancer_class != old.load_balancer_class {
        errors.invalid(&path.child("loadBalancerClass"), shown(&new.load_balancer_class), UNCHANGEABLE);
    }
    if new.needs_health_check_node_port()
        && old.needs_health_check_node_port()
        && new.health_check_node_port != old.health_check_node_port
    {
        errors.forbidden(&path.child("healthCheckNodePort"), "field is immutable");
    }
}

fn kept_addresses(new: &ServiceSpec, old: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let ips = path.child("clusterIPs");
    let list = shown(&new.cluster_ips);
    if old.cluster_ips.len() == new.cluster_ips.len() {
        for (place, _) in
            old.cluster_ips.iter().zip(&new.cluster_ips).enumerate().filter(|(_, (old, new))| old != new)
        {
            errors.invalid(&ips.index(place), list, UNCHANGEABLE);
        }
        return;
    }
    let released = old.cluster_ips.len() > new.cluster_ips.len();
    if released && new.cluster_ips.is_empty() {
        errors.invalid(&ips.index(0), list, "primary clusterIP can not be unset");
    }
    if let (Some(old), Some(new)) = (old.cluster_ips.first(), new.cluster_ips.first())
        && old != new
    {
        errors.invalid(&ips.index(0), list, UNCHANGEABLE);
    }
    if released && new.cluster_ips.len() == 1 {
        single_stack_wanted(new, "clusterIP", path, errors);
    }
}

fn kept_families(new: &ServiceSpec, old: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let first = path.child("ipFamilies").index(0);
    if old.ip_families.len() == new.ip_families.len() {
        for _ in old.ip_families.iter().zip(&new.ip_families).filter(|(old, new)| old != new) {
            errors.invalid(&first, shown(&new.ip_families), UNCHANGEABLE);
        }
        return;
    }
    let released = old.ip_families.len() > new.ip_families.len();
    if released && new.cluster_ips.is_empty() {
        errors.invalid(&first, shown(&new.ip_families), "primary ipFamily can not be unset");
    }
    if let (Some(before), Some(now)) = (old.ip_families.first(), new.ip_families.first())
        && before != now
    {
        errors.invalid(&first, shown(&new.cluster_ips), UNCHANGEABLE);
    }
    if released && new.ip_families.len() == 1 {
        single_stack_wanted(new, "ipFamily", path, errors);
    }
}

fn single_stack_wanted(spec: &ServiceSpec, what: &str, path: &Path, errors: &mut Errors) {
    if spec.ip_family_policy != Some(IPFamilyPolicy::SingleStack) {
        errors.invalid(
            &path.child("ipFamilyPolicy"),
            shown(&spec.ip_family_policy),
            format!("must be set to 'SingleStack' when releasing the secondary {what}"),
        );
    }
}

pub(super) fn status_update(service: &Service, errors: &mut Errors) {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let ingress = &service.status.load_balancer.ingress;
    if service.spec.type_ != ServiceType::LoadBalancer && !ingress.is_empty() {
        return errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (place, point) in ingress.iter().enumerate() {
        let path = path.index(place);
        if !point.ip.is_empty() {
            addresses::legacy_ip(&point.ip, &path.child("ip"), errors);
        }
        let mode_path = path.child("ipMode");
        match &point.ip_mode {
            None if !point.ip.is_empty() => {
                errors.required(&mode_path, "must be specified when `ip` is set");
            }
            Some(_) if point.ip.is_empty() => {
                errors.forbidden(&mode_path, "may not be specified when `ip` is not set");
            }
            Some(mode) => errors.choice(&mode_path, mode.as_str(), &["Proxy", "VIP"]),
            None => {}
        }
        if !point.hostname.is_empty() {
            let path = path.child("hostname");
            errors.wrong(&path, &point.hostname, names::dns1123_subdomain(&point.hostname));
            if point.hostname.parse::<std::net::IpAddr>().is_ok() {
                errors.invalid(&path, &point.hostname, "must be a DNS name, not an IP address");
            }
        }
    }
}

/// What the server warns of.
pub(super) fn warnings(service: &Service) -> Vec<String> {
    let path = Path::new("spec");
    let spec = &service.spec;
    let mut warnings = Vec::new();
    if service.metadata.annotations.contains_key(TOPOLOGY_HINTS) {
        warnings
            .push(format!("annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"));
    }
    let ips = |list: &[String], name: &str| -> Vec<String> {
        let path = path.child(name);
        let one = |(place, ip): (usize, &String)| addresses::ip_warning(ip, &path.index(place));
        list.iter().enumerate().filter_map(one).collect()
    };
    let has_ip = !matches!(spec.cluster_ip.as_str(), "" | NONE);
    let headless = spec.type_ == ServiceType::ClusterIP && spec.cluster_ip == NONE;
    let named = spec.type_ == ServiceType::ExternalName;
    let external = !spec.external_ips.is_empty();
    if has_ip {
        warnings.extend(ips(&spec.cluster_ips, "clusterIPs"));
    }
    for (set, name) in [
        (!spec.load_balancer_ip.is_empty(), "loadBalancerIP"),
        (external, "externalIPs"),
        (spec.session_affinity != ServiceAffinity::None, "SessionAffinity"),
    ] {
        if headless && set {
            warnings.push(format!("spec.{name} is ignored for headless services"));
        }
    }
    warnings.extend(ips(&spec.external_ips, "externalIPs"));
    if external && !headless && !named {
        warnings
            .push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    if !spec.load_balancer_ip.is_empty() {
        warnings.extend(addresses::ip_warning(&spec.load_balancer_ip, &path.child("loadBalancerIP")));
    }
    for (place, range) in spec.load_balancer_source_ranges.iter().enumerate() {
        let path = path.child("loadBalancerSourceRanges").index(place);
        warnings.extend(addresses::cidr_warnings(range, &path));
    }
    if named && external {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !named && !spec.external_name.is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.traffic_distribution.as_deref() == Some("PreferClose") {
        let text = "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        warnings.push(text.to_owned());
    }
    warnings
}
