//! Levels and versions of the Pod Security Standards, and a namespace's choice of them.

use api_types::field::{Errors, Path};
use std::collections::BTreeMap;
use std::fmt;

/// The standards, least strict first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// The minor version of Kubernetes whose edition of the standards counts; `None` for the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(pub Option<u32>);

impl Version {
    /// Whether the edition includes changes that came with this minor version.
    pub(super) fn has(self, minor: u32) -> bool {
        self.0.is_none_or(|version| version >= minor)
    }
}

/// `baseline:latest`, `restricted:v1.30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LevelVersion {
    pub level: Level,
    pub version: Version,
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.version.0 {
            Some(minor) => write!(f, ":v1.{minor}"),
            None => f.write_str(":latest"),
        }
    }
}

/// What a namespace asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub enforce: LevelVersion,
    pub warn: LevelVersion,
}

impl Policy {
    /// Reads a namespace's labels. A bad level to enforce counts as restricted, a bad one to warn
    /// about as privileged, a bad version as the latest.
    pub(super) fn of(labels: &BTreeMap<String, String>) -> (Self, Errors) {
        let mut errors = Errors::default();
        let mut level = |name: &str| {
            let text = labels.get(&key(name))?;
            let level = match text.as_str() {
                "privileged" => Ok(Level::Privileged),
                "baseline" => Ok(Level::Baseline),
                "restricted" => Ok(Level::Restricted),
                _ => Err(()),
            };
            if level.is_err() {
                let detail = "must be one of privileged, baseline, restricted";
                errors.invalid(&path(name), text, detail);
            }
            Some(level)
        };
        let (enforce, audit, warn) = (level("enforce"), level("audit"), level("warn"));
        let mut version = |name: &str| {
            let text = labels.get(&key(name))?;
            if text == "latest" {
                return Some(Version(None));
            }
            let minor = text.strip_prefix("v1.").filter(|m| *m == "0" || !m.starts_with('0'));
            let minor = minor.filter(|m| m.bytes().all(|b| b.is_ascii_digit())).and_then(|m| m.parse().ok());
            if minor.is_none() {
                errors.invalid(&path(name), text, r#"must be "latest" or "v1.x""#);
            }
            Some(Version(minor))
        };
        let latest = Version(None);
        let enforce_version = version("enforce-version").unwrap_or(latest);
        // Read for its errors: audit annotations come with the audit log.
        let _ = (audit, version("audit-version"));
        let warn_version = version("warn-version");
        let enforced = LevelVersion {
            level: enforce.map_or(Level::Privileged, |level| level.unwrap_or(Level::Restricted)),
            version: enforce_version,
        };
        let warned = match (warn, enforce) {
            (Some(level), _) => LevelVersion {
                level: level.unwrap_or(Level::Privileged),
                version: warn_version.unwrap_or(latest),
            },
            // Whoever enforces and says nothing of warnings is warned of the same.
            (None, Some(Ok(level))) if level > Level::Privileged => {
                LevelVersion { level, version: warn_version.unwrap_or(enforce_version) }
            }
            _ => LevelVersion { level: Level::Privileged, version: warn_version.unwrap_or(latest) },
        };
        (Self { enforce: enforced, warn: warned }, errors)
    }
}

fn key(name: &str) -> String {
    format!("pod-security.kubernetes.io/{name}")
}

fn path(name: &str) -> Path {
    Path::new("metadata").child("labels").key(&key(name))
}
