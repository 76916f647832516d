//! Scale: the replica count of any scalable kind, behind its subresource.

use crate::kind::{Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use api_types_derive::Api;

/// The replica count of a scalable object.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct Scale {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The count wanted.
    #[api(2)]
    pub spec: ScaleSpec,
    /// The count seen.
    #[api(3)]
    pub status: ScaleStatus,
}

/// How many replicas are wanted.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct ScaleSpec {
    /// Number of replicas wanted.
    #[api(1, default = 0)]
    pub replicas: i32,
}

/// How many replicas there are.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.autoscaling.v1")]
pub struct ScaleStatus {
    /// Number of replicas seen.
    #[api(1, required)]
    pub replicas: i32,
    /// The object's pod selector in its text form.
    #[api(2)]
    pub selector: String,
}

resource!(Scale, Kind { verbs: &[], ..Kind::namespaced("autoscaling/v1", "Scale", "scales", "scale") });

impl Strategy for Scale {}
