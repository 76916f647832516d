//! What the API knows of the node's storage drivers: the node's CSINode, and topology labels on the Node.

use std::collections::BTreeMap;

use api_types::core::v1::Node;
use api_types::meta::v1::OwnerReference;
use api_types::storage::v1::{CSINode, CSINodeDriver, VolumeNodeResources};
use client::Client;

use super::proto::NodeGetInfoResponse;

/// COMPAT: what the driver calls the node, for those that do not read CSINodes.
const NODE_IDS: &str = "csi.volume.kubernetes.io/nodeid";
/// COMPAT: plugins of old whose volumes drivers serve; the scheduler counts volumes by it.
const MIGRATED: (&str, &str) = (
    "storage.alpha.kubernetes.io/migrated-plugins",
    "kubernetes.io/aws-ebs,kubernetes.io/azure-disk,kubernetes.io/azure-file,kubernetes.io/cinder,\
     kubernetes.io/gce-pd,kubernetes.io/portworx-volume,kubernetes.io/vsphere-volume",
);

/// Why a driver could not be told to the API.
#[derive(Debug, thiserror::Error)]
pub enum InfoError {
    /// The driver has no name for the node.
    #[error("error adding CSI driver node info: driverNodeID must not be empty")]
    NoNodeId,
    /// Two drivers, or an administrator, say different things.
    #[error(
        "detected topology value collision: driver reported {key:?}:{told:?} but existing label is {key:?}:{there:?}"
    )]
    Topology {
        /// The label.
        key: String,
        /// The driver's value.
        told: String,
        /// The node's.
        there: String,
    },
    /// The API refused.
    #[error(transparent)]
    Api(#[from] client::Error),
}

/// The entry of a driver.
fn entry(name: &str, info: &NodeGetInfoResponse) -> CSINodeDriver {
    let segments = info.accessible_topology.as_ref().map(|topology| &topology.segments);
    let mut keys: Vec<String> = segments.into_iter().flatten().map(|(key, _)| key.clone()).collect();
    keys.sort();
    let count = i32::try_from(info.max_volumes_per_node).unwrap_or(i32::MAX);
    CSINodeDriver {
        name: name.into(),
        node_id: info.node_id.clone(),
        topology_keys: keys,
        allocatable: (count > 0).then(|| Box::new(VolumeNodeResources { count: Some(count) })),
    }
}

/// Writes the entry in place of the driver's earlier one; answers whether that changed anything.
fn set_entry(drivers: &mut Vec<CSINodeDriver>, entry: CSINodeDriver) -> bool {
    match drivers.iter_mut().find(|there| there.name == entry.name) {
        Some(there) if *there == entry => return false,
        Some(there) => *there = entry,
        None => drivers.push(entry),
    }
    true
}

/// The drivers' names for the node, as the annotation has them.
fn node_ids(node: &Node) -> BTreeMap<String, String> {
    let text = node.metadata.annotations.get(NODE_IDS).map_or("{}", String::as_str);
    serde_json::from_str(text).unwrap_or_default()
}

/// Writes what a driver says about the node onto it; answers whether that changed anything.
fn describe(node: &mut Node, name: &str, info: &NodeGetInfoResponse) -> Result<bool, InfoError> {
    let before = node.metadata.clone();
    let mut ids = node_ids(node);
    ids.insert(name.into(), info.node_id.clone());
    let text = serde_json::to_string(&ids).expect("strings have a JSON form");
    node.metadata.annotations.insert(NODE_IDS.into(), text);
    for (key, told) in info.accessible_topology.iter().flat_map(|topology| &topology.segments) {
        let there = node.metadata.labels.entry(key.clone()).or_insert_with(|| told.clone());
        if there != told {
            return Err(InfoError::Topology { key: key.clone(), told: told.clone(), there: there.clone() });
        }
    }
    Ok(node.metadata != before)
}

/// Takes a driver's name for the node away.
fn undescribe(node: &mut Node, name: &str) -> bool {
    let mut ids = node_ids(node);
    if ids.remove(name).is_none() {
        return false;
    }
    if ids.is_empty() {
        node.metadata.annotations.remove(NODE_IDS);
    } else {
        let text = serde_json::to_string(&ids).expect("strings have a JSON form");
        node.metadata.annotations.insert(NODE_IDS.into(), text);
    }
    true
}

