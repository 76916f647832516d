//! The last words of a container: the file at `terminationMessagePath`, or the end of its log.

use std::io::Read;
use std::path::Path;

use crate::cri::observed::{Container, ObservedPod, State};
use crate::logs::read::last_words;

/// Most of the file that is read, in bytes.
const FILE_LIMIT: u64 = 4096;
/// Most of the log, in bytes and lines.
const LOG_LIMIT: usize = 2048;
const LOG_LINES: u64 = 80;

/// Adds the termination messages to the ended containers.
pub fn fill(observed: &mut ObservedPod) {
    for container in observed.containers.iter_mut().filter(|container| container.state == State::Exited) {
        let words = words(container);
        if words.is_empty() {
            continue;
        }
        if !container.message.is_empty() {
            container.message.push_str(": ");
        }
        container.message.push_str(&words);
    }
}

fn words(container: &Container) -> String {
    let path = &container.facts.termination_path;
    let file = container.mounts.iter().find(|(inside, _)| inside == path).map(|(_, outside)| outside);
    let text = file.filter(|_| !path.is_empty()).map(|file| read(Path::new(file))).unwrap_or_default();
    let fall_back = container.facts.termination_policy == "FallbackToLogsOnError" && container.exit_code != 0;
    if text.is_empty() && fall_back && !container.log_path.is_empty() {
        return last_words(Path::new(&container.log_path), LOG_LINES, LOG_LIMIT).unwrap_or_default();
    }
    text
}

fn read(path: &Path) -> String {
    let Ok(file) = std::fs::File::open(path) else { return String::new() };
    let mut text = Vec::new();
    // A message that cannot be read is no message: the container has ended all the same.
    let _ = file.take(FILE_LIMIT).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
