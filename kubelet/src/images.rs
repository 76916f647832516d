//! Images: whether a container's image is there, and pulling it when it is not.
//!
//! Pulls are one at a time unless `serializeImagePulls: false`, as upstream by default. A pull that
//! failed is not tried again for a while ([`Backoff`]); until then the last error is shown.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_types::core::v1::{Pod, PullPolicy, Secret};
use base64::Engine;
use daemon::flags::GoDuration;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::cri::{CallError, Runtime, v1};
use crate::events::Recorder;
use crate::steady;
use crate::sync_pod::backoff::Backoff;
use crate::sync_pod::reasons::{self, StartError};

/// The images of the node.
pub struct Images {
    runtime: Runtime,
    recorder: Recorder,
    backoff: Backoff,
    /// The error of the last pull, by back-off key.
    errors: Mutex<HashMap<String, String>>,
    pulls: Arc<Semaphore>,
    /// How long pods waited for pulls, by uid.
    pulled: Mutex<HashMap<String, Duration>>,
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
    /// Images of `runtime`; `serial` pulls one at a time.
    pub fn new(runtime: Runtime, recorder: Recorder, serial: bool) -> Self {
        let pulls = if serial { 1 } else { Semaphore::MAX_PERMITS };
        Self {
            runtime,
            recorder,
            backoff: Backoff::upstream(),
            errors: Mutex::default(),
            pulls: Arc::new(Semaphore::new(pulls)),
            pulled: Mutex::default(),
        }
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
        if *request.policy != PullPolicy::Always {
            let present = self.runtime.image(spec.clone()).await.map_err(|error| {
                let message = format!("Failed to inspect image \"\": {error}");
                event("Warning", "InspectFailed", &message);
                StartError::new(reasons::IMAGE_INSPECT, message)
            })?;
            if let Some(present) = present {
                let message = format!(
                    "Container image {:?} already present on machine and can be accessed by the pod",
                    request.image
                );
                event("Normal", "Pulled", &message);
                return Ok(present.id);
            }
            if *request.policy == PullPolicy::Never {
                let message =
                    format!("Container image {:?} is not present with pull policy of Never", request.image);
                event("Warning", "ErrImageNeverPull", &message);
                return Err(StartError::new(reasons::IMAGE_NEVER_PULL, message));
            }
        }
        self.pull(request, spec).await
    }

