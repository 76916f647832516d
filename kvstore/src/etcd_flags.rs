//! etcd's flags that kvstore does not have, as a table. Such a flag may be given with a value that asks for
//! what kvstore does anyway (etcd's default, mostly): then it is passed over. Any other value is refused by
//! name, and so is every value of a flag without such values.

use std::ffi::OsString;

use daemon::flags::{GoDuration, parse_bool};

use crate::flags::FlagError;

#[derive(Clone, Copy)]
enum Kind {
    /// Stands alone for true; takes its value after an equals sign only.
    Switch,
    Text,
    Time,
}
use Kind::{Switch, Text, Time};

type Row = (&'static str, Kind, &'static [&'static str]);

const TABLE: &[Row] = &[
    ("auto-tls", Switch, &["false"]),
    ("backend-batch-interval", Time, &[]),
    ("backend-batch-limit", Text, &[]),
    ("backend-bbolt-freelist-type", Text, &[]),
    ("bootstrap-defrag-threshold-megabytes", Text, &["0"]),
    ("client-cert-allowed-hostname", Text, &[]),
    ("client-cert-file", Text, &[]),
    ("client-crl-file", Text, &[]),
    ("client-key-file", Text, &[]),
    ("compact-hash-check-time", Time, &["1m"]),
    ("compaction-batch-limit", Text, &[]),
    ("compaction-sleep-interval", Time, &[]),
    ("corrupt-check-time", Time, &["0"]),
    ("cors", Text, &[]),
    ("discovery", Text, &[]),
    ("discovery-cacert", Text, &[]),
    ("discovery-cert", Text, &[]),
    ("discovery-dial-timeout", Time, &["2s"]),
    ("discovery-endpoints", Text, &[]),
    // Without --discovery it decides nothing.
    ("discovery-fallback", Text, &["exit", "proxy"]),
    ("discovery-insecure-skip-tls-verify", Switch, &["false"]),
    ("discovery-insecure-transport", Switch, &["true"]),
    ("discovery-keepalive-time", Time, &["2s"]),
    ("discovery-keepalive-timeout", Time, &["6s"]),
    ("discovery-key", Text, &[]),
    ("discovery-password", Text, &[]),
    ("discovery-proxy", Text, &[]),
    ("discovery-request-timeout", Time, &["5s"]),
    ("discovery-srv", Text, &[]),
    ("discovery-srv-name", Text, &[]),
    ("discovery-token", Text, &[]),
    ("discovery-user", Text, &[]),
    ("distributed-tracing-address", Text, &["localhost:4317"]),
    ("distributed-tracing-instance-id", Text, &[]),
    ("distributed-tracing-sampling-rate", Text, &["0"]),
    ("distributed-tracing-service-name", Text, &["etcd"]),
    ("downgrade-check-time", Time, &["5s"]),
    ("enable-distributed-tracing", Switch, &["false"]),
    ("enable-grpc-gateway", Switch, &["false"]),
    ("enable-lease-checkpoint", Switch, &["false"]),
    ("enable-lease-checkpoint-persist", Switch, &["false"]),
    ("enable-log-rotation", Switch, &["false"]),
    ("enable-pprof", Switch, &["false"]),
    ("enable-v2", Switch, &["false"]),
    ("enable-v2v3", Text, &[]),
    ("compact-hash-check-enabled", Switch, &["false"]),
    ("force-new-cluster", Switch, &["false"]),
    ("grpc-keepalive-interval", Time, &[]),
    ("grpc-keepalive-min-time", Time, &[]),
    ("grpc-keepalive-timeout", Time, &[]),
    ("host-whitelist", Text, &["*"]),
    ("initial-election-tick-advance", Switch, &["true"]),
    ("log-outputs", Text, &["default", "stderr"]),
    ("log-package-levels", Text, &[]),
    ("log-rotation-config-json", Text, &[]),
    ("memory-mlock", Switch, &["false"]),
    ("peer-auto-tls", Switch, &["false"]),
    ("peer-cert-allowed-hostname", Text, &[]),
    ("peer-crl-file", Text, &[]),
    // A peer's address is not looked for in its certificate.
    ("peer-skip-client-san-verification", Switch, &["true"]),
    ("proxy", Text, &["off"]),
    ("proxy-dial-timeout", Text, &["1000"]),
    ("proxy-failure-wait", Text, &["5000"]),
    ("proxy-read-timeout", Text, &["0"]),
    ("proxy-refresh-interval", Text, &["30000"]),
    ("proxy-write-timeout", Text, &["5000"]),
    ("raft-read-timeout", Time, &[]),
    ("raft-write-timeout", Time, &[]),
    ("self-signed-cert-validity", Text, &["1"]),
    ("set-member-localaddr", Switch, &["false"]),
    ("socket-reuse-address", Switch, &["false"]),
    ("socket-reuse-port", Switch, &["false"]),
    ("stop-grpc-service-on-defrag", Switch, &["false"]),
    // How etcd hands buffers on inside: to be seen nowhere.
    ("txn-mode-write-with-shared-buffer", Switch, &["true", "false"]),
    ("unsafe-no-fsync", Switch, &["false"]),
    // There is no data of API version 2 to write.
    ("v2-deprecation", Text, &["write-only", "write-only-drop-data", "gone"]),
    ("warning-apply-duration", Time, &[]),
    ("warning-unary-request-duration", Time, &[]),
];

/// What durations of the configuration file are counted in, where it gives a number.
pub fn is_time(flag: &str) -> bool {
    let own = ["watch-progress-notify-interval", "experimental-watch-progress-notify-interval"];
    own.contains(&flag) || row(flag).is_some_and(|(_, kind, _)| matches!(kind, Time))
}

/// Flags whose values are the words `on` and `off`, which a configuration file may give without quotes.
pub fn is_on_or_off(flag: &str) -> bool {
    flag == "proxy"
}

pub fn is_known(flag: &str) -> bool {
    row(flag).is_some()
}

/// COMPAT: etcd had many of its flags with this prefix first.
fn row(flag: &str) -> Option<&'static Row> {
    let flag = flag.strip_prefix("experimental-").unwrap_or(flag);
    TABLE.iter().find(|(name, ..)| *name == flag)
}

/// Refuses a value that asks for something else than what kvstore does. True when the flag is one of these.
pub fn admit(flag: &str, value: &str) -> Result<bool, FlagError> {
    let Some((_, kind, same)) = row(flag) else { return Ok(false) };
    let time = |text: &str| text.parse::<GoDuration>().ok().map(|GoDuration(time)| time);
    let means = |known: &&&str| match kind {
        Switch => parse_bool(value).is_ok_and(|value| parse_bool(known) == Ok(value)),
        Text => value == **known,
        Time => time(value).is_some_and(|value| time(known) == Some(value)),
    };
    match (same.is_empty(), same.iter().find(means)) {
        (_, Some(_)) => Ok(true),
        (true, None) => Err(FlagError::Unsupported(flag.to_owned())),
        (false, None) => {
            let (flag, value) = (flag.to_owned(), value.to_owned());
            Err(FlagError::Only { flag, value, same: same.join(" or ") })
        }
    }
}

/// Takes these flags out of a command line.
pub fn sift(words: Vec<OsString>) -> Result<Vec<OsString>, FlagError> {
    let mut kept = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let flag = word.to_str().and_then(|word| word.strip_prefix("--")).map(str::to_owned);
        let Some(flag) = flag else {
            kept.push(word);
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name.replace('_', "-"), Some(value.to_owned())),
            None => (flag.replace('_', "-"), None),
        };
        let Some((_, kind, _)) = row(&name) else {
            kept.push(word);
            continue;
        };
        let value = match (value, kind) {
            (Some(value), _) => value,
            (None, Switch) => "true".to_owned(),
            (None, _) => words.next().unwrap_or_default().to_string_lossy().into_owned(),
        };
        admit(&name, &value)?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &str) -> Result<String, String> {
        let words = sift(line.split(' ').map(OsString::from).collect()).map_err(|error| error.to_string())?;
        Ok(words.join(std::ffi::OsStr::new(" ")).into_string().unwrap())
    }

    #[test]
    fn what_kvstore_does_anyway_may_be_asked_for() {
        let given = "kvstore --proxy off --enable-v2=false --name a --discovery-fallback=proxy --auto-tls=0 \
                     --corrupt-check-time=0s --x";
        assert_eq!(line(given).unwrap(), "kvstore --name a --x");
        assert_eq!(line("kvstore --experimental-compact-hash-check-time 1m0s").unwrap(), "kvstore");
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let refused = |given: &str, text: &str| assert_eq!(line(given).unwrap_err(), text);
        refused("kvstore --discovery=x", "--discovery is a flag of etcd that kvstore does not support");
        refused("kvstore --enable-v2", "--enable-v2=true is not supported: kvstore does what false asks for");
        refused(
            "kvstore --experimental-corrupt-check-time 1h",
            "--experimental-corrupt-check-time=1h is not supported: kvstore does what 0 asks for",
        );
        // Nothing here does what it asks for, at any value.
        refused(
            "kvstore --backend-batch-limit 10000",
            "--backend-batch-limit is a flag of etcd that kvstore does not support",
        );
        refused("kvstore --cors=*", "--cors is a flag of etcd that kvstore does not support");
    }
}
