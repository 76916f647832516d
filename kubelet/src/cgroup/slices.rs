//! Slices: control groups that systemd makes. Limits are given as the unit's properties, so that systemd
//! does not undo them when it loads its units anew; the caller writes them into the files as well.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::weight;
use crate::dbus::message::Value;
use crate::dbus::{Connection, Error, Target};
use crate::resources::{CPU_PERIOD, PodLimits};

const MANAGER: Target = Target {
    service: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
/// How long a job of systemd may take.
const JOB: Duration = Duration::from_secs(30);

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
pub fn properties(limits: &PodLimits, pids: Option<i64>, v2: bool) -> Vec<Value> {
    let mut properties = Vec::new();
    let mut add = |name: &str, value: i64| {
        properties.push(Value::property(name, Value::Uint64(value.cast_unsigned())));
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
    properties
}

/// What every slice is made with; `parent` is the slice above it, if any.
fn frame(unit: &str, parent: Option<&str>, v2: bool) -> Vec<Value> {
    let mut properties =
        vec![Value::property("Description", Value::Str(format!("libcontainer container {unit}")))];
    if let Some(parent) = parent {
        let wants = Value::Array("s".into(), vec![Value::str(parent)]);
        properties.push(Value::property("Wants", wants));
    }
    let io = if v2 { "IOAccounting" } else { "BlockIOAccounting" };
    for name in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
        properties.push(Value::property(name, Value::Bool(true)));
    }
    properties.push(Value::property("DefaultDependencies", Value::Bool(false)));
    properties
}

/// The connection to systemd, made when first used and again after it broke.
#[derive(Debug, Default)]
pub struct Slices(Mutex<Option<Connection>>);

impl Slices {
    fn with<T>(&self, work: impl Fn(&mut Connection) -> Result<T, Error>) -> Result<T, Error> {
        let mut held = self.0.lock();
        let again = held.is_some();
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => connect()?,
        };
        let mut result = work(&mut connection);
        // A connection of old may have ended with a systemd that was since replaced.
        if again && matches!(result, Err(Error::Connection(_))) {
            connection = connect()?;
            result = work(&mut connection);
        }
        if !matches!(result, Err(Error::Connection(_) | Error::Malformed(_) | Error::Timeout)) {
            *held = Some(connection);
        }
        result
    }

    /// Makes a slice with its limits; one that is there stays as it is.
    pub fn start(&self, path: &str, limits: Vec<Value>, v2: bool) -> Result<(), Error> {
        let mut parts = path.rsplit('/').filter(|part| !part.is_empty());
        let unit = parts.next().unwrap_or_default();
        let mut all = frame(unit, parts.next(), v2);
        all.extend(limits);
        let body = [
            Value::str(unit),
            Value::str("replace"),
            Value::Array("(sv)".into(), all),
            Value::Array("(sa(sv))".into(), Vec::new()),
        ];
        self.with(|connection| {
            connection.forget_signals();
            match connection.call(MANAGER, "StartTransientUnit", &body) {
                Ok(answer) => finished(connection, answer.values.first()).map(drop),
                Err(Error::Refused { name, .. }) if name.contains("UnitExists") => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    /// Changes a slice's limits until the next boot.
    pub fn set(&self, path: &str, limits: Vec<Value>) -> Result<(), Error> {
        let unit = path.rsplit('/').next().unwrap_or_default();
        let body = [Value::str(unit), Value::Bool(true), Value::Array("(sv)".into(), limits)];
        self.with(|connection| connection.call(MANAGER, "SetUnitProperties", &body).map(drop))
    }

    /// Ends a slice with all below it; one that is not there is no error.
    pub fn stop(&self, path: &str) -> Result<(), Error> {
        let unit = path.rsplit('/').next().unwrap_or_default();
        self.with(|connection| {
            connection.forget_signals();
            match connection.call(MANAGER, "StopUnit", &[Value::str(unit), Value::str("replace")]) {
                Ok(answer) => _ = finished(connection, answer.values.first())?,
                Err(Error::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
            // A failed unit is kept until this is said.
            match connection.call(MANAGER, "ResetFailedUnit", &[Value::str(unit)]) {
                Err(Error::Refused { .. }) | Ok(_) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }
}

fn connect() -> Result<Connection, Error> {
    let mut connection = Connection::systemd()?;
    connection.subscribe(MANAGER.interface, "JobRemoved")?;
    match connection.call(MANAGER, "Subscribe", &[]) {
        // Already.
        Err(Error::Refused { .. }) | Ok(_) => Ok(connection),
        Err(error) => Err(error),
    }
}

/// Waits for the job's end; answers what it came to.
fn finished(connection: &mut Connection, job: Option<&Value>) -> Result<String, Error> {
    let until = Instant::now() + JOB;
    loop {
        // id, job, unit, result
        let told = connection.signal("JobRemoved", Some(until))?;
        if told.get(1).and_then(Value::text) == job.and_then(Value::text) {
            return Ok(told.get(3).and_then(Value::text).unwrap_or_default().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limits: &PodLimits, v2: bool, expected: &[(&str, u64)]) {
        let expected: Vec<Value> =
            expected.iter().map(|(name, value)| Value::property(name, Value::Uint64(*value))).collect();
        assert_eq!(properties(limits, Some(-1), v2), expected);
    }

    #[test]
    fn limits_are_properties_of_the_unit() {
        let limits = PodLimits { cpu_shares: Some(1024), cpu_quota: Some(12_345), memory: Some(1 << 20) };
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
    fn a_slice_wants_the_one_above_it() {
        let made = frame("kubepods-burstable.slice", Some("kubepods.slice"), true);
        let wants = Value::Array("s".into(), vec![Value::str("kubepods.slice")]);
        assert!(made.contains(&Value::property("Wants", wants)));
        assert!(made.contains(&Value::property("DefaultDependencies", Value::Bool(false))));
        assert_eq!(frame("kubepods.slice", None, true).len() + 1, made.len());
    }
}
