//! The next write that a claim needs.

use api_types::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimPhase as Phase,
    PersistentVolumePhase,
};
use api_types::storage::v1::VolumeBindingMode;
use client::controller::{Action, Plan, Told};

use super::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, ClaimView, PROVISIONER, PROVISIONER_BETA, SELECTED_NODE, fit,
};

pub(super) fn plan(view: &ClaimView) -> Plan {
    let mut plan = Plan::nothing();
    if view.claim.metadata.annotations.contains_key(BIND_COMPLETED) {
        bound(view, &mut plan);
    } else {
        unbound(view, &mut plan);
    }
    plan
}

fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    client::events::reference(claim)
}

fn volume<'a>(view: &'a ClaimView, name: &str) -> Option<&'a PersistentVolume> {
    view.volumes.iter().map(|volume| &volume.0).find(|volume| volume.metadata.name == name)
}

/// A claim whose binding has not been completed yet.
fn unbound(view: &ClaimView, plan: &mut Plan) {
    let claim = &view.claim;
    if claim.spec.volume_name.is_empty() {
        return search(view, plan);
    }
    let Some(volume) = volume(view, &claim.spec.volume_name) else { return pending(claim, plan) };
    if volume.spec.claim_ref.is_none() {
        if let Some(why) = fit::unfit(volume, claim) {
            let message = format!("Cannot bind to requested volume {:?}: {why}", volume.metadata.name);
            plan.tell(Told::warning(reference(claim), "VolumeMismatch", message));
            return pending(claim, plan);
        }
        bind(claim, volume, plan);
    } else if fit::is_meant_for(volume, claim) {
        bind(claim, volume, plan);
    } else {
        let message = format!("volume {:?} already bound to a different claim.", volume.metadata.name);
        plan.tell(Told::warning(reference(claim), "FailedBinding", message));
        pending(claim, plan);
    }
}

/// Finds a volume, or has one made.
fn search(view: &ClaimView, plan: &mut Plan) {
    let claim = &view.claim;
    let waits = view
        .class
        .as_ref()
        .is_some_and(|class| class.volume_binding_mode == Some(VolumeBindingMode::WaitForFirstConsumer));
    if let Some(volume) = fit::best(view, waits) {
        return bind(claim, volume, plan);
    }
    if !fit::names_class(claim)
        && let Some(class) = &view.default_class
    {
        let mut claim = claim.clone();
        claim.spec.storage_class_name = Some(class.clone());
        plan.act(Action::update(claim));
        return;
    }
    let told = |reason, message: String| Told::normal(reference(claim), reason, message);
    if waits && !claim.metadata.annotations.contains_key(SELECTED_NODE) {
        plan.tell(match view.waiting_pods.as_slice() {
            [] => {
                told("WaitForFirstConsumer", "waiting for first consumer to be created before binding".into())
            }
            [pod] => told("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
            pods => {
                told("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", pods.join(",")))
            }
        });
        return pending(claim, plan);
    }
    if fit::class_of(claim).is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        plan.tell(told("FailedBinding", message.into()));
        return pending(claim, plan);
    }
    provision(view, plan);
}

/// Marks the claim for the provisioner of its class.
fn provision(view: &ClaimView, plan: &mut Plan) {
    let claim = &view.claim;
    let failed = |message: String| Told::warning(reference(claim), "ProvisioningFailed", message);
    let Some(class) = &view.class else {
        let name = fit::class_of(claim);
        plan.tell(failed(format!("storageclass.storage.k8s.io {name:?} not found")));
        return pending(claim, plan);
    };
    let provisioner = &class.provisioner;
    if provisioner.starts_with("kubernetes.io/") {
        // Those were parts of upstream's own process; none of them is left but this.
        if provisioner != "kubernetes.io/no-provisioner" {
            plan.tell(failed("no volume plugin matched".into()));
        }
        return pending(claim, plan);
    }
    let marked = [PROVISIONER, PROVISIONER_BETA]
        .iter()
        .all(|name| claim.metadata.annotations.get(*name) == Some(provisioner));
    if !marked {
        let mut claim = claim.clone();
        for name in [PROVISIONER, PROVISIONER_BETA] {
            claim.metadata.annotations.insert(name.into(), provisioner.clone());
        }
        plan.act(Action::update(claim));
        return;
    }
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
         system administrator. If volume creation is delayed, please verify that the provisioner is running and \
         correctly registered."
    );
    plan.tell(Told::normal(reference(claim), "ExternalProvisioning", message));
    pending(claim, plan);
}

