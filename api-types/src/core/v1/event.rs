//! Event as the core group has it; `events::v1::Event` is the same object in newer clothes.

use crate::columns::{or, since};
use crate::core::v1::ObjectReference;
use crate::core::v1::well_known::namespace;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, NameRule, Resource, Strategy, resource};
use crate::meta::v1::ObjectMeta;
use crate::names;
use crate::value::{MicroTime, Time};
use api_types_derive::Api;
use jiff::Timestamp;

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
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const CREATE_ON_UPDATE: bool = true;

    fn validate(&self, errors: &mut Errors) {
        self.view().validate("reportingComponent", errors);
    }

    fn selectable_names() -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        let object = &self.involved_object;
        vec![
            ("involvedObject.kind", object.kind.clone()),
            ("involvedObject.namespace", object.namespace.clone()),
            ("involvedObject.name", object.name.clone()),
            ("involvedObject.uid", object.uid.clone()),
            ("involvedObject.apiVersion", object.api_version.clone()),
            ("involvedObject.resourceVersion", object.resource_version.clone()),
            ("involvedObject.fieldPath", object.field_path.clone()),
            ("reason", self.reason.clone()),
            ("reportingComponent", self.reporting_component.clone()),
            ("source", or(&self.source.component, &self.reporting_component).to_owned()),
            ("type", self.type_.clone()),
        ]
    }

    fn columns() -> &'static [Column<Self>] {
        const { &event_columns() }
    }
}

/// What the columns of both event kinds read.
pub(crate) struct EventView<'a> {
    pub object: &'a ObjectReference,
    pub reason: &'a str,
    pub message: &'a str,
    pub type_: &'a str,
    pub source: &'a EventSource,
    pub reporting_component: &'a str,
    pub reporting_instance: &'a str,
    pub action: &'a str,
    pub namespace: &'a str,
    pub first: Option<Time>,
    pub last: Option<Time>,
    pub time: Option<MicroTime>,
    pub count: i32,
    /// Count and time of the latest of a series.
    pub series: Option<(i32, Option<MicroTime>)>,
}

/// An event of either group.
pub(crate) trait AsEvent: Resource {
    fn view(&self) -> EventView<'_>;
}

impl AsEvent for Event {
    fn view(&self) -> EventView<'_> {
        EventView {
            object: &self.involved_object,
            reason: &self.reason,
            message: &self.message,
            type_: &self.type_,
            source: &self.source,
            reporting_component: &self.reporting_component,
            reporting_instance: &self.reporting_instance,
            action: &self.action,
            namespace: &self.metadata.namespace,
            first: self.first_timestamp,
            last: self.last_timestamp,
            time: self.event_time,
            count: self.count,
            series: self.series.as_ref().map(|s| (s.count, s.last_observed_time)),
        }
    }
}

impl EventView<'_> {
    /// What is refused in an event of either kind. One with an event time is of the newer sort, which
    /// says who reports; `reporter` is that field's name.
    pub(crate) fn validate(&self, reporter: &str, errors: &mut Errors) {
        const LONGEST: usize = 128;
        const LONGEST_NOTE: usize = 1024;
        let object_namespace = self.object.namespace.as_str();
        let fits = match (self.time, object_namespace) {
            (None, "") => matches!(self.namespace, "" | namespace::DEFAULT),
            (None, given) => given == self.namespace,
            (Some(_), "") => matches!(self.namespace, namespace::DEFAULT | namespace::SYSTEM),
            (Some(_), _) => true,
        };
        if !fits {
            let path = Path::new("involvedObject").child("namespace");
            errors.invalid(&path, object_namespace, "does not match event.namespace");
        }
        if self.time.is_some() {
            let path = Path::new(reporter);
            if self.reporting_component.is_empty() {
                errors.required(&path, "");
            }
            let wrong = names::qualified_name(self.reporting_component);
            errors.wrong(&path, self.reporting_component, wrong);
            for (name, value) in [
                ("reportingInstance", self.reporting_instance),
                ("action", self.action),
                ("reason", self.reason),
            ] {
                let path = Path::new(name);
                if value.is_empty() {
                    errors.required(&path, "");
                }
                if value.len() > LONGEST {
                    errors.invalid(&path, "", format!("can have at most {LONGEST} characters"));
                }
            }
            if self.message.len() > LONGEST_NOTE {
                let text = format!("can have at most {LONGEST_NOTE} characters");
                errors.invalid(&Path::new("message"), "", text);
            }
        }
        errors.wrong(&Path::new("namespace"), self.namespace, names::dns1123_subdomain(self.namespace));
    }

    fn first_seen(&self, now: Timestamp) -> String {
        if self.first.is_some() { since(self.first, now) } else { since(self.time, now) }
    }

    fn last_seen(&self, now: Timestamp) -> String {
        match (self.series, self.last) {
            (Some((_, last)), _) => since(last, now),
            (None, Some(last)) => since(Some(last), now),
            (None, None) => self.first_seen(now),
        }
    }

    fn object(&self) -> String {
        let kind = self.object.kind.to_lowercase();
        if self.object.name.is_empty() { kind } else { format!("{kind}/{}", self.object.name) }
    }

    fn source(&self) -> String {
        let component = or(&self.source.component, self.reporting_component);
        match or(&self.source.host, self.reporting_instance) {
            "" => component.to_owned(),
            instance => format!("{component}, {instance}"),
        }
    }

    fn count(&self) -> i32 {
        // An event of its own has no count in the newer API.
        self.series.map_or(self.count.max(i32::from(self.count == 0)), |(count, _)| count)
    }
}

