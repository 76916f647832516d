//! What access control needs to know of the cluster: small typed views of some kinds, kept current
//! from the watch cache.
//!
//! A view is a projection: it holds the fields that a decision reads and nothing else. Decisions
//! read views and do no I/O. A view may lag behind the store for a moment; whoever is about to refuse
//! because something is missing lets the views catch up once (`CatchUp`) and looks again. `feed`
//! keeps them current; tests fill them by hand.

mod feed;
mod lister;
mod pods;
mod project;

pub use feed::Feed;
pub use lister::Lister;
pub use pods::Pods;
pub use project::{
    DefaultClassView, INVALID_SINCE, Life, NamespaceView, NodeView, PersistentVolumeView, PodReferences,
    PodView, PriorityClassView, ResourceSliceView, SecretView, ServiceAccountView, VolumeAttachmentView,
    token_digest,
};

use crate::admission::webhook::Hooks;
use crate::authz::rbac::Policy;
use api_types::core::v1::LimitRange;
use api_types::node::v1::RuntimeClass;
use std::sync::Arc;

/// All views. Cluster-wide kinds are under the empty namespace.
#[derive(Debug, Default)]
pub struct Views {
    /// Shared with the RBAC authorizer.
    pub policy: Arc<Policy>,
    pub namespaces: Lister<NamespaceView>,
    pub service_accounts: Lister<ServiceAccountView>,
    pub pods: Pods,
    pub nodes: Lister<NodeView>,
    pub secrets: Lister<SecretView>,
    pub persistent_volumes: Lister<PersistentVolumeView>,
    pub volume_attachments: Lister<VolumeAttachmentView>,
    pub resource_slices: Lister<ResourceSliceView>,
    pub priority_classes: Lister<PriorityClassView>,
    pub ingress_classes: Lister<DefaultClassView>,
    pub storage_classes: Lister<DefaultClassView>,
    pub runtime_classes: Lister<RuntimeClass>,
    pub limit_ranges: Lister<LimitRange>,
    pub mutating_webhooks: Lister<Hooks>,
    pub validating_webhooks: Lister<Hooks>,
}

/// Lets the views reach the state that the store has now.
#[async_trait::async_trait]
pub trait CatchUp: Send + Sync {
    /// Returns once everything that was committed before the call is seen in the views, or after
    /// a short while when the store cannot be asked: the views then stand as they are.
    async fn catch_up(&self);

    /// Whether the views have been filled once. Before that they know nothing.
    fn is_filled(&self) -> bool {
        true
    }

    /// Resolves when the views have been filled once.
    async fn filled(&self) {}
}
