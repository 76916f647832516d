//! What claims, their templates and device classes ask for: requests, selectors, constraints,
//! configuration; and what is wrong with them.

use super::names;
use crate::field::{Errors, Path};
use crate::open_enum::open_enum;
use crate::value::{Quantity, RawExtension};
use api_types_derive::Api;
use std::collections::{BTreeMap, BTreeSet};

/// Requests for devices and what holds between them.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceClaim {
    /// The requests; all are met, or none.
    #[api(1, always, list = atomic)]
    pub requests: Vec<DeviceRequest>,
    /// What the devices must have in common, or not.
    #[api(2, list = atomic)]
    pub constraints: Vec<DeviceConstraint>,
    /// Configuration for drivers.
    #[api(3, list = atomic)]
    pub config: Vec<DeviceClaimConfiguration>,
}

/// A request for devices of a kind.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceRequest {
    /// Name of the request.
    #[api(1, required)]
    pub name: String,
    /// The one kind of devices asked for.
    #[api(2)]
    pub exactly: Option<Box<ExactDeviceRequest>>,
    /// Kinds of devices, best first.
    #[api(3, list = atomic)]
    pub first_available: Vec<DeviceSubRequest>,
}

/// Devices of one class.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct ExactDeviceRequest {
    /// The class.
    #[api(1, required)]
    pub device_class_name: String,
    /// What devices must match beside the class.
    #[api(2, list = atomic)]
    pub selectors: Vec<DeviceSelector>,
    /// `ExactCount` or `All` that match.
    #[api(3)]
    pub allocation_mode: DeviceAllocationMode,
    /// Number of devices for `ExactCount`; 1 when not given.
    #[api(4)]
    pub count: i64,
    /// Whether devices are asked for that others use, to watch over them.
    #[api(5)]
    pub admin_access: Option<bool>,
    /// Taints that are tolerated.
    #[api(6, list = atomic)]
    pub tolerations: Vec<DeviceToleration>,
    /// Amounts of capacity asked for.
    #[api(7)]
    pub capacity: Option<Box<CapacityRequirements>>,
}

/// One of several kinds of devices that would do.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceSubRequest {
    /// Name of the alternative.
    #[api(1, required)]
    pub name: String,
    /// The class.
    #[api(2, required)]
    pub device_class_name: String,
    /// What devices must match beside the class.
    #[api(3, list = atomic)]
    pub selectors: Vec<DeviceSelector>,
    /// `ExactCount` or `All` that match.
    #[api(4)]
    pub allocation_mode: DeviceAllocationMode,
    /// Number of devices for `ExactCount`; 1 when not given.
    #[api(5)]
    pub count: i64,
    /// Taints that are tolerated.
    #[api(6, list = atomic)]
    pub tolerations: Vec<DeviceToleration>,
    /// Amounts of capacity asked for.
    #[api(7)]
    pub capacity: Option<Box<CapacityRequirements>>,
}

/// Amounts of capacity.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct CapacityRequirements {
    /// Amounts by qualified name.
    #[api(1)]
    pub requests: BTreeMap<String, Quantity>,
}

/// What a device must match.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceSelector {
    /// An expression.
    #[api(1)]
    pub cel: Option<Box<CELDeviceSelector>>,
}

/// An expression in CEL about a device.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct CELDeviceSelector {
    /// The expression; true for devices that match.
    #[api(1, required)]
    pub expression: String,
}

/// A taint that is tolerated.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceToleration {
    /// Key of the taint; empty matches every key.
    #[api(1)]
    pub key: String,
    /// `Exists` or `Equal`.
    #[api(2)]
    pub operator: DeviceTolerationOperator,
    /// Value of the taint for `Equal`.
    #[api(3)]
    pub value: String,
    /// Effect of the taint; empty matches every effect.
    #[api(4)]
    pub effect: DeviceTaintEffect,
    /// Seconds that `NoExecute` is tolerated for.
    #[api(5)]
    pub toleration_seconds: Option<i64>,
}

/// What holds between the devices of requests.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceConstraint {
    /// The requests; all when none is named.
    #[api(1, list = atomic)]
    pub requests: Vec<String>,
    /// Attribute whose value is the same for all.
    #[api(2)]
    pub match_attribute: Option<String>,
    /// Attribute whose value differs for all.
    #[api(3)]
    pub distinct_attribute: Option<String>,
}

/// Configuration for the devices of requests.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceClaimConfiguration {
    /// The requests; all when none is named.
    #[api(1, list = atomic)]
    pub requests: Vec<String>,
    /// The configuration.
    #[api(2, inline)]
    pub device_configuration: DeviceConfiguration,
}

/// Configuration of one sort.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceConfiguration {
    /// Parameters that a driver understands.
    #[api(1)]
    pub opaque: Option<Box<OpaqueDeviceConfiguration>>,
}

