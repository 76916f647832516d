//! Why a container could not be started the last time: what its status shows while it waits.
//!
//! The reasons are part of the API: controllers and people match on them.

use std::collections::HashMap;

use daemon::go_words;
use parking_lot::Mutex;

/// A failed start: the reason for `state.waiting.reason`, and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// `ErrImagePull`, `CrashLoopBackOff`, …
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl StartError {
    /// An error with this reason and message.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: go_words::worded(&message.into()).into_owned() }
    }
}

/// The container crashed too often lately.
pub const CRASH_LOOP: &str = "CrashLoopBackOff";
/// The image cannot be pulled.
pub const IMAGE_PULL: &str = "ErrImagePull";
/// Pulling is not tried again yet.
pub const IMAGE_PULL_BACKOFF: &str = "ImagePullBackOff";
/// The runtime cannot say whether it has the image.
pub const IMAGE_INSPECT: &str = "ImageInspectError";
/// The image is absent and must not be pulled.
pub const IMAGE_NEVER_PULL: &str = "ErrImageNeverPull";
/// The image's name is no reference.
pub const INVALID_IMAGE_NAME: &str = "InvalidImageName";
/// The registry does not answer.
pub const REGISTRY_UNAVAILABLE: &str = "RegistryUnavailable";
/// The image's signature did not convince the runtime.
pub const SIGNATURE_VALIDATION: &str = "SignatureValidationFailed";
/// The container's configuration cannot be made (a missing ConfigMap, a bad user, …).
pub const CREATE_CONFIG: &str = "CreateContainerConfigError";
/// The runtime refused to make the container.
pub const CREATE: &str = "CreateContainerError";
/// The runtime could not start it.
pub const RUN: &str = "RunContainerError";
/// The postStart hook failed.
pub const POST_START: &str = "PostStartHookError";

/// The last start error of each container, by pod uid and container name.
#[derive(Debug, Default)]
pub struct Reasons(Mutex<HashMap<String, HashMap<String, StartError>>>);

impl Reasons {
    /// Notes that a start failed.
    pub fn set(&self, uid: &str, container: &str, error: StartError) {
        self.0.lock().entry(uid.to_owned()).or_default().insert(container.to_owned(), error);
    }

    /// Notes that a start succeeded.
    pub fn clear(&self, uid: &str, container: &str) {
        if let Some(pod) = self.0.lock().get_mut(uid) {
            pod.remove(container);
        }
    }

    /// All of a pod, for its status.
    pub fn of(&self, uid: &str) -> HashMap<String, StartError> {
        self.0.lock().get(uid).cloned().unwrap_or_default()
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}
