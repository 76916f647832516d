//! What is refused in a LimitRange.

use super::*;
use crate::core::v1::pod::validate::{container_resource, may_overcommit, resource_name};
use crate::field::{Errors, Path};
use crate::names;
use crate::value::Quantity;
use std::collections::BTreeSet;

pub(super) fn limits(limits: &[LimitRangeItem], errors: &mut Errors) {
    let path = Path::new("spec").child("limits");
    for (place, item) in limits.iter().enumerate() {
        let path = path.index(place);
        type_name(&item.type_, &path.child("type"), errors);
        if limits[..place].iter().any(|other| other.type_ == item.type_) {
            errors.duplicate(&path.child("type"), item.type_.as_str());
        }
        resources(item, &path, errors);
        bounds(item, &path, errors);
    }
}

fn type_name(type_: &LimitType, path: &Path, errors: &mut Errors) {
    let text = type_.as_str();
    let wrong = names::qualified_name(text);
    if !wrong.is_empty() {
        errors.wrong(path, text, wrong);
    } else if !text.contains('/') && !LimitType::KNOWN.contains(&text) {
        errors.invalid(path, text, "must be a standard limit type or fully qualified");
    }
}

fn resources(item: &LimitRangeItem, path: &Path, errors: &mut Errors) {
    let is_pod = item.type_ == LimitType::Pod;
    for (list, name) in [
        (&item.max, "max"),
        (&item.min, "min"),
        (&item.default, "default"),
        (&item.default_request, "defaultRequest"),
        (&item.max_limit_request_ratio, "maxLimitRequestRatio"),
    ] {
        let path = path.child(name);
        if is_pod && matches!(name, "default" | "defaultRequest") {
            if !list.is_empty() {
                errors.forbidden(&path, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        if name == "maxLimitRequestRatio"
            && item.type_ == LimitType::PersistentVolumeClaim
            && !item.min.contains_key("storage")
            && !item.max.contains_key("storage")
        {
            let text = "either minimum or maximum storage value is required, but neither was provided";
            errors.required(
                &Path::new(path.as_str().trim_end_matches(".maxLimitRequestRatio")).child("limits"),
                text,
            );
        }
        for resource in list.keys() {
            match item.type_ {
                LimitType::Pod | LimitType::Container => {
                    container_resource(resource, &path.key(resource), errors)
                }
                _ => _ = resource_name(resource, &path.key(resource), errors),
            }
        }
    }
}

/// min ≤ default request ≤ default limit ≤ max, as far as each is given.
fn bounds(item: &LimitRangeItem, path: &Path, errors: &mut Errors) {
    let is_pod = item.type_ == LimitType::Pod;
    let LimitRangeItem { max, min, max_limit_request_ratio: ratio, .. } = item;
    let empty = ResourceList::new();
    let (default, request) = if is_pod { (&empty, &empty) } else { (&item.default, &item.default_request) };
    let all: BTreeSet<&String> =
        [max, min, default, request, ratio].into_iter().flat_map(|l| l.keys()).collect();
    for name in all {
        let (max, min) = (max.get(name), min.get(name));
        let (default, request) = (default.get(name), request.get(name));
        let mut above = |low: Option<&Quantity>,
                         high: Option<&Quantity>,
                         field,
                         shown_high: bool,
                         low_name,
                         high_name| {
            let (Some(low), Some(high)) = (low, high) else { return };
            if low > high {
                let shown = if shown_high { *high } else { *low };
                let text = format!("{low_name} value {low} is greater than {high_name} value {high}");
                errors.invalid(&path.child(field).key(name), shown, text);
            }
        };
        above(min, max, "min", false, "min", "max");
        above(min, request, "defaultRequest", true, "min", "default request");
        above(request, max, "defaultRequest", false, "default request", "max");
        above(request, default, "defaultRequest", false, "default request", "default limit");
        // COMPAT: of these two, upstream shows the bound and not the default.
        above(min, default, "default", false, "min", "default");
        above(default, max, "default", true, "default", "max");
        if let Some(ratio) = ratio.get(name) {
            ratio_of(*ratio, min, max, &path.child("maxLimitRequestRatio").key(name), errors);
        }
        if let (Some(default), Some(request)) = (default, request)
            && !may_overcommit(name)
            && default != request
        {
            let text =
                format!("default value {default} must equal to defaultRequest value {request} in {name}");
            errors.invalid(&path.child("defaultRequest").key(name), *request, text);
        }
    }
}

fn ratio_of(
    ratio: Quantity,
    min: Option<&Quantity>,
    max: Option<&Quantity>,
    path: &Path,
    errors: &mut Errors,
) {
    if ratio.as_f64() < 1.0 {
        errors.invalid(path, ratio, format!("ratio {ratio} is less than 1"));
    }
    if let (Some(min), Some(max)) = (min, max) {
        let possible = max.as_f64() / min.as_f64();
        if ratio.as_f64() > possible {
            errors.invalid(path, ratio, format!("ratio {ratio} is greater than max/min = {possible:.6}"));
        }
    }
}
