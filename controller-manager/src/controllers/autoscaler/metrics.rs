//! What pods use, as the resource metrics API (metrics.k8s.io) tells it.

use api_types::value::Quantity;
use client::Client;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// What a pod used over a span of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub pod: String,
    /// End of the span.
    pub at: Option<Timestamp>,
    pub window: SignedDuration,
    /// Container, resource, thousandths.
    pub containers: Vec<(String, String, i64)>,
}

impl Usage {
    /// Thousandths of a resource, of one container or of all; `None` when one does not tell.
    pub(super) fn of(&self, resource: &str, container: Option<&str>) -> Option<i64> {
        let named = |(name, ..): &&(String, String, i64)| container.is_none_or(|wanted| name == wanted);
        let mut containers: Vec<&str> =
            self.containers.iter().filter(named).map(|(c, ..)| c.as_str()).collect();
        containers.dedup();
        let amounts: Option<Vec<i64>> = containers
            .iter()
            .map(|c| self.containers.iter().find(|(name, r, _)| name == c && r == resource).map(|(.., n)| *n))
            .collect();
        amounts.filter(|amounts| !amounts.is_empty()).map(|amounts| amounts.iter().sum())
    }
}

/// Asks for the usage of all selected pods. Errors are worded as upstream's.
pub(super) async fn fetch(namespace: &str, selector: &str, client: &Client) -> Result<Vec<Usage>, String> {
    let selector: String = selector.bytes().map(escaped).collect();
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={selector}");
    let list = client.get_json(&path).await.map_err(|error| {
        let text = error.to_string();
        let bare = error.is_not_found() && !text.contains("(get ");
        let text = if bare { format!("{text} (get pods.metrics.k8s.io)") } else { text };
        format!("unable to fetch metrics from resource metrics API: {text}")
    })?;
    let usages: Vec<_> = list["items"].as_array().into_iter().flatten().map(usage).collect();
    match usages.is_empty() {
        true => Err("no metrics returned from resource metrics API".into()),
        false => Ok(usages),
    }
}

/// A byte of a path or a query.
pub(super) fn escaped(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    }
}

fn usage(item: &Value) -> Usage {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let window = api_types::value::Duration::parse(&text(&item["window"])).map_or(0, |d| d.0);
    let containers = item["containers"].as_array().into_iter().flatten();
    let containers = containers.flat_map(|container| {
        let name = text(&container["name"]);
        let used = container["usage"].as_object().into_iter().flatten();
        used.filter_map(move |(resource, amount)| {
            let amount = Quantity::parse(amount.as_str()?).ok()?;
            Some((name.clone(), resource.clone(), amount.milli_value()))
        })
    });
    Usage {
        pod: text(&item["metadata"]["name"]),
        at: text(&item["timestamp"]).parse().ok(),
        window: SignedDuration::from_nanos(window),
        containers: containers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_and_added_up() {
        let item = serde_json::json!({
            "metadata": { "name": "web-0" }, "timestamp": "2026-01-01T00:00:00Z", "window": "30s",
            "containers": [
                { "name": "a", "usage": { "cpu": "250m", "memory": "1Mi" } },
                { "name": "b", "usage": { "cpu": "1" } },
            ],
        });
        let usage = usage(&item);
        assert_eq!((usage.pod.as_str(), usage.window.as_secs()), ("web-0", 30));
        assert_eq!((usage.of("cpu", None), usage.of("cpu", Some("a"))), (Some(1250), Some(250)));
        assert_eq!(usage.of("memory", None), None, "one container does not tell");
        assert_eq!(usage.of("cpu", Some("c")), None);
    }
}
