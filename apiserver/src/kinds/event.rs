//! Events of both groups are one resource: stored as core/v1, converted for events.k8s.io/v1.

use api_types::core::v1 as core;
use api_types::events::v1 as events;
use api_types::kind::{Kind, Object, Row};

pub fn is_event(kind: &Kind) -> bool {
    kind.resource == "events"
}

/// The event in the other group's version; `None` for what is no event.
pub fn convert(object: &dyn Object, to: &Row) -> Option<Box<dyn Object>> {
    if let Some(event) = object.as_any().downcast_ref::<core::Event>() {
        return (to.kind.group == "events.k8s.io").then(|| Box::new(from_core(event)) as Box<dyn Object>);
    }
    let event = object.as_any().downcast_ref::<events::Event>()?;
    to.kind.group.is_empty().then(|| Box::new(to_core(event)) as Box<dyn Object>)
}

/// What the stored version calls a field that `row` lets select.
pub fn stored_field(row: &Row, field: &str) -> String {
    if row.kind.group != "events.k8s.io" {
        return field.to_owned();
    }
    match field.strip_prefix("regarding.") {
        Some(of) => format!("involvedObject.{of}"),
        None if field == "reportingController" => "reportingComponent".to_owned(),
        None => field.to_owned(),
    }
}

fn from_core(event: &core::Event) -> events::Event {
    let event = event.clone();
    events::Event {
        metadata: event.metadata,
        event_time: event.event_time,
        series: event.series.map(|series| {
            Box::new(events::EventSeries {
                count: series.count,
                last_observed_time: series.last_observed_time,
            })
        }),
        reporting_controller: event.reporting_component,
        reporting_instance: event.reporting_instance,
        action: event.action,
        reason: event.reason,
        regarding: event.involved_object,
        related: event.related,
        note: event.message,
        type_: event.type_,
        deprecated_source: event.source,
        deprecated_first_timestamp: event.first_timestamp,
        deprecated_last_timestamp: event.last_timestamp,
        deprecated_count: event.count,
    }
}

fn to_core(event: &events::Event) -> core::Event {
    let event = event.clone();
    core::Event {
        metadata: event.metadata,
        involved_object: event.regarding,
        reason: event.reason,
        message: event.note,
        source: event.deprecated_source,
        first_timestamp: event.deprecated_first_timestamp,
        last_timestamp: event.deprecated_last_timestamp,
        count: event.deprecated_count,
        type_: event.type_,
        event_time: event.event_time,
        series: event.series.map(|series| {
            Box::new(core::EventSeries { count: series.count, last_observed_time: series.last_observed_time })
        }),
        action: event.action,
        related: event.related,
        reporting_component: event.reporting_controller,
        reporting_instance: event.reporting_instance,
    }
}
