//! The devices that a claim got, who uses them, and what drivers say of them.

use super::names;
use super::request::{
    DeviceConfiguration, DeviceToleration, MAX_CONFIG, MAX_PARAMETERS, MAX_REQUESTS, RequestNames,
};
use crate::core::v1::NodeSelector;
use crate::core::v1::pod::validate::node_selector;
use crate::field::{Errors, Path, Shown};
use crate::meta::v1::Condition;
use crate::open_enum::open_enum;
use crate::value::{Quantity, RawExtension, Time};
use api_types_derive::Api;
use std::collections::BTreeMap;

/// The devices of a claim.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct AllocationResult {
    /// The devices.
    #[api(1)]
    pub devices: DeviceAllocationResult,
    /// Nodes on which they can be used.
    #[api(3)]
    pub node_selector: Option<Box<NodeSelector>>,
    /// When they were allocated.
    #[api(5)]
    pub allocation_timestamp: Option<Time>,
}

/// The devices of a claim and their configuration.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceAllocationResult {
    /// The devices.
    #[api(1, list = atomic)]
    pub results: Vec<DeviceRequestAllocationResult>,
    /// Configuration from the claim and its classes.
    #[api(2, list = atomic)]
    pub config: Vec<DeviceAllocationConfiguration>,
}

/// A device for a request.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceRequestAllocationResult {
    /// Name of the request, or of request and alternative.
    #[api(1, required)]
    pub request: String,
    /// Driver of the device.
    #[api(2, required)]
    pub driver: String,
    /// Pool of the device.
    #[api(3, required)]
    pub pool: String,
    /// Name of the device.
    #[api(4, required)]
    pub device: String,
    /// Whether it is there for watching over it.
    #[api(5)]
    pub admin_access: Option<bool>,
    /// Tolerations of the request.
    #[api(6, list = atomic)]
    pub tolerations: Vec<DeviceToleration>,
    /// Conditions that must be true before the pod is bound.
    #[api(7, list = atomic)]
    pub binding_conditions: Vec<String>,
    /// Conditions that make binding fail when true.
    #[api(8, list = atomic)]
    pub binding_failure_conditions: Vec<String>,
    /// Which share of the device this is.
    #[api(9, name = "shareID")]
    pub share_id: Option<String>,
    /// Amounts of its capacity that are taken.
    #[api(10)]
    pub consumed_capacity: BTreeMap<String, Quantity>,
}

/// Configuration of devices that were allocated.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceAllocationConfiguration {
    /// `FromClass` or `FromClaim`.
    #[api(1, required)]
    pub source: AllocationConfigSource,
    /// The requests; all when none is named.
    #[api(2, list = atomic)]
    pub requests: Vec<String>,
    /// The configuration.
    #[api(3, inline)]
    pub device_configuration: DeviceConfiguration,
}

/// Who uses a claim.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct ResourceClaimConsumerReference {
    /// Group of the object; empty for core.
    #[api(1)]
    pub api_group: String,
    /// Resource of the object, as `pods`.
    #[api(3, required)]
    pub resource: String,
    /// Name of the object.
    #[api(4, required)]
    pub name: String,
    /// UID of the object.
    #[api(5, required)]
    pub uid: String,
}

/// What a driver says of an allocated device.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct AllocatedDeviceStatus {
    /// Driver of the device.
    #[api(1, required)]
    pub driver: String,
    /// Pool of the device.
    #[api(2, required)]
    pub pool: String,
    /// Name of the device.
    #[api(3, required)]
    pub device: String,
    /// Which share of the device this is.
    #[api(7, name = "shareID")]
    pub share_id: Option<String>,
    /// Latest observations.
    #[api(4, always, list = map("type"))]
    pub conditions: Vec<Condition>,
    /// Anything else that the driver says.
    #[api(5)]
    pub data: Option<RawExtension>,
    /// Facts about a network device.
    #[api(6)]
    pub network_data: Option<Box<NetworkDeviceData>>,
}

/// Facts about a network device.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct NetworkDeviceData {
    /// Name of the interface.
    #[api(1)]
    pub interface_name: String,
    /// Addresses in CIDR notation.
    #[api(2, list = atomic)]
    pub ips: Vec<String>,
    /// Address of the hardware.
    #[api(3)]
    pub hardware_address: String,
}

open_enum! {
    /// Where a configuration comes from.
    pub enum AllocationConfigSource {
        FromClass = "FromClass",
        FromClaim = "FromClaim",
    }
}

/// A device, or one share of it: driver, pool, device, share.
pub(super) type DeviceId<'a> = (&'a str, &'a str, &'a str, Option<&'a str>);

