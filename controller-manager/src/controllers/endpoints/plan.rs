//! The Endpoints object that a Service should have.
//!
//! Addresses with the same ports share a subset. More than 1000 addresses are cut off, those that are
//! not ready first: clients that need all of them read EndpointSlices.

use std::collections::BTreeMap;

use api_types::core::v1::well_known::{annotation, label};
use api_types::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use api_types::meta::v1::ObjectMeta;
use client::controller::{Action, Plan, Target, Told};

use super::View;
use crate::service_pods;

/// Most addresses in one object.
const CAPACITY: usize = 1000;
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";
/// Marks Endpoints that are locks of old leader elections.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

pub(super) fn plan(view: &View) -> Plan {
    let mut plan = Plan::nothing();
    let Some(service) = &view.service else {
        // Whoever made them: Endpoints go with their Service, unless they are a lock.
        let is_lock = |e: &Endpoints| e.metadata.annotations.contains_key(LEADER);
        if let Some(current) = view.current.as_ref().filter(|e| !is_lock(e)) {
            plan.act(Action::delete(Target::of(current)));
        }
        return plan;
    };
    if !service_pods::is_managed(service) {
        return plan;
    }
    let mut wanted = wanted(view, service);
    let key = format!("{}/{}", service.metadata.namespace, service.metadata.name);
    match &view.current {
        None => {
            let about = client::events::reference(&wanted);
            let message = format!("Failed to create endpoint for service {key}: {{error}}");
            let failure = Told::warning(about, "FailedToCreateEndpoint", message);
            plan.act(Action::create(wanted).on_failure(failure));
        }
        Some(current) => {
            wanted.metadata = ObjectMeta {
                labels: wanted.metadata.labels,
                annotations: merged(&current.metadata.annotations, wanted.metadata.annotations),
                ..current.metadata.clone()
            };
            let over =
                |e: &Endpoints| e.metadata.annotations.contains_key(annotation::ENDPOINTS_OVER_CAPACITY);
            if current.subsets == wanted.subsets
                && current.metadata.labels == wanted.metadata.labels
                && over(current) == over(&wanted)
            {
                return plan;
            }
            let about = client::events::reference(current);
            let message = format!("Failed to update endpoint {key}: {{error}}");
            let failure = Told::warning(about, "FailedToUpdateEndpoint", message);
            plan.act(Action::update(wanted).on_failure(failure));
        }
    }
    plan
}

/// Whether this controller made them.
pub(super) fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.metadata.labels.get(MANAGED_BY).is_some_and(|by| by == CONTROLLER)
}

/// Annotations of others stay; ours are those wanted now.
fn merged(current: &BTreeMap<String, String>, wanted: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut merged = current.clone();
    merged.remove(annotation::ENDPOINTS_LAST_CHANGE);
    merged.remove(annotation::ENDPOINTS_OVER_CAPACITY);
    merged.extend(wanted);
    merged
}

fn wanted(view: &View, service: &Service) -> Endpoints {
    let mut subsets = subsets(view, service);
    let mut endpoints = Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: service.metadata.labels.clone(),
            ..ObjectMeta::default()
        },
        ..Endpoints::default()
    };
    let labels = &mut endpoints.metadata.labels;
    if service_pods::is_headless(service) {
        labels.insert(label::HEADLESS_SERVICE.into(), String::new());
    } else {
        labels.remove(label::HEADLESS_SERVICE);
    }
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    let annotations = &mut endpoints.metadata.annotations;
    if let Some(at) = service_pods::last_change(service, &view.pods) {
        annotations.insert(annotation::ENDPOINTS_LAST_CHANGE.into(), at.to_string());
    }
    if truncate(&mut subsets) {
        annotations.insert(annotation::ENDPOINTS_OVER_CAPACITY.into(), "truncated".into());
    }
    endpoints.subsets = subsets;
    endpoints
}

/// Addresses grouped by the ports that they have in common.
fn subsets(view: &View, service: &Service) -> Vec<EndpointSubset> {
    let publish = service.spec.publish_not_ready_addresses;
    let mut grouped: Vec<EndpointSubset> = Vec::new();
    for (key, pod) in &view.pods {
        if !service_pods::has_endpoint(pod, publish) {
            continue;
        }
        let Some(ip) = service_pods::address(pod, service_pods::is_family_ipv6(service, pod)) else {
            continue;
        };
        let ports: Vec<EndpointPort> = service
            .spec
            .ports
            .iter()
            .filter_map(|p| {
                Some(EndpointPort {
                    name: p.name.clone(),
                    port: service_pods::port(pod, p)?,
                    protocol: p.protocol.clone(),
                    app_protocol: p.app_protocol.clone(),
                })
            })
            .collect();
        if ports.is_empty() && !(service.spec.ports.is_empty() && service_pods::is_headless(service)) {
            continue;
        }
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: if service_pods::has_hostname(pod, service) {
                pod.hostname.to_string()
            } else {
                String::new()
            },
            node_name: Some(pod.node.to_string()).filter(|n| !n.is_empty()),
            target_ref: Some(Box::new(service_pods::reference(key, pod))),
        };
        let at = grouped.iter().position(|s| s.ports == ports).unwrap_or_else(|| {
            grouped.push(EndpointSubset { ports, ..EndpointSubset::default() });
            grouped.len() - 1
        });
        if publish || (pod.ready.is_some() && pod.deleting.is_none()) {
            grouped[at].addresses.push(address);
        } else {
            grouped[at].not_ready_addresses.push(address);
        }
    }
    for subset in &mut grouped {
        subset.addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
        subset.not_ready_addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
    }
    let ports = |s: &EndpointSubset| -> Vec<(String, i32)> {
        s.ports.iter().map(|p| (p.name.clone(), p.port)).collect()
    };
    grouped.sort_by_key(ports);
    grouped
}

/// Cuts off what is above capacity; tells whether that was needed.
fn truncate(subsets: &mut Vec<EndpointSubset>) -> bool {
    let ready: usize = subsets.iter().map(|s| s.addresses.len()).sum();
    let all: usize = ready + subsets.iter().map(|s| s.not_ready_addresses.len()).sum::<usize>();
    if all <= CAPACITY {
        return false;
    }
    let (mut ready_left, mut other_left) = (CAPACITY, CAPACITY.saturating_sub(ready));
    for subset in subsets.iter_mut() {
        subset.addresses.truncate(ready_left);
        ready_left -= subset.addresses.len();
        subset.not_ready_addresses.truncate(other_left);
        other_left -= subset.not_ready_addresses.len();
    }
    subsets.retain(|s| !s.addresses.is_empty() || !s.not_ready_addresses.is_empty());
    true
}
