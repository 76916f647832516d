//! The cluster's devices as scheduling sees them (KEP-4381): claims, the slices in which drivers offer devices, classes,
//! and allocations that were made but not written yet.
//!
//! A claim that was written by a binding task counts as it was written until the informer shows that version or a newer
//! one. What Reserve allocated is *pending* until its claim is written or the allocation is taken back; no other pod
//! gets these devices. Maps are persistent: a snapshot shares them.

use std::cmp::Reverse;
use std::sync::Arc;

use api_types::resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice};
use client::informer::{Whole, revision};
use imbl::HashMap;

use crate::resources;

pub type Claim = Whole<ResourceClaim>;
pub type Class = Whole<DeviceClass>;
pub type Slice = Whole<ResourceSlice>;

/// Begins the name of the extended resource that every class has.
const IMPLICIT: &str = "deviceclass.resource.kubernetes.io/";

/// Whether devices can stand behind a resource of this name.
pub fn can_back(resource: &str) -> bool {
    resources::is_extended(resource) || resource.starts_with(IMPLICIT)
}

/// Whether the class stands for the resource by its own name.
pub fn is_named_after(resource: &str, class: &str) -> bool {
    resource.strip_prefix(IMPLICIT) == Some(class)
}

#[derive(Clone, Debug)]
struct Held {
    seen: Arc<Claim>,
    written: Option<Arc<Claim>>,
}

impl Held {
    fn newest(&self) -> &Arc<Claim> {
        self.written.as_ref().unwrap_or(&self.seen)
    }
}

#[derive(Clone, Debug)]
struct Pending {
    /// The claim's `namespace/name`.
    claim: String,
    allocation: Arc<AllocationResult>,
}

/// Claims, slices and classes at one moment.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// By `namespace/name`.
    claims: HashMap<String, Held>,
    pub slices: HashMap<String, Arc<Slice>>,
    pub classes: HashMap<String, Arc<Class>>,
    /// By the claim's UID.
    pending: HashMap<String, Pending>,
}

/// `namespace/name`.
pub fn key(claim: &ResourceClaim) -> String {
    format!("{}/{}", claim.metadata.namespace, claim.metadata.name)
}

fn version(claim: &ResourceClaim) -> u64 {
    revision(&claim.metadata.resource_version)
}

impl Devices {
    /// A claim as it was last seen or written.
    pub fn claim(&self, key: &str) -> Option<&Arc<Claim>> {
        self.claims.get(key).map(Held::newest)
    }

    pub fn claims(&self) -> impl Iterator<Item = &Arc<Claim>> {
        self.claims.values().map(Held::newest)
    }

    /// What claims have, and what they are about to get.
    pub fn allocations(&self) -> impl Iterator<Item = &AllocationResult> {
        let written = self.claims().filter_map(|claim| claim.status.allocation.as_deref());
        let pending = self.pending.iter().filter(|(uid, pending)| {
            // The informer may show an allocation before its writer says so.
            let claim = self.claim(&pending.claim);
            !claim.is_some_and(|c| c.metadata.uid == **uid && c.status.allocation.is_some())
        });
        written.chain(pending.map(|(_, pending)| &*pending.allocation))
    }

    pub fn is_pending(&self, uid: &str) -> bool {
        self.pending.contains_key(uid)
    }

    /// Notes what Reserve allocated for a claim.
    pub fn reserve(&mut self, claim: &ResourceClaim, allocation: Arc<AllocationResult>) {
        self.pending.insert(claim.metadata.uid.clone(), Pending { claim: key(claim), allocation });
    }

    /// The allocation was written, or taken back.
    pub fn settle(&mut self, uid: &str) {
        self.pending.remove(uid);
    }

    /// A binding task wrote the claim. One that is gone meanwhile, or is known in a newer version, is left alone.
    pub fn written(&mut self, claim: ResourceClaim) {
        if let Some(held) = self.claims.get_mut(&key(&claim))
            && held.seen.metadata.uid == claim.metadata.uid
            && version(held.newest()) < version(&claim)
        {
            held.written = Some(Arc::new(Whole(claim)));
        }
    }

    fn see(&mut self, key: &str, new: Option<Arc<Claim>>) {
        let Some(seen) = new else {
            self.claims.remove(key);
            return;
        };
        let written = self.claims.get(key).and_then(|held| held.written.clone());
        let written =
            written.filter(|own| own.metadata.uid == seen.metadata.uid && version(own) > version(&seen));
        self.claims.insert(key.to_owned(), Held { seen, written });
    }

