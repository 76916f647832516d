//! What happens to a PersistentVolume on its way to the store: defaults, phase. The times of phases
//! are the server's to give.

use super::*;
use crate::core::v1::PersistentVolumeMode;
use crate::kind::Strategy;

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

    // COMPAT: `name` beside `metadata.name` is a slip of the first release that clients rely on.
    fn selectable_names() -> &'static [&'static str] {
        &["name"]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("name", self.metadata.name.clone())]
    }
}
