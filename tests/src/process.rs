//! What a process has cost so far, as /proc tells it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Clock ticks in a second, as /proc counts: Linux has shown a hundredth for ever.
const TICKS: f64 = 100.0;

/// Bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub resident: u64,
    /// Of it what is no page of a file: the heap, stacks, what a program has changed of itself.
    pub anonymous: u64,
    /// The most that was resident, since the start or since [`forget_peak`].
    pub peak: u64,
}

/// Seconds of CPU that a process and its ended children have used.
pub fn cpu(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process ended")?;
    let after = stat.rsplit_once(')').context("no name in stat")?.1;
    // utime, stime, cutime, cstime are the fields 14 to 17; the state after the name is the third.
    let ticks = after.split_whitespace().skip(11).take(4).filter_map(|ticks| ticks.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / TICKS)
}

pub fn memory(pid: u32) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process ended")?;
    let line = |name: &str| {
        let found = status.lines().find_map(|one| one.strip_prefix(name)?.strip_prefix(':'));
        let kib = found.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        anyhow::Ok(kib.with_context(|| format!("no {name}"))? * 1024)
    };
    Ok(Memory { resident: line("VmRSS")?, anonymous: line("RssAnon")?, peak: line("VmHWM")? })
}

/// The peak counts anew from what is resident now (`/proc/PID/clear_refs`, 5).
pub fn forget_peak(pid: u32) -> Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("forgetting the peak of memory")
}

/// Asks it to end (SIGTERM).
pub fn terminate(pid: u32) -> Result<()> {
    let done = Command::new("kill").arg(pid.to_string()).status()?;
    ensure!(done.success(), "kill {pid}: {done}");
    Ok(())
}
