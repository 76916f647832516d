//! User namespaces (KEP-127): a pod with `hostUsers: false` has a range of the node's ids for its own, and root in
//! it is nobody on the node.
//!
//! [`ranges`] says who has which ids, [`mapping`] is how that is written down in the pod's directory, before its
//! sandbox is made and until nothing of it is left. The runtime maps the ids of processes and of what is mounted.

pub mod mapping;
pub mod ranges;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use api_types::core::v1::Pod;
use daemon::metrics::{IntCounter, global};
use parking_lot::Mutex;

use crate::cri::v1;
use crate::volume::actual::entries;
use ranges::{Pool, Ranges};

/// COMPAT: the node's user whose subordinate ids pods get.
const USER: &str = "kubelet";
const FILE: &str = "userns";

/// Sandboxes begun for pods with users of their own.
pub static STARTED: LazyLock<IntCounter> = LazyLock::new(|| {
    global().counter(
        "kubelet_started_user_namespaced_pods_total",
        "Cumulative number of pods with user namespaces started. This metric will only be collected on Linux.",
    )
});
/// Those that did not come to run.
pub static FAILED: LazyLock<IntCounter> = LazyLock::new(|| {
    global().counter(
        "kubelet_started_user_namespaced_pods_errors_total",
        "Cumulative number of errors when starting pods with user namespaces. This metric will only be collected on \
         Linux.",
    )
});

/// The pod is to have users of its own.
pub fn asks(pod: &Pod) -> bool {
    pod.spec.host_users == Some(false)
}

/// The node's users.
pub fn of_node() -> v1::UserNamespace {
    v1::UserNamespace { mode: v1::NamespaceMode::Node as i32, ..Default::default() }
}

/// Why a runtime's handler cannot give a pod users of its own, in upstream's words. `handlers` are those that the
/// runtime has told of: old ones tell of none.
fn check(handler: &str, handlers: &[v1::RuntimeHandler]) -> Result<(), String> {
    let refused = if handler.is_empty() {
        "can't set `spec.hostUsers: false`, runtime does not support user namespaces".to_owned()
    } else {
        format!(
            "can't set `spec.hostUsers: false`, RuntimeClass handler {handler:?} does not support user namespaces"
        )
    };
    match handlers.iter().find(|known| known.name == handler) {
        Some(known) if known.features.is_some_and(|features| features.user_namespaces) => Ok(()),
        None if !handlers.is_empty() => Err(format!("{refused}: the handler {handler:?} is not known")),
        _ => Err(refused),
    }
}

/// A program of that name is in one of the folders of `PATH`.
fn on_path(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// The ids that the node has for pods: those of its user `kubelet`, or all but the lowest.
fn pool(ids_per_pod: u32) -> Result<Pool, String> {
    // Before the user is looked up, which takes libraries in that most nodes need for nothing else.
    if !on_path("getsubids") {
        tracing::info!("user namespaces: getsubids is not there, any id above the node's own may be used");
        return Ok(Pool::of_node(ids_per_pod));
    }
    let user = nix::unistd::User::from_name(USER).map_err(|error| error.to_string())?;
    if user.is_none() {
        return Ok(Pool::of_node(ids_per_pod));
    }
    let ask = |arguments: &[&str]| Command::new("getsubids").args(arguments).arg(USER).output();
    let failed = |what: &str, why: &str| {
        Err(format!("error retrieving additional {what} for user {USER:?}: {}", why.trim()))
    };
    let users = match ask(&[]) {
        Err(error) => return failed("uids", &error.to_string()),
        Ok(output) => output,
    };
    if !users.status.success() {
        return failed("uids", &users.status.to_string());
    }
    let groups = match ask(&["-g"]) {
        Err(error) => return failed("gids", &error.to_string()),
        Ok(output) => output,
    };
    if !groups.status.success() {
        return failed("gids", &groups.status.to_string());
    }
    if users.stdout != groups.stdout {
        return Err(format!("mismatched subuids and subgids for user {USER:?}"));
    }
    mapping::subordinate(&String::from_utf8_lossy(&users.stdout))
}

/// The ranges of this node's pods.
#[derive(Debug)]
pub struct UserNamespaces {
    /// `…/pods`
    pods: PathBuf,
    ranges: Mutex<Ranges>,
}

impl UserNamespaces {
    /// Finds out which ids there are, and which of them pods have.
    ///
    /// # Errors
    /// When pods cannot be kept apart for certain: worded as upstream's.
    pub fn load(root: &Path, ids_per_pod: u32, max_pods: i32) -> Result<Self, String> {
        let pool = pool(ids_per_pod).map_err(|error| format!("kubelet mappings: {error}"))?;
        // They are shown from the start on.
        LazyLock::force(&STARTED);
        LazyLock::force(&FAILED);
        Self::with_pool(root, pool, ids_per_pod, max_pods)
    }

    fn with_pool(root: &Path, pool: Pool, ids_per_pod: u32, max_pods: i32) -> Result<Self, String> {
        let mut ranges = Ranges::new(pool, ids_per_pod, u32::try_from(max_pods).unwrap_or_default())?;
        let pods = root.join("pods");
        for dir in entries(&pods).map_err(|error| format!("read pods from disk: {error}"))? {
            let uid = dir.file_name().unwrap_or_default().to_string_lossy();
            let known = read(&dir.join(FILE)).and_then(|found| match found {
                Some((first, length)) => ranges.record(&uid, first, length),
                None => Ok(()),
            });
            known.map_err(|error| format!("record pod mappings for existing pod {uid:?}: {error}"))?;
        }
        Ok(Self { pods, ranges: Mutex::new(ranges) })
    }

    /// The users of a pod; one that has none of its own yet gets them. Its directory must be there.
    ///
    /// # Errors
    /// When it cannot have any: worded for the event.
    pub fn of(
        &self,
        pod: &Pod,
        handler: &str,
        handlers: &[v1::RuntimeHandler],
    ) -> Result<v1::UserNamespace, String> {
        if !asks(pod) {
            return Ok(of_node());
        }
        check(handler, handlers)?;
        let uid = &pod.metadata.uid;
        let path = self.pods.join(uid).join(FILE);
        let mut ranges = self.ranges.lock();
        let failed = |error: String| format!("user namespace: {error}");
        if let Some((first, length)) = read(&path).map_err(failed)? {
            ranges.record(uid, first, length).map_err(failed)?;
        } else {
            let failed = |error: String| format!("create user namespace: {error}");
            let first = match ranges.of(uid) {
                Some(first) => first,
                None => ranges.give(uid).map_err(failed)?,
            };
            if let Err(error) = write(&path, &mapping::encode(first, ranges.per_pod())) {
                ranges.release(uid);
                return Err(failed(error.to_string()));
            }
        }
        let host_id = ranges.of(uid).unwrap_or_default();
        let all = vec![v1::IdMapping { host_id, container_id: 0, length: ranges.per_pod() }];
        Ok(v1::UserNamespace { mode: v1::NamespaceMode::Pod as i32, uids: all.clone(), gids: all })
    }

    /// Nothing of the pod is left: others may have its ids.
    pub fn release(&self, uid: &str) {
        let mut ranges = self.ranges.lock();
        if ranges.release(uid) {
            // Usually gone with the pod's directory.
            let _ = std::fs::remove_file(self.pods.join(uid).join(FILE));
        }
    }

    /// Only these pods can still have any.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.ranges.lock().pods().filter(|uid| !keep(uid)).cloned().collect();
        gone.iter().for_each(|uid| self.release(uid));
    }
}

