//! Event as the core group has it; `events::v1::Event` is the same object in newer clothes.

use crate::core::v1::ObjectReference;
use crate::kind::{Kind, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::value::{MicroTime, Time};
use api_types_derive::Api;

/// Something that happened to an object.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct Event {
    /// Name, labels and other standard metadata.
    #[api(1, required)]
    pub metadata: ObjectMeta,
    /// The object that it happened to.
    #[api(2, required)]
    pub involved_object: ObjectReference,
    /// Why, in one CamelCase word.
    #[api(3)]
    pub reason: String,
    /// What happened, for people.
    #[api(4)]
    pub message: String,
    /// The component that reports it.
    #[api(5)]
    pub source: EventSource,
    /// When it was first reported.
    #[api(6, always)]
    pub first_timestamp: Option<Time>,
    /// When it was last reported.
    #[api(7, always)]
    pub last_timestamp: Option<Time>,
    /// How often it has happened.
    #[api(8)]
    pub count: i32,
    /// Normal or Warning.
    #[api(9)]
    pub type_: String,
    /// When it was first seen, with microseconds.
    #[api(10, always)]
    pub event_time: Option<MicroTime>,
    /// Counter of the series that it belongs to, if any.
    #[api(11)]
    pub series: Option<Box<EventSeries>>,
    /// What was done to the object.
    #[api(12)]
    pub action: String,
    /// A second object that took part.
    #[api(13)]
    pub related: Option<Box<ObjectReference>>,
    /// Controller that reports it, such as kubernetes.io/kubelet.
    #[api(14, always)]
    pub reporting_component: String,
    /// Which instance of that controller, such as a pod's name.
    #[api(15, always)]
    pub reporting_instance: String,
}

/// Counter of repeated events.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct EventSeries {
    /// Occurrences up to the last heartbeat.
    #[api(1)]
    pub count: i32,
    /// When the last occurrence was seen.
    #[api(2, always)]
    pub last_observed_time: Option<MicroTime>,
}

/// Where an event comes from.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct EventSource {
    /// The component that reports.
    #[api(1)]
    pub component: String,
    /// The node that it reports from.
    #[api(2)]
    pub host: String,
}

resource!(Event, Kind { short_names: &["ev"], ..Kind::namespaced("v1", "Event", "events", "event") });

impl Strategy for Event {
    const CREATE_ON_UPDATE: bool = true;
}
