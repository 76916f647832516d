//! A pod's affinity to other pods, compiled (API doc "PodAffinityTerm").
//!
//! matchLabelKeys and mismatchLabelKeys are merged into the selector here; the apiserver has done so
//! too, and doing it twice selects the same pods.

use std::collections::BTreeMap;

use api_types::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm};
use api_types::meta::v1::{LabelSelector, LabelSelectorRequirement};
use api_types::selector::Labels;

use crate::pod::PodView;

/// Pods near which, or away from which, a pod wants to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    pub topology_key: String,
    namespaces: Vec<String>,
    namespace_selector: Labels,
    selector: Labels,
}

/// Labels of namespaces by name.
pub type NamespaceLabels = BTreeMap<String, BTreeMap<String, String>>;

impl Term {
    fn of(term: &PodAffinityTerm, pod: &Pod) -> Self {
        let namespaces = match (&term.namespace_selector, term.namespaces.is_empty()) {
            (None, true) => vec![pod.metadata.namespace.clone()],
            _ => term.namespaces.clone(),
        };
        let mut selector = term.label_selector.as_deref().cloned();
        let mut require = |keys: &[String], operator: &str| {
            for key in keys {
                if let (Some(value), Some(selector)) = (pod.metadata.labels.get(key), selector.as_mut()) {
                    selector.match_expressions.push(LabelSelectorRequirement {
                        key: key.clone(),
                        operator: operator.into(),
                        values: vec![value.clone()],
                    });
                }
            }
        };
        require(&term.match_label_keys, "In");
        require(&term.mismatch_label_keys, "NotIn");
        Self {
            topology_key: term.topology_key.clone(),
            namespaces,
            namespace_selector: compiled(term.namespace_selector.as_deref()),
            selector: compiled(selector.as_ref()),
        }
    }

    /// Whether the term may speak of `pod`, whatever the labels of its namespace.
    pub fn may_match(&self, pod: &PodView) -> bool {
        let by_name = self.namespaces.iter().any(|n| **n == *pod.namespace);
        (by_name || self.namespace_selector != Labels::nothing()) && self.selector.matches(&pod.labels)
    }

    /// Whether the term speaks of `pod`.
    pub fn matches(&self, pod: &PodView, namespaces: &NamespaceLabels) -> bool {
        let by_name = self.namespaces.iter().any(|n| **n == *pod.namespace);
        let none = BTreeMap::new();
        let labels = || namespaces.get(&*pod.namespace).unwrap_or(&none);
        (by_name || self.namespace_selector.matches(labels())) && self.selector.matches(&pod.labels)
    }
}

/// A malformed selector matches nothing, as one that is absent does.
fn compiled(selector: Option<&LabelSelector>) -> Labels {
    Labels::from_spec(selector).unwrap_or_else(|_| Labels::nothing())
}

/// All that a pod says of other pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodAffinityTerms {
    pub required: Vec<Term>,
    pub required_anti: Vec<Term>,
    pub preferred: Vec<(i64, Term)>,
    pub preferred_anti: Vec<(i64, Term)>,
}

impl PodAffinityTerms {
    /// `None` when the pod does not mind other pods.
    pub fn of(pod: &Pod) -> Option<Self> {
        let affinity = pod.spec.affinity.as_deref()?;
        let all = |terms: &[PodAffinityTerm]| terms.iter().map(|t| Term::of(t, pod)).collect();
        let weighted = |terms: &[WeightedPodAffinityTerm]| {
            terms.iter().map(|t| (i64::from(t.weight), Term::of(&t.pod_affinity_term, pod))).collect()
        };
        let mut own = Self::default();
        if let Some(near) = &affinity.pod_affinity {
            own.required = all(&near.required_during_scheduling_ignored_during_execution);
            own.preferred = weighted(&near.preferred_during_scheduling_ignored_during_execution);
        }
        if let Some(away) = &affinity.pod_anti_affinity {
            own.required_anti = all(&away.required_during_scheduling_ignored_during_execution);
            own.preferred_anti = weighted(&away.preferred_during_scheduling_ignored_during_execution);
        }
        (own != Self::default()).then_some(own)
    }

    /// Whether it states anything that must hold or is wished for towards other pods.
    pub fn has_preferences(&self) -> bool {
        !self.preferred.is_empty() || !self.preferred_anti.is_empty()
    }
}
