//! ConfigMap: settings that pods read as files or variables.

use std::collections::BTreeMap;

use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::value::ByteString;
use api_types_derive::Api;

/// Settings that pods read as files or variables.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ConfigMap {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// Whether the data may never change again.
    #[api(4)]
    pub immutable: Option<bool>,
    /// Text values by key; no key may also be in binaryData.
    #[api(2)]
    pub data: BTreeMap<String, String>,
    /// Values that are not UTF-8, by key; no key may also be in data.
    #[api(3)]
    pub binary_data: BTreeMap<String, ByteString>,
}

resource!(
    ConfigMap,
    Kind { short_names: &["cm"], ..Kind::namespaced("v1", "ConfigMap", "configmaps", "configmap") }
);

impl Strategy for ConfigMap {
    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Data", "Number of keys.", |map, _| {
                    (map.data.len() + map.binary_data.len()).into()
                }),
                Column::age(),
            ]
        }
    }
}
