//! Images: whether a container's image is there and may be used ([`access`]), and pulling it when not.
//!
//! Pulls are one at a time unless `serializeImagePulls: false`, as upstream by default. A pull that
//! failed is not tried again for a while ([`Backoff`]); until then the last error is shown.

pub mod access;
pub mod credentials;
pub mod name;
pub mod plugins;
pub mod records;
mod throttle;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::core::v1::{Pod, PullPolicy, Secret};
use daemon::flags::GoDuration;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::cri::{CallError, Runtime, v1};
use crate::events::Recorder;
use crate::steady;
use crate::sync_pod::backoff::Backoff;
use crate::sync_pod::reasons::{self, StartError};
use access::Verdict;
use credentials::Credential;
pub use name::with_tag;
use plugins::Plugins;
use records::Records;
use throttle::Throttle;

/// COMPAT: how long the node's own credentials are used before they are read again.
const OWN_CREDENTIALS: Duration = Duration::from_secs(300);

/// The images of the node.
pub struct Images {
    runtime: Runtime,
    recorder: Recorder,
    backoff: Backoff,
    /// The error of the last pull, by back-off key.
    errors: Mutex<HashMap<String, String>>,
    pulls: Arc<Semaphore>,
    throttle: Throttle,
    /// How long pods waited for pulls, by uid.
    pulled: Mutex<HashMap<String, Duration>>,
    /// How images came here.
    records: Records,
    /// The kubelet's directory.
    root: PathBuf,
    /// The node's own registries, and when they were read.
    own: Mutex<Option<(Option<Value>, Instant)>>,
    /// Those that know credentials.
    plugins: Plugins,
}

/// How images are pulled.
#[derive(Clone, Copy, Debug)]
pub struct Pulls {
    /// At once; `None` is as many as there are.
    pub at_once: Option<usize>,
    /// New ones in a second; 0 is as many as there are.
    pub per_second: u32,
    /// New ones at once, when there were none before.
    pub burst: u32,
}

/// What is pulled, and for whom.
pub struct Request<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container's name.
    pub container: &'a str,
    /// The image as the spec names it.
    pub image: &'a str,
    /// When to pull.
    pub policy: &'a PullPolicy,
    /// Pull secrets of the pod.
    pub secrets: &'a [Arc<Secret>],
    /// The sandbox that it is for.
    pub sandbox: &'a v1::PodSandboxConfig,
}

impl Images {
    /// Images of `runtime`, for the kubelet in this root directory.
    pub fn new(
        runtime: Runtime,
        recorder: Recorder,
        pulls: Pulls,
        records: Records,
        root: &Path,
        plugins: Plugins,
    ) -> Self {
        Self {
            runtime,
            recorder,
            backoff: Backoff::upstream(),
            errors: Mutex::default(),
            pulls: Arc::new(Semaphore::new(pulls.at_once.unwrap_or(Semaphore::MAX_PERMITS))),
            throttle: Throttle::new(pulls.per_second, pulls.burst),
            pulled: Mutex::default(),
            records,
            root: root.to_owned(),
            own: Mutex::default(),
            plugins,
        }
    }

    /// Notes what became of pulls that an earlier kubelet did not see the end of.
    pub async fn settle(&self) -> Result<(), CallError> {
        if self.records.is_settled() {
            return Ok(());
        }
        let all = self.runtime.image_list().await?;
        let named =
            |image: v1::Image| (image.id, image.repo_digests.into_iter().chain(image.repo_tags).collect());
        self.records.settle(&all.into_iter().map(named).collect::<Vec<_>>());
        Ok(())
    }

    /// Forgets how images came here that the runtime has no more, unless that was later than `since`.
    pub fn prune(&self, has: impl Fn(&str) -> bool, since: jiff::Timestamp) {
        self.records.prune(has, since);
    }

    /// What the registry of an image is shown, first things first.
    fn credentials(&self, image: &str, secrets: &[Arc<Secret>]) -> Vec<Credential> {
        let mut own = self.own.lock();
        let fresh = own.as_ref().is_some_and(|(_, read)| read.elapsed() < OWN_CREDENTIALS);
        if !fresh {
            *own = Some((credentials::of_node(&self.root), Instant::now()));
        }
        let node = own.as_ref().and_then(|(node, _)| node.as_ref());
        let repository = name::repository(image).unwrap_or_default();
        credentials::lookup(&repository, secrets, node)
    }

