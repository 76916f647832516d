//! What an autoscaler looks at: the scale of its target, the pods, and what they use.

use api_types::autoscaling::v1::Scale;
use api_types::autoscaling::v2::{HorizontalPodAutoscaler, MetricSourceType};
use api_types::core::v1::Pod;
use api_types::meta::v1::{APIResourceList, ListOptions};
use client::controller::Hands;
use client::{Client, Error, Key};

use super::metrics::{self, Usage};
use super::readings::{self, Readings};

/// All that was asked for.
#[derive(Debug)]
pub(super) struct Seen {
    pub scale: Result<Scale, String>,
    /// Where the scale is.
    pub path: String,
    pub pods: Result<Vec<Pod>, String>,
    pub usage: Result<Vec<Usage>, String>,
    /// What the other metrics APIs told.
    pub readings: Readings,
    /// The autoscalers that count these pods; more than one of them would fight.
    pub claimants: Vec<Key>,
}

pub(super) async fn look(hpa: &HorizontalPodAutoscaler, hands: &Hands) -> Seen {
    let mut seen = Seen {
        scale: Err(String::new()),
        path: String::new(),
        pods: Ok(Vec::new()),
        usage: Ok(Vec::new()),
        readings: Readings::new(),
        claimants: Vec::new(),
    };
    let found = scale(hpa, &hands.client).await;
    let (path, scale) = match found {
        Ok(found) => found,
        Err(error) => {
            seen.scale = Err(error);
            return seen;
        }
    };
    seen.path = path;
    let by_resource =
        |m: &MetricSourceType| matches!(m, MetricSourceType::Resource | MetricSourceType::ContainerResource);
    let namespace = hpa.metadata.namespace.as_str();
    let selector = scale.status.selector.clone();
    if !selector.is_empty() {
        let options = ListOptions { label_selector: selector.clone(), ..ListOptions::default() };
        let pods = hands.client.api::<Pod>().namespace(namespace).list(&options).await;
        seen.pods = pods.map(|page| page.items).map_err(|error| error.to_string());
        if hpa.spec.metrics.iter().any(|m| by_resource(&m.type_)) {
            seen.usage = metrics::fetch(namespace, &selector, &hands.client).await;
        }
        seen.readings = readings::read(hpa, &selector, &hands.client).await;
    }
    seen.scale = Ok(scale);
    seen
}

async fn scale(hpa: &HorizontalPodAutoscaler, client: &Client) -> Result<(String, Scale), String> {
    let target = &hpa.spec.scale_target_ref;
    let (root, resource) = resource(&target.api_version, &target.kind, client).await?;
    let path = format!("{root}/namespaces/{}/{resource}/{}/scale", hpa.metadata.namespace, target.name);
    let scale: Scale = client.get_path(&path).await.map_err(|error| error.to_string())?;
    Ok((path, scale))
}

/// The path of a version's root, and the resource that serves a kind there.
pub(super) async fn resource(
    api_version: &str,
    kind: &str,
    client: &Client,
) -> Result<(String, String), String> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let no_match = || format!("no matches for kind {kind:?} in group {group:?}");
    let root = if group.is_empty() { "/api" } else { "/apis" };
    let root = format!("{root}/{api_version}");
    let served: APIResourceList = match client.get_path(&root).await {
        Err(error) if error.is_not_found() => return Err(no_match()),
        served => served.map_err(|error| error.to_string())?,
    };
    let of_kind = served.resources.into_iter().find(|r| r.kind == kind && !r.name.contains('/'));
    Ok((root, of_kind.ok_or_else(no_match)?.name))
}

/// Asks the target for another number of pods.
pub(super) async fn rescale(seen: &Seen, replicas: i32, client: &Client) -> Result<(), Error> {
    let Ok(scale) = &seen.scale else { return Ok(()) };
    let mut wanted = scale.clone();
    wanted.spec.replicas = replicas;
    match client.put_path(&seen.path, &wanted).await {
        // Somebody else wrote: once more with what is there now.
        Err(error) if error.is_conflict() => {
            let mut fresh: Scale = client.get_path(&seen.path).await?;
            fresh.spec.replicas = replicas;
            client.put_path(&seen.path, &fresh).await.map(drop)
        }
        outcome => outcome.map(drop),
    }
}