/// The next of the four writes that bind.
fn bind(claim: &PersistentVolumeClaim, volume: &PersistentVolume, plan: &mut Plan) {
    let named = volume.spec.claim_ref.as_ref().is_some_and(|r| r.uid == claim.metadata.uid);
    if !named {
        let mut volume = volume.clone();
        if !fit::is_meant_for(&volume, claim) {
            volume.metadata.annotations.insert(BOUND_BY_CONTROLLER.into(), "yes".into());
        }
        volume.spec.claim_ref = Some(Box::new(reference(claim)));
        plan.act(Action::update(volume));
        return;
    }
    if volume.status.phase != PersistentVolumePhase::Bound {
        let mut volume = volume.clone();
        volume.status.phase = PersistentVolumePhase::Bound;
        volume.status.message.clear();
        plan.act(Action::update_status(volume));
        return;
    }
    let name = &volume.metadata.name;
    if claim.spec.volume_name != *name || !claim.metadata.annotations.contains_key(BIND_COMPLETED) {
        let mut claim = claim.clone();
        if claim.spec.volume_name != *name {
            claim.spec.volume_name.clone_from(name);
            claim.metadata.annotations.insert(BOUND_BY_CONTROLLER.into(), "yes".into());
        }
        claim.metadata.annotations.insert(BIND_COMPLETED.into(), "yes".into());
        plan.act(Action::update(claim));
        return;
    }
    let mut changed = claim.clone();
    let was_bound = claim.status.phase == Phase::Bound;
    changed.status.access_modes.clone_from(&volume.spec.access_modes);
    if !was_bound {
        changed.status.capacity.clone_from(&volume.spec.capacity);
        changed
            .status
            .current_volume_attributes_class_name
            .clone_from(&volume.spec.volume_attributes_class_name);
    }
    changed.status.phase = Phase::Bound;
    if changed.status != claim.status {
        plan.act(Action::update_status(changed));
    }
}

/// A claim that was bound once: it stays so, or has lost its volume.
fn bound(view: &ClaimView, plan: &mut Plan) {
    let claim = &view.claim;
    if claim.spec.volume_name.is_empty() {
        let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lost(claim, "ClaimLost", message, plan);
    }
    let Some(volume) = volume(view, &claim.spec.volume_name) else {
        let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return lost(claim, "ClaimLost", message, plan);
    };
    match &volume.spec.claim_ref {
        Some(other) if other.uid != claim.metadata.uid => {
            let message = "Two claims are bound to the same volume, this one is bound incorrectly";
            lost(claim, "ClaimMisbound", message, plan);
        }
        _ => bind(claim, volume, plan),
    }
}

fn lost(claim: &PersistentVolumeClaim, reason: &'static str, message: &str, plan: &mut Plan) {
    if claim.status.phase != Phase::Lost {
        let told = Told::warning(reference(claim), reason, message);
        plan.act(without_volume(claim, Phase::Lost).on_success(told));
    }
}

fn pending(claim: &PersistentVolumeClaim, plan: &mut Plan) {
    let status = &claim.status;
    if status.phase != Phase::Pending || !status.access_modes.is_empty() || !status.capacity.is_empty() {
        plan.act(without_volume(claim, Phase::Pending));
    }
}

fn without_volume(claim: &PersistentVolumeClaim, phase: Phase) -> Action {
    let mut claim = claim.clone();
    claim.status.phase = phase;
    claim.status.access_modes.clear();
    claim.status.capacity.clear();
    claim.status.current_volume_attributes_class_name = None;
    Action::update_status(claim)
}
