//! What volumes cost and how many there are, under upstream's names.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;
use std::time::Duration;

use daemon::metrics::{GaugeVec, HistogramVec, global};
use parking_lot::Mutex;

use super::desired::{Kind, Wanted};

/// `kubernetes.io/empty-dir`; with the driver after it, where there is one.
pub fn plugin(wanted: &Wanted) -> String {
    let name = wanted.kind.plugin().replacen('~', "/", 1);
    let behind = wanted.behind.as_ref().and_then(|volume| volume.spec.source.csi.as_ref());
    let driver = match (&wanted.volume.source.csi, behind) {
        _ if wanted.kind != Kind::Csi => return name,
        (_, Some(csi)) => &csi.driver,
        (Some(csi), None) => &csi.driver,
        (None, None) => return name,
    };
    format!("{name}:{driver}")
}

/// Something was done for a volume, or was tried.
pub fn done(plugin: &str, operation: &str, took: Duration, succeeded: bool) {
    static OPERATIONS: LazyLock<HistogramVec> = LazyLock::new(|| {
        global().histogram_vec(
            "storage_operation_duration_seconds",
            "Storage operation duration",
            &["volume_plugin", "operation_name", "status", "migrated"],
            &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0],
        )
    });
    let status = if succeeded { "success" } else { "fail-unknown" };
    OPERATIONS.with_label_values(&[plugin, operation, status, "false"]).observe(took.as_secs_f64());
}

/// The plugins of the volumes that pods have, by the pod's uid.
static MOUNTED: LazyLock<Mutex<HashMap<String, Vec<String>>>> = LazyLock::new(Mutex::default);

/// A pod has volumes of these plugins.
pub fn mounted(uid: &str, plugins: Vec<String>) {
    MOUNTED.lock().insert(uid.to_owned(), plugins);
}

/// A pod has no volumes any more.
pub fn unmounted(uid: &str) {
    MOUNTED.lock().remove(uid);
}

/// Shows how many volumes there are, and how many there are to be: `desired` are their plugins.
pub fn count(desired: impl Iterator<Item = String>) {
    static VOLUMES: LazyLock<GaugeVec> = LazyLock::new(|| {
        global().gauge_vec(
            "volume_manager_total_volumes",
            "Number of volumes in Volume Manager",
            &["plugin_name", "state"],
        )
    });
    // A plugin without volumes is not shown.
    VOLUMES.reset();
    let actual: Vec<String> = MOUNTED.lock().values().flatten().cloned().collect();
    let mut counts: BTreeMap<(String, &str), u32> = BTreeMap::new();
    for plugin in actual {
        *counts.entry((plugin, "actual_state_of_world")).or_default() += 1;
    }
    for plugin in desired {
        *counts.entry((plugin, "desired_state_of_world")).or_default() += 1;
    }
    for ((plugin, state), count) in counts {
        VOLUMES.with_label_values(&[plugin.as_str(), state]).set(count.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::claims::Claims;
    use crate::volume::desired;
    use api_types::core::v1::{CSIVolumeSource, EmptyDirVolumeSource, Volume};

    #[test]
    fn volumes_are_counted_by_plugin_and_driver() {
        let mut volume = Volume::default();
        volume.source.empty_dir = Some(Box::new(EmptyDirVolumeSource::default()));
        let name = |volume: &Volume| plugin(&desired::wanted(volume, &Claims::default()).unwrap());
        assert_eq!(name(&volume), "kubernetes.io/empty-dir");
        let mut inline = Volume::default();
        inline.source.csi =
            Some(Box::new(CSIVolumeSource { driver: "disk.example.com".into(), ..Default::default() }));
        assert_eq!(name(&inline), "kubernetes.io/csi:disk.example.com");
        mounted("metrics-test", vec![name(&inline), name(&inline)]);
        done("kubernetes.io/test", "volume_mount", Duration::from_millis(300), false);
        let shown = || String::from_utf8(global().text()).unwrap();
        count([name(&inline)].into_iter());
        let text = shown();
        for line in [
            "volume_manager_total_volumes{plugin_name=\"kubernetes.io/csi:disk.example.com\",state=\"actual_state_of_world\"} 2",
            "volume_manager_total_volumes{plugin_name=\"kubernetes.io/csi:disk.example.com\",state=\"desired_state_of_world\"} 1",
            "storage_operation_duration_seconds_bucket{migrated=\"false\",operation_name=\"volume_mount\",status=\"fail-unknown\",volume_plugin=\"kubernetes.io/test\",le=\"0.25\"} 0",
            "storage_operation_duration_seconds_count{migrated=\"false\",operation_name=\"volume_mount\",status=\"fail-unknown\",volume_plugin=\"kubernetes.io/test\"} 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        unmounted("metrics-test");
        count(std::iter::empty());
        assert!(!shown().contains("disk.example.com"));
    }
}
