//! What is refused in an Ingress. Stored Ingresses may break a few rules that came later; they keep
//! that right as long as they make use of it.

use super::*;
use crate::field::{Errors, Path};
use crate::value::Value;

/// Rules that an older Ingress may break.
#[derive(Clone, Copy, Default)]
struct Leniency {
    secret_names: bool,
    wildcard_rules: bool,
}

pub(super) fn spec(spec: &IngressSpec, old: Option<&IngressSpec>, errors: &mut Errors) {
    let leniency = old.map(leniency).unwrap_or_default();
    let path = Path::new("spec");
    if spec.rules.is_empty() && spec.default_backend.is_none() {
        let shown: &dyn Value = &spec.rules;
        errors.invalid(&path, shown, "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(default) = &spec.default_backend {
        backend(default, &path.child("defaultBackend"), errors);
    }
    for (place, rule) in spec.rules.iter().enumerate() {
        let path = path.child("rules").index(place);
        if !rule.host.is_empty() {
            let host_path = path.child("host");
            if addresses::is_ip(&rule.host) {
                errors.invalid(&host_path, &rule.host, "must be a DNS name, not an IP address");
            }
            errors.wrong(&host_path, &rule.host, host_name(&rule.host));
        }
        if !(rule.host.contains('*') && leniency.wildcard_rules) {
            routes(&rule.value, &path, errors);
        }
    }
    for (place, tls) in spec.tls.iter().enumerate() {
        let path = path.child("tls").index(place);
        for (place, host) in tls.hosts.iter().enumerate() {
            errors.wrong(&path.child("hosts").index(place), host, host_name(host));
        }
        if !leniency.secret_names {
            errors.wrong(&path.child("secretName"), &tls.secret_name, secret_name(&tls.secret_name));
        }
    }
    if let Some(class) = &spec.ingress_class_name {
        errors.wrong(&path.child("ingressClassName"), class, names::dns1123_subdomain(class));
    }
}

/// What the stored Ingress already breaks.
fn leniency(old: &IngressSpec) -> Leniency {
    let breaks = |rule: &&IngressRule| {
        let mut errors = Errors::default();
        routes(&rule.value, &Path::default(), &mut errors);
        !errors.is_empty()
    };
    Leniency {
        secret_names: old.tls.iter().any(|tls| !secret_name(&tls.secret_name).is_empty()),
        wildcard_rules: old.rules.iter().filter(|rule| rule.host.contains('*')).any(|rule| breaks(&rule)),
    }
}

fn host_name(host: &str) -> Vec<String> {
    if host.contains('*') { names::wildcard_subdomain(host) } else { names::dns1123_subdomain(host) }
}

fn secret_name(name: &str) -> Vec<String> {
    if name.is_empty() { Vec::new() } else { names::dns1123_subdomain(name) }
}

fn routes(value: &IngressRuleValue, path: &Path, errors: &mut Errors) {
    let Some(http) = &value.http else { return };
    let paths = path.child("http").child("paths");
    if http.paths.is_empty() {
        errors.required(&paths, "");
    }
    for (place, route) in http.paths.iter().enumerate() {
        http_path(route, &paths.index(place), errors);
    }
}

fn http_path(route: &HTTPIngressPath, path: &Path, errors: &mut Errors) {
    const SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
    const ENDS: [&str; 2] = ["/..", "/."];
    let Some(type_) = &route.path_type else {
        return errors.required(&path.child("pathType"), "pathType must be specified");
    };
    let (text, here) = (&route.path, path.child("path"));
    let absolute = text.starts_with('/');
    match type_ {
        PathType::Exact | PathType::Prefix => {
            if !absolute {
                errors.invalid(&here, text, "must be an absolute path");
            }
            for part in SEQUENCES.into_iter().filter(|part| text.contains(part)) {
                errors.invalid(&here, text, format!("must not contain '{part}'"));
            }
            for end in ENDS.into_iter().filter(|end| text.ends_with(end)) {
                errors.invalid(&here, text, format!("cannot end with '{end}'"));
            }
        }
        PathType::ImplementationSpecific => {
            if !text.is_empty() && !absolute {
                errors.invalid(&here, text, "must be an absolute path");
            }
        }
        PathType::Unset | PathType::Other(_) => {
            let known = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.not_supported(&path.child("pathType"), type_.as_str(), &known);
        }
    }
    backend(&route.backend, &path.child("backend"), errors);
}

fn backend(backend: &IngressBackend, path: &Path, errors: &mut Errors) {
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (Some(reference), None) => resource(reference, &path.child("resource"), errors),
        (None, Some(own)) => service(own, path, errors),
        (None, None) => errors.invalid(path, "", "resource or service backend is required"),
    }
}

fn resource(reference: &TypedLocalObjectReference, path: &Path, errors: &mut Errors) {
    if let Some(group) = &reference.api_group {
        errors.wrong(&path.child("apiGroup"), group, names::dns1123_subdomain(group));
    }
    for (name, value) in [("kind", &reference.kind), ("name", &reference.name)] {
        errors.need(path, name, value);
        errors.wrong(&path.child(name), value, names::path_segment(value));
    }
}

fn service(service: &IngressServiceBackend, path: &Path, errors: &mut Errors) {
    let own = path.child("service");
    if service.name.is_empty() {
        errors.required(&own.child("name"), "");
    } else {
        errors.wrong(&own.child("name"), &service.name, names::dns1123_label(&service.name));
    }
    let port = &service.port;
    match (port.name.is_empty(), port.number) {
        (false, 1.. | ..0) => errors.invalid(path, "", "cannot set both port name & port number"),
        (false, 0) => {
            errors.wrong(&own.child("port").child("name"), &port.name, names::port_name(&port.name));
        }
        (true, 0) => errors.required(path, "port name or number is required"),
        (true, number) => {
            for text in names::port_number(number) {
                errors.invalid(&own.child("port").child("number"), number, text);
            }
        }
    }
}

pub(super) fn load_balancer(
    status: &IngressLoadBalancerStatus,
    old: &IngressLoadBalancerStatus,
    errors: &mut Errors,
) {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    for (place, point) in status.ingress.iter().enumerate() {
        let path = path.index(place);
        if !point.ip.is_empty() && !old.ingress.iter().any(|before| before.ip == point.ip) {
            addresses::legacy_ip(&point.ip, &path.child("ip"), errors);
        }
        if !point.hostname.is_empty() {
            let path = path.child("hostname");
            errors.wrong(&path, &point.hostname, names::dns1123_subdomain(&point.hostname));
            if addresses::is_ip(&point.hostname) {
                errors.invalid(&path, &point.hostname, "must be a DNS name, not an IP address");
            }
        }
    }
}
