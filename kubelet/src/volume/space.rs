//! How full the volumes behind claims are: `kubelet_volume_stats_*`, and the volumes of /stats/summary.
//!
//! Looked at every `volumeStatsAggPeriod`, not when somebody asks: a filesystem of another machine may
//! take its time. Of a local volume or one of NFS the filesystem says it, of a storage driver's the driver,
//! if it can; host paths have no figures of their own.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::RwLock;

use super::desired::{self, Kind};
use crate::csi::request::Request;
use crate::kubelet::Kubelet;
use crate::pod_worker::Stage;

/// Volumes that are looked at side by side.
const PARALLEL: usize = 8;
/// What does not answer by then has no figures.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of bytes or inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub total: u64,
    pub available: u64,
    pub used: u64,
}

/// How full one volume is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub bytes: Option<Amount>,
    pub inodes: Option<Amount>,
    /// What the driver says of its health, if it does.
    pub abnormal: Option<bool>,
}

/// A pod's volume that is a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimSpace {
    /// The pod.
    pub uid: String,
    /// The volume's name in the pod.
    pub volume: String,
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub claim: String,
    pub space: Space,
}

/// What was last seen.
#[derive(Default)]
pub struct Spaces(RwLock<Arc<Vec<ClaimSpace>>>);

impl Spaces {
    /// All, in no order.
    pub fn all(&self) -> Arc<Vec<ClaimSpace>> {
        Arc::clone(&self.0.read())
    }
}

/// Looks again and again; never ends.
pub async fn run(kubelet: Arc<Kubelet>) {
    let every = kubelet.config.volume_stats_period();
    if every.is_zero() {
        return;
    }
    // The first figures need not wait as long.
    let mut pause = every.min(Duration::from_secs(10));
    loop {
        tokio::time::sleep(pause.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
        pause = every;
        let all = look(&kubelet).await;
        *kubelet.spaces.0.write() = Arc::new(all);
    }
}

async fn look(kubelet: &Arc<Kubelet>) -> Vec<ClaimSpace> {
    let mut jobs = Vec::new();
    for (pod, stage) in kubelet.workers.all() {
        let claims = kubelet.claims.known(&pod.metadata.uid);
        if stage > Stage::Terminating || claims.is_empty() {
            continue;
        }
        for volume in desired::mounted(&pod) {
            // A device has no files.
            let Some(wanted) = desired::wanted(volume, &claims).ok().filter(|one| !one.block) else {
                continue;
            };
            let Some(claim) = wanted.behind.as_ref().and_then(|behind| behind.spec.claim_ref.clone()) else {
                continue;
            };
            let (kubelet, pod) = (Arc::clone(kubelet), Arc::clone(&pod));
            let name = volume.name.clone();
            jobs.push(async move {
                let path = wanted.path(&kubelet.pod_dir(&pod.metadata.uid));
                let looking = async {
                    match wanted.kind {
                        // COMPAT: none of `fc`.
                        Kind::Local | Kind::Nfs | Kind::Iscsi => {
                            tokio::task::spawn_blocking(move || of_filesystem(&path)).await.ok().flatten()
                        }
                        Kind::Csi => {
                            let request = Request::of(&pod, &wanted)?;
                            kubelet.csi.volumes.space(&request, &path).await
                        }
                        _ => None,
                    }
                };
                let space = tokio::time::timeout(PATIENCE, looking).await.ok().flatten()?;
                let uid = pod.metadata.uid.clone();
                Some(ClaimSpace { uid, volume: name, namespace: claim.namespace, claim: claim.name, space })
            });
        }
    }
    let mut looking = futures::stream::iter(jobs).buffer_unordered(PARALLEL);
    let mut found = Vec::new();
    while let Some(one) = looking.next().await {
        found.extend(one);
    }
    found
}

fn of_filesystem(path: &std::path::Path) -> Option<Space> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let unit = stat.f_frsize;
    let bytes = Amount {
        total: stat.f_blocks * unit,
        available: stat.f_bavail * unit,
        used: (stat.f_blocks - stat.f_bfree) * unit,
    };
    let inodes = Amount { total: stat.f_files, available: stat.f_ffree, used: stat.f_files - stat.f_ffree };
    Some(Space { bytes: Some(bytes), inodes: Some(inodes), abnormal: None })
}
