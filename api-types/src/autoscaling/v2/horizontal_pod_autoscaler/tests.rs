//! HorizontalPodAutoscalers on their way to the store.

use super::strategy::cpu;
use super::*;
use crate::kind::testing::{defaulted, refused, refused_update};

fn autoscaler(change: impl FnOnce(&mut HorizontalPodAutoscaler)) -> HorizontalPodAutoscaler {
    let mut own = HorizontalPodAutoscaler::default();
    own.spec.scale_target_ref = CrossVersionObjectReference {
        kind: "Deployment".into(),
        name: "web".into(),
        api_version: "apps/v1".into(),
    };
    own.spec.max_replicas = 3;
    change(&mut own);
    own
}

#[test]
fn defaults() {
    let spec = defaulted(autoscaler(|a| a.spec.behavior = Some(Box::default()))).spec;
    assert_eq!((spec.min_replicas, spec.metrics), (Some(1), vec![cpu(80)]));
    let behavior = spec.behavior.expect("given");
    let up = behavior.scale_up.expect("set");
    assert_eq!((up.policies.len(), up.stabilization_window_seconds), (2, Some(0)));
    let down = behavior.scale_down.expect("set");
    assert_eq!((down.policies.len(), down.stabilization_window_seconds), (1, None));
}

#[test]
fn what_is_refused() {
    assert!(refused(autoscaler(|_| {})).is_empty());
    assert_eq!(
        refused(autoscaler(|a| {
            a.spec.min_replicas = Some(0);
            a.spec.max_replicas = 0;
            a.spec.scale_target_ref.api_version = "v1".into();
            a.spec.metrics = vec![MetricSpec { type_: "Pods".into(), ..cpu(0) }];
        })),
        [
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            "spec.maxReplicas: Required value: must be set and greater than 0",
            r#"spec.scaleTargetRef.apiVersion: Invalid value: "v1": apiVersion must specify API group"#,
            "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
            "spec.metrics[0].pods: Required value: must populate information for the given metric source",
            "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
        ]
    );
    assert_eq!(
        refused(autoscaler(|a| {
            a.spec.behavior = Some(Box::new(HorizontalPodAutoscalerBehavior {
                scale_up: Some(Box::new(HPAScalingRules {
                    stabilization_window_seconds: Some(3601),
                    policies: vec![HPAScalingPolicy { type_: "Pods".into(), value: 0, period_seconds: 1801 }],
                    ..Default::default()
                })),
                scale_down: None,
            }));
        })),
        [
            "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
            "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
        ]
    );
}

#[test]
fn what_was_wrong_before_may_stay() {
    let old = autoscaler(|a| a.spec.scale_target_ref.api_version = "v1".into());
    let mut new = old.clone();
    new.spec.max_replicas = 4;
    assert!(refused_update(new, old).is_empty());
}

#[test]
fn the_table_shows_measured_over_aimed_at() {
    let mut own = autoscaler(|a| a.spec.metrics = vec![cpu(80), cpu(50), cpu(20)]);
    own.status.current_metrics = vec![MetricStatus {
        type_: "Resource".into(),
        resource: Some(Box::new(ResourceMetricStatus {
            name: "cpu".into(),
            current: MetricValueStatus { average_utilization: Some(12), ..Default::default() },
        })),
        ..Default::default()
    }];
    assert_eq!(columns::targets(&own.spec, &own.status), "cpu: 12%/80%, cpu: <unknown>/50% + 1 more...");
}
