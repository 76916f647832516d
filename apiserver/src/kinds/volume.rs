//! PersistentVolumes say since when they are in their phase (KEP-3762).

use api_types::core::v1::PersistentVolume;
use api_types::kind::Object;
use api_types::value::Time;

/// A new volume is pending since it was made.
pub fn settle(object: &mut dyn Object) {
    if let Some(volume) = object.as_any_mut().downcast_mut::<PersistentVolume>() {
        volume.status.last_phase_transition_time = volume.metadata.creation_timestamp;
    }
}

/// A change of phase gets its time, unless the writer gave one.
pub fn stamp(new: &mut dyn Object, old: &dyn Object, now: Time) {
    if let (Some(new), Some(old)) =
        (new.as_any_mut().downcast_mut::<PersistentVolume>(), old.as_any().downcast_ref::<PersistentVolume>())
    {
        let (status, before) = (&mut new.status, &old.status);
        let given = status.last_phase_transition_time;
        if status.phase != before.phase && (given.is_none() || given == before.last_phase_transition_time) {
            status.last_phase_transition_time = Some(now);
        }
    }
}
