//! DeviceClass: a sort of devices that claims ask for (KEP-4381).

use super::names;
use super::request::{DeviceConfiguration, DeviceSelector, MAX_CONFIG, selectors};
use crate::core::v1::pod::validate::is_extended;
use crate::field::{Errors, Path};
use crate::kind::{Kind, Strategy, resource, set_generation};
use crate::meta::v1::ObjectMeta;
use api_types_derive::Api;

/// A sort of devices that claims ask for.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceClass {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What devices are of it, and how they are configured.
    #[api(2, required)]
    pub spec: DeviceClassSpec,
}

/// What devices are of a class.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceClassSpec {
    /// What a device must match.
    #[api(1, list = atomic)]
    pub selectors: Vec<DeviceSelector>,
    /// Configuration for every device of the class.
    #[api(2, list = atomic)]
    pub config: Vec<DeviceClassConfiguration>,
    /// Extended resource that stands for the class in pods.
    #[api(4)]
    pub extended_resource_name: Option<String>,
}

/// Configuration of a class.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.resource.v1")]
pub struct DeviceClassConfiguration {
    /// The configuration.
    #[api(1, inline)]
    pub device_configuration: DeviceConfiguration,
}

resource!(
    DeviceClass,
    Kind::cluster_wide("resource.k8s.io/v1", "DeviceClass", "deviceclasses", "deviceclass")
);

impl Strategy for DeviceClass {
    fn prepare_for_create(&mut self) {
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("spec");
        selectors(&self.spec.selectors, &path.child("selectors"), errors);
        let config = path.child("config");
        if names::at_most(self.spec.config.len(), MAX_CONFIG, &config, errors) {
            for (place, one) in self.spec.config.iter().enumerate() {
                one.device_configuration.validate(&config.index(place), errors);
            }
        }
        if let Some(name) = self.spec.extended_resource_name.as_deref().filter(|name| !is_extended(name)) {
            let text = "must be a valid extended resource name";
            errors.invalid(&path.child("extendedResourceName"), name, text);
        }
    }
}
