//! Writes what the claims of a pod got: the finalizer, then allocation and reservation in one; and takes the reservation
//! back when the pod is not bound after all.
//!
//! A write that meets a newer version looks at the claim again and goes on, unless somebody else allocated it.

use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::PodExtendedResourceClaimStatus;
use api_types::resource::v1::ResourceClaim;
use api_types::value::Time;

use super::extended::{self, OnNode};
use super::{Wanted, claims};
use daemon::clock::Clock;

use crate::api::{Api, ApiError, ClaimCall, Note};
use crate::devices::key;
use crate::framework::{Around, Wait};
use crate::metrics::metrics;
use crate::pod::PodView;

/// Keeps a claim with devices from going.
pub const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// Times that a write is tried, and the pause between them.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);
/// How long the informer may take to show a claim that was made.
const LONGEST_UNSEEN: Duration = Duration::from_secs(120);

/// The claims of one pod.
pub(super) struct Task {
    pub wanted: Arc<Wanted>,
    pub pod: Arc<PodView>,
    pub node: String,
    pub around: Around,
    pub timeout: Duration,
}

/// How a write ended that was not to be.
enum Missed {
    /// It may be tried again.
    Conflict(String),
    Failed(String),
}

impl Missed {
    fn of(error: &ApiError, doing: &str) -> Self {
        let text = format!("{doing}: {error}");
        match error {
            ApiError::Conflict(_) => Self::Conflict(text),
            _ => Self::Failed(text),
        }
    }
}

impl Task {
    /// Returns when all claims are the pod's and their devices are ready; else why they are not.
    pub async fn run(&self) -> Result<(), String> {
        for (at, claim) in self.wanted.claims.iter().enumerate() {
            let is_special = self.wanted.special().is_some_and(|(special, _)| special == at);
            if is_special {
                self.extended(at, claim).await?;
            } else if !claims::is_reserved_for(claim, &self.pod) {
                let written = self.claim(at, claim).await?;
                self.around.sight.claim_written(&claim.metadata.uid, written);
            }
        }
        let needs_wait = self.current().iter().any(|claim| claims::conditional(claim).next().is_some());
        if needs_wait { self.wait().await } else { Ok(()) }
    }

    /// The claims as they were last written.
    fn current(&self) -> Vec<ResourceClaim> {
        let found = self.wanted.found.lock();
        let claims = self.wanted.claims.iter().enumerate();
        claims.map(|(at, claim)| found.written.get(&at).unwrap_or(claim).clone()).collect()
    }

    /// Writes what the claim got, and that the pod uses it.
    async fn claim(&self, at: usize, claim: &ResourceClaim) -> Result<ResourceClaim, String> {
        let mut current = claim.clone();
        let mut tries = 0;
        let written = loop {
            tries += 1;
            match self.write(at, &mut current).await {
                Ok(written) => break written,
                Err(Missed::Failed(why)) => return Err(why),
                Err(Missed::Conflict(why)) if tries == TRIES => return Err(why),
                Err(Missed::Conflict(_)) => {}
            }
            self.around.clock.sleep(PAUSE).await;
            let (namespace, name) = (&claim.metadata.namespace, &claim.metadata.name);
            let latest = self.around.api.claim(ClaimCall::Get { namespace, name }).await;
            current = latest
                .map_err(|error| format!("get updated claim {} after conflict: {error}", key(claim)))?;
            // Another one of that name is not the one that the devices were chosen for.
            if current.metadata.uid != claim.metadata.uid {
                return Err(format!("claim {} got deleted in the meantime", key(claim)));
            }
        };
        self.wanted.found.lock().written.insert(at, written.clone());
        Ok(written)
    }

