//! Which claims were prepared for which pods, in a file: upstream's `dra_manager_state`.
//!
//! ```text
//! {"Data":"{\"kind\":\"DRACheckpoint\",\"apiVersion\":\"checkpoint.dra.kubelet.k8s.io/v1\",\"ClaimInfoStateList\":[
//!   {\"ClaimUID\":…,\"ClaimName\":…,\"Namespace\":…,\"PodUIDs\":{UID:{}},
//!    \"DriverState\":{DRIVER:{\"Devices\":[{\"PoolName\":…,\"DeviceName\":…,\"ShareID\":…,
//!     \"RequestNames\":[…],\"CDIDeviceIDs\":[…]}]}}}]}","Checksum":N}
//! ```
//! The checksum is the CRC-32 (IEEE) of the text in `Data`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

const KIND: &str = "DRACheckpoint";
const VERSION: &str = "checkpoint.dra.kubelet.k8s.io/v1";

/// A claim that pods of this node use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ClaimState {
    /// The claim.
    #[serde(rename = "ClaimUID")]
    pub uid: String,
    /// Its name.
    #[serde(rename = "ClaimName")]
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Pods that use it, by UID: a set, as Go writes it.
    #[serde(rename = "PodUIDs", deserialize_with = "or_empty")]
    pub pods: BTreeMap<String, Nothing>,
    /// Its drivers, also those that gave no device.
    #[serde(rename = "DriverState", deserialize_with = "or_empty")]
    pub drivers: BTreeMap<String, DriverState>,
}

/// `{}`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// What a driver gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DriverState {
    /// None until it was asked.
    pub devices: Option<Vec<Device>>,
}

/// A device of a claim, as its driver told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Device {
    /// Its pool.
    pub pool_name: String,
    /// Its name.
    pub device_name: String,
    /// Which share of it.
    #[serde(rename = "ShareID")]
    pub share_id: Option<String>,
    /// The requests that it serves; all when there are none.
    pub request_names: Option<Vec<String>>,
    /// What the runtime is told.
    #[serde(rename = "CDIDeviceIDs")]
    pub cdi_ids: Option<Vec<String>>,
}

impl Device {
    /// Whether it serves a request; every device serves the empty one.
    pub fn serves(&self, request: &str) -> bool {
        let names = self.request_names.as_deref().unwrap_or_default();
        request.is_empty() || names.is_empty() || names.iter().any(|name| name == request)
    }

    /// What the runtime is told.
    pub fn cdi(&self) -> &[String] {
        self.cdi_ids.as_deref().unwrap_or_default()
    }
}

#[derive(Serialize, Deserialize)]
struct Data {
    #[serde(default)]
    kind: String,
    #[serde(rename = "apiVersion", default)]
    api_version: String,
    #[serde(rename = "ClaimInfoStateList")]
    claims: Option<Vec<ClaimState>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Checked {
    data: String,
    checksum: u32,
}

/// Go writes null for what was never made.
fn or_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

fn checksum(data: &str) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(data.as_bytes());
    sum.sum()
}

/// The file's content; without a list for one that was never written to.
pub fn encode(claims: Option<Vec<ClaimState>>) -> Vec<u8> {
    let data = Data { kind: KIND.into(), api_version: VERSION.into(), claims };
    let data = serde_json::to_string(&data).expect("strings have a JSON form");
    let checked = Checked { checksum: checksum(&data), data };
    serde_json::to_vec(&checked).expect("strings have a JSON form")
}

/// What the file says.
///
/// # Errors
/// When it is damaged.
pub fn decode(bytes: &[u8]) -> Result<Vec<ClaimState>, String> {
    let read: Checked = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if checksum(&read.data) != read.checksum {
        return Err("checkpoint is corrupted".into());
    }
    let data: Data = serde_json::from_str(&read.data).map_err(|error| error.to_string())?;
    Ok(data.claims.unwrap_or_default())
}

/// Writes a file whole or not at all.
///
/// # Errors
/// What the system says.
pub fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}"));
    std::fs::write(&beside, content)?;
    std::fs::File::open(&beside)?.sync_data()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum is the one that upstream computes of the same text.
    #[test]
    fn files_are_those_that_go_writes() {
        let claim = ClaimState {
            uid: "067798be-454e-4be4-9047-1aa06aea63f7".into(),
            name: "example".into(),
            namespace: "default".into(),
            pods: [("139cdb46-f989-4f17-9561-ca10cfb509a6".to_owned(), Nothing {})].into(),
            drivers: [(
                "test-driver.cdi.k8s.io".to_owned(),
                DriverState {
                    devices: Some(vec![Device {
                        pool_name: "worker-1".into(),
                        device_name: "dev-1".into(),
                        share_id: Some("aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa".into()),
                        request_names: Some(vec!["test request".into()]),
                        cdi_ids: Some(vec!["example.com/example=cdi-example".into()]),
                    }]),
                },
            )]
            .into(),
        };
        let text = r#"{"Data":"{\"kind\":\"DRACheckpoint\",\"apiVersion\":\"checkpoint.dra.kubelet.k8s.io/v1\",\"ClaimInfoStateList\":[{\"ClaimUID\":\"067798be-454e-4be4-9047-1aa06aea63f7\",\"ClaimName\":\"example\",\"Namespace\":\"default\",\"PodUIDs\":{\"139cdb46-f989-4f17-9561-ca10cfb509a6\":{}},\"DriverState\":{\"test-driver.cdi.k8s.io\":{\"Devices\":[{\"PoolName\":\"worker-1\",\"DeviceName\":\"dev-1\",\"ShareID\":\"aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa\",\"RequestNames\":[\"test request\"],\"CDIDeviceIDs\":[\"example.com/example=cdi-example\"]}]}}}]}","Checksum":736302156}"#;
        let written = String::from_utf8(encode(Some(vec![claim.clone()]))).unwrap();
        assert_eq!(written, text);
        assert_eq!(decode(written.as_bytes()), Ok(vec![claim]));
        assert!(decode(written.replace("worker-1", "worker-2").as_bytes()).is_err());
    }

    #[test]
    fn what_go_leaves_null_is_nothing() {
        let data = r#"{"kind":"DRACheckpoint","apiVersion":"checkpoint.dra.kubelet.k8s.io/v1","ClaimInfoStateList":[{"ClaimUID":"u","ClaimName":"c","Namespace":"n","PodUIDs":null,"DriverState":{"d":{"Devices":null}}}]}"#;
        let file = serde_json::json!({"Data": data, "Checksum": checksum(data)}).to_string();
        let read = decode(file.as_bytes()).unwrap();
        assert_eq!((read[0].pods.len(), read[0].drivers["d"].devices.is_none()), (0, true));
        assert_eq!(decode(&encode(None)), Ok(Vec::new()));
    }
}
