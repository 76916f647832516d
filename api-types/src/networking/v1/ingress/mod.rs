//! Ingress: HTTP routes from outside to Services, for an ingress controller to serve.
//! Its checks are in `validate`.

mod validate;

use crate::addresses;
use crate::columns::or;
use crate::core::v1::{Protocol, TypedLocalObjectReference};
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, Subresource, resource, set_generation};
use crate::meta::v1::ObjectMeta;
use crate::names;
use crate::open_enum::open_enum;
use api_types_derive::Api;
use std::collections::BTreeSet;

/// Routes requests from outside of the cluster to Services.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct Ingress {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The routes wanted.
    #[api(2)]
    pub spec: IngressSpec,
    /// Where the routes can be reached.
    #[api(3)]
    pub status: IngressStatus,
}

/// Routes of an Ingress.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressSpec {
    /// Name of the IngressClass, and so of the controller that serves this Ingress.
    #[api(4)]
    pub ingress_class_name: Option<String>,
    /// Where requests go that no rule matches.
    #[api(1)]
    pub default_backend: Option<Box<IngressBackend>>,
    /// Certificates, by host name.
    #[api(2, list = atomic)]
    pub tls: Vec<IngressTLS>,
    /// Routes by host and path; without any, all goes to the default backend.
    #[api(3, list = atomic)]
    pub rules: Vec<IngressRule>,
}

/// A certificate and the hosts it is for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressTLS {
    /// Host names in the certificate; by default all hosts of the Ingress.
    #[api(1, list = atomic)]
    pub hosts: Vec<String>,
    /// Secret with certificate and key.
    #[api(2)]
    pub secret_name: String,
}

/// Routes of one host.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressRule {
    /// Host name, without port; `*.` in front stands for one label. Empty means any host.
    #[api(1)]
    pub host: String,
    /// The routes.
    #[api(2, inline)]
    pub value: IngressRuleValue,
}

/// Routes of a rule, by protocol.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressRuleValue {
    /// Routes of HTTP requests.
    #[api(1)]
    pub http: Option<Box<HTTPIngressRuleValue>>,
}

/// Routes of HTTP requests by path.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct HTTPIngressRuleValue {
    /// Paths and what is behind each.
    #[api(1, required, list = atomic)]
    pub paths: Vec<HTTPIngressPath>,
}

/// A path and what is behind it.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct HTTPIngressPath {
    /// The path; starts with a slash.
    #[api(1)]
    pub path: String,
    /// How the path is compared.
    #[api(3, required)]
    pub path_type: Option<PathType>,
    /// Where such requests go.
    #[api(2, required)]
    pub backend: IngressBackend,
}

open_enum! {
    /// How the path of a request is compared with that of a route.
    pub enum PathType {
        Exact = "Exact",
        Prefix = "Prefix",
        ImplementationSpecific = "ImplementationSpecific",
    }
}

/// Where requests go: a Service or another object.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressBackend {
    /// A port of a Service.
    #[api(4)]
    pub service: Option<Box<IngressServiceBackend>>,
    /// An object in the same namespace that the controller understands.
    #[api(3)]
    pub resource: Option<Box<TypedLocalObjectReference>>,
}

/// A port of a Service.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressServiceBackend {
    /// Name of the Service, in the same namespace.
    #[api(1, required)]
    pub name: String,
    /// The port.
    #[api(2)]
    pub port: ServiceBackendPort,
}

/// A Service's port, by name or by number.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1", structure = atomic)]
pub struct ServiceBackendPort {
    /// Name of the port.
    #[api(1)]
    pub name: String,
    /// Number of the port.
    #[api(2)]
    pub number: i32,
}

/// Where an Ingress can be reached.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressStatus {
    /// What is in front of the cluster.
    #[api(1)]
    pub load_balancer: IngressLoadBalancerStatus,
}

/// Addresses of a load balancer.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressLoadBalancerStatus {
    /// Addresses at which traffic comes in.
    #[api(1, list = atomic)]
    pub ingress: Vec<IngressLoadBalancerIngress>,
}