    /// Makes the claim for extended resources, if the node needs one.
    async fn extended(&self, at: usize, in_memory: &ResourceClaim) -> Result<(), String> {
        let OnNode { claim, mappings } = {
            let found = self.wanted.found.lock();
            if !found.kept.contains_key(&at) {
                return Ok(());
            }
            let own = found.extended.get(&*self.node).cloned();
            own.ok_or_else(|| format!("extended resource claim not found for node {}", self.node))?
        };
        let mut new = claim;
        new.metadata.name.clear();
        new.metadata.uid.clear();
        let created = self.around.api.claim(ClaimCall::Create(&new)).await;
        let outcome = if created.is_ok() { "success" } else { "failure" };
        metrics().claim_creates.with_label_values(&[outcome]).inc();
        let created = created.map_err(|error| {
            format!("create claim for extended resources {}/: {error}", new.metadata.namespace)
        })?;
        // From now on there is something to be deleted.
        self.wanted.found.lock().written.insert(at, created.clone());
        let written = self.claim(at, &created).await?;
        let status = PodExtendedResourceClaimStatus {
            request_mappings: mappings,
            resource_claim_name: written.metadata.name.clone(),
        };
        self.seen(&written).await;
        self.around.sight.claim_written(&in_memory.metadata.uid, written);
        let pod = self.pod.key();
        self.around
            .api
            .patch_extended(&self.pod, &status)
            .await
            .map_err(|error| format!("update pod {pod} ExtendedResourceClaimStatus: {error}"))
    }

    /// Waits until the informer shows a claim that was made: only then it counts as having its devices.
    async fn seen(&self, claim: &ResourceClaim) {
        let mut changes = self.around.sight.changes();
        let deadline = self.around.clock.sleep(LONGEST_UNSEEN);
        tokio::pin!(deadline);
        loop {
            changes.borrow_and_update();
            let devices = self.around.sight.devices();
            if devices.claim(&key(claim)).is_some_and(|seen| seen.metadata.uid == claim.metadata.uid) {
                return;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = &mut deadline => return,
            }
        }
    }

    async fn write(&self, at: usize, claim: &mut ResourceClaim) -> Result<ResourceClaim, Missed> {
        let name = key(claim);
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(Missed::Failed(format!("claim {name} got deleted in the meantime")));
        }
        let allocation = self.wanted.found.lock().kept.get(&at).cloned();
        if let Some(allocation) = &allocation {
            if claim.status.allocation.is_some() {
                return Err(Missed::Failed(format!("claim {name} got allocated elsewhere in the meantime")));
            }
            if !claim.metadata.finalizers.iter().any(|own| own == FINALIZER) {
                claim.metadata.finalizers.push(FINALIZER.into());
                let written = self.around.api.claim(ClaimCall::Update(claim)).await;
                *claim =
                    written.map_err(|error| Missed::of(&error, &format!("add finalizer to claim {name}")))?;
            }
            claim.status.allocation = Some(Box::new((**allocation).clone()));
        }
        // Whether the pod can be one more user the apiserver says.
        claim.status.reserved_for.push(claims::user(&self.pod));
        let Some(own) = &mut claim.status.allocation else {
            return Err(Missed::Failed(format!("claim {name} got deallocated elsewhere in the meantime")));
        };
        own.allocation_timestamp.get_or_insert_with(|| Time::whole(self.around.clock.now()));
        let what = if allocation.is_some() { "allocation and reservation" } else { "reservation" };
        let written = self.around.api.claim(ClaimCall::UpdateStatus(claim)).await;
        written.map_err(|error| Missed::of(&error, &format!("add {what} to claim {name}")))
    }

    /// Waits until the drivers have made the devices ready.
    async fn wait(&self) -> Result<(), String> {
        let note = Note {
            warning: false,
            reason: "BindingConditionsPending",
            action: "Scheduling",
            message: format!("waiting for binding conditions for device on node {}", self.node),
        };
        self.around.api.note(&self.pod, None, note);
        let started = self.around.clock.monotonic();
        let end = self.ready().await;
        let took = self.around.clock.monotonic().saturating_sub(started);
        let status = match &end {
            Ok(()) => "success",
            Err(why) if why.starts_with(TIMED_OUT) => "timeout",
            Err(why) if why.starts_with("device binding failed") => "failure",
            Err(_) => "error",
        };
        let profile = &*self.pod.scheduler_name;
        let current = self.current();
        for claim in &current {
            for result in claim.status.allocation.iter().flat_map(|a| &a.devices.results) {
                let labels = [profile, &result.driver, status];
                metrics().device_wait.with_label_values(&labels).observe(took.as_secs_f64());
            }
            for result in claims::conditional(claim) {
                metrics().device_allocations.with_label_values(&[profile, &result.driver, status]).inc();
            }
        }
        if let Err(error) = &end {
            let devices: Vec<String> = current.iter().flat_map(claims::readiness).collect();
            let (pod, devices) = (self.pod.key(), devices.join("; "));
            tracing::info!(pod, node = self.node, error, devices, "Devices did not become ready");
        }
        end
    }

    async fn ready(&self) -> Result<(), String> {
        let mut changes = self.around.sight.changes();
        let deadline = self.around.clock.sleep(self.timeout);
        tokio::pin!(deadline);
        loop {
            changes.borrow_and_update();
            if self.look()? {
                return Ok(());
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| "context canceled".to_owned())?,
                () = &mut deadline => return Err(format!("{TIMED_OUT}: context deadline exceeded")),
            }
        }
    }

    fn look(&self) -> Result<bool, String> {
        let devices = self.around.sight.devices();
        for (at, claim) in self.current().iter().enumerate() {
            if extended::is_in_memory(claim) {
                continue;
            }
            let name = key(claim);
            let Some(latest) = devices.claim(&name) else {
                return Err(format!("could not find ResourceClaim {name:?}"));
            };
            self.wanted.found.lock().written.insert(at, latest.0.clone());
            if !claims::is_ready(latest)? {
                if claims::is_overdue(latest, self.timeout, self.around.clock.now()) {
                    return Err(format!("{TIMED_OUT}: claim={}", latest.metadata.name));
                }
                return Ok(false);
            }
        }
        Ok(true)
    }
}

