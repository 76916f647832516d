//! Devices that plugins offer (KEP-3573): they register at a socket, list their devices, and say what a
//! container needs to use those it is given.
//!
//! [`plan`] chooses devices, [`plugin`] speaks with plugins, [`checkpoint`] is the file in which it is kept
//! who has what. A container's devices are chosen when its pod is admitted and are its own until the pod
//! has ended. Near which NUMA nodes they should be, [`crate::placement`] says.

pub mod checkpoint;
pub mod plan;
pub mod plugin;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use api_types::Quantity;
use api_types::core::v1::{
    Container, Pod, PodStatus, ResourceHealth, ResourceHealthStatus, ResourceList, ResourceStatus,
};
use api_types::value::Format;
use parking_lot::Mutex;
use prost::Message;
use tokio::time::Instant;

use crate::placement::hint::{Hints, Mask, prefer};
use crate::resources;
use crate::sync_pod::plan::is_sidecar;
use checkpoint::{Data, Entry};
use plan::{Choice, Ids, View};
use plugin::{Plugin, proto};
use proto::ContainerAllocateResponse;

/// The folder below the kubelet's root.
pub const FOLDER: &str = "device-plugins";
const FILE: &str = "kubelet_internal_checkpoint";
/// COMPAT: so long a plugin may be away before its devices are none.
const GRACE: Duration = Duration::from_secs(300);
/// COMPAT: where devices without a NUMA node stand.
const NOWHERE: i64 = -1;

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    healthy: bool,
    nodes: Vec<i64>,
}

/// What is known of a resource.
struct Resource {
    devices: BTreeMap<String, Device>,
    plugin: Option<Plugin>,
    /// Since when no plugin is there.
    away: Option<Instant>,
}

impl Resource {
    fn healthy(&self) -> Ids {
        self.devices.iter().filter(|(_, device)| device.healthy).map(|(id, _)| id.clone()).collect()
    }

    /// The devices near these nodes, and those that are near none at all.
    fn near(&self, nodes: Option<Mask>) -> (Ids, Ids) {
        let of = |fits: &dyn Fn(&Device) -> bool| {
            self.devices.iter().filter(|(_, device)| fits(device)).map(|(id, _)| id.clone()).collect()
        };
        let Some(nodes) = nodes else { return Default::default() };
        (of(&|device| device.is_near(nodes)), of(&|device| device.nodes.is_empty()))
    }
}

impl Device {
    fn is_near(&self, nodes: Mask) -> bool {
        self.nodes.iter().any(|node| usize::try_from(*node).is_ok_and(|node| nodes.has(node)))
    }
}

fn count(amount: &Quantity) -> usize {
    usize::try_from(amount.value()).unwrap_or_default()
}

#[derive(Default)]
struct State {
    resources: BTreeMap<String, Resource>,
    entries: Vec<Entry>,
    changes: u64,
}

impl State {
    fn of(&self, uid: &str, container: &str, resource: &str) -> Option<Ids> {
        let found = self.entries.iter().find(|entry| {
            entry.uid == uid && entry.container_name == container && entry.resource_name == resource
        })?;
        Some(ids(found))
    }

    /// A plugin has offered it, or a container has it.
    fn knows(&self, name: &str) -> bool {
        self.resources.contains_key(name) || self.entries.iter().any(|entry| entry.resource_name == name)
    }

    /// Where so many of a resource could come from, when those in `had` were given already.
    fn hints(&self, name: &str, count: usize, had: Ids, reusable: &Ids, nodes: &[usize]) -> Hints {
        let resource = self.resources.get(name)?;
        let placed = resource.devices.values().flat_map(|device| device.nodes.clone());
        let placed: BTreeSet<usize> = placed.filter_map(|node| usize::try_from(node).ok()).collect();
        if placed.is_empty() {
            return None;
        }
        let (available, reusable) = match had.len() {
            0 => (resource.healthy().difference(&self.used(name)).cloned().collect(), reusable.clone()),
            same if same == count => (had, Ids::new()),
            _ => return Some(Vec::new()),
        };
        let mut known: Vec<usize> = nodes.iter().copied().filter(|node| placed.contains(node)).collect();
        if known.is_empty() {
            known = nodes.to_vec();
        }
        let place = |id: &String| resource.devices.get(id);
        let mut least = Mask::of(known.iter().copied()).count();
        let mut fitting = Vec::new();
        for mask in Mask::subsets(&known) {
            if resource.devices.values().filter(|device| device.is_near(mask)).count() >= count {
                least = least.min(mask.count());
            }
            let again: Vec<&Device> =
                reusable.iter().filter_map(place).filter(|device| !device.nodes.is_empty()).collect();
            let near = available.iter().filter_map(place).filter(|device| device.is_near(mask)).count();
            if again.iter().all(|device| device.is_near(mask)) && again.len() + near >= count {
                fitting.push(mask);
            }
        }
        Some(prefer(fitting, least))
    }

