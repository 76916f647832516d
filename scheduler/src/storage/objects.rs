//! What scheduling keeps of claims, volumes, classes and what CSI drivers report: projections of the
//! informers. Only the facts that the volume plugins decide by are here; a change of anything else
//! leaves the view equal but for its revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::core::v1::node::selection::Terms;
use api_types::core::v1::well_known::resource;
use api_types::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimPhase, PersistentVolumeMode,
    PersistentVolumePhase,
};
use api_types::kind::Resource;
use api_types::meta::v1::ObjectMeta;
use api_types::selector::Labels;
use api_types::storage::v1::{
    CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeBindingMode,
};
use api_types::value::Quantity;
use client::informer::Projection;

/// Annotations of the binding, as the binder and provisioners know them.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";

/// An object's place in the server's history; views with a lower one are older.
fn revision(meta: &ObjectMeta) -> u64 {
    meta.resource_version.parse().unwrap_or(0)
}

fn mode(mode: Option<&PersistentVolumeMode>) -> String {
    mode.map_or("Filesystem", PersistentVolumeMode::as_str).to_owned()
}

/// A claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimView {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub revision: u64,
    /// Empty for none.
    pub class: String,
    pub volume_name: String,
    /// Whether the binding to `volume_name` is complete.
    pub bind_completed: bool,
    pub selected_node: Option<String>,
    /// Whether it has any annotation: none at all means that a provisioner gave it back.
    pub annotated: bool,
    pub lost: bool,
    pub deleting: bool,
    /// How much is asked for, if anything is said of it.
    pub requested: Option<Quantity>,
    pub access_modes: Vec<String>,
    pub mode: String,
    pub attributes_class: String,
    pub selector: Option<Labels>,
    /// UID of the managing controller: the pod of an ephemeral volume.
    pub controller: String,
}

impl ClaimView {
    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub fn fully_bound(&self) -> bool {
        !self.volume_name.is_empty() && self.bind_completed
    }

    pub fn once_only(&self) -> bool {
        self.access_modes.iter().any(|mode| mode == "ReadWriteOncePod")
    }
}

impl Projection for ClaimView {
    type Source = PersistentVolumeClaim;

    fn project(claim: PersistentVolumeClaim) -> Option<Self> {
        let (meta, spec) = (claim.metadata, claim.spec);
        let annotation = |name: &str| meta.annotations.get(name);
        let selector = spec.selector.as_deref();
        let controller = meta.owner_references.iter().find(|r| r.controller == Some(true));
        Some(Self {
            revision: revision(&meta),
            class: annotation(CLASS_BETA).or(spec.storage_class_name.as_ref()).cloned().unwrap_or_default(),
            bind_completed: annotation(BIND_COMPLETED).is_some(),
            selected_node: annotation(SELECTED_NODE).cloned(),
            annotated: !meta.annotations.is_empty(),
            lost: claim.status.phase == PersistentVolumeClaimPhase::Lost,
            deleting: meta.deletion_timestamp.is_some(),
            requested: spec.resources.requests.get(resource::STORAGE).cloned(),
            access_modes: spec.access_modes.iter().map(|m| m.as_str().to_owned()).collect(),
            mode: mode(spec.volume_mode.as_ref()),
            attributes_class: spec.volume_attributes_class_name.unwrap_or_default(),
            selector: selector.map(|s| Labels::from_spec(Some(s)).unwrap_or_else(|_| Labels::nothing())),
            volume_name: spec.volume_name,
            controller: controller.map(|r| r.uid.clone()).unwrap_or_default(),
            namespace: meta.namespace,
            name: meta.name,
            uid: meta.uid,
        })
    }
}

/// The claim that a volume names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClaimRef {
    pub namespace: String,
    pub name: String,
    /// Empty while only the name is reserved.
    pub uid: String,
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VolumeView {
    pub name: String,
    pub revision: u64,
    pub labels: BTreeMap<String, String>,
    pub capacity: Quantity,
    /// Empty for none.
    pub class: String,
    pub access_modes: Vec<String>,
    pub mode: String,
    pub attributes_class: String,
    pub claim: Option<ClaimRef>,
    pub available: bool,
    pub deleting: bool,
    /// Nodes that reach it; `None` for all.
    pub nodes: Option<Terms>,
    /// Driver and handle of a CSI volume.
    pub csi: Option<(String, String)>,
}

impl VolumeView {
    /// Whether a node with these labels reaches the volume.
    pub fn reaches(&self, labels: &BTreeMap<String, String>) -> bool {
        // COMPAT: upstream asks by labels alone: terms that name nodes by their field match none.
        self.nodes.as_ref().is_none_or(|terms| terms.matches("", labels))
    }

    /// Whether it names the claim, in person or only by name.
    pub fn is_meant_for(&self, claim: &ClaimView) -> bool {
        self.claim.as_ref().is_some_and(|r| {
            r.name == claim.name && r.namespace == claim.namespace && (r.uid.is_empty() || r.uid == claim.uid)
        })
    }
}

impl Projection for VolumeView {
    type Source = PersistentVolume;

