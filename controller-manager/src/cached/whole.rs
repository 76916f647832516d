//! Objects kept whole but for their managed fields, and a few kept as hardly more than their name.

use std::marker::PhantomData;
use std::ops::Deref;

use api_types::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use api_types::autoscaling::v2::HorizontalPodAutoscaler;
use api_types::batch::v1::{CronJob, Job};
use api_types::certificates::v1::CertificateSigningRequest;
use api_types::core::v1::well_known::{label, name};
use api_types::core::v1::{
    ConfigMap, Endpoints, Namespace, PersistentVolume, PersistentVolumeClaim, ReplicationController,
    ResourceQuota, Service,
};
use api_types::discovery::v1::EndpointSlice;
use api_types::kind::Resource;
use api_types::meta::v1::ListOptions;
use api_types::networking::v1::{IPAddress, ServiceCIDR};
use api_types::policy::v1::PodDisruptionBudget;
use api_types::rbac::v1::ClusterRole;
use api_types::resource::v1::{ResourceClaim, ResourceClaimTemplate};
use api_types::storage::v1::{CSIDriver, StorageClass, VolumeAttachment, VolumeAttributesClass};
use client::Key;
use client::informer::{Index, Projection};

use super::controller_of;

/// A projection that keeps the object; index values by closure.
macro_rules! whole {
    ($(#[$doc:meta])* $name:ident, $kind:ty $(, $index:literal => $values:expr)*) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name(pub $kind);

        impl Projection for $name {
            type Source = $kind;
            fn project(mut source: $kind) -> Option<Self> {
                source.metadata_mut().managed_fields = Vec::new();
                Some(Self(source))
            }
            fn indexes() -> &'static [Index<Self>] {
                const { &[$(Index { name: $index, values: $values }),*] }
            }
        }

        impl Deref for $name {
            type Target = $kind;
            fn deref(&self) -> &$kind {
                &self.0
            }
        }
    };
}

whole!(
    /// A Deployment.
    DeploymentObject, Deployment
);
whole!(
    /// A ReplicaSet, by its managing controller's UID (`owner`), or by its namespace if it has none (`orphans`).
    ReplicaSetObject, ReplicaSet,
    "owner" => |_: &Key, this: &ReplicaSetObject, out| {
        out.extend(controller_of(&this.metadata).map(|r| r.uid.clone()));
    },
    "orphans" => |key: &Key, this: &ReplicaSetObject, out| {
        if controller_of(&this.metadata).is_none() {
            out.push(key.namespace.to_string());
        }
    }
);
whole!(
    /// A ReplicationController.
    ControllerObject, ReplicationController
);
whole!(
    /// A StatefulSet.
    StatefulSetObject, StatefulSet
);
whole!(
    /// A DaemonSet.
    DaemonSetObject, DaemonSet
);
whole!(
    /// A saved template, by its managing controller's UID (`owner`), or by its namespace if it has none (`orphans`).
    RevisionObject, ControllerRevision,
    "owner" => |_: &Key, this: &RevisionObject, out| {
        out.extend(controller_of(&this.metadata).map(|r| r.uid.clone()));
    },
    "orphans" => |key: &Key, this: &RevisionObject, out| {
        if controller_of(&this.metadata).is_none() {
            out.push(key.namespace.to_string());
        }
    }
);
whole!(
    /// A Job, by its managing controller's UID (`owner`).
    JobObject, Job,
    "owner" => |_: &Key, this: &JobObject, out| {
        out.extend(controller_of(&this.metadata).map(|r| r.uid.clone()));
    }
);
whole!(
    /// A CronJob.
    CronJobObject, CronJob
);
whole!(
    /// A budget of disruptions.
    BudgetObject, PodDisruptionBudget
);
whole!(
    /// A volume, by `namespace/name` of the claim that it names (`claim`).
    VolumeObject, PersistentVolume,
    "claim" => |_: &Key, this: &VolumeObject, out| {
        out.extend(this.spec.claim_ref.as_ref().map(|r| format!("{}/{}", r.namespace, r.name)));
    }
);
whole!(
    /// A request for a volume to be attached, by its node (`node`) and by its volume (`volume`).
    AttachmentObject, VolumeAttachment,
    "node" => |_: &Key, this: &AttachmentObject, out| out.push(this.spec.node_name.clone()),
    "volume" => |_: &Key, this: &AttachmentObject, out| out.extend(this.spec.source.persistent_volume_name.clone())
);
whole!(
    /// Attributes that volumes can be given.
    AttributesObject, VolumeAttributesClass
);
whole!(
    /// A driver of volumes.
    DriverObject, CSIDriver
);
whole!(
    /// A class of volumes.
    ClassObject, StorageClass
);
whole!(
    /// An autoscaler.
    AutoscalerObject, HorizontalPodAutoscaler
);
whole!(
    /// A quota.
    QuotaObject, ResourceQuota
);
whole!(
    /// A claim to a volume.
    ClaimObject, PersistentVolumeClaim
);
whole!(
    /// A Service.
    ServiceObject, Service
);
whole!(
    /// An Endpoints object.
    EndpointsObject, Endpoints
);
whole!(
    /// An EndpointSlice, by `namespace/service` (`service`).
    SliceObject, EndpointSlice,
    "service" => |key: &Key, this: &SliceObject, out| {
        out.extend(this.metadata.labels.get(label::SERVICE_NAME).map(|s| format!("{}/{s}", key.namespace)));
    }
);
whole!(
    /// A namespace.
    NamespaceObject, Namespace
);
whole!(
    /// A certificate signing request.
    Csr, CertificateSigningRequest
);
whole!(
    /// A cluster role.
    RoleObject, ClusterRole
);

whole!(
    /// A claim to devices, by its managing controller's UID (`owner`), and by `driver/pool` of what it got (`pool`).
    DeviceClaimObject, ResourceClaim,
    "owner" => |_: &Key, this: &DeviceClaimObject, out| {
        out.extend(controller_of(&this.metadata).map(|r| r.uid.clone()));
    },
    "pool" => |_: &Key, this: &DeviceClaimObject, out| {
        let results = this.status.allocation.iter().flat_map(|allocation| &allocation.devices.results);
        out.extend(results.map(|result| format!("{}/{}", result.driver, result.pool)));
    }
);
whole!(
    /// What claims to devices are made from.
    ClaimTemplateObject, ResourceClaimTemplate
);
whole!(
    /// Ranges of addresses for Services.
    CidrObject, ServiceCIDR
);

/// An address that was given to a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressFacts;

impl Projection for AddressFacts {
    type Source = IPAddress;
    fn project(address: IPAddress) -> Option<Self> {
        crate::controllers::service_cidr::is_allocated(&address.metadata.labels).then_some(Self)
    }
}

/// That an object is there, and nothing else of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence<T>(PhantomData<fn() -> T>);

impl<T: Resource> Projection for Presence<T> {
    type Source = T;
    fn project(_: T) -> Option<Self> {
        Some(Self(PhantomData))
    }
}

/// The ConfigMap with the cluster's authority, in each namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RootCa(pub ConfigMap);

impl Projection for RootCa {
    type Source = ConfigMap;
    fn project(mut map: ConfigMap) -> Option<Self> {
        map.metadata.managed_fields = Vec::new();
        Some(Self(map))
    }
    fn selection() -> ListOptions {
        let field_selector = format!("metadata.name={}", name::ROOT_CA_CONFIG_MAP);
        ListOptions { field_selector, ..ListOptions::default() }
    }
}
