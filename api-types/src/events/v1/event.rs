//! Event of events.k8s.io: what happened to which object, and who says so.

use crate::core::v1::event::{AsEvent, EventView, event_columns};
use crate::core::v1::{EventSource, ObjectReference};
use crate::kind::{Column, Kind, NameRule, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::value::{MicroTime, Time};
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
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const CREATE_ON_UPDATE: bool = true;

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
            first: self.deprecated_first_timestamp,
            last: self.deprecated_last_timestamp,
            time: self.event_time,
            count: self.deprecated_count,
            series: self.series.as_ref().map(|s| (s.count, s.last_observed_time)),
        }
    }
}
