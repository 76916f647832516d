//! What a CustomResourceDefinition's status says next: its names, whether it is established, what was
//! said about its group (KEP-2337). Pure.

use std::collections::BTreeSet;

use api_types::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition as Condition,
    CustomResourceDefinitionConditionType as Type,
};
use api_types::meta::v1::ConditionStatus;
use api_types::value::Time;

/// The definition with the status that it should have; `None` when it has that. `others` are all
/// definitions but this one.
pub fn next<'a>(
    own: &CustomResourceDefinition,
    others: impl Iterator<Item = &'a CustomResourceDefinition>,
    now: Time,
) -> Option<CustomResourceDefinition> {
    let mut new = own.clone();
    if own.spec.names != own.status.accepted_names || own.condition(&Type::NamesAccepted).is_none() {
        names(&mut new, others, now);
    }
    approval(&mut new, now);
    (new.status != own.status).then_some(new)
}

fn condition(type_: Type, holds: bool, reason: &str, message: impl Into<String>) -> Condition {
    Condition {
        type_,
        status: if holds { ConditionStatus::True } else { ConditionStatus::False },
        reason: reason.to_owned(),
        message: message.into(),
        ..Condition::default()
    }
}

/// Takes the names that nobody else in the group has.
fn names<'a>(
    new: &mut CustomResourceDefinition,
    others: impl Iterator<Item = &'a CustomResourceDefinition>,
    now: Time,
) {
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for other in others.filter(|other| other.spec.group == new.spec.group) {
        let names = &other.status.accepted_names;
        resources.extend([names.plural.clone(), names.singular.clone()]);
        resources.extend(names.short_names.iter().cloned());
        kinds.extend([names.kind.clone(), names.list_kind.clone()]);
    }
    let asked = new.spec.names.clone();
    let had = new.status.accepted_names.clone();
    let mut conflict: Option<(&str, String)> = None;
    let mut take = |name: &str, before: &str, used: &BTreeSet<String>, reason: &'static str| {
        if name == before || !used.contains(name) {
            return name.to_owned();
        }
        conflict = Some((reason, format!("{name:?} is already in use")));
        before.to_owned()
    };
    let accepted = &mut new.status.accepted_names;
    accepted.plural = take(&asked.plural, &had.plural, &resources, "PluralConflict");
    accepted.singular = take(&asked.singular, &had.singular, &resources, "SingularConflict");
    let taken = asked.short_names.iter().filter(|n| !had.short_names.contains(n) && resources.contains(*n));
    let taken: Vec<String> = taken.map(|name| format!("{name:?} is already in use")).collect();
    accepted.kind = take(&asked.kind, &had.kind, &kinds, "KindConflict");
    accepted.list_kind = take(&asked.list_kind, &had.list_kind, &kinds, "ListKindConflict");
    if taken.is_empty() {
        accepted.short_names = asked.short_names;
    } else {
        let text = if let [one] = taken.as_slice() { one.clone() } else { format!("[{}]", taken.join(", ")) };
        conflict.get_or_insert(("ShortNamesConflict", text));
    }
    accepted.categories = asked.categories;
    let accepted = conflict.is_none();
    let said = match conflict {
        Some((reason, message)) => condition(Type::NamesAccepted, false, reason, message),
        None => condition(Type::NamesAccepted, true, "NoConflicts", "no conflicts found"),
    };
    new.set_condition(said, now);
    if new.is(&Type::Established) {
        return;
    }
    let said = if accepted {
        condition(Type::Established, true, "InitialNamesAccepted", "the initial names have been accepted")
    } else {
        condition(Type::Established, false, "NotAccepted", "not all names are accepted")
    };
    new.set_condition(said, now);
}

/// Kinds in the groups of Kubernetes itself tell whether they were agreed on.
fn approval(new: &mut CustomResourceDefinition, now: Time) {
    const ANNOTATION: &str = "api-approved.kubernetes.io";
    let group = &new.spec.group;
    if !(group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io")) {
        return;
    }
    let value = new.metadata.annotations.get(ANNOTATION).cloned().unwrap_or_default();
    let type_ = Type::KubernetesAPIApprovalPolicyConformant;
    let said = if value.is_empty() {
        let text = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
        condition(type_, false, "MissingAnnotation", text)
    } else if value.starts_with("unapproved") {
        condition(type_, false, "UnapprovedAnnotation", format!("not approved: {value:?}"))
    } else {
        condition(type_, true, "ApprovedAnnotation", format!("approved in {value}"))
    };
    let same = new.condition(&said.type_).is_some_and(|present| {
        (&present.status, &present.reason, &present.message) == (&said.status, &said.reason, &said.message)
    });
    if !same {
        new.set_condition(said, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(plural: &str, kind: &str) -> CustomResourceDefinition {
        let mut own = CustomResourceDefinition::default();
        own.metadata.name = format!("{plural}.example.com");
        own.spec.group = "example.com".into();
        own.spec.names.plural = plural.into();
        own.spec.names.singular = kind.to_lowercase();
        own.spec.names.kind = kind.into();
        own.spec.names.list_kind = format!("{kind}List");
        own
    }

    fn now() -> Time {
        Time(jiff::Timestamp::UNIX_EPOCH)
    }

    fn said(crd: &CustomResourceDefinition) -> Vec<(String, String, String)> {
        let conditions = crd.status.conditions.iter();
        conditions.map(|c| (c.type_.to_string(), c.status.to_string(), c.reason.clone())).collect()
    }

    fn expect(words: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
        words.iter().map(|(a, b, c)| ((*a).into(), (*b).into(), (*c).into())).collect()
    }

    #[test]
    fn free_names_are_taken_and_the_kind_is_established() {
        let own = next(&crd("foos", "Foo"), [].into_iter(), now()).expect("a new status");
        assert_eq!(own.status.accepted_names, own.spec.names);
        assert_eq!(
            said(&own),
            expect(&[
                ("NamesAccepted", "True", "NoConflicts"),
                ("Established", "True", "InitialNamesAccepted")
            ])
        );
        assert_eq!(next(&own, [].into_iter(), now()), None, "nothing is left to say");
    }

    #[test]
    fn names_of_others_are_not_taken() {
        let other = next(&crd("foos", "Foo"), [].into_iter(), now()).expect("a new status");
        let own = next(&crd("bars", "Foo"), [&other].into_iter(), now()).expect("a new status");
        assert_eq!(own.status.accepted_names.plural, "bars");
        assert_eq!(own.status.accepted_names.kind, "");
        assert_eq!(
            said(&own),
            expect(&[
                ("NamesAccepted", "False", "ListKindConflict"),
                ("Established", "False", "NotAccepted")
            ])
        );
        // Once the name is free it is taken.
        let own = next(&own, [].into_iter(), now()).expect("a new status");
        assert!(own.is(&Type::Established));
    }

    #[test]
    fn groups_of_kubernetes_are_approved() {
        let mut own = crd("foos", "Foo");
        own.spec.group = "example.k8s.io".into();
        own.metadata.annotations.insert("api-approved.kubernetes.io".into(), "https://a".into());
        let own = next(&own, [].into_iter(), now()).expect("a new status");
        let found = own.condition(&Type::KubernetesAPIApprovalPolicyConformant).expect("a condition");
        assert_eq!(
            (found.reason.as_str(), found.message.as_str()),
            ("ApprovedAnnotation", "approved in https://a")
        );
    }
}
