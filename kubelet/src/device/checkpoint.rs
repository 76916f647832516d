//! Which container has which devices, in a file: upstream's `kubelet_internal_checkpoint`.
//!
//! ```text
//! {"Data":{"PodDeviceEntries":[{"PodUID":…,"ContainerName":…,"ResourceName":…,"DeviceIDs":{NUMA:[ID…]},
//!   "AllocResp":BASE64}],"RegisteredDevices":{RESOURCE:[ID…]}},"Checksum":N}
//! ```
//! NUMA is -1 for a device that belongs to no node. The checksum is FNV-1a of how Go's spew prints the data,
//! so that either kubelet reads what the other wrote.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Devices by their NUMA node.
pub type ByNode = BTreeMap<i64, Vec<String>>;

/// One container's devices of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Entry {
    /// The pod.
    #[serde(rename = "PodUID")]
    pub uid: String,
    /// Its container.
    pub container_name: String,
    /// The resource.
    pub resource_name: String,
    /// The devices.
    #[serde(rename = "DeviceIDs", serialize_with = "by_text")]
    pub devices: Option<ByNode>,
    /// What the plugin answered (ContainerAllocateResponse).
    #[serde(rename = "AllocResp", serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub answer: Vec<u8>,
}

/// All.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Data {
    /// What containers have.
    pub pod_device_entries: Option<Vec<Entry>>,
    /// The devices that work, by resource.
    pub registered_devices: Option<BTreeMap<String, Vec<String>>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Checked {
    data: Data,
    checksum: u64,
}

/// COMPAT: Go sorts the keys of a map as text when it writes JSON.
fn by_text<S: Serializer>(devices: &Option<ByNode>, to: S) -> Result<S::Ok, S::Error> {
    let sorted: Option<BTreeMap<String, &Vec<String>>> =
        devices.as_ref().map(|all| all.iter().map(|(node, ids)| (node.to_string(), ids)).collect());
    sorted.serialize(to)
}

fn to_base64<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(from)?.unwrap_or_default();
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

/// How spew prints a map of lists.
fn dump_map<K: ToString>(all: &BTreeMap<K, Vec<String>>) -> String {
    let parts: Vec<String> =
        all.iter().map(|(key, ids)| format!("{}:[{}]", key.to_string(), ids.join(" "))).collect();
    format!("map[{}]", parts.join(" "))
}

fn dump(data: &Data) -> String {
    let mut out = String::from("(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)");
    match &data.pod_device_entries {
        None => out.push_str("<nil>"),
        Some(entries) => {
            let one = |entry: &Entry| {
                let bytes: Vec<String> = entry.answer.iter().map(u8::to_string).collect();
                format!(
                    "{{PodUID:(string){} ContainerName:(string){} ResourceName:(string){} DeviceIDs:(checkpoint.DevicesPerNUMA){} AllocResp:([]uint8)[{}]}}",
                    entry.uid,
                    entry.container_name,
                    entry.resource_name,
                    entry.devices.as_ref().map_or_else(|| "<nil>".to_owned(), dump_map),
                    bytes.join(" ")
                )
            };
            let all: Vec<String> = entries.iter().map(one).collect();
            let _ = write!(out, "[{}]", all.join(" "));
        }
    }
    let registered = data.registered_devices.as_ref().map_or_else(|| "<nil>".to_owned(), dump_map);
    let _ = write!(out, " RegisteredDevices:(map[string][]string){registered}}}");
    out
}

fn checksum(data: &Data) -> u64 {
    let hash = dump(data)
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u64::from(hash)
}

/// The file's content.
pub fn encode(data: Data) -> Vec<u8> {
    let checksum = checksum(&data);
    serde_json::to_vec(&Checked { data, checksum }).expect("strings and numbers have a JSON form")
}

/// What the file says; `None` when it is damaged.
pub fn decode(bytes: &[u8]) -> Option<Data> {
    let read: Checked = serde_json::from_slice(bytes).ok()?;
    (checksum(&read.data) == read.checksum).then_some(read.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksums are those that Go computes of the same data.
    #[test]
    fn files_are_those_that_go_writes() {
        let check = |text: &str| {
            let data = decode(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(encode(data)).unwrap(), text);
        };
        check(r#"{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":3467439661}"#);
        check(
            r#"{"Data":{"PodDeviceEntries":[],"RegisteredDevices":{"example.com/a":[],"example.com/b":["d2","d1"]}},"Checksum":483207830}"#,
        );
        check(concat!(
            r#"{"Data":{"PodDeviceEntries":[{"PodUID":"u","ContainerName":"c","ResourceName":"example.com/a","#,
            r#""DeviceIDs":{"-1":["d1","d2"],"0":["d3"],"10":["x"],"2":["y"]},"AllocResp":"CgYKAUESASIxfg=="},"#,
            r#"{"PodUID":"v","ContainerName":"c\"","ResourceName":"r","DeviceIDs":null,"AllocResp":""}],"#,
            r#""RegisteredDevices":{"example.com/b":["d2","d1"]}},"Checksum":4056860661}"#
        ));
        let damaged = r#"{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{}},"Checksum":1}"#;
        assert_eq!(decode(damaged.as_bytes()), None);
    }
}
