//! Unix signals as events: termination (SIGTERM, SIGINT) for [`crate::shutdown`], SIGHUP for those
//! that reload on it.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::shutdown::Shutdown;

/// Fires `shutdown` on the first SIGTERM or SIGINT; exits with code 1 on the second.
pub(crate) fn trigger_on_termination(shutdown: Shutdown) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "Shutting down");
        shutdown.trigger();
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "Second signal: exiting without waiting");
        std::process::exit(1);
    });
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// SIGHUPs, one item each. From the first call on, SIGHUP no longer ends the process.
///
/// # Errors
/// When the handler cannot be installed.
pub fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}
