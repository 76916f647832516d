//! The claims that pods of this node use, kept in the checkpoint; see [`super::checkpoint`].
//!
//! A claim stands here from before its drivers are asked to prepare it until all of them have taken that
//! back: what is not here has nothing to be taken back. It is the file that says so after a restart; that a claim is
//! prepared is known only to the kubelet that saw it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use daemon::metrics::{self, IntGaugeVec};

use super::checkpoint::{self, ClaimState, Device, Nothing};

const FILE: &str = "dra_manager_state";
/// COMPAT: stands for all drivers.
const ANY: &str = "<any>";

static IN_USE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::global().int_gauge_vec(
        "dra_resource_claims_in_use",
        "[ALPHA] The number of ResourceClaims that are currently in use on the node, by driver name (driver_name \
         label value) and across all drivers (special value <any> for driver_name). Note that the sum of all \
         by-driver counts is not the total number of in-use ResourceClaims because the same ResourceClaim might use \
         devices from different drivers. Instead, use the count for the <any> driver_name.",
        &["driver_name"],
    )
});

/// Namespace and name.
pub type ClaimKey = (String, String);

/// A claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What is written down.
    pub state: ClaimState,
    /// Its drivers have all prepared it.
    pub prepared: bool,
}

impl Entry {
    fn key(&self) -> ClaimKey {
        (self.state.namespace.clone(), self.state.name.clone())
    }

    /// All devices, with their driver.
    pub fn devices(&self) -> impl Iterator<Item = (&str, &Device)> {
        self.state.drivers.iter().flat_map(|(driver, state)| {
            state.devices.iter().flatten().map(move |device| (driver.as_str(), device))
        })
    }
}

/// All claims.
#[derive(Debug)]
pub struct Claims {
    path: PathBuf,
    all: BTreeMap<ClaimKey, Entry>,
}

/// Why claims could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// An earlier claim of that name was not given back.
    #[error(
        "old ResourceClaim with same name {0} and different UID {1} still exists (previous pod force-deleted?!)"
    )]
    Other(String, String),
    /// The file cannot be written.
    #[error("checkpoint ResourceClaim state: could not save checkpoint {FILE}: {0}")]
    Save(std::io::Error),
}

impl Claims {
    /// Those in the file below `root`, which is made if it is not there.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub fn load(root: &Path) -> Result<Self, String> {
        let path = root.join(FILE);
        let states = match std::fs::read(&path) {
            Ok(bytes) => checkpoint::decode(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => std::fs::create_dir_all(root)
                .and_then(|()| checkpoint::replace(&path, &checkpoint::encode(None)))
                .map(|()| Vec::new())
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let states = states.map_err(|error| {
            format!("could not initialize checkpoint manager, please drain node and remove DRA state file, err: {error}")
        })?;
        let entry = |state| Entry { state, prepared: false };
        let all = states.into_iter().map(entry).map(|entry| (entry.key(), entry)).collect();
        let claims = Self { path, all };
        claims.count(&BTreeSet::new());
        Ok(claims)
    }

    /// A claim that the pod uses. One of the same name that an earlier pod has not given back is not it.
    pub fn get(&self, namespace: &str, name: &str, pod: &str) -> Option<&Entry> {
        let entry = self.all.get(&(namespace.to_owned(), name.to_owned()));
        entry.filter(|entry| entry.state.pods.contains_key(pod))
    }

    /// The pod is about to use these claims, all of them or none: tells for each whether its drivers are to be asked.
    ///
    /// # Errors
    /// When another one of that name is still in use, or nothing can be written.
    pub fn enter(&mut self, claims: Vec<ClaimState>, pod: &str) -> Result<Vec<bool>, ClaimsError> {
        let entries: Vec<Entry> = claims.into_iter().map(|state| Entry { state, prepared: false }).collect();
        for entry in &entries {
            let known = self.all.get(&entry.key());
            if let Some(other) = known.filter(|known| known.state.uid != entry.state.uid) {
                return Err(ClaimsError::Other(entry.state.name.clone(), other.state.uid.clone()));
            }
        }
        let mut wanted = Vec::new();
        for entry in entries {
            let drivers: Vec<String> = entry.state.drivers.keys().cloned().collect();
            let known = self.all.entry(entry.key()).or_insert(entry);
            known.state.pods.insert(pod.to_owned(), Nothing {});
            if !known.prepared {
                // One that nobody could take back may have been allocated anew meanwhile. Drivers that it no longer
                // has are still to be asked to take theirs back.
                let left = known.state.drivers.iter_mut().filter(|(driver, _)| !drivers.contains(driver));
                left.for_each(|(_, state)| state.devices = None);
                for driver in drivers {
                    known.state.drivers.entry(driver).or_default();
                }
            }
            wanted.push(!known.prepared);
        }
        // What nobody had asked for needs no writing.
        if !wanted.is_empty() {
            self.save()?;
        }
        Ok(wanted)
    }

    /// A driver has prepared a claim, and gave these devices.
    pub fn gave(&mut self, key: &ClaimKey, driver: &str, devices: Vec<Device>) {
        if let Some(entry) = self.all.get_mut(key) {
            // Asked again it tells all of them again; upstream counts them twice then. COMPAT: without devices the list
            // stays null.
            entry.state.drivers.entry(driver.to_owned()).or_default().devices =
                (!devices.is_empty()).then_some(devices);
        }
    }

    /// All drivers of these claims have prepared them.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn prepared(&mut self, keys: &[ClaimKey]) -> Result<(), ClaimsError> {
        let before = self.drivers_in_use();
        for key in keys {
            if let Some(entry) = self.all.get_mut(key) {
                entry.prepared = true;
            }
        }
        self.count(&before);
        self.save()
    }