/// Reads the node's CSINode, makes it where it is missing, and brings it to what `change` says.
async fn change_csi_node(
    client: &Client,
    node: &str,
    change: impl Fn(&mut Vec<CSINodeDriver>) -> bool,
) -> Result<(), client::Error> {
    let api = client.api::<CSINode>();
    loop {
        let written = match api.find(node).await? {
            Some(mut there) => {
                let noted = there.metadata.annotations.insert(MIGRATED.0.into(), MIGRATED.1.into());
                if !change(&mut there.spec.drivers) && noted.as_deref() == Some(MIGRATED.1) {
                    return Ok(());
                }
                api.update(&there).await
            }
            None => {
                let owner = client.api::<Node>().get(node).await?;
                let mut made = CSINode::default();
                made.metadata.name = node.into();
                made.metadata.annotations.insert(MIGRATED.0.into(), MIGRATED.1.into());
                made.metadata.owner_references.push(OwnerReference {
                    api_version: "v1".into(),
                    kind: "Node".into(),
                    name: node.into(),
                    uid: owner.metadata.uid,
                    ..Default::default()
                });
                change(&mut made.spec.drivers);
                api.create(&made).await
            }
        };
        match written {
            Err(error) if error.is_conflict() || error.is_already_exists() => {}
            other => return other.map(drop),
        }
    }
}

async fn change_node(
    client: &Client,
    node: &str,
    change: impl Fn(&mut Node) -> Result<bool, InfoError>,
) -> Result<(), InfoError> {
    let api = client.api::<Node>();
    loop {
        let mut there = api.get(node).await?;
        if !change(&mut there)? {
            return Ok(());
        }
        match api.update(&there).await {
            Err(error) if error.is_conflict() => {}
            other => return Ok(other.map(drop)?),
        }
    }
}

/// Sees to it that the node has a CSINode; the scheduler waits for one.
pub async fn ensure(client: &Client, node: &str) -> Result<(), client::Error> {
    change_csi_node(client, node, |_| false).await
}

/// Tells the API of a driver.
///
/// # Errors
/// When the driver says nothing usable, or the API refuses.
pub async fn install(
    client: &Client,
    node: &str,
    driver: &str,
    info: &NodeGetInfoResponse,
) -> Result<(), InfoError> {
    if info.node_id.is_empty() {
        return Err(InfoError::NoNodeId);
    }
    change_node(client, node, |there| describe(there, driver, info)).await?;
    let entry = entry(driver, info);
    Ok(change_csi_node(client, node, |drivers| set_entry(drivers, entry.clone())).await?)
}

/// Tells the API that a driver is gone.
///
/// # Errors
/// When the API refuses.
pub async fn uninstall(client: &Client, node: &str, driver: &str) -> Result<(), InfoError> {
    change_csi_node(client, node, |drivers| {
        let before = drivers.len();
        drivers.retain(|there| there.name != driver);
        drivers.len() != before
    })
    .await?;
    change_node(client, node, |there| Ok(undescribe(there, driver))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csi::proto::Topology;

    fn info(id: &str, zone: &str, most: i64) -> NodeGetInfoResponse {
        let segments = [("example.com/zone".to_owned(), zone.to_owned())].into();
        NodeGetInfoResponse {
            node_id: id.into(),
            max_volumes_per_node: most,
            accessible_topology: Some(Topology { segments }),
        }
    }

    #[test]
    fn entries_are_replaced_by_name() {
        let mut drivers = Vec::new();
        assert!(set_entry(&mut drivers, entry("d", &info("n1", "a", 0))));
        assert!(!set_entry(&mut drivers, entry("d", &info("n1", "a", 0))));
        assert!(set_entry(&mut drivers, entry("d", &info("n1", "a", 3))));
        assert_eq!(drivers.len(), 1);
        assert_eq!(drivers[0].topology_keys, ["example.com/zone"]);
        assert_eq!(drivers[0].allocatable.as_ref().unwrap().count, Some(3));
    }

    #[test]
    fn nodes_carry_ids_and_topology_and_refuse_another() {
        let mut node = Node::default();
        assert!(describe(&mut node, "d", &info("id1", "a", 0)).unwrap());
        assert!(!describe(&mut node, "d", &info("id1", "a", 0)).unwrap());
        assert_eq!(node.metadata.annotations[NODE_IDS], r#"{"d":"id1"}"#);
        assert_eq!(node.metadata.labels["example.com/zone"], "a");
        let error = describe(&mut node, "e", &info("id2", "b", 0)).unwrap_err().to_string();
        assert!(error.contains("topology value collision"), "{error}");
        node.metadata.annotations.insert(NODE_IDS.into(), r#"{"d":"id1"}"#.into());
        assert!(undescribe(&mut node, "d"));
        assert!(!undescribe(&mut node, "d"));
        assert!(!node.metadata.annotations.contains_key(NODE_IDS));
    }
}
