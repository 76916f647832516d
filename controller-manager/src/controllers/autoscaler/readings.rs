//! What the custom metrics API (custom.metrics.k8s.io) and the external one (external.metrics.k8s.io)
//! tell of the metrics of an autoscaler. Errors are worded as upstream's.

use std::collections::BTreeMap;

use api_types::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, MetricIdentifier, MetricSpec,
};
use api_types::meta::v1::{APIGroup, LabelSelector};
use api_types::selector::Labels;
use api_types::value::Quantity;
use client::Client;
use jiff::SignedDuration;
use serde_json::Value;

use super::metrics::{Usage, escaped};
use super::target;

const CUSTOM: &str = "custom.metrics.k8s.io";
/// The span of a custom metric that does not tell its own.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// What was told of one metric.
#[derive(Clone, Debug)]
pub(super) enum Reading {
    /// A value for each pod, as usage of a container and a resource without names.
    Pods(Vec<Usage>),
    /// Thousandths: of the one object, or the sum of all series of an external metric.
    Value(i64),
}

/// By the metric's place in the autoscaler's spec.
pub(super) type Readings = BTreeMap<usize, Result<Reading, String>>;

/// Asks for all metrics that are not of resources.
pub(super) async fn read(hpa: &HorizontalPodAutoscaler, pods: &str, client: &Client) -> Readings {
    let namespace = hpa.metadata.namespace.as_str();
    let mut readings = Readings::new();
    let mut version = None;
    for (place, metric) in hpa.spec.metrics.iter().enumerate() {
        let of_custom = metric.pods.is_some() || metric.object.is_some();
        if of_custom && version.is_none() {
            version = Some(custom_version(client).await);
        }
        let reading = match (&metric.external, &version) {
            (Some(source), _) => external(namespace, &source.metric, client).await,
            (None, Some(version)) if of_custom => custom(namespace, metric, pods, version, client).await,
            _ => continue,
        };
        readings.insert(place, reading);
    }
    readings
}

/// The version of the custom metrics API that the server prefers, of those that are known here.
async fn custom_version(client: &Client) -> Result<String, String> {
    let group: APIGroup = match client.get_path(&format!("/apis/{CUSTOM}")).await {
        Err(error) if error.is_not_found() => {
            return Err(format!("no custom metrics API ({CUSTOM}) registered"));
        }
        group => group.map_err(|error| error.to_string())?,
    };
    let known = |version: &str| matches!(version, "v1beta2" | "v1beta1");
    let served = std::iter::once(&group.preferred_version).chain(&group.versions);
    let version = served.map(|served| served.version.as_str()).find(|version| known(version));
    version.map(str::to_owned).ok_or_else(|| "no known available metric versions found".into())
}

async fn custom(
    namespace: &str,
    metric: &MetricSpec,
    pods: &str,
    version: &Result<String, String>,
    client: &Client,
) -> Result<Reading, String> {
    let failed = |text: String| format!("unable to fetch metrics from custom metrics API: {text}");
    let root = version.as_ref().map(|version| format!("/apis/{CUSTOM}/{version}/namespaces/{namespace}"));
    let root = root.map_err(|error| failed(error.clone()))?;
    if let Some(source) = &metric.pods {
        let query = query(&[("labelSelector", pods.to_owned()), selected(&source.metric)?]);
        let path = format!("{root}/pods/*/{}{query}", segment(&source.metric.name));
        let list = client.get_json(&path).await.map_err(|error| failed(error.to_string()))?;
        let items = items(&list);
        return match items.is_empty() {
            true => Err("no metrics returned from custom metrics API".into()),
            false => Ok(Reading::Pods(items.iter().map(of_pod).collect())),
        };
    }
    let Some(source) = &metric.object else { return Err(String::new()) };
    let name = segment(&source.metric.name);
    let query = query(&[selected(&source.metric)?]);
    let object = &source.described_object;
    let path = if object.kind == "Namespace" && group(object).is_empty() {
        // The autoscaler's own, whatever the reference says: it leads out of no namespace.
        format!("{root}/metrics/{name}{query}")
    } else {
        let resource = resource(object, client).await.map_err(failed)?;
        format!("{root}/{resource}/{}/{name}{query}", segment(&object.name))
    };
    let list = client.get_json(&path).await.map_err(|error| failed(error.to_string()))?;
    match items(&list) {
        [item] => Ok(Reading::Value(value(item))),
        items => Err(failed(format!(
            "the custom metrics API server returned {} results when we asked for exactly one",
            items.len()
        ))),
    }
}

