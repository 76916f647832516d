//! Which attached volumes this node uses: what its status says in `volumesInUse`.
//!
//! The controllers attach what pods on a node need, and detach what the node no longer says it uses. So a
//! volume is mounted only after the API has it in that list, and leaves the list only when nothing of it is
//! mounted any more. In use is what pods have asked for, and what the disk says is mounted or staged
//! ([`super::volumes`]); the asking is kept here, the list is written with the node's status.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// COMPAT: after so long upstream says in an event that a pod still waits for its volumes.
const OVERDUE: Duration = Duration::from_secs(123);

/// A volume's name in a node's status.
pub fn unique_name(driver: &str, handle: &str) -> String {
    format!("kubernetes.io/csi/{driver}^{handle}")
}

/// The names with those of disks that are on the node. A disk may have several, by which pods or the API know it.
pub fn with_disks(mut names: Vec<String>, disks: &[Vec<String>], known: &[String]) -> Vec<String> {
    for disk in disks {
        if disk.iter().any(|name| names.contains(name)) {
            continue;
        }
        names.extend(disk.iter().find(|name| known.contains(name)).or(disk.first()).cloned());
    }
    names.sort();
    names
}

/// What one pod has asked for.
struct Claim {
    names: BTreeSet<String>,
    /// When it asked, or was last said to wait.
    since: Instant,
}

#[derive(Default)]
struct State {
    pods: HashMap<String, Claim>,
    reported: BTreeSet<String>,
    changes: u64,
}

/// What pods have asked for, and what the API knows of it.
#[derive(Default)]
pub struct InUse(Mutex<State>);

impl InUse {
    /// The pod is about to have the volume mounted. Answers whether the API knows that it is in use.
    pub fn claim(&self, uid: &str, name: &str, now: Instant) -> bool {
        let mut state = self.0.lock();
        let new = || Claim { names: BTreeSet::new(), since: now };
        if state.pods.entry(uid.to_owned()).or_insert_with(new).names.insert(name.to_owned()) {
            state.changes += 1;
        }
        state.reported.contains(name)
    }

    /// Nothing of the pod is mounted any more.
    pub fn release(&self, uid: &str) {
        let mut state = self.0.lock();
        if state.pods.remove(uid).is_some() {
            state.changes += 1;
        }
    }

    /// All that pods have asked for, and `mounted`.
    pub fn with(&self, mounted: impl IntoIterator<Item = String>) -> Vec<String> {
        let state = self.0.lock();
        let asked = state.pods.values().flat_map(|claim| claim.names.iter().cloned());
        asked.chain(mounted).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Some pod has asked for the volume.
    pub fn is_asked(&self, name: &str) -> bool {
        self.0.lock().pods.values().any(|claim| claim.names.contains(name))
    }

    /// The API has this list.
    pub fn told(&self, names: &[String]) {
        self.0.lock().reported = names.iter().cloned().collect();
    }

    /// Grows with everything that makes the list another one.
    pub fn changes(&self) -> u64 {
        self.0.lock().changes
    }

    /// Whether it is time to say that the pod still waits; once for each span.
    pub fn overdue(&self, uid: &str, now: Instant) -> bool {
        let mut state = self.0.lock();
        let Some(claim) = state.pods.get_mut(uid).filter(|claim| now - claim.since >= OVERDUE) else {
            return false;
        };
        claim.since = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_in_use_from_the_asking_until_nothing_is_mounted() {
        let (used, now) = (InUse::default(), Instant::now());
        let name = unique_name("d", "h");
        assert_eq!(name, "kubernetes.io/csi/d^h");
        assert!(!used.claim("a", &name, now), "the API was not told yet");
        let changes = used.changes();
        assert!(!used.claim("a", &name, now));
        assert_eq!(used.changes(), changes, "asking again is no change");
        used.told(&used.with([]));
        assert!(used.claim("a", &name, now) && used.claim("b", &name, now));
        used.release("a");
        assert_eq!(used.with([]), std::slice::from_ref(&name), "the other pod has it");
        used.release("b");
        assert_eq!(used.with([name.clone()]), [name], "it is still mounted");
        assert_eq!(used.with([]), Vec::<String>::new());
    }

    #[test]
    fn a_disk_goes_by_the_name_that_is_known() {
        let disks = [["i/1.1.1.1:3260:iqn.a:0".to_owned(), "i/1.1.1.1:iqn.a:0".to_owned()].to_vec()];
        let check = |names: &[&str], known: &[&str], expected: &[&str]| {
            let text = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
            assert_eq!(with_disks(text(names), &disks, &text(known)), text(expected));
        };
        check(&[], &[], &["i/1.1.1.1:3260:iqn.a:0"]);
        check(&[], &["i/1.1.1.1:iqn.a:0"], &["i/1.1.1.1:iqn.a:0"]);
        check(&["k", "i/1.1.1.1:iqn.a:0"], &[], &["i/1.1.1.1:iqn.a:0", "k"]);
    }

    #[test]
    fn waiting_is_told_now_and_then() {
        let (used, now) = (InUse::default(), Instant::now());
        used.claim("a", "v", now);
        assert!(!used.overdue("a", now) && !used.overdue("b", now + OVERDUE));
        assert!(used.overdue("a", now + OVERDUE) && !used.overdue("a", now + OVERDUE));
    }
}
