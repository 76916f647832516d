//! Flags of upstream's kubelet that there is nothing to set by here: cAdvisor's own storage, fields of the
//! configuration file without effect, alpha features, defaults spelled out. Why a value is refused:
//! daemon/src/flags/fixed.rs. What upstream reads and does nothing by takes any valid value: config/inert.rs.

use daemon::flags::{Fixed, GoDuration, Takes::*};

fn duration(text: &str) -> Result<(), String> {
    text.parse::<GoDuration>().map(drop).map_err(|error| error.to_string())
}

/// By name.
pub const TABLE: &[Fixed] = &[
    Fixed::text("application-metrics-count-limit", Only(&["100"])),
    Fixed::text("boot-id-file", Only(&["/proc/sys/kernel/random/boot_id"])),
    Fixed::switch("cgroups-per-qos", Only(&["true"])),
    Fixed::text("container-hints", Only(&["/etc/cadvisor/container_hints.json"])),
    // Where cAdvisor looks for containers: what is measured here comes from the runtime itself.
    Fixed::text("containerd", Any),
    Fixed::text("containerd-namespace", Any),
    Fixed::switch("contention-profiling", Only(&["false"])),
    Fixed::text("cpu-cfs-quota-period", Only(&["100ms"])),
    Fixed::switch("enable-controller-attach-detach", Only(&["true"])),
    Fixed::switch("enable-load-reader", Only(&["false"])),
    Fixed::text("event-storage-age-limit", Only(&["default=0"])),
    Fixed::text("event-storage-event-limit", Only(&["default=0"])),
    Fixed::switch("exit-on-lock-contention", Only(&["false"])),
    Fixed::switch("experimental-allocatable-ignore-eviction", Only(&["false"])),
    Fixed::text("experimental-mounter-path", Only(&[""])),
    Fixed::text("feature-gates", Gates),
    Fixed::text("global-housekeeping-interval", Only(&["1m0s"])),
    Fixed::text("hairpin-mode", Only(&["promiscuous-bridge", "hairpin-veth", "none"])),
    Fixed::text("housekeeping-interval", Only(&["10s"])),
    Fixed::text("image-service-endpoint", Only(&[""])),
    Fixed::switch("kernel-memcg-notification", Only(&["false"])),
    Fixed::text("kube-api-content-type", Any),
    Fixed::switch("local-storage-capacity-isolation", Only(&["true"])),
    Fixed::text("lock-file", Only(&[""])),
    Fixed::switch("log-cadvisor-usage", Only(&["false"])),
    Fixed::text("log-flush-frequency", Any),
    Fixed::text("log-json-info-buffer-size", Only(&[""])),
    Fixed::switch("log-json-split-stream", Only(&["false"])),
    Fixed::text("log-text-info-buffer-size", Only(&[""])),
    Fixed::switch("log-text-split-stream", Only(&["false"])),
    Fixed::text("machine-id-file", Only(&["/etc/machine-id,/var/lib/dbus/machine-id"])),
    Fixed::text("max-housekeeping-interval", Only(&["15s"])),
    Fixed::text("maximum-dead-containers", Only(&["-1"])),
    Fixed::text("maximum-dead-containers-per-container", Only(&["1"])),
    Fixed::text("minimum-container-ttl-duration", Only(&["0s"])),
    Fixed::text("qos-reserved", Only(&[""])),
    Fixed::switch("runonce", Only(&["false"])),
    Fixed::text("storage-driver-buffer-duration", Only(&["1m0s"])),
    Fixed::text("storage-driver-db", Only(&["cadvisor"])),
    Fixed::text("storage-driver-host", Only(&["localhost:8086"])),
    Fixed::text("storage-driver-password", Only(&["root"])),
    Fixed::switch("storage-driver-secure", Only(&["false"])),
    Fixed::text("storage-driver-table", Only(&["stats"])),
    Fixed::text("storage-driver-user", Only(&["root"])),
    Fixed::text("streaming-connection-idle-timeout", What(duration)),
    Fixed::text("vmodule", Only(&[""])),
    Fixed::text("volume-plugin-dir", Any),
];