    async fn pull(&self, request: &Request<'_>, spec: v1::ImageSpec) -> Result<String, StartError> {
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
        self.errors.lock().remove(&key);
        event("Normal", "Pulling", &format!("Pulling image {:?}", request.image));
        let asked = Instant::now();
        let Ok(_turn) = self.pulls.acquire().await else {
            return Err(StartError::new(reasons::IMAGE_PULL, "the kubelet is stopping"));
        };
        let began = Instant::now();
        let pulled = self.pull_with_credentials(request, &spec).await;
        *self.pulled.lock().entry(request.pod.metadata.uid.clone()).or_default() += asked.elapsed();
        match pulled {
            Ok(reference) => {
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

    async fn pull_with_credentials(
        &self,
        request: &Request<'_>,
        spec: &v1::ImageSpec,
    ) -> Result<String, CallError> {
        let credentials = credentials(&spec.image, request.secrets);
        let mut attempts: Vec<Option<v1::AuthConfig>> = credentials.into_iter().map(Some).collect();
        if attempts.is_empty() {
            attempts.push(None);
        }
        let mut result = None;
        for auth in attempts {
            let pulled = self.runtime.pull(spec.clone(), auth, request.sandbox.clone()).await;
            let done = pulled.is_ok();
            result = Some(pulled);
            if done {
                break;
            }
        }
        result.expect("there is at least one attempt")
    }
}

/// COMPAT: two errors of runtimes have reasons of their own.
fn pull_error(image: &str, error: &CallError) -> StartError {
    let known = [
        (reasons::REGISTRY_UNAVAILABLE, "the registry is unavailable"),
        (reasons::SIGNATURE_VALIDATION, "the signature validation failed"),
    ];
    for (reason, why) in known {
        if let Some(rest) = error.message().strip_prefix(reason) {
            return StartError::new(reason, format!("image pull failed for {image} because {why}{rest}"));
        }
    }
    StartError::new(reasons::IMAGE_PULL, error.to_string())
}

/// The reference with its default tag; `None` when it is none.
pub fn with_tag(image: &str) -> Option<String> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match name[slash..].find(':') {
        Some(at) => (&name[..slash + at], Some(&name[slash + at + 1..])),
        None => (name, None),
    };
    let mut parts: Vec<&str> = path.split('/').collect();
    // The first of several parts is a host when it looks like one; hosts may have capitals and a port.
    let host = parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost");
    if host {
        let domain = parts.remove(0);
        let fits = |c: char| c.is_ascii_alphanumeric() || ".:-[]_".contains(c);
        if domain.is_empty() || !domain.chars().all(fits) {
            return None;
        }
    }
    let component = |part: &&str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(inner)
            && part.ends_with(inner)
            && part.chars().all(|c| inner(c) || "._-".contains(c))
    };
    if parts.is_empty() || !parts.iter().all(component) {
        return None;
    }
    let tag_fits = |tag: &str| {
        !tag.is_empty()
            && tag.len() <= 128
            && !tag.starts_with(['.', '-'])
            && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if tag.is_some_and(|tag| !tag_fits(tag)) || digest.is_some_and(|digest| !digest.contains(':')) {
        return None;
    }
    Some(if tag.is_none() && digest.is_none() { format!("{image}:latest") } else { image.to_owned() })
}

/// The credentials of the pull secrets that fit the image, the most specific first.
pub fn credentials(image: &str, secrets: &[Arc<Secret>]) -> Vec<v1::AuthConfig> {
    let target = full_name(image);
    let mut found: Vec<(usize, v1::AuthConfig)> = Vec::new();
    for secret in secrets {
        let parse = |key: &str| {
            secret.data.get(key).and_then(|data| serde_json::from_slice::<serde_json::Value>(data).ok())
        };
        let auths = parse(".dockerconfigjson")
            .and_then(|config| config.get("auths").cloned())
            .or_else(|| parse(".dockercfg"));
        let Some(serde_json::Value::Object(auths)) = auths else { continue };
        for (registry, entry) in &auths {
            let name = registry_name(registry);
            if target == name || target.starts_with(&format!("{name}/")) {
                found.push((name.len(), auth(entry)));
            }
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

fn auth(entry: &serde_json::Value) -> v1::AuthConfig {
    let text = |key: &str| entry.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    let mut auth =
        v1::AuthConfig { username: text("username"), password: text("password"), ..Default::default() };
    let pair = base64::engine::general_purpose::STANDARD.decode(text("auth")).ok();
    if let Some((user, password)) =
        pair.and_then(|pair| String::from_utf8(pair).ok()).as_deref().and_then(|pair| pair.split_once(':'))
    {
        auth.username = user.to_owned();
        auth.password = password.trim_end_matches('\0').to_owned();
    }
    auth
}

/// Host and path of an image, with Docker Hub's host where none is named.
fn full_name(image: &str) -> String {
    let host = image
        .split('/')
        .next()
        .filter(|first| image.contains('/') && (first.contains(['.', ':']) || *first == "localhost"));
    match host {
        Some(_) => image.to_owned(),
        None if image.contains('/') => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    }
}

/// COMPAT: registries are written as URLs, and Docker Hub's under an old name.
fn registry_name(registry: &str) -> String {
    let name = registry.split_once("://").map_or(registry, |(_, rest)| rest).trim_end_matches('/');
    let name = name.strip_suffix("/v1").or(name.strip_suffix("/v2")).unwrap_or(name);
    match name {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let check = |image: &str, expected: Option<&str>| assert_eq!(with_tag(image).as_deref(), expected);
        check("busybox", Some("busybox:latest"));
        check("localhost:5000/a/b", Some("localhost:5000/a/b:latest"));
        check("a.io/b:1.0", Some("a.io/b:1.0"));
        check("a@sha256:0", Some("a@sha256:0"));
        check("BusyBox", None);
        check("a b", None);
        check("", None);
        check("a:", None);
    }

    #[test]
    fn credentials_fit_by_registry_and_path() {
        let config = serde_json::json!({"auths": {
            "https://index.docker.io/v1/": {"auth": "dTpw"},
            "r.io": {"username": "a", "password": "1"},
            "r.io/team": {"username": "b", "password": "2"},
        }});
        let mut secret = Secret::default();
        secret
            .data
            .insert(".dockerconfigjson".into(), api_types::ByteString(config.to_string().into_bytes()));
        let secrets = [Arc::new(secret)];
        let users = |image: &str| -> Vec<String> {
            credentials(image, &secrets).into_iter().map(|auth| auth.username).collect()
        };
        assert_eq!(users("busybox:1"), ["u"]);
        assert_eq!(users("r.io/team/app"), ["b", "a"]);
        assert_eq!(users("r.io/teams/app"), ["a"]);
        assert!(users("other.io/app").is_empty());
    }
}
