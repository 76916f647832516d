//! Resources of pods, kept in a file over restarts: upstream's `allocated_pods_state` (what the node has
//! promised) and `actuated_pods_state` (what the runtime was last told).
//!
//! ```text
//! {"data":"{\"entries\":{UID:{\"ContainerResources\":{NAME:{…}},\"PodLevelResources\":{…}}}}","checksum":N}
//! ```
//! The checksum is upstream's, so that either kubelet reads what the other wrote. A file that is damaged
//! stops the kubelet: guessing what was promised could give the same memory away twice.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use api_types::codec::json;
use api_types::core::v1::ResourceRequirements;
use parking_lot::Mutex;
use serde_json::{Map, Value};

/// The resources of one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodResources {
    /// By container, init containers included.
    pub containers: BTreeMap<String, ResourceRequirements>,
    /// Of the pod as a whole.
    pub pod: Option<ResourceRequirements>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("checkpoint {0} is corrupted: remove it after draining the node")]
    Corrupt(String),
}

/// Resources by the pod's uid, in memory and in a file.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    entries: Mutex<BTreeMap<String, PodResources>>,
}

impl Checkpoint {
    /// Reads the file; one that is not there is empty.
    pub fn load(path: PathBuf) -> Result<Self, CheckpointError> {
        let shown = || path.display().to_string();
        let entries = match std::fs::read(&path) {
            Ok(bytes) => decode(&bytes).ok_or_else(|| CheckpointError::Corrupt(shown()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(CheckpointError::Io { path: shown(), source }),
        };
        Ok(Self { path, entries: Mutex::new(entries) })
    }

    /// What is kept of a pod.
    pub fn get(&self, uid: &str) -> Option<PodResources> {
        self.entries.lock().get(uid).cloned()
    }

    /// Keeps a pod's resources.
    pub fn set(&self, uid: &str, resources: PodResources) -> Result<(), CheckpointError> {
        self.change(|entries| entries.insert(uid.to_owned(), resources.clone()) != Some(resources))
    }

    /// Changes what is kept of a pod.
    pub fn update(&self, uid: &str, edit: impl FnOnce(&mut PodResources)) -> Result<(), CheckpointError> {
        self.change(|entries| {
            let entry = entries.entry(uid.to_owned()).or_default();
            let before = entry.clone();
            edit(entry);
            *entry != before
        })
    }

    /// Forgets a pod.
    pub fn remove(&self, uid: &str) -> Result<(), CheckpointError> {
        self.change(|entries| entries.remove(uid).is_some())
    }

    /// Forgets the pods that `keep` does not want.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> Result<(), CheckpointError> {
        self.change(|entries| {
            let before = entries.len();
            entries.retain(|uid, _| keep(uid));
            entries.len() != before
        })
    }

    /// Writes the file when the edit says that something changed.
    fn change(
        &self,
        edit: impl FnOnce(&mut BTreeMap<String, PodResources>) -> bool,
    ) -> Result<(), CheckpointError> {
        let mut entries = self.entries.lock();
        if !edit(&mut entries) {
            return Ok(());
        }
        write(&self.path, &encode(&entries))
            .map_err(|source| CheckpointError::Io { path: self.path.display().to_string(), source })
    }
}

/// A crash in between leaves the old file or the new one.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let beside = path.with_extension("tmp");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&beside, path)
}

fn encode(entries: &BTreeMap<String, PodResources>) -> Vec<u8> {
    let value = |resources: &ResourceRequirements| {
        serde_json::from_slice::<Value>(&json::value_to_vec(resources)).unwrap_or_default()
    };
    let entries: Map<String, Value> = entries
        .iter()
        .map(|(uid, pod)| {
            let containers: Map<String, Value> =
                pod.containers.iter().map(|(name, resources)| (name.clone(), value(resources))).collect();
            let mut fields = Map::new();
            fields.insert("ContainerResources".into(), containers.into());
            fields.insert("PodLevelResources".into(), pod.pod.as_ref().map(value).unwrap_or_default());
            (uid.clone(), fields.into())
        })
        .collect();
    let mut data = Map::new();
    data.insert("entries".into(), entries.into());
    let data = Value::Object(data).to_string();
    serde_json::json!({"checksum": checksum(&data), "data": data}).to_string().into_bytes()
}

fn decode(bytes: &[u8]) -> Option<BTreeMap<String, PodResources>> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    let data = file.get("data")?.as_str()?;
    if file.get("checksum")?.as_u64()? != checksum(data) {
        return None;
    }
    let data: Value = serde_json::from_str(data).ok()?;
    let mut pods = BTreeMap::new();
    let resources =
        |value: &Value| json::from_slice::<ResourceRequirements>(value.to_string().as_bytes()).ok();
    for (uid, entry) in data.get("entries").and_then(Value::as_object).into_iter().flatten() {
        let mut pod = PodResources::default();
        for (name, value) in entry.get("ContainerResources").and_then(Value::as_object).into_iter().flatten()
        {
            pod.containers.insert(name.clone(), resources(value)?);
        }
        if let Some(value) = entry.get("PodLevelResources").filter(|value| !value.is_null()) {
            pod.pod = Some(resources(value)?);
        }
        pods.insert(uid.clone(), pod);
    }
    Some(pods)
}

/// COMPAT: FNV-1a (32 bits) over the text as Go prints it with its type.
fn checksum(data: &str) -> u64 {
    let printed = "(string)".bytes().chain(data.bytes());
    let hash = printed.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::Quantity;

    /// COMPAT: the value that upstream's own test pins down.
    #[test]
    fn checksum_is_upstreams() {
        let data = r#"{"entries":{"pod1":{"ContainerResources":{"container1":{"requests":{"cpu":"1Ki","memory":"1Ki"}}}}}}"#;
        assert_eq!(checksum(data), 1_178_570_812);
        let file = serde_json::json!({"data": data, "checksum": 1_178_570_812}).to_string();
        let pods = decode(file.as_bytes()).unwrap();
        let requests = &pods["pod1"].containers["container1"].requests;
        assert_eq!(requests["memory"], Quantity::parse("1Ki").unwrap());
    }

    #[test]
    fn what_was_written_is_read_and_damage_is_seen() {
        let dir = std::env::temp_dir().join(format!("kubelet-checkpoint-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("state");
        let mut resources = ResourceRequirements::default();
        resources.limits.insert("cpu".into(), Quantity::parse("100m").unwrap());
        let pod =
            PodResources { containers: [("a".to_owned(), resources.clone())].into(), pod: Some(resources) };
        let first = Checkpoint::load(path.clone()).unwrap();
        first.set("u", pod.clone()).unwrap();
        first.set("v", PodResources::default()).unwrap();
        first.remove("v").unwrap();
        let second = Checkpoint::load(path.clone()).unwrap();
        assert_eq!(second.get("u"), Some(pod));
        assert_eq!(second.get("v"), None);
        let text = std::fs::read_to_string(&path).unwrap().replace("100m", "900m");
        std::fs::write(&path, text).unwrap();
        assert!(matches!(Checkpoint::load(path), Err(CheckpointError::Corrupt(_))));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
