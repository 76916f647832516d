//! What the plugin says of a pod's claims before any node is looked at, and which events let the pod be tried again.

use api_types::core::v1::{PodResourceClaim, PodResourceClaimStatus};
use api_types::meta::v1::OwnerReference;
use api_types::resource::v1::{DeviceRequest, ExactDeviceRequest, ResourceClaimConsumerReference};
use client::informer::Whole;

use super::*;
use crate::devices::{Class, Part as _};
use crate::testing::{PodBuilder, pod};

fn plugin() -> DynamicResources {
    DynamicResources::new(DevicesArgs::default(), daemon::clock::System::shared())
}

/// A pod with an entry that names a claim.
fn naming(claim: &str) -> PodBuilder {
    pod("a").edit(|p| {
        p.spec.resource_claims = vec![PodResourceClaim {
            name: "gpu".into(),
            resource_claim_name: Some(claim.into()),
            ..PodResourceClaim::default()
        }];
    })
}

/// A pod with an entry that names a template, of which this was made.
fn of_template(made: Option<Option<&str>>) -> PodBuilder {
    pod("a").edit(|p| {
        p.spec.resource_claims = vec![PodResourceClaim {
            name: "gpu".into(),
            resource_claim_template_name: Some("template".into()),
            ..PodResourceClaim::default()
        }];
        p.status.resource_claim_statuses.extend(made.map(|name| PodResourceClaimStatus {
            name: "gpu".into(),
            resource_claim_name: name.map(str::to_owned),
        }));
    })
}

fn claim(change: impl FnOnce(&mut ResourceClaim)) -> Arc<Claim> {
    let mut claim = ResourceClaim::default();
    claim.metadata.name = "c".into();
    claim.metadata.namespace = "default".into();
    claim.metadata.uid = "uid-c".into();
    let exactly = ExactDeviceRequest { device_class_name: "gpu".into(), ..ExactDeviceRequest::default() };
    let request = DeviceRequest { name: "r".into(), exactly: Some(Box::new(exactly)), ..Default::default() };
    claim.spec.devices.requests.push(request);
    change(&mut claim);
    Arc::new(Whole(claim))
}

fn with(claims: &[Arc<Claim>]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for claim in claims {
        Claim::put(&mut snapshot.devices, &key(claim), Some(claim.clone()));
    }
    snapshot
}

#[track_caller]
fn check(pod: &PodBuilder, snapshot: &Snapshot, expected: &str) {
    let found = plugin().pre_filter(&mut CycleState::default(), &pod.view(), snapshot);
    let found = match found {
        Ok(PreFiltered::Skip) => "skip".to_owned(),
        Ok(_) => "nodes".to_owned(),
        Err(rejection) => format!("{}: {}", rejection.code.label(), rejection.message()),
    };
    assert_eq!(found, expected);
}

#[test]
fn claims_have_to_be_there() {
    let unresolvable = |text: &str| format!("UnschedulableAndUnresolvable: {text}");
    let none = Snapshot::default();
    check(&pod("a"), &none, "skip");
    check(&of_template(Some(None)), &none, "skip");
    let message = unresolvable(r#"pod "default/a": ResourceClaim not created yet"#);
    check(&of_template(None), &none, &message);
    check(&naming("c"), &none, &unresolvable(r#"could not find ResourceClaim "default/c""#));
    let going = with(&[claim(|c| c.metadata.deletion_timestamp = Some(Default::default()))]);
    check(&naming("c"), &going, &unresolvable(r#"resourceclaim "c" is being deleted"#));
    let message =
        unresolvable("ResourceClaim default/c was not created for Pod default/a (Pod is not owner)");
    check(&of_template(Some(Some("c"))), &with(&[claim(|_| {})]), &message);

    let mut snapshot = with(&[claim(|_| {})]);
    check(&naming("c"), &snapshot, &unresolvable("request r: device class gpu does not exist"));
    let mut class = api_types::resource::v1::DeviceClass::default();
    class.metadata.name = "gpu".into();
    Class::put(&mut snapshot.devices, "gpu", Some(Arc::new(Whole(class))));
    check(&naming("c"), &snapshot, "nodes");
    snapshot.devices.reserve(&claim(|_| {}), Arc::default());
    let message = unresolvable("resource claim default/c is in the process of being allocated");
    check(&naming("c"), &snapshot, &message);

    let owner = OwnerReference { uid: "a".into(), controller: Some(true), ..OwnerReference::default() };
    let mut own = with(&[claim(|c| c.metadata.owner_references.push(owner))]);
    own.devices.classes = snapshot.devices.classes.clone();
    check(&of_template(Some(Some("c"))), &own, "nodes");
}

#[test]
fn what_lets_a_pod_be_tried_again() {
    let allocated = |c: &mut ResourceClaim| c.status.allocation = Some(Default::default());
    let other = |change: fn(&mut ResourceClaim)| {
        claim(|c| {
            c.metadata.name = "other".into();
            c.metadata.uid = "uid-other".into();
            change(c);
        })
    };
    let wakes = |old: Option<Arc<Claim>>, new: Arc<Claim>| {
        let devices = with(&[claim(|_| {}), new.clone()]).devices;
        let event = ClusterEvent::DeviceClaim(Changed { old, new: Some(new) }, devices);
        plugin().wakes(&naming("c").view(), &event)
    };
    assert!(wakes(None, claim(|_| {})), "the claim came");
    assert!(!wakes(None, other(|_| {})), "another one came");
    assert!(wakes(Some(claim(|_| {})), claim(allocated)));
    assert!(!wakes(Some(claim(|_| {})), claim(|c| c.metadata.finalizers.push("x".into()))));
    assert!(wakes(Some(other(allocated)), other(|_| {})), "devices are free again");
    assert!(!wakes(Some(other(|_| {})), other(allocated)));
}

#[test]
fn claims_that_others_use_keep_their_devices() {
    let user = |uid: &str| ResourceClaimConsumerReference { uid: uid.into(), ..Default::default() };
    let view = pod("a").view();
    let free = |uids: &[&str]| {
        let claim = claim(|c| c.status.reserved_for = uids.iter().map(|uid| user(uid)).collect());
        claims::is_free_for(&claim, &view)
    };
    assert!(free(&[]) && free(&["a"]));
    assert!(!free(&["b"]) && !free(&["a", "b"]));
}

#[test]
fn earlier_alternatives_are_worth_more() {
    let options = |names: &[&str]| {
        let option = |name: &&str| api_types::resource::v1::DeviceSubRequest {
            name: (*name).into(),
            ..Default::default()
        };
        names.iter().map(option).collect::<Vec<_>>()
    };
    let claim = claim(|c| {
        c.spec.devices.requests[0].exactly = None;
        c.spec.devices.requests[0].first_available = options(&["a", "b"]);
    });
    let worth = |request: &str| {
        let mut allocation = AllocationResult::default();
        allocation.devices.results.push(api_types::resource::v1::DeviceRequestAllocationResult {
            request: request.into(),
            ..Default::default()
        });
        preference(&claim, &allocation)
    };
    assert_eq!((worth("r/a"), worth("r/b"), worth("r/c")), (8, 7, 0));
}
