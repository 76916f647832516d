//! Static pods from a folder of manifests (or from one file): read at the start, when the folder
//! changes, and every `fileCheckFrequency`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Pod;
use futures::StreamExt;
use inotify::{Inotify, WatchMask};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::static_pods::{Origin, SOURCE, decode};
use crate::kubelet::Kubelet;
use crate::volume::actual::entries;

/// COMPAT: longer files are cut off upstream, and are no manifests.
const LONGEST: u64 = 10 << 20;
/// How soon a pod that must go first is looked for again.
const SOON: Duration = Duration::from_secs(1);

/// The static pods of this node.
pub struct Manifests {
    path: Option<PathBuf>,
    pods: Mutex<HashMap<String, Arc<Pod>>>,
}

impl Manifests {
    /// Of a folder or file; an empty path is none.
    pub fn new(path: &str) -> Self {
        Self { path: (!path.is_empty()).then(|| PathBuf::from(path)), pods: Mutex::default() }
    }

    /// A static pod of that name is wanted.
    pub fn wants(&self, namespace: &str, name: &str) -> bool {
        self.pods.lock().values().any(|pod| pod.metadata.name == name && pod.metadata.namespace == namespace)
    }

    /// Reads the files, and hands what is new and what is gone to the workers; `false` when a pod must go
    /// before it can come back.
    pub fn load(&self, kubelet: &Kubelet) -> bool {
        let Some(path) = &self.path else { return true };
        let Some(found) = read(path, &kubelet.node_name) else { return true };
        self.take(kubelet, "file", found)
    }

    /// These are all pods of a source; hands what is new and what is gone to the workers. `false` when a pod must
    /// go before it can come back.
    pub fn take(&self, kubelet: &Kubelet, source: &str, found: HashMap<String, Pod>) -> bool {
        let mut known = self.pods.lock();
        let of = |pod: &Pod| pod.metadata.annotations.get(SOURCE).is_some_and(|from| from == source);
        let gone = known.iter().filter(|(uid, pod)| of(pod) && !found.contains_key(*uid));
        let gone: Vec<String> = gone.map(|(uid, _)| uid.clone()).collect();
        for uid in gone {
            known.remove(&uid);
            kubelet.workers.gone(&uid);
        }
        let mut complete = true;
        for (uid, pod) in found {
            if known.contains_key(&uid) {
                continue;
            }
            if kubelet.workers.knows(&uid) {
                complete = false;
                continue;
            }
            let pod = Arc::new(pod);
            known.insert(uid, Arc::clone(&pod));
            tracing::info!(pod = pod.metadata.name, namespace = pod.metadata.namespace, "a static pod");
            kubelet.workers.set(pod);
        }
        complete
    }
}

/// The pods of a folder or file; `None` when it cannot be read now.
fn read(path: &Path, node: &str) -> Option<HashMap<String, Pod>> {
    let files = match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => match entries(path) {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot read the folder of static pods");
                return None;
            }
        },
        Ok(_) => vec![path.to_owned()],
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "cannot read the static pods");
            return None;
        }
    };
    let seen = Timestamp::now().to_string();
    let mut pods = HashMap::new();
    for file in files {
        let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden || !std::fs::metadata(&file).is_ok_and(|meta| meta.is_file() && meta.len() <= LONGEST) {
            continue;
        }
        let shown = file.display().to_string();
        let decoded = std::fs::read_to_string(&file)
            .map_err(|error| error.to_string())
            .and_then(|text| decode(&text, &Origin::File(&shown), node, &seen));
        match decoded {
            Ok(pod) => {
                pods.insert(pod.metadata.uid.clone(), pod);
            }
            Err(error) => tracing::error!(error, path = shown, "Could not process manifest file"),
        }
    }
    Some(pods)
}

/// Follows the folder; never ends. The first load is done by the caller.
pub async fn run(kubelet: Arc<Kubelet>) {
    let Some(path) = kubelet.manifests.path.clone() else { return };
    let every = kubelet.config.file_check_frequency.unwrap_or(Duration::from_secs(20));
    let mut events = watch(&path);
    loop {
        let node = Arc::clone(&kubelet);
        let complete = tokio::task::spawn_blocking(move || node.manifests.load(&node)).await.unwrap_or(true);
        let pause = if complete { every } else { SOON.min(every) };
        match &mut events {
            Some(stream) => {
                if let Ok(None) = tokio::time::timeout(pause, stream.next()).await {
                    events = None;
                }
                // A file is written in several steps.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None => {
                tokio::time::sleep(pause).await;
                events = watch(&path);
            }
        }
    }
}

/// What happens in the folder; `None` when it cannot be watched (it may not be there yet).
fn watch(path: &Path) -> Option<inotify::EventStream<[u8; 4096]>> {
    let inotify = Inotify::init().ok()?;
    let mask = WatchMask::CREATE
        | WatchMask::CLOSE_WRITE
        | WatchMask::DELETE
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::DELETE_SELF
        | WatchMask::ATTRIB;
    inotify.watches().add(path, mask).ok()?;
    inotify.into_event_stream([0; 4096]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_manifests_are_pods() {
        let dir = std::env::temp_dir().join(format!("kubelet-manifests-{}", uuid::Uuid::new_v4()));
        assert_eq!(read(&dir, "n"), Some(HashMap::new()), "a folder that is not there holds none");
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        let manifest =
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i}]}\n";
        std::fs::write(dir.join("a.yaml"), manifest).unwrap();
        std::fs::write(dir.join(".a.yaml.swp"), manifest).unwrap();
        std::fs::write(dir.join("broken.yaml"), "a: [").unwrap();
        std::fs::write(dir.join("sub/b.yaml"), manifest).unwrap();
        let names: Vec<String> =
            read(&dir, "n").unwrap().into_values().map(|pod| pod.metadata.name).collect();
        assert_eq!(names, ["a-n"]);
        let one = read(&dir.join("a.yaml"), "n").unwrap();
        assert_eq!(one.len(), 1);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
