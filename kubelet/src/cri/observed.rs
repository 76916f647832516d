//! What the runtime says about a pod, in the shape that decisions are made from.
//!
//! Sandboxes and containers stand newest first. A pod is found by its labels alone, so the view is
//! complete after a restart of the kubelet. Reading is the only I/O here; nothing is decided.

use std::collections::HashMap;

use super::labels::{ContainerFacts, Identity, POD_UID};
use super::{CallError, Runtime, v1};

/// Where a container stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Made, not (yet) started.
    Created,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Exited,
    /// The runtime lost track of it.
    #[default]
    Unknown,
}

impl State {
    /// The runtime's number for the state.
    pub fn from_wire(number: i32) -> Self {
        match v1::ContainerState::try_from(number) {
            Ok(v1::ContainerState::ContainerCreated) => Self::Created,
            Ok(v1::ContainerState::ContainerRunning) => Self::Running,
            Ok(v1::ContainerState::ContainerExited) => Self::Exited,
            _ => Self::Unknown,
        }
    }

    /// The word that upstream's messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Unknown => "unknown",
        }
    }
}

/// A sandbox of the pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// Number of the attempt, from 0.
    pub attempt: u32,
    /// Up and usable.
    pub ready: bool,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// It shares the node's network.
    pub host_network: bool,
    /// Its addresses; empty with the node's network, or when the network was lost.
    pub ips: Vec<String>,
}

/// A container of the pod, in any sandbox of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Container {
    /// The runtime's id.
    pub id: String,
    /// Name in the pod's spec.
    pub name: String,
    /// Where it stands.
    pub state: State,
    /// Nanoseconds since the epoch, as the next two.
    pub created_at: i64,
    /// Zero before the start.
    pub started_at: i64,
    /// Zero before the end.
    pub finished_at: i64,
    /// Of an ended process.
    pub exit_code: i32,
    /// The image as named in the spec, normalised by the runtime.
    pub image: String,
    /// The image's digest reference.
    pub image_ref: String,
    /// Completed, Error, OOMKilled, …
    pub reason: String,
    /// The runtime's message, or the termination message once read.
    pub message: String,
    /// Path of its log file.
    pub log_path: String,
    /// What the annotations say.
    pub facts: ContainerFacts,
    /// The user it started as, when the runtime says.
    pub user: Option<v1::LinuxContainerUser>,
    /// Where the mount of a path in the container lives on the node.
    pub mounts: Vec<(String, String)>,
    /// Paths in the container that are read-only all the way down.
    pub read_only_below: Vec<String>,
    /// What it may use, when the runtime says.
    pub resources: Option<v1::LinuxContainerResources>,
}

impl Container {
    fn from_status(status: v1::ContainerStatus) -> Self {
        let facts = ContainerFacts::from_annotations(&status.annotations);
        Self {
            id: status.id,
            name: status.labels.get(super::labels::CONTAINER_NAME).cloned().unwrap_or_default(),
            state: State::from_wire(status.state),
            created_at: status.created_at,
            started_at: status.started_at,
            finished_at: status.finished_at,
            exit_code: status.exit_code,
            image: status.image.map(|spec| spec.image).unwrap_or_default(),
            image_ref: status.image_ref,
            reason: status.reason,
            message: status.message,
            log_path: status.log_path,
            facts,
            user: status.user.and_then(|user| user.linux),
            read_only_below: status
                .mounts
                .iter()
                .filter(|mount| mount.recursive_read_only)
                .map(|mount| mount.container_path.clone())
                .collect(),
            mounts: status.mounts.into_iter().map(|mount| (mount.container_path, mount.host_path)).collect(),
            resources: status.resources.and_then(|resources| resources.linux),
        }
    }
}

/// All that the runtime has of one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedPod {
    /// Newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Newest first, past attempts included.
    pub containers: Vec<Container>,
}

impl ObservedPod {
    /// The newest container of that name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The addresses of the newest sandbox, while it is ready.
    pub fn ips(&self) -> &[String] {
        match self.sandboxes.first() {
            Some(sandbox) if sandbox.ready => &sandbox.ips,
            _ => &[],
        }
    }

    /// The newest ready sandbox.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.iter().find(|sandbox| sandbox.ready)
    }

    /// A container is up, or might be.
    pub fn may_run(&self) -> bool {
        self.sandboxes.iter().any(|sandbox| sandbox.ready)
            || self.containers.iter().any(|c| matches!(c.state, State::Running | State::Unknown))
    }
}

/// Reads one pod from the runtime: two lists and a status for each thing found.
pub async fn read(runtime: &Runtime, uid: &str) -> Result<ObservedPod, CallError> {
    let by_uid: HashMap<String, String> = [(POD_UID.to_owned(), uid.to_owned())].into();
    let sandbox_filter = v1::PodSandboxFilter { label_selector: by_uid.clone(), ..Default::default() };
    let container_filter = v1::ContainerFilter { label_selector: by_uid, ..Default::default() };
    let mut listed = runtime.sandboxes(Some(sandbox_filter)).await?;
    listed.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.created_at));
    let mut observed = ObservedPod::default();
    for item in listed {
        // Removed between the two calls: as if it had not been listed.
        let status = match runtime.sandbox_status(&item.id).await {
            Ok(Some(status)) => status,
            Ok(None) => continue,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        observed.sandboxes.push(sandbox(status));
    }
    for item in runtime.containers(Some(container_filter)).await? {
        match runtime.container_status(&item.id).await {
            Ok(Some(status)) => observed.containers.push(Container::from_status(status)),
            Ok(None) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    observed.containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    Ok(observed)
}

fn sandbox(status: v1::PodSandboxStatus) -> Sandbox {
    let host_network = status
        .linux
        .and_then(|linux| linux.namespaces)
        .and_then(|namespaces| namespaces.options)
        .is_some_and(|options| options.network == v1::NamespaceMode::Node as i32);
    let mut ips = Vec::new();
    if let Some(network) = status.network.filter(|_| !host_network) {
        if !network.ip.is_empty() {
            ips.push(network.ip);
        }
        ips.extend(network.additional_ips.into_iter().map(|ip| ip.ip));
    }
    Sandbox {
        id: status.id,
        attempt: status.metadata.map(|metadata| metadata.attempt).unwrap_or_default(),
        ready: status.state == v1::PodSandboxState::SandboxReady as i32,
        created_at: status.created_at,
        host_network,
        ips,
    }
}

/// One line per pod of a full listing: enough to see that something changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Whose pod it is, from the labels.
    pub identity: Identity,
    /// Id and state (`None` for a sandbox that is not ready) of all that belongs to the pod, sorted.
    pub parts: Vec<(String, i32)>,
}

/// Lists everything that carries a pod's labels, by uid.
pub async fn digests(runtime: &Runtime) -> Result<HashMap<String, Digest>, CallError> {
    let (sandboxes, containers) = tokio::try_join!(runtime.sandboxes(None), runtime.containers(None))?;
    let mut pods: HashMap<String, Digest> = HashMap::new();
    let parts = sandboxes
        .into_iter()
        .map(|sandbox| (sandbox.labels, sandbox.id, sandbox.state))
        .chain(containers.into_iter().map(|container| (container.labels, container.id, container.state)));
    for (labels, id, state) in parts {
        let Some(identity) = Identity::from_labels(&labels) else { continue };
        let digest =
            pods.entry(identity.uid.clone()).or_insert_with(|| Digest { identity, parts: Vec::new() });
        digest.parts.push((id, state));
    }
    for digest in pods.values_mut() {
        digest.parts.sort();
    }
    Ok(pods)
}
