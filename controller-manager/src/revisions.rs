//! Saved templates: the ControllerRevisions of StatefulSets and DaemonSets.
//!
//! The data of one is a patch that puts its template into the owner's spec,
//! `{"spec":{"template":{"$patch":"replace",…}}}`; `kubectl rollout undo` sends it as it is. Whether
//! two are the same is asked of the templates and not of the bytes, so that another program's
//! spelling of a template does not restart its pods.

use api_types::apps::v1::ControllerRevision;
use api_types::codec::json;
use api_types::core::v1::PodTemplateSpec;
use api_types::kind::Resource;
use api_types::meta::v1::ObjectMeta;
use api_types::value::RawExtension;
use serde_json::{Value, json};

use crate::cached::controller_reference;

/// The label of a revision's hash, on it and (with the revision's name for StatefulSets) on pods.
pub const HASH: &str = "controller-revision-hash";
/// Most characters of the owner's name in a revision's.
const LONGEST_PREFIX: usize = 223;

/// The data that saves a template.
pub fn data(template: &PodTemplateSpec) -> RawExtension {
    let mut template: Value =
        serde_json::from_slice(&json::value_to_vec(template)).expect("what the codec writes is JSON");
    template["$patch"] = "replace".into();
    let mut patch = json!({ "spec": { "template": template } });
    // COMPAT: kubectl compares the bytes with those that it makes itself, whose keys are in order.
    patch.sort_all_objects();
    RawExtension::from(&patch)
}

/// The template that a revision saves; `None` when its data is something else.
pub fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut data: Value = serde_json::from_slice(revision.data.as_bytes()).ok()?;
    let mut template = data.get_mut("spec")?.get_mut("template")?.take();
    template.as_object_mut()?.remove("$patch");
    json::from_slice(template.to_string().as_bytes()).ok()
}

/// Whether a revision saves this template.
pub fn saves(revision: &ControllerRevision, wanted: &PodTemplateSpec) -> bool {
    template(revision).as_ref() == Some(wanted)
}

/// Upstream's hash of a revision's data, in its alphabet: no vowels, no digits that look like letters.
pub fn hash(data: &RawExtension, collisions: i32) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut sum: u32 = 0x811c_9dc5;
    for byte in data.as_bytes().iter().chain(collisions.to_string().as_bytes()) {
        sum = sum.wrapping_mul(0x0100_0193) ^ u32::from(*byte);
    }
    sum.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// A revision of `owner` that saves a template.
pub fn new<T: Resource>(
    owner: &ObjectMeta,
    wanted: &PodTemplateSpec,
    revision: i64,
    collisions: i32,
) -> ControllerRevision {
    let data = data(wanted);
    let hash = hash(&data, collisions);
    let prefix: String = owner.name.chars().take(LONGEST_PREFIX).collect();
    let mut labels = wanted.metadata.labels.clone();
    labels.insert(HASH.into(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: format!("{prefix}-{hash}"),
            namespace: owner.namespace.clone(),
            labels,
            annotations: owner.annotations.clone(),
            owner_references: vec![controller_reference::<T>(owner)],
            ..ObjectMeta::default()
        },
        data,
        revision,
    }
}

/// Older first; age and name decide between equals.
pub fn sort(revisions: &mut [ControllerRevision]) {
    revisions.sort_by(|a, b| {
        let age = |r: &ControllerRevision| r.metadata.creation_timestamp;
        (a.revision, age(a), &a.metadata.name).cmp(&(b.revision, age(b), &b.metadata.name))
    });
}

#[cfg(test)]
mod tests {
    use api_types::apps::v1::StatefulSet;
    use api_types::core::v1::Container;

    use super::*;

    fn template_of(image: &str) -> PodTemplateSpec {
        let mut template = PodTemplateSpec::default();
        template.spec.containers = vec![Container { image: image.into(), ..Container::default() }];
        template
    }

    #[test]
    fn a_template_comes_back_as_it_was_saved() {
        let owner = ObjectMeta { name: "web".into(), namespace: "ns".into(), ..ObjectMeta::default() };
        let revision = new::<StatefulSet>(&owner, &template_of("a"), 3, 0);
        assert_eq!(template(&revision), Some(template_of("a")));
        assert!(saves(&revision, &template_of("a")) && !saves(&revision, &template_of("b")));
        assert_eq!(revision.metadata.name, format!("web-{}", revision.metadata.labels[HASH]));
        let text = String::from_utf8(revision.data.as_bytes().to_vec()).unwrap();
        assert!(text.starts_with(r#"{"spec":{"template":{"$patch":"replace","metadata":{}"#), "{text}");
    }

    #[test]
    fn another_spelling_of_the_template_is_the_same() {
        let text = r#"{"spec":{"template":{"metadata":{"creationTimestamp":null},"$patch":"replace","spec":{"containers":[{"image":"a","name":"","resources":{}}]}}}}"#;
        let revision =
            ControllerRevision { data: RawExtension(text.as_bytes().into()), ..Default::default() };
        assert!(saves(&revision, &template_of("a")));
    }

    #[test]
    fn collisions_change_the_name() {
        let data = data(&template_of("a"));
        assert_ne!(hash(&data, 0), hash(&data, 1));
    }
}
