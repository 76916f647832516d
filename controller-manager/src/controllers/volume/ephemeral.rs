//! ephemeral-volume-controller: makes the claims of pods' generic ephemeral volumes (KEP-1698). A
//! claim belongs to its pod and goes with it.
//!
//! The caches keep no claim templates: a pod with a missing claim is asked for itself.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{PersistentVolumeClaim, Pod};
use api_types::meta::v1::ObjectMeta;
use client::Key;
use client::controller::{Action, Controller, Failure, Hands, Plan, Step, Told, Wake};
use client::informer::Caches;
use jiff::Timestamp;

use crate::cached::{ClaimObject, PodFacts, controller_of, controller_reference};
use crate::service_pods::reference;

/// See the module. Its keys are pods.
#[derive(Debug)]
pub struct EphemeralVolumes;

/// A pod with those of its ephemeral volumes whose claim is missing or somebody else's.
#[derive(Debug)]
pub struct View {
    pub key: Key,
    pub pod: Arc<PodFacts>,
    /// Names of volumes.
    pub missing: Vec<Box<str>>,
    /// Names of the volume and of the claim.
    pub foreign: Vec<(Box<str>, Box<str>)>,
}

/// Volumes of a pod that need their claim.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing {
    key: Key,
    uid: Box<str>,
    volumes: Vec<Box<str>>,
}

impl Controller for EphemeralVolumes {
    const NAME: &'static str = "ephemeral-volume-controller";
    const QUEUE: &'static str = "ephemeral_volume";
    type View = View;
    type Own = Missing;

    fn wakes_on(&self) -> Vec<Wake> {
        vec![
            Wake::on::<PodFacts>(|change, _, keys| {
                if change.new.is_some_and(|pod| pod.claims.iter().any(|c| c.ephemeral)) {
                    keys.push(change.key.clone());
                }
            }),
            Wake::on::<ClaimObject>(|change, caches, keys| {
                if change.new.is_none() {
                    let pods = caches.store::<PodFacts>().by_index("claim", &change.key.to_string());
                    keys.extend(pods.into_iter().map(|(key, _)| key));
                }
            }),
        ]
    }

    fn observe(&self, key: &Key, caches: &Caches) -> Option<View> {
        let pod = caches.store::<PodFacts>().get(key).filter(|pod| pod.deleting.is_none())?;
        let store = caches.store::<ClaimObject>();
        let (mut missing, mut foreign) = (Vec::new(), Vec::new());
        for claim in pod.claims.iter().filter(|c| c.ephemeral) {
            match store.find(&key.namespace, &claim.name) {
                None => missing.push(claim.volume.clone()),
                Some(found) if controller_of(&found.metadata).is_some_and(|o| *o.uid == *pod.uid) => {}
                Some(_) => foreign.push((claim.volume.clone(), claim.name.clone())),
            }
        }
        Some(View { key: key.clone(), pod, missing, foreign })
    }

    fn plan(view: &View, _: Timestamp) -> Plan<Missing> {
        let mut plan = Plan::nothing();
        for (volume, claim) in &view.foreign {
            let Key { namespace, .. } = &view.key;
            let message = format!(
                "ephemeral volume {volume}: PVC {namespace}/{claim} was not created for pod {} (pod is not owner)",
                view.key
            );
            plan.tell(Told::warning(reference(&view.key, &view.pod), "FailedBinding", message));
        }
        if !view.missing.is_empty() {
            let (key, uid) = (view.key.clone(), view.pod.uid.clone());
            plan.step(Step::Own(Missing { key, uid, volumes: view.missing.clone() }));
        }
        plan
    }

    async fn perform(&self, missing: Missing, hands: &Hands) -> Result<Option<Duration>, Failure> {
        let Missing { key, uid, volumes } = missing;
        let found = hands.client.api::<Pod>().namespace(&*key.namespace).find(&key.name).await;
        let found = found.map_err(|error| Failure::new("read the pod", error))?;
        let Some(pod) = found.filter(|pod| *pod.metadata.uid == *uid) else { return Ok(None) };
        let mut plan = Plan::nothing();
        for claim in claims(&pod, &volumes) {
            let failed =
                format!("ephemeral volume {}: create PVC {}: {{error}}", claim.0, claim.1.metadata.name);
            let told = Told::warning(client::events::reference(&pod), "FailedBinding", failed);
            plan.act(Action::create(claim.1).on_failure(told));
        }
        hands.all(plan).await.failures.into_iter().next().map_or(Ok(None), Err)
    }
}

/// The claims of these volumes of a pod, with the volumes' names.
fn claims(pod: &Pod, volumes: &[Box<str>]) -> Vec<(String, PersistentVolumeClaim)> {
    let wanted = pod.spec.volumes.iter().filter(|v| volumes.iter().any(|name| **name == *v.name));
    let claim = |volume: &api_types::core::v1::Volume| {
        let template = volume.source.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
        let metadata = ObjectMeta {
            name: format!("{}-{}", pod.metadata.name, volume.name),
            namespace: pod.metadata.namespace.clone(),
            labels: template.metadata.labels.clone(),
            annotations: template.metadata.annotations.clone(),
            owner_references: vec![controller_reference::<Pod>(&pod.metadata)],
            ..ObjectMeta::default()
        };
        let spec = template.spec.clone();
        Some((volume.name.clone(), PersistentVolumeClaim { metadata, spec, ..Default::default() }))
    };
    wanted.filter_map(claim).collect()
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{EphemeralVolumeSource, Volume};

    use super::*;

    #[test]
    fn a_claim_is_made_of_its_template_and_belongs_to_the_pod() {
        let mut pod = Pod::default();
        pod.metadata.name = "web".into();
        pod.metadata.namespace = "ns".into();
        pod.metadata.uid = "uid".into();
        let mut volume = Volume { name: "scratch".into(), ..Volume::default() };
        let mut source = EphemeralVolumeSource::default();
        source.volume_claim_template.get_or_insert_default().spec.storage_class_name = Some("fast".into());
        volume.source.ephemeral = Some(Box::new(source));
        pod.spec.volumes = vec![Volume { name: "other".into(), ..Volume::default() }, volume];
        let made = claims(&pod, &["scratch".into()]);
        let claim = &made[0].1;
        assert_eq!((made.len(), claim.metadata.name.as_str()), (1, "web-scratch"));
        assert_eq!(claim.metadata.owner_references[0].uid, "uid");
        assert_eq!(claim.spec.storage_class_name.as_deref(), Some("fast"));
    }

    #[test]
    fn a_claim_of_somebody_else_is_told_of() {
        let view = View {
            key: Key::new("ns", "web"),
            pod: Arc::new(PodFacts::default()),
            missing: vec!["a".into()],
            foreign: vec![("b".into(), "web-b".into())],
        };
        let plan = EphemeralVolumes::plan(&view, Timestamp::UNIX_EPOCH);
        let Step::Tell(told) = &plan.steps[0] else { panic!("{plan:?}") };
        let text = "ephemeral volume b: PVC ns/web-b was not created for pod ns/web (pod is not owner)";
        assert_eq!(told.message, text);
        assert!(matches!(&plan.steps[1], Step::Own(missing) if missing.volumes == ["a".into()]));
    }
}
