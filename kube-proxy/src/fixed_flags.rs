//! Flags of upstream's kube-proxy that there is nothing to set by here: the settings of other proxy modes (which
//! are refused as modes), alpha features, defaults spelled out. Why a value is refused: daemon/src/flags/fixed.rs.

use daemon::flags::{Fixed, Takes::*};

/// By name.
pub const TABLE: &[Fixed] = &[
    Fixed::text("boot-id-file", Only(&["/proc/sys/kernel/random/boot_id"])),
    Fixed::text("config-sync-period", Any),
    Fixed::text("feature-gates", Gates),
    Fixed::switch("init-only", Only(&["false"])),
    Fixed::switch("iptables-localhost-nodeports", Any),
    Fixed::text("iptables-masquerade-bit", Any),
    Fixed::text("iptables-min-sync-period", Any),
    Fixed::text("iptables-sync-period", Any),
    Fixed::text("ipvs-exclude-cidrs", Any),
    Fixed::text("ipvs-min-sync-period", Any),
    Fixed::text("ipvs-scheduler", Any),
    Fixed::switch("ipvs-strict-arp", Any),
    Fixed::text("ipvs-sync-period", Any),
    Fixed::text("ipvs-tcp-timeout", Any),
    Fixed::text("ipvs-tcpfin-timeout", Any),
    Fixed::text("ipvs-udp-timeout", Any),
    Fixed::text("kube-api-content-type", Any),
    Fixed::text("log-flush-frequency", Any),
    Fixed::text("log-json-info-buffer-size", Only(&[""])),
    Fixed::switch("log-json-split-stream", Only(&["false"])),
    Fixed::text("log-text-info-buffer-size", Only(&[""])),
    Fixed::switch("log-text-split-stream", Only(&["false"])),
    Fixed::text("machine-id-file", Only(&["/etc/machine-id,/var/lib/dbus/machine-id"])),
    Fixed::text("show-hidden-metrics-for-version", Only(&[""])),
    Fixed::text("vmodule", Only(&[""])),
    Fixed::text("write-config-to", Only(&[""])),
];
