//! Which webhooks a request goes to, as what, and which of them once more. Pure.

use std::collections::{BTreeMap, BTreeSet};

use api_types::admissionregistration::v1::{OperationType, RuleWithOperations, ScopeType};
use api_types::kind::{Kind, Row};

use super::hook::Hook;

/// What matching reads of a request.
pub struct Asked<'a> {
    pub operation: OperationType,
    /// That of the path.
    pub kind: &'a Kind,
    pub subresource: &'a str,
    /// For a namespace itself, its name.
    pub namespace: &'a str,
    /// Other versions of the same objects.
    pub equivalents: &'a [&'static Row],
    /// Labels of the namespace; `None` where it is not there.
    pub namespace_labels: Option<&'a BTreeMap<String, String>>,
    /// Labels of the object as it is to be, and as it was.
    pub labels: [Option<&'a BTreeMap<String, String>>; 2],
}

/// As what a webhook gets to see a request.
#[derive(Debug, Clone, Copy)]
pub enum Seen {
    AsIs,
    /// In this other version.
    As(&'static Row),
}

impl Seen {
    /// The other version.
    pub fn row(self) -> Option<&'static Row> {
        match self {
            Self::AsIs => None,
            Self::As(row) => Some(row),
        }
    }
}

/// Why it cannot be said whether a webhook is to be asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Doubt {
    NoNamespace,
    Selector(String),
}

/// Whether a webhook is asked, and as what it sees the request.
///
/// # Errors
/// When its rules match and its selectors cannot be looked at.
pub fn choose(hook: &Hook, asked: &Asked<'_>) -> Result<Option<Seen>, Doubt> {
    let namespace = match in_namespace(hook, asked) {
        Ok(false) => return Ok(None),
        other => other,
    };
    let object = match &hook.object_selector {
        Err(why) => Err(Doubt::Selector(why.clone())),
        Ok(selector) if selector.is_everything() => Ok(()),
        Ok(selector) if asked.labels.iter().flatten().any(|labels| selector.matches(labels)) => Ok(()),
        Ok(_) => return Ok(None),
    };
    let Some(seen) = seen(hook, asked) else { return Ok(None) };
    namespace?;
    object?;
    Ok(Some(seen))
}

fn is_namespaces(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.resource == "namespaces"
}

fn in_namespace(hook: &Hook, asked: &Asked<'_>) -> Result<bool, Doubt> {
    // What is outside of namespaces is never exempted.
    if asked.namespace.is_empty() && asked.kind.resource != "namespaces" {
        return Ok(true);
    }
    let selector = hook.namespace_selector.as_ref().map_err(|why| Doubt::Selector(why.clone()))?;
    if selector.is_everything() {
        return Ok(true);
    }
    Ok(selector.matches(asked.namespace_labels.ok_or(Doubt::NoNamespace)?))
}

fn seen(hook: &Hook, asked: &Asked<'_>) -> Option<Seen> {
    if hook.rules.iter().any(|rule| matches(rule, asked, asked.kind)) {
        return Some(Seen::AsIs);
    }
    if !hook.equivalent {
        return None;
    }
    hook.rules.iter().find_map(|rule| {
        let row = asked.equivalents.iter().find(|row| matches(rule, asked, row.kind))?;
        Some(Seen::As(row))
    })
}

/// Whether a rule is about a request, taken for one of `kind`.
fn matches(rule: &RuleWithOperations, asked: &Asked<'_>, kind: &Kind) -> bool {
    let one_of = |list: &[String], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
    let outside = is_namespaces(kind) || asked.namespace.is_empty();
    let scope = match &rule.rule.scope {
        None | Some(ScopeType::All) => true,
        Some(ScopeType::Namespaced) => !outside,
        Some(ScopeType::Cluster) => outside,
        Some(_) => false,
    };
    let resource = |text: &String| {
        let (resource, subresource) = text.split_once('/').unwrap_or((text, ""));
        (resource == "*" || resource == kind.resource)
            && (subresource == "*" || subresource == asked.subresource)
    };
    scope
        && rule.operations.iter().any(|one| *one == OperationType::All || *one == asked.operation)
        && one_of(&rule.rule.api_groups, kind.group)
        && one_of(&rule.rule.api_versions, kind.version)
        && rule.rule.resources.iter().any(resource)
}

/// What the two rounds of mutating admission know of each other: one for webhooks, one for policies.
#[derive(Debug, Default)]
pub struct Rounds {
    /// Whether this is the second one.
    pub second: bool,
    /// Whether one has changed the object.
    pub changed: bool,
    /// The object as they left it.
    left: Option<Vec<u8>>,
    /// Those that want to see later changes, and have seen none yet.
    waiting: BTreeSet<String>,
    /// Those that are asked once more.
    due: BTreeSet<String>,
}

impl Rounds {
    /// A round begins with this object.
    pub fn begin(&mut self, object: Option<&[u8]>) {
        if self.second && self.left.as_deref() != object {
            self.due.append(&mut self.waiting);
        }
    }

    /// Whether a webhook or policy that matches is asked in this round.
    pub fn asks(&self, id: &str) -> bool {
        !self.second || self.due.contains(id)
    }

    /// One was asked; `reinvoked` says that it wants to see later changes.
    pub fn asked(&mut self, id: &str, reinvoked: bool, changed: bool) {
        if changed {
            self.due.append(&mut self.waiting);
            self.changed = true;
        }
        if reinvoked {
            self.waiting.insert(id.to_owned());
        }
    }

    /// A round ends with this object.
    pub fn end(&mut self, object: Option<Vec<u8>>) {
        self.left = object;
    }
}
