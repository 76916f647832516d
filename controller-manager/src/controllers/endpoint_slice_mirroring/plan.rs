//! The slices that mirror an Endpoints object: one for each subset and address family.

use std::net::IpAddr;

use api_types::core::v1::well_known::{annotation, label};
use api_types::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use api_types::discovery::v1::{AddressType, Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use api_types::meta::v1::ObjectMeta;
use client::controller::{Action, Plan, Target, Told};

use super::{MANAGER, View};
use crate::cached::controller_reference;

/// Marks Endpoints that are locks of old leader elections.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

pub(super) fn plan(view: &View) -> Plan {
    let mut plan = Plan::nothing();
    let wanted = match (&view.endpoints, &view.service) {
        (Some(endpoints), Some(service)) if is_mirrored(endpoints, service) => {
            slices(view, endpoints, &mut plan)
        }
        _ => Vec::new(),
    };
    let mut present = view.slices.clone();
    for slice in wanted {
        let same = |s: &EndpointSlice| s.address_type == slice.address_type && s.ports == slice.ports;
        // Else any of the family: its ports may change.
        let at = present
            .iter()
            .position(same)
            .or_else(|| present.iter().position(|s| s.address_type == slice.address_type));
        let Some(at) = at else {
            plan.act(Action::create(slice));
            continue;
        };
        let old = present.remove(at);
        let metadata = ObjectMeta {
            labels: slice.metadata.labels.clone(),
            annotations: slice.metadata.annotations.clone(),
            ..old.metadata.clone()
        };
        let new = EndpointSlice { metadata, ..slice };
        if new != old {
            plan.act(Action::update(new));
        }
    }
    for slice in &present {
        plan.act(Action::delete(Target::of(slice)));
    }
    plan
}

fn is_mirrored(endpoints: &Endpoints, service: &Service) -> bool {
    let meta = &endpoints.metadata;
    service.spec.selector.is_empty()
        && meta.deletion_timestamp.is_none()
        && meta.labels.get(label::ENDPOINT_SLICE_SKIP_MIRROR).is_none_or(|skip| skip != "true")
        && !meta.annotations.contains_key(LEADER)
}

fn slices(view: &View, endpoints: &Endpoints, plan: &mut Plan) -> Vec<EndpointSlice> {
    let mut slices: Vec<EndpointSlice> = Vec::new();
    let (mut skipped, mut invalid) = (0, 0);
    for subset in &endpoints.subsets {
        let ports = ports(subset);
        let ready = subset.addresses.iter().map(|a| (a, true));
        let all = ready.chain(subset.not_ready_addresses.iter().map(|a| (a, false)));
        for (count, (address, ready)) in all.enumerate() {
            let Some((address_type, endpoint)) = endpoint(address, ready) else {
                invalid += 1;
                continue;
            };
            if count - invalid >= view.max_per_subset {
                skipped += 1;
                continue;
            }
            let known = slices.iter_mut().find(|s| s.ports == ports && s.address_type == address_type);
            match known {
                Some(slice) => slice.endpoints.push(endpoint),
                None => slices.push(EndpointSlice {
                    endpoints: vec![endpoint],
                    ports: ports.clone(),
                    address_type,
                    metadata: metadata(endpoints),
                }),
            }
        }
    }
    let mut tell = |count: usize, reason, message: String| {
        // Only when the mirror changes: the same again is no news.
        if count > 0 && view.slices.is_empty() {
            plan.tell(Told::warning(client::events::reference(endpoints), reason, message));
        }
    };
    tell(
        invalid,
        "InvalidIPAddress",
        format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"),
    );
    tell(
        skipped,
        "TooManyAddressesToMirror",
        format!(
            "A max of {} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses were skipped",
            view.max_per_subset
        ),
    );
    slices
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let port = |p: &api_types::core::v1::EndpointPort| EndpointPort {
        name: Some(p.name.clone()),
        port: Some(p.port),
        protocol: Some(p.protocol.clone()),
        app_protocol: p.app_protocol.clone(),
    };
    subset.ports.iter().map(port).collect()
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Option<(AddressType, Endpoint)> {
    let ip: IpAddr = address.ip.parse().ok()?;
    let address_type = if ip.is_ipv4() { AddressType::IPv4 } else { AddressType::IPv6 };
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: EndpointConditions { ready: Some(ready), ..EndpointConditions::default() },
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        hostname: Some(address.hostname.clone()).filter(|h| !h.is_empty()),
        ..Endpoint::default()
    };
    Some((address_type, endpoint))
}

fn metadata(endpoints: &Endpoints) -> ObjectMeta {
    let meta = &endpoints.metadata;
    let mut labels = meta.labels.clone();
    labels.insert(label::SERVICE_NAME.into(), meta.name.clone());
    labels.insert(label::ENDPOINT_SLICE_MANAGED_BY.into(), MANAGER.into());
    let mut annotations = meta.annotations.clone();
    annotations.remove(annotation::ENDPOINTS_LAST_CHANGE);
    annotations.remove(annotation::LAST_APPLIED);
    ObjectMeta {
        namespace: meta.namespace.clone(),
        generate_name: format!("{}-", meta.name),
        owner_references: vec![controller_reference::<Endpoints>(meta)],
        labels,
        annotations,
        ..ObjectMeta::default()
    }
}
