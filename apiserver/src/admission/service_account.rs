//! ServiceAccount: every pod acts under a service account that exists, and gets its token as files
//! unless pod or account say otherwise (API doc "Configure Service Accounts for Pods").

use super::{Context, Operation, Plugin, Refusal, Request};
use crate::status::ApiError;
use crate::views::{PodReferences, ServiceAccountView};
use api_types::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath,
    LocalObjectReference, ObjectFieldSelector, Pod, ProjectedVolumeSource, ServiceAccountTokenProjection,
    Volume, VolumeMount, VolumeProjection, VolumeSource,
};
use std::sync::Arc;

const DEFAULT: &str = "default";
const MIRROR: &str = "kubernetes.io/config.mirror";
const ENFORCE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Recognized by the token's issuer as "a pod's own", see KEP-2799.
const TOKEN_SECONDS: i64 = 3607;
/// The default account of a new namespace is made by a controller: it is waited for.
const DEFAULT_WAITS: u32 = 10;

pub struct ServiceAccountPlugin;

impl Plugin for ServiceAccountPlugin {
    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit(&self, request: &mut Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        if !request.is_about("", "pods", "") || request.operation != Operation::Create {
            return Ok(());
        }
        let Some(pod) = request.object_mut::<Pod>() else { return Ok(()) };
        // What a kubelet shows of its own pods is not changed: it would not know them again.
        if !pod.metadata.annotations.contains_key(MIRROR) {
            if pod.spec.service_account_name.is_empty() {
                pod.spec.service_account_name = DEFAULT.to_owned();
                pod.spec.service_account = DEFAULT.to_owned();
            }
            let account = account_of(request, context)?;
            let Some(pod) = request.object_mut::<Pod>() else { return Ok(()) };
            let automount = pod.spec.automount_service_account_token.or(account.automount);
            if automount.unwrap_or(true) {
                mount_token(pod, &random_suffix());
            }
            if pod.spec.image_pull_secrets.is_empty() {
                pod.spec.image_pull_secrets = account
                    .image_pull_secrets
                    .iter()
                    .map(|secret| LocalObjectReference { name: secret.name.clone() })
                    .collect();
            }
        }
        self.validate(request, context)
    }

    fn validate(&self, request: &Request<'_>, context: Context<'_>) -> Result<(), Refusal> {
        let is_pod = request.is_about("", "pods", "") && request.operation == Operation::Create;
        let is_ephemeral =
            request.is_about("", "pods", "ephemeralcontainers") && request.operation == Operation::Update;
        if !is_pod && !is_ephemeral {
            return Ok(());
        }
        let Some(pod) = request.object::<Pod>() else { return Ok(()) };
        if is_pod && pod.metadata.annotations.contains_key(MIRROR) {
            return check_mirror(pod).map_err(|why| request.forbidden(why).into());
        }
        if pod.spec.service_account_name.is_empty() {
            let name = &pod.metadata.name;
            let why = format!("no service account specified for pod {}/{name}", request.namespace);
            return Err(request.forbidden(why).into());
        }
        let account = account_of(request, context)?;
        let enforced = account.annotations.get(ENFORCE_SECRETS);
        if !enforced.is_some_and(|text| daemon::flags::parse_bool(text).unwrap_or(false)) {
            return Ok(());
        }
        let checked = if is_pod { check_secrets(pod, &account) } else { check_ephemeral(pod, &account) };
        checked.map_err(|why| request.forbidden(why).into())
    }
}

/// The account of the pod in the request.
fn account_of(request: &Request<'_>, context: Context<'_>) -> Result<Arc<ServiceAccountView>, Refusal> {
    let name = request.object::<Pod>().map_or("", |pod| pod.spec.service_account_name.as_str());
    let namespace = request.namespace;
    context.views.service_accounts.get(namespace, name).ok_or_else(|| {
        let why =
            format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        let error: ApiError = request.forbidden(why);
        Refusal::Missing { error, waits: if name == DEFAULT { DEFAULT_WAITS } else { 0 } }
    })
}

