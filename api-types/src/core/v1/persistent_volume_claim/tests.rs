//! PersistentVolumeClaims on their way to the store.

use super::*;
use crate::core::v1::{TypedLocalObjectReference, TypedObjectReference};
use crate::kind::Strategy;
use crate::kind::testing::{defaulted, refused, refused_update};
use crate::value::Quantity;

fn amount(text: &str) -> Quantity {
    Quantity::parse(text).expect("an amount")
}

fn claim(change: impl FnOnce(&mut PersistentVolumeClaim)) -> PersistentVolumeClaim {
    let mut own = PersistentVolumeClaim::default();
    own.metadata.name = "data".into();
    own.metadata.namespace = "shop".into();
    own.spec.access_modes = vec!["ReadWriteOnce".into()];
    own.spec.resources.requests.insert("storage".into(), amount("2Gi"));
    change(&mut own);
    own
}

fn bound(size: &str) -> PersistentVolumeClaim {
    claim(|c| {
        c.spec.volume_name = "disk".into();
        c.spec.storage_class_name = Some("fast".into());
        c.spec.resources.requests.insert("storage".into(), amount(size));
        c.status.phase = PersistentVolumeClaimPhase::Bound;
        c.status.capacity.insert("storage".into(), amount("1Gi"));
    })
}

#[test]
fn what_is_refused() {
    assert!(refused(claim(|_| {})).is_empty());
    assert_eq!(
        refused(claim(|c| {
            c.spec.access_modes = vec!["Sometimes".into()];
            c.spec.resources.requests.clear();
            c.spec.volume_mode = Some("Tape".into());
            c.spec.data_source_ref =
                Some(Box::new(TypedObjectReference { kind: "Book".into(), ..Default::default() }));
        })),
        [
            r#"spec.accessModes: Unsupported value: "Sometimes": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod""#,
            "spec.resources[storage]: Required value",
            r#"spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem""#,
            "spec.dataSourceRef.name: Required value",
            r#"spec.dataSourceRef: Invalid value: "Book": must be 'PersistentVolumeClaim' when referencing the default apiGroup"#,
        ]
    );
}

#[test]
fn data_sources_agree() {
    let prepared = |kind: &str| {
        let mut own = claim(|c| {
            c.spec.data_source = Some(Box::new(TypedLocalObjectReference {
                kind: kind.into(),
                name: "a".into(),
                ..Default::default()
            }));
        });
        own.prepare_for_create();
        own.spec
    };
    assert_eq!(prepared("Book").data_source, None, "what cannot be a source is dropped");
    let spec = prepared("PersistentVolumeClaim");
    assert_eq!(spec.data_source_ref.expect("copied").name, "a");
}

#[test]
fn claims_get_a_volume_and_grow() {
    let old = claim(|_| {});
    assert!(refused_update(claim(|c| c.spec.volume_name = "disk".into()), old.clone()).is_empty());
    assert!(
        refused_update(claim(|c| c.spec.storage_class_name = Some("fast".into())), old.clone()).is_empty()
    );
    let text =
        refused_update(claim(|c| _ = c.spec.resources.requests.insert("storage".into(), amount("3Gi"))), old);
    assert!(text[0].starts_with("spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"), "{text:?}");

    assert!(refused_update(bound("3Gi"), bound("2Gi")).is_empty());
    assert!(refused_update(bound("1500Mi"), bound("2Gi")).is_empty(), "a failed resize is taken back");
    assert_eq!(
        refused_update(bound("1Gi"), bound("2Gi")),
        ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
    );
    let other = claim(|c| c.spec.volume_mode = Some("Block".into()));
    assert_eq!(refused_update(other, claim(|_| {})).len(), 2);
}

#[test]
fn statuses() {
    let new = claim(|c| {
        c.status.allocated_resource_statuses.insert("cpu".into(), "Soon".into());
    });
    let mut errors = crate::field::Errors::default();
    new.validate_status_update(&claim(|_| {}), &mut errors);
    assert_eq!(
        errors.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            r#"status.allocatedResourceStatuses: Unsupported value: "cpu": supported values: "storage""#,
            r#"status.allocatedResourceStatuses: Unsupported value: "cpu": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending""#,
        ]
    );
}

#[test]
fn the_table_shows_what_was_got() {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let cells = |claim: &PersistentVolumeClaim| {
        PersistentVolumeClaim::columns()[1..6].iter().map(|c| (c.cell)(claim, now)).collect::<Vec<_>>()
    };
    assert_eq!(cells(&defaulted(claim(|_| {}))), ["Pending", "", "", "", ""]);
    let mut own = bound("2Gi");
    own.status.access_modes = vec!["ReadOnlyMany".into(), "ReadWriteOnce".into()];
    assert_eq!(cells(&own), ["Bound", "disk", "1Gi", "RWO,ROX", "fast"]);
}
