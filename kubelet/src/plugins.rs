//! Plugins make themselves known by a socket in `plugins_registry`, and go by removing it (upstream's
//! pluginregistration/v1). Storage drivers, device plugins and drivers of claims' devices are served; other types of
//! plugins are told that they are not.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use tonic::transport::Channel;

use crate::cri::CallError;
use crate::csi::driver::{self, Driver};
use crate::csi::node_info;
use crate::device;
use crate::device::plugin::Joined;
use crate::dra;
use crate::kubelet::Kubelet;
use crate::volume::actual::entries;
use proto::registration_client::RegistrationClient;
use proto::{InfoRequest, PluginInfo, RegistrationStatus};

/// Messages generated from `proto/plugin_registration.proto`.
#[allow(clippy::all, clippy::pedantic, missing_docs, dead_code, reason = "generated")]
pub mod proto {
    tonic::include_proto!("pluginregistration");
}

/// How long a plugin may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The folder is looked at again that often: for plugins that could not be registered, and where
/// it cannot be watched.
const AGAIN: Duration = Duration::from_secs(10);
/// A plugin that could not be registered is tried again after that, and then ever later.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// A socket: a plugin that starts again makes another of the same name.
type Identity = (u64, i64, i64);

/// Sockets below a folder. Names that start with a dot are passed over.
fn sockets(dir: &Path) -> BTreeMap<PathBuf, Identity> {
    let mut found = BTreeMap::new();
    for path in entries(dir).unwrap_or_default() {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let Some(meta) = std::fs::symlink_metadata(&path).ok().filter(|_| !hidden) else { continue };
        if meta.is_dir() {
            found.extend(sockets(&path));
        } else if meta.file_type().is_socket() {
            found.insert(path, (meta.ino(), meta.ctime(), meta.ctime_nsec()));
        }
    }
    found
}

/// A plugin that is registered.
struct Plugin {
    identity: Identity,
    name: String,
    kind: Kind,
}

/// What a plugin does.
enum Kind {
    /// Volumes (`CSIPlugin`).
    Storage,
    /// Devices that pods ask for by a resource's name (`DevicePlugin`).
    Devices(Joined),
    /// Devices of claims (`DRAPlugin`), at this socket.
    Claims(String),
}

/// Follows the folder; never ends.
pub async fn run(kubelet: Arc<Kubelet>) {
    while let Err(error) = node_info::ensure(&kubelet.client, &kubelet.node_name).await {
        tracing::warn!(%error, node = kubelet.node_name, "cannot make the node's CSINode");
        tokio::time::sleep(AGAIN.mul_f64(0.5 + fastrand::f64())).await;
    }
    let dir = kubelet.root.join("plugins_registry");
    if let Err(error) = std::fs::create_dir_all(&dir) {
        tracing::error!(%error, dir = %dir.display(), "cannot make the folder of plugins");
    }
    let mut known: BTreeMap<PathBuf, Plugin> = BTreeMap::new();
    let mut pause = FIRST_PAUSE;
    loop {
        // Before looking: what comes in between wakes us.
        let mut events = watch(&dir);
        let found = sockets(&dir);
        let gone: Vec<PathBuf> = known
            .iter()
            .filter(|(path, plugin)| found.get(*path) != Some(&plugin.identity))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            let Some(plugin) = known.remove(&path) else { continue };
            deregister(&kubelet, &plugin.name, &plugin.kind).await;
        }
        let mut failed = false;
        for (path, identity) in found {
            if known.contains_key(&path) {
                continue;
            }
            match register(&kubelet, &path).await {
                Ok((name, kind)) => {
                    tracing::info!(plugin = name, socket = %path.display(), "registered a plugin");
                    known.insert(path, Plugin { identity, name, kind });
                }
                Err(error) => {
                    tracing::warn!(error, socket = %path.display(), "cannot register a plugin");
                    failed = true;
                }
            }
        }
        pause = if failed { (pause * 2).min(Duration::from_secs(120)) } else { FIRST_PAUSE };
        let again = if failed { pause } else { AGAIN };
        match &mut events {
            Some(events) => drop(tokio::time::timeout(again, events.next()).await),
            None => tokio::time::sleep(again).await,
        }
    }
}

