//! DaemonSets on their way to the store.

use super::*;
use crate::core::v1::Container;
use crate::kind::Strategy;
use crate::kind::testing::{defaulted, refused, refused_update};

fn set(change: impl FnOnce(&mut DaemonSet)) -> DaemonSet {
    let mut own = DaemonSet::default();
    own.metadata.name = "agent".into();
    own.metadata.namespace = "shop".into();
    let labels = [("app".to_owned(), "agent".to_owned())];
    own.spec.selector =
        Some(Box::new(LabelSelector { match_labels: labels.clone().into(), ..Default::default() }));
    own.spec.template.metadata.labels = labels.into();
    own.spec.template.spec.containers =
        vec![Container { name: "main".into(), image: "agent:1".into(), ..Default::default() }];
    change(&mut own);
    own
}

#[test]
fn defaults() {
    let spec = defaulted(set(|_| {})).spec;
    assert_eq!(spec.revision_history_limit, Some(10));
    assert_eq!(spec.update_strategy.type_, DaemonSetUpdateStrategyType::RollingUpdate);
    let limits = spec.update_strategy.rolling_update.expect("set");
    assert_eq!((limits.max_unavailable, limits.max_surge), (Some(1.into()), Some(0.into())));
}

#[test]
fn what_is_refused() {
    assert!(refused(set(|_| {})).is_empty());
    assert_eq!(
        refused(set(|d| {
            d.spec.selector = Some(Box::default());
            d.spec.template.spec.restart_policy = "Never".into();
            d.spec.min_ready_seconds = -1;
        })),
        [
            "spec.selector: Invalid value: {}: empty selector is invalid for daemonset",
            r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#,
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
        ]
    );
    let limits = |unavailable: &str, surge: &str| {
        refused(set(|d| {
            d.spec.update_strategy.rolling_update = Some(Box::new(RollingUpdateDaemonSet {
                max_unavailable: Some(unavailable.into()),
                max_surge: Some(surge.into()),
            }));
        }))
    };
    assert!(limits("0%", "10%").is_empty());
    assert_eq!(
        limits("0%", "0%"),
        ["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"]
    );
    assert_eq!(
        limits("10%", "101%"),
        [
            r#"spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "101%": must not be greater than 100%"#,
            r#"spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "101%": may not be set when maxUnavailable is non-zero"#,
        ]
    );
}

#[test]
fn the_selector_stays_and_collisions_only_grow() {
    let old = set(|d| d.status.collision_count = Some(2));
    let mut new = old.clone();
    new.spec.selector.as_mut().expect("set").match_labels.insert("x".into(), "y".into());
    assert_eq!(
        refused_update(new.clone(), old.clone()),
        [r#"spec.selector: Invalid value: {"matchLabels":{"app":"agent","x":"y"}}: field is immutable"#]
    );
    new.status.collision_count = Some(1);
    new.status.number_ready = -1;
    let mut errors = crate::field::Errors::default();
    new.validate_status_update(&old, &mut errors);
    assert_eq!(
        errors.to_string(),
        "[status.numberReady: Invalid value: -1: must be greater than or equal to 0, status.collisionCount: Invalid value: 1: cannot be decremented]"
    );
}

#[test]
fn changes_of_the_template_are_counted_in_an_annotation() {
    let mut old = set(|_| {});
    old.prepare_for_create();
    let counted =
        |set: &DaemonSet| set.metadata.annotations["deprecated.daemonset.template.generation"].clone();
    assert_eq!(counted(&old), "1");
    let mut new = old.clone();
    new.metadata.annotations.clear();
    new.spec.min_ready_seconds = 5;
    new.prepare_for_update(&old);
    assert_eq!(counted(&new), "1");
    new.spec.template.spec.containers[0].image = "agent:2".into();
    new.prepare_for_update(&old);
    assert_eq!(counted(&new), "2");
}
