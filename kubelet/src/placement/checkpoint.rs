//! Who has which CPUs and memory, in upstream's files, so that a node can change from one kubelet to the other:
//!
//! ```text
//! cpu_manager_state     {"policyName":…,"defaultCpuSet":"0-3","entries":{UID:{CONTAINER:"4-5"}},"checksum":N}
//! memory_manager_state  {"policyName":…,"machineState":{NODE:{"numberOfAssignments":…,"memoryMap":{KIND:
//!                        {"total":…,"systemReserved":…,"allocatable":…,"reserved":…,"free":…}},"cells":[…]}},
//!                        "entries":{UID:{CONTAINER:[{"numaAffinity":[…],"type":…,"size":…}]}},"checksum":N}
//! ```
//! The checksum is FNV-1a of how Go's spew prints the rest with a checksum of 0; a file with none is taken as it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cpu_set::CpuSet;
use super::{cpus, memory};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// It is not what such a file holds.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    /// Its checksum is another.
    #[error("checkpoint is corrupted")]
    Corrupt,
    /// It was written with another policy.
    #[error("{prefix}configured policy {configured:?} differs from state checkpoint policy {found:?}")]
    Policy {
        /// Words before it.
        prefix: &'static str,
        /// The policy now.
        configured: String,
        /// The file's.
        found: String,
    },
    /// A set of CPUs is none.
    #[error("{0}")]
    Cpus(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CpuFile {
    policy_name: String,
    #[serde(alias = "defaultCPUSet")]
    default_cpu_set: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    entries: BTreeMap<String, BTreeMap<String, String>>,
    checksum: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MemoryFile {
    policy_name: String,
    #[serde(default)]
    machine_state: memory::Machine,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    entries: memory::Own,
    checksum: u64,
}

/// FNV-1a, 32 bits.
fn fnv(text: &str) -> u64 {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    u64::from(text.bytes().fold(0x811c_9dc5_u32, mix))
}

/// `map[a:b c:d]`
fn map<K: std::fmt::Display, V>(all: &BTreeMap<K, V>, print: impl Fn(&V) -> String) -> String {
    let parts: Vec<String> = all.iter().map(|(key, value)| format!("{key}:{}", print(value))).collect();
    format!("map[{}]", parts.join(" "))
}

fn numbers(all: &[usize]) -> String {
    let parts: Vec<String> = all.iter().map(usize::to_string).collect();
    format!("[{}]", parts.join(" "))
}

impl CpuFile {
    fn sum(&self) -> u64 {
        fnv(&format!(
            "(*state.CPUManagerCheckpoint){{PolicyName:(string){} DefaultCPUSet:(string){} Entries:(map[string]map[string]string){} Checksum:(checksum.Checksum)0}}",
            self.policy_name,
            self.default_cpu_set,
            map(&self.entries, |containers| map(containers, String::clone))
        ))
    }
}

impl MemoryFile {
    fn sum(&self) -> u64 {
        let table = |table: &memory::Table| {
            format!(
                "<*>{{TotalMemSize:(uint64){} SystemReserved:(uint64){} Allocatable:(uint64){} Reserved:(uint64){} Free:(uint64){}}}",
                table.total, table.system_reserved, table.allocatable, table.reserved, table.free
            )
        };
        let node = |node: &memory::Node| {
            format!(
                "<*>{{NumberOfAssignments:(int){} MemoryMap:(map[v1.ResourceName]*state.MemoryTable){} Cells:([]int){}}}",
                node.number_of_assignments,
                map(&node.memory_map, table),
                numbers(&node.cells)
            )
        };
        let blocks = |blocks: &Vec<memory::Block>| {
            let mut text = String::from("[");
            for (at, block) in blocks.iter().enumerate() {
                let space = if at == 0 { "" } else { " " };
                // Writing to a String cannot fail.
                let _ = write!(
                    text,
                    "{space}{{NUMAAffinity:([]int){} Type:(v1.ResourceName){} Size:(uint64){}}}",
                    numbers(&block.numa_affinity),
                    block.kind,
                    block.size
                );
            }
            text + "]"
        };
        fnv(&format!(
            "(*state.MemoryManagerCheckpoint){{PolicyName:(string){} MachineState:(state.NUMANodeMap){} Entries:(state.ContainerMemoryAssignments){} Checksum:(checksum.Checksum)0}}",
            self.policy_name,
            map(&self.machine_state, node),
            map(&self.entries, |containers| map(containers, blocks))
        ))
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, CheckpointError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Replaces a file; it is on the disk when this returns.
fn write(path: &Path, content: &impl Serialize) -> Result<(), CheckpointError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}"));
    std::fs::write(&beside, serde_json::to_vec(content)?)?;
    std::fs::File::open(&beside)?.sync_data()?;
    Ok(std::fs::rename(&beside, path)?)
}

/// What the file of CPUs says; `None` without a file.
pub fn read_cpus(path: &Path, policy: &str) -> Result<Option<cpus::State>, CheckpointError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let file: CpuFile = serde_json::from_slice(&bytes)?;
    if file.checksum != 0 && file.checksum != file.sum() {
        return Err(CheckpointError::Corrupt);
    }
    if file.policy_name != policy {
        let (configured, found) = (policy.to_owned(), file.policy_name);
        return Err(CheckpointError::Policy { prefix: "", configured, found });
    }
    let shared = file.default_cpu_set.parse().map_err(|error| {
        CheckpointError::Cpus(format!("could not parse default cpu set {:?}: {error}", file.default_cpu_set))
    })?;
    let mut state = cpus::State { shared, ..Default::default() };
    for (pod, containers) in file.entries {
        for (container, text) in containers {
            let cpus: CpuSet = text.parse().map_err(|error| {
                CheckpointError::Cpus(format!(
                    "could not parse cpuset {text:?} for container {container:?} in pod {pod:?}: {error}"
                ))
            })?;
            state.own.entry(pod.clone()).or_default().insert(container, cpus);
        }
    }
    Ok(Some(state))
}

/// Writes the file of CPUs.
pub fn write_cpus(path: &Path, policy: &str, state: &cpus::State) -> Result<(), CheckpointError> {
    let text = |containers: &BTreeMap<String, CpuSet>| {
        containers.iter().map(|(name, cpus)| (name.clone(), cpus.to_string())).collect()
    };
    let mut file = CpuFile {
        policy_name: policy.to_owned(),
        default_cpu_set: state.shared.to_string(),
        entries: state.own.iter().map(|(uid, containers)| (uid.clone(), text(containers))).collect(),
        checksum: 0,
    };
    file.checksum = file.sum();
    write(path, &file)
}

/// What the file of memory says; `None` without a file.
pub fn read_memory(path: &Path, policy: &str) -> Result<Option<memory::State>, CheckpointError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let file: MemoryFile = serde_json::from_slice(&bytes)?;
    if file.checksum != 0 && file.checksum != file.sum() {
        return Err(CheckpointError::Corrupt);
    }
    if file.policy_name != policy {
        let (configured, found) = (policy.to_owned(), file.policy_name);
        return Err(CheckpointError::Policy { prefix: "[memorymanager] ", configured, found });
    }
    Ok(Some(memory::State { machine: file.machine_state, own: file.entries }))
}

