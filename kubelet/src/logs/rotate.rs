//! Rotation: a log that grew too large is renamed, the runtime reopens it, older ones are compressed
//! and the oldest removed. A log is renamed before it is reopened: no line is lost.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use crate::cri::Runtime;

/// When to rotate, and how many files to keep.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes.
    pub max_size: u64,
    /// Files of one container, the current one included; at least 2.
    pub max_files: usize,
}

/// Rotates the log of a running container if it is too large.
pub async fn rotate(runtime: &Runtime, id: &str, log: &Path, limits: Limits) -> io::Result<()> {
    let size = match std::fs::metadata(log) {
        Ok(meta) => meta.len(),
        // The runtime was told to reopen it and did not: ask again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let _ = runtime.reopen_log(id).await;
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if size < limits.max_size {
        return Ok(());
    }
    let owned = log.to_owned();
    let cleaned = tokio::task::spawn_blocking(move || clean(&owned, limits.max_files));
    cleaned.await.map_err(io::Error::other)??;
    let rotated = PathBuf::from(format!("{}.{}", log.display(), Timestamp::now().strftime("%Y%m%d-%H%M%S")));
    std::fs::rename(log, &rotated)?;
    if let Err(error) = runtime.reopen_log(id).await {
        // The runtime still writes to the old file: give it its name back.
        std::fs::rename(&rotated, log)?;
        return Err(io::Error::other(error));
    }
    Ok(())
}

/// The rotated files of a log, oldest first.
pub fn rotated(log: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut files = crate::volume::actual::entries(dir)?;
    files.retain(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
            && path.extension().is_some_and(|end| end != "tmp")
    });
    Ok(files)
}

/// Removes the oldest files so that one more fits, and compresses all but the newest of the rest.
fn clean(log: &Path, max_files: usize) -> io::Result<()> {
    let mut files = rotated(log)?;
    // Two stay free: for the current log and the one that it is about to become.
    while files.len() + 2 > max_files && !files.is_empty() {
        std::fs::remove_file(files.remove(0))?;
    }
    for file in files.iter().filter(|file| file.extension().is_none_or(|end| end != "gz")) {
        compress(file)?;
    }
    Ok(())
}

fn compress(file: &Path) -> io::Result<()> {
    let target = PathBuf::from(format!("{}.gz", file.display()));
    let temporary = PathBuf::from(format!("{}.tmp", file.display()));
    let mut encoder = GzEncoder::new(std::fs::File::create(&temporary)?, Compression::default());
    io::copy(&mut std::fs::File::open(file)?, &mut encoder)?;
    encoder.finish()?.flush()?;
    std::fs::rename(&temporary, &target)?;
    std::fs::remove_file(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_the_rest_is_compressed() {
        let dir = std::env::temp_dir().join(format!("kubelet-rotate-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        let log = dir.join("0.log");
        for name in ["0.log", "0.log.20260101-000000.gz", "0.log.20260102-000000", "0.log.20260103-000000"] {
            std::fs::write(dir.join(name), "text").unwrap();
        }
        clean(&log, 4).unwrap();
        let names: Vec<String> = rotated(&log)
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["0.log.20260102-000000.gz", "0.log.20260103-000000.gz"]);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