/// One address of a load balancer.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressLoadBalancerIngress {
    /// Its IP address.
    #[api(1)]
    pub ip: String,
    /// Its host name.
    #[api(2)]
    pub hostname: String,
    /// What became of its ports.
    #[api(4, list = atomic)]
    pub ports: Vec<IngressPortStatus>,
}

/// What became of a port of a load balancer.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct IngressPortStatus {
    /// Number of the port.
    #[api(1, required)]
    pub port: i32,
    /// Its protocol: TCP, UDP or SCTP.
    #[api(2, required)]
    pub protocol: Protocol,
    /// Why it does not work: a CamelCase word, or `example.com/Word`.
    #[api(3)]
    pub error: Option<String>,
}

resource!(
    Ingress,
    Kind {
        short_names: &["ing"],
        subresources: &[Subresource::status("Ingress")],
        ..Kind::namespaced("networking.k8s.io/v1", "Ingress", "ingresses", "ingress")
    }
);

/// The older way to name a class.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

impl Strategy for Ingress {
    fn prepare_for_create(&mut self) {
        self.status = IngressStatus::default();
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
    }

    fn validate_create(&self, errors: &mut Errors) {
        validate::spec(&self.spec, None, errors);
        if let (Some(annotation), Some(class)) =
            (self.metadata.annotations.get(CLASS_ANNOTATION), &self.spec.ingress_class_name)
            && annotation != class
        {
            let path = Path::new("annotations").child(CLASS_ANNOTATION);
            errors.invalid(&path, annotation, "must match `ingressClassName` when both are specified");
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::spec(&self.spec, Some(&old.spec), errors);
    }

    fn validate_status_update(&self, old: &Self, errors: &mut Errors) {
        validate::load_balancer(&self.status.load_balancer, &old.status.load_balancer, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        if let Some(old) = old {
            if self.status == old.status {
                return Vec::new();
            }
            let path = Path::new("status").child("loadBalancer").child("ingress");
            let points = self.status.load_balancer.ingress.iter().enumerate();
            return points
                .filter(|(_, point)| !point.ip.is_empty())
                .filter_map(|(place, point)| addresses::ip_warning(&point.ip, &path.index(place)))
                .collect();
        }
        if self.metadata.annotations.contains_key(CLASS_ANNOTATION) && self.spec.ingress_class_name.is_none()
        {
            return vec![format!(
                "annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead"
            )];
        }
        Vec::new()
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Class", "Who serves the Ingress.", |own: &Self, _| {
                    own.spec.ingress_class_name.as_deref().unwrap_or("<none>").into()
                }),
                Column::text("Hosts", "Hosts of the routes.", |own, _| hosts(&own.spec.rules).into()),
                Column::text("Address", "Where the routes can be reached.", |own, _| own.addresses().into()),
                Column::text("Ports", "Ports that are open.", |own, _| {
                    if own.spec.tls.is_empty() { "80" } else { "80, 443" }.into()
                }),
                Column::age(),
            ]
        }
    }
}

impl Ingress {
    fn addresses(&self) -> String {
        let points = self.status.load_balancer.ingress.iter().map(|point| or(&point.ip, &point.hostname));
        let given: BTreeSet<&str> = points.filter(|point| !point.is_empty()).collect();
        given.into_iter().collect::<Vec<_>>().join(",")
    }
}

/// The first hosts, `*` for any.
fn hosts(rules: &[IngressRule]) -> String {
    const SHOWN: usize = 3;
    let named: Vec<&str> = rules.iter().map(|rule| rule.host.as_str()).filter(|h| !h.is_empty()).collect();
    let shown = named[..named.len().min(SHOWN)].join(",");
    // COMPAT: upstream counts the rules and not the hosts that are left out.
    let full_at = rules.iter().scan(0, |count, rule| {
        *count += usize::from(!rule.host.is_empty());
        Some(*count)
    });
    let more = full_at.take(rules.len().saturating_sub(1)).any(|count| count >= SHOWN);
    match (shown.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, true) => format!("{shown} + {} more...", rules.len() - SHOWN),
        (false, false) => shown,
    }
}

#[cfg(test)]
mod tests;
