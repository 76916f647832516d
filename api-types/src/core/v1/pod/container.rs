//! A container of a pod: image, command, ports, mounts, restarts.

use crate::core::v1::{
    EnvFromSource, EnvVar, Lifecycle, Probe, Protocol, ResourceRequirements, SecurityContext,
};
use crate::open_enum::open_enum;
use api_types_derive::Api;

/// One container of a pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Container {
    /// Name, a DNS label that is unique in the pod and never changes.
    #[api(1, required)]
    pub name: String,
    /// Image to run.
    #[api(2)]
    pub image: String,
    /// Program and first arguments, instead of the image's entrypoint; $(NAME) is expanded.
    #[api(3, list = atomic)]
    pub command: Vec<String>,
    /// Arguments, instead of the image's; $(NAME) is expanded.
    #[api(4, list = atomic)]
    pub args: Vec<String>,
    /// Directory to start in; the image's when not given.
    #[api(5)]
    pub working_dir: String,
    /// Ports that the container listens on; for information, and for host ports.
    #[api(6, list = map("containerPort", "protocol"), patch = merge_key("containerPort"))]
    pub ports: Vec<ContainerPort>,
    /// ConfigMaps and Secrets all of whose keys become variables.
    #[api(19, list = atomic)]
    pub env_from: Vec<EnvFromSource>,
    /// Environment variables; they win over envFrom.
    #[api(7, list = map("name"), patch = merge_key("name"))]
    pub env: Vec<EnvVar>,
    /// Resources that the container asks for and may use.
    #[api(8)]
    pub resources: ResourceRequirements,
    /// Which resources can change without a restart.
    #[api(23, list = atomic)]
    pub resize_policy: Vec<ContainerResizePolicy>,
    /// Restarts of this container; Always on an init container makes it a sidecar.
    #[api(24)]
    pub restart_policy: Option<ContainerRestartPolicy>,
    /// Exceptions to the restart policy, by exit code; the first match decides.
    #[api(25, list = atomic)]
    pub restart_policy_rules: Vec<ContainerRestartRule>,
    /// Volumes and where they appear in the container.
    #[api(9, list = map("mountPath"), patch = merge_key("mountPath"))]
    pub volume_mounts: Vec<VolumeMount>,
    /// Raw block volumes and where they appear in the container.
    #[api(21, list = map("devicePath"), patch = merge_key("devicePath"))]
    pub volume_devices: Vec<VolumeDevice>,
    /// Restarts the container when it fails.
    #[api(10)]
    pub liveness_probe: Option<Box<Probe>>,
    /// Takes the pod out of Services while it fails.
    #[api(11)]
    pub readiness_probe: Option<Box<Probe>>,
    /// Holds the other probes back until it succeeds once.
    #[api(22)]
    pub startup_probe: Option<Box<Probe>>,
    /// What to do after start and before stop.
    #[api(12)]
    pub lifecycle: Option<Box<Lifecycle>>,
    /// File whose content becomes the termination message.
    #[api(13)]
    pub termination_message_path: String,
    /// Whether the log's end may stand in for a missing message.
    #[api(20)]
    pub termination_message_policy: TerminationMessagePolicy,
    /// When the image is pulled.
    #[api(14)]
    pub image_pull_policy: PullPolicy,
    /// Security settings, which win over those of the pod.
    #[api(15)]
    pub security_context: Option<Box<SecurityContext>>,
    /// Whether the container gets a standard input.
    #[api(16)]
    pub stdin: bool,
    /// Whether the input closes after the first client has gone.
    #[api(17)]
    pub stdin_once: bool,
    /// Whether the container gets a terminal; needs stdin.
    #[api(18)]
    pub tty: bool,
}

/// A container added to a running pod, for debugging.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct EphemeralContainer {
    /// What it shares with every container; ports, probes, resources and lifecycle are not allowed.
    #[api(1, inline)]
    pub common: Container,
    /// Container whose namespaces it joins.
    #[api(2)]
    pub target_container_name: String,
}

