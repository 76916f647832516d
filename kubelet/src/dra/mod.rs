//! Devices that pods get by resource claims (dynamic resource allocation, KEP-4381).
//!
//! A scheduler has chosen the devices. Before a pod's sandbox is made, their drivers prepare its claims
//! and say by which names (CDI) the runtime knows the devices; once all its containers have ended, the drivers take
//! that back from claims that no other pod uses, and only then the pod is said to have ended.
//!
//! [`plan`] says which claims those are, [`claims`] and [`checkpoint`] keep them, [`drivers`] and [`plugin`] speak
//! with drivers, [`health`] knows how devices are.

pub mod checkpoint;
pub mod claims;
pub mod drivers;
pub mod health;
pub mod plan;
pub mod plugin;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use api_types::core::v1::{Container, Pod, PodStatus, ResourceHealth, ResourceStatus};
use api_types::resource::v1::ResourceClaim;
use client::Client;
use daemon::metrics::{self, HistogramVec};
use futures::future::join_all;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::cri::CallError;
use crate::kubelet::Kubelet;
use checkpoint::{ClaimState, Device};
use claims::{ClaimKey, Claims, ClaimsError, Entry};
use drivers::Drivers;
use health::Health;
use plan::Refusal;
use plugin::{Plugin, proto};

/// COMPAT: how often it is looked for claims of pods that are gone.
const RECONCILE: Duration = Duration::from_secs(60);

static OPERATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "dra_operations_duration_seconds",
        "[ALPHA] Latency histogram in seconds for the duration of handling all ResourceClaims referenced by a pod when \
         the pod starts or stops. Identified by the name of the operation (PrepareResources or UnprepareResources) \
         and separated by the success of the operation. The number of failed operations is provided through the \
         histogram's overall count.",
        &["operation_name", "is_error"],
        &plugin::buckets(),
    )
});

