//! Constraints of a claim: an attribute that all of its devices, or those of some requests, have in common, or that is
//! another for each of them.

use api_types::resource::v1::{Device, DeviceAttribute, DeviceConstraint};

/// A constraint, and the devices that were picked under it.
#[derive(Debug)]
pub struct Constraint<'a> {
    /// Requests that it is about; all when there are none.
    requests: &'a [String],
    attribute: &'a str,
    distinct: bool,
    /// Attributes of the devices so far, in the order in which they were picked.
    picked: Vec<&'a DeviceAttribute>,
}

impl<'a> Constraint<'a> {
    /// `None` for a constraint of a kind that is not known.
    pub fn new(constraint: &'a DeviceConstraint) -> Option<Self> {
        let (attribute, distinct) = match (&constraint.match_attribute, &constraint.distinct_attribute) {
            (Some(attribute), _) => (attribute, false),
            (None, Some(attribute)) => (attribute, true),
            (None, None) => return None,
        };
        Some(Self { requests: &constraint.requests, attribute, distinct, picked: Vec::new() })
    }

    /// Whether it is about the request, or about the alternative of it.
    fn is_about(&self, request: &str, option: Option<&str>) -> bool {
        let names = |named: &String| match (named.split_once('/'), option) {
            (None, _) => *named == *request,
            (Some((parent, own)), Some(option)) => parent == request && own == option,
            (Some(_), None) => false,
        };
        self.requests.is_empty() || self.requests.iter().any(names)
    }

    /// Picks a device, if that is allowed beside those before it.
    pub fn add(&mut self, request: &str, option: Option<&str>, driver: &str, device: &'a Device) -> bool {
        if !self.is_about(request, option) {
            return true;
        }
        let Some(own) = attribute(device, driver, self.attribute) else { return false };
        let allowed = match (self.picked.first(), self.distinct) {
            (None, _) => true,
            (Some(first), false) => is_known(own) && same(first, own),
            (Some(_), true) => is_known(own) && !self.picked.iter().any(|other| same(other, own)),
        };
        if allowed {
            self.picked.push(own);
        }
        allowed
    }

    /// Gives back the device that was picked last.
    pub fn remove(&mut self, request: &str, option: Option<&str>) {
        if self.is_about(request, option) {
            self.picked.pop();
        }
    }
}

fn is_known(attribute: &DeviceAttribute) -> bool {
    attribute.string.is_some()
        || attribute.int.is_some()
        || attribute.bool.is_some()
        || attribute.version.is_some()
}

fn same(a: &DeviceAttribute, b: &DeviceAttribute) -> bool {
    a.string == b.string && a.int == b.int && a.bool == b.bool && a.version == b.version
}

/// An attribute by its full name; those of the driver's own domain may be listed without it.
fn attribute<'a>(device: &'a Device, driver: &str, name: &str) -> Option<&'a DeviceAttribute> {
    device.attributes.get(name).or_else(|| {
        let (domain, id) = name.split_once('/')?;
        if domain == driver { device.attributes.get(id) } else { None }
    })
}