/// Parameters for a driver.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct OpaqueDeviceConfiguration {
    /// The driver.
    #[api(1, required)]
    pub driver: String,
    /// The parameters, an object of any kind.
    #[api(2, required)]
    pub parameters: RawExtension,
}

open_enum! {
    /// How many of the devices that match are asked for.
    pub enum DeviceAllocationMode {
        ExactCount = "ExactCount",
        All = "All",
    }
}

open_enum! {
    /// How a toleration's value is compared.
    pub enum DeviceTolerationOperator {
        Exists = "Exists",
        Equal = "Equal",
    }
}

open_enum! {
    /// What a taint of a device does.
    pub enum DeviceTaintEffect {
        None = "None",
        NoSchedule = "NoSchedule",
        NoExecute = "NoExecute",
    }
}

/// Most requests of a claim, and most results.
pub(super) const MAX_REQUESTS: usize = 32;
/// Most configurations of a claim or class.
pub(super) const MAX_CONFIG: usize = 32;
const MAX_CONSTRAINTS: usize = 32;
const MAX_SELECTORS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_EXPRESSION: usize = 10 * 1024;
/// Most bytes of parameters, and of what drivers say.
pub(super) const MAX_PARAMETERS: usize = 10 * 1024;
/// In the order in which upstream names them.
pub(super) const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];
const NO_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

impl DeviceClaim {
    pub(super) fn set_defaults(&mut self) {
        for request in &mut self.requests {
            if let Some(exactly) = &mut request.exactly {
                one_of_each(&mut exactly.allocation_mode, &mut exactly.count);
            }
            for alternative in &mut request.first_available {
                one_of_each(&mut alternative.allocation_mode, &mut alternative.count);
            }
        }
    }

    /// The names of requests, each with those of its alternatives.
    pub(super) fn names(&self) -> RequestNames<'_> {
        let alternatives = |request: &'_ DeviceRequest| -> BTreeSet<String> {
            request.first_available.iter().map(|alternative| alternative.name.clone()).collect()
        };
        RequestNames(self.requests.iter().map(|r| (r.name.as_str(), alternatives(r))).collect())
    }

    pub(super) fn validate(&self, path: &Path, errors: &mut Errors) {
        let names = self.names();
        let requests = path.child("requests");
        if names::at_most(self.requests.len(), MAX_REQUESTS, &requests, errors) {
            for (place, request) in self.requests.iter().enumerate() {
                request.validate(&requests.index(place), errors);
            }
            names::unique(self.requests.iter().map(|r| &r.name), |n| (*n).clone(), &requests, errors);
        }
        let constraints = path.child("constraints");
        if names::at_most(self.constraints.len(), MAX_CONSTRAINTS, &constraints, errors) {
            for (place, constraint) in self.constraints.iter().enumerate() {
                constraint.validate(&names, &constraints.index(place), errors);
            }
        }
        let config = path.child("config");
        if names::at_most(self.config.len(), MAX_CONFIG, &config, errors) {
            for (place, one) in self.config.iter().enumerate() {
                let path = config.index(place);
                names.check_all(&one.requests, &path.child("requests"), errors);
                one.device_configuration.validate(&path, errors);
            }
        }
    }

    /// Whether devices are asked for that others use: place of the first such request.
    pub fn admin_access(&self) -> Option<usize> {
        let asks =
            |r: &DeviceRequest| r.exactly.as_ref().and_then(|exactly| exactly.admin_access) == Some(true);
        self.requests.iter().position(asks)
    }
}

fn one_of_each(mode: &mut DeviceAllocationMode, count: &mut i64) {
    if mode.is_unset() {
        *mode = DeviceAllocationMode::ExactCount;
    }
    if *mode == DeviceAllocationMode::ExactCount && *count == 0 {
        *count = 1;
    }
}

/// What names of requests can refer to.
pub(super) struct RequestNames<'a>(BTreeMap<&'a str, BTreeSet<String>>);

impl RequestNames<'_> {
    /// A name is that of a request, or `REQUEST/ALTERNATIVE`.
    pub(super) fn check(&self, name: &str, path: &Path, errors: &mut Errors) {
        let segments: Vec<&str> = name.split('/').collect();
        if segments.len() > 2 {
            return errors.invalid(path, name, NO_REQUEST);
        }
        for segment in &segments {
            names::label(segment, path, errors);
        }
        let known = match (self.0.get(segments[0]), segments.get(1)) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(alternatives), Some(alternative)) => alternatives.contains(*alternative),
        };
        if !known {
            errors.invalid(path, name, NO_REQUEST);
        }
    }

    pub(super) fn check_all(&self, all: &[String], path: &Path, errors: &mut Errors) {
        if names::at_most(all.len(), MAX_REQUESTS, path, errors) {
            for (place, name) in all.iter().enumerate() {
                self.check(name, &path.index(place), errors);
            }
            names::unique(all, |name| (*name).clone(), path, errors);
        }
    }
}

