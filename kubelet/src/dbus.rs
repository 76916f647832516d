//! Connections to systemd and logind over D-Bus, for callers that do not wait themselves.
//!
//! What is done for control groups blocks like all other work on files; [`wait`] does it on a runtime of its
//! own, so that it can be called from everywhere.

use std::sync::LazyLock;
use std::time::Duration;

use zbus::Connection;
use zbus::connection::Builder;

/// systemd's own socket, on hosts without a bus.
const SYSTEMD_SOCKET: &str = "unix:path=/run/systemd/private";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(25);

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("dbus").enable_all();
    builder.build().expect("a thread can be started")
});

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection, or the peer's answer.
    #[error("{}", text(.0))]
    Bus(#[source] Box<zbus::Error>),
    /// Nothing came in time.
    #[error("no answer on D-Bus in time")]
    Timeout,
}

impl From<zbus::Error> for Error {
    fn from(error: zbus::Error) -> Self {
        Self::Bus(Box::new(error))
    }
}

impl Error {
    /// The connection went away under the call.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Bus(error) if matches!(**error, zbus::Error::InputOutput(_)))
    }

    /// The peer answered with this error (`org.freedesktop.systemd1.UnitExists`).
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Bus(error) => match &**error {
                zbus::Error::MethodError(name, ..) => Some(name.as_str()),
                _ => None,
            },
            Self::Timeout => None,
        }
    }
}

/// The peer's words, without the name of the error.
fn text(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(message), _) => message.clone(),
        other => other.to_string(),
    }
}

/// The system bus.
pub async fn system() -> Result<Connection, Error> {
    Ok(Builder::system()?.method_timeout(PATIENCE).build().await?)
}

/// systemd, by the bus or without it.
pub async fn systemd() -> Result<Connection, Error> {
    match system().await {
        Ok(connection) => Ok(connection),
        Err(error) => {
            let own = Builder::address(SYSTEMD_SOCKET)?.p2p().method_timeout(PATIENCE).build().await;
            own.map_err(|_| error)
        }
    }
}

/// Does something with D-Bus and waits for it.
pub fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    RUNTIME.spawn(async move { _ = sender.send(work.await) });
    receiver.recv().expect("the work answers, and does not panic")
}
