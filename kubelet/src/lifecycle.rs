//! Lifecycle hooks: exec, HTTP, sleep.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::{Container, LifecycleHandler, Pod};

use crate::http_get::{self, GetError};
use crate::kubelet::Kubelet;

/// HTTP hooks have no deadline of their own; their caller's is the grace period.
const HTTP_LIMIT: Duration = Duration::from_secs(3600);

/// Runs a hook of a container; an error is its message.
pub async fn run(
    kubelet: &Arc<Kubelet>,
    pod: &Pod,
    container: &Container,
    id: &str,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    let meta = &pod.metadata;
    let place = format!(
        "for Container {:?} in Pod \"{}_{}({})\" failed - error:",
        container.name, meta.name, meta.namespace, meta.uid
    );
    if let Some(action) = &hook.exec {
        let shown = format!("Exec lifecycle hook ([{}]) {place}", action.command.join(" "));
        match kubelet.runtime.exec_sync(id, action.command.clone(), Duration::ZERO).await {
            Ok(answer) if answer.exit_code == 0 => Ok(()),
            Ok(answer) => {
                let output = [answer.stdout, answer.stderr].concat();
                Err(format!(
                    "{shown} command '{}' exited with {}: {}, message: {:?}",
                    action.command.join(" "),
                    answer.exit_code,
                    String::from_utf8_lossy(&output),
                    String::from_utf8_lossy(&output)
                ))
            }
            Err(error) => Err(format!("{shown} {error}, message: \"\"")),
        }
    } else if let Some(action) = &hook.http_get {
        let failed = |error: String| format!("HTTP lifecycle hook ({}) {place} {error}", action.path);
        let observed = kubelet.observe(&meta.uid).await.map_err(|error| failed(error.to_string()))?;
        let ip = match observed.ips().first() {
            Some(ip) => ip.clone(),
            None if pod.spec.host_network => {
                kubelet.addresses.host_ips().into_iter().next().unwrap_or_default()
            }
            None if !action.host.is_empty() => String::new(),
            None => return Err(failed("failed to find networking container".into())),
        };
        // Any answer will do, whatever its status code.
        match http_get::get(action, container, &ip, "lifecycle", HTTP_LIMIT).await {
            Err(GetError::Request { cause, .. }) if cause.contains("HTTP response to HTTPS client") => {
                let mut plain = (**action).clone();
                plain.scheme = api_types::core::v1::URIScheme::Http;
                let retried = http_get::get(&plain, container, &ip, "lifecycle", HTTP_LIMIT).await;
                retried.map(drop).map_err(|error| failed(error.to_string()))
            }
            other => other.map(drop).map_err(|error| failed(error.to_string())),
        }
    } else if let Some(action) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(action.seconds.max(0).unsigned_abs())).await;
        Ok(())
    } else {
        Err("Cannot run handler: invalid handler".into())
    }
}
