//! What the columns of `kubectl get` are made of: their constructors, ages, and cells that several
//! kinds share.
//!
//! A kind's own columns stand in its folder. Texts in cells (`<none>`, `3d4h`) are upstream's:
//! scripts cut them out of the output.

use crate::core::v1::{Container, PodTemplateSpec};
use crate::kind::{Column, Resource};
use crate::meta::v1::LabelSelector;
use crate::selector::Labels;
use crate::value::{MicroTime, Time};
use jiff::Timestamp;
use serde_json::Value as Json;
use std::collections::BTreeMap;

impl<T: Resource> Column<T> {
    /// Name and time of creation: what a kind without columns of its own shows.
    pub const PLAIN: &'static [Self] = &[
        Self::name(),
        Self {
            name: "Created At",
            ty: "date",
            format: "",
            description: "When the object was created.",
            priority: 0,
            cell: |object, _| {
                object.metadata().creation_timestamp.map_or(Json::Null, |at| at.to_string().into())
            },
        },
    ];

    /// A column of texts, always shown.
    pub const fn text(
        name: &'static str,
        description: &'static str,
        cell: fn(&T, now: Timestamp) -> Json,
    ) -> Self {
        Self { name, ty: "string", format: "", description, priority: 0, cell }
    }

    /// A column of numbers, always shown.
    pub const fn integer(
        name: &'static str,
        description: &'static str,
        cell: fn(&T, now: Timestamp) -> Json,
    ) -> Self {
        Self { ty: "integer", ..Self::text(name, description, cell) }
    }

    /// Shown with `-o wide` only.
    pub const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }

    /// The object's name.
    pub const fn name() -> Self {
        Self {
            format: "name",
            ..Self::text("Name", "Name of the object, unique among its kind in its namespace.", |o, _| {
                o.metadata().name.as_str().into()
            })
        }
    }

    /// Time since the object was created.
    pub const fn age() -> Self {
        Self::text("Age", "Time since the object was created.", |o, now| {
            since(o.metadata().creation_timestamp, now).into()
        })
    }
}

/// A time that ages are counted from.
pub(crate) trait Moment {
    fn moment(self) -> Timestamp;
}

impl Moment for Time {
    fn moment(self) -> Timestamp {
        self.0
    }
}

impl Moment for MicroTime {
    fn moment(self) -> Timestamp {
        self.0
    }
}

/// Time since `at` as people read it.
pub(crate) fn since(at: Option<impl Moment>, now: Timestamp) -> String {
    at.map_or_else(
        || "<unknown>".to_owned(),
        |at| human_duration(now.duration_since(at.moment()).as_millis() as i64 / 1000),
    )
}

/// A span with two or three significant figures: `90s`, `5m10s`, `3d4h`, `2y35d`.
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |large: i64, large_unit: char, small: i64, small_unit: char| match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small}{small_unit}"),
    };
    match seconds {
        // Clocks of two machines may differ a little.
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two(seconds / MINUTE, 'm', seconds % MINUTE, 's'),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two(seconds / HOUR, 'h', seconds % HOUR / MINUTE, 'm'),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two(seconds / DAY, 'd', seconds % DAY / HOUR, 'h'),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(seconds / YEAR, 'y', seconds % YEAR / DAY, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// The text, or a stand-in for an empty one.
pub(crate) fn or<'a>(text: &'a str, stand_in: &'a str) -> &'a str {
    if text.is_empty() { stand_in } else { text }
}

fn joined(containers: &[Container], part: fn(&Container) -> &str) -> Json {
    containers.iter().map(part).collect::<Vec<_>>().join(",").into()
}

/// Names of a template's containers.
pub(crate) fn container_names(template: &PodTemplateSpec) -> Json {
    joined(&template.spec.containers, |c| &c.name)
}

/// Images of a template's containers.
pub(crate) fn container_images(template: &PodTemplateSpec) -> Json {
    joined(&template.spec.containers, |c| &c.image)
}

/// A label selector in its text form.
pub(crate) fn selector(spec: Option<&LabelSelector>, everything: &str) -> Json {
    let Ok(labels) = Labels::from_spec(spec) else { return "<error>".into() };
    or(&labels.to_string(), everything).into()
}

/// A map of labels as `a=b,c=d`.
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> Json {
    let text = labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
    or(&text, "<none>").into()
}

/// The first few items, and how many more there are.
pub(crate) fn first_of(items: &[String], nothing: &str) -> String {
    const SHOWN: usize = 3;
    let shown = items[..items.len().min(SHOWN)].join(",");
    match items.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} + {more} more..."),
        _ => or(&shown, nothing).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_upstreams() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (310, "5m10s"),
            (600, "10m"),
            (10_740, "179m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (187_200, "2d4h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (66_096_000, "2y35d"),
            (252_288_000, "8y"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let items = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        assert_eq!(first_of(&items(0), "<none>"), "<none>");
        assert_eq!(first_of(&items(3), "<none>"), "0,1,2");
        assert_eq!(first_of(&items(5), "<none>"), "0,1,2 + 2 more...");
    }
}
