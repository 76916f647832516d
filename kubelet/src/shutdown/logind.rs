//! What logind is asked: to be told of a shutdown, and to wait with it as long as a lock is held
//! (<https://www.freedesktop.org/wiki/Software/systemd/inhibit/>). Blocking.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use crate::dbus::message::Value;
use crate::dbus::{Connection, Error, Target};

const MANAGER: Target = Target {
    service: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
};
const PROPERTIES: Target = Target { interface: "org.freedesktop.DBus.Properties", ..MANAGER };
const SYSTEMD: Target = Target {
    service: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
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

fn bus(what: &'static str) -> impl FnOnce(Error) -> LogindError {
    move |source| LogindError::Bus { what, source }
}

/// The connection to logind.
pub struct Logind(Connection);

impl Logind {
    /// Connects, and sees to it that logind waits for `wanted`.
    pub fn open(wanted: Duration) -> Result<Self, LogindError> {
        let connection = Connection::system().map_err(bus("failed connecting to the system bus"))?;
        let mut logind = Self(connection);
        if logind.delay()? < wanted {
            logind.override_delay(wanted)?;
        }
        let subscribed = logind.0.subscribe(MANAGER.interface, "PrepareForShutdown");
        subscribed.map_err(bus("failed to monitor shutdown"))?;
        Ok(logind)
    }

    /// How long logind waits for those who hold locks.
    fn delay(&mut self) -> Result<Duration, LogindError> {
        let what = "failed reading InhibitDelayMaxUSec property from logind";
        let body = [Value::str(MANAGER.interface), Value::str("InhibitDelayMaxUSec")];
        let answer = self.0.call(PROPERTIES, "Get", &body).map_err(bus(what))?;
        match answer.values.first() {
            Some(Value::Variant(inner)) if matches!(**inner, Value::Uint64(_)) => {
                let Value::Uint64(micros) = **inner else { return Ok(Duration::ZERO) };
                Ok(Duration::from_micros(micros))
            }
            _ => Err(bus(what)(Error::Malformed(crate::dbus::message::Malformed(
                "InhibitDelayMaxUSec is not a uint64",
            )))),
        }
    }

    fn override_delay(&mut self, wanted: Duration) -> Result<(), LogindError> {
        let path = Path::new(OVERRIDES).join(OVERRIDE);
        let text = format!("# Kubelet logind override\n[Login]\nInhibitDelayMaxSec={}\n", wanted.as_secs());
        std::fs::create_dir_all(OVERRIDES)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|source| LogindError::Override { path: path.display().to_string(), source })?;
        // SIGHUP: read the settings again.
        let body = [Value::str("systemd-logind.service"), Value::str("all"), Value::Int32(1)];
        self.0.call(SYSTEMD, "KillUnit", &body).map_err(bus("unable to reload logind conf"))?;
        let mut current = Duration::ZERO;
        for look in 0..LOOKS {
            current = self.delay()?;
            if current >= wanted {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100) * 2_u32.pow(look));
        }
        Err(LogindError::Unheeded { wanted, current })
    }

    /// Takes a lock: while it is held, logind waits with a shutdown.
    pub fn lock(&mut self) -> Result<OwnedFd, LogindError> {
        let what = "failed creating systemd inhibitor";
        let body = ["shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay"];
        let answer = self.0.call(MANAGER, "Inhibit", &body.map(Value::str)).map_err(bus(what))?;
        answer
            .handles
            .into_iter()
            .next()
            .ok_or_else(|| bus(what)(Error::Malformed(crate::dbus::message::Malformed("no file descriptor"))))
    }

    /// Waits for the next word: a shutdown begins, or was called off.
    pub fn wait(&mut self) -> Result<bool, LogindError> {
        let told = self.0.signal("PrepareForShutdown", None).map_err(bus("failed to monitor shutdown"))?;
        Ok(told.first() == Some(&Value::Bool(true)))
    }
}
