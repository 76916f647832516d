//! How devices are, as their drivers say (KEP-4680), kept in a file: upstream's `dra_health_state`.
//!
//! ```text
//! {DRIVER:{"Devices":{"POOL/DEVICE":{"PoolName":…,"DeviceName":…,"Health":"Healthy"|"Unhealthy"|"Unknown",
//!   "LastUpdated":RFC3339,"HealthCheckTimeout":NANOSECONDS,"Message":…}}}}
//! ```
//! What was not said again in time is unknown. A driver's devices are forgotten when its stream ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use api_types::core::v1::ResourceHealthStatus;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::checkpoint::replace;

/// Messages generated from `proto/dra_health.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, dead_code, reason = "generated")]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/dra_health/v1alpha1.rs"));
}

const FILE: &str = "dra_health_state";
/// Seconds after which a device is unknown whose driver says nothing else.
const PATIENCE: i64 = 30;
/// COMPAT: longest message, in bytes.
const LONGEST: usize = 1024;

/// How a device is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeviceHealth {
    pool_name: String,
    device_name: String,
    health: String,
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    last_updated: Timestamp,
    #[serde(default)]
    health_check_timeout: i64,
    #[serde(default)]
    message: String,
}

fn as_text<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

fn from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Driver {
    devices: BTreeMap<String, DeviceHealth>,
}

/// All devices.
#[derive(Debug)]
pub struct Health {
    path: PathBuf,
    drivers: BTreeMap<String, Driver>,
}

fn key(pool: &str, device: &str) -> String {
    format!("{pool}/{device}")
}

/// COMPAT: cut at bytes; here never within a character.
fn cut(message: &str) -> String {
    if message.len() <= LONGEST {
        return message.to_owned();
    }
    let end = (0..=LONGEST - 3).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
    format!("{}...", &message[..end])
}

impl DeviceHealth {
    fn told(device: proto::DeviceHealth, now: Timestamp) -> Self {
        let health = match device.health() {
            proto::HealthStatus::Healthy => "Healthy",
            proto::HealthStatus::Unhealthy => "Unhealthy",
            proto::HealthStatus::Unknown => "Unknown",
        };
        let seconds = match device.health_check_timeout_seconds {
            seconds if seconds > 0 => seconds,
            _ => PATIENCE,
        };
        let named = device.device.unwrap_or_default();
        Self {
            pool_name: named.pool_name,
            device_name: named.device_name,
            health: health.into(),
            last_updated: now,
            health_check_timeout: seconds.saturating_mul(1_000_000_000),
            message: cut(&device.message),
        }
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        let patience = match self.health_check_timeout {
            0 => SignedDuration::from_secs(PATIENCE),
            nanoseconds => SignedDuration::from_nanos(nanoseconds),
        };
        now.duration_since(self.last_updated) > patience
    }

    fn says(&self) -> (&str, &str, i64) {
        (&self.health, &self.message, self.health_check_timeout)
    }

    /// Pool and name.
    fn name(&self) -> (String, String) {
        (self.pool_name.clone(), self.device_name.clone())
    }
}

impl Health {
    /// What the file below `root` says; one that cannot be read says nothing.
    pub fn load(root: &Path) -> Self {
        let path = root.join(FILE);
        let drivers = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(%error, path = %path.display(), "cannot read how devices are");
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        Self { path, drivers }
    }

    /// How a device is, and what its driver says of that.
    pub fn of(
        &self,
        driver: &str,
        pool: &str,
        device: &str,
        now: Timestamp,
    ) -> (ResourceHealthStatus, String) {
        let known = self.drivers.get(driver).and_then(|driver| driver.devices.get(&key(pool, device)));
        match known.filter(|known| !known.is_stale(now)) {
            Some(known) => (known.health.as_str().into(), known.message.clone()),
            None => (ResourceHealthStatus::Unknown, String::new()),
        }
    }