    /// What plugins know for the registry of an image.
    async fn of_plugins(&self, image: &str, pod: &Pod) -> Vec<Credential> {
        let repository = name::repository(image).unwrap_or_default();
        self.plugins.lookup(&repository, pod).await
    }

    /// How long images were pulled for a pod.
    pub fn pulling(&self, uid: &str) -> Duration {
        self.pulled.lock().get(uid).copied().unwrap_or_default()
    }

    /// How long until a pull of this image for this pod is tried again.
    pub fn remaining(&self, uid: &str, image: &str) -> Option<Duration> {
        let image = with_tag(image)?;
        self.backoff.remaining_since_update(&format!("{uid}_{image}"), steady::now())
    }

    /// Forgets a pod's back-offs.
    pub fn forget(&self, uid: &str) {
        self.backoff.forget(&format!("{uid}_"));
        self.errors.lock().retain(|key, _| !key.starts_with(uid));
        self.pulled.lock().remove(uid);
    }

    /// Makes sure that the image is there; answers the runtime's reference of it.
    pub async fn ensure(&self, request: &Request<'_>) -> Result<String, StartError> {
        let event = |kind: &str, reason: &str, message: &str| {
            self.recorder.container(request.pod, request.container, kind, reason, message);
        };
        let Some(image) = with_tag(request.image) else {
            let message = format!(
                "Failed to apply default image tag {0:?}: couldn't parse image name {0:?}: invalid reference format",
                request.image
            );
            event("Warning", "InspectFailed", &message);
            return Err(StartError::new(reasons::INVALID_IMAGE_NAME, message));
        };
        let spec = v1::ImageSpec {
            image: image.clone(),
            annotations: request.pod.metadata.annotations.clone().into_iter().collect(),
            ..Default::default()
        };
        let absent = || {
            let message =
                format!("Container image {:?} is not present with pull policy of Never", request.image);
            event("Warning", "ErrImageNeverPull", &message);
            StartError::new(reasons::IMAGE_NEVER_PULL, message)
        };
        let mut credentials = None;
        let mut here = None;
        if *request.policy != PullPolicy::Always {
            let present = self.runtime.image(spec.clone()).await.map_err(|error| {
                let message = format!("Failed to inspect image \"\": {error}");
                event("Warning", "InspectFailed", &message);
                StartError::new(reasons::IMAGE_INSPECT, message)
            })?;
            here = Some(present.is_some());
            if let Some(present) = present {
                let mut own = self.credentials(&spec.image, request.secrets);
                if self.plugins.know_accounts() {
                    own.append(&mut self.of_plugins(&spec.image, request.pod).await);
                    credentials = Some(own.clone());
                }
                // COMPAT: pulls are noted under the name that the pod gives.
                if self.records.check(request.image, &present.id, &own) != Verdict::Pull {
                    let message = format!(
                        "Container image {:?} already present on machine and can be accessed by the pod",
                        request.image
                    );
                    event("Normal", "Pulled", &message);
                    asked_for(request.policy, here, false);
                    return Ok(present.id);
                }
            }
            if *request.policy == PullPolicy::Never {
                // COMPAT: whether it is there is no business of who may not use it.
                asked_for(request.policy, here, true);
                return Err(absent());
            }
        }
        asked_for(request.policy, here, true);
        let credentials = match credentials {
            Some(known) => known,
            None => {
                let mut all = self.credentials(&spec.image, request.secrets);
                all.append(&mut self.of_plugins(&spec.image, request.pod).await);
                all
            }
        };
        self.pull(request, spec, &credentials).await
    }

