//! Assumptions, and what claims get on a node.

use std::sync::Arc;

use super::find::{choose, claims};
use super::*;
use crate::cache::Snapshot;
use crate::testing::{ClaimBuilder, VolumeBuilder, claim, class, node, pod, stored, volume};
use api_types::storage::v1::StorageClass;

struct World(Snapshot);

fn world(volumes: &[VolumeBuilder], claims: &[ClaimBuilder], classes: &[StorageClass]) -> World {
    let mut snapshot = Snapshot::default();
    stored(&mut snapshot, volumes, claims, classes);
    World(snapshot)
}

fn local() -> StorageClass {
    class("local", "kubernetes.io/no-provisioner", true)
}

impl World {
    /// What the claims `names` of a pod get on a node of a zone.
    fn choose(&self, names: &[&str], zone: &str) -> Result<Choice, String> {
        let pod = names.iter().fold(pod("p"), |pod, name| pod.claim(name)).view();
        let claims = claims(&self.0.storage, &pod).map_err(|r| r.message())?;
        assert!(claims.immediate.is_empty());
        choose(&self.0.storage, &claims, &node(&format!("n-{zone}")).label("zone", zone).view())
            .map_err(|r| r.message())
    }

    fn volumes(&self, names: &[&str], zone: &str) -> Result<Vec<String>, String> {
        let choice = self.choose(names, zone)?;
        Ok(choice.bindings.iter().map(|b| format!("{}={}", b.claim.name, b.volume.name)).collect())
    }
}

const NONE: &str = "node(s) didn't find available persistent volumes to bind";

#[test]
fn a_bound_claim_wants_nodes_that_reach_its_volume() {
    let bound = [claim("data", "1Gi").bound("v")];
    let world = world(&[volume("v", "1Gi").reached_by("zone", "a")], &bound, &[]);
    assert_eq!(world.volumes(&["data"], "a"), Ok(vec![]));
    let no = "node(s) didn't match PersistentVolume's node affinity";
    assert_eq!(world.volumes(&["data"], "b"), Err(no.into()));
    let lost = super::tests::world(&[], &bound, &[]).volumes(&["data"], "a");
    assert_eq!(lost, Err("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)".into()));
}

#[test]
fn a_claim_gets_the_smallest_volume_within_reach() {
    let volumes = [
        volume("near-large", "9Gi").class("local").reached_by("zone", "a"),
        volume("near", "3Gi").class("local").reached_by("zone", "a"),
        volume("small", "1Gi").class("local").reached_by("zone", "a"),
        volume("far", "2Gi").class("local").reached_by("zone", "b"),
        volume("other", "2Gi").class("other"),
    ];
    let asking = [claim("data", "2Gi").class("local"), claim("more", "3Gi").class("local")];
    let world = world(&volumes, &asking, &[local()]);
    assert_eq!(world.volumes(&["data"], "a"), Ok(vec!["data=near".into()]));
    assert_eq!(world.volumes(&["data"], "b"), Ok(vec!["data=far".into()]));
    assert_eq!(world.volumes(&["data"], "c"), Err(NONE.into()));
    // Two claims of a pod get two volumes, the smaller claim first.
    let both = Ok(vec!["data=near".into(), "more=near-large".into()]);
    assert_eq!(world.volumes(&["more", "data"], "a"), both);
}

#[test]
fn a_volume_that_is_kept_for_a_claim_is_its() {
    let kept = volume("kept", "9Gi").class("local").reached_by("zone", "a").edit(|v| {
        let claim = v.spec.claim_ref.get_or_insert_default();
        (claim.namespace, claim.name) = ("default".into(), "data".into());
    });
    let volumes = [kept, volume("free", "2Gi").class("local")];
    let asking = [claim("data", "1Gi").class("local"), claim("else", "1Gi").class("local")];
    let world = world(&volumes, &asking, &[local()]);
    assert_eq!(world.volumes(&["data"], "a"), Ok(vec!["data=kept".into()]));
    assert_eq!(world.volumes(&["data"], "b"), Err(NONE.into()), "its own volume is elsewhere");
    assert_eq!(world.volumes(&["else"], "a"), Ok(vec!["else=free".into()]));
}

#[test]
fn what_does_not_fit_is_not_taken() {
    let refused = |change: fn(&mut api_types::core::v1::PersistentVolume)| {
        let unfit = volume("v", "2Gi").class("local").edit(change);
        let world = world(&[unfit], &[claim("data", "1Gi").class("local")], &[local()]);
        assert_eq!(world.volumes(&["data"], "a"), Err(NONE.into()));
    };
    refused(|v| v.spec.volume_mode = Some("Block".into()));
    refused(|v| v.spec.access_modes = vec!["ReadOnlyMany".into()]);
    refused(|v| v.status.phase = "Released".into());
    refused(|v| v.metadata.deletion_timestamp = Some(Default::default()));
    refused(|v| v.spec.volume_attributes_class_name = Some("gold".into()));
    refused(|v| _ = v.spec.capacity.insert("storage".into(), "1M".parse().unwrap()));
}

