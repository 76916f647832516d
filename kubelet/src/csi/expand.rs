//! Volumes that have grown: where their driver wants it, the node makes their filesystem, or their device,
//! as large.
//!
//! The controllers grow the volume and leave the rest to the node in the claim's status
//! (`allocatedResourceStatuses`, KEP-1790; before it the condition FileSystemResizePending). The kubelet may
//! not watch claims: those of drivers that can grow volumes are asked for twice a minute.

use std::sync::Arc;
use std::time::Duration;

use api_types::Quantity;
use api_types::core::v1::{
    ClaimResourceStatus, ConditionStatus, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeClaimCondition, PersistentVolumeClaimConditionType as Condition, Pod,
};
use api_types::meta::Time;
use client::Patch;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::request::Request;
use super::{Csi, CsiError};
use crate::kubelet::Kubelet;
use crate::pod_worker::Stage;
use crate::volume::desired::{self, Kind, Wanted};

const EVERY: Duration = Duration::from_secs(30);
const STORAGE: &str = "storage";

/// Looks again and again; never ends.
pub async fn run(kubelet: Arc<Kubelet>) {
    loop {
        tokio::time::sleep(EVERY.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
        for (pod, stage) in kubelet.workers.all() {
            let claims = kubelet.claims.known(&pod.metadata.uid);
            if stage != Stage::Syncing || claims.is_empty() {
                continue;
            }
            for volume in desired::mounted(&pod) {
                let Ok(wanted) = desired::wanted(volume, &claims) else { continue };
                if wanted.kind == Kind::Csi
                    && let Err(error) = look(&kubelet, &pod, &wanted).await
                {
                    let name = wanted.behind.as_ref().map_or("", |behind| behind.metadata.name.as_str());
                    let message =
                        format!("NodeExpandVolume.NodeExpandVolume failed for volume {name:?} : {error}");
                    tracing::warn!(pod = pod.metadata.name, message, "cannot expand a volume");
                    kubelet.recorder.pod(&pod, "Warning", "VolumeResizeFailed", &message);
                }
            }
        }
    }
}

/// The size that the filesystem is to have, if it is to grow.
fn due(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<Quantity> {
    let (status, size) = (&claim.status, *volume.spec.capacity.get(STORAGE)?);
    let pending = match status.allocated_resource_statuses.get(STORAGE) {
        Some(ClaimResourceStatus::NodeResizePending | ClaimResourceStatus::NodeResizeInProgress) => true,
        Some(_) => false,
        None => {
            let waits = |one: &PersistentVolumeClaimCondition| {
                one.type_ == Condition::FileSystemResizePending && one.status == ConditionStatus::True
            };
            status.conditions.iter().any(waits) && status.capacity.get(STORAGE).is_some_and(|had| *had < size)
        }
    };
    pending.then_some(size)
}

/// The claim's conditions without those of a resize; with one that failed, where it did.
fn conditions(claim: &PersistentVolumeClaim, failed: Option<&str>, now: Timestamp) -> Vec<Value> {
    let of_resize = |type_: &Condition| {
        matches!(
            type_,
            Condition::Resizing
                | Condition::FileSystemResizePending
                | Condition::ControllerResizeError
                | Condition::NodeResizeError
        )
    };
    let kept = claim.status.conditions.iter().filter(|one| match failed {
        None => !of_resize(&one.type_),
        Some(_) => one.type_ != Condition::NodeResizeError,
    });
    let mut all: Vec<Value> = kept
        .map(|one| {
            json!({
                "type": one.type_.as_str(),
                "status": one.status.as_str(),
                "lastProbeTime": one.last_probe_time.map(|time| time.to_string()),
                "lastTransitionTime": one.last_transition_time.map(|time| time.to_string()),
                "reason": one.reason,
                "message": one.message,
            })
        })
        .collect();
    if let Some(error) = failed {
        all.push(json!({
            "type": Condition::NodeResizeError.as_str(),
            "status": "True",
            "lastProbeTime": null,
            "lastTransitionTime": Time::whole(now).to_string(),
            "message": format!("failed to expand pvc with {error}"),
        }));
    }
    all
}

async fn look(kubelet: &Arc<Kubelet>, pod: &Pod, wanted: &Wanted) -> Result<(), CsiError> {
    let Some(request) = Request::of(pod, wanted).filter(|request| !request.ephemeral) else { return Ok(()) };
    let Some(reference) = wanted.behind.as_ref().and_then(|behind| behind.spec.claim_ref.as_ref()) else {
        return Ok(());
    };
    let uid = &pod.metadata.uid;
    let path = match request.block {
        // COMPAT: a device is named by where its driver published it.
        true => kubelet.csi.volumes.device(&request.name, uid),
        false => wanted.path(&kubelet.pod_dir(uid)),
    };
    if !kubelet.csi.volumes.can_expand(&request, &path).await? {
        return Ok(());
    }
    let csi: &Csi = &kubelet.csi;
    let claims = csi.client.api::<PersistentVolumeClaim>().namespace(&reference.namespace);
    let api = |source| CsiError::Api { what: "failed to expand".into(), source };
    let claim = claims.get(&reference.name).await.map_err(api)?;
    let volume = csi.client.api::<PersistentVolume>().get(&request.name).await.map_err(api)?;
    let Some(size) = due(&claim, &volume) else { return Ok(()) };
    let patch = |status: Value| Patch::Merge(json!({"status": status}));
    let tracked = claim.status.allocated_resource_statuses.contains_key(STORAGE);
    let under_way = json!({"allocatedResourceStatuses": {STORAGE: "NodeResizeInProgress"}});
    if tracked {
        claims.patch_status(&claim.metadata.name, &patch(under_way)).await.map_err(api)?;
    }
    let secret = volume.spec.source.csi.as_ref().and_then(|csi| csi.node_expand_secret_ref.clone());
    let secrets = match secret {
        Some(secret) => csi.secret(&secret, "NodeExpandSecretRef").await?,
        None => Default::default(),
    };
    let now = Timestamp::now();
    let done = match csi.volumes.expand(&request, &path, size.value(), secrets).await {
        Ok(()) => json!({
            "capacity": {STORAGE: size.to_string()},
            "allocatedResourceStatuses": {STORAGE: null},
            "conditions": conditions(&claim, None, now),
        }),
        Err(error) => {
            let text = error.to_string();
            let mut status = json!({"conditions": conditions(&claim, Some(&text), now)});
            // Trying again would come to the same.
            if tracked && matches!(&error, CsiError::Call(call) if call.is_infeasible()) {
                status["allocatedResourceStatuses"] = json!({STORAGE: "NodeResizeInfeasible"});
            }
            claims.patch_status(&claim.metadata.name, &patch(status)).await.map_err(api)?;
            return Err(error);
        }
    };
    claims.patch_status(&claim.metadata.name, &patch(done)).await.map_err(api)?;
    let message =
        format!("MountVolume.NodeExpandVolume succeeded for volume {:?} {}", request.name, kubelet.node_name);
    kubelet.recorder.pod(pod, "Normal", "FileSystemResizeSuccessful", &message);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_grows_once_the_controllers_say_so() {
        let quantity = |text: &str| text.parse::<Quantity>().unwrap();
        let mut volume = PersistentVolume::default();
        volume.spec.capacity.insert(STORAGE.into(), quantity("2Gi"));
        let mut claim = PersistentVolumeClaim::default();
        claim.status.capacity.insert(STORAGE.into(), quantity("1Gi"));
        let allocated = |claim: &mut PersistentVolumeClaim, status: ClaimResourceStatus| {
            claim.status.allocated_resource_statuses.insert(STORAGE.into(), status);
        };
        assert_eq!(due(&claim, &volume), None);
        allocated(&mut claim, ClaimResourceStatus::ControllerResizeInProgress);
        assert_eq!(due(&claim, &volume), None);
        allocated(&mut claim, ClaimResourceStatus::NodeResizePending);
        assert_eq!(due(&claim, &volume), Some(quantity("2Gi")));
        allocated(&mut claim, ClaimResourceStatus::NodeResizeInfeasible);
        assert_eq!(due(&claim, &volume), None);
        claim.status.allocated_resource_statuses.clear();
        let pending = PersistentVolumeClaimCondition {
            type_: Condition::FileSystemResizePending,
            status: ConditionStatus::True,
            ..Default::default()
        };
        claim.status.conditions.push(pending);
        assert_eq!(due(&claim, &volume), Some(quantity("2Gi")));
        claim.status.capacity.insert(STORAGE.into(), quantity("2Gi"));
        assert_eq!(due(&claim, &volume), None);
        assert!(conditions(&claim, None, Timestamp::UNIX_EPOCH).is_empty());
        let failed = conditions(&claim, Some("no"), Timestamp::UNIX_EPOCH);
        assert_eq!(failed.len(), 2);
        assert_eq!(failed[1]["message"], "failed to expand pvc with no");
    }
}