    fn project(volume: PersistentVolume) -> Option<Self> {
        let (meta, spec) = (volume.metadata, volume.spec);
        let beta = meta.annotations.get(CLASS_BETA).cloned();
        let required = spec.node_affinity.as_ref().and_then(|a| a.required.as_deref());
        let claim = |r: &api_types::core::v1::ObjectReference| ClaimRef {
            namespace: r.namespace.clone(),
            name: r.name.clone(),
            uid: r.uid.clone(),
        };
        Some(Self {
            revision: revision(&meta),
            capacity: spec.capacity.get(resource::STORAGE).cloned().unwrap_or_default(),
            class: beta.unwrap_or(spec.storage_class_name),
            access_modes: spec.access_modes.iter().map(|m| m.as_str().to_owned()).collect(),
            mode: mode(spec.volume_mode.as_ref()),
            attributes_class: spec.volume_attributes_class_name.unwrap_or_default(),
            claim: spec.claim_ref.as_deref().map(claim),
            available: volume.status.phase == PersistentVolumePhase::Available,
            deleting: meta.deletion_timestamp.is_some(),
            nodes: required.map(Terms::of),
            csi: spec.source.csi.as_ref().map(|csi| (csi.driver.clone(), csi.volume_handle.clone())),
            labels: meta.labels,
            name: meta.name,
        })
    }
}

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassView {
    pub name: String,
    pub provisioner: String,
    /// Whether claims wait for their first pod.
    pub waits: bool,
    /// Where volumes can be made: alternatives of labels and their values; empty for everywhere.
    pub topologies: Vec<Vec<(String, Vec<String>)>>,
}

impl ClassView {
    /// Whether a volume for a node with these labels can be made.
    pub fn reaches(&self, labels: &BTreeMap<String, String>) -> bool {
        let fits = |(key, values): &(String, Vec<String>)| {
            labels.get(key).is_some_and(|value| values.contains(value))
        };
        self.topologies.is_empty()
            || self.topologies.iter().any(|term| !term.is_empty() && term.iter().all(fits))
    }
}

impl Projection for ClassView {
    type Source = StorageClass;

    fn project(class: StorageClass) -> Option<Self> {
        let term = |t: api_types::core::v1::TopologySelectorTerm| {
            t.match_label_expressions.into_iter().map(|e| (e.key, e.values)).collect()
        };
        Some(Self {
            name: class.metadata.name,
            provisioner: class.provisioner,
            waits: class.volume_binding_mode == Some(VolumeBindingMode::WaitForFirstConsumer),
            topologies: class.allowed_topologies.into_iter().map(term).collect(),
        })
    }
}

/// How many volumes of each CSI driver a node takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CsiNodeView(pub BTreeMap<String, i64>);

impl Projection for CsiNodeView {
    type Source = CSINode;

    fn project(node: CSINode) -> Option<Self> {
        let limit = |d: api_types::storage::v1::CSINodeDriver| {
            Some((d.name, i64::from(d.allocatable.and_then(|a| a.count)?)))
        };
        Some(Self(node.spec.drivers.into_iter().filter_map(limit).collect()))
    }
}

/// A CSI driver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CsiDriverView {
    pub name: String,
    /// Whether it publishes how much storage is left where.
    pub storage_capacity: bool,
}

impl Projection for CsiDriverView {
    type Source = CSIDriver;

    fn project(driver: CSIDriver) -> Option<Self> {
        let storage_capacity = driver.spec.storage_capacity == Some(true);
        Some(Self { name: driver.metadata.name, storage_capacity })
    }
}

/// How much storage of a class is left for nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CapacityView {
    pub class: String,
    /// The largest volume that can be made.
    pub limit: Option<Quantity>,
    pub nodes: Option<Labels>,
}

impl Projection for CapacityView {
    type Source = CSIStorageCapacity;

    fn project(capacity: CSIStorageCapacity) -> Option<Self> {
        let topology = capacity.node_topology.as_deref();
        Some(Self {
            class: capacity.storage_class_name,
            limit: capacity.maximum_volume_size.or(capacity.capacity),
            nodes: topology.map(|s| Labels::from_spec(Some(s)).unwrap_or_else(|_| Labels::nothing())),
        })
    }
}

/// A volume that is attached to a node, or about to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttachmentView {
    pub node: String,
    pub attacher: String,
    pub volume: String,
}

impl Projection for AttachmentView {
    type Source = VolumeAttachment;

    fn project(attachment: VolumeAttachment) -> Option<Self> {
        let spec = attachment.spec;
        let volume = spec.source.persistent_volume_name?;
        (!spec.attacher.is_empty()).then_some(Self { node: spec.node_name, attacher: spec.attacher, volume })
    }
}

/// An object of the storage that came, changed or went.
#[derive(Debug)]
pub struct Changed<T> {
    pub old: Option<Arc<T>>,
    pub new: Option<Arc<T>>,
}

impl<T> Clone for Changed<T> {
    fn clone(&self) -> Self {
        Self { old: self.old.clone(), new: self.new.clone() }
    }
}

impl<T> Changed<T> {
    /// Upstream's word for what happened.
    pub fn label(&self, [add, update, delete]: [&'static str; 3]) -> &'static str {
        match (&self.old, &self.new) {
            (None, _) => add,
            (Some(_), Some(_)) => update,
            (Some(_), None) => delete,
        }
    }
}

/// The name of a kind in messages: `persistentvolumeclaim "data" not found`.
pub fn not_found<T: Resource>(name: &str) -> String {
    let kind = T::facts();
    if kind.group.is_empty() {
        format!("{} {name:?} not found", kind.singular)
    } else {
        format!("{}.{} {name:?} not found", kind.singular, kind.group)
    }
}
