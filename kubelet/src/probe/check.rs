//! One run of a probe.

use std::time::Duration;

use api_types::core::v1::{Container, Probe};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;

use crate::cri::Runtime;
use crate::http_get;

#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// Most of an exec probe's output that is kept, in bytes.
const OUTPUT_LIMIT: usize = 10 << 10;
/// A run that could not be done at all is tried that often.
const ATTEMPTS: usize = 3;

/// What a run found; the texts go into events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is well.
    Success,
    /// It is well, but someone should know this.
    Warning(String),
    /// It is not well.
    Failure(String),
    /// The run itself failed; says nothing about the container.
    Error(String),
}

/// Runs `probe` once.
pub async fn run(runtime: &Runtime, probe: &Probe, container: &Container, id: &str, pod_ip: &str) -> Outcome {
    let mut outcome = Outcome::Error(String::new());
    for _ in 0..ATTEMPTS {
        outcome = attempt(runtime, probe, container, id, pod_ip).await;
        if !matches!(outcome, Outcome::Error(_)) {
            break;
        }
    }
    outcome
}

async fn attempt(runtime: &Runtime, probe: &Probe, container: &Container, id: &str, pod_ip: &str) -> Outcome {
    let limit = Duration::from_secs(probe.timeout_seconds.max(1).unsigned_abs().into());
    let handler = &probe.handler;
    if let Some(action) = &handler.exec {
        let command = crate::environment::expand_static(&action.command, &container.env);
        exec(runtime, id, command, limit).await
    } else if let Some(action) = &handler.http_get {
        match http_get::get(action, container, pod_ip, "probe", limit).await {
            Ok(answer) if answer.status.is_redirection() => {
                Outcome::Warning(format!("Probe terminated redirects, Response body: {}", answer.body))
            }
            Ok(answer) if answer.status.is_success() => Outcome::Success,
            Ok(answer) => {
                Outcome::Failure(format!("HTTP probe failed with statuscode: {}", answer.status.as_u16()))
            }
            Err(error @ http_get::GetError::Port(_)) => Outcome::Error(error.to_string()),
            Err(error) => Outcome::Failure(error.to_string()),
        }
    } else if let Some(action) = &handler.tcp_socket {
        match http_get::resolve_port(&action.port, container) {
            Ok(port) => tcp(if action.host.is_empty() { pod_ip } else { &action.host }, port, limit).await,
            Err(error) => Outcome::Error(error.to_string()),
        }
    } else if let Some(action) = &handler.grpc {
        match u16::try_from(action.port) {
            Ok(port) => grpc(pod_ip, port, action.service.clone().unwrap_or_default(), limit).await,
            Err(_) => Outcome::Error(format!("invalid port: {}", action.port)),
        }
    } else {
        Outcome::Error(format!("missing probe handler for {}", container.name))
    }
}

async fn exec(runtime: &Runtime, id: &str, command: Vec<String>, limit: Duration) -> Outcome {
    let shown = command.join(" ");
    match runtime.exec_sync(id, command, limit).await {
        Ok(answer) => {
            let mut output = answer.stdout;
            output.extend_from_slice(&answer.stderr);
            output.truncate(OUTPUT_LIMIT);
            match answer.exit_code {
                0 => Outcome::Success,
                _ => Outcome::Failure(String::from_utf8_lossy(&output).into_owned()),
            }
        }
        Err(error) if error.is_timeout() => {
            Outcome::Failure(format!("command timed out: {shown:?} timed out after {}", go_duration(limit)))
        }
        Err(error) => Outcome::Error(error.to_string()),
    }
}

/// COMPAT: whole seconds as Go prints durations (`1m30s`).
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

async fn tcp(host: &str, port: u16, limit: Duration) -> Outcome {
    let authority = http_get::authority(host, port);
    match tokio::time::timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(http_get::dial_error(&authority, &error)),
        Err(_) => Outcome::Failure(format!("dial tcp {authority}: i/o timeout")),
    }
}

async fn grpc(host: &str, port: u16, service: String, limit: Duration) -> Outcome {
    let authority = http_get::authority(host, port);
    let shown = go_duration(limit);
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{authority}")) else {
        return Outcome::Error(format!("invalid address: {authority}"));
    };
    let check = async {
        let channel = match endpoint.connect().await {
            Ok(channel) => channel,
            // Go's client keeps dialling until the deadline, so that is what its message says.
            Err(_) => std::future::pending().await,
        };
        let mut client = health::health_client::HealthClient::new(channel);
        client.check(health::HealthCheckRequest { service }).await
    };
    use health::health_check_response::ServingStatus;
    match tokio::time::timeout(limit, check).await {
        Err(_) => Outcome::Failure(format!(
            "timeout: failed to connect service {authority:?} within {shown}: context deadline exceeded"
        )),
        Ok(Ok(answer)) => {
            let status = answer.into_inner().status();
            if status == ServingStatus::Serving {
                Outcome::Success
            } else {
                Outcome::Failure(format!("service unhealthy (responded with {:?})", status.as_str_name()))
            }
        }
        Ok(Err(status)) => Outcome::Failure(match status.code() {
            tonic::Code::Unimplemented => format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                status.message()
            ),
            tonic::Code::DeadlineExceeded => format!("timeout: health rpc did not complete within {shown}"),
            _ => format!("error: health rpc probe failed: {}", crate::cri::CallError::from(status)),
        }),
    }
}