impl DeviceRequest {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
        names::label(&self.name, &path.child("name"), errors);
        match (&self.exactly, self.first_available.is_empty()) {
            (None, true) => errors.required(path, ONE),
            (Some(_), false) => {
                errors.invalid(path, (), format!("{ONE}, but multiple fields are set"));
            }
            (Some(exactly), true) => {
                let path = path.child("exactly");
                wanted(
                    &exactly.device_class_name,
                    &exactly.selectors,
                    (&exactly.allocation_mode, exactly.count),
                    &exactly.tolerations,
                    &path,
                    errors,
                );
            }
            (None, false) => {
                let path = path.child("firstAvailable");
                if !names::at_most(self.first_available.len(), MAX_ALTERNATIVES, &path, errors) {
                    return;
                }
                for (place, one) in self.first_available.iter().enumerate() {
                    let path = path.index(place);
                    names::label(&one.name, &path.child("name"), errors);
                    wanted(
                        &one.device_class_name,
                        &one.selectors,
                        (&one.allocation_mode, one.count),
                        &one.tolerations,
                        &path,
                        errors,
                    );
                }
                let keys = self.first_available.iter().map(|one| &one.name);
                names::unique(keys, |name| (*name).clone(), &path, errors);
            }
        }
    }
}

fn wanted(
    class: &str,
    chosen_by: &[DeviceSelector],
    (mode, count): (&DeviceAllocationMode, i64),
    tolerations: &[DeviceToleration],
    path: &Path,
    errors: &mut Errors,
) {
    let class_path = path.child("deviceClassName");
    if class.is_empty() {
        errors.required(&class_path, "");
    } else {
        errors.wrong(&class_path, class, crate::names::dns1123_subdomain(class));
    }
    selectors(chosen_by, &path.child("selectors"), errors);
    let count_path = path.child("count");
    match mode {
        DeviceAllocationMode::All if count != 0 => {
            errors.invalid(&count_path, count, "must not be specified when allocationMode is 'All'");
        }
        DeviceAllocationMode::ExactCount if count <= 0 => {
            errors.invalid(&count_path, count, "must be greater than zero");
        }
        DeviceAllocationMode::All | DeviceAllocationMode::ExactCount => {}
        other => {
            errors.not_supported(&path.child("allocationMode"), other.as_str(), &["All", "ExactCount"]);
        }
    }
    for (place, toleration) in tolerations.iter().enumerate() {
        toleration.validate(&path.child("tolerations").index(place), errors);
    }
}

pub(super) fn selectors(all: &[DeviceSelector], path: &Path, errors: &mut Errors) {
    if !names::at_most(all.len(), MAX_SELECTORS, path, errors) {
        return;
    }
    for (place, selector) in all.iter().enumerate() {
        let path = path.index(place).child("cel");
        match &selector.cel {
            None => errors.required(&path, ""),
            Some(cel) if cel.expression.len() > MAX_EXPRESSION => {
                errors.too_long(&path.child("expression"), MAX_EXPRESSION);
            }
            // The server compiles it, an empty one too.
            Some(_) => {}
        }
    }
}

impl DeviceToleration {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        if !self.key.is_empty() {
            names::label_name(&self.key, &path.child("key"), errors);
        }
        let value = path.child("value");
        match &self.operator {
            DeviceTolerationOperator::Exists if !self.value.is_empty() => {
                errors.invalid(&value, self.value.as_str(), "must be empty for operator `Exists`");
            }
            DeviceTolerationOperator::Exists => {}
            DeviceTolerationOperator::Equal => {
                errors.wrong(&value, &self.value, crate::names::label_value(&self.value));
            }
            other => errors.required_choice(&path.child("operator"), other.as_str(), &["Equal", "Exists"]),
        }
        if !self.effect.is_unset() {
            errors.choice(&path.child("effect"), self.effect.as_str(), EFFECTS);
        }
    }
}

impl DeviceConstraint {
    fn validate(&self, requests: &RequestNames<'_>, path: &Path, errors: &mut Errors) {
        requests.check_all(&self.requests, &path.child("requests"), errors);
        match (&self.match_attribute, &self.distinct_attribute) {
            (Some(name), _) => names::fully_qualified(name, &path.child("matchAttribute"), errors),
            (None, Some(name)) => names::fully_qualified(name, &path.child("distinctAttribute"), errors),
            // COMPAT: upstream's words, which say that several are set.
            (None, None) => errors.required(
                path,
                r#"exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set"#,
            ),
        }
    }
}

impl DeviceConfiguration {
    pub(super) fn validate(&self, path: &Path, errors: &mut Errors) {
        let path = path.child("opaque");
        match &self.opaque {
            None => errors.required(&path, ""),
            Some(opaque) => {
                names::driver(&opaque.driver, &path.child("driver"), errors);
                names::object(&opaque.parameters, MAX_PARAMETERS, &path.child("parameters"), errors);
            }
        }
    }
}
