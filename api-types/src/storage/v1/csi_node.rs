//! CSINode: the storage drivers that run on a node.

use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::{NEGATIVE, immutable};
use crate::names;
use api_types_derive::Api;

/// The storage drivers that run on one node. Its name is the node's.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct CSINode {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The drivers.
    #[api(2, required)]
    pub spec: CSINodeSpec,
}

/// Drivers of a node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct CSINodeSpec {
    /// The drivers, by name.
    #[api(1, required, list = map("name"), patch = merge_key("name"))]
    pub drivers: Vec<CSINodeDriver>,
}

/// A storage driver on a node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct CSINodeDriver {
    /// Name of the driver.
    #[api(1, required)]
    pub name: String,
    /// What the driver calls the node.
    #[api(2, required, name = "nodeID")]
    pub node_id: String,
    /// Labels by which the driver tells parts of the cluster apart.
    #[api(3, always, list = atomic)]
    pub topology_keys: Vec<String>,
    /// How many volumes of the driver the node can have.
    #[api(4)]
    pub allocatable: Option<Box<VolumeNodeResources>>,
}

/// How many volumes a node can have.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct VolumeNodeResources {
    /// Number of volumes; no limit when not given.
    #[api(1)]
    pub count: Option<i32>,
}

resource!(CSINode, Kind::cluster_wide("storage.k8s.io/v1", "CSINode", "csinodes", "csinode"));

/// Name of a driver in a reference to it.
pub(super) fn validate_driver_name(name: &str, path: &Path, errors: &mut Errors) {
    const LONGEST: usize = 63;
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > LONGEST {
        errors.too_long(path, LONGEST);
    }
    errors.wrong(path, name, names::dns1123_subdomain(&name.to_lowercase()));
}

impl Strategy for CSINode {
    const UNCONDITIONAL_UPDATE: bool = false;

    fn prepare_for_update(&mut self, old: &Self) {
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("spec").child("drivers");
        for (place, driver) in self.spec.drivers.iter().enumerate() {
            let path = path.index(place);
            driver.validate(&path, errors);
            if self.spec.drivers[..place].iter().any(|before| before.name == driver.name) {
                errors.duplicate(&path.child("name"), &driver.name);
            }
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        let fixed = |driver: &CSINodeDriver| CSINodeDriver { allocatable: None, ..driver.clone() };
        let path = Path::new("spec").child("drivers");
        for before in &old.spec.drivers {
            for now in self.spec.drivers.iter().filter(|now| now.name == before.name) {
                immutable(&fixed(now), &fixed(before), &path, errors);
            }
        }
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::integer("Drivers", "Number of drivers on the node.", |node: &Self, _| {
                    node.spec.drivers.len().into()
                }),
                Column::age(),
            ]
        }
    }
}

impl CSINodeDriver {
    fn validate(&self, path: &Path, errors: &mut Errors) {
        const LONGEST_ID: usize = 256;
        validate_driver_name(&self.name, &path.child("name"), errors);
        let id = path.child("nodeID");
        if self.node_id.is_empty() {
            errors.required(&id, "");
        }
        if self.node_id.len() > LONGEST_ID {
            errors.invalid(&id, &self.node_id, format!("must be {LONGEST_ID} characters or less"));
        }
        if let Some(count) = self.allocatable.as_ref().and_then(|a| a.count).filter(|count| *count < 0) {
            errors.invalid(&path.child("allocatable").child("count"), count, NEGATIVE);
        }
        for (place, key) in self.topology_keys.iter().enumerate() {
            if key.is_empty() {
                errors.required(path, "");
            }
            if self.topology_keys[..place].contains(key) {
                errors.duplicate(path, key);
            }
            errors.wrong(path, key, names::qualified_name(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, refused_update};

    fn node(name: &str, id: &str, count: i32) -> CSINode {
        let mut own = CSINode::default();
        own.spec.drivers = vec![CSINodeDriver {
            name: name.into(),
            node_id: id.into(),
            allocatable: Some(Box::new(VolumeNodeResources { count: Some(count) })),
            ..CSINodeDriver::default()
        }];
        own
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(node("acme.io", "a", 1)).is_empty());
        assert_eq!(
            refused(node("", "", -1)),
            [
                "spec.drivers[0].name: Required value",
                "spec.drivers[0].nodeID: Required value",
                "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
        assert!(refused_update(node("acme.io", "a", 2), node("acme.io", "a", 1)).is_empty());
        assert_eq!(
            refused_update(node("acme.io", "b", 1), node("acme.io", "a", 1)),
            [
                r#"spec.drivers: Invalid value: {"name":"acme.io","nodeID":"b","topologyKeys":null}: field is immutable"#
            ]
        );
    }
}