#[test]
fn a_provisioner_makes_what_is_not_there_where_it_can() {
    let mut made = class("made", "example.com/disk", true);
    let asking = [claim("data", "1Gi").class("made")];
    let provisions = |class: &StorageClass, claims: &[ClaimBuilder], zone: &str| {
        let choice = world(&[], claims, std::slice::from_ref(class)).choose(&["data"], zone)?;
        Ok::<_, String>(choice.provisions.len())
    };
    assert_eq!(provisions(&made, &asking, "a"), Ok(1));
    let chosen = [asking[0].clone().annotation("volume.kubernetes.io/selected-node", "n-a")];
    assert_eq!(provisions(&made, &chosen, "a"), Ok(1));
    assert_eq!(provisions(&made, &chosen, "b"), Err(NONE.into()), "it is being made for another node");
    let label = api_types::core::v1::TopologySelectorLabelRequirement {
        key: "zone".into(),
        values: vec!["a".into()],
    };
    made.allowed_topologies
        .push(api_types::core::v1::TopologySelectorTerm { match_label_expressions: vec![label] });
    assert_eq!(provisions(&made, &asking, "a"), Ok(1));
    assert_eq!(provisions(&made, &asking, "b"), Err(NONE.into()));
}

#[test]
fn a_driver_may_say_how_much_is_left() {
    let mut world =
        world(&[], &[claim("data", "2Gi").class("made")], &[class("made", "example.com/disk", true)]);
    let driver = CsiDriverView { name: "example.com/disk".into(), storage_capacity: true };
    CsiDriverView::put(&mut world.0.storage, "example.com/disk", Some(Arc::new(driver)));
    let full = Err("node(s) did not have enough free storage".into());
    assert_eq!(world.volumes(&["data"], "a"), full);
    let nodes = api_types::selector::Labels::from_map(&[("zone".to_owned(), "a".to_owned())].into());
    let capacity =
        CapacityView { class: "made".into(), limit: Some("5Gi".parse().unwrap()), nodes: Some(nodes) };
    CapacityView::put(&mut world.0.storage, "default/c", Some(Arc::new(capacity)));
    assert_eq!(world.volumes(&["data"], "a"), Ok(vec![]));
    assert_eq!(world.volumes(&["data"], "b"), full);
}

#[test]
fn claims_are_sorted_and_odd_ones_told() {
    let told = |claim: ClaimBuilder| {
        let world = world(&[], &[claim], &[]);
        super::find::claims(&world.0.storage, &pod("p").claim("data").view()).map_err(|r| r.message())
    };
    assert_eq!(told(claim("data", "1Gi")).unwrap().immediate.len(), 1);
    assert_eq!(told(claim("data", "1Gi").bound("v")).unwrap().bound.len(), 1);
    let lost = claim("data", "1Gi").bound("v").edit(|c| c.status.phase = "Lost".into());
    let message = "persistentvolumeclaim \"data\" bound to non-existent persistentvolume \"v\"";
    assert_eq!(told(lost).unwrap_err(), message);
    let going = claim("data", "1Gi").edit(|c| c.metadata.deletion_timestamp = Some(Default::default()));
    assert_eq!(told(going).unwrap_err(), "persistentvolumeclaim \"data\" is being deleted");
    assert_eq!(told(claim("else", "1Gi")).unwrap_err(), "persistentvolumeclaim \"data\" not found");
}

#[test]
fn what_is_taken_is_gone_for_others_until_it_is_given_back() {
    let mut world = world(
        &[volume("v", "1Gi").class("local")],
        &[claim("data", "1Gi").class("local"), claim("else", "1Gi").class("local")],
        &[local()],
    );
    let choice = world.choose(&["data"], "a").unwrap();
    assert!(world.0.storage.assume(&choice, "n-a"));
    assert_eq!(world.volumes(&["else"], "a"), Err(NONE.into()));
    assert_eq!(world.0.storage.volumes.seen("v").unwrap().claim, None);
    world.0.storage.restore(&choice);
    assert_eq!(world.volumes(&["else"], "a"), Ok(vec!["else=v".into()]));
    // A newer version is the truth, and what was made of an older one cannot be assumed.
    assert!(world.0.storage.assume(&choice, "n-a"));
    let newer = volume("v", "1Gi").class("local").revision(2).shared();
    VolumeView::put(&mut world.0.storage, "v", Some(newer));
    assert_eq!(world.volumes(&["else"], "a"), Ok(vec!["else=v".into()]));
    assert!(!world.0.storage.assume(&choice, "n-a"));
}
