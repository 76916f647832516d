//! The control groups above containers: one for all pods, one per QoS class, one per pod.
//!
//! ```text
//! driver cgroupfs                     driver systemd
//! ROOT/kubepods                       ROOT/kubepods.slice                      node allocatable
//!      ├── podUID/…                        ├── kubepods-podUID.slice/…         guaranteed pods
//!      ├── burstable/podUID/…              ├── kubepods-burstable.slice/kubepods-burstable-podUID.slice/…
//!      └── besteffort/podUID/…             └── kubepods-besteffort.slice/…
//! ```
//! Containers below are the runtime's. Version 1 has this tree once per controller, version 2 once.
//! Values are written, never guessed from what was written before.

pub mod huge;
mod others;
pub mod reserved;
pub mod slices;
pub mod tree;

use api_types::core::v1::{Pod, PodQOSClass};

use crate::resources;

/// The parent of all pods, below the root.
const KUBEPODS: &str = "kubepods";
const SLICE: &str = ".slice";

/// Who makes control groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// The kubelet and the runtime, in the file system.
    #[default]
    Cgroupfs,
    /// systemd, on their behalf.
    Systemd,
}

/// What control groups are called, absolute in the hierarchy.
#[derive(Clone, Debug, Default)]
pub struct Names {
    root: Vec<String>,
    driver: Driver,
}

impl Names {
    /// Names below `root` (`/` or `/some/where`).
    pub fn new(root: &str, driver: Driver) -> Self {
        Self { root: root.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(), driver }
    }

    /// The cgroup of all pods.
    pub fn all(&self) -> String {
        self.path(&[])
    }

    /// The cgroup of a class of pods.
    pub fn class(&self, class: &PodQOSClass) -> String {
        self.path(&directory(class))
    }

    /// The cgroup of a pod: what the runtime gets as parent.
    pub fn pod(&self, pod: &Pod) -> String {
        self.of_uid(&resources::qos_class(pod), &pod.metadata.uid)
    }

    /// The cgroup of the pod of that uid, were it of this class.
    pub fn of_uid(&self, class: &PodQOSClass, uid: &str) -> String {
        let mut parts = directory(class);
        let own = format!("pod{uid}");
        parts.push(&own);
        self.path(&parts)
    }

    fn path(&self, below: &[&str]) -> String {
        let parts = self.root.iter().map(String::as_str).chain([KUBEPODS]).chain(below.iter().copied());
        if self.driver == Driver::Cgroupfs {
            return parts.map(|part| format!("/{part}")).collect();
        }
        // A slice carries the names of all above it; its own dashes would read as such.
        let (mut path, mut prefix) = (String::new(), String::new());
        for part in parts {
            prefix.push_str(&part.replace('-', "_"));
            path.push_str(&format!("/{prefix}{SLICE}"));
            prefix.push('-');
        }
        path
    }
}

fn directory(class: &PodQOSClass) -> Vec<&'static str> {
    match class {
        PodQOSClass::Burstable => vec!["burstable"],
        PodQOSClass::BestEffort => vec!["besteffort"],
        _ => Vec::new(),
    }
}

/// The uid of the pod whose cgroup has this name: `podUID` or `…-podUID.slice`.
fn uid_of(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(SLICE) {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    // `kubepods-podlike.slice` of someone else is none.
    (uid.len() >= 32).then_some(uid)
}

/// COMPAT: the weight of version 2 for shares of version 1, as runc converts them.
pub fn weight(shares: i64) -> i64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}

/// COMPAT: the way back, as upstream converts it: the shares come out a little lower.
pub fn shares_of_weight(weight: i64) -> i64 {
    2 + (weight.clamp(1, 10_000) - 1) * 262_142 / 9999
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b1c2d3e-0b1c-2d3e-4f50-0b1c2d3e4f50";

    fn check(root: &str, driver: Driver, class: PodQOSClass, expected: &str) {
        let mut pod = Pod::default();
        pod.metadata.uid = UID.into();
        pod.status.qos_class = class;
        let path = Names::new(root, driver).pod(&pod);
        assert_eq!(path, expected);
        assert_eq!(uid_of(path.rsplit_once('/').unwrap().1).as_deref(), Some(UID));
    }

    #[test]
    fn paths() {
        use Driver::{Cgroupfs, Systemd};
        use PodQOSClass::{BestEffort, Burstable, Guaranteed};
        check("/", Cgroupfs, BestEffort, &format!("/kubepods/besteffort/pod{UID}"));
        check("/x/", Cgroupfs, Burstable, &format!("/x/kubepods/burstable/pod{UID}"));
        check("", Cgroupfs, Guaranteed, &format!("/kubepods/pod{UID}"));
        let uid = UID.replace('-', "_");
        check("", Systemd, Guaranteed, &format!("/kubepods.slice/kubepods-pod{uid}.slice"));
        check(
            "/",
            Systemd,
            Burstable,
            &format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice"),
        );
        check(
            "/a-b",
            Systemd,
            Guaranteed,
            &format!("/a_b.slice/a_b-kubepods.slice/a_b-kubepods-pod{uid}.slice"),
        );
        assert_eq!(Names::new("", Systemd).class(&BestEffort), "/kubepods.slice/kubepods-besteffort.slice");
        assert_eq!(
            [uid_of("kubepods-burstable.slice"), uid_of("burstable"), uid_of("podx")],
            [None, None, None]
        );
    }

    #[test]
    fn weights() {
        assert_eq!([weight(2), weight(1024), weight(262_144)], [1, 39, 10_000]);
        assert_eq!([shares_of_weight(1), shares_of_weight(39), shares_of_weight(10_000)], [2, 998, 262_144]);
    }
}
