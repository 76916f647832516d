//! The kvstore daemon: flags, logging, signals; everything else is the library.
//!
//! The allocator is jemalloc, measured: mimalloc touches what sled only reserves (30 MB more when idle),
//! and in the system's, each key that stays pins the buffers of the request that brought it.

use std::process::ExitCode;

use clap::Parser;
use daemon::flags::Parsed;
use daemon::shutdown::Shutdown;
use kvstore::environment;
use kvstore::flags::Flags;
use kvstore::migrate::{self, Migrate};
use kvstore::restore::{self, SnapshotCommand};
use kvstore::{api, server};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads at its start: pages that nothing uses any more go back after a second, not after ten,
/// so that what a burst of writes took does not stay (decision 5).
///
/// SAFETY: jemalloc declares this name as a pointer to a constant text that ends in a zero byte, and so it is.
#[allow(unsafe_code, reason = "the name is the allocator's own")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 20] = b"dirty_decay_ms:1000\0";

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(word) if word == "snapshot" => {
            return tool(|words| restore::run(SnapshotCommand::parse_from(words)));
        }
        Some(word) if word == "migrate" => return tool(|words| migrate::run(Migrate::parse_from(words))),
        _ => {}
    }
    let (flags, warnings) = match parse() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let verbosity = if flags.debug || flags.log_level == "debug" { 4 } else { 0 };
    daemon::logging::init(flags.log_form(), verbosity);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    daemon::tls::install_default_provider();
    match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "kvstore cannot run");
            ExitCode::FAILURE
        }
    }
}

/// `kvstore snapshot …`, `kvstore migrate …`: tools, no daemon.
fn tool(run: impl FnOnce(std::iter::Skip<std::env::ArgsOs>) -> anyhow::Result<()>) -> ExitCode {
    daemon::tls::install_default_provider();
    match run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kvstore: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The flags, and what there is to say about where they came from.
fn parse() -> Result<(Flags, Vec<String>), ExitCode> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    let variables: Vec<_> = variables.collect();
    let words = environment::words(std::env::args_os(), &variables).map_err(|error| {
        eprintln!("kvstore: {error}");
        ExitCode::FAILURE
    })?;
    match daemon::flags::try_parse_from::<Flags, _>(words.words) {
        Ok(Parsed::Flags(flags)) => Ok((flags, words.warnings)),
        Ok(Parsed::Version(_)) => {
            let version = env!("CARGO_PKG_VERSION");
            println!("kvstore Version: {version}\netcd API Version: {}", api::SERVER_VERSION);
            Err(ExitCode::SUCCESS)
        }
        Err(error) => {
            // A closed pipe is no reason to panic.
            error.print().ok();
            Err(if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
    }
}

#[tokio::main]
async fn run(flags: Flags) -> anyhow::Result<()> {
    server::run(flags, Shutdown::on_signals()?).await
}