async fn external(namespace: &str, metric: &MetricIdentifier, client: &Client) -> Result<Reading, String> {
    let name = segment(&metric.name);
    let query = query(&[("labelSelector", selected(metric)?.1)]);
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{name}{query}");
    let list = client.get_json(&path).await.map_err(|error| {
        let text = error.to_string();
        let bare = error.is_not_found() && !text.contains("(get ");
        let text = if bare { format!("{text} (get {}.external.metrics.k8s.io)", metric.name) } else { text };
        format!("unable to fetch metrics from external metrics API: {text}")
    })?;
    match items(&list) {
        [] => Err("no metrics returned from external metrics API".into()),
        items => Ok(Reading::Value(items.iter().map(value).fold(0, i64::saturating_add))),
    }
}

fn group(object: &CrossVersionObjectReference) -> &str {
    object.api_version.split_once('/').map_or("", |(group, _)| group)
}

/// The resource as these paths name it: `services`, `ingresses.networking.k8s.io`.
async fn resource(object: &CrossVersionObjectReference, client: &Client) -> Result<String, String> {
    let api_version = if object.api_version.is_empty() { "v1" } else { &object.api_version };
    let group = group(object);
    let kind = &object.kind;
    let of_group = |name: &str| if group.is_empty() { name.into() } else { format!("{name}.{group}") };
    let found = target::resource(api_version, kind, client).await;
    let (_, resource) =
        found.map_err(|error| format!("unable to map kind {} to resource: {error}", of_group(kind)))?;
    Ok(of_group(&resource))
}

/// The selector of a metric's series. None selects all of them here: that is how it is sent.
fn selected(metric: &MetricIdentifier) -> Result<(&'static str, String), String> {
    let selector: Option<&LabelSelector> = metric.selector.as_deref();
    let labels = Labels::from_spec(selector).map_err(|error| error.to_string())?;
    Ok(("metricLabelSelector", labels.to_string()))
}

fn segment(name: &str) -> String {
    name.bytes().map(escaped).collect()
}

fn query(parameters: &[(&str, String)]) -> String {
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    let given: Vec<_> = given
        .map(|(name, value)| format!("{name}={}", value.bytes().map(escaped).collect::<String>()))
        .collect();
    if given.is_empty() { String::new() } else { format!("?{}", given.join("&")) }
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

fn value(item: &Value) -> i64 {
    let amount = item["value"].as_str().and_then(|text| Quantity::parse(text).ok());
    amount.map_or(0, |amount| amount.milli_value())
}

fn of_pod(item: &Value) -> Usage {
    // v1beta2 says `windowSeconds`, v1beta1 `window`.
    let window = item["windowSeconds"].as_i64().or(item["window"].as_i64());
    Usage {
        pod: item["describedObject"]["name"].as_str().unwrap_or_default().to_owned(),
        at: item["timestamp"].as_str().and_then(|at| at.parse().ok()),
        window: window.map_or(WINDOW, SignedDuration::from_secs),
        containers: vec![(String::new(), String::new(), value(item))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_pods_are_read_in_both_versions() {
        let item = |window: &str| {
            serde_json::json!({
                "describedObject": { "kind": "Pod", "namespace": "default", "name": "web-0" },
                "timestamp": "2026-01-01T00:00:00Z", window: 30, "value": "1500m",
            })
        };
        for window in ["windowSeconds", "window"] {
            let usage = of_pod(&item(window));
            assert_eq!(
                (usage.pod.as_str(), usage.window.as_secs(), usage.of("", None)),
                ("web-0", 30, Some(1500))
            );
        }
        assert_eq!(of_pod(&item("other")).window, WINDOW);
    }

    #[test]
    fn selectors_are_sent_when_there_are_any() {
        let mut metric = MetricIdentifier { name: "queue/length".into(), selector: None };
        assert_eq!(query(&[selected(&metric).unwrap()]), "");
        let match_labels = [("queue".into(), "worker tasks".into())].into();
        metric.selector = Some(Box::new(LabelSelector { match_labels, ..LabelSelector::default() }));
        assert_eq!(query(&[selected(&metric).unwrap()]), "?metricLabelSelector=queue%3Dworker%20tasks");
        assert_eq!(segment(&metric.name), "queue%2Flength");
    }
}
