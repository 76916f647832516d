//! Slices: control groups that systemd makes. Limits are given as the unit's properties, so that systemd
//! does not undo them when it loads its units anew; the caller writes them into the files as well.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::Mutex;
use zbus::zvariant::{OwnedObjectPath, Value};
use zbus::{Connection, MatchRule, MessageStream, message};

use super::weight;
use crate::dbus::{self, Error};
use crate::placement::cpu_set::CpuSet;
use crate::resources::{CPU_PERIOD, PodLimits};

const SERVICE: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// How long a job of systemd may take.
const JOB: Duration = Duration::from_secs(30);

/// A property of a unit.
pub type Property = (String, Value<'static>);

fn property(name: &str, value: impl Into<Value<'static>>) -> Property {
    (name.to_owned(), value.into())
}

/// systemd is the machine's init system, as `sd_booted(3)` finds out.
pub fn booted() -> bool {
    std::fs::symlink_metadata("/run/systemd/system").is_ok_and(|found| found.is_dir())
}

/// COMPAT: systemd counts in whole percents of a CPU: a quota is rounded up to one, in the files as well.
pub fn rounded(quota: i64) -> i64 {
    if quota > 0 { per_second(quota) * CPU_PERIOD / 1_000_000 } else { quota }
}

/// Microseconds of CPU in a second, in whole percents.
fn per_second(quota: i64) -> i64 {
    ((quota * 1_000_000 / CPU_PERIOD) as u64).next_multiple_of(10_000).cast_signed()
}

/// A slice's limits as properties of its unit.
pub fn properties(limits: &PodLimits, pids: Option<i64>, v2: bool) -> Vec<Property> {
    let mut properties = Vec::new();
    let mut add = |name: &str, value: i64| {
        properties.push(property(name, value.cast_unsigned()));
    };
    if let Some(memory) = limits.memory.filter(|memory| *memory > 0) {
        add(if v2 { "MemoryMax" } else { "MemoryLimit" }, memory);
    }
    if let Some(shares) = limits.cpu_shares {
        if v2 { add("CPUWeight", weight(shares)) } else { add("CPUShares", shares) }
    }
    if let Some(quota) = limits.cpu_quota.filter(|quota| *quota != 0) {
        // -1, all bits: no limit.
        add("CPUQuotaPerSecUSec", if quota > 0 { per_second(quota) } else { -1 });
    }
    if let Some(pids) = pids.filter(|pids| *pids > 0) {
        add("TasksMax", pids);
    }
    if let Some(cpus) = limits.cpus.as_ref().filter(|_| v2) {
        properties.push(property("AllowedCPUs", bits(cpus)));
    }
    properties
}

/// A bit for each CPU, the lowest first.
fn bits(cpus: &CpuSet) -> Vec<u8> {
    let mut bytes = vec![0; cpus.iter().max().map_or(0, |last| last / 8 + 1)];
    for cpu in cpus.iter() {
        bytes[cpu / 8] |= 1 << (cpu % 8);
    }
    bytes
}

/// What every slice is made with; `parent` is the slice above it, if any.
fn frame(unit: &str, parent: Option<&str>, v2: bool) -> Vec<Property> {
    let mut properties = vec![property("Description", format!("libcontainer container {unit}"))];
    if let Some(parent) = parent {
        properties.push(property("Wants", vec![parent.to_owned()]));
    }
    let io = if v2 { "IOAccounting" } else { "BlockIOAccounting" };
    for name in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
        properties.push(property(name, true));
    }
    properties.push(property("DefaultDependencies", false));
    properties
}

/// The connection to systemd, made when first used and again after it broke.
#[derive(Clone, Debug, Default)]
pub struct Slices(Arc<Mutex<Option<Connection>>>);

impl Slices {
    /// Does something with systemd; once more where a connection of old has ended, as with a systemd that
    /// was since replaced.
    fn with<T, F>(&self, work: impl Fn(Connection) -> F + Send + 'static) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let held = Arc::clone(&self.0);
        dbus::wait(async move {
            let mut held = held.lock().await;
            let old = held.take();
            let again = old.is_some();
            let mut connection = match old {
                Some(connection) => connection,
                None => connect().await?,
            };
            let mut result = work(connection.clone()).await;
            if again && result.as_ref().is_err_and(Error::is_lost) {
                connection = connect().await?;
                result = work(connection.clone()).await;
            }
            if result.as_ref().map_or_else(|error| error.name().is_some(), |_| true) {
                *held = Some(connection);
            }
            result
        })
    }

    /// Makes a slice with its limits; one that is there stays as it is.
    pub fn start(&self, path: &str, limits: Vec<Property>, v2: bool) -> Result<(), Error> {
        let mut parts = path.rsplit('/').filter(|part| !part.is_empty());
        let unit = parts.next().unwrap_or_default().to_owned();
        let mut all = frame(&unit, parts.next(), v2);
        all.extend(limits);
        let all = Arc::new(all);
        self.with(move |connection| {
            let (unit, all) = (unit.clone(), Arc::clone(&all));
            async move {
                let none: Vec<(String, Vec<Property>)> = Vec::new();
                let body = (unit.as_str(), "replace", &*all, none);
                match job(&connection, "StartTransientUnit", &body).await {
                    Err(error) if error.name().is_some_and(|name| name.contains("UnitExists")) => Ok(()),
                    done => done,
                }
            }
        })
    }

