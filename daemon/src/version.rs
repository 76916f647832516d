//! Who we say we are: `--version`, the apiserver's /version and `kubernetes_build_info`.
//! The Kubernetes version is that of the API that we implement; our own version follows `+`,
//! where semantic versioning puts build metadata, so that clients compare it as v1.36.2.

use serde::Serialize;

/// The Kubernetes release whose API and behaviour we follow.
pub const KUBERNETES: &str = "v1.36.2";
/// `major` of /version.
pub const MAJOR: &str = "1";
/// `minor` of /version.
pub const MINOR: &str = "36";
/// What kubectl shows as the server's version, and the node as the kubelet's.
pub const GIT_VERSION: &str = concat!("v1.36.2+ferrokube.", env!("CARGO_PKG_VERSION"));

/// The answer of /version (`k8s.io/apimachinery/pkg/version.Info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    pub major: &'static str,
    pub minor: &'static str,
    /// The release whose feature set is on; always our own.
    pub emulation_major: &'static str,
    pub emulation_minor: &'static str,
    /// The oldest release that a peer of ours may run during an upgrade.
    pub min_compatibility_major: &'static str,
    pub min_compatibility_minor: &'static str,
    pub git_version: &'static str,
    pub git_commit: &'static str,
    /// `clean`, `dirty`, or `archive` when built outside a git checkout.
    pub git_tree_state: &'static str,
    pub build_date: &'static str,
    /// COMPAT: clients require the field; it holds the version of rustc.
    pub go_version: &'static str,
    pub compiler: &'static str,
    pub platform: &'static str,
}

/// The facts of this build.
pub const fn info() -> Info {
    Info {
        major: MAJOR,
        minor: MINOR,
        emulation_major: MAJOR,
        emulation_minor: MINOR,
        min_compatibility_major: MAJOR,
        min_compatibility_minor: "35",
        git_version: GIT_VERSION,
        git_commit: env!("BUILD_GIT_COMMIT"),
        git_tree_state: env!("BUILD_GIT_TREE_STATE"),
        build_date: env!("BUILD_DATE"),
        go_version: env!("BUILD_RUSTC"),
        compiler: "rustc",
        platform: PLATFORM,
    }
}

/// Go's name of this architecture, as in node.status.nodeInfo.architecture and image platforms.
pub const ARCH: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    std::env::consts::ARCH
};

const PLATFORM: &str = if cfg!(target_arch = "x86_64") {
    "linux/amd64"
} else if cfg!(target_arch = "aarch64") {
    "linux/arm64"
} else {
    "linux/unknown"
};

/// What `--version` prints: `Kubernetes v1.36.2+ferrokube.0.1.0`.
pub fn line() -> String {
    format!("Kubernetes {GIT_VERSION}")
}

/// The User-Agent of a component's requests, in client-go's form:
/// `kube-scheduler/v1.36.2 (linux/amd64) kubernetes/1a2b3c4/leader-election`.
pub fn user_agent(component: &str, purpose: Option<&str>) -> String {
    let commit = info().git_commit.get(..7).unwrap_or("unknown");
    let mut agent = format!("{component}/{GIT_VERSION} ({PLATFORM}) kubernetes/{commit}");
    if let Some(purpose) = purpose {
        agent.push('/');
        agent.push_str(purpose);
    }
    agent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_line_is_upstreams_with_our_metadata() {
        assert_eq!(line(), format!("Kubernetes {KUBERNETES}+ferrokube.{}", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn info_has_the_fields_clients_require() {
        let v = serde_json::to_value(info()).unwrap();
        assert_eq!(v["major"], "1");
        assert_eq!(v["minor"], "36");
        for field in
            ["gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"]
        {
            assert!(v[field].is_string(), "{field}");
        }
        assert!(v["goVersion"].as_str().unwrap().starts_with("rustc "));
        assert!(v["buildDate"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn user_agent_names_the_purpose_last() {
        let agent = user_agent("kubelet", Some("node-status"));
        assert!(agent.starts_with("kubelet/v1.36.2+ferrokube."), "{agent}");
        assert!(agent.ends_with("/node-status"), "{agent}");
    }
}
