//! Queries of the subresources log, exec, attach, port-forward and proxy.

use crate::value::Time;
use api_types_derive::Api;

/// Query of a pod's log.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodLogOptions {
    /// Container to read; needed when there are several.
    #[api(1)]
    pub container: String,
    /// Whether to go on as the log grows.
    #[api(2)]
    pub follow: bool,
    /// Whether to read the previous run of the container.
    #[api(3)]
    pub previous: bool,
    /// How many seconds back to begin.
    #[api(4)]
    pub since_seconds: Option<i64>,
    /// The moment to begin at.
    #[api(5)]
    pub since_time: Option<Time>,
    /// Whether each line begins with its time.
    #[api(6)]
    pub timestamps: bool,
    /// How many lines from the end; all when not given.
    #[api(7)]
    pub tail_lines: Option<i64>,
    /// Bytes after which to stop.
    #[api(8)]
    pub limit_bytes: Option<i64>,
    /// Whether the kubelet's certificate goes unchecked.
    #[api(9, name = "insecureSkipTLSVerifyBackend")]
    pub insecure_skip_tls_verify_backend: bool,
    /// All, Stdout or Stderr.
    #[api(10)]
    pub stream: Option<String>,
}

/// Query of a command run in a container.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodExecOptions {
    /// Whether to pass standard input.
    #[api(1)]
    pub stdin: bool,
    /// Whether to pass standard output.
    #[api(2)]
    pub stdout: bool,
    /// Whether to pass standard error.
    #[api(3)]
    pub stderr: bool,
    /// Whether to allocate a terminal.
    #[api(4)]
    pub tty: bool,
    /// Container to run in; needed when there are several.
    #[api(5)]
    pub container: String,
    /// Program and arguments, without a shell.
    #[api(6, required, list = atomic)]
    pub command: Vec<String>,
}

/// Query of an attachment to a running container.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodAttachOptions {
    /// Whether to pass standard input.
    #[api(1)]
    pub stdin: bool,
    /// Whether to pass standard output.
    #[api(2)]
    pub stdout: bool,
    /// Whether to pass standard error.
    #[api(3)]
    pub stderr: bool,
    /// Whether the container has a terminal.
    #[api(4)]
    pub tty: bool,
    /// Container to attach to; needed when there are several.
    #[api(5)]
    pub container: String,
}

/// Query of a forwarding of ports.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodPortForwardOptions {
    /// Ports to forward, for clients that speak WebSocket.
    #[api(1, list = atomic)]
    pub ports: Vec<i32>,
}

/// Query of the proxy to a pod.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct PodProxyOptions {
    /// Path of the request to the pod.
    #[api(1)]
    pub path: String,
}

/// Query of the proxy to a node.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct NodeProxyOptions {
    /// Path of the request to the kubelet.
    #[api(1)]
    pub path: String,
}

/// Query of the proxy to a Service.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ServiceProxyOptions {
    /// Path of the request to the Service.
    #[api(1)]
    pub path: String,
}
