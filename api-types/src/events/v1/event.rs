//! Event of events.k8s.io: what happened to which object, and who says so.

use crate::core::v1::event::{AsEvent, EventView, event_columns};
use crate::core::v1::{EventSource, ObjectReference};
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::meta::v1::validate::IMMUTABLE;
use crate::value::{MicroTime, Time, Value};
use api_types_derive::Api;

/// Something that happened to an object.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.events.v1")]
pub struct Event {
    /// Name, labels and other standard metadata.
    #[api(1, always)]
    pub metadata: ObjectMeta,
    /// When it was first seen.
    #[api(2, required)]
    pub event_time: Option<MicroTime>,
    /// Counter of the series that it belongs to, if any.
    #[api(3)]
    pub series: Option<Box<EventSeries>>,
    /// Controller that reports it, such as kubernetes.io/kubelet.
    #[api(4)]
    pub reporting_controller: String,
    /// Which instance of that controller, such as a pod's name.
    #[api(5)]
    pub reporting_instance: String,
    /// What was done to the object.
    #[api(6)]
    pub action: String,
    /// Why, in one CamelCase word.
    #[api(7)]
    pub reason: String,
    /// The object that it is about.
    #[api(8)]
    pub regarding: ObjectReference,
    /// A second object that took part.
    #[api(9)]
    pub related: Option<Box<ObjectReference>>,
    /// What happened, for people; at most 1 kB.
    #[api(10)]
    pub note: String,
    /// Normal or Warning.
    #[api(11)]
    pub type_: String,
    /// Source of the core group's event.
    #[api(12)]
    pub deprecated_source: EventSource,
    /// First time of the core group's event.
    #[api(13, always)]
    pub deprecated_first_timestamp: Option<Time>,
    /// Last time of the core group's event.
    #[api(14, always)]
    pub deprecated_last_timestamp: Option<Time>,
    /// Count of the core group's event.
    #[api(15)]
    pub deprecated_count: i32,
}

/// Counter of repeated events.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.events.v1")]
pub struct EventSeries {
    /// Occurrences up to the last heartbeat.
    #[api(1, required)]
    pub count: i32,
    /// When the last occurrence was seen.
    #[api(2, required)]
    pub last_observed_time: Option<MicroTime>,
}

resource!(
    Event,
    Kind { short_names: &["ev"], ..Kind::namespaced("events.k8s.io/v1", "Event", "events", "event") }
);

impl Strategy for Event {
    const CREATE_ON_UPDATE: bool = true;

    fn validate(&self, errors: &mut Errors) {
        self.view().validate("reportingController", errors);
    }

    /// Stricter than the core group's: events of the old sort are not made here.
    fn validate_create(&self, errors: &mut Errors) {
        self.validate_series(errors);
        if self.event_time.is_none() {
            errors.required(&Path::new("eventTime"), "");
        }
        if !matches!(self.type_.as_str(), "Normal" | "Warning") {
            errors.invalid(&Path::new("type"), "", format!("has invalid value: {}", self.type_));
        }
        for (set, name) in [
            (self.deprecated_first_timestamp.is_some(), "firstTimestamp"),
            (self.deprecated_last_timestamp.is_some(), "lastTimestamp"),
            (self.deprecated_count != 0, "count"),
            (self.deprecated_source != EventSource::default(), "source"),
        ] {
            if set {
                errors.invalid(&Path::new(name), "", "needs to be unset");
            }
        }
    }

