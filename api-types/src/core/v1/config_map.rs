//! ConfigMap: settings that pods read as files or variables.

use std::collections::BTreeMap;

use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::names;
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

/// All values of a ConfigMap or Secret together.
pub const MAX_DATA_BYTES: usize = 1024 * 1024;

pub(super) const IMMUTABLE_WHEN_SET: &str = "field is immutable when `immutable` is set";

impl Strategy for ConfigMap {
    fn validate(&self, errors: &mut Errors) {
        let (data, binary) = (Path::new("data"), Path::new("binaryData"));
        for key in self.data.keys() {
            errors.wrong(&data.key(key), key, names::config_key(key));
            if self.binary_data.contains_key(key) {
                errors.invalid(&data.key(key), key, "duplicate of key present in binaryData");
            }
        }
        for key in self.binary_data.keys() {
            errors.wrong(&binary.key(key), key, names::config_key(key));
        }
        let size: usize = self.data.values().map(String::len).sum();
        let binary_size: usize = self.binary_data.values().map(|bytes| bytes.len()).sum();
        if size + binary_size > MAX_DATA_BYTES {
            // COMPAT: the empty path means the whole object.
            errors.too_long(&Path::new(""), MAX_DATA_BYTES);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        if old.immutable != Some(true) {
            return;
        }
        for (changed, name) in [
            (self.immutable != Some(true), "immutable"),
            (self.data != old.data, "data"),
            (self.binary_data != old.binary_data, "binaryData"),
        ] {
            if changed {
                errors.forbidden(&Path::new(name), IMMUTABLE_WHEN_SET);
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, refused_update};

    fn map(keys: &[&str]) -> ConfigMap {
        let data = keys.iter().map(|key| ((*key).to_owned(), String::new())).collect();
        ConfigMap { data, ..ConfigMap::default() }
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(map(&["a.properties"])).is_empty());
        let mut both = map(&["a"]);
        both.binary_data.insert("a".into(), ByteString::default());
        assert_eq!(refused(both), [r#"data[a]: Invalid value: "a": duplicate of key present in binaryData"#]);
        assert_eq!(
            refused(map(&["a b"])),
            [
                r#"data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"#
            ]
        );
        let mut large = map(&[]);
        large.data.insert("a".into(), "x".repeat(MAX_DATA_BYTES + 1));
        assert_eq!(refused(large), ["<nil>: Too long: may not be more than 1048576 bytes"]);
    }

    #[test]
    fn immutable_maps_stay() {
        let old = ConfigMap { immutable: Some(true), ..map(&["a"]) };
        assert!(refused_update(old.clone(), old.clone()).is_empty());
        assert_eq!(
            refused_update(map(&["b"]), old),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
    }
}
