//! Node: a machine that runs pods. Its status is in `status`; which nodes a pod wants in `selection`.

mod columns;
pub mod selection;
mod status;
mod strategy;
mod validate;

pub use status::*;

use crate::kind::{Kind, Subresource, resource};
use crate::meta::v1::ObjectMeta;
use crate::open_enum::open_enum;
use crate::value::Time;
use api_types_derive::Api;

/// A machine that runs pods.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Node {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// What the cluster decides about the machine.
    #[api(2)]
    pub spec: NodeSpec,
    /// What the machine reports about itself.
    #[api(3)]
    pub status: NodeStatus,
}

/// What the cluster decides about a machine.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeSpec {
    /// Address range of the node's pods.
    #[api(1, name = "podCIDR")]
    pub pod_cidr: String,
    /// All address ranges of the node's pods, at most one per family; the first is podCIDR.
    #[api(7, name = "podCIDRs", list = set, patch = merge)]
    pub pod_cidrs: Vec<String>,
    /// The machine's identifier at its provider, PROVIDER://ID.
    #[api(3, name = "providerID")]
    pub provider_id: String,
    /// Whether new pods are kept away (cordoned).
    #[api(4)]
    pub unschedulable: bool,
    /// Marks that keep pods away which do not tolerate them.
    #[api(5, list = atomic)]
    pub taints: Vec<Taint>,
    /// Formerly a source of kubelet settings; without effect.
    #[api(6)]
    pub config_source: Option<Box<NodeConfigSource>>,
    /// Formerly the machine's outside identifier; without effect.
    #[api(2, name = "externalID")]
    pub external_id: String,
}

/// A mark on a node that keeps away pods which do not tolerate it.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Taint {
    /// Name of the taint.
    #[api(1, required)]
    pub key: String,
    /// Value of the taint.
    #[api(2)]
    pub value: String,
    /// What happens to pods that do not tolerate it.
    #[api(3, required)]
    pub effect: TaintEffect,
    /// When the taint was put on.
    #[api(4)]
    pub time_added: Option<Time>,
}

open_enum! {
    /// What a taint does to pods that do not tolerate it.
    pub enum TaintEffect {
        NoSchedule = "NoSchedule",
        PreferNoSchedule = "PreferNoSchedule",
        NoExecute = "NoExecute",
    }
}

/// Formerly where the kubelet found its settings; without effect.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeConfigSource {
    /// The ConfigMap that held the settings.
    #[api(2)]
    pub config_map: Option<Box<ConfigMapNodeConfigSource>>,
}

/// Formerly a ConfigMap with settings of the kubelet; without effect.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ConfigMapNodeConfigSource {
    /// Namespace of the ConfigMap.
    #[api(1, required)]
    pub namespace: String,
    /// Name of the ConfigMap.
    #[api(2, required)]
    pub name: String,
    /// UID of the ConfigMap; only in a status.
    #[api(3)]
    pub uid: String,
    /// Version of the ConfigMap; only in a status.
    #[api(4)]
    pub resource_version: String,
    /// Key under which the settings stand.
    #[api(5, required)]
    pub kubelet_config_key: String,
}

resource!(
    Node,
    Kind {
        short_names: &["no"],
        subresources: &[
            Subresource::own("proxy", "NodeProxyOptions", &["create", "delete", "get", "patch", "update"]),
            Subresource::status("Node")
        ],
        ..Kind::cluster_wide("v1", "Node", "nodes", "node")
    }
);
