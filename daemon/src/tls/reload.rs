//! Following files: inotify on their folders wakes us, their contents decide.
//! Folders and not files are watched because renewals replace files by rename, and Secrets mounted
//! into a pod swap a symlink two levels up. A slow re-read covers what inotify cannot see.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use inotify::{Inotify, WatchMask};

use crate::logging::error_chain;
use crate::shutdown::Shutdown;

/// Renewals write several files; wait for the last of them.
const SETTLE: Duration = Duration::from_millis(200);
/// The correcting re-read.
const RECHECK: Duration = Duration::from_secs(60);

/// Calls `reload` whenever the contents of `files` have changed, until shutdown. `what` is for the
/// log. A failing reload is logged and tried again at the next change or re-check.
pub fn watch_files<E>(
    what: &'static str,
    files: impl IntoIterator<Item = PathBuf>,
    shutdown: Shutdown,
    reload: impl Fn() -> Result<(), E> + Send + 'static,
) where
    E: std::error::Error,
{
    let files: Vec<PathBuf> = files.into_iter().collect();
    if files.is_empty() {
        return;
    }
    // Before the task runs, so that no change after this call is missed.
    let mut seen = contents(&files);
    let mut events = folder_events(&files)
        .map_err(|e| tracing::warn!(what, error = %e, "Cannot watch files, falling back to re-reading them"))
        .ok();
    tokio::spawn(async move {
        loop {
            let changed = async {
                match &mut events {
                    Some(events) => drop(events.next().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.wait() => return,
                () = changed => {
                    if shutdown.unless(tokio::time::sleep(SETTLE)).await.is_none() {
                        return;
                    }
                }
                () = tokio::time::sleep(RECHECK) => {}
            }
            let now = contents(&files);
            if now == seen {
                continue;
            }
            match reload() {
                Ok(()) => {
                    tracing::info!(what, "Reloaded changed files");
                    seen = now;
                }
                Err(error) => tracing::error!(what, error = error_chain(&error), "Keeping the old files"),
            }
        }
    });
}

fn contents(files: &[PathBuf]) -> Vec<Option<Vec<u8>>> {
    files.iter().map(|f| std::fs::read(f).ok()).collect()
}

fn folder_events(files: &[PathBuf]) -> std::io::Result<inotify::EventStream<[u8; 4096]>> {
    let inotify = Inotify::init()?;
    let folders: BTreeSet<&Path> = files.iter().filter_map(|f| f.parent()).collect();
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        inotify.watches().add(
            folder,
            WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::CREATE | WatchMask::DELETE,
        )?;
    }
    inotify.into_event_stream([0; 4096])
}
