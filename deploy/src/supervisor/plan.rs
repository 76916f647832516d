//! When to restart a daemon that stopped, and which daemons to restart because they changed.

use std::time::Duration;

/// A daemon that ran this long was well: its earlier failures are forgotten.
const WELL: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(30);
/// The first restart is at once, but for a breath: one kill is no pattern.
const FIRST: Duration = Duration::from_millis(200);

/// Failures in a row, counting the one after `uptime`. An end that was `asked` for says nothing of the daemon.
pub fn failures(before: u32, uptime: Duration, asked: bool) -> u32 {
    if asked || uptime >= WELL { 1 } else { before.saturating_add(1) }
}

/// How long to wait before the next start.
pub fn delay(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        1 => FIRST,
        n => LONGEST.min(Duration::from_secs(1 << (n - 2).min(10))),
    }
}

/// What a running daemon was started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    pub name: &'static str,
    /// Of its program, flags and files.
    pub digest: String,
}

/// The daemons that run from something else than they should, in starting order.
pub fn changed(running: &[Fingerprint], wanted: &[Fingerprint]) -> Vec<&'static str> {
    let same = |print: &&Fingerprint| wanted.contains(print);
    running.iter().filter(|print| !same(print)).map(|print| print.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_slow_down_to_a_limit_and_recover() {
        let mut count = 0;
        let delays: Vec<u64> = (0..8)
            .map(|_| {
                count = failures(count, Duration::from_secs(1), false);
                delay(count).as_millis() as u64
            })
            .collect();
        assert_eq!(delays, [200, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert_eq!(failures(7, WELL, false), 1);
        assert_eq!(failures(7, Duration::from_secs(1), true), 1);
        assert_eq!(delay(failures(u32::MAX, Duration::ZERO, false)), LONGEST);
    }

    #[test]
    fn only_changed_daemons_restart() {
        let print = |name, digest: &str| Fingerprint { name, digest: digest.into() };
        let running = [print("a", "1"), print("b", "1"), print("c", "1")];
        let wanted = [print("a", "1"), print("b", "2"), print("d", "1")];
        assert_eq!(changed(&running, &wanted), ["b", "c"]);
        assert_eq!(changed(&running, &running), Vec::<&str>::new());
    }
}
