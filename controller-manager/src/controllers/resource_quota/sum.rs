//! Summing up: which kinds a quota counts, what they use, and the status that follows.

use std::collections::{BTreeMap, BTreeSet};

use api_types::core::v1::{
    PersistentVolumeClaim, Pod, ResourceList, ResourceQuota, ResourceQuotaSpec, Service,
};
use api_types::kind::{Kind, Object, Resource};
use api_types::kinds;
use api_types::meta::v1::ListOptions;
use api_types::quota::{self, Devices};
use api_types::resource::v1::{DeviceClass, ResourceClaim};
use api_types::value::{Format, Quantity};
use client::controller::{Action, Hands};
use client::{Error, ResourceRef};
use jiff::Timestamp;

/// What of a quota's resources is used in its namespace, by what the server lists.
pub(super) async fn used(quota: &ResourceQuota, hands: &Hands) -> Result<ResourceList, Error> {
    let (namespace, now) = (quota.metadata.namespace.as_str(), hands.clock.now());
    let mut used = ResourceList::new();
    let mut known = Devices::default();
    if quota.spec.hard.keys().any(|name| quota::may_be_devices(name)) {
        known = Devices::of(all::<DeviceClass>(None, hands).await?);
    }
    for kind in counted(quota, &known) {
        let of = names(quota, kind, &known);
        // What is counted and not there is 0.
        for name in &of {
            used.entry(name.clone()).or_insert_with(zero);
        }
        match (kind.group, kind.resource) {
            ("", "pods") => typed::<Pod>(quota, &of, now, hands, &mut used).await?,
            ("", "services") => typed::<Service>(quota, &of, now, hands, &mut used).await?,
            ("", "persistentvolumeclaims") => {
                typed::<PersistentVolumeClaim>(quota, &of, now, hands, &mut used).await?;
            }
            ("resource.k8s.io", "resourceclaims") => {
                devices(quota, &of, now, hands, &known, &mut used).await?;
            }
            _ => {
                let count = count(ResourceRef::from(kind), namespace, quota, hands).await?;
                of.into_iter().for_each(|name| add(&mut used, name, &count));
            }
        }
    }
    for name in foreign(quota) {
        let Some(resource) = discovered(&name, hands).await? else { continue };
        let count = count(resource, namespace, quota, hands).await?;
        used.insert(name, count);
    }
    Ok(used)
}

fn zero() -> Quantity {
    Quantity::from_units(0, Format::DecimalSi)
}

fn add(used: &mut ResourceList, name: String, amount: &Quantity) {
    *used.entry(name).or_insert_with(zero) += *amount;
}

/// The built-in kinds that a quota counts.
fn counted<'a>(quota: &'a ResourceQuota, known: &'a Devices) -> impl Iterator<Item = &'static Kind> + 'a {
    let kinds = kinds::all().iter().map(|row| row.kind);
    let kinds = kinds.filter(|kind| kind.namespaced && !quota::is_ignored(kind));
    // A kind of several versions is listed in the first.
    let mut seen = BTreeSet::new();
    kinds
        .filter(move |kind| !names(quota, kind, known).is_empty() && seen.insert((kind.group, kind.resource)))
}

/// The names of a quota's resources that objects of a kind use.
fn names(quota: &ResourceQuota, kind: &Kind, known: &Devices) -> Vec<String> {
    let tracked = |name: &&String| {
        quota::is_tracked(kind, name) || (is_device_claim(kind) && known.are_counted_as(name))
    };
    quota.spec.hard.keys().filter(tracked).cloned().collect()
}

fn is_device_claim(kind: &Kind) -> bool {
    (kind.group, kind.resource) == ("resource.k8s.io", "resourceclaims")
}