    /// A pod is done with its claims: those that nobody else uses, which are to be taken back. From now on they are
    /// not prepared, whatever comes of that: half of their drivers may have done it.
    pub fn leave(&mut self, pod: &str) -> Vec<Entry> {
        let before = self.drivers_in_use();
        let mut last = Vec::new();
        for entry in self.all.values_mut().filter(|entry| entry.state.pods.contains_key(pod)) {
            if entry.state.pods.len() > 1 {
                entry.state.pods.remove(pod);
            } else {
                entry.prepared = false;
                last.push(entry.clone());
            }
        }
        self.count(&before);
        last
    }

    /// These were taken back.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn forget(&mut self, keys: &[ClaimKey], pod: &str) -> Result<(), ClaimsError> {
        for key in keys {
            let Some(entry) = self.all.get_mut(key) else { continue };
            entry.state.pods.remove(pod);
            if entry.state.pods.is_empty() {
                self.all.remove(key);
            }
        }
        self.save()
    }

    /// The claims that a pod uses.
    pub fn of_pod(&self, pod: &str) -> Vec<ClaimKey> {
        let used = self.all.iter().filter(|(_, entry)| entry.state.pods.contains_key(pod));
        used.map(|(key, _)| key.clone()).collect()
    }

    /// Pods that use claims, by UID.
    pub fn pods(&self) -> BTreeSet<String> {
        self.all.values().flat_map(|entry| entry.state.pods.keys().cloned()).collect()
    }

    /// Pods that use one of these devices (pool and name) of a driver.
    pub fn pods_with(&self, driver: &str, devices: &[(String, String)]) -> BTreeSet<String> {
        let has = |entry: &&Entry| {
            entry.devices().any(|(of, device)| {
                let named = |(pool, name): &(String, String)| {
                    *pool == device.pool_name && *name == device.device_name
                };
                of == driver && devices.iter().any(named)
            })
        };
        self.all.values().filter(has).flat_map(|entry| entry.state.pods.keys().cloned()).collect()
    }

    fn drivers_in_use(&self) -> BTreeSet<String> {
        let prepared = self.all.values().filter(|entry| entry.prepared);
        prepared.flat_map(|entry| entry.state.drivers.keys().cloned()).collect()
    }

    fn count(&self, before: &BTreeSet<String>) {
        let now = self.drivers_in_use();
        let prepared = || self.all.values().filter(|entry| entry.prepared);
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        IN_USE.with_label_values(&[ANY]).set(number(prepared().count()));
        for driver in &now {
            let count = prepared().filter(|entry| entry.state.drivers.contains_key(driver)).count();
            IN_USE.with_label_values(&[driver]).set(number(count));
        }
        for gone in before.difference(&now) {
            // Without a claim there is no such line.
            let _ = IN_USE.remove_label_values(&[gone]);
        }
    }

    fn save(&self) -> Result<(), ClaimsError> {
        let states = self.all.values().map(|entry| entry.state.clone()).collect();
        checkpoint::replace(&self.path, &checkpoint::encode(Some(states))).map_err(ClaimsError::Save)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str, uid: &str) -> ClaimState {
        ClaimState {
            uid: uid.into(),
            name: name.into(),
            namespace: "ns".into(),
            drivers: [("d".to_owned(), Default::default())].into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_claim_is_taken_back_from_its_last_pod_and_outlives_a_restart() {
        let root = std::env::temp_dir().join(format!("kubelet-claims-{}", uuid::Uuid::new_v4()));
        let mut claims = Claims::load(&root).unwrap();
        let key = ("ns".to_owned(), "c".to_owned());
        assert_eq!(claims.enter(vec![state("c", "u")], "pod-1").unwrap(), [true]);
        claims.gave(&key, "d", vec![Device { device_name: "dev".into(), ..Default::default() }]);
        claims.prepared(std::slice::from_ref(&key)).unwrap();
        assert_eq!(claims.enter(vec![state("c", "u")], "pod-2").unwrap(), [false], "prepared already");
        let other = claims.enter(vec![state("before", "w"), state("c", "v")], "pod-3").unwrap_err();
        assert_eq!(
            other.to_string(),
            "old ResourceClaim with same name c and different UID u still exists (previous pod force-deleted?!)"
        );
        assert!(claims.of_pod("pod-3").is_empty(), "all or none");
        let mut claims = Claims::load(&root).unwrap();
        assert_eq!(claims.pods(), BTreeSet::from(["pod-1".to_owned(), "pod-2".to_owned()]));
        assert_eq!(claims.pods_with("d", &[(String::new(), "dev".into())]).len(), 2);
        assert_eq!(
            claims.enter(vec![state("c", "u")], "pod-1").unwrap(),
            [true],
            "what is prepared only a kubelet knows that saw it"
        );
        assert!(claims.leave("pod-1").is_empty());
        assert_eq!(claims.leave("pod-2").len(), 1);
        claims.forget(&[key], "pod-2").unwrap();
        assert!(claims.pods().is_empty() && Claims::load(&root).unwrap().pods().is_empty());
        std::fs::write(root.join(FILE), "{}").unwrap();
        assert!(Claims::load(&root).unwrap_err().contains("please drain node and remove DRA state file"));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_claim_that_could_not_be_taken_back_is_prepared_anew() {
        let root = std::env::temp_dir().join(format!("kubelet-claims-{}", uuid::Uuid::new_v4()));
        let mut claims = Claims::load(&root).unwrap();
        let key = ("ns".to_owned(), "c".to_owned());
        claims.enter(vec![state("c", "u")], "pod-1").unwrap();
        claims.gave(&key, "d", vec![Device { device_name: "old".into(), ..Default::default() }]);
        claims.prepared(std::slice::from_ref(&key)).unwrap();
        assert_eq!(claims.leave("pod-1").len(), 1);
        // The driver is away; meanwhile the claim gets a device of another one, and another pod.
        let mut elsewhere = state("c", "u");
        elsewhere.drivers = [("e".to_owned(), Default::default())].into();
        assert_eq!(claims.enter(vec![elsewhere], "pod-2").unwrap(), [true]);
        claims.gave(&key, "e", vec![Device { device_name: "new".into(), ..Default::default() }]);
        claims.prepared(std::slice::from_ref(&key)).unwrap();
        let names = |claims: &Claims| -> Vec<String> {
            let entry = claims.get("ns", "c", "pod-2").unwrap();
            entry.devices().map(|(driver, device)| format!("{driver}/{}", device.device_name)).collect()
        };
        assert_eq!(names(&claims), ["e/new"]);
        assert!(claims.get("ns", "c", "pod-3").is_none());
        assert!(claims.leave("pod-1").is_empty(), "another pod uses it");
        let last = claims.leave("pod-2");
        assert_eq!(last[0].state.drivers.keys().collect::<Vec<_>>(), ["d", "e"], "both take it back");
        std::fs::remove_dir_all(root).unwrap();
    }
}