fn watch(dir: &Path) -> Option<inotify::EventStream<[u8; 4096]>> {
    let inotify = Inotify::init().ok()?;
    let mask = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVED_FROM | WatchMask::MOVED_TO;
    inotify.watches().add(dir, mask).ok()?;
    inotify.into_event_stream([0; 4096]).ok()
}

/// Whether some version that a plugin speaks is ours: 1.x.
fn speaks_ours(versions: &[String]) -> bool {
    versions.iter().any(|version| {
        let version = version.trim_start_matches('v');
        version.split('.').next() == Some("1")
    })
}

/// Why a plugin cannot be used, in upstream's words.
fn check(info: &PluginInfo, socket: &str) -> Result<(), String> {
    let fit = match info.r#type.as_str() {
        "CSIPlugin" if speaks_ours(&info.supported_versions) => Ok(()),
        "CSIPlugin" => Err(format!(
            "validation failed for CSI Driver {} at endpoint {socket}: none of the versions specified {:?} are supported",
            info.name, info.supported_versions
        )),
        "DevicePlugin" => device::plugin::check_found(&info.name, &info.supported_versions),
        "DRAPlugin" => {
            let endpoint = if info.endpoint.is_empty() { socket } else { &info.endpoint };
            dra::plugin::choose(&info.name, endpoint, &info.supported_versions).map(drop)
        }
        other => {
            return Err(format!(
                "RegisterPlugin error -- no handler registered for plugin type: {other} at socket {socket}"
            ));
        }
    };
    fit.map_err(|error| format!("RegisterPlugin error -- plugin validation failed with err: {error}"))
}

async fn call<T>(
    answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => {
            answer.map(tonic::Response::into_inner).map_err(|status| CallError::from(status).to_string())
        }
        Err(_) => Err("the plugin does not answer".into()),
    }
}

async fn notify(mut plugin: RegistrationClient<Channel>, refusal: Option<&String>) -> Result<(), String> {
    let status = RegistrationStatus {
        plugin_registered: refusal.is_none(),
        error: refusal.cloned().unwrap_or_default(),
    };
    call(plugin.notify_registration_status(status)).await.map(drop)
}

/// Registers the plugin behind a socket; answers its name.
async fn register(kubelet: &Kubelet, socket: &Path) -> Result<(String, Kind), String> {
    let path = socket.to_string_lossy();
    let mut plugin = RegistrationClient::new(driver::channel(&path));
    let info = call(plugin.get_info(InfoRequest {}))
        .await
        .map_err(|error| format!("failed to get plugin info: {error}"))?;
    let result = match check(&info, &path) {
        Ok(()) => install(kubelet, &info, &path)
            .await
            .map_err(|error| format!("RegisterPlugin error -- plugin registration failed with err: {error}")),
        Err(refused) => Err(refused),
    };
    let told = notify(plugin, result.as_ref().err()).await;
    let kind = result?;
    if let Err(error) = told {
        deregister(kubelet, &info.name, &kind).await;
        return Err(format!("failed to send registration status: {error}"));
    }
    Ok((info.name, kind))
}

async fn install(kubelet: &Kubelet, info: &PluginInfo, socket: &str) -> Result<Kind, String> {
    let endpoint = if info.endpoint.is_empty() { socket } else { &info.endpoint };
    if info.r#type == "DevicePlugin" {
        let joined = device::plugin::join(&kubelet.devices, &info.name, Path::new(endpoint)).await?;
        return Ok(Kind::Devices(joined));
    }
    if info.r#type == "DRAPlugin" {
        let service = dra::plugin::choose(&info.name, endpoint, &info.supported_versions)?;
        let plugin = dra::plugin::Plugin::new(&info.name, endpoint, service);
        kubelet.dra.drivers.add(&kubelet.dra, plugin)?;
        return Ok(Kind::Claims(endpoint.to_owned()));
    }
    let driver = Driver::new(endpoint);
    let about = driver.info().await.map_err(|error| error.to_string())?;
    node_info::install(&kubelet.client, &kubelet.node_name, &info.name, &about)
        .await
        .map_err(|error| error.to_string())?;
    kubelet.csi.volumes.add_driver(&info.name, driver);
    Ok(Kind::Storage)
}

