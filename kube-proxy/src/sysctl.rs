//! Kernel settings that kube-proxy is asked to make: the connection table's size and timeouts.
//! Which values is a pure function; a setting that the kernel refuses (in a network namespace the
//! table's size cannot be set) costs a warning and not the start.

use std::path::Path;

use daemon::flags::GoDuration;

use crate::config::Conntrack;

/// A file below /proc/sys and its value.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    pub path: &'static str,
    pub value: u64,
    /// Whether a larger value is left alone.
    pub at_least: bool,
}

/// What the configuration asks for on a machine with so many cores.
pub fn plan(config: &Conntrack, cores: usize) -> Vec<Setting> {
    let mut all = Vec::new();
    let per_core = config.max_per_core.unwrap_or(32 * 1024);
    if per_core > 0 {
        let scaled = u64::from(per_core) * cores as u64;
        let value = scaled.max(config.min.unwrap_or(128 * 1024).into());
        all.push(Setting { path: "net/netfilter/nf_conntrack_max", value, at_least: true });
    }
    let seconds = |d: GoDuration| d.0.as_secs();
    let mut timeout = |path, value: u64| {
        if value > 0 {
            all.push(Setting { path, value, at_least: false });
        }
    };
    let (day, hour) = (GoDuration::from_secs(24 * 3600), GoDuration::from_secs(3600));
    timeout(
        "net/netfilter/nf_conntrack_tcp_timeout_established",
        seconds(config.tcp_established_timeout.unwrap_or(day)),
    );
    timeout(
        "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
        seconds(config.tcp_close_wait_timeout.unwrap_or(hour)),
    );
    timeout("net/netfilter/nf_conntrack_udp_timeout", seconds(config.udp_timeout));
    timeout("net/netfilter/nf_conntrack_udp_timeout_stream", seconds(config.udp_stream_timeout));
    if config.tcp_be_liberal {
        all.push(Setting { path: "net/netfilter/nf_conntrack_tcp_be_liberal", value: 1, at_least: false });
    }
    all
}

/// Writes the settings that differ.
pub fn apply(settings: &[Setting]) {
    for Setting { path, value, at_least } in settings {
        let file = Path::new("/proc/sys").join(path);
        let current = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u64>().ok());
        if current == Some(*value) || (*at_least && current.is_some_and(|c| c >= *value)) {
            continue;
        }
        match std::fs::write(&file, value.to_string()) {
            Ok(()) => tracing::info!(sysctl = path, value, "Set sysctl"),
            Err(error) => {
                tracing::warn!(sysctl = path, value, error = error.to_string(), "Cannot set sysctl");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_upstreams() {
        let values: Vec<_> = plan(&Conntrack::default(), 2)
            .into_iter()
            .map(|s| (s.path.rsplit('/').next().unwrap(), s.value))
            .collect();
        assert_eq!(
            values,
            [
                ("nf_conntrack_max", 131_072),
                ("nf_conntrack_tcp_timeout_established", 86_400),
                ("nf_conntrack_tcp_timeout_close_wait", 3600),
            ]
        );
        assert_eq!(plan(&Conntrack::default(), 8)[0].value, 262_144);
        let none = Conntrack { max_per_core: Some(0), ..Conntrack::default() };
        assert!(plan(&none, 8).iter().all(|s| !s.path.ends_with("conntrack_max")));
    }
}
