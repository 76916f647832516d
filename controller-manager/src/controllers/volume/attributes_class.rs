//! volumeattributesclass-protection-controller: a finalizer on every VolumeAttributesClass, which is
//! taken off one that is being deleted once no claim and no volume names it (KEP-3751).

use api_types::core::v1::{PersistentVolume, PersistentVolumeClaim};
use api_types::storage::v1::VolumeAttributesClass;
use client::Key;
use client::controller::{Controller, Never, Plan, Wake};
use client::informer::{Caches, Change};
use jiff::Timestamp;

use super::protection::protected;
use crate::cached::{AttributesObject, ClaimObject, VolumeObject};

const FINALIZER: &str = "kubernetes.io/vac-protection";

/// See the module. Its keys are classes.
#[derive(Debug)]
pub struct AttributesProtection;

/// A class, and whether anything names it.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub class: VolumeAttributesClass,
    pub in_use: bool,
}

/// The class that a volume has.
fn of_volume(volume: &PersistentVolume) -> impl Iterator<Item = &str> {
    volume.spec.volume_attributes_class_name.as_deref().into_iter()
}

/// The classes that a claim asks for, has, and is being changed to.
fn of_claim(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &str> {
    let target = claim.status.modify_volume_status.as_ref();
    let named = [
        claim.spec.volume_attributes_class_name.as_deref(),
        claim.status.current_volume_attributes_class_name.as_deref(),
        target.map(|target| target.target_volume_attributes_class_name.as_str()),
    ];
    named.into_iter().flatten().filter(|name| !name.is_empty())
}

impl Controller for AttributesProtection {
    const NAME: &'static str = "volumeattributesclass-protection-controller";
    const QUEUE: &'static str = "vacprotection";
    type View = View;
    type Own = Never;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::itself::<AttributesObject>(),
            // What named a class before may have been the last to do so.
            Wake::on::<ClaimObject>(|change: &Change<'_, ClaimObject>, _, keys| {
                keys.extend(change.old.into_iter().flat_map(|old| of_claim(old)).map(Key::cluster));
            }),
            Wake::on::<VolumeObject>(|change: &Change<'_, VolumeObject>, _, keys| {
                keys.extend(change.old.into_iter().flat_map(|old| of_volume(old)).map(Key::cluster));
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let class = caches.store::<AttributesObject>().get(key)?.0.clone();
        // Others are asked only when it matters: a class goes once in its life.
        let in_use = class.metadata.deletion_timestamp.is_none()
            || caches
                .store::<VolumeObject>()
                .all()
                .iter()
                .any(|(_, v)| of_volume(v).any(|n| *n == *key.name))
            || caches.store::<ClaimObject>().all().iter().any(|(_, c)| of_claim(c).any(|n| *n == *key.name));
        Some(View { class, in_use })
    }

    fn plan(view: &View, _: Timestamp) -> Plan {
        let mut plan = Plan::nothing();
        if let Some(action) = protected(&view.class, FINALIZER, view.in_use) {
            plan.act(action);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_stays_while_it_is_named() {
        let caches = Caches::detached();
        let finalizers = |caches: &Caches| {
            let view = AttributesProtection.observe(&Key::cluster("gold"), caches).unwrap();
            let plan = AttributesProtection::plan(&view, Timestamp::UNIX_EPOCH);
            let class: Option<VolumeAttributesClass> =
                plan.actions().first().and_then(|action| action.effect.object()).cloned();
            class.map(|class| class.metadata.finalizers)
        };
        let mut class = VolumeAttributesClass::default();
        class.metadata.name = "gold".into();
        caches.store::<AttributesObject>().put(class.clone());
        assert_eq!(finalizers(&caches), Some(vec![FINALIZER.to_owned()]));
        class.metadata.finalizers = vec![FINALIZER.into()];
        caches.store::<AttributesObject>().put(class.clone());
        assert_eq!(finalizers(&caches), None);

        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.name = "data".into();
        claim.status.current_volume_attributes_class_name = Some("gold".into());
        caches.store::<ClaimObject>().put(claim.clone());
        class.metadata.deletion_timestamp = Some(Default::default());
        caches.store::<AttributesObject>().put(class);
        assert_eq!(finalizers(&caches), None, "a claim has it");
        claim.status.current_volume_attributes_class_name = Some("silver".into());
        caches.store::<ClaimObject>().put(claim);
        assert_eq!(finalizers(&caches), Some(vec![]));
    }
}
