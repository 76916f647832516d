//! PodDisruptionBudgets on their way to the store.

use super::*;
use crate::kind::Strategy;
use crate::kind::testing::refused;

fn budget(change: impl FnOnce(&mut PodDisruptionBudget)) -> PodDisruptionBudget {
    let mut own = PodDisruptionBudget::default();
    own.spec.selector = Some(Box::default());
    change(&mut own);
    own
}

#[test]
fn what_is_refused() {
    assert!(refused(budget(|b| b.spec.min_available = Some("50%".into()))).is_empty());
    assert_eq!(
        refused(budget(|b| {
            b.spec.min_available = Some(1.into());
            b.spec.max_unavailable = Some("101%".into());
            b.spec.unhealthy_pod_eviction_policy = Some("Never".into());
        })),
        [
            r#"spec: Invalid value: {"minAvailable":1,"selector":{},"maxUnavailable":"101%","unhealthyPodEvictionPolicy":"Never"}: minAvailable and maxUnavailable cannot be both set"#,
            r#"spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%"#,
            r#"spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget""#,
        ]
    );
}

#[test]
fn statuses() {
    let new = budget(|b| {
        b.status.disruptions_allowed = -1;
        b.status.conditions = vec![Condition { type_: "DisruptionAllowed".into(), ..Default::default() }];
    });
    let mut errors = crate::field::Errors::default();
    new.validate_status_update(&budget(|_| {}), &mut errors);
    assert_eq!(
        errors.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            r#"status.conditions[0].status: Unsupported value: "": supported values: "False", "True", "Unknown""#,
            "status.conditions[0].lastTransitionTime: Required value",
            "status.conditions[0].reason: Required value",
            "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0",
        ]
    );
}

#[test]
fn generations_count_the_spec() {
    let mut old = budget(|_| {});
    old.prepare_for_create();
    let mut new = old.clone();
    new.spec.max_unavailable = Some(1.into());
    new.prepare_for_update(&old);
    assert_eq!((old.metadata.generation, new.metadata.generation), (1, 2));
}
