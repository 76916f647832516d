//! PersistentVolumeClaimResize: a claim grows only once it is bound, and only where its class lets
//! it.

use super::{Context, Operation, Plugin, Refusal, Request};
use api_types::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimPhase};

pub struct PersistentVolumeClaimResize;

impl Plugin for PersistentVolumeClaimResize {
    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validate(&self, request: &Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("", "persistentvolumeclaims", "") {
            return Ok(());
        }
        let (Some(new), Some(old)) =
            (request.object::<PersistentVolumeClaim>(), request.old::<PersistentVolumeClaim>())
        else {
            return Ok(());
        };
        let size = |claim: &PersistentVolumeClaim| {
            claim.spec.resources.requests.get("storage").copied().unwrap_or_default()
        };
        if size(new) <= size(old) {
            return Ok(());
        }
        if old.status.phase != PersistentVolumeClaimPhase::Bound {
            return Err(request.forbidden("Only bound persistent volume claims can be expanded").into());
        }
        let class = new.class().filter(|class| !class.is_empty() && old.class() == Some(class));
        let expandable = class
            .and_then(|class| context.views.storage_classes.get("", class))
            .is_some_and(|c| c.expandable);
        if expandable {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(Refusal::missing(request.forbidden(why)))
    }
}
