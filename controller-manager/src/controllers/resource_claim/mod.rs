//! resourceclaim-controller: pods and their claims to devices (KEP-4381).
//!
//! [`PodClaims`] makes the ResourceClaims that pods have templates for and enters pods with a node as
//! users of what is allocated already; [`Claims`] takes users out that are done or gone, frees what
//! nobody uses and deletes what was made for a pod that is done. Both are one controller of upstream's.

mod claims;
mod metrics;
mod pods;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};

pub use claims::Claims;
use parking_lot::Mutex;
pub use pods::PodClaims;

/// On a claim: the entry of the pod's `resourceClaims` that it was made for.
const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// On a claim: it stands behind extended resources.
const EXTENDED: &str = "resource.kubernetes.io/extended-resource-claim";
/// Keeps a claim while devices are allocated to it.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// UIDs of pods that were there and are gone: the newest ones.
#[derive(Debug, Default)]
struct Gone(Mutex<Uids>);

/// In the order they came, and to look them up.
type Uids = (VecDeque<Box<str>>, HashSet<Box<str>>);

impl Gone {
    /// Upstream's number; older ones cost a request each.
    const MOST: usize = 500;

    fn add(&self, uid: &str) {
        let (order, known) = &mut *self.0.lock();
        if !known.insert(uid.into()) {
            return;
        }
        order.push_back(uid.into());
        if order.len() > Self::MOST
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
    }

    fn has(&self, uid: &str) -> bool {
        self.0.lock().1.contains(uid)
    }
}
