//! Writes what was chosen for a pod's claims, and waits until the binder has completed the bindings.

use std::sync::Arc;
use std::time::Duration;

use crate::framework::Around;
use crate::node::NodeView;
use crate::pod::PodView;
use crate::storage::{Choice, ClaimView, Storage, VolumeView};

/// The bindings of one pod.
pub(super) struct Task {
    pub choice: Arc<Choice>,
    pub pod: Arc<PodView>,
    pub node: String,
    pub around: Around,
    pub timeout: Duration,
}

/// Revisions of our own writes: what is older does not show them.
#[derive(Default)]
pub(super) struct Written {
    pub volumes: Vec<u64>,
    pub claims: Vec<u64>,
}

impl Task {
    /// Returns when all claims are bound; else why they are not.
    pub async fn run(&self) -> Result<(), String> {
        let mut changes = self.around.sight.changes();
        let written = self.write().await?;
        let deadline = self.around.clock.sleep(self.timeout);
        tokio::pin!(deadline);
        loop {
            changes.borrow_and_update();
            if self.look(&written).map_err(|error| format!("binding volumes: {error}"))? {
                return Ok(());
            }
            tokio::select! {
                changed = changes.changed() => {
                    changed.map_err(|_| "binding volumes: context canceled".to_owned())?;
                }
                () = &mut deadline => return Err("binding volumes: context deadline exceeded".into()),
            }
        }
    }

    async fn write(&self) -> Result<Written, String> {
        let mut written = Written::default();
        for binding in &self.choice.bindings {
            let revision = self.around.api.bind_volume(&binding.volume, &binding.claim).await;
            written.volumes.push(revision.map_err(|error| error.to_string())?);
        }
        for claim in &self.choice.provisions {
            let revision = self.around.api.select_node(claim, &self.node).await;
            written.claims.push(revision.map_err(|error| error.to_string())?);
        }
        Ok(written)
    }

    fn look(&self, written: &Written) -> Result<bool, String> {
        let Some(node) = self.around.sight.node(&self.node) else {
            return Err(format!("failed to get node {:?}: node {:?} not found", self.node, self.node));
        };
        if !self.around.sight.expects(&self.pod.uid) {
            return Err(format!("pod does not exist any more: pod {:?} not found", self.pod.name));
        }
        complete(&self.around.sight.storage(), &self.choice, written, &node)
    }
}

/// Whether all bindings are complete.
///
/// # Errors
/// When they will not be: somebody else undid them, or the volume is out of the node's reach.
pub(super) fn complete(
    storage: &Storage,
    choice: &Choice,
    written: &Written,
    node: &NodeView,
) -> Result<bool, String> {
    let claim_of = |claim: &ClaimView, doing: &str| {
        let seen = storage.claims.seen(&claim.key());
        seen.ok_or_else(|| format!("{doing}: could not find v1.PersistentVolumeClaim {:?}", claim.key()))
    };
    for (binding, revision) in choice.bindings.iter().zip(&written.volumes) {
        let name = &binding.volume.name;
        let Some(volume) = storage.volumes.seen(name) else {
            return Err(format!("failed to check binding: could not find v1.PersistentVolume {name:?}"));
        };
        let claim = claim_of(&binding.claim, "failed to check binding")?;
        if volume.revision < *revision {
            return Ok(false);
        }
        within_reach(volume, node)?;
        if volume.claim.as_ref().is_none_or(|claim| claim.uid.is_empty()) {
            return Err(format!("ClaimRef got reset for pv {name:?}"));
        }
        if !claim.fully_bound() {
            return Ok(false);
        }
    }
    for (claim, revision) in choice.provisions.iter().zip(&written.claims) {
        let claim = claim_of(claim, "failed to check provisioning pvc")?;
        if claim.revision < *revision {
            return Ok(false);
        }
        if !claim.annotated {
            return Err(format!("selectedNode annotation reset for PVC {:?}", claim.name));
        }
        if claim.selected_node.as_deref() != Some(&*node.name) {
            return Err(format!("provisioning failed for PVC {:?}", claim.name));
        }
        if !claim.volume_name.is_empty() {
            let Some(volume) = storage.volumes.seen(&claim.volume_name) else { return Ok(false) };
            within_reach(volume, node)?;
        }
        if !claim.fully_bound() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn within_reach(volume: &VolumeView, node: &NodeView) -> Result<(), String> {
    if volume.reaches(&node.labels) {
        return Ok(());
    }
    let (volume, node) = (&volume.name, &node.name);
    Err(format!("pv {volume:?} node affinity doesn't match node {node:?}: no matching NodeSelectorTerms"))
}
