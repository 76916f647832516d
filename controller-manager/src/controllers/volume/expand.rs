//! persistentvolume-expander-controller: says of a claim that was made larger that somebody else makes
//! its volume so. CSI drivers bring their own resizer; no volume is grown in this process.

use api_types::core::v1::well_known::resource;
use api_types::core::v1::{PersistentVolume, PersistentVolumeClaim};
use client::Key;
use client::controller::{Controller, Never, Plan, Told, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

use crate::cached::{ClaimObject, VolumeObject};

/// See the module. Its keys are claims.
#[derive(Debug)]
pub struct Expander;

/// A claim and the volume that it is bound to.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub claim: PersistentVolumeClaim,
    pub volume: PersistentVolume,
}

/// Whether more is asked for than there is.
fn wants_more(claim: &PersistentVolumeClaim) -> bool {
    let requested = claim.spec.resources.requests.get(resource::STORAGE);
    let has = claim.status.capacity.get(resource::STORAGE);
    requested.zip(has).is_some_and(|(requested, has)| requested > has)
}

impl Controller for Expander {
    const NAME: &'static str = "persistentvolume-expander-controller";
    const QUEUE: &'static str = "volume_expand";
    type View = View;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::on::<ClaimObject>(|change: &Change<'_, ClaimObject>, _, keys| {
                let asked =
                    |claim: &ClaimObject| claim.spec.resources.requests.get(resource::STORAGE).cloned();
                let grown = |new| change.old.is_none_or(|old| asked(old) != asked(new)) && wants_more(new);
                if change.new.is_some_and(|new| grown(new)) {
                    keys.push(change.key.clone());
                }
            }),
            Wake::nothing::<VolumeObject>(),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let claim = caches.store::<ClaimObject>().get(key)?.0.clone();
        let volume = caches.store::<VolumeObject>().find("", &claim.spec.volume_name)?.0.clone();
        Some(View { claim, volume })
    }

    fn plan(view: &View, _: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        let View { claim, volume } = view;
        let bound = volume.spec.claim_ref.as_ref().is_some_and(|r| r.uid == claim.metadata.uid);
        if bound && wants_more(claim) {
            let (claim, message) =
                (client::events::reference(claim), "waiting for an external controller to expand this PVC");
            plan.tell(match volume.spec.source.csi {
                Some(_) => Told::normal(claim, "ExternalExpanding", message),
                // COMPAT: upstream warns where it knows no plugin that could.
                None => Told::warning(claim, "ExternalExpanding", message),
            });
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{CSIPersistentVolumeSource, ObjectReference};
    use client::controller::Step;

    use super::*;

    #[test]
    fn a_claim_that_grows_waits_for_its_resizer() {
        let told = |requested: &str, csi: bool, bound: &str| {
            let mut view = View::default();
            view.claim.metadata.uid = "claim".into();
            view.claim.spec.resources.requests.insert("storage".into(), requested.parse().unwrap());
            view.claim.status.capacity.insert("storage".into(), "1Gi".parse().unwrap());
            view.volume.spec.claim_ref =
                Some(Box::new(ObjectReference { uid: bound.into(), ..ObjectReference::default() }));
            view.volume.spec.source.csi = csi.then(|| Box::new(CSIPersistentVolumeSource::default()));
            match Expander::plan(&view, Timestamp::UNIX_EPOCH).steps.as_slice() {
                [Step::Tell(told)] => Some((told.type_, told.reason)),
                [] => None,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(told("2Gi", true, "claim"), Some(("Normal", "ExternalExpanding")));
        assert_eq!(told("2Gi", false, "claim"), Some(("Warning", "ExternalExpanding")));
        assert_eq!(told("1Gi", true, "claim"), None);
        assert_eq!(told("2Gi", true, "other"), None);
    }
}