fn check_mirror(pod: &Pod) -> Result<(), &'static str> {
    if !pod.spec.service_account_name.is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    let references = PodReferences::of(&pod.spec, &pod.metadata.name);
    if !references.secrets.is_empty() {
        return Err("a mirror pod may not reference secrets");
    }
    if !references.token_audiences.is_empty() {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// Whether all secrets of the pod are among those of an account that insists on it.
fn check_secrets(pod: &Pod, account: &ServiceAccountView) -> Result<(), String> {
    let owner = &pod.spec.service_account_name;
    for volume in &pod.spec.volumes {
        let Some(secret) = &volume.source.secret else { continue };
        if !may_mount(account, &secret.secret_name) {
            return Err(format!(
                "volume with secret.secretName={:?} is not allowed because service account {owner} does not reference that secret",
                secret.secret_name
            ));
        }
    }
    for container in &pod.spec.init_containers {
        check_container("init container", container, account, owner)?;
    }
    for container in &pod.spec.containers {
        check_container("container", container, account, owner)?;
    }
    for (place, secret) in pod.spec.image_pull_secrets.iter().enumerate() {
        if !account.image_pull_secrets.iter().any(|allowed| allowed.name == secret.name) {
            return Err(format!(
                "imagePullSecrets[{place}].name={:?} is not allowed because service account {owner} does not reference that imagePullSecret",
                secret.name
            ));
        }
    }
    Ok(())
}

fn check_ephemeral(pod: &Pod, account: &ServiceAccountView) -> Result<(), String> {
    let owner = &pod.spec.service_account_name;
    pod.spec
        .ephemeral_containers
        .iter()
        .try_for_each(|container| check_container("ephemeral container", &container.common, account, owner))
}

fn check_container(
    what: &str,
    container: &Container,
    account: &ServiceAccountView,
    owner: &str,
) -> Result<(), String> {
    let name = &container.name;
    let refused = |by: String, secret: &str| {
        Err(format!(
            "{what} {name} with {by} referencing secret.secretName={secret:?} is not allowed because service account {owner} does not reference that secret"
        ))
    };
    for variable in &container.env {
        let secret = variable.value_from.as_ref().and_then(|source| source.secret_key_ref.as_ref());
        if let Some(secret) = secret.filter(|secret| !may_mount(account, &secret.reference.name)) {
            return refused(format!("envVar {}", variable.name), &secret.reference.name);
        }
    }
    for source in &container.env_from {
        if let Some(secret) = source.secret_ref.as_ref().filter(|s| !may_mount(account, &s.reference.name)) {
            return refused("envFrom".to_owned(), &secret.reference.name);
        }
    }
    Ok(())
}

fn may_mount(account: &ServiceAccountView, secret: &str) -> bool {
    account.secrets.iter().any(|allowed| allowed.name == secret)
}

/// Has every container see the token, the cluster's authority and the namespace as files. A container
/// that mounts something else there is left alone.
fn mount_token(pod: &mut Pod, suffix: &str) {
    let existing = pod.spec.volumes.iter().find(|volume| volume.name.starts_with(VOLUME_PREFIX));
    let is_there = existing.is_some();
    let volume = existing.map_or_else(|| format!("{VOLUME_PREFIX}{suffix}"), |volume| volume.name.clone());
    let mut needed = false;
    for container in pod.spec.init_containers.iter_mut().chain(&mut pod.spec.containers) {
        if container.volume_mounts.iter().any(|mount| mount.mount_path == MOUNT_PATH) {
            continue;
        }
        needed = true;
        container.volume_mounts.push(VolumeMount {
            name: volume.clone(),
            read_only: true,
            mount_path: MOUNT_PATH.to_owned(),
            ..VolumeMount::default()
        });
    }
    if needed && !is_there {
        let source = VolumeSource { projected: Some(Box::new(token_volume())), ..VolumeSource::default() };
        pod.spec.volumes.push(Volume { name: volume, source });
    }
}

fn token_volume() -> ProjectedVolumeSource {
    let token = ServiceAccountTokenProjection {
        path: "token".to_owned(),
        expiration_seconds: Some(TOKEN_SECONDS),
        ..ServiceAccountTokenProjection::default()
    };
    let authority = ConfigMapProjection {
        reference: LocalObjectReference { name: "kube-root-ca.crt".to_owned() },
        items: vec![KeyToPath {
            key: "ca.crt".to_owned(),
            path: "ca.crt".to_owned(),
            ..KeyToPath::default()
        }],
        ..ConfigMapProjection::default()
    };
    let namespace = DownwardAPIVolumeFile {
        path: "namespace".to_owned(),
        field_ref: Some(Box::new(ObjectFieldSelector {
            api_version: "v1".to_owned(),
            field_path: "metadata.namespace".to_owned(),
        })),
        ..DownwardAPIVolumeFile::default()
    };
    ProjectedVolumeSource {
        default_mode: Some(0o644),
        sources: vec![
            VolumeProjection { service_account_token: Some(Box::new(token)), ..VolumeProjection::default() },
            VolumeProjection { config_map: Some(Box::new(authority)), ..VolumeProjection::default() },
            VolumeProjection {
                downward_api: Some(Box::new(DownwardAPIProjection { items: vec![namespace] })),
                ..VolumeProjection::default()
            },
        ],
    }
}

/// Five letters and digits, without those that make words or look alike.
fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_mounted_once_and_not_over_other_mounts() {
        let mut pod = Pod::default();
        pod.spec.init_containers = vec![Container::default()];
        pod.spec.containers = vec![Container::default(), Container::default()];
        let own = VolumeMount { mount_path: MOUNT_PATH.into(), name: "own".into(), ..VolumeMount::default() };
        pod.spec.containers[1].volume_mounts = vec![own];
        mount_token(&mut pod, "abcde");
        mount_token(&mut pod, "other");
        assert_eq!(pod.spec.volumes.len(), 1);
        let sources = &pod.spec.volumes[0].source.projected.as_ref().unwrap().sources;
        assert_eq!(sources.len(), 3);
        assert_eq!(sources[0].service_account_token.as_ref().unwrap().expiration_seconds, Some(3607));
        let mounts = |c: &Container| c.volume_mounts.iter().map(|m| m.name.clone()).collect::<Vec<_>>();
        assert_eq!(mounts(&pod.spec.init_containers[0]), ["kube-api-access-abcde"]);
        assert_eq!(mounts(&pod.spec.containers[0]), ["kube-api-access-abcde"]);
        assert_eq!(mounts(&pod.spec.containers[1]), ["own"]);
    }

    #[test]
    fn a_pod_that_mounts_all_by_itself_gets_no_volume() {
        let mut pod = Pod::default();
        let own = VolumeMount { mount_path: MOUNT_PATH.into(), ..VolumeMount::default() };
        pod.spec.containers = vec![Container { volume_mounts: vec![own], ..Container::default() }];
        mount_token(&mut pod, "abcde");
        assert!(pod.spec.volumes.is_empty());
    }
}
