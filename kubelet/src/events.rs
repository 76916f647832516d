//! Events about this node's pods, with the reference to the container that upstream puts into them.

use api_types::core::v1::{Node, ObjectReference, Pod};

/// Records events; cheap to clone. Recording never waits and never fails.
#[derive(Clone)]
pub struct Recorder {
    inner: client::events::Recorder,
}

impl Recorder {
    /// Events through `inner`.
    pub fn new(inner: client::events::Recorder) -> Self {
        Self { inner }
    }

    fn reference(pod: &Pod) -> ObjectReference {
        let meta = &pod.metadata;
        ObjectReference {
            kind: "Pod".into(),
            api_version: "v1".into(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: String::new(),
        }
    }

    /// About a pod; `kind` is Normal or Warning.
    pub fn pod(&self, pod: &Pod, kind: &str, reason: &str, message: &str) {
        self.inner.event(&Self::reference(pod), kind, reason, message);
    }

    /// About a pod, with annotations.
    pub fn annotated(
        &self,
        pod: &Pod,
        kind: &str,
        reason: &str,
        message: &str,
        annotations: &[(&'static str, String)],
    ) {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        self.inner.annotated(&Self::reference(pod), kind, reason, message, annotations);
    }

    /// About a container of a pod.
    pub fn container(&self, pod: &Pod, container: &str, kind: &str, reason: &str, message: &str) {
        let mut reference = Self::reference(pod);
        reference.field_path = field_path(pod, container);
        self.inner.event(&reference, kind, reason, message);
    }

    /// About the node. COMPAT: what enforces its limits names the version and no uid.
    pub fn plain_node(&self, name: &str, kind: &str, reason: &str, message: &str) {
        let reference = ObjectReference {
            api_version: "v1".into(),
            kind: <Node as api_types::Resource>::KIND.kind.into(),
            name: name.into(),
            ..Default::default()
        };
        self.inner.event(&reference, kind, reason, message);
    }

    /// About the node. COMPAT: its uid is its name, as upstream's kubelet says.
    pub fn node(&self, name: &str, kind: &str, reason: &str, message: &str) {
        let reference = ObjectReference {
            kind: <Node as api_types::Resource>::KIND.kind.into(),
            name: name.into(),
            uid: name.into(),
            ..Default::default()
        };
        self.inner.event(&reference, kind, reason, message);
    }
}

/// `spec.containers{web}`
fn field_path(pod: &Pod, container: &str) -> String {
    let spec = &pod.spec;
    let list = if spec.init_containers.iter().any(|spec| spec.name == container) {
        "initContainers"
    } else if spec.ephemeral_containers.iter().any(|spec| spec.common.name == container) {
        "ephemeralContainers"
    } else {
        "containers"
    };
    format!("spec.{list}{{{container}}}")
}
