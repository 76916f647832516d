//! Hints, and when bindings are complete.

use std::sync::Arc;

use super::bind::{Written, complete};
use super::*;
use crate::cache::Snapshot;
use crate::storage::{Binding, CapacityView, CsiNodeView, VolumeView};
use crate::testing::{ClaimBuilder, VolumeBuilder, claim, node, pod, stored, volume};

fn plugin() -> VolumeBinding {
    VolumeBinding::new(Duration::from_secs(1))
}

#[test]
fn storage_events_wake_who_waits_for_them() {
    let waiting = pod("p").claim("data").view();
    let wakes = |event: ClusterEvent| plugin().wakes(&waiting, &event);
    let changed = |new: &ClaimBuilder| ClusterEvent::Claim(Changed { old: None, new: Some(new.shared()) });
    assert!(wakes(changed(&claim("data", "1Gi"))));
    assert!(!wakes(changed(&claim("else", "1Gi"))));
    assert!(!wakes(changed(&claim("data", "1Gi").edit(|c| c.metadata.namespace = "other".into()))));
    let (v, data) = (volume("v", "1Gi").shared(), claim("data", "1Gi").shared());
    assert!(wakes(ClusterEvent::Volume(Changed { old: None, new: Some(v.clone()) })));
    assert!(!wakes(ClusterEvent::Volume(Changed { old: Some(v), new: None })));
    assert!(!wakes(ClusterEvent::Claim(Changed { old: Some(data), new: None })));
    assert!(wakes(ClusterEvent::CsiNode(Changed { old: None, new: Some(Arc::new(CsiNodeView::default())) })));
    let room = |limit: &str| {
        Arc::new(CapacityView { limit: Some(limit.parse().unwrap()), ..CapacityView::default() })
    };
    let grown =
        |old: &str, new: &str| ClusterEvent::Capacity(Changed { old: Some(room(old)), new: Some(room(new)) });
    assert!(wakes(grown("1Gi", "2Gi")));
    assert!(!wakes(grown("2Gi", "1Gi")));
}

struct Bound {
    volume: VolumeBuilder,
    claim: ClaimBuilder,
}

/// A volume that was given to a claim at revision 5, of which both sides are written.
fn bound() -> Bound {
    let volume = volume("v", "1Gi").revision(5).edit(|v| {
        let claim = v.spec.claim_ref.get_or_insert_default();
        (claim.namespace, claim.name, claim.uid) = ("default".into(), "data".into(), "data".into());
    });
    Bound { volume, claim: claim("data", "1Gi").bound("v").revision(6) }
}

fn look(given: Bound, provision: bool) -> Result<bool, String> {
    let mut snapshot = Snapshot::default();
    stored(&mut snapshot, &[given.volume], &[given.claim], &[]);
    let asked = claim("data", "1Gi").shared();
    let (choice, written) = if provision {
        let choice = Choice { provisions: vec![asked], ..Choice::default() };
        (choice, Written { claims: vec![5], ..Written::default() })
    } else {
        let volume: Arc<VolumeView> = volume("v", "1Gi").shared();
        let choice = Choice { bindings: vec![Binding { volume, claim: asked }], ..Choice::default() };
        (choice, Written { volumes: vec![5], ..Written::default() })
    };
    complete(&snapshot.storage, &choice, &written, &node("n").label("zone", "a").view())
}

#[test]
fn a_binding_is_complete_when_both_sides_say_so() {
    let with = |change: &dyn Fn(Bound) -> Bound| look(change(bound()), false);
    assert_eq!(with(&|b| b), Ok(true));
    assert_eq!(with(&|b| Bound { volume: b.volume.revision(4), ..b }), Ok(false));
    assert_eq!(with(&|b| Bound { claim: claim("data", "1Gi"), ..b }), Ok(false));
    let reset = with(&|b| Bound { volume: volume("v", "1Gi").revision(7), ..b });
    assert_eq!(reset, Err("ClaimRef got reset for pv \"v\"".into()));
    let moved = with(&|b| Bound { volume: b.volume.reached_by("zone", "b"), ..b });
    let message = "pv \"v\" node affinity doesn't match node \"n\": no matching NodeSelectorTerms";
    assert_eq!(moved, Err(message.into()));
}

#[test]
fn a_provisioner_is_waited_for_unless_it_gives_the_claim_back() {
    let selected = |node: &str| claim("data", "1Gi").annotation("volume.kubernetes.io/selected-node", node);
    let with = |claim: ClaimBuilder| look(Bound { claim, ..bound() }, true);
    assert_eq!(with(selected("n").revision(4)), Ok(false), "our own write is not seen yet");
    assert_eq!(with(selected("n").revision(5)), Ok(false));
    assert_eq!(with(selected("n").bound("v").revision(6)), Ok(true));
    let reset = "selectedNode annotation reset for PVC \"data\"";
    assert_eq!(with(claim("data", "1Gi").revision(6)), Err(reset.into()));
    let failed = "provisioning failed for PVC \"data\"";
    assert_eq!(with(selected("m").revision(6)), Err(failed.into()));
}