/// Why claims could not be prepared, or taken back; worded as upstream, for events.
#[derive(Debug, thiserror::Error)]
pub enum DraError {
    /// The pod may not use them.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The API could not be asked.
    #[error("fetch ResourceClaim {0}: {1}")]
    Fetch(String, client::Error),
    /// No such driver runs on the node (yet).
    #[error("{0}")]
    Driver(String),
    /// They could not be kept.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// The driver did not answer, or refused all.
    #[error("{method}: {error}")]
    Call {
        /// The call.
        method: &'static str,
        /// What it said.
        error: CallError,
    },
    /// The driver answered for a claim that it was not asked for.
    #[error("{0} returned result for unknown claim UID {1}")]
    Unknown(&'static str, String),
    /// The driver refused one.
    #[error("{method} failed for ResourceClaim {claim}: {error}")]
    Claim {
        /// The call.
        method: &'static str,
        /// The claim's name.
        claim: String,
        /// What it said.
        error: String,
    },
    /// The driver left some out.
    #[error("{0} skipped {1} ResourceClaims")]
    Skipped(&'static str, usize),
}

const PREPARE: &str = "NodePrepareResources";
const UNPREPARE: &str = "NodeUnprepareResources";

/// Claims and their drivers.
pub struct Dra {
    client: Client,
    /// Drivers.
    pub drivers: Drivers,
    claims: Mutex<Claims>,
    /// How devices are.
    health: Mutex<Health>,
    /// One pod at a time prepares or gives back a claim.
    turns: Mutex<BTreeMap<ClaimKey, Weak<tokio::sync::Mutex<()>>>>,
    /// Wakes a pod.
    wake: Box<dyn Fn(&str) + Send + Sync>,
}

/// A claim's place, and what drivers are asked with.
fn asked(state: &ClaimState) -> proto::Claim {
    proto::Claim { namespace: state.namespace.clone(), uid: state.uid.clone(), name: state.name.clone() }
}

fn key_of(state: &ClaimState) -> ClaimKey {
    (state.namespace.clone(), state.name.clone())
}

fn some(list: Vec<String>) -> Option<Vec<String>> {
    (!list.is_empty()).then_some(list)
}

/// For which of the claims a driver did what it was asked, by UID, and what is wrong with its answer.
fn check<'a, T>(
    method: &'static str,
    asked: &[proto::Claim],
    answers: impl IntoIterator<Item = (&'a String, &'a T)>,
    error: impl Fn(&T) -> &str,
) -> (BTreeSet<String>, Result<(), DraError>)
where
    T: 'a,
{
    let (mut done, mut answered, mut wrong) = (BTreeSet::new(), 0, None);
    // In one order: which of several errors is told does not change.
    for (uid, answer) in answers.into_iter().collect::<BTreeMap<_, _>>() {
        let Some(claim) = asked.iter().find(|claim| claim.uid == *uid) else {
            wrong.get_or_insert_with(|| DraError::Unknown(method, uid.clone()));
            continue;
        };
        answered += 1;
        match error(answer) {
            "" => drop(done.insert(uid.clone())),
            error => {
                let (claim, error) = (claim.name.clone(), error.to_owned());
                wrong.get_or_insert(DraError::Claim { method, claim, error });
            }
        }
    }
    let skipped = asked.len().saturating_sub(answered);
    let wrong = wrong.or_else(|| (skipped > 0).then_some(DraError::Skipped(method, skipped)));
    (done, wrong.map_or(Ok(()), Err))
}

impl Dra {
    /// The claims in the files below `root`; no driver is known yet.
    ///
    /// # Errors
    /// When the claims cannot be read.
    pub fn load(
        client: Client,
        node: &str,
        root: &Path,
        away: Duration,
        wake: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self {
            drivers: Drivers::new(client.clone(), node, away),
            claims: Mutex::new(Claims::load(root)?),
            health: Mutex::new(Health::load(root)),
            turns: Mutex::default(),
            wake: Box::new(wake),
            client,
        }))
    }

    /// Deletes slices that nobody stands for, then gives claims of pods back that are gone; never ends.
    pub async fn run(self: Arc<Self>, kubelet: Arc<Kubelet>) {
        let wiping = Arc::clone(&self);
        tokio::spawn(async move { wiping.drivers.wipe_all().await });
        kubelet.workers.wait_for_source().await;
        loop {
            let mut gone = Vec::new();
            for uid in self.users() {
                // A pod that was deleted while the kubelet was away may run on until it is found: devices are not
                // taken from containers that use them, and of a runtime that does not answer nothing is known.
                let runs = kubelet.workers.may_be_active(&uid)
                    || kubelet.observe(&uid).await.map_or(true, |seen| seen.may_run());
                if !runs {
                    gone.push(uid);
                }
            }
            self.reclaim(&gone).await;
            tokio::time::sleep(RECONCILE).await;
        }
    }

    /// Pods that use claims, by UID.
    fn users(&self) -> BTreeSet<String> {
        self.claims.lock().pods()
    }

    /// Has the claims taken back of pods that are gone.
    async fn reclaim(&self, gone: &[String]) {
        join_all(gone.iter().map(|uid| async move {
            if let Err(error) = self.give_back(uid).await {
                tracing::info!(%error, pod = uid, "cannot take claims back from a pod that is gone, will retry");
            }
        }))
        .await;
    }

    /// Waits until nobody else prepares these claims or gives them back.
    async fn turn(&self, keys: impl IntoIterator<Item = ClaimKey>) -> Vec<OwnedMutexGuard<()>> {
        // In one order for all, so that no two wait for each other.
        let keys: std::collections::BTreeSet<ClaimKey> = keys.into_iter().collect();
        let locks: Vec<Arc<tokio::sync::Mutex<()>>> = {
            let mut turns = self.turns.lock();
            turns.retain(|_, lock| lock.strong_count() > 0);
            let lock = |key: ClaimKey| {
                let known = turns.get(&key).and_then(Weak::upgrade);
                known.unwrap_or_else(|| {
                    let lock = Arc::default();
                    turns.insert(key, Arc::downgrade(&lock));
                    lock
                })
            };
            keys.into_iter().map(lock).collect()
        };
        let mut guards = Vec::new();
        for lock in locks {
            guards.push(lock.lock_owned().await);
        }
        guards
    }

    /// Has a pod's claims prepared by their drivers.
    pub async fn prepare(&self, pod: &Pod) -> Result<(), DraError> {
        let began = Instant::now();
        let none = pod.spec.resource_claims.is_empty() && pod.status.extended_resource_claim_status.is_none();
        // COMPAT: pods without claims are counted, too.
        let done = if none { Ok(()) } else { self.take(pod).await };
        observe("PrepareResources", done.is_err(), began);
        done
    }

    async fn take(&self, pod: &Pod) -> Result<(), DraError> {
        let (namespace, user) = (&pod.metadata.namespace, &pod.metadata.uid);
        let all = plan::all_named(pod)?;
        // Before they are looked at: while another pod gives one back, it may be freed and allocated anew.
        let _turn = self.turn(all.iter().map(|named| (namespace.clone(), named.name.clone()))).await;
        let mut wanted: Vec<(ClaimState, Vec<Arc<Plugin>>)> = Vec::new();
        let api = self.client.api::<ResourceClaim>().namespace(namespace);
        // Nothing is noted before all is well: a pod that may not start has nothing to give back.
        for named in all {
            let claim =
                api.get(&named.name).await.map_err(|error| DraError::Fetch(named.name.clone(), error))?;
            let drivers = plan::drivers(pod, &named, &claim)?;
            // Several entries of a pod may name one claim.
            if wanted.iter().any(|(known, _)| known.uid == claim.metadata.uid) {
                continue;
            }
            let plugins: Result<Vec<_>, String> =
                drivers.iter().map(|driver| self.drivers.get(driver)).collect();
            let state = ClaimState {
                uid: claim.metadata.uid,
                name: claim.metadata.name,
                namespace: claim.metadata.namespace,
                drivers: drivers.into_iter().map(|driver| (driver, Default::default())).collect(),
                ..Default::default()
            };
            wanted.push((state, plugins.map_err(DraError::Driver)?));
        }
        let states = wanted.iter().map(|(state, _)| state.clone()).collect();
        let unprepared = self.claims.lock().enter(states, user)?;
        let mut batches: BTreeMap<String, (Arc<Plugin>, Vec<proto::Claim>)> = BTreeMap::new();
        let mut keys = Vec::new();
        for ((state, plugins), _) in wanted.into_iter().zip(unprepared).filter(|(_, unprepared)| *unprepared)
        {
            keys.push(key_of(&state));
            for plugin in plugins {
                let batch = batches.entry(plugin.driver.clone()).or_insert((plugin, Vec::new()));
                batch.1.push(asked(&state));
            }
        }
        for (driver, (plugin, claims)) in batches {
            let request = proto::NodePrepareResourcesRequest { claims: claims.clone() };
            let answer =
                plugin.prepare(request).await.map_err(|error| DraError::Call { method: PREPARE, error })?;
            check(PREPARE, &claims, &answer.claims, |answer| &answer.error).1?;
            let mut all = self.claims.lock();
            for claim in claims {
                let devices = answer.claims.get(&claim.uid).map(|one| one.devices.clone());
                let devices = devices.unwrap_or_default().into_iter().map(|device| Device {
                    pool_name: device.pool_name,
                    device_name: device.device_name,
                    share_id: device.share_id,
                    request_names: some(device.request_names),
                    cdi_ids: some(device.cdi_device_ids),
                });
                all.gave(&(claim.namespace, claim.name), &driver, devices.collect());
            }
        }
        if !keys.is_empty() {
            self.claims.lock().prepared(&keys)?;
        }
        Ok(())
    }

    /// A pod has claims that were not taken back.
    pub fn is_used_by(&self, uid: &str) -> bool {
        !self.claims.lock().of_pod(uid).is_empty()
    }

    /// Has the claims taken back that a pod was the last to use: all its containers have ended.
    pub async fn unprepare(&self, pod: &Pod) -> Result<(), DraError> {
        let (uid, began) = (&pod.metadata.uid, Instant::now());
        let done = if self.is_used_by(uid) { self.give_back(uid).await } else { Ok(()) };
        observe("UnprepareResources", done.is_err(), began);
        done
    }

    async fn give_back(&self, uid: &str) -> Result<(), DraError> {
        let used = self.claims.lock().of_pod(uid);
        let _turn = self.turn(used).await;
        let last: Vec<Entry> = self.claims.lock().leave(uid);
        let mut batches: BTreeMap<&str, Vec<proto::Claim>> = BTreeMap::new();
        for entry in &last {
            for driver in entry.state.drivers.keys() {
                batches.entry(driver).or_default().push(asked(&entry.state));
            }
        }
        // One driver that is away does not keep the others from taking back what is theirs.
        let (mut kept, mut wrong) = (BTreeSet::new(), None);
        for (driver, claims) in batches {
            let (done, outcome) = self.ask_back(driver, &claims).await;
            kept.extend(claims.into_iter().map(|claim| claim.uid).filter(|uid| !done.contains(uid)));
            wrong = wrong.or(outcome.err());
        }
        let back = last.iter().filter(|entry| !kept.contains(&entry.state.uid));
        let keys: Vec<ClaimKey> = back.map(|entry| key_of(&entry.state)).collect();
        let forgotten = self.claims.lock().forget(&keys, uid);
        match wrong {
            Some(wrong) => Err(wrong),
            None => Ok(forgotten?),
        }
    }

    /// Has one driver take claims back: those of which it did, by UID, and what went wrong.
    async fn ask_back(
        &self,
        driver: &str,
        claims: &[proto::Claim],
    ) -> (BTreeSet<String>, Result<(), DraError>) {
        let plugin = match self.drivers.get(driver) {
            Ok(plugin) => plugin,
            Err(missing) => return (BTreeSet::new(), Err(DraError::Driver(missing))),
        };
        let request = proto::NodeUnprepareResourcesRequest { claims: claims.to_vec() };
        match plugin.unprepare(request).await {
            Ok(answer) => check(UNPREPARE, claims, &answer.claims, |answer| &answer.error),
            Err(error) => (BTreeSet::new(), Err(DraError::Call { method: UNPREPARE, error })),
        }
    }

    /// The names by which the runtime knows a container's devices.
    ///
    /// # Errors
    /// When a claim of it was not prepared.
    pub fn devices(&self, pod: &Pod, container: &Container) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        let namespace = &pod.metadata.namespace;
        let claims = self.claims.lock();
        for (claim, requests) in plan::of_container(pod, container).map_err(|error| error.to_string())? {
            let entry = claims.get(namespace, &claim, &pod.metadata.uid).ok_or_else(|| {
                format!("internal error: unable to get claim info for ResourceClaim {claim} in namespace {namespace}")
            })?;
            for request in requests {
                let serving = entry.devices().filter(|(_, device)| device.serves(&request));
                names.extend(serving.flat_map(|(_, device)| device.cdi().iter().cloned()));
            }
        }
        Ok(names)
    }

    /// The claims of a container, for those that ask which devices it has.
    pub fn of_container(&self, pod: &Pod, container: &Container) -> Vec<Entry> {
        let names = plan::claims_of_container(pod, container);
        if names.is_empty() {
            return Vec::new();
        }
        let claims = self.claims.lock();
        let (namespace, uid) = (&pod.metadata.namespace, &pod.metadata.uid);
        names.iter().filter_map(|name| claims.get(namespace, name, uid).cloned()).collect()
    }

    /// Notes how the devices of a pod's containers are.
    pub fn fill(&self, pod: &Pod, status: &mut PodStatus, now: Timestamp) {
        for container in pod.spec.containers.iter().filter(|c| !c.resources.claims.is_empty()) {
            let of = |status: &&mut api_types::core::v1::ContainerStatus| status.name == container.name;
            let Some(status) = status.container_statuses.iter_mut().find(of) else { continue };
            for wanted in &container.resources.claims {
                let entry = pod.spec.resource_claims.iter().find(|entry| entry.name == wanted.name);
                let Some(named) = entry.and_then(|entry| plan::named(pod, entry).ok().flatten()) else {
                    continue;
                };
                let name = match wanted.request.as_str() {
                    "" => format!("claim:{}", wanted.name),
                    request => format!("claim:{}/{request}", wanted.name),
                };
                status.allocated_resources_status.retain(|known| known.name != name);
                let resources = self.health_of(pod, &named.name, &wanted.request, now);
                if !resources.is_empty() {
                    status.allocated_resources_status.push(ResourceStatus { name, resources });
                }
            }
        }
    }

    fn health_of(&self, pod: &Pod, claim: &str, request: &str, now: Timestamp) -> Vec<ResourceHealth> {
        let (claims, of) = (self.claims.lock(), &pod.metadata);
        let Some(entry) = claims.get(&of.namespace, claim, &of.uid) else { return Vec::new() };
        // Drivers know the request alone, and not the alternative that was taken.
        let request = request.split('/').next().unwrap_or_default();
        let health = self.health.lock();
        let mut found: Vec<ResourceHealth> = Vec::new();
        for (driver, device) in entry.devices().filter(|(_, device)| device.serves(request)) {
            let (pool, name) = (&device.pool_name, &device.device_name);
            let resource_id =
                device.cdi().first().cloned().unwrap_or_else(|| format!("{driver}/{pool}/{name}"));
            if found.iter().any(|known| known.resource_id == resource_id) {
                continue;
            }
            let (health, message) = health.of(driver, pool, name, now);
            let message = (!message.is_empty()).then_some(message);
            found.push(ResourceHealth { resource_id, health, message });
        }
        found
    }

    /// A plugin of a driver has gone.
    pub fn gone(&self, driver: &str, endpoint: &str) {
        self.drivers.remove(driver, endpoint);
        self.silent(driver, endpoint);
    }

    /// A plugin tells of its devices no more. While a driver is updated its new plugin has told of them already.
    fn silent(&self, driver: &str, endpoint: &str) {
        if !self.drivers.has_another(driver, endpoint) {
            self.health.lock().clear(driver);
        }
    }

    /// A driver tells how its devices are.
    fn told(&self, driver: &str, devices: Vec<health::proto::DeviceHealth>, now: Timestamp) {
        let changed = self.health.lock().told(driver, devices, now);
        if changed.is_empty() {
            return;
        }
        let pods = self.claims.lock().pods_with(driver, &changed);
        pods.iter().for_each(|uid| (self.wake)(uid));
    }
}

fn observe(operation: &str, failed: bool, began: Instant) {
    let failed = if failed { "true" } else { "false" };
    OPERATIONS.with_label_values(&[operation, failed]).observe(began.elapsed().as_secs_f64());
}
