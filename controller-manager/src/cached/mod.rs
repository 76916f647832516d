//! What the controllers keep of the cluster's objects: one projection a kind, shared by all of them.
//!
//! Kinds that come in great numbers (pods, nodes) are reduced to the facts that decisions need;
//! those that a controller writes back whole are kept whole but for their managed fields, which a
//! PUT leaves as they are.

mod device_pool;
pub mod job_pod;
mod node;
mod pod;
mod secret;
mod whole;

pub use device_pool::DevicePool;
pub use node::{LeaseFacts, NodeFacts, OBJECT_TTL};
#[cfg(test)]
pub use pod::NamedPort;
#[cfg(test)]
pub use pod::{Claim, Disruption};
pub use pod::{DeviceClaim, MadeClaim, PodFacts};
pub use secret::{AccountFacts, BootstrapToken, ClusterInfo, TokenSecret};
pub use whole::{
    AddressFacts, AttachmentObject, AttributesObject, AutoscalerObject, BudgetObject, CidrObject,
    ClaimObject, ClaimTemplateObject, ClassObject, ControllerObject, CronJobObject, Csr, DaemonSetObject,
    DeploymentObject, DeviceClaimObject, DriverObject, EndpointsObject, JobObject, NamespaceObject, Presence,
    QuotaObject, ReplicaSetObject, RevisionObject, RoleObject, RootCa, ServiceObject, SliceObject,
    StatefulSetObject, VolumeObject,
};

use api_types::kind::Resource;
use api_types::meta::v1::{ObjectMeta, OwnerReference};

/// The managing controller of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub api_version: Box<str>,
    pub kind: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
}

impl Owner {
    /// The owner reference that says `controller: true`.
    pub fn of(meta: &ObjectMeta) -> Option<Self> {
        let reference = controller_of(meta)?;
        Some(Self {
            api_version: reference.api_version.as_str().into(),
            kind: reference.kind.as_str().into(),
            name: reference.name.as_str().into(),
            uid: reference.uid.as_str().into(),
        })
    }

    /// Whether it is of the kind `T`, in whatever version.
    pub fn is<T: Resource>(&self) -> bool {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        *self.kind == *T::KIND.kind && group == T::KIND.group
    }
}

/// The owner reference that says `controller: true`.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().find(|r| r.controller == Some(true))
}

/// The reference that makes `owner` an object's managing controller.
pub fn controller_reference<T: Resource>(owner: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: T::KIND.api_version.into(),
        kind: T::KIND.kind.into(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
