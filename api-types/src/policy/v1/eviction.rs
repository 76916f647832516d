//! Eviction: asks to remove a pod as far as disruption budgets allow.

use crate::kind::{Kind, Strategy, resource};
use crate::meta::v1::{DeleteOptions, ObjectMeta};
use api_types_derive::Api;

/// Asks to remove a pod as far as disruption budgets allow.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.policy.v1")]
pub struct Eviction {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// How the pod is then deleted.
    #[api(2)]
    pub delete_options: Option<Box<DeleteOptions>>,
}

resource!(
    Eviction,
    Kind { verbs: &[], ..Kind::namespaced("policy/v1", "Eviction", "evictions", "eviction") }
);

impl Strategy for Eviction {}
