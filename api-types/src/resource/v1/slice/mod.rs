//! ResourceSlice: devices that a driver offers (KEP-4381).
//!
//! Features that are off by default in this version drop their fields: lists as attributes, and
//! devices that take of a node's own resources.

mod validate;

use super::request::DeviceTaintEffect;
use crate::core::v1::NodeSelector;
use crate::field::Errors;
use crate::kind::{Column, Kind, Strategy, resource, set_generation};
use crate::meta::v1::ObjectMeta;
use crate::value::{Quantity, Time};
use api_types_derive::Api;
use std::collections::BTreeMap;

/// Devices of one pool that a driver offers.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct ResourceSlice {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The devices, and where they are.
    #[api(2, required)]
    pub spec: ResourceSliceSpec,
}

/// Devices of a pool, and the nodes that reach them.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct ResourceSliceSpec {
    /// Name of the driver, as a DNS subdomain; cannot change.
    #[api(1, required)]
    pub driver: String,
    /// The pool that the devices belong to.
    #[api(2, required)]
    pub pool: ResourcePool,
    /// The one node that reaches them; cannot change.
    #[api(3)]
    pub node_name: Option<String>,
    /// The nodes that reach them: exactly one term.
    #[api(4)]
    pub node_selector: Option<Box<NodeSelector>>,
    /// Whether every node reaches them.
    #[api(5)]
    pub all_nodes: Option<bool>,
    /// The devices.
    #[api(6, list = atomic)]
    pub devices: Vec<Device>,
    /// Whether each device says which nodes reach it.
    #[api(7)]
    pub per_device_node_selection: Option<bool>,
    /// Counters that devices of the pool consume; not in a slice with devices.
    #[api(8, list = atomic)]
    pub shared_counters: Vec<CounterSet>,
}

/// The pool that a slice belongs to.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct ResourcePool {
    /// Name of the pool, often that of the node.
    #[api(1, required)]
    pub name: String,
    /// Raised with every change; only slices of the highest count.
    #[api(2, required)]
    pub generation: i64,
    /// Slices that the pool has at this generation.
    #[api(3, required)]
    pub resource_slice_count: i64,
}

/// Counters under a name.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct CounterSet {
    /// Name of the set, unique in its pool.
    #[api(1, required)]
    pub name: String,
    /// The counters by name.
    #[api(2, required)]
    pub counters: BTreeMap<String, Counter>,
}

/// An amount.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct Counter {
    /// The amount.
    #[api(1, required)]
    pub value: Quantity,
}

/// A device: what it is and what it has.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct Device {
    /// Name of the device, unique in its pool.
    #[api(1, required)]
    pub name: String,
    /// What describes it, by qualified name.
    #[api(2)]
    pub attributes: BTreeMap<String, DeviceAttribute>,
    /// Amounts that it has, by qualified name.
    #[api(3)]
    pub capacity: BTreeMap<String, DeviceCapacity>,
    /// What it takes from counters of its pool.
    #[api(4, list = atomic)]
    pub consumes_counters: Vec<DeviceCounterConsumption>,
    /// The one node that reaches it.
    #[api(5)]
    pub node_name: Option<String>,
    /// The nodes that reach it.
    #[api(6)]
    pub node_selector: Option<Box<NodeSelector>>,
    /// Whether every node reaches it.
    #[api(7)]
    pub all_nodes: Option<bool>,
    /// Taints that keep claims away which do not tolerate them.
    #[api(8, list = atomic)]
    pub taints: Vec<DeviceTaint>,
    /// Whether a claim that gets it is bound to the node chosen.
    #[api(9)]
    pub binds_to_node: Option<bool>,
    /// Conditions that must be true before a pod is bound.
    #[api(10, list = atomic)]
    pub binding_conditions: Vec<String>,
    /// Conditions that make binding fail when true.
    #[api(11, list = atomic)]
    pub binding_failure_conditions: Vec<String>,
    /// Whether several claims can share it.
    #[api(12)]
    pub allow_multiple_allocations: Option<bool>,
    /// What it takes of the node's own resources, by their name.
    #[api(13)]
    pub node_allocatable_resource_mappings: BTreeMap<String, NodeAllocatableResourceMapping>,
}

