//! Budgets of disruptions (PodDisruptionBudget), as far as preemption minds them: it takes other
//! victims where it can.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::policy::v1::PodDisruptionBudget;
use api_types::selector::Labels;
use client::informer::Projection;

use super::Snapshot;
use crate::pod::PodView;

/// How many pods may be disrupted.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetView {
    pub namespace: String,
    pub selector: Labels,
    pub allowed: i32,
    /// Pods whose eviction the apiserver has counted already.
    pub disrupted: BTreeSet<String>,
}

impl Projection for BudgetView {
    type Source = PodDisruptionBudget;

    fn project(budget: PodDisruptionBudget) -> Option<Self> {
        let selector = Labels::from_spec(budget.spec.selector.as_deref()).ok()?;
        // COMPAT: a selector that selects everything selects nothing here.
        (!selector.is_everything()).then(|| Self {
            namespace: budget.metadata.namespace,
            selector,
            allowed: budget.status.disruptions_allowed,
            disrupted: budget.status.disrupted_pods.into_keys().collect(),
        })
    }
}

/// Splits pods, in the order given, into those whose end would violate a budget and the others.
pub fn violating(snapshot: &Snapshot, pods: Vec<Arc<PodView>>) -> (Vec<Arc<PodView>>, Vec<Arc<PodView>>) {
    let mut left: Vec<(&BudgetView, i32)> = snapshot.budgets.values().map(|b| (&**b, b.allowed)).collect();
    pods.into_iter().partition(|pod| {
        let mut violates = false;
        for (budget, allowed) in &mut left {
            if *budget.namespace == *pod.namespace
                && !pod.labels.is_empty()
                && budget.selector.matches(&pod.labels)
                && !budget.disrupted.contains(&pod.name)
            {
                *allowed -= 1;
                violates |= *allowed < 0;
            }
        }
        violates
    })
}
