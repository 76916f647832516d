//! APIServices of the groups that this server answers for itself: built-in ones, which are written at each start, and
//! those of custom kinds, which come and go with their definitions. What should be written say `plan` and
//! `plan_custom`, which are pure.

use std::collections::BTreeSet;

use api_types::apiextensions::v1::CustomResourceDefinition;
use api_types::apiregistration::v1::APIService;
use api_types::kind::Resource;
use api_types::kinds;

use crate::bootstrap::{Objects, ObjectsError};

/// Marks those that the server keeps.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// A group, its place among groups, and its versions with theirs.
type Place = (&'static str, i32, &'static [(&'static str, i32)]);
const PRIORITIES: [Place; 21] = [
    ("", 18000, &[("v1", 1)]),
    ("apps", 17800, &[("v1", 15)]),
    ("events.k8s.io", 17750, &[("v1", 15)]),
    ("authentication.k8s.io", 17700, &[("v1", 15)]),
    ("authorization.k8s.io", 17600, &[("v1", 15)]),
    ("autoscaling", 17500, &[("v2", 30), ("v1", 15)]),
    ("batch", 17400, &[("v1", 15)]),
    ("certificates.k8s.io", 17300, &[("v1", 15)]),
    ("networking.k8s.io", 17200, &[("v1", 15)]),
    ("policy", 17100, &[("v1", 15)]),
    ("rbac.authorization.k8s.io", 17000, &[("v1", 15)]),
    ("storage.k8s.io", 16800, &[("v1", 15)]),
    ("apiextensions.k8s.io", 16700, &[("v1", 15)]),
    ("admissionregistration.k8s.io", 16700, &[("v1", 15)]),
    ("scheduling.k8s.io", 16600, &[("v1", 15)]),
    ("coordination.k8s.io", 16500, &[("v1", 15)]),
    ("node.k8s.io", 16300, &[("v1", 15)]),
    ("discovery.k8s.io", 16200, &[("v1", 15)]),
    ("resource.k8s.io", 16200, &[("v1", 21)]),
    ("flowcontrol.apiserver.k8s.io", 16100, &[("v1", 21)]),
    // Has no APIService of its own: it is served by the aggregator itself.
    ("apiregistration.k8s.io", 0, &[]),
];

/// What a group and version get that is not listed.
const UNLISTED: (i32, i32) = (1000, 100);

/// The APIServices that should be there.
fn wanted() -> Vec<APIService> {
    let mut found: Vec<APIService> = Vec::new();
    for row in kinds::all() {
        let (group, version) = (row.kind.group, row.kind.version);
        let listed = PRIORITIES.iter().find(|(own, ..)| *own == group);
        if listed.is_some_and(|(_, _, versions)| versions.is_empty()) {
            continue;
        }
        let name = format!("{version}.{group}");
        if found.iter().any(|own| own.metadata.name == name) {
            continue;
        }
        let mut own = APIService::default();
        own.metadata.name = name;
        own.metadata.labels.insert(MANAGED.to_owned(), "onstart".to_owned());
        own.spec.group = group.to_owned();
        own.spec.version = version.to_owned();
        own.spec.group_priority_minimum = listed.map_or(UNLISTED.0, |(_, place, _)| *place);
        let place = listed.and_then(|(_, _, versions)| versions.iter().find(|(own, _)| *own == version));
        own.spec.version_priority = place.map_or(UNLISTED.1, |(_, place)| *place);
        found.push(own);
    }
    found
}

/// What `MANAGED` says of those that are kept as long as there is something behind them.
const ALWAYS: &str = "true";

/// The APIServices of the versions that definitions serve; what is built in has its own.
fn wanted_custom(definitions: &[CustomResourceDefinition]) -> Vec<APIService> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for spec in definitions.iter().map(|own| &own.spec) {
        for version in spec.versions.iter().filter(|version| version.served) {
            let (group, version) = (spec.group.as_str(), version.name.as_str());
            let built_in =
                kinds::all().iter().any(|row| row.kind.group == group && row.kind.version == version);
            if built_in || !seen.insert((group, version)) {
                continue;
            }
            let mut own = APIService::default();
            own.metadata.name = format!("{version}.{group}");
            own.metadata.labels.insert(MANAGED.to_owned(), ALWAYS.to_owned());
            own.spec.group = group.to_owned();
            own.spec.version = version.to_owned();
            (own.spec.group_priority_minimum, own.spec.version_priority) = UNLISTED;
            found.push(own);
        }
    }
    found
}

/// What to do about the APIServices of custom kinds.
fn plan_custom(definitions: &[CustomResourceDefinition], existing: &[APIService]) -> Vec<Step> {
    let wanted = wanted_custom(definitions);
    let is_ours = |own: &APIService| own.metadata.labels.get(MANAGED).is_some_and(|how| how == ALWAYS);
    let gone = existing
        .iter()
        .filter(|own| is_ours(own) && !wanted.iter().any(|other| other.metadata.name == own.metadata.name))
        .map(|own| Step::Delete(own.metadata.name.clone()))
        .collect::<Vec<_>>();
    let steps = wanted.into_iter().map(|wanted| {
        let existing = existing.iter().find(|own| own.metadata.name == wanted.metadata.name);
        plan(wanted, existing)
    });
    steps.filter(|step| *step != Step::Keep).chain(gone).collect()
}

/// Lets the APIServices of custom kinds follow their definitions.
///
/// # Errors
/// When the store cannot be written.
pub async fn follow(
    objects: &dyn Objects,
    definitions: &[CustomResourceDefinition],
    existing: &[APIService],
) -> Result<(), ObjectsError> {
    for step in plan_custom(definitions, existing) {
        perform(objects, step).await?;
    }
    Ok(())
}

/// What to do about one of them.
#[derive(Debug, PartialEq)]
enum Step {
    Keep,
    Create(APIService),
    Update(APIService),
    Delete(String),
}

async fn perform(objects: &dyn Objects, step: Step) -> Result<(), ObjectsError> {
    let written = match step {
        Step::Keep => Ok(()),
        Step::Create(object) => objects.create(Box::new(object)).await,
        Step::Update(object) => objects.update(Box::new(object)).await,
        Step::Delete(name) => objects.delete(APIService::facts(), "", &name).await,
    };
    match written {
        // Somebody was faster: the change wakes us again.
        Err(ObjectsError::Changed { .. }) => Ok(()),
        other => other,
    }
}

fn plan(wanted: APIService, existing: Option<&APIService>) -> Step {
    let Some(existing) = existing else { return Step::Create(wanted) };
    // One that an administrator has made or taken over is theirs.
    if !existing.metadata.labels.contains_key(MANAGED) || existing.spec == wanted.spec {
        return Step::Keep;
    }
    Step::Update(APIService { spec: wanted.spec, ..existing.clone() })
}

/// Writes them, at each start.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn ensure(objects: &dyn Objects) -> Result<(), ObjectsError> {
    for wanted in wanted() {
        let existing = objects.get(APIService::facts(), "", &wanted.metadata.name).await?;
        let existing = existing.as_ref().and_then(|object| object.as_any().downcast_ref::<APIService>());
        perform(objects, plan(wanted, existing)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::apiextensions::v1::CustomResourceDefinitionVersion;

    #[test]
    fn each_served_version_has_one() {
        let all = wanted();
        let place = |name: &str| {
            let own = all.iter().find(|own| own.metadata.name == name);
            own.map(|own| (own.spec.group_priority_minimum, own.spec.version_priority))
        };
        assert_eq!(place("v1."), Some((18000, 1)));
        assert_eq!(place("v1.apps"), Some((17800, 15)));
        assert_eq!(place("v1.apiregistration.k8s.io"), None);
    }

    #[test]
    fn an_administrators_own_stays() {
        let own = wanted().remove(0);
        assert_eq!(plan(own.clone(), None), Step::Create(own.clone()));
        assert_eq!(plan(own.clone(), Some(&own)), Step::Keep);
        let mut other = own.clone();
        other.spec.version_priority = 7;
        assert_eq!(plan(own.clone(), Some(&other)), Step::Update(own.clone()));
        other.metadata.labels.clear();
        assert_eq!(plan(own, Some(&other)), Step::Keep);
    }

    #[test]
    fn those_of_custom_kinds_follow_their_definitions() {
        let definition = |group: &str, versions: &[(&str, bool)]| {
            let mut own = CustomResourceDefinition::default();
            own.spec.group = group.to_owned();
            own.spec.versions = versions
                .iter()
                .map(|(name, served)| CustomResourceDefinitionVersion {
                    name: (*name).to_owned(),
                    served: *served,
                    ..CustomResourceDefinitionVersion::default()
                })
                .collect();
            own
        };
        let all = [
            definition("stable.example.com", &[("v1", true), ("v2", false)]),
            definition("stable.example.com", &[("v1", true)]),
            definition("apps", &[("v1", true)]),
        ];
        let steps = plan_custom(&all, &[]);
        let [Step::Create(made)] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!(made.metadata.name, "v1.stable.example.com");
        assert_eq!((made.spec.group_priority_minimum, made.spec.version_priority), (1000, 100));
        let mut taken = made.clone();
        let present = [made.clone()];
        assert_eq!(plan_custom(&all, &present), []);
        assert_eq!(plan_custom(&[], &present), [Step::Delete("v1.stable.example.com".into())]);
        // One without the mark, or that is only written at the start, is not ours to delete.
        taken.metadata.labels.clear();
        assert_eq!(plan_custom(&[], &[taken.clone()]), []);
        taken.metadata.labels.insert(MANAGED.to_owned(), "onstart".to_owned());
        assert_eq!(plan_custom(&[], &[taken]), []);
    }
}
