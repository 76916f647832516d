//! Columns of Services.

use super::*;
use crate::columns::{labels, or};
use crate::kind::Column;
use std::collections::BTreeSet;

pub(super) const COLUMNS: &[Column<Service>] = &[
    Column::name(),
    Column::text("Type", "How the Service is exposed.", |service: &Service, _| {
        service.spec.type_.as_str().into()
    }),
    Column::text("Cluster-IP", "Address inside the cluster.", |service: &Service, _| {
        service.spec.cluster_ips.first().map_or("<none>", String::as_str).into()
    }),
    Column::text("External-IP", "Addresses for the outside.", |service: &Service, _| {
        external(service).into()
    }),
    Column::text("Port(s)", "Ports of the Service, with those of the nodes.", |service: &Service, _| {
        or(&ports(&service.spec.ports), "<none>").into()
    }),
    Column::age(),
    Column::text("Selector", "Labels of the pods behind the Service.", |service: &Service, _| {
        labels(&service.spec.selector)
    })
    .wide(),
];

fn external(service: &Service) -> String {
    let own = service.spec.external_ips.join(",");
    match service.spec.type_ {
        ServiceType::ClusterIP | ServiceType::NodePort => or(&own, "<none>").to_owned(),
        ServiceType::LoadBalancer => {
            let points =
                service.status.load_balancer.ingress.iter().map(|point| or(&point.ip, &point.hostname));
            let given: BTreeSet<&str> = points.filter(|point| !point.is_empty()).collect();
            let all: Vec<&str> =
                given.into_iter().chain(service.spec.external_ips.iter().map(String::as_str)).collect();
            or(&all.join(","), "<pending>").to_owned()
        }
        ServiceType::ExternalName => service.spec.external_name.clone(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(ports: &[ServicePort]) -> String {
    let text = |port: &ServicePort| match port.node_port {
        1.. => format!("{}:{}/{}", port.port, port.node_port, port.protocol),
        _ => format!("{}/{}", port.port, port.protocol),
    };
    ports.iter().map(text).collect::<Vec<_>>().join(",")
}