/// Whether a quota counts objects of a resource.
pub(super) fn counts(spec: &ResourceQuotaSpec, resource: &ResourceRef) -> bool {
    let is_row = |kind: &Kind| kind.group == resource.group && kind.resource == resource.resource;
    let row = kinds::all().iter().find(|row| is_row(row.kind));
    spec.hard.keys().any(|name| match row {
        // Which names stand for devices is known when it is summed up.
        Some(row) => {
            quota::is_tracked(row.kind, name) || (is_device_claim(row.kind) && quota::may_be_devices(name))
        }
        None => *name == format!("count/{}", resource.qualified()),
    })
}

/// Counts of kinds that are not built in: `count/widgets.example.com`.
fn foreign(quota: &ResourceQuota) -> Vec<String> {
    let built_in = |name: &str| kinds::all().iter().any(|row| quota::is_tracked(row.kind, name));
    let counts = quota.spec.hard.keys().filter(|name| name.starts_with("count/"));
    counts.filter(|name| !built_in(name)).cloned().collect()
}

async fn discovered(name: &str, hands: &Hands) -> Result<Option<ResourceRef>, Error> {
    let found = hands.client.discover().await?.resources.into_iter();
    let named = |r: &ResourceRef| r.namespaced && format!("count/{}", r.qualified()) == name;
    Ok(found.map(|found| found.resource).find(named))
}

/// Objects that may use anything: looked at one by one.
async fn typed<T: Resource>(
    quota: &ResourceQuota,
    names: &[String],
    now: Timestamp,
    hands: &Hands,
    used: &mut ResourceList,
) -> Result<(), Error> {
    let (api, known) = (hands.client.api::<T>().namespace(&*quota.metadata.namespace), Devices::default());
    let sum = |object: T| take(quota, names, &object, (now, &known), used);
    api.list_each(&ListOptions::default(), sum).await.map(drop)
}

fn take(
    quota: &ResourceQuota,
    names: &[String],
    object: &dyn Object,
    (now, known): (Timestamp, &Devices),
    used: &mut ResourceList,
) {
    if !quota::in_scopes(&quota.spec, object) {
        return;
    }
    for (name, amount) in quota::usage(object, now, known) {
        if names.contains(&name) {
            add(used, name, &amount);
        }
    }
}

/// Claims to devices. What a pod counts for is not counted once more with the claim that was made for it.
async fn devices(
    quota: &ResourceQuota,
    names: &[String],
    now: Timestamp,
    hands: &Hands,
    classes: &Devices,
    used: &mut ResourceList,
) -> Result<(), Error> {
    let namespace = Some(quota.metadata.namespace.as_str());
    let claims: Vec<ResourceClaim> = all(namespace, hands).await?;
    let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
    if names.iter().any(|name| quota::may_be_devices(name))
        && claims.iter().any(|own| quota::pod_of(own).is_some())
    {
        pods = all(namespace, hands)
            .await?
            .into_iter()
            .map(|pod: Pod| (pod.metadata.uid.clone(), pod))
            .collect();
    }
    for claim in &claims {
        let pod = quota::pod_of(claim).and_then(|owner| pods.get(&owner.uid));
        let held = match pod.filter(|pod| quota::is_held_by(claim, pod, &claims)) {
            Some(pod) => quota::usage(pod, now, &Devices::default()),
            None => ResourceList::new(),
        };
        let known = Devices { held, classes: classes.classes.clone() };
        take(quota, names, claim, (now, &known), used);
    }
    Ok(())
}

async fn all<T: Resource>(namespace: Option<&str>, hands: &Hands) -> Result<Vec<T>, Error> {
    let api = match namespace {
        Some(namespace) => hands.client.api::<T>().namespace(namespace),
        None => hands.client.api(),
    };
    let mut found = Vec::new();
    api.list_each(&ListOptions::default(), |object| found.push(object)).await?;
    Ok(found)
}

/// How many objects there are; none of them is in any scope.
async fn count(
    resource: ResourceRef,
    namespace: &str,
    quota: &ResourceQuota,
    hands: &Hands,
) -> Result<Quantity, Error> {
    if !quota.spec.scopes.is_empty() || quota.spec.scope_selector.is_some() {
        return Ok(zero());
    }
    let mut count = 0;
    let api = hands.client.metadata_api(resource).namespace(namespace);
    api.list_each(&ListOptions::default(), |_| count += 1).await?;
    Ok(Quantity::from_units(count, Format::DecimalSi))
}

