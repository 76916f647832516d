//! Terms that choose parts of the cluster by labels of nodes.

use crate::field::{Errors, Path};
use crate::names;
use api_types_derive::Api;
use std::collections::{BTreeMap, BTreeSet};

/// Parts of the cluster, by labels of their nodes.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1", structure = atomic)]
pub struct TopologySelectorTerm {
    /// Labels that must all fit.
    #[api(1, list = atomic)]
    pub match_label_expressions: Vec<TopologySelectorLabelRequirement>,
}

/// Values that a label may have.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.core.v1")]
pub struct TopologySelectorLabelRequirement {
    /// The label.
    #[api(1, required)]
    pub key: String,
    /// The values; one of them must fit.
    #[api(2, required, list = atomic)]
    pub values: Vec<String>,
}

/// Checks terms, of which no two may be the same.
pub(crate) fn validate_topologies(terms: &[TopologySelectorTerm], path: &Path, errors: &mut Errors) {
    for (place, term) in terms.iter().enumerate() {
        let here = path.index(place).child("matchLabelExpressions");
        for (at, expression) in term.match_label_expressions.iter().enumerate() {
            let here = here.index(at);
            let values = here.child("values");
            if expression.values.is_empty() {
                errors.required(&values, "");
            }
            for (at, value) in expression.values.iter().enumerate() {
                if expression.values[..at].contains(value) {
                    errors.duplicate(&values.index(at), value);
                }
            }
            let key = here.child("key");
            errors.wrong(&key, &expression.key, names::qualified_name(&expression.key));
            if term.match_label_expressions[..at].iter().any(|before| before.key == expression.key) {
                errors.duplicate(&key, &expression.key);
            }
        }
        if terms[..place].iter().any(|before| before.labels() == term.labels()) {
            errors.duplicate(&here, "");
        }
    }
}

impl TopologySelectorTerm {
    /// Each label's values, in no order.
    fn labels(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let expressions = self.match_label_expressions.iter();
        expressions.map(|e| (e.key.as_str(), e.values.iter().map(String::as_str).collect())).collect()
    }
}