/// A port that a container listens on.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ContainerPort {
    /// Name by which Services and probes can mean the port.
    #[api(1)]
    pub name: String,
    /// Port of the node that leads here.
    #[api(2)]
    pub host_port: i32,
    /// The port in the container.
    #[api(3, required)]
    pub container_port: i32,
    /// Transport protocol; TCP when not given.
    #[api(4, default = "TCP")]
    pub protocol: Protocol,
    /// Address of the node that the host port is bound to.
    #[api(5, name = "hostIP")]
    pub host_ip: String,
}

open_enum! {
    /// When an image is pulled.
    pub enum PullPolicy {
        Always = "Always",
        Never = "Never",
        IfNotPresent = "IfNotPresent",
    }
}

open_enum! {
    /// Where a container's last words come from.
    pub enum TerminationMessagePolicy {
        File = "File",
        FallbackToLogsOnError = "FallbackToLogsOnError",
    }
}

/// Where a volume appears in a container.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct VolumeMount {
    /// Name of the volume in the pod.
    #[api(1, required)]
    pub name: String,
    /// Whether the container can only read it.
    #[api(2)]
    pub read_only: bool,
    /// Whether mounts below are read-only too.
    #[api(7)]
    pub recursive_read_only: Option<RecursiveReadOnlyMode>,
    /// Path in the container; no colon.
    #[api(3, required)]
    pub mount_path: String,
    /// Path in the volume to mount instead of its root.
    #[api(4)]
    pub sub_path: String,
    /// Whether later mounts are seen on the other side.
    #[api(5)]
    pub mount_propagation: Option<MountPropagationMode>,
    /// As subPath, with $(NAME) expanded.
    #[api(6)]
    pub sub_path_expr: String,
}

open_enum! {
    /// How mounts pass between node and container.
    pub enum MountPropagationMode {
        None = "None",
        HostToContainer = "HostToContainer",
        Bidirectional = "Bidirectional",
    }
}

open_enum! {
    /// Whether a read-only mount must hold all the way down.
    pub enum RecursiveReadOnlyMode {
        Disabled = "Disabled",
        IfPossible = "IfPossible",
        Enabled = "Enabled",
    }
}

/// Where a raw block volume appears in a container.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct VolumeDevice {
    /// Name of the volume in the pod; it must be a claim.
    #[api(1, required)]
    pub name: String,
    /// Path of the device in the container.
    #[api(2, required)]
    pub device_path: String,
}

/// Whether a resource can change without a restart.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ContainerResizePolicy {
    /// The resource: cpu or memory.
    #[api(1, required)]
    pub resource_name: String,
    /// Whether the container restarts when it changes.
    #[api(2, required)]
    pub restart_policy: ResourceResizeRestartPolicy,
}

open_enum! {
    /// Whether a change of a resource restarts the container.
    pub enum ResourceResizeRestartPolicy {
        NotRequired = "NotRequired",
        RestartContainer = "RestartContainer",
    }
}

open_enum! {
    /// When a single container is started again.
    pub enum ContainerRestartPolicy {
        Always = "Always",
        Never = "Never",
        OnFailure = "OnFailure",
    }
}

/// What to do when a container ends in a certain way.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ContainerRestartRule {
    /// What to do on a match.
    #[api(1, required, omitempty)]
    pub action: ContainerRestartRuleAction,
    /// Exit codes that match.
    #[api(2)]
    pub exit_codes: Option<Box<ContainerRestartRuleOnExitCodes>>,
}

open_enum! {
    /// What a restart rule does.
    pub enum ContainerRestartRuleAction {
        Restart = "Restart",
        RestartAllContainers = "RestartAllContainers",
    }
}

/// Exit codes that a restart rule matches.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ContainerRestartRuleOnExitCodes {
    /// Whether the code must be among the values or not.
    #[api(1, required, omitempty)]
    pub operator: ContainerRestartRuleOnExitCodesOperator,
    /// The exit codes, at most 255.
    #[api(2, list = set)]
    pub values: Vec<i32>,
}

open_enum! {
    /// How an exit code is compared.
    pub enum ContainerRestartRuleOnExitCodesOperator {
        In = "In",
        NotIn = "NotIn",
    }
}
