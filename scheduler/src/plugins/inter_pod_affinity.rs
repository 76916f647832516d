//! InterPodAffinity: pods near, or away from, other pods within the same value of a node label.
//!
//! PreFilter counts matching pods by label value once; Filter is then a look-up. Required
//! anti-affinity works both ways: pods that are there can keep the new one away. Required affinity
//! that no pod satisfies yet is satisfied by the pod itself if it matches its own terms, so that the
//! first pod of a group can be placed.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::{NodeInfo, Snapshot};
use crate::config::args::InterPodArgs;
use crate::framework::{
    ClusterEvent, CycleState, Filter, MAX_SCORE, Plugin, PreFilter, PreFiltered, PreScore, Rejection, Score,
    Verdict,
};
use crate::pod::PodView;
use crate::pod_affinity::{NamespaceLabels, PodAffinityTerms, Term};

/// Number of matches by label and value.
type Counts = HashMap<(String, String), i64>;

#[derive(Clone, Debug, Default)]
struct Matches {
    /// Terms of pods that are there, that keep this pod away.
    existing_anti: Counts,
    /// Pods that match all of this pod's required terms.
    affinity: Counts,
    anti: Counts,
}

#[derive(Clone, Debug, Default)]
struct Preferences(HashMap<String, HashMap<String, i64>>);

pub struct InterPodAffinity {
    args: InterPodArgs,
}

impl InterPodAffinity {
    pub fn new(args: &InterPodArgs) -> Self {
        Self { args: args.clone() }
    }
}

fn terms(pod: &PodView) -> Option<&PodAffinityTerms> {
    pod.affinity.as_deref()
}

fn count(counts: &mut Counts, term: &Term, node: &NodeInfo, by: i64) {
    if let Some(value) = node.node().labels.get(&term.topology_key) {
        let key = (term.topology_key.clone(), value.clone());
        let slot = counts.entry(key).or_default();
        *slot += by;
    }
}

impl Matches {
    fn count_terms_against(
        &mut self,
        pod: &PodView,
        other: &PodView,
        node: &NodeInfo,
        spaces: &NamespaceLabels,
        by: i64,
    ) {
        for term in terms(other).iter().flat_map(|t| &t.required_anti) {
            if term.matches(pod, spaces) {
                count(&mut self.existing_anti, term, node, by);
            }
        }
    }

    fn count_own_terms(
        &mut self,
        pod: &PodView,
        other: &PodView,
        node: &NodeInfo,
        spaces: &NamespaceLabels,
        by: i64,
    ) {
        let Some(own) = terms(pod) else { return };
        if !own.required.is_empty() && own.required.iter().all(|t| t.matches(other, spaces)) {
            for term in &own.required {
                count(&mut self.affinity, term, node, by);
            }
        }
        for term in own.required_anti.iter().filter(|t| t.matches(other, spaces)) {
            count(&mut self.anti, term, node, by);
        }
    }

    fn update(&mut self, pod: &PodView, other: &PodView, node: &NodeInfo, spaces: &NamespaceLabels, by: i64) {
        self.count_terms_against(pod, other, node, spaces, by);
        self.count_own_terms(pod, other, node, spaces, by);
    }
}

fn at<'a>(counts: &Counts, term: &Term, node: &'a NodeInfo) -> Option<(i64, &'a str)> {
    let value = node.node().labels.get(&term.topology_key)?;
    Some((counts.get(&(term.topology_key.clone(), value.clone())).copied().unwrap_or(0), value))
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn wakes(&self, pod: &PodView, event: &ClusterEvent) -> bool {
        let topology = |labels: &std::collections::BTreeMap<String, String>| -> Vec<Option<String>> {
            let own = terms(pod).into_iter().flat_map(|t| t.required.iter().chain(&t.required_anti));
            own.map(|t| labels.get(&t.topology_key).cloned()).collect()
        };
        let drawn =
            |other: &PodView| terms(pod).is_some_and(|t| t.required.iter().any(|t| t.may_match(other)));
        // Either keeps the other away.
        let apart = |other: &PodView| {
            terms(pod).is_some_and(|t| t.required_anti.iter().any(|t| t.may_match(other)))
                || terms(other).is_some_and(|t| t.required_anti.iter().any(|t| t.may_match(pod)))
        };
        match event {
            ClusterEvent::AssignedPodAdded(new) => drawn(new),
            ClusterEvent::AssignedPodUpdated { old, new } => old.labels != new.labels,
            ClusterEvent::AssignedPodDeleted(gone) => apart(gone),
            ClusterEvent::NamespaceChanged => true,
            ClusterEvent::PodUpdated { old, new } => new.uid == pod.uid && old.labels != new.labels,
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated { old, new } => {
                // Others' anti-affinity may rest on any label.
                topology(&old.labels) != topology(&new.labels)
                    || (terms(pod).is_none() && old.labels != new.labels)
            }
            _ => false,
        }
    }
}

