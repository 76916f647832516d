//! Which waiting pods are promised which node: preemption makes room there, and until they get it
//! others must not take it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::pod::PodView;

/// Nominated pods by node. Cheap to share with a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Nominator {
    by_node: Arc<BTreeMap<Arc<str>, Vec<Arc<PodView>>>>,
    nodes: HashMap<Arc<str>, Arc<str>>,
    /// Nominations that we made and the pod's view does not show yet.
    own: HashMap<Arc<str>, Own>,
    tickets: u64,
}

/// A nomination of ours; an empty name takes one back.
#[derive(Clone, Debug)]
struct Own {
    node: Arc<str>,
    ticket: Ticket,
    /// The pod's revision with it, once the write was answered.
    written: Option<u64>,
}

/// Tells one nomination of a pod from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

impl Nominator {
    /// Promises the pod a node, or with an empty name none. Returns a ticket when that is to be
    /// written into the pod's status.
    pub fn nominate(&mut self, pod: &Arc<PodView>, node: &Arc<str>) -> Option<Ticket> {
        if !self.own.contains_key(&pod.uid) && pod.nominated_node == *node {
            self.list(pod, node.clone());
            return None;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.own.insert(pod.uid.clone(), Own { node: node.clone(), ticket, written: None });
        self.list(pod, node.clone());
        Some(ticket)
    }

    /// Whether no later nomination has taken this one's place: only then it is written.
    pub fn is_current(&self, uid: &str, ticket: Ticket) -> bool {
        self.own.get(uid).is_some_and(|own| own.ticket == ticket)
    }

    /// The write was answered: from this revision on the pod's status is what counts. 0 when it failed.
    pub fn written(&mut self, uid: &str, ticket: Ticket, revision: u64) {
        if let Some(own) = self.own.get_mut(uid).filter(|own| own.ticket == ticket) {
            own.written = Some(revision);
        }
    }

    /// Takes over a new version of the pod: what we nominated holds until our write is in it.
    pub fn see(&mut self, pod: &Arc<PodView>) {
        let caught_up = |own: &Own| own.written.is_some_and(|revision| pod.revision() >= revision);
        if self.own.get(&pod.uid).is_some_and(caught_up) {
            self.own.remove(&pod.uid);
        }
        let node = self.own.get(&pod.uid).map_or(&pod.nominated_node, |own| &own.node).clone();
        self.list(pod, node);
    }

    fn list(&mut self, pod: &Arc<PodView>, node: Arc<str>) {
        self.unlist(&pod.uid);
        if !node.is_empty() {
            Arc::make_mut(&mut self.by_node).entry(node.clone()).or_default().push(pod.clone());
            self.nodes.insert(pod.uid.clone(), node);
        }
    }

    /// The pod takes its room, or may soon: it is counted there and not as promised.
    pub fn settle(&mut self, uid: &str) {
        self.unlist(uid);
    }

    /// Forgets a pod.
    pub fn remove(&mut self, uid: &str) {
        self.own.remove(uid);
        self.unlist(uid);
    }

    fn unlist(&mut self, uid: &str) {
        let Some(node) = self.nodes.remove(uid) else { return };
        let all = Arc::make_mut(&mut self.by_node);
        if let Some(pods) = all.get_mut(&node) {
            pods.retain(|p| &*p.uid != uid);
            if pods.is_empty() {
                all.remove(&node);
            }
        }
    }

    /// The node that a pod is promised.
    #[cfg(test)]
    pub fn node_of(&self, uid: &str) -> Option<&Arc<str>> {
        self.nodes.get(uid)
    }

    /// Pods of a lower priority that are promised the node.
    pub fn lower(&self, node: &str, priority: i32) -> Vec<Arc<PodView>> {
        let pods = self.by_node.get(node).into_iter().flatten();
        pods.filter(|p| p.priority < priority).cloned().collect()
    }

    pub fn all(&self) -> Arc<BTreeMap<Arc<str>, Vec<Arc<PodView>>>> {
        self.by_node.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    fn waiting(nominated: &str, revision: u64) -> Arc<PodView> {
        pod("p")
            .edit(|p| {
                p.status.nominated_node_name = nominated.into();
                p.metadata.resource_version = revision.to_string();
            })
            .shared()
    }

    #[test]
    fn our_nomination_holds_until_its_write_is_seen() {
        let mut nominator = Nominator::default();
        nominator.see(&waiting("", 1));
        let ticket = nominator.nominate(&waiting("", 1), &"a".into()).unwrap();
        nominator.see(&waiting("", 2));
        assert_eq!(nominator.node_of("p").map(|n| &**n), Some("a"), "the view is older than our write");
        nominator.written("p", ticket, 3);
        nominator.see(&waiting("a", 3));
        nominator.see(&waiting("", 4));
        assert_eq!(nominator.node_of("p"), None, "somebody took it back");
    }

    #[test]
    fn what_was_overtaken_is_not_written_and_counts_no_more() {
        let mut nominator = Nominator::default();
        let first = nominator.nominate(&waiting("", 1), &"a".into()).unwrap();
        let second = nominator.nominate(&waiting("", 1), &"".into()).unwrap();
        assert!(!nominator.is_current("p", first) && nominator.is_current("p", second));
        nominator.written("p", first, 2);
        nominator.see(&waiting("a", 2));
        assert_eq!(nominator.node_of("p"), None, "our later word stands");
        nominator.written("p", second, 3);
        nominator.see(&waiting("", 3));
        assert_eq!(nominator.nominate(&waiting("", 3), &"".into()), None, "nothing to write");
    }
}
