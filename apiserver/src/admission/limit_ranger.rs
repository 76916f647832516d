//! LimitRanger: containers of a namespace get the requests and limits that its LimitRanges say, and
//! pods and claims stay within their bounds (API doc "Limit Ranges").

use super::{Context, Operation, Plugin, Refusal, Request};
use api_types::core::v1::pod::demand::{PodResources, of_workload};
use api_types::core::v1::{
    Container, LimitRange, LimitRangeItem, LimitType, PersistentVolumeClaim, Pod, ResourceList,
};
use api_types::value::Quantity;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Says on a pod what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub struct LimitRanger;

impl Plugin for LimitRanger {
    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit(&self, request: &mut Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if !is_bounded(request) {
            return Ok(());
        }
        let ranges = ranges(request.namespace, context);
        if let Some(pod) = request.object_mut::<Pod>() {
            ranges.iter().for_each(|range| fill(pod, range));
        }
        Ok(())
    }

    fn validate(&self, request: &Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if !is_bounded(request) {
            return Ok(());
        }
        for range in ranges(request.namespace, context) {
            let mut wrong = Vec::new();
            for item in &range.spec.limits {
                if let Some(pod) = request.object::<Pod>() {
                    check_pod(item, pod, &mut wrong);
                } else if let Some(claim) = request.object::<PersistentVolumeClaim>() {
                    check_claim(item, claim, &mut wrong);
                }
            }
            match wrong.as_slice() {
                [] => {}
                [one] => return Err(request.forbidden(one.as_str()).into()),
                many => return Err(request.forbidden(format!("[{}]", many.join(", "))).into()),
            }
        }
        Ok(())
    }
}

/// Pods when they are made or resized, and claims, unless they are on their way out.
fn is_bounded(request: &Request<'_>) -> bool {
    let update = request.operation == Operation::Update;
    let bounded = request.is_about("", "pods", "") && !update
        || request.is_about("", "pods", "resize") && update
        || request.is_about("", "persistentvolumeclaims", "");
    bounded && request.old.is_none_or(|old| old.meta().deletion_timestamp.is_none())
}

fn ranges(namespace: &str, context: Context<'_>) -> Vec<Arc<LimitRange>> {
    let mut found = Vec::new();
    let _: ControlFlow<()> = context.views.limit_ranges.visit(namespace, |range| {
        found.push(range.clone());
        ControlFlow::Continue(())
    });
    found
}

fn fill(pod: &mut Pod, range: &LimitRange) {
    let (mut requests, mut limits) = (ResourceList::new(), ResourceList::new());
    for item in range.spec.limits.iter().filter(|item| item.type_ == LimitType::Container) {
        requests.extend(item.default_request.clone());
        limits.extend(item.default.clone());
    }
    let mut filled = Vec::new();
    let all = pod.spec.containers.iter_mut().map(|c| ("container", c));
    for (what, container) in all.chain(pod.spec.init_containers.iter_mut().map(|c| ("init container", c))) {
        let own = &mut container.resources;
        let set_limits = take_over(&mut own.limits, &limits);
        for (names, side) in [(take_over(&mut own.requests, &requests), "request"), (set_limits, "limit")] {
            if !names.is_empty() {
                filled.push(format!("{} {side} for {what} {}", names.join(", "), container.name));
            }
        }
    }
    if !filled.is_empty() {
        let text = format!("LimitRanger plugin set: {}", filled.join("; "));
        pod.metadata.annotations.insert(ANNOTATION.to_owned(), text);
    }
}

/// Adds what is missing; gives its names.
fn take_over<'a>(own: &mut ResourceList, defaults: &'a ResourceList) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (name, amount) in defaults {
        if !own.contains_key(name) {
            own.insert(name.clone(), *amount);
            names.push(name.as_str());
        }
    }
    names
}

fn check_pod(item: &LimitRangeItem, pod: &Pod, wrong: &mut Vec<String>) {
    match item.type_ {
        LimitType::Container => {
            let all = pod.spec.containers.iter().chain(&pod.spec.init_containers);
            for Container { resources, .. } in all {
                check(item, &resources.requests, &resources.limits, wrong);
            }
        }
        LimitType::Pod => {
            let requests = of_workload(&pod.spec, PodResources::Requests);
            let limits = of_workload(&pod.spec, PodResources::Limits);
            check(item, &requests, &limits, wrong);
        }
        _ => {}
    }
}

fn check(item: &LimitRangeItem, requests: &ResourceList, limits: &ResourceList, wrong: &mut Vec<String>) {
    let kind = item.type_.as_str();
    for (name, bound) in &item.min {
        wrong.extend(minimum(kind, name, *bound, requests.get(name), limits.get(name)));
    }
    for (name, bound) in &item.max {
        let (request, limit) = (requests.get(name), limits.get(name));
        let text = format!("maximum {name} usage per {kind} is {bound}");
        wrong.extend(match (request, limit) {
            (_, None) => Some(format!("{text}.  No limit is specified")),
            (_, Some(limit)) if limit > bound => Some(format!("{text}, but limit is {limit}")),
            (Some(request), _) if request > bound => Some(format!("{text}, but request is {request}")),
            _ => None,
        });
    }
    for (name, bound) in &item.max_limit_request_ratio {
        wrong.extend(ratio(kind, name, *bound, requests.get(name), limits.get(name)));
    }
}

fn minimum(
    kind: &str,
    name: &str,
    bound: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let text = format!("minimum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (None, _) => Some(format!("{text}.  No request is specified")),
        (Some(request), _) if *request < bound => Some(format!("{text}, but request is {request}")),
        (_, Some(limit)) if *limit < bound => Some(format!("{text}, but limit is {limit}")),
        _ => None,
    }
}

fn ratio(
    kind: &str,
    name: &str,
    bound: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let text = format!("{name} max limit to request ratio per {kind} is {bound}");
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        return Some(format!("{text}, but no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
        return Some(format!("{text}, but no limit is specified or limit is 0"));
    };
    let provided = limit.as_f64() / request.as_f64();
    (provided > bound.as_f64()).then(|| format!("{text}, but provided ratio is {provided:.6}"))
}

fn check_claim(item: &LimitRangeItem, claim: &PersistentVolumeClaim, wrong: &mut Vec<String>) {
    if item.type_ != LimitType::PersistentVolumeClaim {
        return;
    }
    let (kind, requests) = (item.type_.as_str(), &claim.spec.resources.requests);
    for (name, bound) in &item.min {
        wrong.extend(minimum(kind, name, *bound, requests.get(name), None));
    }
    for (name, bound) in &item.max {
        let text = format!("maximum {name} usage per {kind} is {bound}");
        wrong.extend(match requests.get(name) {
            None => Some(format!("{text}.  No request is specified")),
            Some(request) if request > bound => Some(format!("{text}, but request is {request}")),
            Some(_) => None,
        });
    }
}
