//! What happens to a HorizontalPodAutoscaler on its way to the store: defaults of metrics and
//! behavior.

use super::*;
use crate::kind::Strategy;

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
