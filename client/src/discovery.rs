//! What the apiserver serves: resources by the preferred version of each group.

use std::collections::BTreeMap;

use api_types::meta::v1::{APIGroupList, APIResourceList, APIVersions};

use crate::connection::Client;
use crate::error::Error;
use crate::path::ResourceRef;

/// A resource and what it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    pub resource: ResourceRef,
    pub verbs: Vec<String>,
}

impl Discovered {
    /// Whether it understands every one of these verbs.
    pub fn can(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|v| v == verb))
    }
}

/// What was found, and which group versions could not be asked (an aggregated server is away).
#[derive(Debug, Default)]
pub struct Discovery {
    pub resources: Vec<Discovered>,
    pub failures: BTreeMap<String, Error>,
}

impl Client {
    /// Asks for all resources, subresources left out.
    ///
    /// # Errors
    /// When not even the groups can be listed. A single group that fails is among the failures.
    pub async fn discover(&self) -> Result<Discovery, Error> {
        let core: APIVersions = self.get_path("/api").await?;
        let groups: APIGroupList = self.get_path("/apis").await?;
        let core = core.versions.into_iter().map(|version| (format!("/api/{version}"), version));
        let named = groups.groups.into_iter().filter_map(|group| {
            let preferred = match group.preferred_version.group_version.as_str() {
                "" => group.versions.first()?.group_version.clone(),
                version => version.to_owned(),
            };
            Some((format!("/apis/{preferred}"), preferred))
        });
        let mut found = Discovery::default();
        for (path, group_version) in core.chain(named) {
            match self.get_path::<APIResourceList>(&path).await {
                Ok(list) => found.resources.extend(resources(&group_version, list)),
                Err(error) => {
                    found.failures.insert(group_version, error);
                }
            }
        }
        Ok(found)
    }
}

fn resources(group_version: &str, list: APIResourceList) -> impl Iterator<Item = Discovered> {
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let (group, version) = (group.to_owned(), version.to_owned());
    list.resources.into_iter().filter(|r| !r.name.contains('/')).map(move |r| Discovered {
        resource: ResourceRef {
            group: group.clone().into(),
            version: version.clone().into(),
            resource: r.name.into(),
            kind: r.kind.into(),
            namespaced: r.namespaced,
        },
        verbs: r.verbs.0,
    })
}

#[cfg(test)]
mod tests {
    use api_types::meta::v1::APIResource;

    use super::*;

    #[test]
    fn resources_are_read_without_their_subresources() {
        let resource = |name: &str| APIResource {
            name: name.into(),
            kind: "Deployment".into(),
            namespaced: true,
            verbs: vec!["get".to_owned(), "delete".to_owned()].into(),
            ..Default::default()
        };
        let list = APIResourceList {
            resources: vec![resource("deployments"), resource("deployments/scale")],
            ..Default::default()
        };
        let found: Vec<_> = resources("apps/v1", list).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].resource.qualified(), "deployments.apps");
        assert!(found[0].can(&["delete"]) && !found[0].can(&["delete", "watch"]));
    }
}