    fn used(&self, resource: &str) -> Ids {
        self.entries.iter().filter(|entry| entry.resource_name == resource).flat_map(ids).collect()
    }
}

fn ids(entry: &Entry) -> Ids {
    entry.devices.iter().flatten().flat_map(|(_, ids)| ids.iter().cloned()).collect()
}

/// A device, and the NUMA nodes that it is near; none where its plugin did not say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placed {
    /// What it is one of.
    pub resource: String,
    /// Its name.
    pub id: String,
    /// Numbers of NUMA nodes, rising.
    pub nodes: Vec<i64>,
}

/// What a container needs to use its devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Needs {
    /// Variables.
    pub envs: BTreeMap<String, String>,
    /// Annotations for the runtime.
    pub annotations: BTreeMap<String, String>,
    /// Paths of the node.
    pub mounts: Vec<proto::Mount>,
    /// Device files.
    pub devices: Vec<proto::DeviceSpec>,
    /// Devices that the runtime knows by name.
    pub named: Vec<String>,
}

/// Merges answers; what came first stands.
fn needs<'a>(answers: impl IntoIterator<Item = &'a [u8]>) -> Needs {
    let mut all = Needs::default();
    for answer in answers {
        let Ok(one) = ContainerAllocateResponse::decode(answer) else { continue };
        for (key, value) in one.envs {
            all.envs.entry(key).or_insert(value);
        }
        for (key, value) in one.annotations {
            all.annotations.entry(key).or_insert(value);
        }
        for mount in one.mounts {
            if all.mounts.iter().all(|known| known.container_path != mount.container_path) {
                all.mounts.push(mount);
            }
        }
        for device in one.devices {
            if all.devices.iter().all(|known| known.container_path != device.container_path) {
                all.devices.push(device);
            }
        }
        for device in one.cdi_devices {
            if !all.named.contains(&device.name) {
                all.named.push(device.name);
            }
        }
    }
    all
}

/// The devices of all plugins on this node.
pub struct Devices {
    dir: PathBuf,
    state: Mutex<State>,
    wake: OnceLock<Wake>,
}

/// Wakes a pod.
type Wake = Box<dyn Fn(&str) + Send + Sync>;

/// What init containers leave to those after them.
pub struct Reusable<'a> {
    /// The container is an init container.
    pub init: bool,
    /// Devices, by resource.
    pub free: &'a mut BTreeMap<String, Ids>,
}

