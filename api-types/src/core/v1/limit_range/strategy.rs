//! What happens to a LimitRange on its way to the store: limits of containers follow from the
//! bounds.

use super::*;
use crate::core::v1::pod::defaults::round_up;
use crate::field::Errors;
use crate::kind::Strategy;

impl Strategy for LimitRange {
    const CREATE_ON_UPDATE: bool = true;

    fn set_defaults(&mut self) {
        for item in &mut self.spec.limits {
            if item.type_ == LimitType::Container {
                let LimitRangeItem { max, min, default, default_request, .. } = item;
                fill(default, max);
                fill(default_request, default);
                fill(default_request, min);
            }
            for list in [
                &mut item.max,
                &mut item.min,
                &mut item.default,
                &mut item.default_request,
                &mut item.max_limit_request_ratio,
            ] {
                round_up(list);
            }
        }
    }

    fn validate(&self, errors: &mut Errors) {
        validate::limits(&self.spec.limits, errors);
    }
}

/// Takes over what is missing.
fn fill(list: &mut ResourceList, from: &ResourceList) {
    for (name, amount) in from {
        list.entry(name.clone()).or_insert(*amount);
    }
}