    /// The class that backs an extended resource (KEP-5004): that of the name, or the newest that says so.
    pub fn class_of(&self, resource: &str) -> Option<&Arc<Class>> {
        if let Some(name) = resource.strip_prefix(IMPLICIT) {
            return self.classes.get(name);
        }
        let says_so = |class: &&Arc<Class>| class.spec.extended_resource_name.as_deref() == Some(resource);
        let age = |class: &&Arc<Class>| {
            let created = class.metadata.creation_timestamp.map(|at| at.0);
            (created, Reverse(class.metadata.name.clone()))
        };
        self.classes.values().filter(says_so).max_by_key(age)
    }
}

/// A kind of object that is about devices.
pub trait Part: Sized {
    /// Notes that it came or changed, or with `None` that it went.
    fn put(devices: &mut Devices, key: &str, new: Option<Arc<Self>>);
}

impl Part for Claim {
    fn put(devices: &mut Devices, key: &str, new: Option<Arc<Self>>) {
        devices.see(key, new);
    }
}

/// `part!(View => field)`: a part that is kept as it is seen.
macro_rules! part {
    ($($view:ty => $field:ident),+) => {
        $(impl Part for $view {
            fn put(devices: &mut Devices, key: &str, new: Option<Arc<Self>>) {
                match new {
                    Some(new) => drop(devices.$field.insert(key.to_owned(), new)),
                    None => drop(devices.$field.remove(key)),
                }
            }
        })+
    };
}
part!(Class => classes, Slice => slices);

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(revision: u64, device: Option<&str>) -> ResourceClaim {
        let mut claim = ResourceClaim::default();
        claim.metadata.name = "c".into();
        claim.metadata.namespace = "default".into();
        claim.metadata.uid = "uid-c".into();
        claim.metadata.resource_version = revision.to_string();
        claim.status.allocation = device.map(|device| Box::new(allocation(device)));
        claim
    }

    fn allocation(device: &str) -> AllocationResult {
        let mut result = AllocationResult::default();
        result.devices.results.push(api_types::resource::v1::DeviceRequestAllocationResult {
            device: device.into(),
            ..Default::default()
        });
        result
    }

    fn used(devices: &Devices) -> Vec<String> {
        devices.allocations().flat_map(|a| &a.devices.results).map(|r| r.device.clone()).collect()
    }

    #[test]
    fn what_was_written_holds_until_it_is_seen() {
        let mut devices = Devices::default();
        let see =
            |devices: &mut Devices, claim| Claim::put(devices, "default/c", Some(Arc::new(Whole(claim))));
        see(&mut devices, claim(10, None));
        devices.reserve(&claim(10, None), Arc::new(allocation("gpu-0")));
        assert_eq!((devices.is_pending("uid-c"), used(&devices)), (true, vec!["gpu-0".to_owned()]));

        devices.written(claim(12, Some("gpu-0")));
        devices.settle("uid-c");
        assert_eq!(used(&devices), ["gpu-0"]);
        see(&mut devices, claim(11, None));
        assert_eq!(used(&devices), ["gpu-0"], "the finalizer came in between");
        see(&mut devices, claim(13, None));
        assert_eq!(used(&devices), Vec::<String>::new(), "somebody took it back");
    }

    #[test]
    fn an_allocation_that_is_seen_before_its_writer_says_so_counts_once() {
        let mut devices = Devices::default();
        devices.reserve(&claim(10, None), Arc::new(allocation("gpu-0")));
        Claim::put(&mut devices, "default/c", Some(Arc::new(Whole(claim(12, Some("gpu-0"))))));
        assert_eq!(used(&devices), ["gpu-0"]);
    }

    #[test]
    fn the_newest_class_backs_a_resource() {
        let mut devices = Devices::default();
        for (name, created) in [("a", 1), ("b", 2), ("c", 2)] {
            let mut class = DeviceClass::default();
            class.metadata.name = name.into();
            class.metadata.creation_timestamp =
                Some(api_types::value::Time(jiff::Timestamp::from_second(created).unwrap()));
            class.spec.extended_resource_name = Some("example.com/gpu".into());
            Class::put(&mut devices, name, Some(Arc::new(Whole(class))));
        }
        let name = |resource: &str| devices.class_of(resource).map(|class| class.metadata.name.clone());
        assert_eq!(name("example.com/gpu").as_deref(), Some("b"));
        assert_eq!(name("deviceclass.resource.kubernetes.io/a").as_deref(), Some("a"));
        assert_eq!(name("example.com/other"), None);
    }
}
