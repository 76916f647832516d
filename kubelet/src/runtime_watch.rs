//! Keeps track of the runtime: its version, whether it is ready, whether pods can get a network.

use std::sync::Arc;
use std::time::Duration;

use daemon::shutdown::Shutdown;
use tokio::time::Instant;

use crate::cri::v1;
use crate::cri::{Runtime, version};
use crate::kubelet::{Kubelet, RuntimeFacts};

const EVERY: Duration = Duration::from_secs(5);
/// While something is amiss, pods wait for its end.
const WHILE_DOWN: Duration = Duration::from_millis(500);

/// COMPAT: how upstream prints a condition of the runtime.
fn describe(condition: Option<&v1::RuntimeCondition>, kind: &str) -> String {
    match condition {
        Some(condition) if condition.status => String::new(),
        Some(condition) => {
            format!("{kind}={} reason:{} message:{}", condition.status, condition.reason, condition.message)
        }
        None => format!("{kind} condition is not set"),
    }
}

/// Asks the runtime about itself.
pub async fn look(runtime: &Runtime) -> RuntimeFacts {
    let mut facts = RuntimeFacts::default();
    match runtime.version().await {
        Ok(version) => {
            facts.name = version.runtime_name;
            facts.version = version::told(&version.runtime_version);
        }
        Err(error) => facts.runtime_error = format!("container runtime is down: {error}"),
    }
    match runtime.status().await {
        Ok(status) => {
            let conditions = status.status.clone().unwrap_or_default().conditions;
            let find = |name: &str| conditions.iter().find(|condition| condition.r#type == name);
            let problem = describe(find("RuntimeReady"), "RuntimeReady");
            if !problem.is_empty() {
                facts.runtime_error = format!("container runtime not ready: {problem}");
            }
            let problem = describe(find("NetworkReady"), "NetworkReady");
            if !problem.is_empty() {
                facts.network_error = format!("container runtime network not ready: {problem}");
            }
            facts.status = status;
            facts.seen = Some(Instant::now());
        }
        Err(error) => {
            facts.runtime_error =
                format!("container runtime status check may not have completed yet: {error}");
        }
    }
    facts
}

/// Waits until the runtime answers; `Err` when told to stop before.
pub async fn wait(runtime: &Runtime, endpoint: &str, shutdown: &Shutdown) -> Result<RuntimeFacts, Stopped> {
    let mut told = false;
    loop {
        let facts = look(runtime).await;
        // A runtime that still starts may tell its version, and nothing else.
        if !facts.name.is_empty() && facts.status.status.is_some() {
            return Ok(facts);
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(error = facts.runtime_error, endpoint, "waiting for the container runtime");
        }
        shutdown.unless(tokio::time::sleep(WHILE_DOWN)).await.ok_or(Stopped)?;
    }
}

/// The kubelet was told to stop before the runtime answered.
#[derive(Debug, thiserror::Error)]
#[error("stopped while waiting for the container runtime")]
pub struct Stopped;

/// Looks every few seconds; never ends. What was known of a runtime that is down stays known.
pub async fn run(kubelet: Arc<Kubelet>) {
    let mut pause = EVERY;
    loop {
        tokio::time::sleep(pause).await;
        let mut facts = look(&kubelet.runtime).await;
        let fine = facts.network_error.is_empty() && facts.runtime_error.is_empty();
        pause = if fine { EVERY } else { WHILE_DOWN };
        let mut known = kubelet.runtime_facts.write();
        facts.seen = facts.seen.or(known.seen);
        if facts.name.is_empty() {
            facts.name.clone_from(&known.name);
            facts.version.clone_from(&known.version);
        }
        if facts.network_error != known.network_error || facts.runtime_error != known.runtime_error {
            tracing::info!(
                runtime_error = facts.runtime_error,
                network_error = facts.network_error,
                "the runtime's condition changed"
            );
            // Turns that failed for it would wait for their time.
            if fine {
                for (pod, _) in kubelet.workers.all() {
                    kubelet.workers.wake(&pod.metadata.uid);
                }
            }
        }
        *known = facts;
    }
}
