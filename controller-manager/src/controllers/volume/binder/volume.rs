//! The next write that a volume needs.

use api_types::core::v1::{
    PersistentVolume, PersistentVolumePhase as Phase, PersistentVolumeReclaimPolicy as Policy,
};
use client::controller::{Action, Plan, Told};

use super::{BOUND_BY_CONTROLLER, PROVISIONED_BY, VolumeView, fit};

pub(super) fn plan(view: &VolumeView) -> Plan {
    let mut plan = Plan::nothing();
    let volume = &view.volume;
    let Some(wanted) = volume.spec.claim_ref.as_ref().filter(|r| !r.uid.is_empty()) else {
        set_phase(volume, Phase::Available, &mut plan);
        return plan;
    };
    let Some(claim) = view.claim.as_ref().filter(|claim| claim.metadata.uid == wanted.uid) else {
        release(volume, &mut plan);
        return plan;
    };
    if claim.spec.volume_name.is_empty() {
        if fit::modes_differ(claim, volume) {
            let message = format!(
                "Cannot bind PersistentVolume to requested PersistentVolumeClaim {:?} due to incompatible volumeMode.",
                claim.metadata.name
            );
            plan.tell(Told::warning(client::events::reference(volume), "VolumeMismatch", message));
        }
        // The loop of claims goes on with it.
        return plan;
    }
    if claim.spec.volume_name == volume.metadata.name {
        set_phase(volume, Phase::Bound, &mut plan);
        return plan;
    }
    // The claim has another volume.
    let provisioned = volume.metadata.annotations.contains_key(PROVISIONED_BY);
    if provisioned && volume.spec.persistent_volume_reclaim_policy == Policy::Delete {
        release(volume, &mut plan);
    } else {
        unbind(volume, &mut plan);
    }
    plan
}

fn set_phase(volume: &PersistentVolume, phase: Phase, plan: &mut Plan) {
    if volume.status.phase != phase {
        let mut volume = volume.clone();
        volume.status.phase = phase;
        volume.status.message.clear();
        plan.act(Action::update_status(volume));
    }
}

fn unbind(volume: &PersistentVolume, plan: &mut Plan) {
    let mut volume = volume.clone();
    if volume.metadata.annotations.remove(BOUND_BY_CONTROLLER).is_some() {
        volume.spec.claim_ref = None;
    } else if let Some(claim) = &mut volume.spec.claim_ref {
        claim.uid.clear();
    }
    plan.act(Action::update(volume));
}

/// The claim is gone: what becomes of the volume is its policy's. A provisioner deletes what it
/// made once it sees it released; nobody else does.
fn release(volume: &PersistentVolume, plan: &mut Plan) {
    if !matches!(volume.status.phase, Phase::Released | Phase::Failed) {
        return set_phase(volume, Phase::Released, plan);
    }
    let name = &volume.metadata.name;
    let provisioned = volume.metadata.annotations.contains_key(PROVISIONED_BY);
    let failure = match &volume.spec.persistent_volume_reclaim_policy {
        Policy::Retain => return,
        Policy::Delete if provisioned => return,
        Policy::Delete => (
            "VolumeFailedDelete",
            format!(
                "error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"
            ),
        ),
        Policy::Recycle => ("VolumeFailedRecycle", "No recycler plugin found for the volume!".to_owned()),
        Policy::Unset | Policy::Other(_) => {
            ("VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy".to_owned())
        }
    };
    if volume.status.phase == Phase::Failed {
        return;
    }
    let (reason, message) = failure;
    let mut failed = volume.clone();
    failed.status.phase = Phase::Failed;
    failed.status.message.clone_from(&message);
    let told = Told::warning(client::events::reference(volume), reason, message);
    plan.act(Action::update_status(failed).on_success(told));
}
