//! What systemd is told, in the words of sd_notify(3): that the daemon is ready, for units of `Type=notify`
//! (Debian's and kubespray's of etcd, many of kube-apiserver), which would be stopped without it; and that it is
//! still well, for units with `WatchdogSec=`.

use std::io;
use std::num::ParseIntError;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use crate::health::Health;

/// Where systemd listens; an at sign stands for the zero byte of an abstract address.
const SOCKET: &str = "NOTIFY_SOCKET";
/// Microseconds between signs of life.
const WATCHDOG: &str = "WATCHDOG_USEC";
/// The process that they are to come from; any when missing.
const WATCHED: &str = "WATCHDOG_PID";
/// The shortest time that makes sense is longer than this.
const SHORTEST: Duration = Duration::from_secs(1);

/// Why the watchdog cannot be followed: worded as upstream's kubelet does.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    #[error("configure watchdog: error converting {WATCHDOG}: {0}")]
    Time(ParseIntError),
    #[error("configure watchdog: error {WATCHDOG} must be a positive number")]
    Zero,
    #[error("configure watchdog: error converting {WATCHED}: {0}")]
    Process(ParseIntError),
    #[error("configure watchdog timeout too small: {0:?}")]
    TooSmall(Duration),
}

/// Says once that the daemon is ready, if anyone wants to know.
pub fn announce() {
    match tell(b"READY=1") {
        Ok(true) => tracing::info!("successfully notified init daemon"),
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "failed to notify systemd for readiness"),
    }
}

/// How long systemd waits for a sign of life from this process; `None`: for ever.
///
/// # Errors
/// The environment makes no sense.
pub fn watchdog() -> Result<Option<Duration>, WatchdogError> {
    let read = |name| std::env::var(name).ok();
    patience(read(WATCHDOG).as_deref(), read(WATCHED).as_deref(), std::process::id())
}

fn patience(time: Option<&str>, watched: Option<&str>, own: u32) -> Result<Option<Duration>, WatchdogError> {
    let Some(time) = time.filter(|time| !time.is_empty()) else { return Ok(None) };
    let time = Duration::from_micros(time.parse().map_err(WatchdogError::Time)?);
    if time.is_zero() {
        return Err(WatchdogError::Zero);
    }
    if let Some(watched) = watched.filter(|watched| !watched.is_empty())
        && watched.parse::<u32>().map_err(WatchdogError::Process)? != own
    {
        return Ok(None);
    }
    if time <= SHORTEST {
        return Err(WatchdogError::TooSmall(time));
    }
    Ok(Some(time))
}

/// Gives a sign of life twice in each `patience`, for ever, as long as all health checks pass.
pub async fn stay_alive(health: Health, patience: Duration) {
    tracing::info!(interval = ?patience / 2, "Starting systemd watchdog with interval");
    let mut turns = tokio::time::interval(patience / 2);
    loop {
        turns.tick().await;
        if let Some(answer) = health.answer("/healthz", None).await
            && !answer.status.is_success()
        {
            tracing::error!(
                reason = answer.body,
                "Do not notify watchdog this iteration as the kubelet is reportedly not healthy"
            );
        } else if let Err(error) = tell(b"WATCHDOG=1") {
            tracing::error!(%error, "Failed to notify watchdog");
        }
    }
}

/// Tells systemd; false: nobody wants to know.
fn tell(what: &[u8]) -> io::Result<bool> {
    let Some(socket) = std::env::var_os(SOCKET).filter(|socket| !socket.is_empty()) else { return Ok(false) };
    notify(socket.as_bytes(), what).map(|()| true)
}

fn notify(socket: &[u8], what: &[u8]) -> io::Result<()> {
    let address = match socket {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(path)))?,
    };
    UnixDatagram::unbound()?.send_to_addr(what, &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_on_either_kind_of_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstracted = format!("daemon-readiness-{}", std::process::id());
        let check = |address: SocketAddr, socket: &[u8]| {
            let heard = UnixDatagram::bind_addr(&address).unwrap();
            notify(socket, b"READY=1").unwrap();
            let mut text = [0; 16];
            let length = heard.recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"READY=1");
        };
        check(SocketAddr::from_pathname(&path).unwrap(), path.as_os_str().as_bytes());
        let address = SocketAddr::from_abstract_name(&abstracted).unwrap();
        check(address, format!("@{abstracted}").as_bytes());
        assert!(notify(b"/no/such/socket", b"READY=1").is_err());
    }

    #[test]
    fn the_watchdog_is_for_whom_it_names_and_no_shorter_than_a_second() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(patience(None, None, 7).unwrap(), None);
        assert_eq!(patience(Some("60000000"), None, 7).unwrap(), minute);
        assert_eq!(patience(Some("60000000"), Some("7"), 7).unwrap(), minute);
        assert_eq!(patience(Some("60000000"), Some("8"), 7).unwrap(), None);
        for (time, watched, message) in [
            (
                "soon",
                None,
                "configure watchdog: error converting WATCHDOG_USEC: invalid digit found in string",
            ),
            ("0", None, "configure watchdog: error WATCHDOG_USEC must be a positive number"),
            (
                "9000000",
                Some("me"),
                "configure watchdog: error converting WATCHDOG_PID: invalid digit found in string",
            ),
            ("1000000", None, "configure watchdog timeout too small: 1s"),
        ] {
            assert_eq!(patience(Some(time), watched, 7).unwrap_err().to_string(), message);
        }
    }
}
