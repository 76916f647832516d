//! The store under a deterministic simulation: kvstore's own log, recovery, state machine, watches and
//! snapshots and openraft, one to six members in one thread and virtual time, on disks and a network
//! that are as bad as they may be (`disk`, `network`). A run follows from its seed.
//!
//! In half of the runs the members change meanwhile (`operator`); `STORE_CHANGES=0` keeps them as they are.
//!
//! Real in it: snapshots are files, and what was finished counts as synced. Not in it: gRPC, TLS, sled,
//! the clock that ends leases. Those are for the processes of `campaign`.
//!
//! `STORE_SIMULATIONS` sets how many seeds are run, from `STORE_SEED` (or 1) on.

mod changes;
mod disk;
mod member;
mod network;
mod operator;
mod world;

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use world::Count;

thread_local! {
    /// What a task of this thread's run panicked of: openraft's, whose end looks like that of a process.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn listen_for_panics() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANIC.replace(Some(panic.to_string()));
            tell(panic);
        }));
    });
}

/// Runs something in a thread, a time and a folder of its own; all dice follow from the seed. No panic is
/// overlooked, whoever catches it.
fn in_simulation<T: Send + 'static, F: Future<Output = Result<T>>>(
    seed: u64,
    run: impl FnOnce(PathBuf) -> F + Send + 'static,
) -> Result<T> {
    let work = move || {
        kvstore::raft::runtime::simulate(seed);
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let result = runtime.block_on(run(folder.path().to_owned()));
        match PANIC.take() {
            Some(panic) => Err(anyhow!("{panic}")),
            None => result,
        }
    };
    listen_for_panics();
    let ended = std::thread::Builder::new().name(format!("seed {seed}")).spawn(work)?.join();
    let told = ended.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        anyhow!("panicked: {}", text.unwrap_or_default())
    });
    told.flatten()
}

/// One run with everything that dice can do.
fn simulate(seed: u64, changes: bool) -> Result<Count> {
    in_simulation(seed, async move |folder| world::run(seed, changes, &folder).await)
        .with_context(|| format!("STORE_SEED={seed} STORE_SIMULATIONS=1 fails"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Whether members change in half of the runs.
fn changes() -> bool {
    number("STORE_CHANGES") != Some(0)
}

/// One seed, to be looked at: it tells what it does.
pub fn alone() -> bool {
    number("STORE_SIMULATIONS") == Some(1)
}

#[test]
fn guarantees_hold_in_simulated_runs() -> Result<()> {
    let first = number("STORE_SEED").unwrap_or(1);
    // Unasked, as many as there is time for.
    let wanted = number("STORE_SIMULATIONS");
    let deadline = Instant::now() + Duration::from_secs(20);
    let next = AtomicU64::new(first);
    let more = |seed: u64| match wanted {
        Some(wanted) => seed < first + wanted,
        None => Instant::now() < deadline,
    };
    let runs = || -> Result<(usize, Count)> {
        let (mut runs, mut sum) = (0, Count::default());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !more(seed) {
                return Ok((runs, sum));
            }
            let count = simulate(seed, changes())?;
            runs += 1;
            sum.operations += count.operations;
            sum.unknown += count.unknown;
            sum.revisions += count.revisions;
            sum.disk_calls += count.disk_calls;
            sum.crashes += count.crashes;
            sum.faults += count.faults;
            sum.changes += count.changes;
        }
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(runs)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it catches panics")).collect()
    });
    let (mut runs, mut revisions) = (0, 0);
    for result in results {
        let (here, sum) = result?;
        eprintln!("{here} runs from seed {first}: {sum:?}, no violation");
        (runs, revisions) = (runs + here, revisions + sum.revisions);
    }
    assert!(
        runs > 0 && revisions > 10 * runs,
        "hardly anything happened: {runs} runs, {revisions} revisions"
    );
    Ok(())
}

#[test]
fn a_seed_tells_the_whole_run() -> Result<()> {
    for seed in [3, 4, 5, 6] {
        let run = || simulate(seed, true).map(|count| count.fingerprint);
        assert_eq!(run()?, run()?, "seed {seed}");
    }
    Ok(())
}

/// What each of them found stands beside it; a change of the dice may take them elsewhere.
#[test]
fn seeds_that_once_failed_pass() -> Result<()> {
    // 1012: a start that meets a failing sync. 2026, 2632: after an append had failed, those that waited
    // behind it were written with a gap before them. 2737: after the very first append had failed, the vote
    // was saved; the next start took the cluster for one that has begun, and knew no members.
    for seed in [1012, 2026, 2632, 2737] {
        simulate(seed, false)?;
    }
    // 10947: who leads anew had not applied yet that a member waits for its vote, and never looked again.
    // 38: openraft panicked, in debug builds, of a change that a leader made after it had been removed.
    for seed in [38, 10947] {
        simulate(seed, true)?;
    }
    Ok(())
}
