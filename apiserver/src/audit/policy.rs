//! The audit policy: how much is recorded of which request. The first rule that matches counts.
//!
//! A field that is not known is refused, where upstream warns and goes on without it.

use std::path::Path;

use api_types::codec::yaml;
use api_types::names;
use serde::{Deserialize, Serialize};

use super::{AuditError, Stage};
use crate::request::{RequestInfo, User};

/// How much is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// What is wanted of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub level: Level,
    pub omitted: Vec<Stage>,
    pub without_managed_fields: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    kind: String,
    api_version: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde_json::Value,
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// The rules, in order.
pub struct Policy(File);

impl Policy {
    pub fn load(path: &Path) -> Result<Self, AuditError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| AuditError::Read { path: name.clone(), source })?;
        Self::parse(&text).map_err(|why| match why {
            Wrong::Decode(text) => AuditError::Decode(text, name),
            Wrong::Invalid(text) => AuditError::Invalid(text, name),
        })
    }

    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let value = yaml::to_value(text).map_err(|error| Wrong::Decode(error.to_string()))?;
        let file: File = serde_json::from_value(value).map_err(|error| Wrong::Decode(error.to_string()))?;
        if (file.kind.as_str(), file.api_version.as_str()) != ("Policy", "audit.k8s.io/v1") {
            let text =
                format!("unknown group version field {}, Kind={} in policy", file.api_version, file.kind);
            return Err(Wrong::Invalid(text));
        }
        let wrong: Vec<String> =
            file.rules.iter().enumerate().flat_map(|(n, rule)| rule.wrong(&format!("rules[{n}]"))).collect();
        match wrong.as_slice() {
            [] if file.rules.is_empty() => {
                Err(Wrong::Invalid("loaded illegal policy with 0 rules".to_owned()))
            }
            [] => Ok(Self(file)),
            [one] => Err(Wrong::Invalid(one.clone())),
            several => Err(Wrong::Invalid(format!("[{}]", several.join(", ")))),
        }
    }

    /// What is wanted of this request.
    pub fn of(&self, user: &User, info: &RequestInfo) -> Wanted {
        let own = &self.0;
        let rule = own.rules.iter().find(|rule| rule.matches(user, info));
        let mut omitted = own.omit_stages.clone();
        omitted.extend(rule.into_iter().flat_map(|rule| rule.omit_stages.iter().copied()));
        Wanted {
            level: rule.map_or(Level::None, |rule| rule.level),
            omitted,
            without_managed_fields: rule
                .and_then(|rule| rule.omit_managed_fields)
                .unwrap_or(own.omit_managed_fields),
        }
    }
}

/// What is wrong with a policy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Decode(String),
    Invalid(String),
}

fn has(list: &[String], value: &str) -> bool {
    list.iter().any(|entry| entry == value)
}

impl Rule {
    fn wrong(&self, path: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for (n, url) in self.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let path = format!("{path}.nonResourceURLs[{n}]: Invalid value: {url:?}");
            if !url.starts_with('/') {
                wrong.push(format!("{path}: non-resource URL rules must begin with a '/' character"));
            }
            if url.find('*').is_some_and(|at| at + 1 < url.len()) {
                let text = "non-resource URL wildcards '*' must be the final character of the rule";
                wrong.push(format!("{path}: {text}"));
            }
        }
        for resources in &self.resources {
            let group = &resources.group;
            if !group.is_empty() && group != "*" {
                let texts = names::dns1123_subdomain(group);
                if !texts.is_empty() {
                    let path = format!("{path}.resources.group: Invalid value: {group:?}");
                    wrong.push(format!("{path}: {}", texts.join(",")));
                }
            }
            if !resources.resource_names.is_empty() && resources.resources.is_empty() {
                wrong.push(format!(
                    "{path}.resources.resourceNames: Invalid value: {:?}: using resourceNames requires at least one \
                     resource",
                    resources.resource_names
                ));
            }
        }
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if of_resources && !self.non_resource_urls.is_empty() {
            wrong.push(format!(
                "{path}.nonResourceURLs: Invalid value: {:?}: rules cannot apply to both regular resources and \
                 non-resource URLs",
                self.non_resource_urls
            ));
        }
        wrong
    }

    fn matches(&self, user: &User, info: &RequestInfo) -> bool {
        let fits = (self.users.is_empty() || has(&self.users, &user.name))
            && (self.user_groups.is_empty() || self.user_groups.iter().any(|group| user.is_in(group)))
            && (self.verbs.is_empty() || has(&self.verbs, &info.verb));
        if !fits {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource
                && (self.namespaces.is_empty() || has(&self.namespaces, &info.namespace))
                && (self.resources.is_empty() || self.resources.iter().any(|own| own.matches(info)));
        }
        if !self.non_resource_urls.is_empty() {
            return !info.is_resource
                && self.non_resource_urls.iter().any(|url| match url.strip_suffix('*') {
                    Some(start) => info.path.starts_with(start),
                    None => *url == info.path,
                });
        }
        true
    }
}

impl GroupResources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != "*" && self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !has(&self.resource_names, &info.name) {
            return false;
        }
        let (resource, sub) = (info.resource.as_str(), info.subresource.as_str());
        self.resources.iter().any(|own| match own.split_once('/') {
            _ if own == "*" => true,
            Some(("*", wanted)) => !sub.is_empty() && wanted == sub,
            Some((wanted, "*")) => wanted == resource,
            Some((wanted, part)) => wanted == resource && part == sub,
            None => own == resource && sub.is_empty(),
        })
    }
}
