//! Mirrors: the objects that show static pods in the API. One is made for each static pod, and made
//! anew when someone deletes or changes it; without its pod it is deleted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Node, Pod};
use api_types::meta::v1::{DeleteOptions, OwnerReference, Preconditions};
use parking_lot::Mutex;

use super::static_pods::{HASH, MIRROR, Step, mirror_step};
use crate::kubelet::Kubelet;

const RETRY: Duration = Duration::from_secs(5);

/// Namespace and name.
type Key = (String, String);

fn key(pod: &Pod) -> Key {
    (pod.metadata.namespace.clone(), pod.metadata.name.clone())
}

#[derive(Default)]
struct State {
    pods: HashMap<Key, Arc<Pod>>,
    /// Mirrors that are being written.
    busy: HashSet<Key>,
    /// The API's pods were read.
    read: bool,
}

/// The mirrors of this node's static pods.
#[derive(Default)]
pub struct Mirrors(Mutex<State>);

impl Mirrors {
    /// The mirror that shows a static pod: not one of what the pod was before.
    pub fn of(&self, pod: &Pod) -> Option<Arc<Pod>> {
        let mirror = self.0.lock().pods.get(&key(pod)).cloned()?;
        (mirror_step(pod, Some(&mirror)) == Step::Nothing).then_some(mirror)
    }

    /// The API has this mirror.
    pub fn set(&self, mirror: Arc<Pod>) {
        self.0.lock().pods.insert(key(&mirror), mirror);
    }

    /// The API no longer has this mirror.
    pub fn gone(&self, mirror: &Pod) {
        let mut state = self.0.lock();
        let key = key(mirror);
        if state.pods.get(&key).is_some_and(|known| known.metadata.uid == mirror.metadata.uid) {
            state.pods.remove(&key);
        }
    }

    /// The API has these mirrors and no others.
    pub fn replace(&self, mirrors: Vec<Arc<Pod>>) {
        let mut state = self.0.lock();
        state.pods = mirrors.into_iter().map(|mirror| (key(&mirror), mirror)).collect();
        state.read = true;
    }

    /// Mirrors without a pod.
    pub fn orphans(&self, wanted: impl Fn(&str, &str) -> bool) -> Vec<Arc<Pod>> {
        let state = self.0.lock();
        state
            .pods
            .iter()
            .filter(|((namespace, name), _)| !wanted(namespace, name))
            .map(|(_, pod)| Arc::clone(pod))
            .collect()
    }

    /// Makes the static pod's mirror show it. Does not wait: the pod runs without.
    pub fn reconcile(&self, kubelet: &Arc<Kubelet>, pod: &Arc<Pod>) {
        let key = key(pod);
        let mut state = self.0.lock();
        if !state.read {
            return;
        }
        let step = mirror_step(pod, state.pods.get(&key).map(|mirror| &**mirror));
        if step == Step::Nothing || !state.busy.insert(key.clone()) {
            return;
        }
        drop(state);
        let (kubelet, pod) = (Arc::clone(kubelet), Arc::clone(pod));
        tokio::spawn(async move {
            let result = match step {
                Step::Delete(uid) => delete(&kubelet, &pod, &uid).await,
                _ => create(&kubelet, &pod).await,
            };
            kubelet.mirrors.0.lock().busy.remove(&key);
            match result {
                Ok(()) => kubelet.workers.wake(&pod.metadata.uid),
                Err(error) => {
                    tracing::warn!(%error, pod = pod.metadata.name, "cannot show a static pod in the API");
                    kubelet.workers.wake_after(&pod.metadata.uid, RETRY);
                }
            }
        });
    }

    /// Deletes mirrors whose pods are gone.
    pub fn delete_orphans(&self, kubelet: &Arc<Kubelet>) {
        for mirror in self.orphans(|namespace, name| kubelet.manifests.wants(namespace, name)) {
            // A pod that is ending is still shown.
            if kubelet.workers.has_static(&mirror.metadata.namespace, &mirror.metadata.name) {
                continue;
            }
            let kubelet = Arc::clone(kubelet);
            tokio::spawn(async move {
                if let Err(error) = delete(&kubelet, &mirror, &mirror.metadata.uid).await {
                    tracing::warn!(%error, pod = mirror.metadata.name, "cannot delete a mirror");
                }
            });
        }
    }
}

async fn create(kubelet: &Kubelet, pod: &Pod) -> Result<(), client::Error> {
    let node = kubelet.client.api::<Node>().get(&kubelet.node_name).await?;
    let mut mirror = pod.clone();
    let meta = &mut mirror.metadata;
    let hash = meta.annotations.get(HASH).cloned().unwrap_or_default();
    meta.annotations.insert(MIRROR.into(), hash);
    // The object gets a uid of its own.
    meta.uid.clear();
    meta.owner_references = vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: kubelet.node_name.clone(),
        uid: node.metadata.uid,
        controller: Some(true),
        ..Default::default()
    }];
    let api = kubelet.client.api::<Pod>().namespace(&pod.metadata.namespace);
    match api.create(&mirror).await {
        Ok(made) => kubelet.mirrors.set(Arc::new(made)),
        // The watch will show which.
        Err(error) if error.is_already_exists() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn delete(kubelet: &Kubelet, pod: &Pod, uid: &str) -> Result<(), client::Error> {
    let options = DeleteOptions {
        grace_period_seconds: Some(0),
        preconditions: Some(Box::new(Preconditions { uid: Some(uid.to_owned()), ..Default::default() })),
        ..Default::default()
    };
    let api = kubelet.client.api::<Pod>().namespace(&pod.metadata.namespace);
    match api.delete(&pod.metadata.name, &options).await {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_pod_does_not_take_over_what_its_mirror_showed() {
        let mirrors = Mirrors::default();
        let mut pod = Pod::default();
        pod.metadata.name = "web".into();
        pod.metadata.annotations.insert(HASH.into(), "a".into());
        let mut mirror = pod.clone();
        mirror.metadata.annotations.insert(MIRROR.into(), "a".into());
        mirrors.set(Arc::new(mirror));
        assert!(mirrors.of(&pod).is_some());
        pod.metadata.annotations.insert(HASH.into(), "b".into());
        assert!(mirrors.of(&pod).is_none());
        assert_eq!(mirrors.orphans(|_, name| name == "web").len(), 0);
        assert_eq!(mirrors.orphans(|_, _| false).len(), 1);
    }
}
