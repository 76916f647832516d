//! What happens to a PersistentVolume on its way to the store: defaults, phase. The times of phases
//! are the server's to give.

use super::*;
use crate::core::v1::PersistentVolumeMode;
use crate::core::v1::persistent_volume_claim::strategy::access_modes;
use crate::core::v1::pod::warnings::node_term;
use crate::core::v1::well_known::annotation;
use crate::field::{Errors, Path};
use crate::kind::{Column, Strategy};

impl Strategy for PersistentVolume {
    fn set_defaults(&mut self) {
        if self.status.phase.is_unset() {
            self.status.phase = PersistentVolumePhase::Pending;
        }
        let spec = &mut self.spec;
        if spec.persistent_volume_reclaim_policy.is_unset() {
            spec.persistent_volume_reclaim_policy = PersistentVolumeReclaimPolicy::Retain;
        }
        spec.volume_mode.get_or_insert(PersistentVolumeMode::Filesystem);
        if let Some(path) = &mut spec.source.host_path {
            path.type_.get_or_insert_default();
        }
        crate::core::v1::pod::defaults::round_up(&mut spec.capacity);
    }

    fn prepare_for_create(&mut self) {
        self.status = PersistentVolumeStatus { phase: PersistentVolumePhase::Pending, ..Default::default() };
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        if self.status.phase == old.status.phase && self.status.last_phase_transition_time.is_none() {
            self.status.last_phase_transition_time = old.status.last_phase_transition_time;
        }
    }

    fn validate(&self, errors: &mut Errors) {
        validate::volume(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::update(self, old, errors);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        self.warned()
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Capacity", "How much the volume holds.", |volume: &Self, _| {
                    volume.spec.capacity.get("storage").copied().unwrap_or_default().to_string().into()
                }),
                Column::text("Access Modes", "Ways in which it can be mounted.", |volume: &Self, _| {
                    access_modes(&volume.spec.access_modes).into()
                }),
                Column::text(
                    "Reclaim Policy",
                    "What becomes of the volume when its claim is gone.",
                    |volume: &Self, _| volume.spec.persistent_volume_reclaim_policy.as_str().into(),
                ),
                Column::text("Status", "Stage in the volume's life.", |volume: &Self, _| {
                    match volume.metadata.deletion_timestamp {
                        Some(_) => "Terminating".into(),
                        None => volume.status.phase.as_str().into(),
                    }
                }),
                Column::text("Claim", "Who holds the volume.", |volume: &Self, _| {
                    let claim = volume.spec.claim_ref.as_ref();
                    claim
                        .map(|claim| format!("{}/{}", claim.namespace, claim.name))
                        .unwrap_or_default()
                        .into()
                }),
                Column::text("StorageClass", "Class of the volume.", |volume: &Self, _| {
                    volume.class().into()
                }),
                Column::text("VolumeAttributesClass", "Parameters in force.", |volume: &Self, _| {
                    volume.spec.volume_attributes_class_name.as_deref().unwrap_or("<unset>").into()
                }),
                Column::text("Reason", "Why it is in this stage.", |volume: &Self, _| {
                    volume.status.reason.as_str().into()
                }),
                Column::age(),
                Column::text("VolumeMode", "Filesystem or raw block device.", |volume: &Self, _| {
                    volume.spec.volume_mode.as_ref().map_or("<unset>", |mode| mode.as_str()).into()
                })
                .wide(),
            ]
        }
    }

    // COMPAT: `name` beside `metadata.name` is a slip of the first release that clients rely on.
    fn selectable_names() -> &'static [&'static str] {
        &["name"]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("name", self.metadata.name.clone())]
    }
}

impl PersistentVolume {
    /// Name of its class; the annotation is older and goes first.
    pub fn class(&self) -> &str {
        let annotated = self.metadata.annotations.get(annotation::STORAGE_CLASS);
        annotated.unwrap_or(&self.spec.storage_class_name)
    }

    fn warned(&self) -> Vec<String> {
        const ANNOTATIONS: [(&str, &str); 2] = [
            (annotation::STORAGE_CLASS, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
            (annotation::MOUNT_OPTIONS, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
        ];
        let mut warnings = Vec::new();
        for (key, text) in ANNOTATIONS {
            if self.metadata.annotations.contains_key(key) {
                warnings.push(format!("metadata.annotations[{key}]: {text}"));
            }
        }
        if self.spec.persistent_volume_reclaim_policy == PersistentVolumeReclaimPolicy::Recycle {
            warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
        }
        let terms =
            self.spec.node_affinity.iter().flat_map(|a| &a.required).flat_map(|r| &r.node_selector_terms);
        let path = Path::new("spec.nodeAffinity.required.nodeSelectorTerms");
        for (place, term) in terms.enumerate() {
            node_term(term, false, &path.index(place), &mut warnings);
        }
        let source = &self.spec.source;
        for (used, name, text) in [
            (source.cephfs.is_some(), "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
            (
                source.photon_persistent_disk.is_some(),
                "photonPersistentDisk",
                "deprecated in v1.11, non-functional in v1.16+",
            ),
            (source.scale_io.is_some(), "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
            (source.storageos.is_some(), "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
            (source.glusterfs.is_some(), "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
            (source.rbd.is_some(), "rbd", "deprecated in v1.28, non-functional in v1.31+"),
        ] {
            if used {
                warnings.push(format!("spec.{name}: {text}"));
            }
        }
        warnings
    }
}
