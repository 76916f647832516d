//! CSIStorageCapacity: how much room a storage class has in one part of the cluster.

use crate::core::v1::pod::warnings::deprecated_node_label;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::validate::{IMMUTABLE, NEGATIVE};
use crate::meta::v1::{LabelSelector, ObjectMeta};
use crate::names;
use crate::selector;
use crate::value::Quantity;
use crate::value::Value;
use api_types_derive::Api;

/// Room that a storage class has in one part of the cluster.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.storage.v1")]
pub struct CSIStorageCapacity {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Nodes that can reach the storage; none when not given.
    #[api(2)]
    pub node_topology: Option<Box<LabelSelector>>,
    /// The storage class; it cannot be changed.
    #[api(3, required)]
    pub storage_class_name: String,
    /// Room there is.
    #[api(4)]
    pub capacity: Option<Quantity>,
    /// Size of the largest volume that can be made.
    #[api(5)]
    pub maximum_volume_size: Option<Quantity>,
}

resource!(
    CSIStorageCapacity,
    Kind::namespaced("storage.k8s.io/v1", "CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity")
);

impl Strategy for CSIStorageCapacity {
    const UNCONDITIONAL_UPDATE: bool = false;

    fn prepare_for_update(&mut self, old: &Self) {
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        if let Some(topology) = &self.node_topology {
            selector::validate(topology, &Path::new("nodeTopology"), errors);
        }
        let class = &self.storage_class_name;
        errors.wrong(&Path::new("storageClassName"), class, names::dns1123_subdomain(class));
        if let Some(capacity) = self.capacity.as_ref().filter(|c| **c < Quantity::default()) {
            errors.invalid(&Path::new("capacity"), capacity, NEGATIVE);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        if self.node_topology != old.node_topology {
            let shown: &dyn Value = &self.node_topology;
            errors.invalid(&Path::new("nodeTopology"), shown, IMMUTABLE);
        }
        if self.storage_class_name != old.storage_class_name {
            errors.invalid(&Path::new("storageClassName"), &self.storage_class_name, IMMUTABLE);
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let Some(topology) = &self.node_topology else { return Vec::new() };
        let path = Path::new("nodeTopology");
        let mut warnings = Vec::new();
        for (place, expression) in topology.match_expressions.iter().enumerate() {
            if let Some(message) = deprecated_node_label(&expression.key) {
                let path = path.child("matchExpressions").index(place).child("key");
                warnings.push(format!("{path}: {} is {message}", expression.key));
            }
        }
        for key in topology.match_labels.keys() {
            if let Some(message) = deprecated_node_label(key) {
                warnings.push(format!("{}: {message}", path.child("matchLabels").child(key)));
            }
        }
        warnings
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("StorageClassName", "The storage class.", |own: &Self, _| {
                    own.storage_class_name.as_str().into()
                }),
                Column::text("Capacity", "Room there is.", |own, _| {
                    own.capacity.as_ref().map_or_else(|| "<unset>".to_owned(), ToString::to_string).into()
                }),
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
        let room = |class: &str, capacity: &str| CSIStorageCapacity {
            storage_class_name: class.into(),
            capacity: capacity.parse().ok(),
            ..CSIStorageCapacity::default()
        };
        assert!(refused(room("fast", "1Gi")).is_empty());
        assert_eq!(
            refused(room("fast", "-1")),
            [r#"capacity: Invalid value: "-1": must be greater than or equal to 0"#]
        );
        assert_eq!(
            refused_update(room("slow", "1"), room("fast", "1")),
            [r#"storageClassName: Invalid value: "slow": field is immutable"#]
        );
    }
}
