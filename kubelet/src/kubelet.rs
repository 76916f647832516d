//! The kubelet's parts, as its loops share them.

use std::path::PathBuf;
use std::sync::Arc;

use api_types::core::v1::{Container, Pod, ResourceList};
use client::Client;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::cgroup::Names;
use crate::cgroup::huge;
use crate::cgroup::tree::Tree;
use crate::config::KubeletConfiguration;
use crate::cri::observed::{self, ObservedPod};
use crate::cri::{CallError, Runtime, changes::Pulse, v1};
use crate::csi::Csi;
use crate::device::Devices;
use crate::dra::Dra;
use crate::events::Recorder;
use crate::eviction::Pressures;
use crate::image_gc::Records;
use crate::images::Images;
use crate::machine::Machine;
use crate::node::addresses::Addresses;
use crate::node::classes::Classes;
use crate::placement::Placement;
use crate::pod_worker::Workers;
use crate::probe::schedule::Probes;
use crate::resize::Resizes;
use crate::shutdown::Ending;
use crate::sources::manifests::Manifests;
use crate::sources::mirrors::Mirrors;
use crate::sources::references::References;
use crate::sources::runtime_classes::RuntimeClasses;
use crate::sources::services::Services;
use crate::sources::tokens::Tokens;
use crate::status::writer::Statuses;
use crate::swap::Swap;
use crate::sync_pod::backoff::Backoff;
use crate::sync_pod::reasons::Reasons;
use crate::user_namespaces::UserNamespaces;
use crate::volume::claims::ClaimCache;
use crate::volume::space::Spaces;
use crate::{resources, termination};

/// What is known of the runtime.
#[derive(Clone, Debug, Default)]
pub struct RuntimeFacts {
    /// `containerd`
    pub name: String,
    /// `1.6.20`
    pub version: String,
    /// Why pods cannot get a network yet; empty when they can.
    pub network_error: String,
    /// Why the runtime is not ready; empty when it is.
    pub runtime_error: String,
    /// The last status.
    pub status: v1::StatusResponse,
    /// When it was told.
    pub seen: Option<Instant>,
}

/// All parts.
pub struct Kubelet {
    /// Name of the node.
    pub node_name: String,
    /// The node's addresses.
    pub addresses: Arc<Addresses>,
    /// Settings.
    pub config: KubeletConfiguration,
    /// `/var/lib/kubelet`
    pub root: PathBuf,
    /// Labels for the registration.
    pub node_labels: std::collections::BTreeMap<String, String>,
    /// The API.
    pub client: Client,
    /// The same for the node's own state.
    pub heartbeat: Client,
    /// The runtime.
    pub runtime: Runtime,
    /// The control group that it is in, where that was told.
    pub runtime_cgroup: String,
    /// What is known of it.
    pub runtime_facts: RwLock<RuntimeFacts>,
    /// When it was last listed.
    pub pulse: Pulse,
    /// Events.
    pub recorder: Recorder,
    /// What control groups are called.
    pub cgroups: Names,
    /// Control groups.
    pub tree: Tree,
    /// Whether the machine is about to go down.
    pub shutdown: Ending,
    /// The node.
    pub machine: Machine,
    /// Its swap, and who may have of it.
    pub swap: Swap,
    /// What the groups of classes of pods were set to.
    pub classes: Classes,
    /// What pods may use of it.
    pub allocatable: ResourceList,
    /// Images.
    pub images: Images,
    /// Crashed containers.
    pub crashes: Backoff,
    /// Pods whose volumes could not be set up.
    pub volume_failures: Backoff,
    /// Failed starts.
    pub reasons: Reasons,
    /// Probes.
    pub probes: Arc<Probes>,
    /// Resources that pods were promised.
    pub resizes: Resizes,
    /// What the node is short of.
    pub pressures: Pressures,
    /// What is remembered of images.
    pub image_records: Records,
    /// Statuses.
    pub statuses: Arc<Statuses>,
    /// ConfigMaps and Secrets.
    pub references: References,
    /// Runtime classes.
    pub runtime_classes: Arc<RuntimeClasses>,
    /// Claims of volumes.
    pub claims: ClaimCache,
    /// How full their volumes are.
    pub spaces: Spaces,
    /// Services.
    pub services: Arc<Services>,
    /// Service account tokens.
    pub tokens: Arc<Tokens>,
    /// Storage drivers.
    pub csi: Arc<Csi>,
    /// Devices of plugins.
    pub devices: Arc<Devices>,
    /// Devices of claims.
    pub dra: Arc<Dra>,
    /// Which CPUs and memory containers have to themselves.
    pub placement: Arc<Placement>,
    /// Pods with users of their own.
    pub user_namespaces: UserNamespaces,
    /// Static pods.
    pub manifests: Manifests,
    /// Their mirrors in the API.
    pub mirrors: Arc<Mirrors>,
    /// Pods.
    pub workers: Arc<Workers>,
    /// Permits to remove what is dead from the runtime.
    pub removals: Semaphore,
}

