//! What happens to a PodDisruptionBudget on its way to the store.

use super::*;
use crate::apps::v1::share::{at_most_all, number_or_percentage};
use crate::field::{Errors, Path};
use crate::kind::{Column, Strategy, set_generation};
use crate::meta::v1::condition::validate as conditions;
use crate::meta::v1::validate::not_negative;
use crate::selector;
use crate::value::Value;

impl Strategy for PodDisruptionBudget {
    const UNCONDITIONAL_UPDATE: bool = false;

    fn prepare_for_create(&mut self) {
        self.status = PodDisruptionBudgetStatus::default();
        self.metadata.generation = 1;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
    }

    fn validate(&self, errors: &mut Errors) {
        let path = Path::new("spec");
        let spec = &self.spec;
        if spec.min_available.is_some() && spec.max_unavailable.is_some() {
            let text = "minAvailable and maxUnavailable cannot be both set";
            errors.invalid(&path, spec as &dyn Value, text);
        }
        for (name, limit) in
            [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)]
        {
            if let Some(limit) = limit {
                number_or_percentage(limit, &path.child(name), errors);
                at_most_all(limit, &path.child(name), errors);
            }
        }
        if let Some(own) = &spec.selector {
            selector::validate(own, &path.child("selector"), errors);
        }
        if let Some(policy) = &spec.unhealthy_pod_eviction_policy {
            let path = path.child("unhealthyPodEvictionPolicy");
            errors.choice(&path, policy.as_str(), &["AlwaysAllow", "IfHealthyBudget"]);
        }
    }

    fn validate_status_update(&self, _old: &Self, errors: &mut Errors) {
        let path = Path::new("status");
        let status = &self.status;
        conditions(&status.conditions, &path.child("conditions"), errors);
        for (name, count) in [
            ("disruptionsAllowed", status.disruptions_allowed),
            ("currentHealthy", status.current_healthy),
            ("desiredHealthy", status.desired_healthy),
            ("expectedPods", status.expected_pods),
        ] {
            not_negative(count, &path.child(name), errors);
        }
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Min Available", "Pods that must stay available.", |own: &Self, _| {
                    own.spec.min_available.as_ref().map_or("N/A".to_owned(), ToString::to_string).into()
                }),
                Column::text("Max Unavailable", "Pods that may be unavailable.", |own: &Self, _| {
                    own.spec.max_unavailable.as_ref().map_or("N/A".to_owned(), ToString::to_string).into()
                }),
                Column::integer("Allowed Disruptions", "Pods that may be evicted now.", |own: &Self, _| {
                    own.status.disruptions_allowed.into()
                }),
                Column::age(),
            ]
        }
    }
}
