//! PersistentVolumes on their way to the store.

use super::*;
use crate::kind::Strategy;
use crate::kind::testing::{defaulted, refused, refused_update};
use crate::value::Quantity;

fn volume(change: impl FnOnce(&mut PersistentVolume)) -> PersistentVolume {
    let mut own = PersistentVolume::default();
    own.metadata.name = "disk".into();
    own.spec.capacity.insert("storage".into(), Quantity::parse("1Gi").expect("an amount"));
    own.spec.access_modes = vec!["ReadWriteOnce".into()];
    own.spec.source.nfs = Some(Box::new(crate::core::v1::NFSVolumeSource {
        server: "files".into(),
        path: "/a".into(),
        read_only: false,
    }));
    change(&mut own);
    own
}

#[test]
fn defaults() {
    let own = defaulted(volume(|_| {}));
    assert_eq!(own.spec.persistent_volume_reclaim_policy, PersistentVolumeReclaimPolicy::Retain);
    assert_eq!(own.spec.volume_mode, Some("Filesystem".into()));
    assert_eq!(own.status.phase, PersistentVolumePhase::Pending);
}

#[test]
fn what_is_refused() {
    assert!(refused(volume(|_| {})).is_empty());
    assert_eq!(
        refused(volume(|v| v.spec = PersistentVolumeSpec::default())),
        [
            "spec.accessModes: Required value",
            "spec.capacity: Required value",
            r#"spec.capacity: Unsupported value: null: supported values: "storage""#,
            "spec: Required value: must specify a volume type",
        ]
    );
    assert_eq!(
        refused(volume(|v| {
            v.spec.source.nfs = None;
            v.spec.source.local = Some(Box::new(LocalVolumeSource { path: "a/../b".into(), fs_type: None }));
            v.spec.source.csi = Some(Box::default());
            v.spec.access_modes.push("ReadWriteOncePod".into());
            v.spec.persistent_volume_reclaim_policy = "Burn".into();
        })),
        [
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            r#"spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain""#,
            r#"spec.local.path: Invalid value: "a/../b": must not contain '..'"#,
            "spec.nodeAffinity: Required value: Local volume requires node affinity",
            "spec.csi: Forbidden: may not specify more than 1 volume type",
        ]
    );
}

#[test]
fn what_is_behind_a_volume_stays() {
    let old = volume(|_| {});
    let new = volume(|v| v.spec.source.nfs.as_mut().expect("set").path = "/b".into());
    let errors = refused_update(new, old.clone());
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].starts_with("spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n"),
        "{errors:?}"
    );
    let bound = volume(|v| {
        v.spec.claim_ref = Some(Box::default());
        v.spec.persistent_volume_reclaim_policy = PersistentVolumeReclaimPolicy::Delete;
    });
    assert!(refused_update(bound, old).is_empty());
}

#[test]
fn nodes_may_only_get_the_final_names_of_their_labels() {
    let at = |key: &str| {
        let text = format!(
            r#"{{"spec":{{"nodeAffinity":{{"required":{{"nodeSelectorTerms":[{{"matchExpressions":[{{"key":"{key}","operator":"In","values":["a"]}}]}}]}}}}}}}}"#
        );
        let affinity: PersistentVolume = crate::codec::json::from_slice(text.as_bytes()).expect("an object");
        volume(|v| v.spec.node_affinity = affinity.spec.node_affinity)
    };
    let old = at("failure-domain.beta.kubernetes.io/zone");
    assert!(refused_update(at("topology.kubernetes.io/zone"), old.clone()).is_empty());
    assert_eq!(refused_update(at("example.com/zone"), old).len(), 1);
}

#[test]
fn deprecations_are_warned_of() {
    let own = volume(|v| {
        v.spec.persistent_volume_reclaim_policy = PersistentVolumeReclaimPolicy::Recycle;
        v.spec.source.rbd = Some(Box::default());
    });
    assert_eq!(
        own.warnings(None),
        [
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
            "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
        ]
    );
}
