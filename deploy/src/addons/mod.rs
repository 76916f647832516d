//! What a cluster runs beside its daemons, as objects of its own API: their images are made here and
//! loaded, their objects applied (server-side, so that a person's own changes to other fields stay).

mod dns;

use std::time::Duration;

use anyhow::ensure;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::progress::Progress;
use crate::{image, probe, readiness};

const PAUSE: Duration = Duration::from_millis(200);

/// Starts the addons, or brings them up to date, and waits until the newest cluster DNS is rolled out and
/// answers at its address. One that does not come up leaves a usable cluster: it is told, and no error.
pub async fn ensure(cluster: &Cluster, progress: &Progress, patience: Duration) -> anyhow::Result<()> {
    let image = image::ensure_program(&cluster.layout, &cluster.settings.bin_dir.join(dns::NAME), dns::NAME)?;
    for (path, object) in dns::objects(&cluster.settings, &image) {
        apply(cluster, &path, &object).await?;
    }
    let deadline = progress.elapsed() + patience;
    // What the API says of pods may date from before a restart: only an answer tells.
    while !(is_available(cluster, dns::DEPLOYMENT).await? && dns::answers(&cluster.settings).await) {
        if progress.elapsed() > deadline {
            progress.say(format_args!(
                "note: {} does not answer yet; see `kubectl --namespace=kube-system get pods`",
                dns::NAME
            ));
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    progress.say(format_args!("{} answers at {}", dns::NAME, cluster.settings.dns_ip()));
    Ok(())
}

async fn apply(cluster: &Cluster, path: &str, object: &Value) -> anyhow::Result<()> {
    let tls = readiness::admin(cluster)?;
    let (status, body) = probe::apply(readiness::apiserver(cluster), Some(&tls), path, object).await?;
    ensure!(
        matches!(status, 200 | 201),
        "cannot apply {path}: HTTP {status} {}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}

/// Whether the newest state of a Deployment is rolled out.
async fn is_available(cluster: &Cluster, path: &str) -> anyhow::Result<bool> {
    let tls = readiness::admin(cluster)?;
    let (status, body) = probe::get(readiness::apiserver(cluster), Some(&tls), path).await?;
    ensure!(status == 200, "{path}: HTTP {status} {}", String::from_utf8_lossy(&body));
    let deployment: Value = serde_json::from_slice(&body)?;
    let (wanted, status) = (&deployment["spec"]["replicas"], &deployment["status"]);
    Ok(status["observedGeneration"] == deployment["metadata"]["generation"]
        && status["updatedReplicas"] == *wanted
        && status["availableReplicas"] == *wanted)
}
