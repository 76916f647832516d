//! What a claim consumes of a device's capacity, by what it asks for and the device's policy, and whether that is still
//! there (KEP-5075).

use std::cmp::Ordering;

use api_types::Quantity;
use api_types::resource::v1::{CapacityRequestPolicy, CapacityRequirements, Device, DeviceCapacity};
use api_types::value::Format;

use crate::devices::in_use::Capacity;

/// Whether the device can give what is asked for beside `consumed`, what other claims and this attempt have of it.
/// Nothing can be given of a capacity that the device does not have.
pub fn fits(device: &Device, asked: Option<&CapacityRequirements>, consumed: &[Option<&Capacity>]) -> bool {
    let known = |name: &String| device.capacity.contains_key(name);
    if !asked.is_none_or(|asked| asked.requests.keys().all(known)) {
        return false;
    }
    device.capacity.iter().all(|(name, capacity)| {
        let own = amount(capacity, asked.and_then(|asked| asked.requests.get(name)));
        if capacity.request_policy.as_ref().is_some_and(|policy| violates(policy, own)) {
            return false;
        }
        let mut total = own;
        for more in consumed.iter().flatten().filter_map(|consumed| consumed.get(name)) {
            total += *more;
        }
        total <= capacity.value
    })
}

/// What the claim consumes of each capacity of the device.
pub fn consumed(device: &Device, asked: Option<&CapacityRequirements>) -> Capacity {
    let of = |(name, capacity): (&String, &DeviceCapacity)| {
        (name.clone(), amount(capacity, asked.and_then(|asked| asked.requests.get(name))))
    };
    device.capacity.iter().map(of).collect()
}

/// What is consumed for a request: rounded up to what the policy allows; without a request the policy's default, or
/// all.
fn amount(capacity: &DeviceCapacity, asked: Option<&Quantity>) -> Quantity {
    let policy = capacity.request_policy.as_deref();
    let Some(asked) = asked.copied() else {
        return policy.and_then(|policy| policy.default).unwrap_or(capacity.value);
    };
    let Some(policy) = policy else { return asked };
    if let Some(range) = policy.valid_range.as_deref()
        && let Some(least) = range.min
    {
        let Some(step) = range.step.filter(|step| step.value() > 0) else { return asked.max(least) };
        if asked < least {
            return least;
        }
        let (least, step) = (least.value(), step.value());
        let over = asked.value().saturating_sub(least);
        let steps = over / step + i64::from(over % step != 0);
        return Quantity::from_units(least.saturating_add(steps.saturating_mul(step)), Format::BinarySi);
    }
    policy.valid_values.iter().copied().find(|value| asked <= *value).unwrap_or(asked)
}

fn violates(policy: &CapacityRequestPolicy, amount: Quantity) -> bool {
    if policy.default == Some(amount) {
        return false;
    }
    if let Some(range) = policy.valid_range.as_deref() {
        let too_much = range.max.is_some_and(|most| amount.cmp(&most) == Ordering::Greater);
        let least = range.min.map_or(0, |least| least.value());
        let between = range
            .step
            .filter(|step| step.value() != 0)
            .is_some_and(|step| amount.value().saturating_sub(least) % step.value() != 0);
        return too_much || between;
    }
    !policy.valid_values.is_empty() && !policy.valid_values.contains(&amount)
}
