//! What happens to a HorizontalPodAutoscaler on its way to the store: defaults of metrics and
//! behavior.

use super::*;
use crate::field::Errors;
use crate::kind::{Column, Strategy};

impl Strategy for HorizontalPodAutoscaler {
    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        spec.min_replicas.get_or_insert(1);
        if spec.metrics.is_empty() {
            spec.metrics = vec![cpu(80)];
        }
        if let Some(behavior) = &mut spec.behavior {
            let up = behavior.scale_up.get_or_insert_default();
            rules(up, &[(HPAScalingPolicyType::Pods, 4), (HPAScalingPolicyType::Percent, 100)]);
            up.stabilization_window_seconds.get_or_insert(0);
            // Down, the window is a setting of the controller.
            rules(behavior.scale_down.get_or_insert_default(), &[(HPAScalingPolicyType::Percent, 100)]);
        }
    }

    fn prepare_for_create(&mut self) {
        self.status = HorizontalPodAutoscalerStatus::default();
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
    }

    fn validate_create(&self, errors: &mut Errors) {
        validate::autoscaler(self, None, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::autoscaler(self, Some(old), errors);
    }

    fn validate_status_update(&self, _old: &Self, errors: &mut Errors) {
        validate::status_update(&self.status, errors);
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Reference", "The workload that is scaled.", |own: &Self, _| {
                    let target = &own.spec.scale_target_ref;
                    format!("{}/{}", target.kind, target.name).into()
                }),
                Column::text("Targets", "What was measured over what is aimed at.", |own: &Self, _| {
                    columns::targets(&own.spec, &own.status).into()
                }),
                Column::text("MinPods", "The fewest replicas.", |own: &Self, _| {
                    own.spec.min_replicas.map_or("<unset>".to_owned(), |n| n.to_string()).into()
                }),
                // COMPAT: numbers under a column of texts, as upstream sends them.
                Column::text("MaxPods", "The most replicas.", |own: &Self, _| own.spec.max_replicas.into()),
                Column::text("Replicas", "Replicas last seen.", |own: &Self, _| {
                    own.status.current_replicas.into()
                }),
                Column::age(),
            ]
        }
    }
}

/// The metric that aims at a percentage of the CPU that is requested.
pub(crate) fn cpu(percent: i32) -> MetricSpec {
    let target = MetricTarget {
        type_: MetricTargetType::Utilization,
        average_utilization: Some(percent),
        ..MetricTarget::default()
    };
    MetricSpec {
        type_: MetricSourceType::Resource,
        resource: Some(Box::new(ResourceMetricSource { name: "cpu".to_owned(), target })),
        ..MetricSpec::default()
    }
}

/// What rules of one direction leave open: any of `policies` within 15 seconds.
fn rules(rules: &mut HPAScalingRules, policies: &[(HPAScalingPolicyType, i32)]) {
    rules.select_policy.get_or_insert(ScalingPolicySelect::Max);
    if rules.policies.is_empty() {
        rules.policies = policies
            .iter()
            .map(|(type_, value)| HPAScalingPolicy {
                type_: type_.clone(),
                value: *value,
                period_seconds: 15,
            })
            .collect();
    }
}
