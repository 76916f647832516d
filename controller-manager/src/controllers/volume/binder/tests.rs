//! Bindings, a write at a time.

use std::sync::Arc;

use api_types::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimPhase, PersistentVolumePhase,
};
use api_types::storage::v1::StorageClass;
use client::controller::{Controller as _, Plan, Step};
use jiff::Timestamp;

use super::{ClaimView, Claims, VolumeView, Volumes};
use crate::cached::{ClaimObject, VolumeObject};

fn volume(name: &str, size: &str) -> PersistentVolume {
    let mut volume = PersistentVolume::default();
    volume.metadata.name = name.into();
    volume.metadata.uid = format!("uid-{name}");
    volume.spec.capacity.insert("storage".into(), size.parse().unwrap());
    volume.spec.access_modes = vec!["ReadWriteOnce".into()];
    volume.spec.persistent_volume_reclaim_policy = "Retain".into();
    volume.status.phase = PersistentVolumePhase::Available;
    volume
}

fn claim(size: &str) -> PersistentVolumeClaim {
    let mut claim = PersistentVolumeClaim::default();
    claim.metadata.namespace = "ns".into();
    claim.metadata.name = "data".into();
    claim.metadata.uid = "claim-uid".into();
    claim.spec.resources.requests.insert("storage".into(), size.parse().unwrap());
    claim.spec.access_modes = vec!["ReadWriteOnce".into()];
    claim.spec.storage_class_name = Some(String::new());
    claim.status.phase = PersistentVolumeClaimPhase::Pending;
    claim
}

fn view(claim: PersistentVolumeClaim, volumes: Vec<PersistentVolume>) -> ClaimView {
    let volumes = volumes.into_iter().map(|volume| Arc::new(VolumeObject(volume))).collect();
    ClaimView { claim, volumes, ..ClaimView::default() }
}

fn plan(view: &ClaimView) -> Plan {
    Claims::plan(view, Timestamp::UNIX_EPOCH)
}

fn reasons(plan: &Plan) -> Vec<&'static str> {
    plan.steps
        .iter()
        .filter_map(|s| if let Step::Tell(told) = s { Some(told.reason) } else { None })
        .collect()
}

fn done(plan: &Plan) -> Vec<String> {
    plan.actions().iter().map(|a| a.effect.describe()).collect()
}

/// Performs the writes until none is left; gives them in order.
fn settle(view: &mut ClaimView) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let plan = plan(view);
        let Some(action) = plan.actions().first().map(|a| &a.effect) else { return all };
        all.push(action.describe());
        if let Some(claim) = action.object::<PersistentVolumeClaim>() {
            view.claim = claim.clone();
        }
        if let Some(volume) = action.object::<PersistentVolume>() {
            let place = view.volumes.iter().position(|v| v.metadata.name == volume.metadata.name).unwrap();
            view.volumes[place] = Arc::new(VolumeObject(volume.clone()));
        }
        assert!(all.len() < 10, "{all:?}");
    }
}

#[test]
fn a_claim_gets_the_smallest_volume_that_is_large_enough() {
    let mut given =
        view(claim("5Gi"), vec![volume("large", "50Gi"), volume("small", "1Gi"), volume("fits", "8Gi")]);
    assert_eq!(
        settle(&mut given),
        [
            "update PersistentVolume fits",
            "update/status PersistentVolume fits",
            "update PersistentVolumeClaim ns/data",
            "update/status PersistentVolumeClaim ns/data"
        ]
    );
    assert_eq!(given.claim.spec.volume_name, "fits");
    assert_eq!(given.claim.status.phase, PersistentVolumeClaimPhase::Bound);
    assert_eq!(given.claim.status.capacity["storage"].to_string(), "8Gi");
    assert_eq!(given.claim.metadata.annotations.len(), 2);
    let bound = &given.volumes[2];
    assert_eq!(bound.status.phase, PersistentVolumePhase::Bound);
    assert_eq!(bound.spec.claim_ref.as_ref().unwrap().uid, "claim-uid");
}

#[test]
fn a_volume_that_is_meant_for_a_claim_is_its() {
    let mut meant = volume("meant", "50Gi");
    meant.spec.claim_ref = Some(Box::new(api_types::core::v1::ObjectReference {
        name: "data".into(),
        namespace: "ns".into(),
        ..Default::default()
    }));
    let mut given = view(claim("5Gi"), vec![volume("small", "5Gi"), meant]);
    settle(&mut given);
    assert_eq!(given.claim.spec.volume_name, "meant");
    assert!(given.volumes[1].metadata.annotations.is_empty(), "it was not chosen here");
}

#[test]
fn what_does_not_fit_is_not_taken() {
    let refused = |change: fn(&mut PersistentVolume)| {
        let mut volume = volume("v", "8Gi");
        change(&mut volume);
        let plan = plan(&view(claim("5Gi"), vec![volume]));
        assert!(plan.actions().is_empty());
        assert_eq!(reasons(&plan), ["FailedBinding"]);
    };
    refused(|v| v.spec.storage_class_name = "fast".into());
    refused(|v| v.spec.access_modes = vec!["ReadOnlyMany".into()]);
    refused(|v| v.spec.volume_mode = Some("Block".into()));
    refused(|v| v.status.phase = PersistentVolumePhase::Released);
    refused(|v| v.metadata.deletion_timestamp = Some(Default::default()));
}