const TIMED_OUT: &str = "device binding timeout";

/// Takes the pod's reservations back. `None` when there are none.
pub(super) fn clean_up(wanted: Arc<Wanted>, pod: &Arc<PodView>, around: &Around) -> Option<Wait> {
    let reserved: Vec<ResourceClaim> = {
        let found = wanted.found.lock();
        let claims = wanted.claims.iter().enumerate();
        let current = claims.map(|(at, claim)| found.written.get(&at).unwrap_or(claim));
        current
            .take(wanted.named().len())
            .filter(|claim| claim.status.allocation.is_some() && claims::is_reserved_for(claim, pod))
            .cloned()
            .collect()
    };
    let made = wanted.special().and_then(|(at, _)| wanted.found.lock().written.get(&at).cloned());
    if reserved.is_empty() && made.is_none() {
        return None;
    }
    let (pod, around) = (pod.clone(), around.clone());
    Some(Box::pin(async move {
        for claim in &reserved {
            let returned = around.api.claim(ClaimCall::Unreserve { claim, uid: &pod.uid }).await;
            if let Err(error) = unless_gone(returned) {
                let (pod, claim) = (pod.key(), key(claim));
                tracing::error!(pod, claim, error = error.to_string(), "Could not take a reservation back");
            }
        }
        if let Some(claim) = &made
            && let Err(error) = delete(&*around.api, &*around.clock, claim).await
        {
            let (pod, claim) = (pod.key(), key(claim));
            tracing::error!(pod, claim, error = error.to_string(), "Could not delete a claim");
        }
        Ok(())
    }))
}