/// Removals from the runtime under way at once.
pub const REMOVALS: usize = 2;

impl Kubelet {
    /// The directory of a pod.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// Most pods of the node.
    pub fn most_pods(&self) -> i32 {
        self.config.pods_of(self.machine.cpus)
    }

    /// CPU limits are enforced.
    pub fn cfs_quota(&self) -> bool {
        self.config.cpu_cfs_quota != Some(false)
    }

    /// CPU limits of the pod as a whole are enforced: not where containers have CPUs to themselves.
    pub fn pod_quota(&self, pod: &Pod) -> bool {
        self.cfs_quota() && !self.placement.pod_has_own_cpus(&pod.metadata.uid)
    }

    /// A container's limits for the runtime.
    pub fn container_resources(&self, pod: &Pod, container: &Container) -> v1::LinuxContainerResources {
        let mut limits = resources::container_resources(
            pod,
            container,
            self.machine.memory,
            self.cfs_quota(),
            self.tree.is_v2() && self.config.single_process_oom_kill != Some(true),
        );
        let sizes: Vec<u64> =
            self.machine.huge_pages.iter().map(|(_, bytes, _)| bytes.cast_unsigned()).collect();
        limits.hugepage_limits = huge::of_container(pod, container, &sizes);
        // Its own CPUs are all that it can use.
        if self.cfs_quota() && !self.placement.own_cpus(&pod.metadata.uid, &container.name).is_empty() {
            limits.cpu_quota = -1;
        }
        self.swap.apply(pod, container, &mut limits);
        limits
    }

    /// The runtime's view of a pod, termination messages included.
    pub async fn observe(&self, uid: &str) -> Result<ObservedPod, CallError> {
        let mut observed = observed::read(&self.runtime, uid).await?;
        termination::fill(&mut observed);
        Ok(observed)
    }

    /// The runtime gives processes exactly the groups that a pod names.
    pub fn strict_groups(&self) -> bool {
        let facts = self.runtime_facts.read();
        facts.status.features.as_ref().is_some_and(|features| features.supplemental_groups_policy)
    }

    /// What a runtime handler can do, as far as the runtime says.
    pub fn handler_features(&self, handler: &str) -> Option<v1::RuntimeHandlerFeatures> {
        let facts = self.runtime_facts.read();
        facts.status.runtime_handlers.iter().find(|known| known.name == handler)?.features
    }

    /// The users of a pod whose sandbox `handler` makes.
    ///
    /// # Errors
    /// When it cannot have those that it asks for: worded for the event.
    pub fn users(&self, pod: &Pod, handler: &str) -> Result<v1::UserNamespace, String> {
        let facts = self.runtime_facts.read();
        self.user_namespaces.of(pod, handler, &facts.status.runtime_handlers)
    }

    /// The runtime's name, as container ids start with it.
    pub fn runtime_name(&self) -> String {
        self.runtime_facts.read().name.clone()
    }

    /// Forgets what was kept in memory about a pod.
    pub fn forget(&self, pod: &Pod) {
        let uid = &pod.metadata.uid;
        self.images.forget(uid);
        self.crashes.forget(&format!("{uid}_"));
        self.volume_failures.forget(uid);
        self.reasons.forget(uid);
        self.probes.remove(uid);
        self.references.forget(uid);
        self.tokens.forget(uid);
        self.claims.forget(uid);
        self.csi.release(uid);
        self.resizes.forget(uid);
        self.devices.release(uid);
        self.placement.release(uid);
        self.user_namespaces.release(uid);
        // What the pod had is free for those that wait for more.
        self.resizes.poke(self);
    }
}
