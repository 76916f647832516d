//! The files of `configMap`, `secret`, `downwardAPI` and `projected` volumes. Pure: objects and tokens
//! come in, a payload comes out.

use std::collections::BTreeMap;

use api_types::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Secret, Volume,
};

use crate::downward::{self, NodeFacts};
use crate::environment::Objects;
use crate::volume::VolumeError;
use crate::volume::atomic_writer::{File, Payload};

/// Permissions of files when nothing else is said.
const DEFAULT_MODE: i32 = 0o644;

/// Which token a projected volume wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey {
    /// Whom the token is meant for; empty is the API server.
    pub audience: String,
    /// Seconds that it shall be valid.
    pub seconds: i64,
}

/// All that payloads are made of.
#[derive(Default)]
pub struct Materials<'a> {
    /// ConfigMaps and Secrets.
    pub objects: Objects,
    /// Tokens of the pod's service account.
    pub tokens: BTreeMap<TokenKey, String>,
    /// Facts about pod and node.
    pub facts: NodeFacts<'a>,
}

/// The tokens that a pod's volumes want.
pub fn tokens(pod: &Pod) -> Vec<TokenKey> {
    pod.spec
        .volumes
        .iter()
        .filter_map(|volume| volume.source.projected.as_ref())
        .flat_map(|projected| &projected.sources)
        .filter_map(|source| source.service_account_token.as_ref())
        .map(|token| TokenKey {
            audience: token.audience.clone(),
            seconds: token.expiration_seconds.unwrap_or(3600),
        })
        .collect()
}

/// Names of the ConfigMaps and Secrets that a volume refers to.
pub fn references(volume: &Volume) -> (Vec<&str>, Vec<&str>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    config_maps.extend(volume.source.config_map.iter().map(|source| source.reference.name.as_str()));
    secrets.extend(volume.source.secret.iter().map(|source| source.secret_name.as_str()));
    for source in volume.source.projected.iter().flat_map(|projected| &projected.sources) {
        config_maps.extend(source.config_map.iter().map(|source| source.reference.name.as_str()));
        secrets.extend(source.secret.iter().map(|source| source.reference.name.as_str()));
    }
    (config_maps, secrets)
}

/// The files of a volume.
pub fn payload(pod: &Pod, volume: &Volume, materials: &Materials<'_>) -> Result<Payload, VolumeError> {
    let source = &volume.source;
    let mode = |mode: Option<i32>| mode.unwrap_or(DEFAULT_MODE);
    let mut payload = Payload::new();
    if let Some(source) = &source.config_map {
        let optional = source.optional == Some(true);
        let data = config_map(materials, &source.reference.name, optional)?;
        select(&data, &source.items, mode(source.default_mode), optional, "config", &mut payload)?;
    } else if let Some(source) = &source.secret {
        let optional = source.optional == Some(true);
        let data = secret(materials, &source.secret_name, optional)?;
        select(&data, &source.items, mode(source.default_mode), optional, "secret", &mut payload)?;
    } else if let Some(source) = &source.downward_api {
        downward(pod, &source.items, mode(source.default_mode), materials, &mut payload)?;
    } else if let Some(source) = &source.projected {
        projected(pod, source, materials, &mut payload)?;
    }
    Ok(payload)
}

fn projected(
    pod: &Pod,
    projected: &ProjectedVolumeSource,
    materials: &Materials<'_>,
    payload: &mut Payload,
) -> Result<(), VolumeError> {
    let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
    for source in &projected.sources {
        if let Some(source) = &source.config_map {
            let optional = source.optional == Some(true);
            let data = config_map(materials, &source.reference.name, optional)?;
            select(&data, &source.items, mode, optional, "config", payload)?;
        } else if let Some(source) = &source.secret {
            let optional = source.optional == Some(true);
            let data = secret(materials, &source.reference.name, optional)?;
            select(&data, &source.items, mode, optional, "secret", payload)?;
        } else if let Some(source) = &source.downward_api {
            downward(pod, &source.items, mode, materials, payload)?;
        } else if let Some(source) = &source.service_account_token {
            let seconds = source.expiration_seconds.unwrap_or(3600);
            let key = TokenKey { audience: source.audience.clone(), seconds };
            let token = materials
                .tokens
                .get(&key)
                .ok_or_else(|| VolumeError::Api("failed to fetch token: no token was issued".into()))?;
            let owner = common_user(pod);
            let group = pod.spec.security_context.as_ref().and_then(|context| context.fs_group);
            // COMPAT: a token is for its user or group alone, where one is named.
            let mode = if owner.is_some() || group.is_some() { 0o600 } else { mode };
            payload.insert(source.path.clone(), file(token.as_bytes(), mode, owner));
        } else if source.cluster_trust_bundle.is_some() {
            return Err(VolumeError::Unsupported("projected clusterTrustBundle"));
        } else if source.pod_certificate.is_some() {
            return Err(VolumeError::Unsupported("projected podCertificate"));
        }
    }
    Ok(())
}

