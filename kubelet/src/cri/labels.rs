//! Labels and annotations on sandboxes and containers: the kubelet's memory in the runtime.
//!
//! Names and encodings are upstream's, so that either kubelet recognises what the other started:
//! identity in labels, and what stopping a container needs in annotations. The container hash covers
//! name and image, and must never change: a different hash restarts every container on the node.

use std::collections::HashMap;

use api_types::core::v1::{Container, LifecycleHandler, Pod};

/// Label: the pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: the pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: the pod's uid.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: the container's name in the spec.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

const HASH: &str = "io.kubernetes.container.hash";
const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
const PORTS: &str = "io.kubernetes.container.ports";
const DELETION_GRACE: &str = "io.kubernetes.pod.deletionGracePeriod";
const TERMINATION_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// Whose sandbox or container it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The pod's uid.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
}

impl Identity {
    /// Reads the labels; `None` for what no kubelet started.
    pub fn from_labels(labels: &HashMap<String, String>) -> Option<Self> {
        Some(Self {
            uid: labels.get(POD_UID)?.clone(),
            namespace: labels.get(POD_NAMESPACE)?.clone(),
            name: labels.get(POD_NAME)?.clone(),
        })
    }
}

/// What a container's annotations remember.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerFacts {
    /// [`container_hash`] at its start.
    pub hash: u64,
    /// Starts before this one.
    pub restart_count: i32,
    /// Where the process leaves its last words.
    pub termination_path: String,
    /// `File` or `FallbackToLogsOnError`.
    pub termination_policy: String,
    /// Seconds, when the pod was being deleted.
    pub deletion_grace: Option<i64>,
    /// Seconds, from the spec.
    pub termination_grace: Option<i64>,
    /// What to run before stopping.
    pub pre_stop: Option<LifecycleHandler>,
}

impl ContainerFacts {
    /// Reads annotations; whatever is absent or broken takes its zero value, as with upstream.
    pub fn from_annotations(annotations: &HashMap<String, String>) -> Self {
        let text = |key: &str| annotations.get(key).cloned().unwrap_or_default();
        Self {
            hash: u64::from_str_radix(&text(HASH), 16).unwrap_or_default(),
            restart_count: text(RESTART_COUNT).parse().unwrap_or_default(),
            termination_path: text(TERMINATION_PATH),
            termination_policy: text(TERMINATION_POLICY),
            deletion_grace: text(DELETION_GRACE).parse().ok(),
            termination_grace: text(TERMINATION_GRACE).parse().ok(),
            pre_stop: annotations
                .get(PRE_STOP)
                .and_then(|raw| api_types::codec::json::from_slice(raw.as_bytes()).ok()),
        }
    }
}

/// Labels of a sandbox: the pod's own and its identity.
pub fn sandbox_labels(pod: &Pod) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> =
        pod.metadata.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    labels.extend(identity_labels(pod));
    labels
}

fn identity_labels(pod: &Pod) -> [(String, String); 3] {
    [
        (POD_NAME.into(), pod.metadata.name.clone()),
        (POD_NAMESPACE.into(), pod.metadata.namespace.clone()),
        (POD_UID.into(), pod.metadata.uid.clone()),
    ]
}

/// Labels of a container.
pub fn container_labels(pod: &Pod, container: &Container) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = identity_labels(pod).into();
    labels.insert(CONTAINER_NAME.into(), container.name.clone());
    labels
}

/// Annotations of a container that is about to be made for the `restart_count`th time.
pub fn container_annotations(
    pod: &Pod,
    container: &Container,
    restart_count: i32,
) -> HashMap<String, String> {
    let mut annotations = HashMap::from([
        (HASH.to_owned(), format!("{:x}", container_hash(&container.name, &container.image))),
        (RESTART_COUNT.to_owned(), restart_count.to_string()),
        (TERMINATION_PATH.to_owned(), container.termination_message_path.clone()),
        (TERMINATION_POLICY.to_owned(), container.termination_message_policy.as_str().to_owned()),
    ]);
    if let Some(seconds) = pod.metadata.deletion_grace_period_seconds {
        annotations.insert(DELETION_GRACE.into(), seconds.to_string());
    }
    if let Some(seconds) = pod.spec.termination_grace_period_seconds {
        annotations.insert(TERMINATION_GRACE.into(), seconds.to_string());
    }
    let mut json = |key: &str, bytes: Vec<u8>| {
        annotations.insert(key.into(), String::from_utf8_lossy(&bytes).into_owned());
    };
    if let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref()) {
        json(PRE_STOP, api_types::codec::json::value_to_vec(&**hook));
    }
    if !container.ports.is_empty() {
        let ports: Vec<Vec<u8>> =
            container.ports.iter().map(|port| api_types::codec::json::value_to_vec(port)).collect();
        json(PORTS, [b"[".to_vec(), ports.join(&b','), b"]".to_vec()].concat());
    }
    annotations
}

/// COMPAT: upstream hashes the printed form of the JSON of name and image with FNV-1a (32 bits).
pub fn container_hash(name: &str, image: &str) -> u64 {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let json = format!("{{\"image\":{},\"name\":{}}}", text(image), text(name));
    let numbers: Vec<String> = json.bytes().map(|byte| byte.to_string()).collect();
    let printed = format!("([]uint8)[{}]", numbers.join(" "));
    let mut hash: u32 = 0x811c_9dc5;
    for byte in printed.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    u64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// COMPAT: the value that upstream's own test pins down.
    #[test]
    fn hash_is_upstreams() {
        assert_eq!(container_hash("test_container", "foo/image:v1"), 0x8e45_cbd0);
    }
}