/// Columns of both event kinds.
pub(crate) const fn event_columns<T: AsEvent>() -> [Column<T>; 10] {
    [
        Column::text("Last Seen", "Time since it happened last.", |e: &T, now| {
            e.view().last_seen(now).into()
        }),
        Column::text("Type", "Normal or Warning.", |e: &T, _| e.view().type_.into()),
        Column::text("Reason", "Why it happened, in one word.", |e: &T, _| e.view().reason.into()),
        Column::text("Object", "What it happened to.", |e: &T, _| e.view().object().into()),
        Column::text("Subobject", "Part of the object that it is about.", |e: &T, _| {
            e.view().object.field_path.as_str().into()
        })
        .wide(),
        Column::text("Source", "Who tells of it.", |e: &T, _| e.view().source().into()).wide(),
        Column::text("Message", "What happened.", |e: &T, _| e.view().message.trim().into()),
        Column::text("First Seen", "Time since it happened first.", |e: &T, now| {
            e.view().first_seen(now).into()
        })
        .wide(),
        Column::text("Count", "How often it happened.", |e: &T, _| e.view().count().into()).wide(),
        Column::name().wide(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::refused;
    use jiff::ToSpan;

    fn event(change: impl FnOnce(&mut Event)) -> Event {
        let mut own = Event::default();
        own.metadata.name = "web.1".into();
        own.metadata.namespace = "shop".into();
        own.involved_object = ObjectReference {
            kind: "Pod".into(),
            name: "web".into(),
            namespace: "shop".into(),
            ..Default::default()
        };
        change(&mut own);
        own
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(event(|_| {})).is_empty());
        assert_eq!(
            refused(event(|e| e.involved_object.namespace = "other".into())),
            [r#"involvedObject.namespace: Invalid value: "other": does not match event.namespace"#]
        );
        assert_eq!(
            refused(event(|e| {
                e.event_time = Some(MicroTime::default());
                e.reporting_component = "kubelet".into();
                e.action = "x".repeat(129);
            })),
            [
                "reportingInstance: Required value",
                r#"action: Invalid value: "": can have at most 128 characters"#,
                "reason: Required value",
            ]
        );
    }

    #[test]
    fn columns() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        let cells = |own: &Event| -> Vec<String> {
            let text = |column: &Column<Event>| (column.cell)(own, now).to_string().replace('"', "");
            Event::columns().iter().map(text).collect()
        };
        let old = event(|e| {
            e.type_ = "Normal".into();
            e.reason = "Pulled".into();
            e.message = " Pulled it\n".into();
            e.source = EventSource { component: "kubelet".into(), host: "n1".into() };
            e.first_timestamp = Some(Time(now - 10.minutes()));
            e.last_timestamp = Some(Time(now - 5.seconds()));
            e.count = 3;
        });
        assert_eq!(
            cells(&old),
            ["5s", "Normal", "Pulled", "pod/web", "", "kubelet, n1", "Pulled it", "10m", "3", "web.1"]
        );
        let new = event(|e| {
            e.event_time = Some(MicroTime(now - 1.minutes()));
            e.reporting_component = "scheduler".into();
        });
        assert_eq!(cells(&new), ["60s", "", "", "pod/web", "", "scheduler", "", "60s", "1", "web.1"]);
    }
}
