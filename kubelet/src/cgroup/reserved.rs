//! Control groups that are somebody else's: the daemons of the system and of Kubernetes, which are held to what is
//! reserved for them (`enforceNodeAllocatable`). They must be there; nothing here makes them. Pure.

use std::collections::BTreeMap;

use api_types::Quantity;

use super::{Driver, SLICE};
use crate::config::KubeletConfiguration;
use crate::resources::{self, PodLimits};

/// A group that is there, as a configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its parts, as upstream's errors show them.
    parts: Vec<String>,
    /// Absolute in the hierarchy.
    pub path: String,
}

impl Group {
    /// `/system.slice`, or `/a/b` where the kubelet makes groups itself.
    pub fn named(text: &str, driver: Driver) -> Self {
        if driver == Driver::Cgroupfs {
            let parts: Vec<String> = text
                .strip_prefix('/')
                .unwrap_or(text)
                .split('/')
                .filter(|_| !matches!(text, "" | "/"))
                .map(str::to_owned)
                .collect();
            return Self { path: format!("/{}", parts.join("/")), parts };
        }
        let last = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = last.strip_suffix(SLICE).unwrap_or(last);
        let mut path = String::new();
        for end in name.match_indices('-').map(|(at, _)| at).chain([name.len()]) {
            path.push_str(&format!("/{}{SLICE}", &name[..end]));
        }
        Self { parts: name.split('-').map(|part| part.replace('_', "-")).collect(), path }
    }
}

/// COMPAT: as Go prints a list of names.
impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = self.parts.iter().map(|part| format!("{part:?}")).collect();
        write!(f, "[{}]", parts.join(" "))
    }
}

/// What is to be held to its reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// `System Reserved`, as errors say it.
    pub what: &'static str,
    /// `system reserved`, as events say it.
    pub short: &'static str,
    /// As the configuration names it.
    pub name: String,
    /// Of the kernel.
    pub limits: PodLimits,
    /// Most processes.
    pub pids: Option<i64>,
    /// Whether anything is reserved at all.
    pub any: bool,
}

/// What is to be held, in upstream's order.
///
/// # Errors
/// An amount that is none.
pub fn reserved(config: &KubeletConfiguration) -> Result<Vec<Reserved>, String> {
    let (system, kube) = (&config.system_reserved_cgroup, &config.kube_reserved_cgroup);
    let all = [
        ("system-reserved", "System Reserved", "system reserved", system, &config.system_reserved, false),
        ("kube-reserved", "Kube Reserved", "kube reserved", kube, &config.kube_reserved, false),
        (
            "system-reserved-compressible",
            "System Reserved Compressible",
            "system reserved",
            system,
            &config.system_reserved,
            true,
        ),
        (
            "kube-reserved-compressible",
            "Kube Reserved Compressible",
            "kube reserved",
            kube,
            &config.kube_reserved,
            true,
        ),
    ];
    all.into_iter()
        .filter(|(level, ..)| config.enforces(level))
        .map(|(_, what, short, name, amounts, part)| {
            let amount = |kind: &str| amount(amounts, kind);
            let whole = |kind: &str| if part { Ok(None) } else { amount(kind) };
            Ok(Reserved {
                what,
                short,
                name: name.clone(),
                limits: PodLimits {
                    cpu_shares: amount("cpu")?.map(|cpu| resources::shares(cpu.milli_value())),
                    memory: whole("memory")?.map(|memory| memory.value()),
                    ..Default::default()
                },
                pids: whole("pid")?.map(|pids| pids.value()),
                any: !amounts.is_empty(),
            })
        })
        .collect()
}

/// An amount of a reservation.
///
/// # Errors
/// When it is none.
pub fn amount(amounts: &BTreeMap<String, String>, kind: &str) -> Result<Option<Quantity>, String> {
    let parse = |text: &String| {
        Quantity::parse(text)
            .map_err(|error| format!("failed to parse quantity {text:?} for {kind:?} resource: {error}"))
    };
    amounts.get(kind).map(parse).transpose()
}

/// Refuses reservations of what cannot be reserved; worded as upstream's.
///
/// # Errors
/// The first.
pub fn check(flag: &str, amounts: &BTreeMap<String, String>) -> Result<(), String> {
    let bad = |why: String| Err(format!("{flag} value failed to parse: {why}"));
    for (kind, text) in amounts {
        if !matches!(kind.as_str(), "cpu" | "memory" | "ephemeral-storage" | "pid") {
            return bad(format!("cannot reserve {kind:?} resource"));
        }
        match amount(amounts, kind) {
            Err(why) => return bad(why),
            Ok(Some(amount)) if amount.is_negative() => {
                return bad(format!("resource quantity for {kind:?} cannot be negative: {text}"));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn names_of_groups() {
        let check = |text: &str, driver: Driver, path: &str, shown: &str| {
            let group = Group::named(text, driver);
            assert_eq!((group.path.as_str(), group.to_string().as_str()), (path, shown));
        };
        check("/system.slice", Driver::Systemd, "/system.slice", r#"["system"]"#);
        check(
            "kube-daemons.slice",
            Driver::Systemd,
            "/kube.slice/kube-daemons.slice",
            r#"["kube" "daemons"]"#,
        );
        check("/a/a-b_c.slice", Driver::Systemd, "/a.slice/a-b_c.slice", r#"["a" "b-c"]"#);
        check("/system.slice", Driver::Cgroupfs, "/system.slice", r#"["system.slice"]"#);
        check("a/b", Driver::Cgroupfs, "/a/b", r#"["a" "b"]"#);
        check("/", Driver::Cgroupfs, "/", "[]");
    }

    #[test]
    fn what_is_reserved_becomes_limits() {
        let config = KubeletConfiguration {
            enforce_node_allocatable: Some(
                ["pods", "kube-reserved-compressible", "system-reserved"].map(str::to_owned).into(),
            ),
            system_reserved: texts(&[("cpu", "500m"), ("memory", "1Gi"), ("pid", "1000")]),
            kube_reserved: texts(&[("cpu", "1"), ("memory", "1Gi")]),
            system_reserved_cgroup: "/system.slice".into(),
            kube_reserved_cgroup: "/kube.slice".into(),
            ..Default::default()
        };
        let held = reserved(&config).unwrap();
        let limits = |shares, memory| PodLimits { cpu_shares: Some(shares), memory, ..Default::default() };
        let shown: Vec<_> =
            held.iter().map(|one| (one.what, one.name.as_str(), one.limits.clone(), one.pids)).collect();
        assert_eq!(
            shown,
            [
                ("System Reserved", "/system.slice", limits(512, Some(1 << 30)), Some(1000)),
                ("Kube Reserved Compressible", "/kube.slice", limits(1024, None), None),
            ]
        );
        assert_eq!(reserved(&KubeletConfiguration::default()), Ok(Vec::new()));
    }

    #[test]
    fn what_cannot_be_reserved() {
        let refused = |list: &[(&str, &str)], expected: &str| {
            assert_eq!(check("--kube-reserved", &texts(list)).unwrap_err(), expected);
        };
        refused(&[("gpu", "1")], "--kube-reserved value failed to parse: cannot reserve \"gpu\" resource");
        refused(
            &[("cpu", "-1")],
            "--kube-reserved value failed to parse: resource quantity for \"cpu\" cannot be negative: -1",
        );
        assert_eq!(check("", &texts(&[("pid", "1000"), ("ephemeral-storage", "1Gi")])), Ok(()));
    }
}
