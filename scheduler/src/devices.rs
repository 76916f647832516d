//! The cluster's devices as scheduling sees them (KEP-4381): claims, the slices in which drivers offer devices, classes,
//! and allocations that were made but not written yet.
//!
//! A claim that was written by a binding task counts as it was written until the informer shows that version or a newer
//! one. What Reserve allocated is *pending* until its claim is written or the allocation is taken back; no other pod
//! gets these devices. Maps are persistent: a snapshot shares them. Which devices are in use follows each change of a
//! claim, and is not summed up from all of them for each pod.

pub mod in_use;

use std::cmp::Reverse;
use std::sync::Arc;

use api_types::resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice};
use client::informer::{Whole, revision};
use imbl::HashMap;

use crate::resources;
use in_use::InUse;

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
    in_use: InUse,
}

/// What somebody has, or is about to get.
enum Share {
    Written(Arc<Claim>),
    Pending(Arc<AllocationResult>),
}

impl Share {
    fn allocation(&self) -> Option<&AllocationResult> {
        match self {
            Self::Written(claim) => claim.status.allocation.as_deref(),
            Self::Pending(allocation) => Some(allocation),
        }
    }
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

    /// The devices that claims have, and those that they are about to get.
    pub fn in_use(&self) -> &InUse {
        &self.in_use
    }

    /// What a claim of that key has, and what those of these UIDs that were of that key are about to get.
    fn shares(&self, key: &str, uids: &[&str]) -> Vec<Share> {
        let held = self.claim(key);
        let mut shares: Vec<Share> = held.cloned().map(Share::Written).into_iter().collect();
        for (at, uid) in uids.iter().enumerate() {
            let pending = self.pending.get(*uid).filter(|pending| pending.claim == key);
            // The informer may show an allocation before its writer says so.
            let shown = held.is_some_and(|c| c.metadata.uid == **uid && c.status.allocation.is_some());
            if let Some(pending) = pending.filter(|_| !shown && !uids[..at].contains(uid)) {
                shares.push(Share::Pending(pending.allocation.clone()));
            }
        }
        shares
    }

    /// Changes what is known of one claim, and what is in use with it.
    fn change(&mut self, key: &str, uids: &[&str], change: impl FnOnce(&mut Self)) {
        let before = self.shares(key, uids);
        change(self);
        let after = self.shares(key, uids);
        if before.iter().filter_map(Share::allocation).eq(after.iter().filter_map(Share::allocation)) {
            return;
        }
        before.iter().filter_map(Share::allocation).for_each(|gone| self.in_use.leave(gone));
        after.iter().filter_map(Share::allocation).for_each(|new| self.in_use.enter(new));
    }

    pub fn is_pending(&self, uid: &str) -> bool {
        self.pending.contains_key(uid)
    }

    /// Notes what Reserve allocated for a claim.
    pub fn reserve(&mut self, claim: &ResourceClaim, allocation: Arc<AllocationResult>) {
        let (key, uid) = (key(claim), claim.metadata.uid.clone());
        // One that was pending under another name would be forgotten here.
        self.settle(&uid);
        self.change(&key, &[&uid], |this| {
            this.pending.insert(uid.clone(), Pending { claim: key.clone(), allocation });
        });
    }

    /// The allocation was written, or taken back.
    pub fn settle(&mut self, uid: &str) {
        let Some(key) = self.pending.get(uid).map(|pending| pending.claim.clone()) else { return };
        self.change(&key, &[uid], |this| drop(this.pending.remove(uid)));
    }

    /// A binding task wrote the claim. One that is gone meanwhile, or is known in a newer version, is left alone.
    pub fn written(&mut self, claim: ResourceClaim) {
        let (key, uid) = (key(&claim), claim.metadata.uid.clone());
        self.change(&key, &[&uid], |this| {
            if let Some(held) = this.claims.get_mut(&key)
                && held.seen.metadata.uid == uid
                && version(held.newest()) < version(&claim)
            {
                held.written = Some(Arc::new(Whole(claim)));
            }
        });
    }

    fn see(&mut self, key: &str, new: Option<Arc<Claim>>) {
        let old = self.claim(key).cloned();
        let uids: Vec<&str> = [&old, &new].into_iter().flatten().map(|c| c.metadata.uid.as_str()).collect();
        self.change(key, &uids, |this| {
            let Some(seen) = new.clone() else {
                this.claims.remove(key);
                return;
            };
            let written = this.claims.get(key).and_then(|held| held.written.clone());
            let written =
                written.filter(|own| own.metadata.uid == seen.metadata.uid && version(own) > version(&seen));
            this.claims.insert(key.to_owned(), Held { seen, written });
        });
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
        devices.in_use.pool("", "").into_iter().flat_map(|used| used.keys().cloned()).collect()
    }

    /// What is in use is what one would sum up from all claims, whatever happened in whatever order.
    #[test]
    fn what_is_in_use_follows_every_change() {
        let mut dice = fastrand::Rng::with_seed(7);
        let mut devices = Devices::default();
        for step in 0..4_000_u64 {
            let mut one = claim(step, None);
            one.metadata.name = format!("c{}", dice.u8(0..3));
            // The same name comes back as another claim.
            one.metadata.uid = format!("{}-{}", one.metadata.name, dice.u8(0..2));
            let device = format!("gpu-{}", dice.u8(0..4));
            let key = key(&one);
            if dice.bool() {
                one.status.allocation = Some(Box::new(allocation(&device)));
            }
            match dice.u8(0..5) {
                0 => Claim::put(&mut devices, &key, Some(Arc::new(Whole(one)))),
                1 => Claim::put(&mut devices, &key, None),
                2 => devices.reserve(&one, Arc::new(allocation(&device))),
                3 => devices.settle(&one.metadata.uid),
                _ => devices.written(one),
            }
            let mut expected = InUse::default();
            for claim in devices.claims.values().map(Held::newest) {
                claim.status.allocation.iter().for_each(|own| expected.enter(own));
            }
            for (uid, pending) in &devices.pending {
                let held = devices.claim(&pending.claim);
                if !held.is_some_and(|c| c.metadata.uid == *uid && c.status.allocation.is_some()) {
                    expected.enter(&pending.allocation);
                }
            }
            assert_eq!(devices.in_use, expected, "step {step}");
        }
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