/// Writes the file of memory.
pub fn write_memory(path: &Path, policy: &str, state: &memory::State) -> Result<(), CheckpointError> {
    let mut file = MemoryFile {
        policy_name: policy.to_owned(),
        machine_state: state.machine.clone(),
        entries: state.own.clone(),
        checksum: 0,
    };
    file.checksum = file.sum();
    write(path, &file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("kubelet-placement-{}", uuid::Uuid::new_v4()))
    }

    #[test]
    fn what_go_wrote_is_read_and_written_again_alike() {
        let path = file();
        // The file of every node without the manager.
        let none = r#"{"policyName":"none","defaultCpuSet":"","checksum":1353318690}"#;
        std::fs::write(&path, none).unwrap();
        let state = read_cpus(&path, "none").unwrap().unwrap();
        write_cpus(&path, "none", &state).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), none);
        // COMPAT: Go does not tell upper from lower case in the names of fields.
        let some = r#"{"policyName":"none","defaultCPUSet":"1-3","entries":{"pod":{"container1":"4-6","container2":"1-3"}},"checksum":3610638499}"#;
        std::fs::write(&path, some).unwrap();
        let state = read_cpus(&path, "none").unwrap().unwrap();
        assert_eq!(state.of("pod", "container1").unwrap().to_string(), "4-6");
        let memory = r#"{"policyName":"static","machineState":{"0":{"numberOfAssignments":0,"memoryMap":{"memory":{"total":2048,"systemReserved":512,"allocatable":1536,"reserved":512,"free":1024}},"cells":[]}},"entries":{"pod":{"container1":[{"numaAffinity":[0],"type":"memory","size":512}]}},"checksum":4215593881}"#;
        std::fs::write(&path, memory).unwrap();
        let state = read_memory(&path, "static").unwrap().unwrap();
        assert_eq!(state.of("pod", "container1").unwrap()[0].size, 512);
        write_memory(&path, "static", &state).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), memory);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_cannot_be_trusted_is_refused_as_upstream_says_it() {
        let path = file();
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_cpus(&path, "static").unwrap_err().to_string()
        };
        assert_eq!(
            refused(r#"{"policyName":"none","defaultCpuSet":"","checksum":1353318690}"#),
            "configured policy \"static\" differs from state checkpoint policy \"none\""
        );
        assert_eq!(
            refused(r#"{"policyName":"static","defaultCpuSet":"0","checksum":1337}"#),
            "checkpoint is corrupted"
        );
        assert_eq!(
            refused(r#"{"policyName":"static","defaultCpuSet":"1.3","checksum":0}"#),
            "could not parse default cpu set \"1.3\": strconv.Atoi: parsing \"1.3\": invalid syntax"
        );
        let entry =
            r#"{"policyName":"static","defaultCpuSet":"1-3","entries":{"pod":{"c":"asd"}},"checksum":0}"#;
        assert_eq!(
            refused(entry),
            "could not parse cpuset \"asd\" for container \"c\" in pod \"pod\": strconv.Atoi: parsing \"asd\": invalid syntax"
        );
        std::fs::write(&path, r#"{"policyName":"None","machineState":{},"checksum":4236770233}"#).unwrap();
        assert_eq!(
            read_memory(&path, "Static").unwrap_err().to_string(),
            "[memorymanager] configured policy \"Static\" differs from state checkpoint policy \"None\""
        );
        std::fs::remove_file(&path).unwrap();
        assert!(read_cpus(&path, "static").unwrap().is_none());
    }
}
