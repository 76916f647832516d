//! Pods that a file describes: what the file says, completed as upstream completes it. Pure.
//!
//! Such a pod has no object of its own in the API; a mirror of it shows it there ([`super::mirrors`]).
//! Its uid is a hash of what the file says, so that a restart of the kubelet finds it again, and a
//! change of the file makes it another pod.

use api_types::codec::{json, yaml};
use api_types::core::v1::{Pod, PodPhase, TaintEffect, Toleration, TolerationOperator};
use api_types::field::Errors;
use api_types::kind::Strategy;
use sha2::{Digest, Sha256};

/// Where a pod is from: `file` or `http`; absent or `api` for one of the API's.
pub const SOURCE: &str = "kubernetes.io/config.source";
/// On a mirror: the hash of what it shows.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// The hash of what the file says.
pub const HASH: &str = "kubernetes.io/config.hash";
/// When it was seen first.
pub const SEEN: &str = "kubernetes.io/config.seen";

/// The pod is from a file of this node.
pub fn is_static(pod: &Pod) -> bool {
    pod.metadata.annotations.get(SOURCE).is_some_and(|source| source != "api") && !is_mirror(pod)
}

/// The pod shows one that is from a file.
pub fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.contains_key(MIRROR)
}

/// Where a manifest is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// The file of that path.
    File(&'a str),
    /// The server of that URL.
    Url(&'a str),
}

impl Origin<'_> {
    /// The annotation's value, and what the hash is made of.
    fn names(&self) -> (&'static str, &'static str, &str) {
        match self {
            Self::File(path) => ("file", "file:", path),
            Self::Url(url) => ("http", "url:", url),
        }
    }
}

/// Reads a manifest. `node` is the node's name, `seen` the time for the annotation.
pub fn decode(text: &str, origin: &Origin<'_>, node: &str, seen: &str) -> Result<Pod, String> {
    let (source, prefix, place) = origin.names();
    let bytes = yaml::to_json(text).map_err(|error| error.to_string())?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    if (text("apiVersion"), text("kind")) != ("v1", "Pod") {
        return Err(format!("invalid pod: {} {}", text("apiVersion"), text("kind")));
    }
    let mut pod: Pod = json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if pod.metadata.name.is_empty() {
        return Err("invalid pod: name is needed for the pod".into());
    }
    if pod.metadata.uid.is_empty() {
        let mut hash = Sha256::new();
        for part in [&*json::to_vec(&pod), b"host:", node.as_bytes(), prefix.as_bytes(), place.as_bytes()] {
            hash.update(part);
        }
        pod.metadata.uid = hex::encode(&hash.finalize()[..16]);
    }
    let uid = pod.metadata.uid.clone();
    let meta = &mut pod.metadata;
    meta.name = format!("{}-{}", meta.name, node.to_lowercase());
    if meta.namespace.is_empty() {
        meta.namespace = "default".into();
    }
    meta.annotations.remove(MIRROR);
    for (name, value) in [(HASH, uid.as_str()), (SEEN, seen), (SOURCE, source)] {
        meta.annotations.insert(name.into(), value.into());
    }
    pod.spec.node_name = node.into();
    // It is not to be driven away by what happens to the node.
    let stays = Toleration {
        operator: TolerationOperator::Exists,
        effect: TaintEffect::NoExecute,
        ..Default::default()
    };
    if !pod.spec.tolerations.contains(&stays) {
        pod.spec.tolerations.push(stays);
    }
    pod.set_defaults();
    pod.status.phase = PodPhase::Pending;
    check(&pod)?;
    Ok(pod)
}

fn check(pod: &Pod) -> Result<(), String> {
    let mut errors = Errors::default();
    pod.validate(&mut errors);
    pod.validate_create(&mut errors);
    if !errors.is_empty() {
        return Err(format!("invalid pod: {errors}"));
    }
    let trust = pod
        .spec
        .volumes
        .iter()
        .filter_map(|volume| volume.source.projected.as_ref())
        .any(|projected| projected.sources.iter().any(|source| source.cluster_trust_bundle.is_some()));
    if trust {
        return Err("static pods may not use ClusterTrustBundle projected volume sources".into());
    }
    if !pod.spec.resource_claims.is_empty() {
        return Err("static pods may not use ResourceClaims".into());
    }
    Ok(())
}

/// What is to be done about a static pod's mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It shows what it should.
    Nothing,
    /// Delete the one with this uid: it is going, or shows something else.
    Delete(String),
    /// Make one.
    Create,
}

/// Compares a static pod with its mirror.
pub fn mirror_step(pod: &Pod, mirror: Option<&Pod>) -> Step {
    let Some(mirror) = mirror else { return Step::Create };
    let shown = mirror.metadata.annotations.get(MIRROR);
    if mirror.metadata.deletion_timestamp.is_some() || shown != pod.metadata.annotations.get(HASH) {
        return Step::Delete(mirror.metadata.uid.clone());
    }
    Step::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: a, image: i}\n";

    fn pod(text: &str) -> Result<Pod, String> {
        decode(text, &Origin::File("/etc/kubernetes/manifests/web.yaml"), "node1", "now")
    }

    #[test]
    fn a_manifest_is_completed() {
        let made = pod(MANIFEST).unwrap();
        assert_eq!((made.metadata.name.as_str(), made.metadata.namespace.as_str()), ("web-node1", "default"));
        assert_eq!(made.metadata.uid.len(), 32);
        assert_eq!(made.metadata.annotations[HASH], made.metadata.uid);
        assert_eq!(made.spec.node_name, "node1");
        assert_eq!(made.spec.containers[0].termination_message_path, "/dev/termination-log");
        assert_eq!(made.spec.tolerations[0].effect, TaintEffect::NoExecute);
        assert!(is_static(&made) && !is_mirror(&made));
    }

    #[test]
    fn the_uid_follows_what_the_file_says() {
        let uid = |text: &str| pod(text).unwrap().metadata.uid;
        assert_eq!(uid(MANIFEST), uid(&format!("# a comment\n{MANIFEST}")));
        assert_ne!(uid(MANIFEST), uid(&MANIFEST.replace("image: i", "image: j")));
    }

    #[test]
    fn what_is_no_pod_is_refused() {
        assert!(pod("apiVersion: v1\nkind: Service\n").is_err());
        assert!(pod("apiVersion: v1\nkind: Pod\nmetadata: {}\n").unwrap_err().contains("name is needed"));
        let error =
            pod("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n").unwrap_err();
        assert!(error.contains("spec.containers: Required value"), "{error}");
    }

    #[test]
    fn mirrors_that_do_not_show_the_pod_are_replaced() {
        let pod = pod(MANIFEST).unwrap();
        assert_eq!(mirror_step(&pod, None), Step::Create);
        let mut mirror = pod.clone();
        mirror.metadata.uid = "m".into();
        mirror.metadata.annotations.insert(MIRROR.into(), pod.metadata.uid.clone());
        assert!(!is_static(&mirror));
        assert_eq!(mirror_step(&pod, Some(&mirror)), Step::Nothing);
        mirror.metadata.annotations.insert(MIRROR.into(), "other".into());
        assert_eq!(mirror_step(&pod, Some(&mirror)), Step::Delete("m".into()));
    }
}
