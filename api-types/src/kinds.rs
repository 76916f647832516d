//! The only list of kinds. Those that users define are found here, too; `crate::custom` has them.

use crate::kind::{Row, Strategy};
use std::sync::LazyLock;

/// One row a kind; the order is that of discovery.
macro_rules! kinds {
    ($($path:path),* $(,)?) => {
        static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| vec![$(row::<$path>()),*]);
    };
}

fn row<T: Strategy + crate::value::Typed>() -> Row {
    Row::of::<T>()
}

kinds! {
    crate::core::v1::Binding,
    crate::core::v1::ComponentStatus,
    crate::core::v1::ConfigMap,
    crate::core::v1::Endpoints,
    crate::core::v1::Event,
    crate::core::v1::LimitRange,
    crate::core::v1::Namespace,
    crate::core::v1::Node,
    crate::core::v1::PersistentVolumeClaim,
    crate::core::v1::PersistentVolume,
    crate::core::v1::Pod,
    crate::core::v1::PodTemplate,
    crate::core::v1::ReplicationController,
    crate::core::v1::ResourceQuota,
    crate::core::v1::Secret,
    crate::core::v1::ServiceAccount,
    crate::core::v1::Service,
    crate::apiregistration::v1::APIService,
    crate::apps::v1::ControllerRevision,
    crate::apps::v1::DaemonSet,
    crate::apps::v1::Deployment,
    crate::apps::v1::ReplicaSet,
    crate::apps::v1::StatefulSet,
    crate::events::v1::Event,
    crate::authentication::v1::SelfSubjectReview,
    crate::authentication::v1::TokenReview,
    crate::authorization::v1::LocalSubjectAccessReview,
    crate::authorization::v1::SelfSubjectAccessReview,
    crate::authorization::v1::SelfSubjectRulesReview,
    crate::authorization::v1::SubjectAccessReview,
    crate::autoscaling::v2::HorizontalPodAutoscaler,
    crate::autoscaling::v1::HorizontalPodAutoscaler,
    crate::batch::v1::CronJob,
    crate::batch::v1::Job,
    crate::certificates::v1::CertificateSigningRequest,
    crate::networking::v1::Ingress,
    crate::networking::v1::IngressClass,
    crate::networking::v1::IPAddress,
    crate::networking::v1::NetworkPolicy,
    crate::networking::v1::ServiceCIDR,
    crate::policy::v1::PodDisruptionBudget,
    crate::rbac::v1::ClusterRoleBinding,
    crate::rbac::v1::ClusterRole,
    crate::rbac::v1::RoleBinding,
    crate::rbac::v1::Role,
    crate::storage::v1::CSIDriver,
    crate::storage::v1::CSINode,
    crate::storage::v1::CSIStorageCapacity,
    crate::storage::v1::StorageClass,
    crate::storage::v1::VolumeAttachment,
    crate::storage::v1::VolumeAttributesClass,
    crate::admissionregistration::v1::MutatingAdmissionPolicy,
    crate::admissionregistration::v1::MutatingAdmissionPolicyBinding,
    crate::admissionregistration::v1::MutatingWebhookConfiguration,
    crate::admissionregistration::v1::ValidatingAdmissionPolicy,
    crate::admissionregistration::v1::ValidatingAdmissionPolicyBinding,
    crate::admissionregistration::v1::ValidatingWebhookConfiguration,
    crate::apiextensions::v1::CustomResourceDefinition,
    crate::scheduling::v1::PriorityClass,
    crate::coordination::v1::Lease,
    crate::node::v1::RuntimeClass,
    crate::discovery::v1::EndpointSlice,
    crate::resource::v1::DeviceClass,
    crate::resource::v1::ResourceClaim,
    crate::resource::v1::ResourceClaimTemplate,
    crate::resource::v1::ResourceSlice,
    crate::flowcontrol::v1::FlowSchema,
    crate::flowcontrol::v1::PriorityLevelConfiguration,
}

/// All rows of built-in kinds.
pub fn all() -> &'static [Row] {
    &ROWS
}

/// All rows: built-in kinds, then custom ones.
pub fn served() -> impl Iterator<Item = &'static Row> {
    all().iter().chain(crate::custom::rows())
}

/// The row of a resource (`apps`, `v1`, `deployments`).
pub fn by_resource(group: &str, version: &str, resource: &str) -> Option<&'static Row> {
    find(|row| row.kind.resource == resource && row.kind.group == group && row.kind.version == version)
}

/// The row of a kind (`apps`, `v1`, `Deployment`).
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Row> {
    find(|row| row.kind.kind == kind && row.kind.group == group && row.kind.version == version)
}

fn find(is: impl Fn(&Row) -> bool) -> Option<&'static Row> {
    all().iter().find(|row| is(row)).or_else(|| crate::custom::rows().into_iter().find(|row| is(row)))
}
