//! Probes and lifecycle hooks: what the kubelet does to ask or tell a container.

use crate::core::v1::Signal;
use crate::open_enum::open_enum;
use crate::value::IntOrString;
use api_types_derive::Api;

/// A check that the kubelet repeats on a container.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Probe {
    /// What is done.
    #[api(1, inline)]
    pub handler: ProbeHandler,
    /// Seconds from the container's start to the first check.
    #[api(2)]
    pub initial_delay_seconds: i32,
    /// Seconds until a check counts as failed; 1 when not given.
    #[api(3)]
    pub timeout_seconds: i32,
    /// Seconds between checks; 10 when not given.
    #[api(4)]
    pub period_seconds: i32,
    /// Successes in a row that turn failure into success.
    #[api(5)]
    pub success_threshold: i32,
    /// Failures in a row that turn success into failure.
    #[api(6)]
    pub failure_threshold: i32,
    /// Seconds to stop the container in after this probe failed, instead of the pod's.
    #[api(7)]
    pub termination_grace_period_seconds: Option<i64>,
}

/// What a probe does; exactly one is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ProbeHandler {
    /// Runs a command in the container.
    #[api(1)]
    pub exec: Option<Box<ExecAction>>,
    /// Sends an HTTP request.
    #[api(2)]
    pub http_get: Option<Box<HTTPGetAction>>,
    /// Opens a TCP connection.
    #[api(3)]
    pub tcp_socket: Option<Box<TCPSocketAction>>,
    /// Asks the gRPC health service.
    #[api(4)]
    pub grpc: Option<Box<GRPCAction>>,
}

/// Runs a command; exit code 0 is success.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct ExecAction {
    /// Program and arguments, without a shell.
    #[api(1, list = atomic)]
    pub command: Vec<String>,
}

/// Sends an HTTP GET; a status from 200 to 399 is success.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct HTTPGetAction {
    /// Path to ask for.
    #[api(1)]
    pub path: String,
    /// Port, by number or by the name of a container port.
    #[api(2, required)]
    pub port: IntOrString,
    /// Host to connect to; the pod's address when not given.
    #[api(3)]
    pub host: String,
    /// HTTP or HTTPS; HTTP when not given.
    #[api(4)]
    pub scheme: URIScheme,
    /// Headers to send.
    #[api(5, list = atomic)]
    pub http_headers: Vec<HTTPHeader>,
}

/// One header of a request.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct HTTPHeader {
    /// Name of the header.
    #[api(1, required)]
    pub name: String,
    /// Its value.
    #[api(2, required)]
    pub value: String,
}

open_enum! {
    /// How an HTTP probe connects.
    pub enum URIScheme {
        Http = "HTTP",
        Https = "HTTPS",
    }
}

/// Opens a TCP connection; being accepted is success.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct TCPSocketAction {
    /// Port, by number or by the name of a container port.
    #[api(1, required)]
    pub port: IntOrString,
    /// Host to connect to; the pod's address when not given.
    #[api(2)]
    pub host: String,
}

/// Asks the gRPC health service; SERVING is success.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct GRPCAction {
    /// Port number.
    #[api(1, required)]
    pub port: i32,
    /// Service to ask about.
    #[api(2, always, default = "")]
    pub service: Option<String>,
}

/// Waits.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct SleepAction {
    /// How long, in seconds.
    #[api(1, required)]
    pub seconds: i64,
}

/// What to do after a container's start and before its stop.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Lifecycle {
    /// Done right after the start; failure kills the container.
    #[api(1)]
    pub post_start: Option<Box<LifecycleHandler>>,
    /// Done before the container is stopped, within the grace period.
    #[api(2)]
    pub pre_stop: Option<Box<LifecycleHandler>>,
    /// Signal to stop by, instead of the image's; needs the pod's os.
    #[api(3)]
    pub stop_signal: Option<Signal>,
}

/// What a hook does; one is set.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct LifecycleHandler {
    /// Runs a command in the container.
    #[api(1)]
    pub exec: Option<Box<ExecAction>>,
    /// Sends an HTTP request.
    #[api(2)]
    pub http_get: Option<Box<HTTPGetAction>>,
    /// Kept for old objects; refused when run.
    #[api(3)]
    pub tcp_socket: Option<Box<TCPSocketAction>>,
    /// Waits.
    #[api(4)]
    pub sleep: Option<Box<SleepAction>>,
}
