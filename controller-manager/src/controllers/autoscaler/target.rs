//! What an autoscaler looks at: the scale of its target, the pods, and what they use.

use api_types::autoscaling::v1::Scale;
use api_types::autoscaling::v2::{HorizontalPodAutoscaler, MetricSourceType};
use api_types::core::v1::Pod;
use api_types::meta::v1::{APIResourceList, ListOptions};
use client::controller::Hands;
use client::{Client, Error};

use super::metrics::{self, Usage};

/// All that was asked for.
#[derive(Debug)]
pub(super) struct Seen {
    pub scale: Result<Scale, String>,
    /// Where the scale is.
    pub path: String,
    pub pods: Result<Vec<Pod>, String>,
    pub usage: Result<Vec<Usage>, String>,
}

pub(super) async fn look(hpa: &HorizontalPodAutoscaler, hands: &Hands) -> Seen {
    let mut seen =
        Seen { scale: Err(String::new()), path: String::new(), pods: Ok(Vec::new()), usage: Ok(Vec::new()) };
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
    if hpa.spec.metrics.iter().any(|m| by_resource(&m.type_)) && !selector.is_empty() {
        let options = ListOptions { label_selector: selector.clone(), ..ListOptions::default() };
        let pods = hands.client.api::<Pod>().namespace(namespace).list(&options).await;
        seen.pods = pods.map(|page| page.items).map_err(|error| error.to_string());
        seen.usage = metrics::fetch(namespace, &selector, &hands.client).await;
    }
    seen.scale = Ok(scale);
    seen
}

async fn scale(hpa: &HorizontalPodAutoscaler, client: &Client) -> Result<(String, Scale), String> {
    let target = &hpa.spec.scale_target_ref;
    let (group, _) = target.api_version.split_once('/').unwrap_or(("", &target.api_version));
    let no_match = || match group {
        "" => format!("no matches for kind {:?} in group \"\"", target.kind),
        group => format!("no matches for kind {:?} in group {group:?}", target.kind),
    };
    let root = if group.is_empty() { "/api" } else { "/apis" };
    let root = format!("{root}/{}", target.api_version);
    let served: APIResourceList = match client.get_path(&root).await {
        Err(error) if error.is_not_found() => return Err(no_match()),
        served => served.map_err(|error| error.to_string())?,
    };
    let of_kind = served.resources.iter().find(|r| r.kind == target.kind && !r.name.contains('/'));
    let resource = of_kind.map(|r| r.name.as_str()).ok_or_else(no_match)?;
    let path = format!("{root}/namespaces/{}/{resource}/{}/scale", hpa.metadata.namespace, target.name);
    let scale: Scale = client.get_path(&path).await.map_err(|error| error.to_string())?;
    Ok((path, scale))
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