impl PreFilter for InterPodAffinity {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
    ) -> Result<PreFiltered, Rejection> {
        let mut matches = Matches::default();
        for node in snapshot.nodes_with_affinity() {
            for other in &node.with_affinity {
                matches.count_terms_against(pod, other, node, &snapshot.namespaces, 1);
            }
        }
        let constrained = terms(pod).is_some_and(|t| !t.required.is_empty() || !t.required_anti.is_empty());
        if constrained {
            for node in &snapshot.nodes {
                for other in &node.pods {
                    matches.count_own_terms(pod, other, node, &snapshot.namespaces, 1);
                }
            }
        } else if matches.existing_anti.is_empty() {
            return Ok(PreFiltered::Skip);
        }
        state.put(matches);
        state.put(snapshot.namespaces.clone());
        Ok(PreFiltered::AllNodes)
    }

    fn add_pod(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        added: &PodView,
        node: &NodeInfo,
        snapshot: &Snapshot,
    ) {
        if let Some(matches) = state.get_mut::<Matches>() {
            matches.update(pod, added, node, &snapshot.namespaces, 1);
        }
    }

    fn remove_pod(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        removed: &PodView,
        node: &NodeInfo,
        snapshot: &Snapshot,
    ) {
        if let Some(matches) = state.get_mut::<Matches>() {
            matches.update(pod, removed, node, &snapshot.namespaces, -1);
        }
    }
}

impl Filter for InterPodAffinity {
    fn filter(&self, state: &CycleState, pod: &PodView, node: &NodeInfo) -> Verdict {
        let Some(matches) = state.get::<Matches>() else { return Ok(()) };
        if let Some(own) = terms(pod) {
            let (mut labelled, mut near) = (true, true);
            for term in &own.required {
                match at(&matches.affinity, term, node) {
                    None => labelled = false,
                    Some((0, _)) => near = false,
                    Some(_) => {}
                }
            }
            let spaces = state.get::<Arc<NamespaceLabels>>().cloned().unwrap_or_default();
            // The first of a group that wants to be together.
            let first = || {
                matches.affinity.values().all(|n| *n <= 0)
                    && own.required.iter().all(|t| t.matches(pod, &spaces))
            };
            if !labelled || (!near && !first()) {
                return Err(Rejection::unresolvable("node(s) didn't match pod affinity rules"));
            }
            if own.required_anti.iter().any(|t| at(&matches.anti, t, node).is_some_and(|(n, _)| n > 0)) {
                return Err(Rejection::unschedulable("node(s) didn't match pod anti-affinity rules"));
            }
        }
        let kept_away = |((key, value), n): (&(String, String), &i64)| {
            *n > 0 && node.node().labels.get(key) == Some(value)
        };
        if matches.existing_anti.iter().any(kept_away) {
            return Err(Rejection::unschedulable("node(s) didn't satisfy existing pods anti-affinity rules"));
        }
        Ok(())
    }
}

impl PreScore for InterPodAffinity {
    fn pre_score(
        &self,
        state: &mut CycleState,
        pod: &PodView,
        snapshot: &Snapshot,
        _: &[Arc<NodeInfo>],
    ) -> bool {
        let wishes = terms(pod).is_some_and(PodAffinityTerms::has_preferences);
        if self.args.ignore_preferred_terms_of_existing_pods && !wishes {
            return false;
        }
        let mut scores = Preferences::default();
        for node in &snapshot.nodes {
            let others = if wishes { &node.pods } else { &node.with_affinity };
            for other in others {
                self.weigh(&mut scores, pod, other, node, &snapshot.namespaces);
            }
        }
        if scores.0.is_empty() {
            return false;
        }
        state.put(scores);
        true
    }
}

impl InterPodAffinity {
    fn weigh(
        &self,
        scores: &mut Preferences,
        pod: &PodView,
        other: &PodView,
        node: &NodeInfo,
        spaces: &NamespaceLabels,
    ) {
        let mut add = |term: &Term, of: &PodView, weight: i64| {
            if let Some(value) = node.node().labels.get(&term.topology_key)
                && term.matches(of, spaces)
            {
                let by_value = scores.0.entry(term.topology_key.clone()).or_default();
                *by_value.entry(value.clone()).or_default() += weight;
            }
        };
        if let Some(own) = terms(pod) {
            own.preferred.iter().for_each(|(weight, term)| add(term, other, *weight));
            own.preferred_anti.iter().for_each(|(weight, term)| add(term, other, -weight));
        }
        if let Some(theirs) = terms(other) {
            let hard = self.args.hard_pod_affinity_weight;
            if hard > 0 {
                theirs.required.iter().for_each(|term| add(term, pod, hard));
            }
            theirs.preferred.iter().for_each(|(weight, term)| add(term, pod, *weight));
            theirs.preferred_anti.iter().for_each(|(weight, term)| add(term, pod, -weight));
        }
    }
}

impl Score for InterPodAffinity {
    fn score(&self, state: &CycleState, _: &PodView, node: &NodeInfo, _: &Snapshot) -> i64 {
        let scores = state.get::<Preferences>().into_iter().flat_map(|p| &p.0);
        scores.filter_map(|(key, by_value)| by_value.get(node.node().labels.get(key)?)).sum()
    }