    /// An event grows as a series and changes in no other way. Names of fields are the core group's.
    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        if self.series != old.series {
            self.validate_series(errors);
        }
        let fields: [(&str, &dyn Value, bool); 13] = [
            ("involvedObject", &self.regarding, self.regarding != old.regarding),
            ("reason", &self.reason, self.reason != old.reason),
            ("message", &self.note, self.note != old.note),
            ("source", &self.deprecated_source, self.deprecated_source != old.deprecated_source),
            (
                "firstTimestamp",
                &self.deprecated_first_timestamp,
                self.deprecated_first_timestamp != old.deprecated_first_timestamp,
            ),
            (
                "lastTimestamp",
                &self.deprecated_last_timestamp,
                self.deprecated_last_timestamp != old.deprecated_last_timestamp,
            ),
            ("count", &self.deprecated_count, self.deprecated_count != old.deprecated_count),
            ("type", &self.type_, self.type_ != old.type_),
            ("eventTime", &self.event_time, self.event_time != old.event_time),
            ("action", &self.action, self.action != old.action),
            ("related", &self.related, self.related != old.related),
            (
                "reportingController",
                &self.reporting_controller,
                self.reporting_controller != old.reporting_controller,
            ),
            (
                "reportingInstance",
                &self.reporting_instance,
                self.reporting_instance != old.reporting_instance,
            ),
        ];
        for (name, value, _) in fields.into_iter().filter(|(_, _, changed)| *changed) {
            errors.invalid(&Path::new(name), value, IMMUTABLE);
        }
    }

    fn selectable_names() -> &'static [&'static str] {
        &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("regarding.kind", self.regarding.kind.clone()),
            ("regarding.namespace", self.regarding.namespace.clone()),
            ("regarding.name", self.regarding.name.clone()),
            ("regarding.uid", self.regarding.uid.clone()),
            ("regarding.apiVersion", self.regarding.api_version.clone()),
            ("regarding.resourceVersion", self.regarding.resource_version.clone()),
            ("regarding.fieldPath", self.regarding.field_path.clone()),
            ("reason", self.reason.clone()),
            ("reportingController", self.reporting_controller.clone()),
            ("type", self.type_.clone()),
        ]
    }

    fn columns() -> &'static [Column<Self>] {
        const { &event_columns() }
    }
}

impl Event {
    fn validate_series(&self, errors: &mut Errors) {
        let Some(series) = &self.series else { return };
        if series.count < 2 {
            errors.invalid(&Path::new("series.count"), "", "should be at least 2");
        }
        if series.last_observed_time.is_none() {
            errors.required(&Path::new("series.lastObservedTime"), "");
        }
    }
}

impl AsEvent for Event {
    fn view(&self) -> EventView<'_> {
        EventView {
            object: &self.regarding,
            reason: &self.reason,
            message: &self.note,
            type_: &self.type_,
            source: &self.deprecated_source,
            reporting_component: &self.reporting_controller,
            reporting_instance: &self.reporting_instance,
            action: &self.action,
            namespace: &self.metadata.namespace,
            first: self.deprecated_first_timestamp,
            last: self.deprecated_last_timestamp,
            time: self.event_time,
            count: self.deprecated_count,
            series: self.series.as_ref().map(|s| (s.count, s.last_observed_time)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, refused_update};

    fn event() -> Event {
        let mut own = Event {
            event_time: Some(MicroTime::default()),
            reporting_controller: "example.com/own".into(),
            reporting_instance: "own-1".into(),
            action: "Start".into(),
            reason: "Started".into(),
            type_: "Normal".into(),
            ..Event::default()
        };
        own.metadata.namespace = "default".into();
        own
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(event()).is_empty());
        let old = Event { type_: "Loud".into(), deprecated_count: 1, ..event() };
        assert_eq!(
            refused(old),
            [
                r#"type: Invalid value: "": has invalid value: Loud"#,
                r#"count: Invalid value: "": needs to be unset"#,
            ]
        );
    }

    #[test]
    fn only_the_series_changes() {
        let series = EventSeries { count: 2, last_observed_time: Some(MicroTime::default()) };
        let new = Event { series: Some(Box::new(series)), ..event() };
        assert!(refused_update(new, event()).is_empty());
        assert_eq!(
            refused_update(Event { note: "more".into(), ..event() }, event()),
            [r#"message: Invalid value: "more": field is immutable"#]
        );
    }
}
