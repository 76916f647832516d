//! What logind is asked: to be told of a shutdown, and to wait with it as long as a lock is held
//! (<https://www.freedesktop.org/wiki/Software/systemd/inhibit/>).

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use zbus::zvariant::{self, OwnedValue};
use zbus::{Connection, MatchRule, MessageStream, message};

use crate::dbus::{self, Error};

const SERVICE: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const SYSTEMD: (&str, &str, &str) =
    ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager");
/// Where logind is told how long it may be kept waiting.
const OVERRIDES: &str = "/etc/systemd/logind.conf.d";
/// COMPAT: upstream's file: whoever follows whom replaces it.
const OVERRIDE: &str = "99-kubelet.conf";
/// COMPAT: upstream's patience: five looks, each twice as long after the one before.
const LOOKS: u32 = 5;

/// Why a shutdown cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum LogindError {
    /// logind, or the bus.
    #[error("{what}: {source}")]
    Bus {
        /// What was asked.
        what: &'static str,
        /// Why there was no answer.
        source: Error,
    },
    /// Its settings cannot be written.
    #[error("failed writing logind shutdown inhibit override file {path}: {source}")]
    Override {
        /// Where.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It goes on with its old settings.
    #[error(
        "node shutdown manager was timed out after {LOOKS} attempts waiting for logind InhibitDelayMaxSec to update to {wanted:?} (ShutdownGracePeriod), current value is {current:?}"
    )]
    Unheeded {
        /// What was asked for.
        wanted: Duration,
        /// What it is.
        current: Duration,
    },
}

fn bus<E: Into<Error>>(what: &'static str) -> impl FnOnce(E) -> LogindError {
    move |source| LogindError::Bus { what, source: source.into() }
}

/// The connection to logind.
pub struct Logind {
    connection: Connection,
    words: MessageStream,
}

impl Logind {
    /// Connects, and sees to it that logind waits for `wanted`.
    pub async fn open(wanted: Duration) -> Result<Self, LogindError> {
        let connection = dbus::system().await.map_err(bus("failed connecting to the system bus"))?;
        if delay(&connection).await? < wanted {
            override_delay(&connection, wanted).await?;
        }
        let words = subscribe(&connection).await.map_err(bus("failed to monitor shutdown"))?;
        Ok(Self { connection, words })
    }

    /// Takes a lock: while it is held, logind waits with a shutdown.
    pub async fn lock(&self) -> Result<OwnedFd, LogindError> {
        let body = ("shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay");
        let lock = async {
            let answer =
                self.connection.call_method(Some(SERVICE), PATH, Some(MANAGER), "Inhibit", &body).await?;
            answer.body().deserialize::<zvariant::OwnedFd>()
        };
        Ok(lock.await.map_err(bus("failed creating systemd inhibitor"))?.into())
    }

    /// Waits for the next word: a shutdown begins, or was called off.
    pub async fn wait(&mut self) -> Result<bool, LogindError> {
        let ended = || zbus::Error::InputOutput(Arc::new(std::io::ErrorKind::UnexpectedEof.into()));
        let told = self.words.next().await.unwrap_or_else(|| Err(ended()));
        told.and_then(|told| told.body().deserialize()).map_err(bus("failed to monitor shutdown"))
    }
}

async fn subscribe(connection: &Connection) -> Result<MessageStream, zbus::Error> {
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .interface(MANAGER)?
        .member("PrepareForShutdown")?
        .path(PATH)?;
    MessageStream::for_match_rule(rule.build(), connection, None).await
}

/// How long logind waits for those who hold locks.
async fn delay(connection: &Connection) -> Result<Duration, LogindError> {
    let body = (MANAGER, "InhibitDelayMaxUSec");
    let asked = async {
        let answer = connection.call_method(Some(SERVICE), PATH, Some(PROPERTIES), "Get", &body).await?;
        let value = answer.body().deserialize::<OwnedValue>()?;
        u64::try_from(value).map_err(zbus::Error::from)
    };
    let micros = asked.await.map_err(bus("failed reading InhibitDelayMaxUSec property from logind"))?;
    Ok(Duration::from_micros(micros))
}

async fn override_delay(connection: &Connection, wanted: Duration) -> Result<(), LogindError> {
    let path = Path::new(OVERRIDES).join(OVERRIDE);
    let text = format!("# Kubelet logind override\n[Login]\nInhibitDelayMaxSec={}\n", wanted.as_secs());
    std::fs::create_dir_all(OVERRIDES)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|source| LogindError::Override { path: path.display().to_string(), source })?;
    // SIGHUP: read the settings again.
    let (service, object, manager) = SYSTEMD;
    let body = ("systemd-logind.service", "all", 1_i32);
    let told = connection.call_method(Some(service), object, Some(manager), "KillUnit", &body).await;
    told.map_err(bus("unable to reload logind conf"))?;
    let mut current = Duration::ZERO;
    for look in 0..LOOKS {
        current = delay(connection).await?;
        if current >= wanted {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100) * 2_u32.pow(look)).await;
    }
    Err(LogindError::Unheeded { wanted, current })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    /// Against the machine's logind, or what answers in its place at `DBUS_SYSTEM_BUS_ADDRESS`.
    #[tokio::test]
    async fn logind_gives_locks() {
        let there = crate::cgroup::slices::booted() || std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_some();
        if !there || !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root and logind");
            return;
        }
        let logind = Logind::open(Duration::ZERO).await.unwrap();
        let (first, second) = (logind.lock().await.unwrap(), logind.lock().await.unwrap());
        assert_ne!(first.as_raw_fd(), second.as_raw_fd());
    }
}
