//! Fields that there is nothing to set by here, and the values that each may have: what this kubelet does anyway, or any
//! valid value where upstream's 1.36 reads the field and does nothing with it either.

use daemon::flags::GoDuration;
use serde_json::{Map, Value};

use super::ConfigError;

/// Which values a field may have, beside the zero value.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// One of these, as JSON.
    Only(&'static [&'static str]),
    /// One of these texts; the error says which field and how upstream words a refusal.
    OneOf(&'static [&'static str], fn(&str) -> String),
    /// A number in this range; upstream's error otherwise.
    Number(i64, i64, &'static str),
    /// Any of the field's type.
    Duration,
    Text,
}

use Takes::*;

/// The fields.
const INERT: &[(&str, Takes)] = &[
    ("configMapAndSecretChangeDetectionStrategy", Only(&["\"Watch\""])),
    ("containerLogMaxWorkers", Only(&["1"])),
    ("containerLogMonitorInterval", Only(&["\"10s\""])),
    ("contentType", Only(&["\"application/vnd.kubernetes.protobuf\"", "\"application/json\""])),
    ("cpuCFSQuotaPeriod", Only(&["\"100ms\""])),
    // There is nothing of Go to profile.
    ("enableContentionProfiling", Only(&[])),
    ("enableControllerAttachDetach", Only(&["true"])),
    // COMPAT: of the days before CNI; upstream checks the word and does nothing by it.
    ("hairpinMode", OneOf(&["none", "hairpin-veth", "promiscuous-bridge"], hairpin)),
    // COMPAT: likewise; upstream checks the range.
    ("iptablesDropBit", Number(0, 31, "iptablesDropBit (--iptables-drop-bit)")),
    ("iptablesMasqueradeBit", Number(0, 31, "iptablesMasqueradeBit (--iptables-masquerade-bit)")),
    ("kernelMemcgNotification", Only(&[])),
    ("localStorageCapacityIsolation", Only(&["true"])),
    ("memoryReservationPolicy", Only(&["\"None\""])),
    ("memoryThrottlingFactor", Only(&["0.9"])),
    ("qosReserved", Only(&[])),
    ("runOnce", Only(&[])),
    ("showHiddenMetricsForVersion", Only(&[])),
    // COMPAT: streams end as the runtime has them end; upstream only reads this one since dockershim went.
    ("streamingConnectionIdleTimeout", Duration),
    ("tlsCurvePreferences", Only(&[])),
    ("tracing", Only(&[])),
    // FlexVolumes are not there, so nothing is looked for.
    ("volumePluginDir", Text),
];

fn hairpin(given: &str) -> String {
    format!(
        "option {given:?} specified for hairpinMode (--hairpin-mode). Valid options are \"none\", \"hairpin-veth\" or \
         \"promiscuous-bridge\""
    )
}

/// Defaults that upstream shows, as JSON.
const SHOWN: &[(&str, &str)] = &[
    ("streamingConnectionIdleTimeout", "\"4h0m0s\""),
    ("hairpinMode", "\"promiscuous-bridge\""),
    ("cpuCFSQuotaPeriod", "\"100ms\""),
    ("contentType", "\"application/vnd.kubernetes.protobuf\""),
    ("enableControllerAttachDetach", "true"),
    ("iptablesMasqueradeBit", "14"),
    ("iptablesDropBit", "15"),
    ("containerLogMaxWorkers", "1"),
    ("containerLogMonitorInterval", "\"10s\""),
    ("configMapAndSecretChangeDetectionStrategy", "\"Watch\""),
    ("volumePluginDir", "\"/usr/libexec/kubernetes/kubelet-plugins/volume/exec/\""),
    ("memoryThrottlingFactor", "0.9"),
    ("memoryReservationPolicy", "\"None\""),
    ("localStorageCapacityIsolation", "true"),
];

/// Zero values of these are a choice; of all others they stand for the default.
const MAY_BE_ZERO: [&str; 4] = [
    "iptablesMasqueradeBit",
    "iptablesDropBit",
    "enableControllerAttachDetach",
    "localStorageCapacityIsolation",
];

/// The fields as they are in effect.
pub fn shown(given: &Map<String, Value>) -> Map<String, Value> {
    let one = |(name, default): &(&str, &str)| {
        let default = || serde_json::from_str(default).unwrap_or_default();
        let counts = |value: &&Value| !is_default(name, value);
        let value = given.get(*name).filter(counts).cloned().unwrap_or_else(default);
        let length = value.as_str().and_then(|text| text.parse::<GoDuration>().ok());
        ((*name).to_owned(), length.map_or(value, |length| length.to_string().into()))
    };
    SHOWN.iter().map(one).collect()
}

/// A value that stands for the default, as Go leaves it in a field that nobody set.
fn is_default(name: &str, value: &Value) -> bool {
    asks_nothing(value) && (value.is_null() || !MAY_BE_ZERO.contains(&name))
}

/// Takes these fields out, and answers them.
///
/// # Errors
/// One that asks for what is not there, or that upstream refuses as well.
pub fn take_out(fields: &mut Map<String, Value>) -> Result<Map<String, Value>, ConfigError> {
    let mut taken = Map::new();
    for (name, takes) in INERT {
        let Some(value) = fields.shift_remove(*name) else { continue };
        taken.insert((*name).to_owned(), value.clone());
        if is_default(name, &value) {
            continue;
        }
        let wrong_type = |kind: &str| ConfigError::Invalid(format!("{name}: {value} is no {kind}"));
        match takes {
            Only(accepted) if accepted.contains(&value.to_string().as_str()) => {}
            Only(_) => return Err(ConfigError::Unsupported(format!("{name}: {value}"))),
            OneOf(accepted, refusal) => {
                let text = value.as_str().ok_or_else(|| wrong_type("text"))?;
                if !accepted.contains(&text) {
                    return Err(ConfigError::Invalid(refusal(text)));
                }
            }
            Number(least, most, named) => {
                let number = value.as_i64().ok_or_else(|| wrong_type("number"))?;
                if !(*least..=*most).contains(&number) {
                    return Err(ConfigError::Invalid(format!(
                        "{named} {number} must be between {least} and {most}, inclusive"
                    )));
                }
            }
            Duration => {
                let text = value.as_str().ok_or_else(|| wrong_type("duration"))?;
                text.parse::<GoDuration>()
                    .map_err(|error| ConfigError::Invalid(format!("{name}: {error}")))?;
            }
            Text if value.is_string() => {}
            Text => return Err(wrong_type("text")),
        }
    }
    Ok(taken)
}

/// Zero values: what Go leaves in a field that nobody set.
pub fn asks_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => matches!(text.as_str(), "" | "0" | "0s"),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(asks_nothing),
    }
}
