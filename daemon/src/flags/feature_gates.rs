//! `--feature-gates`: a daemon's table of gates and what the command line made of it.
//! A gate that is not in the table is refused: it names a feature that would silently not be there.

use std::collections::BTreeMap;

/// How far a feature has come (KEP stages).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Alpha,
    Beta,
    /// Generally available.
    Ga,
    Deprecated,
}

impl Stage {
    /// As `--help` and the metric `kubernetes_feature_enabled` write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
            Self::Ga => "",
            Self::Deprecated => "DEPRECATED",
        }
    }
}

/// One row of a daemon's table.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    pub name: &'static str,
    pub stage: Stage,
    pub default: bool,
    /// The default cannot be changed any more.
    pub locked: bool,
}

/// Why a gate cannot be set; worded as upstream's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeatureGateError {
    #[error("unrecognized feature gate: {0}")]
    Unknown(String),
    #[error("missing bool value for {0}")]
    MissingValue(String),
    #[error("invalid value of {name}={value}, err: {error}")]
    InvalidValue { name: String, value: String, error: String },
    #[error("cannot set feature gate {name} to {value}, feature is locked to {locked}")]
    Locked { name: String, value: bool, locked: bool },
}

/// Which features are on.
#[derive(Clone, Debug)]
pub struct FeatureGates {
    known: &'static [Feature],
    set: BTreeMap<&'static str, bool>,
}

impl FeatureGates {
    pub fn new(known: &'static [Feature]) -> Self {
        Self { known, set: BTreeMap::new() }
    }

    /// Applies a flag's value, `A=true,B=false`. `AllAlpha` and `AllBeta` set what is not set by name.
    ///
    /// # Errors
    /// The first part that is malformed, unknown or locked; then nothing has been set.
    pub fn set(&mut self, text: &str) -> Result<(), FeatureGateError> {
        let mut wanted = Vec::new();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), value.trim()),
                None => return Err(FeatureGateError::MissingValue(part.trim().to_owned())),
            };
            let value = super::parse_bool(value).map_err(|error| FeatureGateError::InvalidValue {
                name: name.to_owned(),
                value: value.to_owned(),
                error,
            })?;
            wanted.push((name.to_owned(), value));
        }
        self.set_all(wanted)
    }

    /// Applies a config file's `featureGates` map.
    ///
    /// # Errors
    /// As [`FeatureGates::set`].
    pub fn set_all(
        &mut self,
        wanted: impl IntoIterator<Item = (String, bool)>,
    ) -> Result<(), FeatureGateError> {
        let (mut next, mut groups) = (self.set.clone(), Vec::new());
        for (name, value) in wanted {
            match name.as_str() {
                "AllAlpha" => groups.push((Stage::Alpha, value)),
                "AllBeta" => groups.push((Stage::Beta, value)),
                _ => {
                    let feature = self.feature(&name).ok_or(FeatureGateError::Unknown(name.clone()))?;
                    if feature.locked && value != feature.default {
                        return Err(FeatureGateError::Locked { name, value, locked: feature.default });
                    }
                    next.insert(feature.name, value);
                }
            }
        }
        for (stage, value) in groups {
            for feature in self.known.iter().filter(|f| f.stage == stage && !f.locked) {
                next.entry(feature.name).or_insert(value);
            }
        }
        self.set = next;
        Ok(())
    }

    /// Whether a feature is on. The name must be in the table: a gate that is asked about but not
    /// declared is a bug, and panics.
    pub fn enabled(&self, name: &str) -> bool {
        let feature =
            self.feature(name).unwrap_or_else(|| panic!("feature {name:?} is not registered in FeatureGate"));
        self.set.get(name).copied().unwrap_or(feature.default)
    }

    /// All gates with their stage and state, for the metric `kubernetes_feature_enabled`.
    pub fn states(&self) -> impl Iterator<Item = (&'static str, Stage, bool)> {
        self.known.iter().map(|f| (f.name, f.stage, self.enabled(f.name)))
    }

    fn feature(&self, name: &str) -> Option<&'static Feature> {
        self.known.iter().find(|f| f.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Feature] = &[
        Feature { name: "Grown", stage: Stage::Ga, default: true, locked: true },
        Feature { name: "Ripe", stage: Stage::Beta, default: true, locked: false },
        Feature { name: "Green", stage: Stage::Alpha, default: false, locked: false },
        Feature { name: "Seed", stage: Stage::Alpha, default: false, locked: false },
    ];

    #[test]
    fn sets_by_name_before_groups() {
        let mut gates = FeatureGates::new(KNOWN);
        gates.set("AllAlpha=true,Seed=false, Ripe=F").unwrap();
        assert!(gates.enabled("Green") && gates.enabled("Grown"));
        assert!(!gates.enabled("Seed") && !gates.enabled("Ripe"));
    }

    #[test]
    fn refuses_in_upstreams_words_and_changes_nothing() {
        for (text, message) in [
            ("Ripe=false,Nope=true", "unrecognized feature gate: Nope"),
            ("Ripe", "missing bool value for Ripe"),
            (
                "Ripe=maybe",
                "invalid value of Ripe=maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            ("Grown=false", "cannot set feature gate Grown to false, feature is locked to true"),
        ] {
            let mut gates = FeatureGates::new(KNOWN);
            assert_eq!(gates.set(text).unwrap_err().to_string(), message);
            assert!(gates.enabled("Ripe"));
        }
    }
}
