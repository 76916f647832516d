//! The table of checks, and what they share: walks over containers, and the words of messages.

use super::level::{Level, LevelVersion, Version};
use super::{baseline, restricted};
use api_types::core::v1::{Container, OSName, PodSpec, SecurityContext};
use api_types::meta::v1::ObjectMeta;
use std::collections::BTreeSet;

/// What is looked at.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub meta: &'a ObjectMeta,
    pub spec: &'a PodSpec,
    pub version: Version,
}

/// What is wrong: a short reason and, mostly, the details.
pub(super) struct Violation {
    pub reason: String,
    pub detail: String,
}

pub(super) type Check = fn(Subject<'_>) -> Option<Violation>;

/// A check by its upstream id, the first minor version it belongs to, and the id of the restricted
/// check that takes its place (empty: none).
struct Row(&'static str, u32, &'static str, Check);

/// Ordered by id, as messages are.
static BASELINE: &[Row] = &[
    Row("appArmorProfile", 0, "", baseline::app_armor),
    Row("capabilities_baseline", 0, "capabilities_restricted", baseline::capabilities),
    Row("hostNamespaces", 0, "", baseline::host_namespaces),
    Row("hostPathVolumes", 0, "restrictedVolumes", baseline::host_path),
    Row("hostPorts", 0, "", baseline::host_ports),
    Row("hostProbesAndHostLifecycle", 34, "", baseline::host_probes),
    Row("privileged", 0, "", baseline::privileged),
    Row("procMount", 0, "procMount_restricted", baseline::proc_mount),
    Row("seLinuxOptions", 0, "", baseline::se_linux),
    Row("seccompProfile_baseline", 0, "seccompProfile_restricted", baseline::seccomp),
    Row("sysctls", 0, "", baseline::sysctls),
    Row("windowsHostProcess", 0, "", baseline::windows_host_process),
];

static RESTRICTED: &[Row] = &[
    Row("allowPrivilegeEscalation", 8, "", restricted::privilege_escalation),
    Row("capabilities_restricted", 22, "", restricted::capabilities),
    Row("procMount_restricted", 35, "", baseline::any_proc_mount),
    Row("restrictedVolumes", 0, "", restricted::volumes),
    Row("runAsNonRoot", 0, "", restricted::run_as_non_root),
    Row("runAsUser", 23, "", restricted::run_as_user),
    Row("seccompProfile_restricted", 19, "", restricted::seccomp),
];

/// Everything in which a pod does not keep to a level, as one text.
pub(super) fn violations(at: LevelVersion, meta: &ObjectMeta, spec: &PodSpec) -> Option<String> {
    if at.level == Level::Privileged {
        return None;
    }
    let subject = Subject { meta, spec, version: at.version };
    let strict = at.level == Level::Restricted;
    let replaced = |by: &str| strict && RESTRICTED.iter().any(|row| row.0 == by && at.version.has(row.1));
    let strict_rows = if strict { RESTRICTED } else { &[] };
    let found: Vec<String> = BASELINE
        .iter()
        .filter(|row| !replaced(row.2))
        .chain(strict_rows)
        .filter(|row| at.version.has(row.1))
        .filter_map(|row| row.3(subject))
        .map(
            |Violation { reason, detail }| {
                if detail.is_empty() { reason } else { format!("{reason} ({detail})") }
            },
        )
        .collect();
    (!found.is_empty()).then(|| found.join(", "))
}

impl<'a> Subject<'a> {
    /// Init containers, containers, ephemeral containers.
    pub(super) fn containers(self) -> impl Iterator<Item = &'a Container> {
        let ephemeral = self.spec.ephemeral_containers.iter().map(|container| &container.common);
        self.spec.init_containers.iter().chain(&self.spec.containers).chain(ephemeral)
    }

    /// The names of the containers that are `bad`.
    pub(super) fn bad(self, bad: impl Fn(&Container) -> bool) -> Vec<&'a str> {
        self.containers()
            .filter(|container| bad(container))
            .map(|container| container.name.as_str())
            .collect()
    }

    pub(super) fn is_windows(self) -> bool {
        self.spec.os.as_ref().is_some_and(|os| os.name == OSName::Windows)
    }

    /// Root in a user namespace of its own is not root of the node.
    pub(super) fn has_user_namespace(self) -> bool {
        self.spec.host_users == Some(false)
    }
}

pub(super) fn security(container: &Container) -> Option<&SecurityContext> {
    container.security_context.as_deref()
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn named<T: AsRef<str>>(what: &str, names: &[T]) -> String {
    format!("{} {}", plural(what, names.len()), quoted(names))
}

pub(super) fn plural(what: &str, count: usize) -> String {
    if count == 1 { what.to_owned() } else { format!("{what}s") }
}

pub(super) fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{}\"", name.as_ref())).collect();
    quoted.join(", ")
}

pub(super) fn quoted_set(values: &BTreeSet<String>) -> String {
    quoted(&values.iter().collect::<Vec<_>>())
}

/// `pod and containers "a", "b"`: who set something; `None` when nobody did.
pub(super) fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    let mut setters = Vec::new();
    if pod {
        setters.push("pod".to_owned());
    }
    if !containers.is_empty() {
        setters.push(named("container", containers));
    }
    (!setters.is_empty()).then(|| setters.join(" and "))
}

pub(super) fn violation(reason: &str, detail: String) -> Option<Violation> {
    Some(Violation { reason: reason.to_owned(), detail })
}