    /// A driver tells of all its devices: pools and names of those that are not as they were.
    pub fn told(
        &mut self,
        driver: &str,
        devices: Vec<proto::DeviceHealth>,
        now: Timestamp,
    ) -> Vec<(String, String)> {
        let known = &mut self.drivers.entry(driver.to_owned()).or_default().devices;
        let mut changed = Vec::new();
        let mut told = BTreeSet::new();
        for device in devices {
            let device = DeviceHealth::told(device, now);
            let key = key(&device.pool_name, &device.device_name);
            if known.get(&key).is_none_or(|old| old.says() != device.says()) {
                changed.push(device.name());
            }
            told.insert(key.clone());
            known.insert(key, device);
        }
        for (_, device) in known.iter_mut().filter(|(key, _)| !told.contains(*key)) {
            if device.health != "Unknown" && device.is_stale(now) {
                "Unknown".clone_into(&mut device.health);
                device.message.clear();
                device.last_updated = now;
                changed.push(device.name());
            }
        }
        if !changed.is_empty() {
            self.save();
        }
        changed
    }

    /// Nothing is heard of a driver any more.
    pub fn clear(&mut self, driver: &str) {
        if self.drivers.remove(driver).is_some() {
            self.save();
        }
    }

    fn save(&self) {
        let content = serde_json::to_vec(&self.drivers).expect("strings and numbers have a JSON form");
        if let Err(error) = replace(&self.path, &content) {
            tracing::error!(%error, path = %self.path.display(), "cannot write how devices are");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, health: proto::HealthStatus, seconds: i64) -> proto::DeviceHealth {
        let named = proto::DeviceIdentifier { pool_name: "p".into(), device_name: name.into() };
        proto::DeviceHealth {
            device: Some(named),
            health: health as i32,
            health_check_timeout_seconds: seconds,
            message: "m".into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_not_said_again_in_time_is_unknown() {
        use proto::HealthStatus::{Healthy, Unhealthy};
        let root = std::env::temp_dir().join(format!("kubelet-health-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&root).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut health = Health::load(&root);
        let changed = |health: &mut Health, devices: &[proto::DeviceHealth], second| -> Vec<String> {
            health.told("d", devices.to_vec(), at(second)).into_iter().map(|(_, name)| name).collect()
        };
        let (a, b) = (device("a", Healthy, 0), device("b", Unhealthy, 100));
        assert_eq!(changed(&mut health, &[a.clone(), b.clone()], 0), ["a", "b"]);
        assert_eq!(changed(&mut health, &[a.clone(), b.clone()], 10), Vec::<String>::new());
        assert_eq!(changed(&mut health, &[device("a", Unhealthy, 0), b.clone()], 20), ["a"]);
        let how = |health: &Health, name, second| health.of("d", "p", name, at(second)).0;
        assert_eq!(how(&health, "a", 50), ResourceHealthStatus::Unhealthy);
        assert_eq!(how(&health, "a", 51), ResourceHealthStatus::Unknown);
        assert_eq!(health.of("d", "p", "b", at(51)), (ResourceHealthStatus::Unhealthy, "m".to_owned()));
        assert_eq!(how(&health, "c", 0), ResourceHealthStatus::Unknown);
        // What the file says is what was known.
        let mut health = Health::load(&root);
        assert_eq!(how(&health, "b", 51), ResourceHealthStatus::Unhealthy);
        assert_eq!(changed(&mut health, &[b], 60), ["a"]);
        health.clear("d");
        assert_eq!(std::fs::read_to_string(root.join(FILE)).unwrap(), "{}");
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn long_messages_are_cut() {
        assert_eq!(cut(&"x".repeat(1024)).len(), 1024);
        assert_eq!(cut(&"x".repeat(1025)), format!("{}...", "x".repeat(1021)));
        assert!(cut(&"ü".repeat(1000)).ends_with("ü..."));
    }
}
