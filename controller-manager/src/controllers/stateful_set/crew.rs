//! Pods by their numbers: who is wanted and there, who is too many, and what a new one looks like.

use std::ops::Range;
use std::sync::Arc;

use api_types::apps::v1::{PodManagementPolicyType, StatefulSet, StatefulSetUpdateStrategyType};
use api_types::core::v1::{
    PersistentVolumeClaimVolumeSource, Pod, PodPhase, PodTemplateSpec, Volume, VolumeSource,
};
use api_types::meta::v1::ObjectMeta;
use client::Key;
use jiff::Timestamp;

use super::claims;
use super::revision::Revisions;
use crate::cached::{PodFacts, controller_reference};
use crate::revisions::HASH;

/// The pod's name and number, as labels.
pub(super) const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
pub(super) const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// A pod with its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    pub ordinal: i32,
    pub key: &'a Key,
    pub pod: &'a Arc<PodFacts>,
}

/// The claimed pods, sorted into those that are wanted and those that are not.
#[derive(Debug)]
pub(super) struct Crew<'a> {
    /// By place in the range of wanted numbers.
    pub wanted: Vec<Option<Member<'a>>>,
    /// Highest number first.
    pub condemned: Vec<Member<'a>>,
}

/// The number of a pod of this name, if it is named after the StatefulSet.
pub(super) fn ordinal_of(set: &StatefulSet, name: &str) -> Option<i32> {
    let number = name.strip_prefix(set.metadata.name.as_str())?.strip_prefix('-')?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    number.parse().ok().filter(|_| digits)
}

/// The numbers that are wanted.
pub(super) fn range(set: &StatefulSet) -> Range<i32> {
    let start = set.spec.ordinals.as_ref().map_or(0, |o| o.start);
    start..start.saturating_add(replicas(set))
}

/// How many pods are wanted.
pub(super) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1).max(0)
}

/// Whether pods come and go without waiting for each other.
pub(super) fn in_parallel(set: &StatefulSet) -> bool {
    set.spec.pod_management_policy == PodManagementPolicyType::Parallel
}

impl<'a> Crew<'a> {
    pub(super) fn of(set: &StatefulSet, pods: &[&'a (Key, Arc<PodFacts>)]) -> Self {
        let range = range(set);
        let mut wanted: Vec<_> = range.clone().map(|_| None).collect();
        let mut condemned = Vec::new();
        for (key, pod) in pods {
            let Some(ordinal) = ordinal_of(set, &key.name) else { continue };
            let member = Member { ordinal, key, pod };
            let place = usize::try_from(ordinal - range.start).ok().filter(|_| range.contains(&ordinal));
            match place {
                Some(place) => wanted[place] = Some(member),
                None => condemned.push(member),
            }
        }
        condemned.sort_by_key(|member| std::cmp::Reverse(member.ordinal));
        Self { wanted, condemned }
    }
}

impl Member<'_> {
    pub(super) fn is_running_and_ready(&self) -> bool {
        self.pod.phase == PodPhase::Running && self.pod.ready.is_some()
    }

    pub(super) fn is_available(&self, set: &StatefulSet, now: Timestamp) -> bool {
        self.pod.is_available(set.spec.min_ready_seconds, now)
    }

    pub(super) fn is_going(&self) -> bool {
        self.pod.deleting.is_some()
    }

    /// Name of its revision.
    pub(super) fn revision(&self) -> &str {
        self.pod.labels.get(HASH).map_or("", String::as_str)
    }

    /// Name and UID, as owner references need them.
    pub(super) fn meta(&self) -> ObjectMeta {
        ObjectMeta { name: self.key.name.to_string(), uid: self.pod.uid.to_string(), ..ObjectMeta::default() }
    }

    /// Whether its labels say who it is.
    pub(super) fn is_named(&self) -> bool {
        self.pod.labels.get(POD_NAME).is_some_and(|name| *name == *self.key.name)
    }

    /// Whether it mounts the claims that it should.
    pub(super) fn has_storage(&self, set: &StatefulSet) -> bool {
        set.spec.volume_claim_templates.iter().all(|template| {
            let name = claims::name(set, template, self.ordinal);
            let volume = &template.metadata.name;
            self.pod.claims.iter().any(|c| *c.volume == **volume && *c.name == *name && !c.ephemeral)
        })
    }
}

/// A new pod, of the current or of the updated template, as its number has it.
pub(super) fn new_pod(set: &StatefulSet, revisions: &Revisions, ordinal: i32) -> Pod {
    let start = range(set).start;
    let old = match &set.spec.update_strategy.rolling_update {
        Some(update) => ordinal < start + update.partition.unwrap_or(0),
        None => {
            set.spec.update_strategy.type_ == StatefulSetUpdateStrategyType::RollingUpdate
                && ordinal < start + set.status.current_replicas
        }
    };
    if old {
        pod_of(set, &revisions.current_template(set), &revisions.current.metadata.name, ordinal)
    } else {
        pod_of(set, &set.spec.template, &revisions.update.metadata.name, ordinal)
    }
}

fn pod_of(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let name = format!("{}-{ordinal}", set.metadata.name);
    let mut labels = template.metadata.labels.clone();
    labels.insert(POD_NAME.into(), name.clone());
    labels.insert(POD_INDEX.into(), ordinal.to_string());
    labels.insert(HASH.into(), revision.into());
    let mut spec = template.spec.clone();
    spec.hostname.clone_from(&name);
    spec.subdomain.clone_from(&set.spec.service_name);
    spec.volumes = volumes(set, spec.volumes, ordinal);
    Pod {
        metadata: ObjectMeta {
            name,
            // COMPAT: upstream's say so, too, though the name stands.
            generate_name: format!("{}-", set.metadata.name),
            namespace: set.metadata.namespace.clone(),
            labels,
            annotations: template.metadata.annotations.clone(),
            finalizers: template.metadata.finalizers.clone(),
            owner_references: vec![controller_reference::<StatefulSet>(&set.metadata)],
            ..ObjectMeta::default()
        },
        spec,
        ..Pod::default()
    }
}

/// The claims' volumes, then those of the template that no claim replaces.
pub(super) fn volumes(set: &StatefulSet, given: Vec<Volume>, ordinal: i32) -> Vec<Volume> {
    let templates = &set.spec.volume_claim_templates;
    let claimed = templates.iter().map(|template| {
        let claim_name = claims::name(set, template, ordinal);
        let source = PersistentVolumeClaimVolumeSource { claim_name, ..Default::default() };
        let source =
            VolumeSource { persistent_volume_claim: Some(Box::new(source)), ..VolumeSource::default() };
        Volume { name: template.metadata.name.clone(), source }
    });
    let replaced = |volume: &Volume| templates.iter().any(|t| t.metadata.name == volume.name);
    claimed.chain(given.into_iter().filter(|volume| !replaced(volume))).collect()
}
