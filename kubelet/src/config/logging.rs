//! `logging` of the configuration file: how the kubelet's own lines are written.

use serde::Deserialize;
use serde_json::Value;

use super::inert::asks_nothing;

/// The part of it that there is something to set by.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Logging {
    /// `text` (the default) or `json`.
    pub format: String,
    /// As `-v`.
    pub verbosity: u8,
    /// Lines are written at once: any will do.
    flush_frequency: Value,
    /// Only where it asks for nothing.
    vmodule: Value,
    /// Likewise: buffers and a second stream.
    options: Value,
}

impl Logging {
    /// What cannot be.
    pub fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        if !matches!(self.format.as_str(), "" | "text" | "json") {
            errors.push(format!("logging.format: Invalid value: {:?}: Unsupported log format", self.format));
        }
        for (name, value) in [("vmodule", &self.vmodule), ("options", &self.options)] {
            if !asks_nothing(value) {
                errors.push(format!("logging.{name}: {value} is not supported by this kubelet"));
            }
        }
        errors
    }
}
