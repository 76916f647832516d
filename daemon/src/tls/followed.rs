//! A configuration made of files, made again when they change: new connections take the newest one
//! that could be made.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{TlsError, reload};
use crate::shutdown::Shutdown;

/// What a configuration is made of.
pub trait Material: Debug + Send + Sync + 'static {
    type Config: Debug + Send + Sync + 'static;
    /// What the log calls it.
    const NAME: &'static str;

    fn files(&self) -> Vec<PathBuf>;

    /// # Errors
    /// When a file is missing, malformed or does not fit the others.
    fn build(&self) -> Result<Self::Config, TlsError>;
}

/// A configuration that follows its files.
#[derive(Debug)]
pub struct Followed<M: Material> {
    material: M,
    current: ArcSwap<M::Config>,
}

impl<M: Material> Followed<M> {
    /// Reads the files once.
    ///
    /// # Errors
    /// When a file is missing, malformed or does not fit the others.
    pub fn load(material: M) -> Result<Arc<Self>, TlsError> {
        let config = material.build()?;
        Ok(Arc::new(Self { material, current: ArcSwap::from_pointee(config) }))
    }

    /// The configuration for the next connection.
    pub fn config(&self) -> Arc<M::Config> {
        self.current.load_full()
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// As [`Followed::load`]; the configuration then stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(self.material.build()?));
        Ok(())
    }

    /// Follows the files until shutdown.
    pub fn watch(self: &Arc<Self>, shutdown: Shutdown) {
        let this = self.clone();
        reload::watch_files(M::NAME, self.material.files(), shutdown, move || this.reload());
    }
}
