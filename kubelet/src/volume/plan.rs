//! What to do about a pod's volumes. Pure.

use super::actual::Found;
use super::desired::Kind;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the volume, or finish making it.
    SetUp {
        /// Its name in the pod.
        volume: String,
        /// Its kind.
        kind: Kind,
    },
    /// Write its content again.
    Refresh {
        /// Its name in the pod.
        volume: String,
        /// Its kind.
        kind: Kind,
    },
    /// Unmount and remove it.
    TearDown {
        /// What was found.
        found: Found,
    },
}

/// Steps that bring a pod's directory from what was found to what is wanted.
pub fn plan(wanted: &[(String, Kind)], found: &[Found]) -> Vec<Action> {
    let mut actions = Vec::new();
    for there in found {
        let kept = wanted.iter().any(|(name, kind)| *name == there.volume && kind.plugin() == there.plugin);
        if !kept {
            actions.push(Action::TearDown { found: there.clone() });
        }
    }
    for (name, kind) in wanted {
        let there = found.iter().find(|there| there.volume == *name && there.plugin == kind.plugin());
        let (volume, kind) = (name.clone(), *kind);
        // What was in memory is no more after a reboot.
        let lost = |there: &Found| kind == Kind::MountedEmptyDir && !there.mounted;
        match there {
            Some(there) if there.ready && kind.is_refreshed() => {
                actions.push(Action::Refresh { volume, kind });
            }
            Some(there) if there.ready && !lost(there) => {}
            _ => actions.push(Action::SetUp { volume, kind }),
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(volume: &str, kind: Kind, ready: bool) -> Found {
        Found { volume: volume.into(), plugin: kind.plugin().into(), ready, ..Default::default() }
    }

    #[test]
    fn new_ready_half_made_and_orphaned_volumes() {
        let wanted = [
            ("a".to_owned(), Kind::EmptyDir),
            ("b".to_owned(), Kind::ConfigMap),
            ("c".to_owned(), Kind::EmptyDir),
        ];
        let there = [
            found("b", Kind::ConfigMap, true),
            found("c", Kind::EmptyDir, false),
            found("old", Kind::Secret, true),
        ];
        let actions = plan(&wanted, &there);
        assert_eq!(
            actions,
            [
                Action::TearDown { found: found("old", Kind::Secret, true) },
                Action::SetUp { volume: "a".into(), kind: Kind::EmptyDir },
                Action::Refresh { volume: "b".into(), kind: Kind::ConfigMap },
                Action::SetUp { volume: "c".into(), kind: Kind::EmptyDir },
            ]
        );
    }

    #[test]
    fn scratch_space_in_memory_is_made_anew_when_it_is_lost() {
        let wanted = [("a".to_owned(), Kind::MountedEmptyDir)];
        let there = |mounted| Found { mounted, ..found("a", Kind::MountedEmptyDir, true) };
        assert_eq!(plan(&wanted, &[there(true)]), []);
        let made = Action::SetUp { volume: "a".into(), kind: Kind::MountedEmptyDir };
        assert_eq!(plan(&wanted, &[there(false)]), [made]);
    }

    #[test]
    fn a_ready_empty_dir_is_left_alone() {
        assert_eq!(plan(&[("a".into(), Kind::EmptyDir)], &[found("a", Kind::EmptyDir, true)]), []);
    }
}
