//! VolumeAttributesClass: attributes of volumes that can change while they are in use.

use std::collections::BTreeMap;

use super::storage_class::{validate_parameters, validate_provisioner};
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use api_types_derive::Api;

/// Attributes of volumes that can be changed while in use.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct VolumeAttributesClass {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The driver that knows the attributes; it cannot be changed.
    #[api(2, required)]
    pub driver_name: String,
    /// The attributes; they cannot be changed.
    #[api(3)]
    pub parameters: BTreeMap<String, String>,
}

resource!(
    VolumeAttributesClass,
    Kind {
        short_names: &["vac"],
        ..Kind::cluster_wide(
            "storage.k8s.io/v1",
            "VolumeAttributesClass",
            "volumeattributesclasses",
            "volumeattributesclass"
        )
    }
);

impl Strategy for VolumeAttributesClass {
    fn prepare_for_update(&mut self, old: &Self) {
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        validate_provisioner(&self.driver_name, &Path::new("driverName"), errors);
        let path = Path::new("parameters");
        validate_parameters(&self.parameters, &path, errors);
        if self.parameters.is_empty() {
            errors.required(&path, "must contain at least one key/value pair");
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        if self.driver_name != old.driver_name {
            errors.forbidden(&Path::new("driverName"), "updates to driverName are forbidden.");
        }
        if self.parameters != old.parameters {
            errors.forbidden(&Path::new("parameters"), "updates to parameters are forbidden.");
        }
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("DriverName", "The driver that knows the attributes.", |own: &Self, _| {
                    own.driver_name.as_str().into()
                }),
                Column::age(),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, refused_update};

    #[test]
    fn what_is_refused() {
        let class = |driver: &str| VolumeAttributesClass {
            driver_name: driver.into(),
            parameters: [("iops".to_owned(), "1".to_owned())].into(),
            ..VolumeAttributesClass::default()
        };
        assert!(refused(class("acme.io")).is_empty());
        assert_eq!(
            refused(VolumeAttributesClass::default()),
            [
                "driverName: Required value",
                "parameters: Required value: must contain at least one key/value pair"
            ]
        );
        assert_eq!(
            refused_update(class("b.io"), class("a.io")),
            ["driverName: Forbidden: updates to driverName are forbidden."]
        );
    }
}
