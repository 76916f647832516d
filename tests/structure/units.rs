//! The unit files: one for each daemon, under its name, started with the flags of its own file, and ready
//! when the daemon itself says so wherever it does.

use std::collections::BTreeMap;

use super::root;

/// Daemons with units, and whether they tell systemd that they are ready.
const UNITS: &[(&str, bool)] = &[
    ("kvstore", true),
    ("kube-apiserver", true),
    ("kube-controller-manager", false),
    ("kube-scheduler", false),
    ("kubelet", true),
    ("kube-proxy", false),
];

/// `section.key` and value, without comments.
fn settings(text: &str) -> BTreeMap<String, String> {
    let mut section = "";
    let mut found = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("no setting: {line}"));
            let twice = found.insert(format!("{section}.{key}"), value.to_owned());
            assert!(twice.is_none(), "{key} twice");
        }
    }
    found
}

#[test]
fn each_daemon_has_its_unit() {
    for (name, announces) in UNITS {
        let path = root().join("systemd").join(format!("{name}.service"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let settings = settings(&text);
        let is = |key: &str, value: &str| {
            assert_eq!(settings.get(key).map(String::as_str), Some(value), "{name}: {key}");
        };
        is("Service.ExecStart", &format!("/usr/local/bin/{name} $ARGS"));
        is("Service.EnvironmentFile", &format!("-/etc/kubernetes/{name}.env"));
        is("Service.Restart", "always");
        is("Install.WantedBy", "multi-user.target");
        let notify = settings.get("Service.Type").is_some_and(|kind| kind == "notify");
        assert_eq!(notify, *announces, "{name}: a unit waits for what its daemon says");
    }
}

/// A daemon that is said to announce itself does, and no other.
#[test]
fn units_that_wait_are_those_of_daemons_that_tell() {
    for (name, announces) in UNITS {
        let folder = match *name {
            "kube-apiserver" => "apiserver",
            "kube-controller-manager" => "controller-manager",
            "kube-scheduler" => "scheduler",
            name => name,
        };
        let tells = super::sources()
            .iter()
            .filter(|source| source.path.starts_with(folder))
            .any(|source| source.code().contains("readiness::announce()"));
        assert_eq!(tells, *announces, "{name}");
    }
}
