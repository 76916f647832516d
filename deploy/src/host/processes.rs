//! Processes by /proc: who runs, whether a pid is still the process that we meant, ending them.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The pids of all processes.
pub fn all() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Clock ticks from boot to its start.
    pub started: u64,
}

impl Identity {
    /// The process that has `pid` now; `None` when there is none, or but a zombie.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        // Fields 3 (state) and 22 (starttime) of proc_pid_stat(5).
        (*fields.first()? != "Z").then_some(Self { pid, started: fields.get(19)?.parse().ok()? })
    }

    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal, if the process is still the same. Losing the race with its end is no error.
    pub fn signal(self, signal: Signal) {
        if self.alive() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// SIGTERM, then SIGKILL after `patience`. Returns once it is gone.
    pub fn end(self, patience: Duration) {
        self.signal(Signal::SIGTERM);
        let started = Instant::now();
        while self.alive() {
            if started.elapsed() > patience {
                self.signal(Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The words of a process's command line.
pub fn command_line(pid: i32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes
        .split(|b| *b == 0)
        .filter(|w| !w.is_empty())
        .map(|w| String::from_utf8_lossy(w).into_owned())
        .collect()
}

/// A pid file's process, if it is the one that was written there.
pub fn from_pid_file(file: &Path) -> Option<Identity> {
    let identity: Identity = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    identity.alive().then_some(identity)
}

/// The children of each process, by parent.
pub fn children() -> std::collections::HashMap<i32, Vec<i32>> {
    let mut children: std::collections::HashMap<i32, Vec<i32>> = std::collections::HashMap::new();
    for pid in all() {
        let parent = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| {
            let rest = &stat[stat.rfind(')')? + 1..];
            rest.split_whitespace().nth(1)?.parse().ok()
        });
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_tell_processes_apart_and_end_them() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let identity = Identity::of(child.id() as i32).unwrap();
        assert!(identity.alive());
        assert!(!Identity { started: identity.started + 1, ..identity }.alive());
        assert!(children()[&(std::process::id() as i32)].contains(&identity.pid));
        identity.end(Duration::from_secs(30));
        assert!(!identity.alive());
        child.wait().unwrap();
    }
}
