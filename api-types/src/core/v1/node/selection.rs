//! Which nodes a pod wants: nodeSelector and node affinity, compiled and matched
//! (API doc "NodeSelector"). Terms are alternatives, requirements of a term all hold; a term that is
//! empty or malformed matches nothing. The scheduler and the DaemonSet controller go by it.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::v1::{
    NodeAffinity, NodeSelector, NodeSelectorOperator, NodeSelectorRequirement, NodeSelectorTerm, PodSpec,
};

#[derive(Clone, Debug, PartialEq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Above(i64),
    Below(i64),
}

impl Test {
    fn of(requirement: &NodeSelectorRequirement) -> Option<Self> {
        let number = || match requirement.values.as_slice() {
            [one] => one.parse().ok(),
            _ => None,
        };
        Some(match &requirement.operator {
            NodeSelectorOperator::In => Self::In(requirement.values.clone()),
            NodeSelectorOperator::NotIn => Self::NotIn(requirement.values.clone()),
            NodeSelectorOperator::Exists => Self::Exists,
            NodeSelectorOperator::DoesNotExist => Self::Absent,
            NodeSelectorOperator::Gt => Self::Above(number()?),
            NodeSelectorOperator::Lt => Self::Below(number()?),
            NodeSelectorOperator::Unset | NodeSelectorOperator::Other(_) => return None,
        })
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Self::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::Above(bound) => number().is_some_and(|n| n > *bound),
            Self::Below(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

/// One alternative.
#[derive(Clone, Debug, PartialEq)]
struct Term {
    labels: Vec<(String, Test)>,
    /// Tests of metadata.name, the only field there is.
    names: Vec<Test>,
}

impl Term {
    /// `None` for a term that matches nothing.
    fn of(term: &NodeSelectorTerm) -> Option<Self> {
        if term.match_expressions.is_empty() && term.match_fields.is_empty() {
            return None;
        }
        let labels = term.match_expressions.iter().map(|r| Some((r.key.clone(), Test::of(r)?)));
        let names = term.match_fields.iter().map(|r| match r.key.as_str() {
            "metadata.name" if r.values.len() == 1 => {
                Test::of(r).filter(|t| matches!(t, Test::In(_) | Test::NotIn(_)))
            }
            _ => None,
        });
        Some(Self { labels: labels.collect::<Option<_>>()?, names: names.collect::<Option<_>>()? })
    }

    fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, test)| test.holds(labels.get(key).map(String::as_str)))
            && self.names.iter().all(|test| test.holds(Some(name)))
    }
}

/// Alternatives, at least one of which must match.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms(Vec<Term>);

impl Terms {
    pub fn of(selector: &NodeSelector) -> Self {
        Self(selector.node_selector_terms.iter().filter_map(Term::of).collect())
    }

    /// Whether the node of this name and these labels matches.
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().any(|term| term.matches(name, labels))
    }
}

/// What a pod requires of its node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeSelection {
    labels: BTreeMap<String, String>,
    terms: Option<Terms>,
    /// The only nodes that the terms can match, when each of them names nodes.
    pub names: Option<BTreeSet<String>>,
}

impl NodeSelection {
    /// `None` when the pod takes any node.
    pub fn of(spec: &PodSpec) -> Option<Self> {
        let required = spec
            .affinity
            .as_ref()
            .and_then(|a| a.node_affinity.as_ref())
            .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref());
        if spec.node_selector.is_empty() && required.is_none() {
            return None;
        }
        Some(Self {
            labels: spec.node_selector.clone(),
            terms: required.map(Terms::of),
            names: required.and_then(named_nodes),
        })
    }

    /// Whether the node of this name and these labels will do.
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.terms.as_ref().is_none_or(|terms| terms.matches(name, labels))
    }
}

