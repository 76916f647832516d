//! Taking pods off the network without their runtime: CNI's DEL from the records that libcni keeps
//! (/var/lib/cni/results, one file per attachment, named NETWORK-CONTAINER-INTERFACE). Frees addresses and
//! removes host ports' rules; links have gone with their namespaces.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

const RECORDS: &str = "/var/lib/cni/results";
/// Where Debian's containernetworking-plugins puts the plugins.
pub const PLUGINS: &str = "/usr/lib/cni";

/// One attachment, as libcni records it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    container_id: String,
    /// The network's configuration list, base64.
    config: String,
    if_name: String,
    #[serde(default)]
    cni_args: Vec<(String, String)>,
    #[serde(default)]
    capability_args: Value,
    #[serde(default)]
    result: Value,
}

/// One plugin to run.
#[derive(Debug, PartialEq)]
struct Call {
    plugin: String,
    config: Value,
}

/// Detaches every pod of `network`. Returns what failed.
pub fn detach_all(network: &str) -> Vec<String> {
    let prefix = format!("{network}-");
    let records = std::fs::read_dir(RECORDS).into_iter().flatten().flatten();
    let mine = records.filter(|r| r.file_name().to_string_lossy().starts_with(&prefix)).map(|r| r.path());
    mine.filter_map(|file| detach(&file).err().map(|e| format!("{}: {e:#}", file.display()))).collect()
}

fn detach(file: &Path) -> anyhow::Result<()> {
    let record: Record = serde_json::from_slice(&std::fs::read(file)?).context("not a record of libcni")?;
    let list = serde_json::from_slice(&STANDARD.decode(&record.config)?)?;
    for call in calls(&list, &record) {
        run(&call, &record).with_context(|| format!("plugin {}", call.plugin))?;
    }
    Ok(std::fs::remove_file(file)?)
}

/// DEL runs the plugins from the last to the first, each with the whole result and the
/// capabilities that it declares.
fn calls(list: &Value, record: &Record) -> Vec<Call> {
    let plugins = list["plugins"].as_array().cloned().unwrap_or_default();
    plugins
        .into_iter()
        .rev()
        .map(|mut config| {
            let declared = config["capabilities"].as_object().cloned().unwrap_or_default();
            let given = record.capability_args.as_object().cloned().unwrap_or_default();
            let used: serde_json::Map<String, Value> = given
                .into_iter()
                .filter(|(name, _)| declared.get(name) == Some(&Value::Bool(true)))
                .collect();
            config["name"] = list["name"].clone();
            config["cniVersion"] = list["cniVersion"].clone();
            config["prevResult"] = record.result.clone();
            if !used.is_empty() {
                config["runtimeConfig"] = json!(used);
            }
            Call { plugin: config["type"].as_str().unwrap_or_default().to_owned(), config }
        })
        .collect()
}

fn run(call: &Call, record: &Record) -> anyhow::Result<()> {
    let args: Vec<String> = record.cni_args.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut child = Command::new(Path::new(PLUGINS).join(&call.plugin))
        .env("CNI_COMMAND", "DEL")
        .env("CNI_CONTAINERID", &record.container_id)
        .env("CNI_IFNAME", &record.if_name)
        .env("CNI_ARGS", args.join(";"))
        .env("CNI_PATH", PLUGINS)
        // The pod's namespace is gone; plugins take an empty name for that.
        .env("CNI_NETNS", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().expect("stdin is piped").write_all(call.config.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_run_backwards_with_what_they_declared() {
        let list = json!({
            "cniVersion": "0.4.0", "name": "pods-1",
            "plugins": [{ "type": "bridge" }, { "type": "portmap", "capabilities": { "portMappings": true } }],
        });
        let record: Record = serde_json::from_value(json!({
            "kind": "cniCacheV1", "containerId": "c1", "config": "", "ifName": "eth0", "networkName": "pods-1",
            "cniArgs": [["K8S_POD_NAME", "web"]],
            "capabilityArgs": { "portMappings": [{ "hostPort": 80 }], "dns": {} },
            "result": { "ips": [] },
        }))
        .unwrap();
        let calls = calls(&list, &record);
        assert_eq!(calls.iter().map(|c| c.plugin.as_str()).collect::<Vec<_>>(), ["portmap", "bridge"]);
        assert_eq!(calls[0].config["runtimeConfig"], json!({ "portMappings": [{ "hostPort": 80 }] }));
        assert_eq!(calls[0].config["name"], "pods-1");
        assert!(calls[1].config.get("runtimeConfig").is_none());
        assert_eq!(calls[1].config["prevResult"], json!({ "ips": [] }));
    }
}