async fn deregister(kubelet: &Kubelet, name: &str, kind: &Kind) {
    tracing::info!(plugin = name, "a plugin went away");
    match kind {
        Kind::Devices(joined) => device::plugin::leave(&kubelet.devices, name, joined),
        Kind::Claims(endpoint) => kubelet.dra.gone(name, endpoint),
        Kind::Storage => {
            kubelet.csi.volumes.remove_driver(name);
            if let Err(error) = node_info::uninstall(&kubelet.client, &kubelet.node_name, name).await {
                tracing::warn!(%error, driver = name, "cannot take a driver out of the node's CSINode");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_count() {
        let dir = tempdir();
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(dir.join("file"), "").unwrap();
        for name in ["a.sock", ".hidden.sock", "sub/b.sock"] {
            std::os::unix::net::UnixListener::bind(dir.join(name)).unwrap();
        }
        let found: Vec<PathBuf> = sockets(&dir).into_keys().collect();
        assert_eq!(found, [dir.join("a.sock"), dir.join("sub/b.sock")]);
        let before = sockets(&dir);
        std::fs::remove_file(dir.join("a.sock")).unwrap();
        std::os::unix::net::UnixListener::bind(dir.join("a.sock")).unwrap();
        assert_ne!(sockets(&dir), before, "another socket of the same name is another plugin");
        std::fs::remove_dir_all(dir).unwrap();
    }

    fn tempdir() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("kubelet-plugins-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn plugins_of_other_types_and_versions_are_refused() {
        let info = |kind: &str, name: &str, version: &str| PluginInfo {
            r#type: kind.into(),
            name: name.into(),
            endpoint: String::new(),
            supported_versions: vec![version.into()],
        };
        assert_eq!(check(&info("CSIPlugin", "d", "1.0.0"), "/s"), Ok(()));
        assert_eq!(check(&info("CSIPlugin", "d", "v1"), "/s"), Ok(()));
        assert!(check(&info("CSIPlugin", "d", "2.0.0"), "/s").unwrap_err().contains("versions specified"));
        assert_eq!(check(&info("DevicePlugin", "example.com/a", "v1beta1"), "/s"), Ok(()));
        assert_eq!(check(&info("DRAPlugin", "d", "v1.DRAPlugin"), "/s"), Ok(()));
        assert_eq!(
            check(&info("DRAPlugin", "d", "v1alpha4.Node"), "/s").unwrap_err(),
            "RegisterPlugin error -- plugin validation failed with err: invalid supported gRPC versions of DRA driver plugin d at endpoint /s: none of services supported by the plugin ([\"v1alpha4.Node\"]) are supported by the kubelet ([\"v1.DRAPlugin\" \"v1beta1.DRAPlugin\"])"
        );
        assert_eq!(
            check(&info("DevicePlugin", "example.com/a", "v1"), "/s").unwrap_err(),
            "RegisterPlugin error -- plugin validation failed with err: manager version, v1beta1, is not among plugin supported versions [v1]"
        );
        assert_eq!(
            check(&info("DevicePlugin", "cpu", "v1beta1"), "/s").unwrap_err(),
            "RegisterPlugin error -- plugin validation failed with err: invalid name of device plugin socket: the ResourceName \"cpu\" is invalid"
        );
        assert_eq!(
            check(&info("Else", "d", "v1"), "/s").unwrap_err(),
            "RegisterPlugin error -- no handler registered for plugin type: Else at socket /s"
        );
    }
}