    async fn pull(
        &self,
        request: &Request<'_>,
        spec: v1::ImageSpec,
        credentials: &[Credential],
    ) -> Result<String, StartError> {
        let event = |kind: &str, reason: &str, message: &str| {
            self.recorder.container(request.pod, request.container, kind, reason, message);
        };
        let key = format!("{}_{}", request.pod.metadata.uid, spec.image);
        if self.backoff.remaining_since_update(&key, steady::now()).is_some() {
            let mut message = format!("Back-off pulling image {:?}", request.image);
            event("Normal", "BackOff", &message);
            if let Some(error) = self.errors.lock().get(&key) {
                message = format!("{message}: {error}");
            }
            return Err(StartError::new(reasons::IMAGE_PULL_BACKOFF, message));
        }
        let noted = self.records.begin(request.image).map_err(|error| {
            let error = format!("failed to record image pull intent: {error}");
            let message = format!(
                "Failed to record image pull intent for container image {:?}: {error}",
                request.image
            );
            StartError::new(reasons::IMAGE_PULL, message)
        })?;
        self.errors.lock().remove(&key);
        event("Normal", "Pulling", &format!("Pulling image {:?}", request.image));
        let asked = Instant::now();
        let Ok(_turn) = self.pulls.acquire().await else {
            return Err(StartError::new(reasons::IMAGE_PULL, "the kubelet is stopping"));
        };
        let began = Instant::now();
        let pulled = self.pull_with_credentials(request, &spec, credentials).await;
        *self.pulled.lock().entry(request.pod.metadata.uid.clone()).or_default() += asked.elapsed();
        match pulled {
            Ok((reference, used)) => {
                noted.succeeded(&reference, used);
                let milliseconds =
                    |since: Instant| GoDuration(Duration::from_millis(since.elapsed().as_millis() as u64));
                let pulled = v1::ImageSpec { image: reference.clone(), ..Default::default() };
                let size = self.runtime.image(pulled).await.ok().flatten().map_or(0, |image| image.size);
                event(
                    "Normal",
                    "Pulled",
                    &format!(
                        "Successfully pulled image {:?} in {} ({} including waiting). Image size: {size} bytes.",
                        request.image,
                        milliseconds(began),
                        milliseconds(asked)
                    ),
                );
                Ok(reference)
            }
            Err(error) => {
                event("Warning", "Failed", &format!("Failed to pull image {:?}: {error}", request.image));
                self.backoff.next(&key, steady::now());
                let failed = pull_error(request.image, &error);
                self.errors.lock().insert(key, format!("{}: {}", failed.reason, failed.message));
                Err(failed)
            }
        }
    }

    async fn pull_with_credentials<'a>(
        &self,
        request: &Request<'_>,
        spec: &v1::ImageSpec,
        credentials: &'a [Credential],
    ) -> Result<(String, Option<&'a Credential>), PullFailure> {
        if !self.throttle.take(Instant::now()) {
            return Err(PullFailure { text: "pull QPS exceeded".into(), message: String::new() });
        }
        let attempts: Vec<Option<&Credential>> = match credentials {
            [] => vec![None],
            several => several.iter().map(Some).collect(),
        };
        let mut errors: Vec<CallError> = Vec::new();
        for used in attempts {
            let auth = used.map(|used| used.auth.clone());
            match self.runtime.pull(spec.clone(), auth, request.sandbox.clone()).await {
                Ok(reference) => return Ok((reference, used)),
                Err(error) => errors.push(error),
            }
        }
        let mut texts: Vec<String> = Vec::new();
        for text in errors.iter().map(ToString::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let text = if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) };
        let message = errors.first().map(|error| error.message().to_owned()).unwrap_or_default();
        Err(PullFailure { text, message })
    }
}

/// Why an image could not be pulled.
struct PullFailure {
    /// In whole.
    text: String,
    /// What the runtime said of the first attempt.
    message: String,
}

impl std::fmt::Display for PullFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// COMPAT: two errors of runtimes have reasons of their own.
fn pull_error(image: &str, failure: &PullFailure) -> StartError {
    let known = [
        (reasons::REGISTRY_UNAVAILABLE, "the registry is unavailable"),
        (reasons::SIGNATURE_VALIDATION, "the signature validation failed"),
    ];
    for (reason, why) in known {
        if let Some(rest) = failure.message.strip_prefix(reason) {
            return StartError::new(reason, format!("image pull failed for {image} because {why}{rest}"));
        }
    }
    StartError::new(reasons::IMAGE_PULL, failure.text.as_str())
}

/// `here` is whether the image was there, when that was asked.
fn asked_for(policy: &PullPolicy, here: Option<bool>, needs_pull: bool) {
    let here = here.map_or_else(|| "unknown".to_owned(), |here| here.to_string());
    ASKED.with_label_values(&[policy.as_str().to_lowercase().as_str(), &here, &needs_pull.to_string()]).inc();
}

static ASKED: std::sync::LazyLock<prometheus::IntCounterVec> = std::sync::LazyLock::new(|| {
    daemon::metrics::global().counter_vec(
        "kubelet_image_manager_ensure_image_requests_total",
        "[ALPHA] Number of ensure-image requests processed by the kubelet.",
        &["pull_policy", "present_locally", "pull_required"],
    )
});
