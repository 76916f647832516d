//! What `kubectl get` shows of a HorizontalPodAutoscaler; both versions show the same.

use super::*;

/// `cpu: 40%/80%, 5/10 (avg) + 1 more...`: what was measured over what is aimed at.
pub(crate) fn targets(spec: &HorizontalPodAutoscalerSpec, status: &HorizontalPodAutoscalerStatus) -> String {
    const SHOWN: usize = 2;
    if spec.metrics.is_empty() {
        return "<none>".to_owned();
    }
    let texts: Vec<String> = spec
        .metrics
        .iter()
        .take(SHOWN)
        .enumerate()
        .map(|(place, metric)| one(metric, status.current_metrics.get(place)))
        .collect();
    match spec.metrics.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{} + {more} more...", texts.join(", ")),
        _ => texts.join(", "),
    }
}

fn one(metric: &MetricSpec, current: Option<&MetricStatus>) -> String {
    match &metric.type_ {
        MetricSourceType::External => {
            let current = current.and_then(|c| c.external.as_ref()).map(|c| &c.current);
            value_or_average(metric.external.as_ref().map(|m| &m.target), current)
        }
        MetricSourceType::Object => {
            let current = current.and_then(|c| c.object.as_ref()).map(|c| &c.current);
            value_or_average(metric.object.as_ref().map(|m| &m.target), current)
        }
        MetricSourceType::Pods => {
            let current = current.and_then(|c| c.pods.as_ref()).and_then(|c| c.current.average_value);
            let target = metric.pods.as_ref().and_then(|m| m.target.average_value);
            format!("{}/{}", known(current), known(target))
        }
        MetricSourceType::Resource => {
            let current = current.and_then(|c| c.resource.as_ref()).map(|c| &c.current);
            metric.resource.as_ref().map(|m| resource(&m.name, &m.target, current)).unwrap_or_default()
        }
        MetricSourceType::ContainerResource => {
            let current = current.and_then(|c| c.container_resource.as_ref()).map(|c| &c.current);
            let own = metric.container_resource.as_ref();
            own.map(|m| resource(&m.name, &m.target, current)).unwrap_or_default()
        }
        _ => "<unknown type>".to_owned(),
    }
}

fn known(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "<unknown>".to_owned(), |value| value.to_string())
}

fn value_or_average(target: Option<&MetricTarget>, current: Option<&MetricValueStatus>) -> String {
    match target.and_then(|t| t.average_value) {
        Some(average) => format!("{}/{average} (avg)", known(current.and_then(|c| c.average_value))),
        None => format!("{}/{}", known(current.and_then(|c| c.value)), known(target.and_then(|t| t.value))),
    }
}

fn resource(name: &str, target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    if let Some(average) = target.average_value {
        return format!("{name}: {}/{average}", known(current.and_then(|c| c.average_value)));
    }
    let percent = |value: Option<i32>, unknown: &str| value.map_or(unknown.to_owned(), |n| format!("{n}%"));
    let measured = percent(current.and_then(|c| c.average_utilization), "<unknown>");
    format!("{name}: {measured}/{}", percent(target.average_utilization, "<auto>"))
}