impl Devices {
    /// Reads who has what.
    pub fn load(root: &Path) -> Self {
        let dir = root.join(FOLDER);
        let mut state = State::default();
        let path = dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => match checkpoint::decode(&bytes) {
                Some(data) => {
                    state.entries = data.pod_device_entries.unwrap_or_default();
                    for name in data.registered_devices.unwrap_or_default().into_keys() {
                        // None of them until the plugin is back.
                        let away = Some(Instant::now());
                        let resource = Resource { devices: BTreeMap::new(), plugin: None, away };
                        state.resources.insert(name, resource);
                    }
                }
                None => {
                    tracing::error!(path = %path.display(), "the file of devices is damaged: who has which is not known")
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "cannot read who has which devices")
            }
        }
        Self { dir, state: Mutex::new(state), wake: OnceLock::new() }
    }

    /// The folder of plugins' sockets.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Grows whenever the node has other devices.
    pub fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// What the node has, and what of it works.
    pub fn amounts(&self) -> (ResourceList, ResourceList) {
        let (mut capacity, mut allocatable) = (ResourceList::new(), ResourceList::new());
        for (name, resource) in &self.state.lock().resources {
            // COMPAT: zero, and not nothing: so one sees that it was there.
            let gone = resource.away.is_some_and(|since| since.elapsed() > GRACE);
            let count =
                |number: usize| Quantity::from_units(if gone { 0 } else { number as i64 }, Format::DecimalSi);
            capacity.insert(name.clone(), count(resource.devices.len()));
            allocatable.insert(name.clone(), count(resource.healthy().len()));
        }
        (capacity, allocatable)
    }

    fn connected(&self, name: &str, plugin: Plugin) {
        let mut state = self.state.lock();
        let resource = state.resources.entry(name.to_owned()).or_insert_with(|| Resource {
            devices: BTreeMap::new(),
            plugin: None,
            away: None,
        });
        resource.plugin = Some(plugin);
        resource.away = None;
        state.changes += 1;
    }

    /// A plugin that is not (any more) the resource's has no say.
    fn listed(&self, name: &str, plugin: &Plugin, devices: Vec<proto::Device>) {
        let mut state = self.state.lock();
        let Some(resource) =
            state.resources.get_mut(name).filter(|known| known.plugin.as_ref() == Some(plugin))
        else {
            return;
        };
        let device = |one: proto::Device| {
            let nodes = one.topology.map(|topology| topology.nodes).unwrap_or_default();
            let nodes = nodes.into_iter().map(|node| node.id).collect();
            (one.id, Device { healthy: one.health == "Healthy", nodes })
        };
        resource.devices = devices.into_iter().map(device).collect();
        tracing::info!(
            resource = name,
            devices = resource.devices.len(),
            healthy = resource.healthy().len(),
            "a device plugin listed its devices"
        );
        state.changes += 1;
        self.save(&state);
        let users = Self::users(&state, name);
        drop(state);
        self.tell(&users);
    }

    fn disconnected(&self, name: &str, plugin: &Plugin) {
        let mut state = self.state.lock();
        let Some(resource) =
            state.resources.get_mut(name).filter(|known| known.plugin.as_ref() == Some(plugin))
        else {
            return;
        };
        resource.plugin = None;
        resource.away = Some(Instant::now());
        resource.devices.values_mut().for_each(|device| device.healthy = false);
        state.changes += 1;
        self.save(&state);
        let users = Self::users(&state, name);
        drop(state);
        self.tell(&users);
    }

    /// Gives a container what it asks for, from near the nodes if there are any that it should be near. An error is
    /// worded as upstream's.
    pub async fn allocate(
        &self,
        pod: &Pod,
        container: &Container,
        near: Option<Mask>,
        reusable: Reusable<'_>,
    ) -> Result<(), String> {
        let uid = &pod.metadata.uid;
        for (name, amount) in &container.resources.limits {
            if !self.knows(name) {
                continue;
            }
            let free = reusable.free.entry(name.clone()).or_default();
            let required = usize::try_from(amount.value()).unwrap_or_default();
            self.allocate_one((uid, &container.name), name, required, near, free).await?;
            let has = self.state.lock().of(uid, &container.name, name).unwrap_or_default();
            // An init container has ended when the next one starts; a sidecar has not.
            if reusable.init && !is_sidecar(container) {
                free.extend(has);
            } else {
                free.retain(|id| !has.contains(id));
            }
        }
        Ok(())
    }

    /// A container asks for devices of plugins.
    pub fn asked(&self, container: &Container) -> bool {
        let state = self.state.lock();
        container.resources.limits.keys().any(|name| state.knows(name))
    }

    /// Where a container's devices could come from, for each resource; `nodes` are the machine's.
    pub fn hints(
        &self,
        pod: &Pod,
        container: &Container,
        nodes: &[usize],
        reusable: &BTreeMap<String, Ids>,
    ) -> Vec<Hints> {
        let state = self.state.lock();
        let none = Ids::new();
        let asked = container.resources.limits.iter().filter(|(name, _)| state.knows(name));
        let of = |(name, amount): (&String, &Quantity)| {
            let had = state.of(&pod.metadata.uid, &container.name, name).unwrap_or_default();
            state.hints(name, count(amount), had, reusable.get(name).unwrap_or(&none), nodes)
        };
        asked.map(of).collect()
    }

    /// Where all of a pod's devices could come from, for each resource.
    pub fn pod_hints(&self, pod: &Pod, nodes: &[usize]) -> Vec<Hints> {
        let state = self.state.lock();
        let all = resources::aggregate(&pod.spec, |resources| &resources.limits);
        let of = |(name, amount): (&String, &Quantity)| {
            let own = state.entries.iter().filter(|entry| entry.uid == pod.metadata.uid);
            let had = own.filter(|entry| entry.resource_name == *name).flat_map(ids).collect();
            state.hints(name, count(amount), had, &Ids::new(), nodes)
        };
        all.iter().filter(|(name, _)| state.knows(name)).map(of).collect()
    }

    async fn allocate_one(
        &self,
        (uid, container): (&str, &str),
        name: &str,
        required: usize,
        near: Option<Mask>,
        reusable: &Ids,
    ) -> Result<(), String> {
        let (choice, plugin) = {
            let state = self.state.lock();
            let resource = state.resources.get(name);
            let had = state.of(uid, container, name);
            let healthy = resource.map(Resource::healthy);
            let (near, nowhere) = resource.map(|resource| resource.near(near)).unwrap_or_default();
            let view = View {
                resource: name,
                container: (uid, container),
                required,
                had: had.as_ref(),
                healthy: healthy.as_ref(),
                used: &state.used(name),
                reusable,
                near: &near,
                nowhere: &nowhere,
            };
            (plan::choose(&view)?, resource.and_then(|resource| resource.plugin.clone()))
        };
        if choice == Choice::Nothing {
            return Ok(());
        }
        let plugin = plugin.ok_or_else(|| format!("unknown Device Plugin {name}"))?;
        let chosen = match choice {
            Choice::Nothing => return Ok(()),
            Choice::Take(chosen) => chosen,
            Choice::Ask { taken, available, last, missing } => {
                let from = available.iter().chain(&last).chain(&taken).cloned().collect();
                let preferred = plugin.preferred(from, &taken, required).await?;
                plan::complete(taken, (&available, &last), missing, &preferred)
            }
        };
        let answer = plugin.allocate(&chosen).await?;
        let mut state = self.state.lock();
        let mut by_node = checkpoint::ByNode::new();
        for id in chosen {
            let nodes = state.resources.get(name).and_then(|resource| resource.devices.get(&id));
            let nodes = nodes.map(|device| device.nodes.clone()).unwrap_or_default();
            for node in if nodes.is_empty() { vec![NOWHERE] } else { nodes } {
                by_node.entry(node).or_default().push(id.clone());
            }
        }
        state.entries.push(Entry {
            uid: uid.to_owned(),
            container_name: container.to_owned(),
            resource_name: name.to_owned(),
            devices: Some(by_node),
            answer: answer.encode_to_vec(),
        });
        self.save(&state);
        Ok(())
    }

    /// The devices that a container has.
    pub fn of_container(&self, uid: &str, container: &str) -> Vec<Placed> {
        let state = self.state.lock();
        let own = state.entries.iter().filter(|entry| entry.uid == uid && entry.container_name == container);
        let mut all: BTreeMap<(&str, &str), Vec<i64>> = BTreeMap::new();
        for entry in own {
            for (node, ids) in entry.devices.iter().flatten() {
                for id in ids {
                    let nodes = all.entry((&entry.resource_name, id)).or_default();
                    nodes.extend((*node != NOWHERE).then_some(*node));
                }
            }
        }
        let placed = |((resource, id), nodes): ((&str, &str), Vec<i64>)| Placed {
            resource: resource.to_owned(),
            id: id.to_owned(),
            nodes,
        };
        all.into_iter().map(placed).collect()
    }

    /// Notes how the devices of a pod's containers are (KEP-4680). COMPAT: one that its plugin does not list is well.
    pub fn fill(&self, uid: &str, status: &mut PodStatus) {
        for container in &mut status.container_statuses {
            let mut all: BTreeMap<String, Vec<ResourceHealth>> = BTreeMap::new();
            for one in self.of_container(uid, &container.name) {
                let state = self.state.lock();
                let known = state.resources.get(&one.resource).and_then(|known| known.devices.get(&one.id));
                let health = match known.is_none_or(|device| device.healthy) {
                    true => ResourceHealthStatus::Healthy,
                    false => ResourceHealthStatus::Unhealthy,
                };
                let told = ResourceHealth { resource_id: one.id, health, message: None };
                all.entry(one.resource).or_default().push(told);
            }
            container.allocated_resources_status.retain(|known| !all.contains_key(&known.name));
            let told = all.into_iter().map(|(name, resources)| ResourceStatus { name, resources });
            container.allocated_resources_status.extend(told);
        }
    }

    /// The pods with devices of a resource.
    fn users(state: &State, resource: &str) -> BTreeSet<String> {
        let entries = state.entries.iter().filter(|entry| entry.resource_name == resource);
        entries.map(|entry| entry.uid.clone()).collect()
    }

    /// `wake` is called with the pods whose devices may be otherwise than they were.
    pub fn wake_with(&self, wake: impl Fn(&str) + Send + Sync + 'static) {
        // The first to ask is the only one.
        let _ = self.wake.set(Box::new(wake));
    }

    fn tell(&self, pods: &BTreeSet<String>) {
        if let Some(wake) = self.wake.get() {
            pods.iter().for_each(|uid| wake(uid));
        }
    }

    /// All devices that work.
    pub fn working(&self) -> Vec<Placed> {
        let state = self.state.lock();
        let of = |(name, resource): (&String, &Resource)| -> Vec<Placed> {
            let healthy = resource.devices.iter().filter(|(_, device)| device.healthy);
            let placed = |(id, device): (&String, &Device)| Placed {
                resource: name.clone(),
                id: id.clone(),
                nodes: device.nodes.clone(),
            };
            healthy.map(placed).collect()
        };
        state.resources.iter().flat_map(of).collect()
    }

    /// Tells plugins that want to know that a container is about to start, and says what it needs.
    pub async fn before_start(&self, pod: &Pod, container: &Container) -> Result<Needs, String> {
        let uid = &pod.metadata.uid;
        for name in container.resources.limits.keys() {
            let (plugin, has) = {
                let state = self.state.lock();
                let plugin = state.resources.get(name).and_then(|resource| resource.plugin.clone());
                (plugin, state.of(uid, &container.name, name))
            };
            if let (Some(plugin), Some(has)) = (plugin, has) {
                plugin.before_start(&has).await?;
            }
        }
        let state = self.state.lock();
        let mut own: Vec<&Entry> = state
            .entries
            .iter()
            .filter(|entry| entry.uid == *uid && entry.container_name == container.name)
            .collect();
        own.sort_by_key(|entry| &entry.resource_name);
        Ok(needs(own.into_iter().map(|entry| entry.answer.as_slice())))
    }

    /// A pod is over: others may have its devices.
    pub fn release(&self, uid: &str) {
        self.retain(|other| other != uid);
    }

    /// Takes back what pods have that are not to keep it.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut state = self.state.lock();
        let before = state.entries.len();
        state.entries.retain(|entry| keep(&entry.uid));
        if state.entries.len() != before {
            self.save(&state);
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.state.lock().knows(name)
    }

    fn save(&self, state: &State) {
        let gone = |resource: &Resource| resource.away.is_some_and(|since| since.elapsed() > GRACE);
        let registered: BTreeMap<String, Vec<String>> = state
            .resources
            .iter()
            .filter(|(_, resource)| !gone(resource))
            .map(|(name, resource)| (name.clone(), resource.healthy().into_iter().collect()))
            .collect();
        // COMPAT: nothing given out is null.
        let entries = (!state.entries.is_empty()).then(|| state.entries.clone());
        let data = Data { pod_device_entries: entries, registered_devices: Some(registered) };
        let path = self.dir.join(FILE);
        let beside = self.dir.join(format!(".{FILE}"));
        let written = std::fs::create_dir_all(&self.dir)
            .and_then(|()| std::fs::write(&beside, checkpoint::encode(data)))
            .and_then(|()| std::fs::File::open(&beside)?.sync_data())
            .and_then(|()| std::fs::rename(&beside, &path));
        if let Err(error) = written {
            tracing::error!(%error, path = %path.display(), "cannot write who has which devices");
        }
    }

    /// Removes the sockets of plugins that the kubelet before this one knew: they register again when
    /// they see the kubelet's own socket made anew.
    fn tidy(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let kept: BTreeSet<PathBuf> = [self.dir.join(FILE)].into();
        for path in crate::volume::actual::entries(&self.dir)? {
            if !kept.contains(&path) && !path.is_dir() {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}