/// What is gone already need not be taken back.
fn unless_gone(outcome: Result<ResourceClaim, ApiError>) -> Result<(), ApiError> {
    match outcome {
        Ok(_) | Err(ApiError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Deletes a claim that a scheduler made, the finalizer first. One that is gone, or is another one by now, is left alone.
///
/// # Errors
/// When the apiserver does not let it.
pub async fn delete(api: &dyn Api, clock: &dyn Clock, claim: &ResourceClaim) -> Result<(), ApiError> {
    let (namespace, name) = (&claim.metadata.namespace, &claim.metadata.name);
    let mut current = claim.clone();
    let mut tries = 0;
    loop {
        tries += 1;
        current.metadata.finalizers.retain(|own| own != FINALIZER);
        match api.claim(ClaimCall::Update(&current)).await {
            Ok(_) => break,
            Err(ApiError::NotFound(_)) => return Ok(()),
            Err(ApiError::Conflict(_)) if tries < TRIES => {}
            Err(error) => return Err(error),
        }
        clock.sleep(PAUSE).await;
        current = match api.claim(ClaimCall::Get { namespace, name }).await {
            Ok(latest) if latest.metadata.uid == claim.metadata.uid => latest,
            Ok(_) | Err(ApiError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
    }
    unless_gone(api.claim(ClaimCall::Delete(&current)).await)
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::PodCondition;
    use async_trait::async_trait;
    use parking_lot::Mutex;

    use super::*;
    use crate::storage::{ClaimView, VolumeView};

    /// Answers calls about claims by the list, from its end.
    struct Answers(Mutex<Vec<Result<ResourceClaim, ApiError>>>, Mutex<Vec<&'static str>>);

    #[async_trait]
    impl Api for Answers {
        async fn claim(&self, call: ClaimCall<'_>) -> Result<ResourceClaim, ApiError> {
            self.1.lock().push(match call {
                ClaimCall::Get { .. } => "get",
                ClaimCall::Update(_) => "update",
                ClaimCall::Delete(_) => "delete",
                _ => "else",
            });
            self.0.lock().pop().expect("an answer for each call")
        }
        async fn bind(&self, _: &PodView, _: &str) -> Result<(), ApiError> {
            unreachable!("claims alone")
        }
        async fn patch_status(
            &self,
            _: &PodView,
            _: Option<&PodCondition>,
            _: Option<&str>,
        ) -> Result<u64, ApiError> {
            unreachable!("claims alone")
        }
        async fn delete(&self, _: &PodView) -> Result<(), ApiError> {
            unreachable!("claims alone")
        }
        async fn bind_volume(&self, _: &VolumeView, _: &ClaimView) -> Result<u64, ApiError> {
            unreachable!("claims alone")
        }
        async fn select_node(&self, _: &ClaimView, _: &str) -> Result<u64, ApiError> {
            unreachable!("claims alone")
        }
        async fn patch_extended(
            &self,
            _: &PodView,
            _: &PodExtendedResourceClaimStatus,
        ) -> Result<(), ApiError> {
            unreachable!("claims alone")
        }
        fn note(&self, _: &Arc<PodView>, _: Option<&Arc<PodView>>, _: Note) {}
    }

    fn claim(uid: &str) -> ResourceClaim {
        let mut claim = ResourceClaim::default();
        claim.metadata.uid = uid.into();
        claim
    }

    #[tokio::test]
    async fn a_claim_that_is_gone_already_is_deleted() {
        let gone = || Err(ApiError::NotFound("gone".into()));
        let conflict = || Err(ApiError::Conflict("newer".into()));
        let check = async |answers: Vec<_>, expected: &[&str]| {
            let api = Answers(Mutex::new(answers.into_iter().rev().collect()), Mutex::default());
            delete(&api, &*daemon::clock::System::shared(), &claim("u")).await.unwrap();
            assert_eq!(*api.1.lock(), expected);
        };
        check(vec![gone()], &["update"]).await;
        check(vec![conflict(), gone()], &["update", "get"]).await;
        check(vec![conflict(), Ok(claim("other"))], &["update", "get"]).await;
        check(vec![Ok(claim("u")), gone()], &["update", "delete"]).await;
        let all = ["update", "get", "update", "delete"];
        check(vec![conflict(), Ok(claim("u")), Ok(claim("u")), Ok(claim("u"))], &all).await;
    }
}