    fn normalize(&self, _: &CycleState, _: &[Arc<NodeInfo>], scores: &mut [i64]) {
        let lowest = scores.iter().copied().min().unwrap_or(0);
        let span = scores.iter().copied().max().unwrap_or(0) - lowest;
        for score in scores {
            let share = if span > 0 { (*score - lowest) as f64 / span as f64 } else { 0.0 };
            *score = (MAX_SCORE as f64 * share) as i64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PodBuilder, cluster, node, pod};

    fn check(incoming: &PodBuilder, on: &str, others: &[PodBuilder], expected: Option<&str>) {
        let nodes = [
            node("a").label("zone", "x"),
            node("b").label("zone", "x"),
            node("c").label("zone", "y"),
            node("d"),
        ];
        let snapshot = cluster(&nodes, others);
        let plugin = InterPodAffinity::new(&InterPodArgs::default());
        let (mut state, pod) = (CycleState::default(), incoming.view());
        let verdict = match plugin.pre_filter(&mut state, &pod, &snapshot) {
            Ok(PreFiltered::Skip) => Ok(()),
            Ok(_) => plugin.filter(&state, &pod, snapshot.get(on).unwrap()),
            Err(rejection) => Err(rejection),
        };
        assert_eq!(verdict.err().map(|r| r.message()).as_deref(), expected, "on {on}");
    }

    #[test]
    fn affinity_wants_a_matching_pod_in_the_zone() {
        let no = Some("node(s) didn't match pod affinity rules");
        let web = pod("web").pod_label("app", "web").on("a");
        let near_web = pod("p").affinity("app", "web", "zone");
        check(&near_web, "b", std::slice::from_ref(&web), None);
        check(&near_web, "c", std::slice::from_ref(&web), no);
        check(&near_web, "d", std::slice::from_ref(&web), no);
        check(&near_web, "a", &[web.namespace("other")], no);
    }

    #[test]
    fn the_first_pod_of_a_group_satisfies_itself() {
        let first = pod("p").pod_label("app", "web").affinity("app", "web", "zone");
        check(&first, "a", &[], None);
        check(&first, "d", &[], Some("node(s) didn't match pod affinity rules"));
        check(
            &pod("p").affinity("app", "web", "zone"),
            "a",
            &[],
            Some("node(s) didn't match pod affinity rules"),
        );
    }

    #[test]
    fn anti_affinity_works_both_ways() {
        let web = pod("web").pod_label("app", "web").on("a");
        let away = pod("p").anti_affinity("app", "web", "zone");
        check(&away, "b", std::slice::from_ref(&web), Some("node(s) didn't match pod anti-affinity rules"));
        check(&away, "c", &[web], None);
        let guard = pod("guard").anti_affinity("app", "web", "zone").on("a");
        let incoming = pod("p").pod_label("app", "web");
        check(
            &incoming,
            "b",
            std::slice::from_ref(&guard),
            Some("node(s) didn't satisfy existing pods anti-affinity rules"),
        );
        check(&incoming, "c", &[guard], None);
    }

    #[test]
    fn pods_that_come_and_go_wake_those_that_they_concern() {
        let plugin = InterPodAffinity::new(&InterPodArgs::default());
        let web = pod("web").pod_label("app", "web").on("a").shared();
        let wakes = |waiting: &PodBuilder, event| plugin.wakes(&waiting.view(), &event);
        let near = pod("p").affinity("app", "web", "zone");
        assert!(wakes(&near, ClusterEvent::AssignedPodAdded(web.clone())));
        assert!(!wakes(&near, ClusterEvent::AssignedPodDeleted(web.clone())));
        let away = pod("p").anti_affinity("app", "web", "zone");
        assert!(wakes(&away, ClusterEvent::AssignedPodDeleted(web.clone())));
        assert!(!wakes(&away, ClusterEvent::AssignedPodAdded(web)));
        let guard = pod("guard").anti_affinity("app", "web", "zone").on("a").shared();
        assert!(wakes(&pod("p").pod_label("app", "web"), ClusterEvent::AssignedPodDeleted(guard)));
    }

    #[test]
    fn removing_the_pod_in_the_way_makes_room() {
        let snapshot =
            cluster(&[node("a").label("zone", "x")], &[pod("web").pod_label("app", "web").on("a")]);
        let plugin = InterPodAffinity::new(&InterPodArgs::default());
        let incoming = pod("p").anti_affinity("app", "web", "zone").view();
        let (mut state, node) = (CycleState::default(), snapshot.get("a").unwrap());
        plugin.pre_filter(&mut state, &incoming, &snapshot).unwrap();
        assert!(plugin.filter(&state, &incoming, node).is_err());
        plugin.remove_pod(&mut state, &incoming, &node.pods[0].clone(), node, &snapshot);
        assert_eq!(plugin.filter(&state, &incoming, node), Ok(()));
    }
}
