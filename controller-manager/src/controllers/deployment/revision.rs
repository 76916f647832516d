//! Which ReplicaSet belongs to which template: the hash, the revision numbers, the annotations.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use api_types::apps::v1::{Deployment, ReplicaSet};
use api_types::codec::json;
use api_types::core::v1::PodTemplateSpec;
use api_types::core::v1::well_known::{annotation, label};
use api_types::kind::Resource as _;
use api_types::meta::v1::ObjectMeta;

use super::scale;
use crate::cached::controller_reference;

pub(super) const REVISION: &str = annotation::DEPLOYMENT_REVISION;
pub(super) const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not get.
const NOT_COPIED: [&str; 6] =
    [annotation::LAST_APPLIED, REVISION, HISTORY, DESIRED, MAX, "deprecated.deployment.rollback.to"];
/// Characters of history that are kept.
const HISTORY_LIMIT: usize = 2000;

/// Hash of a template, in the alphabet of upstream's: no vowels, no digits that look like letters.
pub(super) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut sum: u32 = 0x811c_9dc5;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            sum = (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    feed(&json::value_to_vec(template));
    if let Some(collisions) = collisions {
        feed(&collisions.to_le_bytes());
    }
    sum.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// Name of the ReplicaSet of the current template.
pub(super) fn name(deployment: &Deployment) -> String {
    let hash = hash(&deployment.spec.template, deployment.status.collision_count);
    let longest = 253 - 1 - hash.len();
    let stem: String = deployment.metadata.name.chars().take(longest).collect();
    format!("{stem}-{hash}")
}

/// Equal but for the hash label that the controller adds.
pub(super) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let labels = |template: &PodTemplateSpec| -> BTreeMap<String, String> {
        let mut labels = template.metadata.labels.clone();
        labels.remove(label::POD_TEMPLATE_HASH);
        labels
    };
    let rest =
        |template: &PodTemplateSpec| ObjectMeta { labels: BTreeMap::new(), ..template.metadata.clone() };
    labels(a) == labels(b) && rest(a) == rest(b) && a.spec == b.spec
}

/// Older first; the name decides between equals.
pub(super) fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    a.metadata
        .creation_timestamp
        .cmp(&b.metadata.creation_timestamp)
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// The revision that a ReplicaSet's annotation names.
pub(super) fn revision_of(set: &ReplicaSet) -> Option<i64> {
    set.metadata.annotations.get(REVISION)?.parse().ok()
}

/// The revision that the ReplicaSet of the current template should have.
pub(super) fn next_revision(old: &[ReplicaSet]) -> i64 {
    old.iter().filter_map(revision_of).max().unwrap_or(0).max(0) + 1
}

/// The ReplicaSet of the current template, to be created with this many replicas.
pub(super) fn create(deployment: &Deployment, replicas: i32, revision: i64) -> ReplicaSet {
    let hash = hash(&deployment.spec.template, deployment.status.collision_count);
    let mut set = ReplicaSet::default();
    let mut template = deployment.spec.template.clone();
    template.metadata.labels.insert(label::POD_TEMPLATE_HASH.into(), hash.clone());
    set.metadata = ObjectMeta {
        name: name(deployment),
        namespace: deployment.metadata.namespace.clone(),
        owner_references: vec![controller_reference::<Deployment>(deployment.metadata())],
        labels: template.metadata.labels.clone(),
        ..ObjectMeta::default()
    };
    let mut selector = deployment.spec.selector.clone().unwrap_or_default();
    selector.match_labels.insert(label::POD_TEMPLATE_HASH.into(), hash);
    set.spec.replicas = Some(replicas);
    set.spec.min_ready_seconds = deployment.spec.min_ready_seconds;
    set.spec.selector = Some(selector);
    set.spec.template = template;
    annotate(deployment, &mut set, revision);
    annotate_scale(deployment, &mut set);
    set
}

/// Copies the Deployment's annotations and raises the revision; tells whether anything changed.
pub(super) fn annotate(deployment: &Deployment, set: &mut ReplicaSet, revision: i64) -> bool {
    let before = set.metadata.annotations.clone();
    let annotations = &mut set.metadata.annotations;
    for (name, value) in &deployment.metadata.annotations {
        if !NOT_COPIED.contains(&name.as_str()) {
            annotations.insert(name.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_number = match old.as_deref() {
        None | Some("") => Some(0),
        Some(text) => text.parse::<i64>().ok(),
    };
    // A revision that is no number is someone else's: leave it.
    let Some(old_number) = old_number else { return before != *annotations };
    if old_number < revision {
        annotations.insert(REVISION.into(), revision.to_string());
        // It was current before: a rollback. The numbers that it had are kept.
        if let Some(old) = old {
            let history = annotations.get(HISTORY).cloned().unwrap_or_default();
            annotations.insert(HISTORY.into(), remember(&history, &old));
        }
    }
    before != *annotations
}

fn remember(history: &str, old: &str) -> String {
    let mut known: Vec<&str> = history.split(',').filter(|r| !r.is_empty()).collect();
    known.push(old);
    while known.len() > 1 && known.iter().map(|r| r.len() + 1).sum::<usize>() > HISTORY_LIMIT + 1 {
        known.remove(0);
    }
    known.join(",")
}

/// Notes the counts that this ReplicaSet was scaled for; tells whether anything changed.
pub(super) fn annotate_scale(deployment: &Deployment, set: &mut ReplicaSet) -> bool {
    let wanted = scale::wanted(deployment);
    let max = wanted + scale::max_surge(deployment);
    let annotations = &mut set.metadata.annotations;
    let changed = annotations.insert(DESIRED.into(), wanted.to_string()) != Some(wanted.to_string());
    annotations.insert(MAX.into(), max.to_string()) != Some(max.to_string()) || changed
}

/// A count that was noted.
pub(super) fn noted(set: &ReplicaSet, name: &str) -> Option<i32> {
    set.metadata.annotations.get(name)?.parse().ok()
}
