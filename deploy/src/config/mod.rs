//! The files that the daemons read, as text: containerd's TOML, CNI's JSON, kubeconfigs, the
//! kubelet's and kube-proxy's configuration. Each is a pure function of the settings; [`write`]
//! replaces only those whose text has changed, so that a repeated `up` restarts nothing.

mod cni;
mod containerd;
mod kube_proxy;
mod kubeconfig;
mod kubelet;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::host;
use crate::layout::Layout;
use crate::pki;
use crate::settings::Settings;

/// The kubeconfigs: file name without `.conf`, the certificate of the same user.
const KUBECONFIGS: &[(&str, &str)] = &[
    ("kubelet", "kubelet-client"),
    ("kube-proxy", "kube-proxy"),
    ("admin", "admin"),
    ("controller-manager", "controller-manager"),
    ("scheduler", "scheduler"),
];
/// How many of them a worker has.
const ON_A_WORKER: usize = 2;

/// Writes all files; returns those that changed.
pub fn write(layout: &Layout, settings: &Settings) -> anyhow::Result<Vec<PathBuf>> {
    let snapshotter = host::kernel::snapshotter(layout.dir())?;
    let restricted = !host::kernel::may_lower_oom_score();
    let mut files = vec![
        (layout.containerd_config(), containerd::config(layout, snapshotter, restricted), 0o644),
        (layout.kubelet_config(), kubelet::config(layout, settings), 0o644),
        (layout.kube_proxy_config(), kube_proxy::config(layout, settings), 0o644),
    ];
    // Without it the runtime says that its network is not ready, and so the node.
    if let Some(pods) = settings.node_pod_cidr() {
        files.push((layout.cni_config(), cni::conflist(layout, settings, pods), 0o644));
    }
    let ca = std::fs::read(layout.cert("ca"))?;
    let used = if settings.joined.is_some() { &KUBECONFIGS[..ON_A_WORKER] } else { KUBECONFIGS };
    for (name, cert) in used {
        let (cert, key) = (std::fs::read(layout.cert(cert))?, std::fs::read(layout.key(cert))?);
        files.push((layout.kubeconfig(name), kubeconfig::text(settings, name, &ca, &cert, &key), 0o600));
    }
    let mut changed = Vec::new();
    for (file, text, mode) in files {
        if put(&file, &text, mode).with_context(|| format!("cannot write {}", file.display()))? {
            changed.push(file);
        }
    }
    Ok(changed)
}

fn put(file: &Path, text: &str, mode: u32) -> anyhow::Result<bool> {
    if std::fs::read(file).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(false);
    }
    pki::write(file, text.as_bytes(), mode)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