impl DeviceRequestAllocationResult {
    pub fn id(&self) -> DeviceId<'_> {
        (&self.driver, &self.pool, &self.device, self.share_id.as_deref())
    }
}

impl AllocatedDeviceStatus {
    pub fn id(&self) -> DeviceId<'_> {
        (&self.driver, &self.pool, &self.device, self.share_id.as_deref())
    }

    pub(super) fn validate(&self, allocated: &[DeviceId<'_>], path: &Path, errors: &mut Errors) {
        const MAX_CONDITIONS: usize = 8;
        device(self.id(), path, errors);
        if !allocated.contains(&self.id()) {
            errors.invalid(path, Whole(self.id()), "must be an allocated device in the claim");
        }
        names::at_most(self.conditions.len(), MAX_CONDITIONS, &path.child("conditions"), errors);
        if let Some(data) = self.data.as_ref().filter(|data| !data.as_bytes().is_empty()) {
            names::object(data, MAX_PARAMETERS, &path.child("data"), errors);
        }
        if let Some(network) = &self.network_data {
            network.validate(&path.child("networkData"), errors);
        }
    }
}

/// A device in an error's text, as upstream prints what it keeps of it.
struct Whole<'a>(DeviceId<'a>);

impl Shown for Whole<'_> {
    fn shown(&self) -> String {
        let (driver, pool, device, share) = self.0;
        let share = share.unwrap_or_default();
        format!(r#"{{"Driver":{driver:?},"Pool":{pool:?},"Device":{device:?},"ShareID":{share:?}}}"#)
    }
}

/// `DRIVER/POOL/DEVICE`, and the share if it is one.
pub(super) fn shown((driver, pool, device, share): DeviceId<'_>) -> String {
    let share = share.map(|share| format!("/{share}")).unwrap_or_default();
    format!("{driver}/{pool}/{device}{share}")
}

fn device((driver, pool, device, share): DeviceId<'_>, path: &Path, errors: &mut Errors) {
    names::driver(driver, &path.child("driver"), errors);
    names::pool(pool, &path.child("pool"), errors);
    names::label(device, &path.child("device"), errors);
    if let Some(share) = share {
        names::uid(share, &path.child("shareID"), errors);
    }
}

impl AllocationResult {
    pub(super) fn validate(&self, requests: &RequestNames<'_>, path: &Path, errors: &mut Errors) {
        let devices = path.child("devices");
        let results = devices.child("results");
        if names::at_most(self.devices.results.len(), MAX_REQUESTS, &results, errors) {
            for (place, result) in self.devices.results.iter().enumerate() {
                let path = results.index(place);
                requests.check(&result.request, &path.child("request"), errors);
                device(result.id(), &path, errors);
                let (good, bad) = (&result.binding_conditions, &result.binding_failure_conditions);
                names::binding_conditions(good, bad, &path, errors);
            }
        }
        let config = devices.child("config");
        // Those of the claim and of its classes.
        if names::at_most(self.devices.config.len(), 2 * MAX_CONFIG, &config, errors) {
            for (place, one) in self.devices.config.iter().enumerate() {
                let path = config.index(place);
                let known = &["FromClaim", "FromClass"];
                errors.required_choice(&path.child("source"), one.source.as_str(), known);
                requests.check_all(&one.requests, &path.child("requests"), errors);
                one.device_configuration.validate(&path, errors);
            }
        }
        if let Some(selector) = &self.node_selector {
            node_selector(selector, &path.child("nodeSelector"), errors);
        }
    }
}

impl ResourceClaimConsumerReference {
    pub(super) fn validate(&self, path: &Path, errors: &mut Errors) {
        errors.need(path, "resource", &self.resource);
        errors.need(path, "name", &self.name);
        errors.need(path, "uid", &self.uid);
    }
}

impl NetworkDeviceData {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        const MAX_ADDRESSES: usize = 16;
        for (name, value, max) in
            [("interfaceName", &self.interface_name, 256), ("hardwareAddress", &self.hardware_address, 128)]
        {
            if value.len() > max {
                errors.too_long(&path.child(name), max);
            }
        }
        let ips = path.child("ips");
        if names::at_most(self.ips.len(), MAX_ADDRESSES, &ips, errors) {
            for (place, address) in self.ips.iter().enumerate() {
                if address.parse::<ipnet::IpNet>().is_err() {
                    let text = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
                    errors.invalid(&ips.index(place), address.as_str(), text);
                }
            }
            names::unique(&self.ips, |address| (*address).clone(), &ips, errors);
        }
    }
}
