//! The ConfigMap kube-system/extension-apiserver-authentication: whom extension servers may believe
//! about users, and whose client certificates count.

use std::collections::BTreeMap;

use api_types::core::v1::ConfigMap;
use api_types::kind::Resource;

use crate::bootstrap::{Objects, ObjectsError};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// What the ConfigMap says, by key; lists are JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told(pub BTreeMap<String, String>);

/// Writes the ConfigMap; keys that are not ours stay.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn ensure(objects: &dyn Objects, told: &Told) -> Result<(), ObjectsError> {
    let existing = objects.get(ConfigMap::facts(), NAMESPACE, NAME).await?;
    let existing = existing.as_ref().and_then(|object| object.as_any().downcast_ref::<ConfigMap>());
    let mut map = existing.cloned().unwrap_or_default();
    map.metadata.namespace = NAMESPACE.to_owned();
    map.metadata.name = NAME.to_owned();
    map.data.extend(told.0.clone());
    let written = match existing {
        Some(old) if *old == map => return Ok(()),
        Some(_) => objects.update(Box::new(map)).await,
        None => objects.create(Box::new(map)).await,
    };
    match written {
        // Another server: the next round looks again.
        Err(ObjectsError::Changed { .. }) => Ok(()),
        other => other,
    }
}
