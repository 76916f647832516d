//! Ingress: what is refused, kept and shown.

use super::*;
use crate::kind::testing::{refused, refused_update};

fn service(name: &str, number: i32) -> IngressBackend {
    let port = ServiceBackendPort { number, ..ServiceBackendPort::default() };
    let service = IngressServiceBackend { name: name.into(), port };
    IngressBackend { service: Some(Box::new(service)), ..IngressBackend::default() }
}

fn rule(host: &str, path: &str, type_: PathType, backend: IngressBackend) -> IngressRule {
    let path = HTTPIngressPath { path: path.into(), path_type: Some(type_), backend };
    let value = IngressRuleValue { http: Some(Box::new(HTTPIngressRuleValue { paths: vec![path] })) };
    IngressRule { host: host.into(), value }
}

fn ingress(rules: Vec<IngressRule>) -> Ingress {
    Ingress { spec: IngressSpec { rules, ..IngressSpec::default() }, ..Ingress::default() }
}

#[test]
fn hosts_and_paths() {
    let with =
        |host: &str, path: &str, type_| refused(ingress(vec![rule(host, path, type_, service("web", 80))]));
    assert!(with("*.example.com", "/a", PathType::Prefix).is_empty());
    assert_eq!(
        with("10.0.0.1", "/", PathType::Exact),
        [r#"spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address"#]
    );
    assert!(
        with("*", "/", PathType::Exact)[0].contains("a wildcard DNS-1123 subdomain must start with '*.'")
    );
    assert_eq!(
        with("", "a//b", PathType::Prefix),
        [
            r#"spec.rules[0].http.paths[0].path: Invalid value: "a//b": must be an absolute path"#,
            r#"spec.rules[0].http.paths[0].path: Invalid value: "a//b": must not contain '//'"#,
        ]
    );
    assert!(with("", "", PathType::ImplementationSpecific).is_empty());
    assert_eq!(
        with("", "/", PathType::from("Regex")),
        [
            r#"spec.rules[0].http.paths[0].pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix""#
        ]
    );
}

#[test]
fn backends() {
    let with = |backend| refused(ingress(vec![rule("", "/", PathType::Prefix, backend)]));
    let path = "spec.rules[0].http.paths[0].backend";
    assert_eq!(
        with(IngressBackend::default()),
        [format!("{path}: Invalid value: \"\": resource or service backend is required")]
    );
    assert_eq!(with(service("web", 0)), [format!("{path}: Required value: port name or number is required")]);
    assert_eq!(
        with(service("web", 70000)),
        [format!("{path}.service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive")]
    );
    assert_eq!(
        refused(ingress(vec![])),
        ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]
    );
}

#[test]
fn the_annotation_agrees_with_the_field() {
    let mut own = ingress(vec![rule("", "/", PathType::Prefix, service("web", 80))]);
    own.metadata.annotations.insert(CLASS_ANNOTATION.into(), "a".into());
    assert_eq!(
        own.warnings(None),
        [
            r#"annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead"#
        ]
    );
    own.spec.ingress_class_name = Some("b".into());
    assert_eq!(
        refused(own),
        [
            r#"annotations.kubernetes.io/ingress.class: Invalid value: "a": must match `ingressClassName` when both are specified"#
        ]
    );
}

#[test]
fn what_was_stored_keeps_its_right() {
    let old = || {
        let mut own = ingress(vec![rule("", "/", PathType::Prefix, service("web", 80))]);
        own.spec.tls = vec![IngressTLS { secret_name: "A".into(), ..IngressTLS::default() }];
        own
    };
    assert_eq!(refused(old()).len(), 1);
    assert!(refused_update(old(), old()).is_empty());
}

#[test]
fn hosts_are_cut() {
    let of = |hosts_: &[&str]| {
        let rules: Vec<IngressRule> =
            hosts_.iter().map(|h| IngressRule { host: (*h).into(), ..IngressRule::default() }).collect();
        hosts(&rules)
    };
    assert_eq!(of(&[]), "*");
    assert_eq!(of(&["a", "b", "c"]), "a,b,c");
    assert_eq!(of(&["a", "b", "c", "d", "e"]), "a,b,c + 2 more...");
}