/// The user that all containers run as, when it is one and the same.
fn common_user(pod: &Pod) -> Option<u32> {
    let default = pod.spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = pod.spec.init_containers.iter().chain(&pod.spec.containers).map(|container| {
        container.security_context.as_ref().and_then(|context| context.run_as_user).or(default)
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

fn file(data: &[u8], mode: i32, owner: Option<u32>) -> File {
    File { data: data.to_vec(), mode: u32::try_from(mode).unwrap_or_default(), owner }
}

type Data = BTreeMap<String, Vec<u8>>;

fn config_map(materials: &Materials<'_>, name: &str, optional: bool) -> Result<Data, VolumeError> {
    let data = |object: &ConfigMap| {
        let text = object.data.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        text.chain(object.binary_data.iter().map(|(key, value)| (key.clone(), value.to_vec()))).collect()
    };
    match materials.objects.config_maps.get(name) {
        Some(object) => Ok(data(object)),
        None if optional => Ok(Data::new()),
        None => Err(VolumeError::NotFound { kind: "configmap", name: name.into() }),
    }
}

fn secret(materials: &Materials<'_>, name: &str, optional: bool) -> Result<Data, VolumeError> {
    let data =
        |object: &Secret| object.data.iter().map(|(key, value)| (key.clone(), value.to_vec())).collect();
    match materials.objects.secrets.get(name) {
        Some(object) => Ok(data(object)),
        None if optional => Ok(Data::new()),
        None => Err(VolumeError::NotFound { kind: "secret", name: name.into() }),
    }
}

fn select(
    data: &Data,
    items: &[KeyToPath],
    mode: i32,
    optional: bool,
    kind: &'static str,
    payload: &mut Payload,
) -> Result<(), VolumeError> {
    if items.is_empty() {
        payload.extend(data.iter().map(|(key, value)| (key.clone(), file(value, mode, None))));
        return Ok(());
    }
    for item in items {
        match data.get(&item.key) {
            Some(value) => {
                payload.insert(item.path.clone(), file(value, item.mode.unwrap_or(mode), None));
            }
            None if optional => {}
            None => return Err(VolumeError::Key { kind, key: item.key.clone() }),
        }
    }
    Ok(())
}

fn downward(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
    materials: &Materials<'_>,
    payload: &mut Payload,
) -> Result<(), VolumeError> {
    for item in items {
        let text = if let Some(selector) = &item.field_ref {
            downward::field(pod, &selector.field_path, &materials.facts)?
        } else if let Some(selector) = &item.resource_field_ref {
            downward::resource(selector, pod, None, &materials.facts)?
        } else {
            continue;
        };
        payload.insert(item.path.clone(), file(text.as_bytes(), item.mode.unwrap_or(mode), None));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::core::v1::{ConfigMapVolumeSource, LocalObjectReference};

    fn volume(optional: bool, items: &[(&str, &str)]) -> Volume {
        let mut volume = Volume { name: "v".into(), ..Default::default() };
        volume.source.config_map = Some(Box::new(ConfigMapVolumeSource {
            reference: LocalObjectReference { name: "cm".into() },
            items: items
                .iter()
                .map(|(key, path)| KeyToPath { key: (*key).into(), path: (*path).into(), mode: Some(0o400) })
                .collect(),
            default_mode: None,
            optional: Some(optional),
        }));
        volume
    }

    fn materials(present: bool) -> Materials<'static> {
        let mut materials = Materials::default();
        if present {
            let object = ConfigMap { data: [("a".to_owned(), "1".to_owned())].into(), ..Default::default() };
            materials.objects.config_maps.insert("cm".into(), object.into());
        }
        materials
    }

    fn check(volume: &Volume, present: bool, expected: Result<&[(&str, u32)], &str>) {
        let made = payload(&Pod::default(), volume, &materials(present));
        let shown = made
            .map_err(|error| error.to_string())
            .map(|payload| payload.into_iter().map(|(path, file)| (path, file.mode)).collect::<Vec<_>>());
        let expected = expected
            .map(|files| files.iter().map(|(path, mode)| ((*path).to_owned(), *mode)).collect())
            .map_err(str::to_owned);
        assert_eq!(shown, expected);
    }

    #[test]
    fn items_modes_and_what_may_be_absent() {
        check(&volume(false, &[]), true, Ok(&[("a", 0o644)]));
        check(&volume(false, &[("a", "x/y")]), true, Ok(&[("x/y", 0o400)]));
        check(&volume(false, &[("b", "x")]), true, Err("references non-existent config key: b"));
        check(&volume(true, &[("b", "x")]), true, Ok(&[]));
        check(&volume(false, &[]), false, Err("configmap \"cm\" not found"));
        check(&volume(true, &[]), false, Ok(&[]));
    }
}
