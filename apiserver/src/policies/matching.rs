//! Which requests a policy or a binding is about. Pure.

use std::collections::BTreeMap;

use api_types::admissionregistration::v1::{
    MatchPolicyType, MatchResources, NamedRuleWithOperations, OperationType, ScopeType,
};
use api_types::core::v1::Namespace;
use api_types::kind::{Kind, Object, Row};
use api_types::meta::v1::LabelSelector as LabelSelectorSpec;
use api_types::selector::Labels;

use crate::admission::{Operation, Request};

/// What matching reads of a request.
pub struct Asked<'a> {
    pub operation: OperationType,
    pub kind: &'a Kind,
    pub subresource: &'a str,
    /// For a namespace itself, its name.
    pub namespace: &'a str,
    pub name: &'a str,
    /// Labels of the namespace; `None` where there is none.
    pub namespace_labels: Option<&'a BTreeMap<String, String>>,
    /// Labels of the object as it is to be, and as it was.
    pub labels: [Option<&'a BTreeMap<String, String>>; 2],
    /// Other versions of the same resource.
    pub equivalents: &'a [&'static Row],
}

impl<'a> Asked<'a> {
    pub fn new(
        request: &'a Request<'_>,
        namespace: Option<&'a Namespace>,
        equivalents: &'a [&'static Row],
    ) -> Self {
        let labels = |object: Option<&'a dyn Object>| object.map(|object| &object.meta().labels);
        let object = request.object.get();
        let name = match object {
            Some(object) if request.name.is_empty() => object.meta().name.as_str(),
            _ => request.name,
        };
        Self {
            operation: match request.operation {
                Operation::Create => OperationType::Create,
                Operation::Update => OperationType::Update,
                Operation::Delete => OperationType::Delete,
                Operation::Connect => OperationType::Connect,
            },
            kind: request.kind,
            subresource: request.subresource,
            namespace: request.namespace,
            name,
            namespace_labels: namespace.map(|namespace| &namespace.metadata.labels),
            labels: [labels(object), labels(request.old)],
            equivalents,
        }
    }

    fn is_namespace(&self) -> bool {
        self.kind.group.is_empty() && self.kind.resource == "namespaces"
    }
}

/// Whether they are about a request, and as which version they see it, if as another than it has.
///
/// # Errors
/// For selectors that cannot be read and namespaces that are not there.
pub fn choose(resources: &MatchResources, asked: &Asked<'_>) -> Result<Option<Option<&'static Row>>, String> {
    let excluded = resources.exclude_resource_rules.iter().any(|rule| matches(rule, asked, asked.kind));
    if excluded {
        return Ok(None);
    }
    let Some(seen) = seen(resources, asked) else { return Ok(None) };
    let namespace = fits_namespace(resources, asked);
    let object = selector(resources.object_selector.as_deref()).map(|object| {
        object.is_everything() || asked.labels.iter().flatten().any(|labels| object.matches(labels))
    });
    // What one selector leaves out is not in doubt, whatever the other is.
    if namespace == Ok(false) || object == Ok(false) {
        return Ok(None);
    }
    namespace?;
    object?;
    Ok(Some(seen))
}

fn fits_namespace(resources: &MatchResources, asked: &Asked<'_>) -> Result<bool, String> {
    let selector = selector(resources.namespace_selector.as_deref())?;
    if selector.is_everything() || (asked.namespace.is_empty() && !asked.is_namespace()) {
        return Ok(true);
    }
    let labels =
        asked.namespace_labels.ok_or_else(|| format!("namespaces {:?} not found", asked.namespace))?;
    Ok(selector.matches(labels))
}

fn selector(spec: Option<&LabelSelectorSpec>) -> Result<Labels, String> {
    let everything = LabelSelectorSpec::default();
    Labels::from_spec(Some(spec.unwrap_or(&everything))).map_err(|error| error.to_string())
}

fn seen(resources: &MatchResources, asked: &Asked<'_>) -> Option<Option<&'static Row>> {
    // A binding that names no resources leaves it to the policy.
    if resources.resource_rules.is_empty()
        || resources.resource_rules.iter().any(|rule| matches(rule, asked, asked.kind))
    {
        return Some(None);
    }
    if resources.match_policy == Some(MatchPolicyType::Exact) {
        return None;
    }
    resources.resource_rules.iter().find_map(|rule| {
        asked.equivalents.iter().find(|row| matches(rule, asked, row.kind)).map(|row| Some(*row))
    })
}

fn matches(rule: &NamedRuleWithOperations, asked: &Asked<'_>, kind: &Kind) -> bool {
    let names = &rule.resource_names;
    let rule = &rule.rule;
    let one_of = |list: &[String], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
    let outside = asked.is_namespace() || asked.namespace.is_empty();
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
        && (names.is_empty() || names.iter().any(|name| name == asked.name))
        && rule.operations.iter().any(|one| *one == OperationType::All || *one == asked.operation)
        && one_of(&rule.rule.api_groups, kind.group)
        && one_of(&rule.rule.api_versions, kind.version)
        && rule.rule.resources.iter().any(resource)
}
