//! The volumes of the node's pods.
//!
//! What a pod asks for is read from its spec ([`desired`]), what is there from its directory and the
//! mount table ([`actual`]); [`plan`] compares the two, and [`apply`] does it. Nothing is remembered
//! that is not on disk, so a restart of the kubelet loses no volume. A kind of volume is one file in
//! [`kinds`]; kinds that are not there yet fail with a message that says so.
//!
//! Layout, as upstream's, below the pod's directory: `volumes/PLUGIN/NAME` (the content),
//! `plugins/PLUGIN/NAME/ready` (set up to its end), `volume-subpaths/NAME/CONTAINER/INDEX` (bind
//! mounts of sub-paths), `volumeDevices/PLUGIN/NAME` (links to devices: [`block`]).

pub mod actual;
pub mod apply;
pub mod atomic_writer;
pub mod block;
pub mod claims;
pub mod desired;
pub mod filesystem;
pub mod host;
pub mod kinds;
pub mod metrics;
pub mod mounts;
pub mod ownership;
pub mod plan;
pub mod space;
pub mod sub_path;

/// Why a volume could not be set up or taken down; worded as upstream, for events.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// An object that the volume refers to does not exist.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object exists, a key that the volume needs does not.
    #[error("references non-existent {kind} key: {key}")]
    Key {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// A host path is not what the volume says.
    #[error("hostPath type check failed: {0}")]
    HostPath(String),
    /// A path that leaves its volume.
    #[error("{0}")]
    Path(String),
    /// The API answered with an error.
    #[error("{0}")]
    Api(String),
    /// A fact about the pod cannot be told.
    #[error(transparent)]
    Field(#[from] crate::downward::FieldError),
    /// A storage driver's volume.
    #[error(transparent)]
    Csi(#[from] crate::csi::CsiError),
    /// This kubelet has no such kind of volume (yet).
    #[error("volume type {0} is not supported by this kubelet")]
    Unsupported(&'static str),
    /// An emptyDir cannot be in what it is to be in.
    #[error("{0}")]
    Medium(String),
    /// Nothing is tried with the volume: its claim cannot be used, or there is no such kind of volumes.
    #[error("{0}")]
    Unprocessed(String),
    /// A step that has a name of its own in events failed.
    #[error("{error}")]
    Step {
        /// `WaitForAttach failed`
        step: &'static str,
        /// Why.
        error: String,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl VolumeError {
    /// Nothing failed: others are not done yet.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::Csi(error) if error.is_waiting())
    }

    /// COMPAT: what failed, as events say it.
    pub fn step(&self, block: bool) -> String {
        match (self, block) {
            (Self::Step { step, .. }, false) => format!("MountVolume.{step}"),
            (Self::Step { step: kinds::disk::BEFORE, .. }, true) => {
                "MapVolume.NewBlockVolumeMapper initialization failed".into()
            }
            (Self::Step { step, .. }, true) => format!("MapVolume.{step}"),
            (_, false) => "MountVolume.SetUp failed".into(),
            (_, true) => "MapVolume.SetUpDevice failed".into(),
        }
    }
}

/// Wraps an I/O error with what was tried.
pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> VolumeError {
    let what = what.into();
    move |source| VolumeError::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_name_the_step_that_failed() {
        let attach = VolumeError::Step { step: "WaitForAttach failed", error: "no".into() };
        assert_eq!(attach.step(false), "MountVolume.WaitForAttach failed");
        assert_eq!(attach.step(true), "MapVolume.WaitForAttach failed");
        let before = VolumeError::Step { step: kinds::disk::BEFORE, error: "no".into() };
        assert_eq!(before.step(false), "MountVolume.NewMounter initialization failed");
        assert_eq!(before.step(true), "MapVolume.NewBlockVolumeMapper initialization failed");
        assert_eq!(VolumeError::Path("no".into()).step(false), "MountVolume.SetUp failed");
        assert_eq!(VolumeError::Path("no".into()).step(true), "MapVolume.SetUpDevice failed");
    }
}
