//! Users, capabilities and confinement of pods and containers.

use crate::open_enum::open_enum;
use api_types_derive::Api;

/// Security settings of a pod; a container's own win.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodSecurityContext {
    /// SELinux label of all containers.
    #[api(1)]
    pub se_linux_options: Option<Box<SELinuxOptions>>,
    /// Settings for Windows.
    #[api(8)]
    pub windows_options: Option<Box<WindowsSecurityContextOptions>>,
    /// User id of the first process; the image's when not given.
    #[api(2)]
    pub run_as_user: Option<i64>,
    /// Group id of the first process; the runtime's default when not given.
    #[api(6)]
    pub run_as_group: Option<i64>,
    /// Whether containers that would run as root are refused.
    #[api(3)]
    pub run_as_non_root: Option<bool>,
    /// Further groups of the first process.
    #[api(4, list = atomic)]
    pub supplemental_groups: Vec<i64>,
    /// Whether groups of the image's user count too.
    #[api(12)]
    pub supplemental_groups_policy: Option<SupplementalGroupsPolicy>,
    /// Group that owns the volumes and that processes belong to.
    #[api(5)]
    pub fs_group: Option<i64>,
    /// Kernel settings of the pod's namespaces.
    #[api(7, list = atomic)]
    pub sysctls: Vec<Sysctl>,
    /// When the ownership of a volume is changed to fsGroup.
    #[api(9)]
    pub fs_group_change_policy: Option<PodFSGroupChangePolicy>,
    /// Seccomp profile of all containers.
    #[api(10)]
    pub seccomp_profile: Option<Box<SeccompProfile>>,
    /// AppArmor profile of all containers.
    #[api(11)]
    pub app_armor_profile: Option<Box<AppArmorProfile>>,
    /// How the SELinux label gets onto volumes.
    #[api(13)]
    pub se_linux_change_policy: Option<PodSELinuxChangePolicy>,
}

/// Security settings of a container; they win over the pod's.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct SecurityContext {
    /// Capabilities to add and to drop.
    #[api(1)]
    pub capabilities: Option<Box<Capabilities>>,
    /// Whether its processes are as root on the node.
    #[api(2)]
    pub privileged: Option<bool>,
    /// SELinux label.
    #[api(3)]
    pub se_linux_options: Option<Box<SELinuxOptions>>,
    /// Settings for Windows.
    #[api(10)]
    pub windows_options: Option<Box<WindowsSecurityContextOptions>>,
    /// User id of the first process.
    #[api(4)]
    pub run_as_user: Option<i64>,
    /// Group id of the first process.
    #[api(8)]
    pub run_as_group: Option<i64>,
    /// Whether running as root is refused.
    #[api(5)]
    pub run_as_non_root: Option<bool>,
    /// Whether the root filesystem is read-only.
    #[api(6)]
    pub read_only_root_filesystem: Option<bool>,
    /// Whether a process may gain more privileges than its parent.
    #[api(7)]
    pub allow_privilege_escalation: Option<bool>,
    /// How /proc is mounted.
    #[api(9)]
    pub proc_mount: Option<ProcMountType>,
    /// Seccomp profile.
    #[api(11)]
    pub seccomp_profile: Option<Box<SeccompProfile>>,
    /// AppArmor profile.
    #[api(12)]
    pub app_armor_profile: Option<Box<AppArmorProfile>>,
}

/// Changes to the runtime's set of POSIX capabilities.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Capabilities {
    /// Capabilities to add.
    #[api(1, list = atomic)]
    pub add: Vec<String>,
    /// Capabilities to drop.
    #[api(2, list = atomic)]
    pub drop: Vec<String>,
}

/// Parts of an SELinux label.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct SELinuxOptions {
    /// The user part.
    #[api(1)]
    pub user: String,
    /// The role part.
    #[api(2)]
    pub role: String,
    /// The type part.
    #[api(3)]
    pub type_: String,
    /// The level part.
    #[api(4)]
    pub level: String,
}

/// Which seccomp profile applies.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct SeccompProfile {
    /// Where the profile comes from.
    #[api(1, required)]
    pub type_: SeccompProfileType,
    /// File on the node, below the kubelet's profile folder; with type Localhost only.
    #[api(2)]
    pub localhost_profile: Option<String>,
}

open_enum! {
    /// Where a seccomp profile comes from.
    pub enum SeccompProfileType {
        Unconfined = "Unconfined",
        RuntimeDefault = "RuntimeDefault",
        Localhost = "Localhost",
    }
}

/// Which AppArmor profile applies.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct AppArmorProfile {
    /// Where the profile comes from.
    #[api(1, required)]
    pub type_: AppArmorProfileType,
    /// Profile loaded on the node; with type Localhost only.
    #[api(2)]
    pub localhost_profile: Option<String>,
}

open_enum! {
    /// Where an AppArmor profile comes from.
    pub enum AppArmorProfileType {
        Unconfined = "Unconfined",
        RuntimeDefault = "RuntimeDefault",
        Localhost = "Localhost",
    }
}

/// Security settings for Windows; kept and refused on Linux.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct WindowsSecurityContextOptions {
    /// Name of the GMSA credential spec.
    #[api(1)]
    pub gmsa_credential_spec_name: Option<String>,
    /// Content of the GMSA credential spec.
    #[api(2)]
    pub gmsa_credential_spec: Option<String>,
    /// Windows user of the first process.
    #[api(3)]
    pub run_as_user_name: Option<String>,
    /// Whether it runs as a process of the host.
    #[api(4)]
    pub host_process: Option<bool>,
}

/// One kernel setting.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Sysctl {
    /// Name of the setting.
    #[api(1, required)]
    pub name: String,
    /// Its value.
    #[api(2, required)]
    pub value: String,
}

open_enum! {
    /// When the ownership of a volume is changed to fsGroup.
    pub enum PodFSGroupChangePolicy {
        OnRootMismatch = "OnRootMismatch",
        Always = "Always",
    }
}

open_enum! {
    /// Which groups a container's first process gets.
    pub enum SupplementalGroupsPolicy {
        Merge = "Merge",
        Strict = "Strict",
    }
}

open_enum! {
    /// How an SELinux label gets onto volumes.
    pub enum PodSELinuxChangePolicy {
        Recursive = "Recursive",
        MountOption = "MountOption",
    }
}

open_enum! {
    /// How /proc is mounted.
    pub enum ProcMountType {
        Default = "Default",
        Unmasked = "Unmasked",
    }
}