    /// Changes a slice's limits until the next boot.
    pub fn set(&self, path: &str, limits: Vec<Property>) -> Result<(), Error> {
        let unit = path.rsplit('/').next().unwrap_or_default().to_owned();
        let limits = Arc::new(limits);
        self.with(move |connection| {
            let (unit, limits) = (unit.clone(), Arc::clone(&limits));
            async move {
                call(&connection, "SetUnitProperties", &(unit.as_str(), true, &*limits)).await.map(drop)
            }
        })
    }

    /// Ends a slice with all below it; one that is not there is no error.
    pub fn stop(&self, path: &str) -> Result<(), Error> {
        let unit = path.rsplit('/').next().unwrap_or_default().to_owned();
        self.with(move |connection| {
            let unit = unit.clone();
            async move {
                answered(job(&connection, "StopUnit", &(unit.as_str(), "replace")).await)?;
                // A failed unit is kept until this is said.
                answered(call(&connection, "ResetFailedUnit", &unit.as_str()).await.map(drop))
            }
        })
    }
}

/// An error that the peer answered with is none: there is nothing to stop.
fn answered(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.name().is_some() => Ok(()),
        other => other,
    }
}

async fn connect() -> Result<Connection, Error> {
    let connection = dbus::systemd().await?;
    // Already, where an error comes.
    answered(call(&connection, "Subscribe", &()).await.map(drop))?;
    Ok(connection)
}

async fn call<B>(connection: &Connection, method: &str, body: &B) -> Result<message::Message, Error>
where
    B: serde::Serialize + zbus::zvariant::DynamicType,
{
    // On its own socket systemd has no name.
    let service = connection.is_bus().then_some(SERVICE);
    Ok(connection.call_method(service, PATH, Some(MANAGER), method, body).await?)
}

/// Calls a method that starts a job, and waits for the job's end.
async fn job<B>(connection: &Connection, method: &str, body: &B) -> Result<(), Error>
where
    B: serde::Serialize + zbus::zvariant::DynamicType,
{
    let rule =
        MatchRule::builder().msg_type(message::Type::Signal).interface(MANAGER)?.member("JobRemoved")?;
    // Before the call: the job may be done when it is answered.
    let mut ends = MessageStream::for_match_rule(rule.build(), connection, Some(1024)).await?;
    let path: OwnedObjectPath = call(connection, method, body).await?.body().deserialize()?;
    let ended = async {
        while let Some(told) = ends.next().await {
            let (_, job, _, _): (u32, OwnedObjectPath, String, String) = told?.body().deserialize()?;
            if job == path {
                break;
            }
        }
        Ok(())
    };
    tokio::time::timeout(JOB, ended).await.map_err(|_| Error::Timeout)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limits: &PodLimits, v2: bool, expected: &[(&str, u64)]) {
        let expected: Vec<Property> = expected.iter().map(|(name, value)| property(name, *value)).collect();
        assert_eq!(properties(limits, Some(-1), v2), expected);
    }

    #[test]
    fn limits_are_properties_of_the_unit() {
        let limits = PodLimits {
            cpu_shares: Some(1024),
            cpu_quota: Some(12_345),
            memory: Some(1 << 20),
            ..Default::default()
        };
        // 12.345 % of a CPU is 13 %.
        check(&limits, true, &[("MemoryMax", 1 << 20), ("CPUWeight", 39), ("CPUQuotaPerSecUSec", 130_000)]);
        check(
            &limits,
            false,
            &[("MemoryLimit", 1 << 20), ("CPUShares", 1024), ("CPUQuotaPerSecUSec", 130_000)],
        );
        let none = PodLimits { cpu_quota: Some(-1), ..Default::default() };
        check(&none, true, &[("CPUQuotaPerSecUSec", u64::MAX)]);
        check(&PodLimits::default(), true, &[]);
        assert_eq!([rounded(12_345), rounded(100_000), rounded(-1)], [13_000, 100_000, -1]);
    }

    #[test]
    fn cpus_are_bits() {
        let cpus = |text: &str| bits(&text.parse().unwrap());
        assert_eq!([cpus("0-3"), cpus("1,9"), cpus("")], [vec![0b1111], vec![0b10, 0b10], vec![]]);
    }

    #[test]
    fn a_slice_wants_the_one_above_it() {
        let made = frame("kubepods-burstable.slice", Some("kubepods.slice"), true);
        assert!(made.contains(&property("Wants", vec!["kubepods.slice".to_owned()])));
        assert!(made.contains(&property("DefaultDependencies", false)));
        assert_eq!(frame("kubepods.slice", None, true).len() + 1, made.len());
    }

    /// Against the machine's systemd, or what answers in its place at `DBUS_SYSTEM_BUS_ADDRESS`.
    #[test]
    fn systemd_makes_limits_and_ends_a_slice() {
        let there = booted() || std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_some();
        if !there || !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root and systemd");
            return;
        }
        let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let path = format!("/kubelettest{}.slice", std::process::id());
        let limits = PodLimits {
            cpu_shares: Some(1024),
            cpu_quota: Some(-1),
            memory: Some(1 << 26),
            ..Default::default()
        };
        let slices = Slices::default();
        for _ in 0..2 {
            slices.start(&path, properties(&limits, Some(10), v2), v2).unwrap();
        }
        let larger = PodLimits { memory: Some(1 << 27), ..Default::default() };
        slices.set(&path, properties(&larger, None, v2)).unwrap();
        for _ in 0..2 {
            slices.stop(&path).unwrap();
        }
    }
}
