//! Flags of upstream's kube-scheduler that there is nothing to set by here: alpha features, defaults spelled out.
//! Why a value is refused: daemon/src/flags/fixed.rs.

use daemon::flags::{Fixed, Takes::*};

/// By name.
pub const TABLE: &[Fixed] = &[
    Fixed::text("allow-metric-labels", Only(&[""])),
    Fixed::text("allow-metric-labels-manifest", Only(&[""])),
    Fixed::text("cert-dir", Any),
    Fixed::switch("contention-profiling", Only(&["true"])),
    Fixed::switch("disable-http2-serving", Only(&["false"])),
    Fixed::text("disabled-metrics", Only(&[""])),
    Fixed::text("emulated-version", Only(&["", "1.36", "kube=1.36", "kube:1.36"])),
    Fixed::text("feature-gates", Gates),
    Fixed::text("http2-max-streams-per-connection", Only(&["0"])),
    Fixed::text("kube-api-content-type", Any),
    Fixed::text("log-flush-frequency", Any),
    Fixed::text("log-json-info-buffer-size", Only(&[""])),
    Fixed::switch("log-json-split-stream", Only(&["false"])),
    Fixed::text("log-text-info-buffer-size", Only(&[""])),
    Fixed::switch("log-text-split-stream", Only(&["false"])),
    Fixed::text("min-compatibility-version", Only(&["", "kube=1.35"])),
    Fixed::switch("permit-address-sharing", Only(&["false"])),
    Fixed::switch("permit-port-sharing", Only(&["false"])),
    Fixed::text("pod-max-in-unschedulable-pods-duration", Only(&["5m0s"])),
    Fixed::text("show-hidden-metrics-for-version", Only(&[""])),
    Fixed::text("tls-curve-preferences", Only(&[""])),
    Fixed::text("tls-sni-cert-key", Only(&[""])),
    Fixed::switch("unsupported-kube-api-over-localhost", Only(&["false"])),
    Fixed::text("vmodule", Only(&[""])),
    Fixed::text("write-config-to", Only(&[""])),
];
