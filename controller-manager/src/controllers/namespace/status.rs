//! The conditions of a namespace that is being deleted. Each is there from the first round on: with
//! status False and an "all is well" reason while nothing stands in the way.

use api_types::core::v1::{NamespaceCondition, NamespaceConditionType, NamespacePhase, NamespaceStatus};
use api_types::meta::v1::ConditionStatus;
use api_types::value::Time;
use client::Error;
use jiff::Timestamp;

use super::content::{Found, Undiscovered};

use NamespaceConditionType::{
    NamespaceContentRemaining, NamespaceDeletionContentFailure, NamespaceDeletionDiscoveryFailure,
    NamespaceDeletionGroupVersionParsingFailure, NamespaceFinalizersRemaining,
};

/// A condition's reason and message while it does not hold.
const WELL: [(NamespaceConditionType, &str, &str); 5] = [
    (NamespaceDeletionDiscoveryFailure, "ResourcesDiscovered", "All resources successfully discovered"),
    (
        NamespaceDeletionGroupVersionParsingFailure,
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        NamespaceDeletionContentFailure,
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    (NamespaceContentRemaining, "ContentRemoved", "All content successfully removed"),
    (NamespaceFinalizersRemaining, "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];

/// Writes what was found into the status; tells whether anything changed.
pub(super) fn update(status: &mut NamespaceStatus, found: &Found, now: Timestamp) -> bool {
    let before = status.clone();
    status.phase = NamespacePhase::Terminating;
    for (type_, reason, message) in WELL {
        let trouble = trouble(&type_, found);
        let (holds, reason, message) = match trouble {
            Some((reason, message)) => (ConditionStatus::True, reason, message),
            None => (ConditionStatus::False, reason, message.to_owned()),
        };
        set(status, type_, holds, reason, message, now);
    }
    *status != before
}

/// What stands in the way, if anything of this sort does.
fn trouble(type_: &NamespaceConditionType, found: &Found) -> Option<(&'static str, String)> {
    let list = |words: Vec<String>| words.join(", ");
    match type_ {
        NamespaceDeletionDiscoveryFailure => match &found.undiscovered {
            Undiscovered::Nothing => None,
            Undiscovered::Everything(error) => Some(("DiscoveryFailed", error.to_string())),
            Undiscovered::Groups(groups) => {
                let words = groups.iter().map(|(group, error)| format!("{group}: {}", missing(group, error)));
                let message = format!(
                    "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
                    groups.len(),
                    list(words.collect())
                );
                Some(("DiscoveryFailed", message))
            }
        },
        NamespaceDeletionContentFailure if !found.failures.is_empty() => {
            let mut words: Vec<String> =
                found.failures.iter().map(|(what, error)| format!("{what}: {error}")).collect();
            words.sort();
            let count = words.len();
            Some((
                "ContentDeletionFailed",
                format!("Failed to delete all resource types, {count} remaining: {}", list(words)),
            ))
        }
        NamespaceContentRemaining if !found.remaining.is_empty() => {
            let words =
                found.remaining.iter().map(|(r, n)| format!("{r} has {n} resource instances")).collect();
            Some(("SomeResourcesRemain", format!("Some resources are remaining: {}", list(words))))
        }
        NamespaceFinalizersRemaining if !found.finalizers.is_empty() => {
            let words =
                found.finalizers.iter().map(|(f, n)| format!("{f} in {n} resource instances")).collect();
            Some((
                "SomeFinalizersRemain",
                format!("Some content in the namespace has finalizers remaining: {}", list(words)),
            ))
        }
        _ => None,
    }
}

/// Why a group is not known. COMPAT: one whose server is away is told of as in the list of all groups.
fn missing(group: &str, error: &Error) -> String {
    match error.status() {
        Some(status) if status.code == 503 => format!("stale GroupVersion discovery: {group}"),
        _ => error.to_string(),
    }
}

fn set(
    status: &mut NamespaceStatus,
    type_: NamespaceConditionType,
    holds: ConditionStatus,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let known = status.conditions.iter_mut().find(|c| c.type_ == type_);
    let moved = known.as_ref().is_none_or(|c| c.status != holds);
    let stamp = Some(Time::whole(now));
    let since = known.as_ref().filter(|_| !moved).map_or(stamp, |c| c.last_transition_time);
    let new = NamespaceCondition {
        type_,
        status: holds,
        last_transition_time: since,
        reason: reason.into(),
        message,
    };
    match known {
        Some(known) => *known = new,
        None => status.conditions.push(new),
    }
}
