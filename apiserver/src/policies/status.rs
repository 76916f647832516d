//! Keeps the status of policies that validate: which generation was looked at, and the doubts about its
//! expressions. Upstream has a controller for it; here the server does it that can compile expressions. Every
//! server does; what one has written is no work for the others.

use std::sync::Arc;
use std::time::Duration;

use api_types::admissionregistration::v1::{TypeChecking, ValidatingAdmissionPolicy};
use daemon::shutdown::Shutdown;

use super::typing;
use crate::bootstrap::ObjectsError;
use crate::objects::Registry;
use crate::server::Server;

/// COMPAT: the manager of the status' fields.
const MANAGER: &str = "validatingadmissionpolicy-status-controller";
/// How soon a status that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Runs until shutdown.
pub async fn run(server: Arc<Server>, shutdown: Shutdown) {
    shutdown.unless(follow(&server)).await;
}

async fn follow(server: &Arc<Server>) {
    let collection = server.storage.of::<ValidatingAdmissionPolicy>().clone();
    collection.synced().await;
    let objects = Registry(server.clone());
    loop {
        let present = collection.start_now(None);
        let mut cursor = present.cursor;
        let mut well = true;
        for entry in present.snapshot.iter() {
            let Ok(policy) = entry.typed::<ValidatingAdmissionPolicy>() else { continue };
            let Some(told) = plan(policy) else { continue };
            let name = told.metadata.name.clone();
            match objects.update_status(Box::new(told), MANAGER).await {
                // Somebody was faster: the change wakes us again.
                Ok(()) | Err(ObjectsError::Changed { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, policy = name, "Cannot write a policy's status");
                    well = false;
                }
            }
        }
        tokio::select! {
            () = cursor.appended() => {}
            () = tokio::time::sleep(AGAIN), if !well => {}
        }
    }
}

/// The policy with its status; `None` where it is as it should be.
fn plan(mut policy: ValidatingAdmissionPolicy) -> Option<ValidatingAdmissionPolicy> {
    let generation = policy.metadata.generation;
    if generation <= policy.status.observed_generation {
        return None;
    }
    let expression_warnings = typing::doubts(&policy);
    policy.status.observed_generation = generation;
    policy.status.type_checking = Some(Box::new(TypeChecking { expression_warnings }));
    Some(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_is_looked_at_once() {
        let mut own = ValidatingAdmissionPolicy::default();
        own.metadata.generation = 2;
        let told = plan(own).expect("there is something to tell");
        assert_eq!(told.status.observed_generation, 2);
        assert!(told.status.type_checking.is_some());
        assert_eq!(plan(told), None);
    }
}