/// The quota with the status that it should have; `None` if it has it. What is limited and could not
/// be summed up stays as it was.
pub(super) fn settle(quota: &ResourceQuota, summed: ResourceList) -> Option<Action> {
    let mut used = quota.status.used.clone();
    used.extend(summed);
    used.retain(|name, _| quota.spec.hard.contains_key(name));
    if quota.status.hard == quota.spec.hard && quota.status.used == used {
        return None;
    }
    let mut changed = quota.clone();
    changed.status.hard.clone_from(&quota.spec.hard);
    changed.status.used = used;
    Some(Action::update_status(changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(hard: &[&str]) -> ResourceQuota {
        let mut quota = ResourceQuota::default();
        quota.spec.hard = hard
            .iter()
            .map(|name| ((*name).to_owned(), Quantity::from_units(5, Format::DecimalSi)))
            .collect();
        quota
    }

    fn amount(count: i64) -> Quantity {
        Quantity::from_units(count, Format::DecimalSi)
    }

    #[test]
    fn objects_of_any_kind_wake_the_quotas_that_count_them() {
        let quota = quota(&["count/widgets.example.com", "gold.deviceclass.resource.k8s.io/devices", "pods"]);
        let resource = |group: &str, resource: &str| {
            kinds::by_resource(group, "v1", resource).map_or_else(
                || ResourceRef {
                    group: group.to_owned().into(),
                    version: "v1".into(),
                    resource: resource.to_owned().into(),
                    kind: "".into(),
                    namespaced: true,
                },
                |row| ResourceRef::from(row.kind),
            )
        };
        for (group, name, wakes) in [
            ("example.com", "widgets", true),
            ("example.com", "gadgets", false),
            ("resource.k8s.io", "resourceclaims", true),
            ("", "pods", true),
            ("", "secrets", false),
        ] {
            assert_eq!(counts(&quota.spec, &resource(group, name)), wakes, "{name}");
        }
    }

    #[test]
    fn the_kinds_that_a_quota_names_are_counted() {
        let given = quota(&[
            "pods",
            "requests.cpu",
            "configmaps",
            "count/deployments.apps",
            "count/widgets.example.com",
        ]);
        let kinds: Vec<_> = counted(&given, &Devices::default()).map(|kind| kind.resource).collect();
        assert_eq!(kinds.len(), 3, "{kinds:?}");
        for kind in ["pods", "configmaps", "deployments"] {
            assert!(kinds.contains(&kind), "{kinds:?}");
        }
        assert_eq!(foreign(&given), ["count/widgets.example.com"]);
    }

    #[test]
    fn claims_are_counted_by_what_their_classes_stand_for() {
        let given = quota(&["requests.example.com/gpu"]);
        let classes = [("gold".to_owned(), Some("example.com/gpu".to_owned()))].into();
        let known = Devices { classes, ..Devices::default() };
        let kinds = |known: &Devices| counted(&given, known).map(|kind| kind.resource).collect::<Vec<_>>();
        assert_eq!(kinds(&Devices::default()), ["pods"]);
        assert!(kinds(&known).contains(&"resourceclaims") && kinds(&known).contains(&"pods"));
    }

    #[test]
    fn the_status_has_what_is_limited_and_nothing_else() {
        let mut given = quota(&["pods", "services"]);
        given.status.used.insert("services".into(), amount(2));
        let summed = ResourceList::from([("pods".into(), amount(1)), ("secrets".into(), amount(9))]);
        let action = settle(&given, summed.clone()).unwrap();
        let written: &ResourceQuota = action.effect.object().unwrap();
        assert_eq!(written.status.hard, given.spec.hard);
        let used = ResourceList::from([("pods".into(), amount(1)), ("services".into(), amount(2))]);
        assert_eq!(written.status.used, used);
        assert!(settle(written, summed).is_none());
    }
}
