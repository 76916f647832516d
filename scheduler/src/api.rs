//! What the scheduler asks of the apiserver, as a trait: tests bring their own.

use std::sync::Arc;

use api_types::core::v1::{PodCondition, PodExtendedResourceClaimStatus};
use api_types::resource::v1::ResourceClaim;
use async_trait::async_trait;

use crate::pod::PodView;
use crate::storage::{ClaimView, VolumeView};

/// Why a write failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// The object is gone.
    #[error("{0}")]
    NotFound(String),
    /// Somebody else changed or bound it first.
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Other(String),
}

/// A note for `kubectl describe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub warning: bool,
    pub reason: &'static str,
    pub action: &'static str,
    pub message: String,
}

/// A call about a claim for devices.
#[derive(Clone, Copy, Debug)]
pub enum ClaimCall<'c> {
    Get {
        namespace: &'c str,
        name: &'c str,
    },
    Create(&'c ResourceClaim),
    Update(&'c ResourceClaim),
    UpdateStatus(&'c ResourceClaim),
    /// Takes the user of this UID off the claim, whatever version it has.
    Unreserve {
        claim: &'c ResourceClaim,
        uid: &'c str,
    },
    /// Gives what was to be deleted.
    Delete(&'c ResourceClaim),
}

/// Writes to the apiserver.
#[async_trait]
pub trait Api: Send + Sync + 'static {
    /// Gives the pod its node.
    async fn bind(&self, pod: &PodView, node: &str) -> Result<(), ApiError>;

    /// Sets a condition and (if given) the nominated node, where an empty name clears it. Returns the
    /// pod's revision.
    async fn patch_status(
        &self,
        pod: &PodView,
        condition: Option<&PodCondition>,
        nominated_node: Option<&str>,
    ) -> Result<u64, ApiError>;

    /// Deletes a pod, provided that it is still the same one.
    async fn delete(&self, pod: &PodView) -> Result<(), ApiError>;

    /// Makes the volume the claim's, provided that it is as it was seen. Returns its revision.
    async fn bind_volume(&self, volume: &VolumeView, claim: &ClaimView) -> Result<u64, ApiError>;

    /// Asks the claim's provisioner for a volume for the node, provided that the claim is as it was
    /// seen. Returns its revision.
    async fn select_node(&self, claim: &ClaimView, node: &str) -> Result<u64, ApiError>;

    /// Says in the pod's status which claim stands behind its extended resources.
    async fn patch_extended(
        &self,
        pod: &PodView,
        status: &PodExtendedResourceClaimStatus,
    ) -> Result<(), ApiError>;

    /// Reads or writes a claim for devices; gives it as it is then.
    async fn claim(&self, call: ClaimCall<'_>) -> Result<ResourceClaim, ApiError>;

    /// Records an event about the pod. Does not wait and cannot fail.
    fn note(&self, pod: &Arc<PodView>, related: Option<&Arc<PodView>>, note: Note);
}
