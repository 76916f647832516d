//! Which slices to write so that they hold the endpoints that they should, touching as few as can be:
//! an endpoint stays in its slice, new ones go where something is written anyway, then into one slice
//! with room, then into new slices.

use std::collections::BTreeMap;

use api_types::core::v1::Service;
use api_types::core::v1::well_known::{annotation, label};
use api_types::discovery::v1::{AddressType, Endpoint, EndpointSlice};
use api_types::meta::v1::ObjectMeta;
use client::controller::{Action, Plan, Target, Told};

use super::endpoints::{Group, address_types, groups};
use super::{MANAGER, View};
use crate::cached::controller_reference;
use crate::service_pods;

/// What becomes of the slices of one group.
#[derive(Default)]
struct Changes {
    create: Vec<EndpointSlice>,
    update: Vec<EndpointSlice>,
    delete: Vec<EndpointSlice>,
    /// How many stay as they are.
    kept: usize,
}

pub(super) fn plan(view: &View) -> Plan {
    let mut plan = Plan::nothing();
    // Slices of a Service that is gone go with it, by their owner reference.
    let Some(service) = &view.service else { return plan };
    if !service_pods::is_managed(service) || service.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let types = address_types(service);
    let mut changes = Changes::default();
    for address_type in &types {
        let here = by_type(view, service, address_type);
        changes.create.extend(here.create);
        changes.update.extend(here.update);
        changes.delete.extend(here.delete);
    }
    let stale = view.slices.iter().filter(|s| !types.contains(&s.address_type));
    changes.delete.extend(stale.cloned());

    let key = format!("{}/{}", service.metadata.namespace, service.metadata.name);
    let failure = |what: &str| {
        let message = format!("Error updating Endpoint Slices for Service {key}: {what}: {{error}}");
        Told::warning(client::events::reference(service), "FailedToUpdateEndpointSlices", message)
    };
    let change = service_pods::last_change(service, &view.pods).map(|t| t.to_string());
    let stamped = |mut slice: EndpointSlice| {
        let annotations = &mut slice.metadata.annotations;
        match &change {
            Some(at) => annotations.insert(annotation::ENDPOINTS_LAST_CHANGE.into(), at.clone()),
            None => annotations.remove(annotation::ENDPOINTS_LAST_CHANGE),
        };
        slice
    };
    for slice in changes.create {
        plan.act(Action::create(stamped(slice)).on_failure(failure("failed to create EndpointSlice")));
    }
    for slice in changes.update {
        plan.act(Action::update(stamped(slice)).on_failure(failure("failed to update EndpointSlice")));
    }
    for slice in &changes.delete {
        plan.act(Action::delete(Target::of(slice)));
    }
    plan
}

fn by_type(view: &View, service: &Service, address_type: &AddressType) -> Changes {
    let mut wanted = groups(view, service, address_type);
    let mut present: Vec<EndpointSlice> =
        view.slices.iter().filter(|s| s.address_type == *address_type).cloned().collect();
    present.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    // COMPAT: a Service without endpoints has one empty slice, so that clients tell "none" from "not yet".
    if wanted.is_empty() {
        wanted.push(Group { address_type: address_type.clone(), ..Group::default() });
    }
    let mut all = Changes::default();
    for group in wanted {
        let (ours, others) = present.into_iter().partition(|s: &EndpointSlice| s.ports == group.ports);
        present = others;
        let here = fill(service, group, ours, view.max_per_slice);
        all.create.extend(here.create);
        all.update.extend(here.update);
        all.delete.extend(here.delete);
        all.kept += here.kept;
    }
    all.delete.extend(present);
    recycle(&mut all);
    all
}

/// Distributes a group's endpoints over its slices.
fn fill(service: &Service, group: Group, slices: Vec<EndpointSlice>, max: usize) -> Changes {
    let mut changes = Changes::default();
    let is_placeholder = group.endpoints.is_empty();
    let mut missing = group.endpoints;
    let mut untouched = Vec::new();
    for mut slice in slices {
        let before = std::mem::take(&mut slice.endpoints);
        let mut changed = false;
        for old in &before {
            match missing.iter().position(|new| same_target(new, old)) {
                Some(at) => {
                    let new = missing.remove(at);
                    changed |= new != without_hints(old);
                    slice.endpoints.push(new);
                }
                None => changed = true,
            }
        }
        let labels = labels(service);
        changed |= slice.metadata.labels != labels;
        slice.metadata.labels = labels;
        if slice.endpoints.is_empty()
            && !(is_placeholder && changes.kept + changes.update.len() + untouched.len() == 0)
        {
            changes.delete.push(slice);
        } else if changed {
            changes.update.push(slice);
        } else {
            untouched.push(slice);
        }
    }
    // The fullest first, so that slices become full and few.
    changes.update.sort_by_key(|s| std::cmp::Reverse(s.endpoints.len()));
    for slice in &mut changes.update {
        let room = max.saturating_sub(slice.endpoints.len()).min(missing.len());
        slice.endpoints.extend(missing.drain(..room));
    }
    if !missing.is_empty() && missing.len() < max {
        let fits = |s: &&mut EndpointSlice| s.endpoints.len() + missing.len() <= max;
        let best = untouched.iter_mut().filter(fits).max_by_key(|s| s.endpoints.len());
        if let Some(name) = best.map(|s| s.metadata.name.clone())
            && let Some(at) = untouched.iter().position(|s| s.metadata.name == name)
        {
            let mut slice = untouched.remove(at);
            slice.endpoints.append(&mut missing);
            changes.update.push(slice);
        }
    }
    changes.kept = untouched.len();
    let nothing = changes.kept == 0 && changes.update.is_empty();
    while !missing.is_empty() || (is_placeholder && nothing && changes.create.is_empty()) {
        let count = missing.len().min(max);
        let endpoints = missing.drain(..count).collect();
        changes.create.push(EndpointSlice {
            endpoints,
            ports: group.ports.clone(),
            ..new_slice(service, &group.address_type)
        });
    }
    changes
}

/// A slice to be made takes over one to be deleted: one write and not two.
fn recycle(changes: &mut Changes) {
    for _ in 0..changes.create.len().min(changes.delete.len()) {
        let (new, old) = (changes.create.remove(0), changes.delete.remove(0));
        let metadata = ObjectMeta { labels: new.metadata.labels, ..old.metadata };
        changes.update.push(EndpointSlice { metadata, endpoints: new.endpoints, ports: new.ports, ..old });
    }
}

fn new_slice(service: &Service, address_type: &AddressType) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            namespace: service.metadata.namespace.clone(),
            generate_name: format!("{}-", service.metadata.name),
            labels: labels(service),
            owner_references: vec![controller_reference::<Service>(&service.metadata)],
            ..ObjectMeta::default()
        },
        address_type: address_type.clone(),
        ..EndpointSlice::default()
    }
}

/// The Service's labels and our own.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone();
    labels.remove(label::HEADLESS_SERVICE);
    if service_pods::is_headless(service) {
        labels.insert(label::HEADLESS_SERVICE.into(), String::new());
    }
    labels.insert(label::SERVICE_NAME.into(), service.metadata.name.clone());
    labels.insert(label::ENDPOINT_SLICE_MANAGED_BY.into(), MANAGER.into());
    labels
}

fn same_target(a: &Endpoint, b: &Endpoint) -> bool {
    let uid = |e: &Endpoint| e.target_ref.as_ref().map(|r| r.uid.clone());
    a.addresses == b.addresses && uid(a) == uid(b)
}

fn without_hints(endpoint: &Endpoint) -> Endpoint {
    Endpoint { hints: None, ..endpoint.clone() }
}