fn read(path: &Path) -> Result<Option<(u32, u32)>, String> {
    match std::fs::read(path) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => mapping::decode(&text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Durably: a pod that runs with ids that nobody remembers would share them with the next one.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let beside = path.with_file_name(format!(".{FILE}"));
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ranges::UNIT;

    fn handler(name: &str, user_namespaces: bool) -> v1::RuntimeHandler {
        let features = v1::RuntimeHandlerFeatures { user_namespaces, ..Default::default() };
        v1::RuntimeHandler { name: name.into(), features: Some(features) }
    }

    fn pod(uid: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.uid = uid.into();
        pod.spec.host_users = Some(false);
        pod
    }

    #[test]
    fn runtimes_say_whether_they_can() {
        let refused = |handler: &str, handlers: &[v1::RuntimeHandler]| check(handler, handlers).unwrap_err();
        let plain = "can't set `spec.hostUsers: false`, runtime does not support user namespaces";
        assert_eq!(refused("", &[]), plain);
        assert_eq!(refused("", &[handler("", false)]), plain);
        assert_eq!(refused("", &[handler("a", true)]), format!("{plain}: the handler \"\" is not known"));
        let named =
            "can't set `spec.hostUsers: false`, RuntimeClass handler \"a\" does not support user namespaces";
        assert_eq!(refused("a", &[handler("a", false), handler("", true)]), named);
        assert_eq!(check("a", &[handler("", false), handler("a", true)]), Ok(()));
    }

    #[test]
    fn a_pod_keeps_its_ids_over_restarts_and_gives_them_back() {
        let root = std::env::temp_dir().join(format!("kubelet-userns-{}", uuid::Uuid::new_v4()));
        for uid in ["a", "b", "c"] {
            std::fs::create_dir_all(root.join("pods").join(uid)).unwrap();
        }
        let load = || {
            let pool = Pool { first: UNIT, length: 2 * UNIT };
            UserNamespaces::with_pool(&root, pool, UNIT, 2).unwrap()
        };
        let first = |all: &UserNamespaces, uid: &str| {
            all.of(&pod(uid), "", &[handler("", true)]).map(|users| users.uids[0].host_id)
        };
        let all = load();
        assert_eq!(first(&all, "a"), Ok(UNIT));
        assert_eq!(first(&all, "a"), Ok(UNIT));
        assert_eq!(first(&all, "b"), Ok(2 * UNIT));
        let full = "create user namespace: could not find an empty slot to allocate a user namespace";
        assert_eq!(first(&all, "c"), Err(full.to_owned()));
        let all = load();
        assert_eq!(first(&all, "b"), Ok(2 * UNIT));
        assert_eq!(first(&all, "c"), Err(full.to_owned()));
        all.release("a");
        assert!(!root.join("pods/a/userns").exists());
        assert_eq!(first(&all, "c"), Ok(UNIT));
        all.retain(|uid| uid == "b");
        assert_eq!(first(&all, "a"), Ok(UNIT));
        let mut plain = pod("d");
        plain.spec.host_users = None;
        assert_eq!(all.of(&plain, "", &[]), Ok(of_node()));
        std::fs::write(root.join("pods/c/userns"), mapping::encode(UNIT, UNIT)).unwrap();
        let pool = Pool { first: UNIT, length: 2 * UNIT };
        assert_eq!(
            UserNamespaces::with_pool(&root, pool, UNIT, 2).unwrap_err(),
            "record pod mappings for existing pod \"c\": range picked for pod \"c\" already taken"
        );
        std::fs::remove_dir_all(root).unwrap();
    }
}
