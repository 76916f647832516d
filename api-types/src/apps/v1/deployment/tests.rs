//! Deployments on their way to the store.

use super::*;
use crate::core::v1::Container;
use crate::field::Errors;
use crate::kind::{Object, Strategy};
use crate::kinds;

fn deployment(change: impl FnOnce(&mut Deployment)) -> Deployment {
    let mut own = Deployment::default();
    own.metadata.name = "web".into();
    own.metadata.namespace = "shop".into();
    let labels = [("app".to_owned(), "web".to_owned())];
    own.spec.selector =
        Some(Box::new(LabelSelector { match_labels: labels.clone().into(), ..Default::default() }));
    own.spec.template.metadata.labels = labels.into();
    own.spec.template.spec.containers =
        vec![Container { name: "main".into(), image: "nginx:1".into(), ..Default::default() }];
    change(&mut own);
    let row = kinds::by_kind("apps", "v1", "Deployment").expect("a kind");
    row.default(&mut own as &mut dyn Object);
    own
}

#[track_caller]
fn check(change: impl FnOnce(&mut Deployment), expected: &[&str]) {
    let mut errors = Errors::default();
    deployment(change).validate(&mut errors);
    assert_eq!(errors.0.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
}

#[test]
fn defaults() {
    let spec = deployment(|_| {}).spec;
    assert_eq!(
        (spec.replicas, spec.revision_history_limit, spec.progress_deadline_seconds),
        (Some(1), Some(10), Some(600))
    );
    let limits = spec.strategy.rolling_update.expect("set");
    assert_eq!((limits.max_surge, limits.max_unavailable), (Some("25%".into()), Some("25%".into())));
    let template = spec.template.spec;
    assert_eq!(template.termination_grace_period_seconds, Some(30));
    assert_eq!(template.enable_service_links, None, "only pods get it");
}

#[test]
fn what_is_refused() {
    check(|_| {}, &[]);
    check(
        |d| d.spec.selector = None,
        &[
            "spec.selector: Required value",
            r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#,
        ],
    );
    check(
        |d| d.spec.template.metadata.labels.clear(),
        &["spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`"],
    );
    check(
        |d| {
            d.spec.replicas = Some(-1);
            d.spec.template.spec.restart_policy = "Never".into();
            d.spec.template.spec.containers.clear();
        },
        &[
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.template.spec.containers: Required value",
            r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#,
        ],
    );
    check(
        |d| {
            d.spec.strategy.rolling_update = Some(Box::new(RollingUpdateDeployment {
                max_surge: Some(0.into()),
                max_unavailable: Some("0%".into()),
            }));
        },
        &[
            r#"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0"#,
        ],
    );
    check(
        |d| {
            d.spec.strategy.type_ = "Recreate".into();
            d.spec.strategy.rolling_update = Some(Box::default());
            d.spec.min_ready_seconds = 600;
        },
        &[
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
        ],
    );
}

#[test]
fn the_selector_stays() {
    let old = deployment(|_| {});
    let mut new = old.clone();
    new.spec.selector.as_mut().expect("set").match_labels.insert("x".into(), "y".into());
    let mut errors = Errors::default();
    new.validate_update(&old, &mut errors);
    assert_eq!(
        errors.to_string(),
        r#"spec.selector: Invalid value: {"matchLabels":{"app":"web","x":"y"}}: field is immutable"#
    );
}

#[test]
fn generations_count_spec_and_annotations() {
    let mut old = deployment(|_| {});
    old.prepare_for_create();
    let changed = |change: fn(&mut Deployment)| {
        let mut new = old.clone();
        change(&mut new);
        new.prepare_for_update(&old);
        new.metadata.generation
    };
    assert_eq!(changed(|d| d.status.replicas = 3), 1);
    assert_eq!(changed(|d| d.metadata.generation = 9), 1);
    assert_eq!(changed(|d| d.spec.replicas = Some(3)), 2);
    assert_eq!(changed(|d| _ = d.metadata.annotations.insert("a".into(), "b".into())), 2);
}

#[test]
fn statuses() {
    let old = deployment(|_| {});
    let mut new = old.clone();
    new.status =
        DeploymentStatus { replicas: 1, ready_replicas: 2, available_replicas: 3, ..Default::default() };
    let mut errors = Errors::default();
    new.validate_status_update(&old, &mut errors);
    assert_eq!(
        errors.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
        ]
    );
}