#[test]
fn a_volume_asked_for_by_name_must_fit() {
    let mut asking = claim("5Gi");
    asking.spec.volume_name = "v".into();
    let given = plan(&view(asking.clone(), vec![volume("v", "1Gi")]));
    let Step::Tell(told) = &given.steps[0] else { panic!("{given:?}") };
    assert_eq!(told.message, "Cannot bind to requested volume \"v\": requested PV is too small");
    assert!(plan(&view(asking, vec![])).is_nothing(), "it waits for the volume");
}

fn class(mode: &str) -> StorageClass {
    let mut class = StorageClass { provisioner: "example.com/disk".into(), ..StorageClass::default() };
    class.metadata.name = "fast".into();
    class.volume_binding_mode = Some(mode.into());
    class
}

#[test]
fn a_class_has_its_provisioner_told() {
    let mut asking = claim("5Gi");
    asking.spec.storage_class_name = Some("fast".into());
    let mut given = view(asking, vec![]);
    assert_eq!(reasons(&plan(&given)), ["ProvisioningFailed"]);
    given.class = Some(class("Immediate"));
    assert_eq!(settle(&mut given), ["update PersistentVolumeClaim ns/data"]);
    let marks = &given.claim.metadata.annotations;
    assert_eq!(marks["volume.kubernetes.io/storage-provisioner"], "example.com/disk");
    assert_eq!(reasons(&plan(&given)), ["ExternalProvisioning"]);
}

#[test]
fn binding_may_wait_for_the_pod() {
    let mut asking = claim("5Gi");
    asking.spec.storage_class_name = Some("fast".into());
    let mut free = volume("v", "8Gi");
    free.spec.storage_class_name = "fast".into();
    let mut given = ClaimView { class: Some(class("WaitForFirstConsumer")), ..view(asking, vec![free]) };
    assert_eq!(reasons(&plan(&given)), ["WaitForFirstConsumer"]);
    given.waiting_pods = vec!["web".into()];
    assert_eq!(reasons(&plan(&given)), ["WaitForPodScheduled"]);
    given.claim.metadata.annotations.insert("volume.kubernetes.io/selected-node".into(), "n1".into());
    assert_eq!(done(&plan(&given)), ["update PersistentVolumeClaim ns/data"]);
}

#[test]
fn claims_without_a_class_get_the_default_one() {
    let mut asking = claim("5Gi");
    asking.spec.storage_class_name = None;
    let given = ClaimView { default_class: Some("fast".into()), ..view(asking, vec![]) };
    let plan = plan(&given);
    let written: &PersistentVolumeClaim = plan.actions()[0].effect.object().unwrap();
    assert_eq!(written.spec.storage_class_name.as_deref(), Some("fast"));
}

#[test]
fn a_bound_claim_without_its_volume_is_lost() {
    let mut given = view(claim("5Gi"), vec![volume("v", "8Gi")]);
    settle(&mut given);
    given.volumes.clear();
    let plan = plan(&given);
    let lost: &PersistentVolumeClaim = plan.actions()[0].effect.object().unwrap();
    assert_eq!(lost.status.phase, PersistentVolumeClaimPhase::Lost);
    assert_eq!(plan.actions()[0].on_success.as_ref().unwrap().reason, "ClaimLost");
}

fn phase(view: &VolumeView) -> Option<(PersistentVolumePhase, String)> {
    let plan = Volumes::plan(view, Timestamp::UNIX_EPOCH);
    let actions = plan.actions();
    let volume = actions.first()?.effect.object::<PersistentVolume>().unwrap();
    Some((volume.status.phase.clone(), volume.status.message.clone()))
}

#[test]
fn a_volume_is_free_bound_or_released() {
    let mut given = view(claim("5Gi"), vec![volume("v", "8Gi")]);
    settle(&mut given);
    let bound = given.volumes[0].0.clone();
    let claim = Arc::new(ClaimObject(given.claim.clone()));
    let with = |change: &dyn Fn(&mut VolumeView)| {
        let mut view = VolumeView { volume: bound.clone(), claim: Some(claim.clone()) };
        change(&mut view);
        phase(&view)
    };
    assert_eq!(with(&|_| {}), None);
    assert_eq!(with(&|v| v.volume.spec.claim_ref = None).unwrap().0, PersistentVolumePhase::Available);
    assert_eq!(with(&|v| v.claim = None).unwrap().0, PersistentVolumePhase::Released);
    let released = |policy: &str| {
        with(&|v| {
            v.claim = None;
            v.volume.status.phase = PersistentVolumePhase::Released;
            v.volume.spec.persistent_volume_reclaim_policy = policy.into();
        })
    };
    assert_eq!(released("Retain"), None);
    let (failed, message) = released("Delete").unwrap();
    assert_eq!(failed, PersistentVolumePhase::Failed);
    assert!(message.ends_with("no deletable volume plugin matched"));
}

#[test]
fn a_volume_whose_claim_has_another_is_let_go() {
    let mut given = view(claim("5Gi"), vec![volume("v", "8Gi")]);
    settle(&mut given);
    given.claim.spec.volume_name = "other".into();
    let view =
        VolumeView { volume: given.volumes[0].0.clone(), claim: Some(Arc::new(ClaimObject(given.claim))) };
    let plan = Volumes::plan(&view, Timestamp::UNIX_EPOCH);
    let freed: &PersistentVolume = plan.actions()[0].effect.object().unwrap();
    assert_eq!(freed.spec.claim_ref, None);
}