/// The union over the terms of the names that each asks for; `None` when a term asks for none.
fn named_nodes(selector: &NodeSelector) -> Option<BTreeSet<String>> {
    let mut all: Option<BTreeSet<String>> = None;
    for term in &selector.node_selector_terms {
        let sets = term
            .match_fields
            .iter()
            .filter(|r| r.key == "metadata.name" && r.operator == NodeSelectorOperator::In)
            .map(|r| r.values.iter().cloned().collect::<BTreeSet<_>>());
        let own = sets.reduce(|a, b| a.intersection(&b).cloned().collect())?;
        all.get_or_insert_default().extend(own);
    }
    all
}

/// A preference for nodes and its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct PreferredTerm {
    pub weight: i64,
    term: Term,
}

impl PreferredTerm {
    /// The terms that count: those with a weight that match something.
    pub fn all(affinity: Option<&NodeAffinity>) -> Vec<Self> {
        let preferred = affinity.map(|a| &a.preferred_during_scheduling_ignored_during_execution);
        preferred
            .into_iter()
            .flatten()
            .filter(|p| p.weight != 0)
            .filter_map(|p| Some(Self { weight: p.weight.into(), term: Term::of(&p.preference)? }))
            .collect()
    }

    /// Whether the node of this name and these labels is preferred.
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.term.matches(name, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(expressions: &[(&str, &str, &[&str])], fields: &[(&str, &str, &[&str])]) -> NodeSelectorTerm {
        let requirements = |all: &[(&str, &str, &[&str])]| {
            all.iter()
                .map(|(key, operator, values)| NodeSelectorRequirement {
                    key: (*key).into(),
                    operator: (*operator).into(),
                    values: values.iter().map(|v| (*v).into()).collect(),
                })
                .collect()
        };
        NodeSelectorTerm { match_expressions: requirements(expressions), match_fields: requirements(fields) }
    }

    fn check(terms: Vec<NodeSelectorTerm>, expected: bool) {
        let labels = BTreeMap::from([("zone".into(), "x".into()), ("cores".into(), "8".into())]);
        let selector = NodeSelector { node_selector_terms: terms };
        assert_eq!(Terms::of(&selector).matches("a", &labels), expected, "{selector:?}");
    }

    #[test]
    fn operators() {
        check(vec![term(&[("zone", "In", &["x", "y"])], &[])], true);
        check(vec![term(&[("zone", "NotIn", &["x"])], &[])], false);
        check(vec![term(&[("rack", "NotIn", &["x"])], &[])], true);
        check(vec![term(&[("zone", "Exists", &[])], &[])], true);
        check(vec![term(&[("zone", "DoesNotExist", &[])], &[])], false);
        check(vec![term(&[("cores", "Gt", &["7"])], &[])], true);
        check(vec![term(&[("cores", "Lt", &["8"])], &[])], false);
        check(vec![term(&[("zone", "Gt", &["1"])], &[])], false);
    }

    #[test]
    fn terms_are_alternatives_and_requirements_all_hold() {
        check(
            vec![term(&[("zone", "In", &["y"])], &[]), term(&[], &[("metadata.name", "In", &["a"])])],
            true,
        );
        check(vec![term(&[("zone", "In", &["x"])], &[("metadata.name", "In", &["b"])])], false);
        check(vec![], false);
        check(vec![term(&[], &[])], false);
        check(vec![term(&[("zone", "Near", &["x"])], &[])], false);
    }

    #[test]
    fn names_are_collected_when_every_term_has_one() {
        let by_name = |names: &[&str]| term(&[], &[("metadata.name", "In", names)]);
        let names = |terms| named_nodes(&NodeSelector { node_selector_terms: terms });
        assert_eq!(names(vec![by_name(&["a"]), by_name(&["b"])]), Some(["a".into(), "b".into()].into()));
        assert_eq!(names(vec![by_name(&["a"]), term(&[("zone", "Exists", &[])], &[])]), None);
        let conflict = term(&[], &[("metadata.name", "In", &["a"]), ("metadata.name", "In", &["b"])]);
        assert_eq!(names(vec![conflict]), Some(BTreeSet::new()));
    }
}