/// How much of a node's resource a device takes.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct NodeAllocatableResourceMapping {
    /// Capacity of the device that is counted.
    #[api(1)]
    pub capacity_key: Option<String>,
    /// Factor of that capacity, or of each device.
    #[api(2)]
    pub allocation_multiplier: Option<Quantity>,
}

/// What a device takes from a set of counters.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceCounterConsumption {
    /// Name of the set.
    #[api(1, required)]
    pub counter_set: String,
    /// Amounts taken, by counter.
    #[api(2, required)]
    pub counters: BTreeMap<String, Counter>,
}

/// An amount that a device has.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceCapacity {
    /// The amount.
    #[api(1, required)]
    pub value: Quantity,
    /// How claims may ask for a part of it.
    #[api(2)]
    pub request_policy: Option<Box<CapacityRequestPolicy>>,
}

/// How claims may ask for a part of a capacity.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct CapacityRequestPolicy {
    /// What a claim gets that does not say.
    #[api(1, always)]
    pub default: Option<Quantity>,
    /// Amounts that can be had, ascending.
    #[api(3, list = atomic)]
    pub valid_values: Vec<Quantity>,
    /// Range of amounts that can be had.
    #[api(4)]
    pub valid_range: Option<Box<CapacityRequestPolicyRange>>,
}

/// A range of amounts.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct CapacityRequestPolicyRange {
    /// Smallest amount.
    #[api(1, required)]
    pub min: Option<Quantity>,
    /// Largest amount.
    #[api(2)]
    pub max: Option<Quantity>,
    /// What amounts differ by, from the smallest on.
    #[api(3)]
    pub step: Option<Quantity>,
}

/// One value that describes a device; exactly one field is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceAttribute {
    /// A number.
    #[api(2)]
    pub int: Option<i64>,
    /// True or false.
    #[api(3)]
    pub bool: Option<bool>,
    /// A string of at most 64 characters.
    #[api(4)]
    pub string: Option<String>,
    /// A semantic version.
    #[api(5)]
    pub version: Option<String>,
    /// Numbers.
    #[api(6, list = atomic)]
    pub ints: Vec<i64>,
    /// Truth values.
    #[api(7, list = atomic)]
    pub bools: Vec<bool>,
    /// Strings.
    #[api(8, list = atomic)]
    pub strings: Vec<String>,
    /// Semantic versions.
    #[api(9, list = atomic)]
    pub versions: Vec<String>,
}

/// A taint of a device.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceTaint {
    /// Key of the taint, a label name.
    #[api(1, required)]
    pub key: String,
    /// Value of the taint, a label value.
    #[api(2)]
    pub value: String,
    /// What happens to claims and pods that do not tolerate it.
    #[api(3, required)]
    pub effect: DeviceTaintEffect,
    /// When it was added.
    #[api(4)]
    pub time_added: Option<Time>,
}

resource!(
    ResourceSlice,
    Kind::cluster_wide("resource.k8s.io/v1", "ResourceSlice", "resourceslices", "resourceslice")
);

impl ResourceSlice {
    fn drop_what_is_off(&mut self) {
        for device in &mut self.spec.devices {
            device.node_allocatable_resource_mappings.clear();
            for attribute in device.attributes.values_mut() {
                attribute.ints.clear();
                attribute.bools.clear();
                attribute.strings.clear();
                attribute.versions.clear();
            }
        }
    }
}

impl Strategy for ResourceSlice {
    // COMPAT: fields of features that are off are dropped without a word.
    fn prepare_for_create(&mut self) {
        self.drop_what_is_off();
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.drop_what_is_off();
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate_create(&self, errors: &mut Errors) {
        validate::slice(&self.spec, None, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::slice(&self.spec, Some(&old.spec), errors);
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("spec.nodeName", self.spec.node_name.clone().unwrap_or_default()),
            ("spec.driver", self.spec.driver.clone()),
        ]
    }

    fn selectable_names() -> &'static [&'static str] {
        &["spec.nodeName", "spec.driver"]
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Node", "The one node that reaches the devices.", |slice: &Self, _| {
                    slice.spec.node_name.as_deref().unwrap_or_default().into()
                }),
                Column::text("Driver", "Name of the driver.", |slice, _| slice.spec.driver.as_str().into()),
                Column::text("Pool", "Name of the pool.", |slice, _| slice.spec.pool.name.as_str().into()),
                Column::age(),
            ]
        }
    }
}

#[cfg(test)]
mod tests;
