//! The volumes that a pod's directory holds.

use std::io;
use std::path::{Path, PathBuf};

use super::desired::Kind;
use crate::csi;

/// A volume on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Name in the pod.
    pub volume: String,
    /// `kubernetes.io~…`
    pub plugin: String,
    /// Its directory.
    pub path: PathBuf,
    /// Setting it up came to its end.
    pub ready: bool,
    /// Something is mounted there; looked at where the place alone does not say whether that must be so.
    pub mounted: bool,
}

/// COMPAT: upstream's mark of a volume that is set up.
pub fn ready_file(pod_dir: &Path, plugin: &str, volume: &str) -> PathBuf {
    pod_dir.join("plugins").join(plugin).join(volume).join("ready")
}

/// Lists the volumes below a pod's directory. Host paths leave nothing there.
pub fn found(pod_dir: &Path) -> io::Result<Vec<Found>> {
    let mut all = Vec::new();
    // The node's table is long, and volumes are looked at in each of a pod's turns: it is read once.
    let points = super::mounts::below(pod_dir)?;
    let is_mounted = |path: &PathBuf| points.contains(path);
    for plugin in entries(&pod_dir.join("volumes"))? {
        for path in entries(&plugin)? {
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (plugin, volume) = (name(&plugin), name(&path));
            // What was mounted and is no more (a reboot) must be mounted again.
            let kept = match plugin.as_str() {
                "kubernetes.io~secret"
                | "kubernetes.io~projected"
                | "kubernetes.io~downward-api"
                | "kubernetes.io~local-volume"
                | "kubernetes.io~nfs"
                | "kubernetes.io~iscsi"
                | "kubernetes.io~fc" => is_mounted(&path),
                csi::volumes::PLUGIN => is_mounted(&path.join("mount")),
                _ => true,
            };
            let ready = kept && ready_file(pod_dir, &plugin, &volume).exists();
            let mounted = plugin == Kind::EmptyDir.plugin() && is_mounted(&path);
            all.push(Found { volume, plugin, path, ready, mounted });
        }
    }
    Ok(all)
}

/// The entries of a directory that may be absent, sorted.
pub fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let listing = match std::fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = listing.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
