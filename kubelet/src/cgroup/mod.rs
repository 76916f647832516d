//! The control groups above containers: one for all pods, one per QoS class, one per pod.
//!
//! ```text
//! ROOT/kubepods                      node allocatable
//!      ├── podUID/…                  guaranteed pods
//!      ├── burstable/podUID/…
//!      └── besteffort/podUID/…
//! ```
//! The `cgroupfs` naming; containers below are the runtime's. Version 1 has this tree once per
//! controller, version 2 once. Values are written, never guessed from what was written before.

pub mod tree;

use api_types::core::v1::{Pod, PodQOSClass};

use crate::resources;

/// The parent of all pods, below the root.
pub const KUBEPODS: &str = "kubepods";

/// The cgroup of a class of pods, absolute in the hierarchy.
pub fn class_path(root: &str, class: &PodQOSClass) -> String {
    let root = root.trim_end_matches('/');
    match class {
        PodQOSClass::Burstable => format!("{root}/{KUBEPODS}/burstable"),
        PodQOSClass::BestEffort => format!("{root}/{KUBEPODS}/besteffort"),
        _ => format!("{root}/{KUBEPODS}"),
    }
}

/// The cgroup of a pod, absolute in the hierarchy: what the runtime gets as parent.
pub fn pod_path(root: &str, pod: &Pod) -> String {
    format!("{}/pod{}", class_path(root, &resources::qos_class(pod)), pod.metadata.uid)
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

    #[test]
    fn paths_and_weights() {
        let mut pod = Pod::default();
        pod.metadata.uid = "u".into();
        assert_eq!(pod_path("/", &pod), "/kubepods/besteffort/podu");
        assert_eq!(pod_path("/x/", &pod), "/x/kubepods/besteffort/podu");
        pod.status.qos_class = PodQOSClass::Guaranteed;
        assert_eq!(pod_path("", &pod), "/kubepods/podu");
        assert_eq!([weight(2), weight(1024), weight(262_144)], [1, 39, 10_000]);
        assert_eq!([shares_of_weight(1), shares_of_weight(39), shares_of_weight(10_000)], [2, 998, 262_144]);
    }
}
