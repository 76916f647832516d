//! StatefulSets on their way to the store.

use super::*;
use crate::codec::json;
use crate::core::v1::{Container, VolumeMount};
use crate::kind::Strategy;
use crate::kind::testing::{defaulted, refused, refused_update};
use crate::value::Quantity;

fn set(change: impl FnOnce(&mut StatefulSet)) -> StatefulSet {
    let mut own = StatefulSet::default();
    own.metadata.name = "db".into();
    own.metadata.namespace = "shop".into();
    let labels = [("app".to_owned(), "db".to_owned())];
    own.spec.selector =
        Some(Box::new(LabelSelector { match_labels: labels.clone().into(), ..Default::default() }));
    own.spec.service_name = "db".into();
    own.spec.template.metadata.labels = labels.into();
    let mount = VolumeMount { name: "data".into(), mount_path: "/data".into(), ..Default::default() };
    own.spec.template.spec.containers = vec![Container {
        name: "main".into(),
        image: "db:1".into(),
        volume_mounts: vec![mount],
        ..Default::default()
    }];
    let mut claim = PersistentVolumeClaim::default();
    claim.metadata.name = "data".into();
    claim.spec.access_modes = vec!["ReadWriteOnce".into()];
    claim.spec.resources.requests.insert("storage".into(), Quantity::parse("1Gi").expect("an amount"));
    own.spec.volume_claim_templates = vec![claim.into()];
    change(&mut own);
    own
}

#[test]
fn defaults() {
    let spec = defaulted(set(|_| {})).spec;
    assert_eq!((spec.replicas, spec.revision_history_limit), (Some(1), Some(10)));
    assert_eq!(spec.pod_management_policy, PodManagementPolicyType::OrderedReady);
    assert_eq!(spec.update_strategy.rolling_update.expect("set").partition, Some(0));
    let retention = spec.persistent_volume_claim_retention_policy.expect("set");
    assert_eq!(retention.when_scaled, PersistentVolumeClaimRetentionPolicyType::Retain);
    assert_eq!(spec.volume_claim_templates[0].spec.volume_mode, Some("Filesystem".into()));
}

#[test]
fn claims_say_their_kind_in_json() {
    let text = String::from_utf8(json::to_vec(&set(|_| {}))).expect("text");
    assert!(
        text.contains(r#""volumeClaimTemplates":[{"kind":"PersistentVolumeClaim","apiVersion":"v1","#),
        "{text}"
    );
    let (read, strict) = json::from_slice_strict::<StatefulSet>(text.as_bytes()).expect("an object");
    assert!(strict.is_empty(), "{strict:?}");
    assert_eq!(read, set(|_| {}));
    let stray = r#"{"spec":{"template":{"kind":"Pod"}}}"#;
    let (_, strict) = json::from_slice_strict::<StatefulSet>(stray.as_bytes()).expect("an object");
    assert_eq!(strict.len(), 1, "a template is no whole object");
}

#[test]
fn what_is_refused() {
    assert!(refused(set(|_| {})).is_empty());
    assert_eq!(
        refused(set(|s| {
            s.spec.pod_management_policy = "Random".into();
            s.spec.update_strategy.type_ = "OnDelete".into();
            s.spec.update_strategy.rolling_update = Some(Box::default());
            s.spec.volume_claim_templates[0].spec.access_modes.clear();
            s.spec.service_name = "No".into();
            s.spec.template.spec.restart_policy = "Never".into();
        }))
        .iter()
        .map(|text| text.split(" (e.g.").next().expect("a text"))
        .collect::<Vec<_>>(),
        [
            r#"spec.podManagementPolicy: Invalid value: "Random": must be 'OrderedReady' or 'Parallel'"#,
            "spec.updateStrategy.rollingUpdate: Invalid value: {}: only allowed for updateStrategy 'RollingUpdate'",
            "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
            r#"spec.serviceName: Invalid value: "No": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character"#,
            r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#,
        ]
    );
}

#[test]
fn little_can_be_changed() {
    let old = defaulted(set(|s| s.spec.service_name = "Was fine once".into()));
    let mut new = old.clone();
    new.spec.replicas = Some(5);
    new.spec.template.spec.containers[0].image = "db:2".into();
    assert!(refused_update(new.clone(), old.clone()).is_empty());
    new.spec.service_name = "other".into();
    assert_eq!(
        refused_update(new, old),
        [
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        ]
    );
}

#[test]
fn statuses() {
    let old = set(|_| {});
    let new = set(|s| {
        s.status =
            StatefulSetStatus { replicas: 1, ready_replicas: 1, available_replicas: 2, ..Default::default() };
    });
    let mut errors = crate::field::Errors::default();
    new.validate_status_update(&old, &mut errors);
    assert_eq!(
        errors.to_string(),
        "[status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas, status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas]"
    );
}
